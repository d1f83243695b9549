"""What surrounds every request of the control plane: limits of bodies and headers of safety."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from storage.control.problems import Problem, answer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Largest body of a request that is not an upload, in bytes.
BODY_BYTES_MAX = 1024 * 1024
_OBJECTS = re.compile(r"/api/v1/buckets/[^/]+/objects(?:/|\Z)").match

# Nothing that the control plane answers may be framed, sniffed, cached or run as a page of its
# own origin; its own pages and downloads set a policy of their own.
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """ASGI middleware around the control plane.

    A framework reads a JSON body before anyone asks who sent it, so its size is bounded here;
    paths of objects are left alone, since uploads stream.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in _HEADERS if header[0] not in given),
                ]
            await send(message)

        if is_upload(scope):
            await self._app(scope, receive, send_safely)
            return
        if _declared(scope) > BODY_BYTES_MAX:
            await answer(_too_large())(scope, receive, send_safely)
            return
        await self._app(scope, _Bounded(receive), send_safely)


class _Bounded:
    """``receive`` that gives up once a body without a declared length grows too large."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = BODY_BYTES_MAX

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, _too_large().detail)
        return message


def is_upload(scope: Scope) -> bool:
    """Whether the body is an object's bytes."""
    return (
        scope["method"] in ("PUT", "POST")
        and _OBJECTS(scope["path"].removeprefix(scope.get("root_path", ""))) is not None
    )


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _too_large() -> Problem:
    return Problem(413, "EntityTooLarge", f"The body is larger than {BODY_BYTES_MAX} bytes.")
