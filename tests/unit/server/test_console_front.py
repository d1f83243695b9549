"""Pages of the console: there at once, kept by browsers, and new with every release."""

from __future__ import annotations

import asyncio
import gzip
import re
import subprocess
import sys
from typing import Any

import pytest

from storage.console.front import Front
from storage.serving.doorway import Birth

BIRTH = Birth(("127.0.0.1", 1), ("127.0.0.1", 9000), "", "us-east-1", "proof")


def ask(
    front: Front, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[bytes, bytes], bytes]:
    scope = {
        "method": method, "path": f"/console/{path}", "raw_path": f"/console/{path}".encode(),
        "query_string": b"", "client": ("10.0.0.1", 1), "scheme": "http",
        "headers": [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()],
    }  # fmt: skip
    answers: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        answers.append(message)

    async def work() -> None:
        await front(scope, receive, send)
        if front._loading is not None:
            front._loading.cancel()
            front._loading = None

    asyncio.run(work())
    body = b"".join(each["body"] for each in answers[1:])
    return answers[0]["status"], dict(answers[0]["headers"]), body


@pytest.fixture(scope="module")
def front() -> Front:
    return Front(BIRTH)


def test_the_page_names_its_parts_by_what_is_in_them(front: Front) -> None:
    status, headers, body = ask(front, "", host="store.test:9001")
    assert (status, headers[b"cache-control"]) == (200, b"no-cache")
    assert b"connect-src 'self' http://store.test:9000;" in headers[b"content-security-policy"]
    parts = re.findall(r'(?:src|href)="(static/[^"]+)"', body.decode())
    assert len(parts) > 5
    for part in parts:
        assert part.startswith(f"static/{front._pages.version}/")
        status, headers, content = ask(front, part, accept_encoding="gzip")
        assert (status, headers[b"content-encoding"]) == (200, b"gzip")
        assert headers[b"cache-control"] == b"public, max-age=31536000, immutable"
        assert gzip.decompress(content) == ask(front, part)[2]


def test_parts_without_their_version_are_asked_for_each_time(front: Front) -> None:
    for path in ("static/main.js", "static/0123456789abcdef/main.js"):
        status, headers, _ = ask(front, path)
        assert (status, headers[b"cache-control"]) == (200, b"no-cache")
        tag = headers[b"etag"].decode()
        assert ask(front, path, if_none_match=tag)[0] == 304
    for path in ("static/none.js", "static/x/main.js", "static/../main.js", "static/main.js/"):
        assert ask(front, path)[0] == 404 or path.endswith("/")


def test_nobody_is_signed_in_before_the_rest_is_loaded(front: Front) -> None:
    assert ask(front, "session", cookie="oversight_session=" + "a" * 43)[2] == b"null"
    assert ask(front, "sign", "POST", x_oversight_console="1")[0] == 401


def test_the_first_page_needs_little() -> None:
    """An HTTP client, signatures and the like are loaded behind it."""
    script = (
        "import sys, storage.console.process; "
        "print([n for n in ('httpcore', 'h11', 'cryptography', 'defusedxml', 'storage.s3.auth', "
        "'storage.iam') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert found.stdout.strip() == b"[]"
