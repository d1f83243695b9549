"""Langfuse from outside: its SDK sends, its public API is asked."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stack.store import CommandError

if TYPE_CHECKING:
    import httpx

_TIMEOUT = 15.0
_LOGGERS = ("langfuse", "opentelemetry")


class Langfuse:
    """One project of a Langfuse server. Everything raises CommandError with what is wrong."""

    def __init__(self, url: str, public_key: str, secret_key: str) -> None:
        import httpx

        self.url = url.rstrip("/")
        self._keys = public_key, secret_key
        self._client = httpx.Client(base_url=self.url, auth=self._keys, timeout=_TIMEOUT)

    def health(self) -> str:
        """The server's version."""
        return str(self._ask("/api/public/health").get("version", "unknown"))

    def project(self) -> tuple[str, str]:
        """(id, name) of the project that the API keys belong to."""
        projects = self._ask("/api/public/projects").get("data", [])
        if not projects:
            raise CommandError("The API keys belong to no project.")
        return str(projects[0]["id"]), str(projects[0].get("name", ""))

    def media_url(self, media_id: str) -> str:
        """A signed URL of a medium."""
        return str(self._ask(f"/api/public/media/{media_id}")["url"])

    def shows(self, trace_id: str) -> bool:
        """Whether the worker has read the trace, so that Langfuse can show it."""
        answer = self._get("/api/public/v2/observations", traceId=trace_id)
        if answer.status_code == 404:  # releases before that interface
            return self._get(f"/api/public/traces/{trace_id}").status_code == 200
        return bool(self._understood(answer).get("data"))

    def send(self, name: str, image: bytes) -> str:
        """Send a trace with an image by the SDK; the trace's id."""
        sdk, media = _sdk()
        with _warnings() as said:
            client = sdk(
                public_key=self._keys[0],
                secret_key=self._keys[1],
                base_url=self.url,
                tracing_enabled=True,
                sample_rate=1.0,
            )
            picture = media(content_bytes=image, content_type="image/png")
            with client.start_as_current_observation(
                name=name, as_type="generation", model="none", input={"picture": picture}
            ) as generation:
                generation.update(output="Written by `oversight verify`.")
                trace_id = str(generation.trace_id)
            client.flush()
            client.shutdown()
        if said:
            raise CommandError(f"The SDK could not send: {said[-1]}")
        return trace_id

    def _ask(self, path: str) -> dict[str, Any]:
        return self._understood(self._get(path))

    def _get(self, path: str, **query: str) -> httpx.Response:
        import httpx

        try:
            return self._client.get(path, params=query)
        except httpx.HTTPError as error:
            raise CommandError(
                f"No Langfuse answers at {self.url} ({type(error).__name__}): start it, or set "
                "LANGFUSE_BASE_URL."
            ) from None

    def _understood(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code in (401, 403):
            raise CommandError(
                "Langfuse refuses the API keys: set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY "
                "to those of a project (its settings in Langfuse show them)."
            )
        try:
            found: dict[str, Any] = answer.json()
        except ValueError:
            raise CommandError(f"{self.url} is no Langfuse: {answer.status_code}.") from None
        if answer.status_code >= 400:
            raise CommandError(f"Langfuse answered {answer.status_code} to {answer.url.path}.")
        return found


def _sdk() -> tuple[Any, Any]:
    try:
        from langfuse import Langfuse as Client
        from langfuse.media import LangfuseMedia
    except ImportError:
        raise CommandError(
            f"The Langfuse SDK is missing: install it with `{sys.executable} -m pip install "
            "'langfuse>=5'`."
        ) from None
    return Client, LangfuseMedia


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What the SDK complains of: it logs where others raise."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage().splitlines()[0])

    handler = Keep(logging.ERROR)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield said
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
