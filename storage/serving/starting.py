"""What the ports say before the engine is ready: alive, not ready, try again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_LIVE = ("/minio/health/live",)
_HEALTH = "/minio/health/"
_BODY = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>ServiceUnavailable</Code>'
    b"<Message>The store is starting: it replays its log. Please try again.</Message></Error>"
)

_PAGE = (
    b'<!doctype html><html lang="en"><meta charset="utf-8">'
    b'<meta name="viewport" content="width=device-width"><title>Oversight is starting</title>'
    b"<h1>The store is starting</h1><p>After a crash it replays its log, which may take minutes. "
    b"This page asks again by itself.</p></html>"
)


async def starting(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI application: ``live`` is 200 during replay, all else 503 with Retry-After."""
    path = scope["path"]
    if path in _LIVE:
        await _answer(send, 200, [(b"content-length", b"0")], b"")
        return
    headers = [(b"retry-after", b"1")]
    body = b""
    if not path.startswith(_HEALTH):
        headers.append((b"content-type", b"application/xml"))
        body = b"" if scope["method"] == "HEAD" else _BODY
    headers.append((b"content-length", b"%d" % len(body)))
    await _answer(send, 503, headers, body)


async def starting_console(scope: Scope, receive: Receive, send: Send) -> None:
    """The same on the console port, where people come with browsers: those get a page that
    loads again by itself."""
    accepted = dict(scope["headers"]).get(b"accept", b"")
    if scope["method"] != "GET" or b"text/html" not in accepted:
        await starting(scope, receive, send)
        return
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(_PAGE)),
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"1"),
        (b"refresh", b"1"),
    ]
    await _answer(send, 503, headers, _PAGE)


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Switch:
    """An application that can be exchanged while connections are open.

    ``begin`` is the shorter way into it that ``storage.s3.http`` knows, None if it has none.
    """

    __slots__ = ("_app", "begin")

    def __init__(self, app: Application = starting) -> None:
        self.app = app

    @property
    def app(self) -> Application:
        return self._app

    @app.setter
    def app(self, app: Application) -> None:
        self._app = app
        self.begin: Any = getattr(app, "begin", None)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._app(scope, receive, send)
