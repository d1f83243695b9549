"""What a service of Langfuse is told about S3, read from its own variables as it reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from stack.s3.signing import Credentials

#: What each purpose's variables begin with.
PURPOSES = {
    "events": "LANGFUSE_S3_EVENT_UPLOAD_",
    "media": "LANGFUSE_S3_MEDIA_UPLOAD_",
    "exports": "LANGFUSE_S3_BATCH_EXPORT_",
}
#: Langfuse's own default where no region is set.
DEFAULT_REGION = "auto"


@dataclass(frozen=True)
class Use:
    """One way in which one service uses the store.

    ``browser``: the endpoint is one that URLs are signed for, and browsers and SDKs must reach
    it; otherwise the service itself calls it. ``variables`` begin with ``prefix_of_variables``.
    """

    service: str
    purpose: str
    endpoint: str
    browser: bool
    bucket: str
    prefix: str
    region: str
    credentials: Credentials
    path_style: bool
    page: str = ""
    variables: str = ""
    endpoint_variable: str = "ENDPOINT"

    def variable(self, name: str) -> str:
        """The variable that sets ``name`` of this use (ENDPOINT, REGION ...)."""
        return f"{self.variables}{self.endpoint_variable if name == 'ENDPOINT' else name}"

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).hostname or ""


def uses_of(service: str, environ: Mapping[str, str]) -> tuple[list[Use], list[str]]:
    """(the uses that ``environ`` describes, variables that are missing)."""
    found: list[Use] = []
    missing: list[str] = []
    for purpose, start in PURPOSES.items():
        if purpose == "exports" and not _true(environ.get(start + "ENABLED", "")):
            continue
        bucket = environ.get(start + "BUCKET", "")
        if not bucket:
            if purpose == "events":  # the one thing that Langfuse cannot do without
                missing.append(start + "BUCKET")
            continue
        if not _endpoint(start, environ):
            missing.append(start + "ENDPOINT")
            continue
        found += _uses(service, purpose, start, environ)
    return found, missing


def _uses(service: str, purpose: str, start: str, environ: Mapping[str, str]) -> Iterable[Use]:
    def read(name: str, default: str = "") -> str:
        return environ.get(start + name) or default

    use = Use(
        service=service,
        purpose=purpose,
        endpoint=_endpoint(start, environ),
        browser=False,
        bucket=read("BUCKET"),
        prefix=read("PREFIX"),
        region=read("REGION", DEFAULT_REGION),
        credentials=Credentials(read("ACCESS_KEY_ID"), read("SECRET_ACCESS_KEY")),
        path_style=_true(read("FORCE_PATH_STYLE")),
        page=environ.get("NEXTAUTH_URL", ""),
        variables=start,
    )
    signed = replace(use, browser=True)
    if purpose == "media":
        # Newer releases talk to the internal endpoint themselves; older ones use one for both.
        internal = read("INTERNAL_ENDPOINT").rstrip("/")
        if internal:
            yield replace(use, endpoint=internal, endpoint_variable="INTERNAL_ENDPOINT")
        if service != "worker":  # the worker signs nothing for browsers
            yield signed
        elif not internal:
            yield use
        return
    yield use
    external = read("EXTERNAL_ENDPOINT").rstrip("/")
    if purpose == "exports" and external:
        yield replace(signed, endpoint=external, endpoint_variable="EXTERNAL_ENDPOINT")


def _endpoint(start: str, environ: Mapping[str, str]) -> str:
    """The endpoint; AWS's own where none is set but a region is, "" where neither is."""
    given = environ.get(start + "ENDPOINT", "").rstrip("/")
    region = environ.get(start + "REGION", "")
    if given or region in ("", DEFAULT_REGION):
        return given
    return f"https://s3.{region}.amazonaws.com"


def _true(text: str) -> bool:
    return text.strip().lower() == "true"
