"""What the ports say before the engine is ready."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from storage.serving.starting import Application, starting, starting_console

BROWSER = b"text/html,application/xhtml+xml,*/*;q=0.8"


def ask(
    app: Application, path: str, method: str = "GET", accept: bytes = b"*/*"
) -> tuple[int, dict[bytes, bytes], bytes]:
    """(status, headers, body) of a request to ``app``."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"accept", accept)]}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.mark.parametrize("app", [starting, starting_console])
@pytest.mark.parametrize(
    ("path", "status"), [("/minio/health/live", 200), ("/minio/health/ready", 503), ("/b/k", 503)]
)
def test_programs_are_told_to_come_back(app: Application, path: str, status: int) -> None:
    found, headers, body = ask(app, path)
    assert found == status
    assert headers.get(b"retry-after") == (b"1" if status == 503 else None)
    assert (b"<Code>ServiceUnavailable</Code>" in body) == (path == "/b/k")
    assert int(headers[b"content-length"]) == len(body)


def test_browsers_get_a_page_that_comes_back_by_itself() -> None:
    status, headers, body = ask(starting_console, "/", accept=BROWSER)
    assert (status, headers[b"refresh"], headers[b"cache-control"]) == (503, b"1", b"no-store")
    assert b"The store is starting" in body
    assert int(headers[b"content-length"]) == len(body)
    for app, method in ((starting, "GET"), (starting_console, "POST"), (starting_console, "HEAD")):
        assert b"refresh" not in ask(app, "/", method, BROWSER)[1]
