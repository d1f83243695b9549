"""The checks: one small function each, in the order in which they are made.

A check of a door sends what Langfuse, a browser or an SDK would send through that door and looks
at the answer. It returns nothing if all is well, raises ``Found`` with a trouble, ``Inapplicable``
with a reason, or lets the store's own error through, from which ``diagnosis`` finds the trouble.
A check whose ``needs`` did not pass is left out, so that one trouble is named once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

from stack.doctor import diagnosis, langfuse
from stack.doctor.doors import Door, is_loopback, is_private_name
from stack.doctor.surroundings import Surroundings
from stack.doctor.troubles import Found, Inapplicable, trouble
from stack.s3.client import S3
from stack.s3.errors import S3Error, error_of, parse
from stack.s3.signing import Credentials
from stack.s3.transport import Answer, Unreachable

#: Published defaults of Oversight and of MinIO.
DEFAULT_CREDENTIALS = (
    Credentials("minio", "miniosecret"),
    Credentials("minioadmin", "minioadmin"),
)
#: Clocks that differ by more are refused by S3; from the second on there is a warning. Seconds.
SKEW_MAX, SKEW_WARNING = 15 * 60, 5 * 60
#: Seconds that writing 2 KB may take before it counts as slow.
SLOW = 2.0
#: Share of the drive that should be free; below the second one it is a failure.
FREE_WARNING, FREE_FAILURE = 0.10, 0.03
_PART = 5 << 20


@dataclass(frozen=True)
class Check:
    """One check. ``run`` gets a Door or, with the scope "stack", the Surroundings.

    ``title`` names it in tables; ``action`` what is tried, for sentences, and
    ``size`` the bytes of its largest body.
    """

    name: str
    title: str
    run: Callable[[Any], None]
    needs: tuple[str, ...] = ()
    action: str = ""
    size: int = 0
    scope: Literal["door", "stack"] = "door"


# -- before anything is sent ----------------------------------------------------------------------


def settings(around: Surroundings) -> None:
    """Every service has the variables that Langfuse cannot do without."""
    for service, variable in around.missing:
        raise Found(trouble("missing-setting", service=service, variable=variable))


def address(door: Door) -> None:
    """Addresses at all: path style, names, https inside of https."""
    for use in door.uses:
        if not use.path_style and not use.host.endswith("amazonaws.com"):
            raise Found(
                trouble(
                    "path-style",
                    service=use.service,
                    bucket=use.bucket,
                    host=use.host,
                    variable=use.variable("FORCE_PATH_STYLE"),
                )
            )
    if not door.browser:
        return
    page, host = urlsplit(door.page), door.use.host
    if page.scheme == "https" and door.endpoint.startswith("http://") and not is_loopback(host):
        raise Found(trouble("mixed-content", endpoint=door.endpoint, page=door.page))
    if is_loopback(host) and not is_loopback(page.hostname or ""):
        raise Found(_hidden(door, f"that is the user's own machine, and Langfuse is {door.page}"))
    if door.place.container and is_private_name(host):
        raise Found(_hidden(door, f"only the containers know the name {host}"))


def _hidden(door: Door, detail: str) -> Any:
    return trouble("presigned-host-unreachable", endpoint=door.endpoint, detail=detail)


# -- reaching it ----------------------------------------------------------------------------------


def reachable(door: Door) -> None:
    """An S3 store answers."""
    try:
        answer = door.greet()
    except Unreachable as error:
        raise _not_from_here(door, error) or Found(diagnosis.unreachable(door, error)) from None
    if answer.status == 503:
        raise error_of(answer, "GET")
    if not _is_s3(answer):
        said = f"it answered {answer.status}"
        if server := answer.headers.get("server"):
            said += f" ({server})"
        variable = door.use.variable("ENDPOINT")
        raise Found(trouble("not-s3", endpoint=door.endpoint, detail=said, variable=variable))


def _not_from_here(door: Door, error: Unreachable) -> Inapplicable | None:
    """A door that is not made for the place where the doctor stands."""
    if door.place.container and not door.services:
        return Inapplicable("a container need not reach it: run the doctor where browsers are")
    private = error.reason == "name" and is_private_name(door.use.host)
    if private and not door.place.container and not door.browser:
        return Inapplicable(
            f"only the containers know the name {door.use.host}: `oversight doctor --inside` "
            "checks it from there"
        )
    return None


def _is_s3(answer: Answer) -> bool:
    """Whether an answer to an unsigned request is one of S3: a listing or S3's own refusal."""
    try:
        root = parse(answer.body)
    except ParseError:
        return False
    return root.tag == "ListBucketResult" or (
        root.tag == "Error" and root.findtext("Code") is not None
    )


