"""The floor: what a request costs under uvicorn before a store does anything with it.

A bare raw-ASGI responder, served by the stock ``uvicorn`` command with as many workers as the
store has. It reads the whole body and answers 200: GET with 4 KiB, everything else without a
body. No routing, no authentication, no storage.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]

PAYLOAD = b"\x5a" * 4096
_GET_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"4096"), (b"content-type", b"application/octet-stream")],
}
_PUT_START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
_GET_BODY = {"type": "http.response.body", "body": PAYLOAD}
_PUT_BODY = {"type": "http.response.body", "body": b""}


async def app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer one request (ASGI 3.0, HTTP only)."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    if scope["method"] == "GET":
        await send(_GET_START)
        await send(_GET_BODY)
    else:
        await send(_PUT_START)
        await send(_PUT_BODY)
