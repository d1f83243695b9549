"""One request to the console."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from storage.origin import Origin
from storage.serving.handover import Message, Receive, Scope, Send


class TooLarge(Exception):
    """A body larger than its route takes."""


class Malformed(Exception):
    """A body that is not what its route takes."""


class Request:
    """What was asked; ``send`` answers it, and ``begun`` tells whether that has begun."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: bytes = scope["raw_path"].partition(b"?")[0]
        self.query: str = scope["query_string"].decode("latin-1")
        self.client = Origin(scope["client"][0], scope["scheme"]).told()
        self.begun = False
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive, self._send = receive, send

    @property
    def has_body(self) -> bool:
        length = self.header(b"content-length")
        return length not in ("", "0") or bool(self.header(b"transfer-encoding"))

    def header(self, name: bytes) -> str:
        """A header's value, "" where there is none."""
        return next((v.decode("latin-1") for n, v in self._headers if n == name), "")

    def kept(self, wanted: Callable[[str], object]) -> dict[str, str]:
        """The headers that ``wanted`` matches."""
        named = ((n.decode("latin-1"), v.decode("latin-1")) for n, v in self._headers)
        return {name: value for name, value in named if wanted(name)}

    async def send(self, message: Message) -> None:
        self.begun = True
        await self._send(message)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises ConnectionError when the client goes away."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ConnectionError
            more = message["more_body"]
            if message["body"]:
                yield message["body"]

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises TooLarge."""
        data = bytearray()
        async for piece in self.stream():
            data += piece
            if len(data) > limit:
                raise TooLarge
        return bytes(data)

    async def json(self, limit: int, kind: type = dict) -> Any:
        """The body's document. Raises TooLarge, and Malformed unless it is one of ``kind``."""
        try:
            document = json.loads(await self.body(limit))
        except (ValueError, RecursionError) as error:
            raise Malformed from error
        if not isinstance(document, kind):
            raise Malformed
        return document