def clock(door: Door) -> None:
    """Both clocks agree."""
    seconds = diagnosis.skew(door, door.greet().headers.get("date", ""))
    if seconds is not None and abs(seconds) > SKEW_WARNING:  # no Date: the signatures will tell
        severity: Any = "failure" if abs(seconds) > SKEW_MAX else "warning"
        raise Found(diagnosis.clock_skew(door, seconds, severity))


# -- what Langfuse does ---------------------------------------------------------------------------


def listing(door: Door) -> None:
    """Region, access key, secret and bucket are right."""
    langfuse.list_objects(door.s3, door.use.bucket, door.folder)


def write(door: Door) -> None:
    """Events can be written."""
    began = time.monotonic()
    langfuse.put_event(door.s3, door.use.bucket, door.probe("event.json"), _EVENT)
    seconds = time.monotonic() - began
    if seconds > SLOW:
        raise Found(trouble("slow", seconds=seconds, endpoint=door.endpoint))


def read(door: Door) -> None:
    """Events come back as they were written."""
    answer = langfuse.get_object(door.s3, door.use.bucket, door.probe("event.json"))
    _same(door, answer, _EVENT, "application/json")


def export(door: Door) -> None:
    """Exports can be written in parts of 5 MiB."""
    key, bucket = door.probe("export.csv"), door.use.bucket
    upload = parse(langfuse.start_upload(door.s3, bucket, key).body).findtext("UploadId") or ""
    try:
        parts = [os.urandom(_PART), b"last"]
        etags = [
            langfuse.upload_part(door.s3, bucket, key, upload, number, part).headers["etag"]
            for number, part in enumerate(parts, 1)
        ]
        answer = langfuse.complete_upload(door.s3, bucket, key, upload, etags)
        if parse(answer.body).tag == "Error":
            raise error_of(answer, "POST")
    except BaseException:
        door.abandon(key, upload)
        raise


def download(door: Door) -> None:
    """Signed links to media and exports work."""
    target, canonical = langfuse.presign_download(
        door.s3, door.use.bucket, door.probe("event.json")
    )
    answer = langfuse.fetch(door.s3, "GET", target, canonical, {"accept-encoding": "gzip, br"})
    _same(door, answer, _EVENT, "application/json")


def upload(door: Door) -> None:
    """Signed uploads of media work."""
    _upload(door, {"x-ms-blob-type": "BlockBlob"})  # which SDKs add for another vendor's store


def cors(door: Door) -> None:
    """Browsers may upload."""
    if not door.browser:
        raise Inapplicable("no browser comes this way")
    key = door.probe("upload.png")
    target, _ = langfuse.presign_upload(
        door.s3, door.use.bucket, key, langfuse.upload_headers("image/png", _IMAGE)
    )
    answer = langfuse.preflight(door.s3, target, door.page)
    refusal = _refusal(answer, door.page)
    if not refusal:
        uploaded = _upload(door, {"origin": door.page})
        if uploaded.headers.get("access-control-allow-origin") not in ("*", door.page):
            refusal = "the answer to the upload has no Access-Control-Allow-Origin for it"
    if refusal:
        raise Found(trouble("cors", origin=door.page, endpoint=door.endpoint, detail=refusal))


def delete(door: Door) -> None:
    """Many objects can be deleted at once, with the checksum that Langfuse sends."""
    key = door.probe("event.json")
    try:
        answer = langfuse.delete_objects(door.s3, door.use.bucket, [key])
    except S3Error as error:
        if error.code in _CHECKSUM_CODES or "checksum" in error.message.lower():
            detail = f"{error.code}, {error.message}"
            raise Found(trouble("delete-checksum", endpoint=door.endpoint, detail=detail)) from None
        raise
    refused = parse(answer.body).find("Error")
    if refused is not None:
        code = refused.findtext("Code") or ""
        raise S3Error(answer.status, code, refused.findtext("Message") or "", {}, answer.headers)


#: What stores answer that insist on Content-MD5, or do not know the checksum's algorithm.
_CHECKSUM_CODES = frozenset(
    ("MissingContentMD5", "InvalidDigest", "BadDigest", "XAmzContentChecksumMismatch")
)


def _upload(door: Door, more: dict[str, str]) -> Answer:
    headers = langfuse.upload_headers("image/png", _IMAGE)
    key = door.probe("upload.png")
    target, canonical = langfuse.presign_upload(door.s3, door.use.bucket, key, headers)
    return langfuse.fetch(door.s3, "PUT", target, canonical, {**headers, **more}, _IMAGE)


def _same(door: Door, answer: Answer, body: bytes, content_type: str) -> None:
    """Raise Found unless an answer is what was stored."""
    changed = ""
    if answer.headers.get("content-encoding"):
        changed = "it is compressed on the way"
    elif answer.body != body:
        changed = "the bytes are not those that were written"
    elif "content-length" not in answer.headers:
        changed = "its Content-Length is missing"
    elif answer.headers.get("content-type") != content_type:
        changed = f"its Content-Type became {answer.headers.get('content-type')}"
    if changed:
        raise Found(trouble("proxy-answer", endpoint=door.endpoint, detail=changed))


def _refusal(answer: Answer, origin: str) -> str:
    """Why a browser would not upload after this answer to its preflight; "" if it would."""
    if answer.status not in (200, 204):
        return f"the preflight was answered with {answer.status}"
    if answer.headers.get("access-control-allow-origin") not in ("*", origin):
        return "the preflight's answer does not allow this origin"
    methods = answer.headers.get("access-control-allow-methods", "")
    if "PUT" not in methods.upper() and methods.strip() != "*":
        return "the preflight's answer does not allow PUT"
    allowed = answer.headers.get("access-control-allow-headers", "").lower()
    for name in ("content-type", "x-amz-checksum-sha256"):
        if name not in allowed and allowed.strip() != "*":
            return f"the preflight's answer does not allow the header {name}"
    return ""


# -- who else gets in, and what is left -----------------------------------------------------------


def default_credentials(door: Door) -> None:
    """No published password opens the store."""
    if door.use.host.endswith("amazonaws.com"):
        raise Inapplicable("AWS has no default credentials")
    for credentials in DEFAULT_CREDENTIALS:
        if _lets_in(door, credentials):
            severity: Any = "warning" if _only_here(door) else "failure"
            raise Found(
                trouble(
                    "default-credentials",
                    severity,
                    endpoint=door.endpoint,
                    access_key=credentials.access_key,
                )
            )


def _lets_in(door: Door, credentials: Credentials) -> bool:
    s3 = S3(
        door.endpoint, credentials, door.use.region,
        timeout=door.timeout, attempts=1, clock=door.clock,
    )  # fmt: skip
    try:
        s3.request("GET", door.use.bucket, query=[("max-keys", "0")])
    except S3Error as error:
        return error.code in ("NoSuchBucket", "AccessDenied") and error.status != 400
    except Unreachable:
        return False
    return True


def _only_here(door: Door) -> bool:
    """Whether the store is known under addresses of this very machine only."""
    host = door.use.host
    return is_loopback(host) if door.browser else is_loopback(host) or is_private_name(host)


def space(around: Surroundings) -> None:
    """The drive has room."""
    capacity = around.ask("status")["capacity"]
    free, total = capacity["free"], capacity["total"]
    if total and free < total * FREE_WARNING:
        from stack.output import size

        severity: Any = "failure" if free < total * FREE_FAILURE else "warning"
        raise Found(trouble("disk-low", severity, free=size(free), total=size(total)))


def inodes(around: Surroundings) -> None:
    """The drive has inodes."""
    drives = around.ask("drives")
    free, total = drives["inodes_free"], drives["inodes_total"]
    if total and free < total * FREE_WARNING:
        severity: Any = "failure" if free < total * FREE_FAILURE else "warning"
        raise Found(trouble("inodes-low", severity, free=f"{free:,}", total=f"{total:,}"))


def drives(around: Surroundings) -> None:
    """All drives are online."""
    offline = around.ask("status")["drives_offline"]
    if offline:
        raise Found(trouble("drives-offline", count=offline))


_EVENT = b'[{"resourceSpans": "oversight doctor"}]'.ljust(2048)
_IMAGE = bytes(range(256)) * 64

CHECKS: tuple[Check, ...] = (
    Check("settings", "Langfuse's settings", settings, scope="stack"),
    Check("address", "Addresses", address),
    Check("reachable", "S3 answers", reachable, ("address",), "asking for the bucket"),
    Check("clock", "Clocks agree", clock, ("reachable",)),
    Check("access", "Region, key, secret, bucket", listing,
          ("reachable", "clock"), "listing objects"),
    Check("write", "Write an event", write, ("access",), "writing objects"),
    Check("read", "Read it back", read, ("write",), "reading objects"),
    Check("export", "Export in parts", export, ("write",),
          "writing an export", _PART),
    Check("download", "Signed download", download, ("read",), "downloading by a signed URL"),
    Check("upload", "Signed upload", upload, ("write",),
          "uploading by a signed URL"),
    Check("cors", "Upload from a browser", cors, ("upload",), "uploading from a browser"),
    Check("delete", "Delete with checksum", delete, ("read", "download"),
          "deleting objects"),
    Check("default-credentials", "No default password", default_credentials,
          ("clock",)),
    Check("space", "Room on the drive", space, scope="stack"),
    Check("inodes", "Inodes on the drive", inodes, scope="stack"),
    Check("drives", "Drives online", drives, scope="stack"),
)  # fmt: skip
