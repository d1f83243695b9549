"""Requests to the store, on behalf of a signed-in user."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpcore

from storage.console import signing
from storage.console.sessions import Session
from storage.s3.caller import CALLER, PROOF, prove
from storage.serving.doorway import Birth

#: Largest answer of the control API that is read as a whole, in bytes.
_ANSWER_BYTES_MAX = 8 * 1024 * 1024
# Connecting is to this machine; an answer may take as long as a sync or a large listing.
_TIMEOUTS = {"connect": 5.0, "read": 120.0, "write": 120.0, "pool": 30.0}
#: Connections at once, to each of the two ports. What one user may have is less: ``sessions``.
_CONNECTIONS_MAX = 512
#: Seconds that a request waits while its user has as many under way as they may.
ROOM_SECONDS = 30.0

#: Raised where the store does not answer, or breaks off.
UNANSWERED = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)

Body = bytes | AsyncIterator[bytes] | None


class Refused(Exception):
    """An answer of the control API that is not what was hoped for."""

    def __init__(self, status: int, content: bytes) -> None:
        super().__init__(status)
        self.status, self.content = status, content


class Crowded(Exception):
    """The user has too many requests under way."""


class Upstream:
    """Connections to the S3 and the control port of one store."""

    def __init__(self, birth: Birth) -> None:
        self.birth = birth
        # The console port closes what is idle for 5 s; a request on its way then would be lost.
        # Two pools: downloads that crawl must not keep anybody from signing in.
        self._control, self._s3 = (
            httpcore.AsyncConnectionPool(
                max_connections=_CONNECTIONS_MAX, max_keepalive_connections=16, keepalive_expiry=3.0
            )
            for _ in range(2)
        )

    async def close(self) -> None:
        await self._control.aclose()
        await self._s3.aclose()

    @asynccontextmanager
    async def control(
        self, method: str, target: str, caller: str, session: Session | None,
        headers: Mapping[str, str] | None = None, body: Body = None,
    ) -> AsyncIterator[httpcore.Response]:  # fmt: skip
        """The API's answer, for the user of ``session``; ``caller`` is where they call from."""
        sent = {
            **(headers or {}),
            CALLER.decode(): caller,
            PROOF.decode(): self.birth.proof,
            **({"authorization": f"Bearer {session.token}"} if session else {}),
        }
        async with (
            _room(session),
            self._stream(self._control, method, self.birth.control, target, sent, body) as response,
        ):
            yield response

    async def ask(
        self, method: str, path: str, caller: str, session: Session | None, document: Any = None
    ) -> Any:
        """The API's answer as JSON, None where it has none. Raises Refused."""
        headers = {"content-type": "application/json"} if document is not None else {}
        body = json.dumps(document).encode() if document is not None else None
        async with self.control(method, path, caller, session, headers, body) as response:
            content = await read(response, _ANSWER_BYTES_MAX)
        if response.status >= 400:
            raise Refused(response.status, content)
        return json.loads(content) if content else None

    @asynccontextmanager
    async def s3(
        self, method: str, bucket: str, key: str, query: list[tuple[str, str]], session: Session,
        headers: Mapping[str, str] | None = None, body: Body = None,
    ) -> AsyncIterator[httpcore.Response]:  # fmt: skip
        """S3's answer to a request that is signed with the user's temporary credentials, and
        decided about as one from where the session is used."""
        path, host = signing.encode_path(bucket, key), _host(self.birth.s3)
        signed = signing.headers(
            method, host, path, query, headers or {}, session, self.birth.region
        )
        signed[CALLER.decode()] = session.caller
        signed[PROOF.decode()] = prove(
            self.birth.caller_key, signed["authorization"], session.caller
        )
        target = f"{path}?{signing.encode_query(query)}" if query else path
        async with (
            _room(session),
            self._stream(self._s3, method, self.birth.s3, target, signed, body) as response,
        ):
            yield response

    @asynccontextmanager
    async def _stream(
        self, pool: httpcore.AsyncConnectionPool, method: str, to: tuple[str, int], target: str,
        headers: Mapping[str, str], body: Body,
    ) -> AsyncIterator[httpcore.Response]:  # fmt: skip
        # Built from its parts: a URL's text would be normalised, and ".." is part of a key.
        url = httpcore.URL(
            scheme=b"http", host=to[0].encode(), port=to[1], target=target.encode("ascii")
        )
        sent = [(n.encode("ascii"), v.encode("latin-1")) for n, v in headers.items()]
        if "host" not in headers:
            sent.append((b"host", _host(to).encode()))
        if isinstance(body, bytes):
            sent.append((b"content-length", b"%d" % len(body)))
        elif body is None and method in ("PUT", "POST"):
            sent.append((b"content-length", b"0"))
        elif body is not None and "content-length" not in headers:
            sent.append((b"transfer-encoding", b"chunked"))
        async with pool.stream(
            method, url, headers=sent, content=body, extensions={"timeout": _TIMEOUTS}
        ) as response:
            yield response


@asynccontextmanager
async def _room(session: Session | None) -> AsyncIterator[None]:
    """One of the requests that a user may have under way. Raises Crowded."""
    if session is None:
        yield
        return
    try:
        async with asyncio.timeout(ROOM_SECONDS):
            await session.room.acquire()
    except TimeoutError:
        raise Crowded from None
    try:
        yield
    finally:
        session.room.release()


async def read(response: httpcore.Response, limit: int) -> bytes:
    """The whole body. Raises ValueError beyond ``limit`` bytes."""
    data = bytearray()
    async for piece in response.aiter_stream():
        data += piece
        if len(data) > limit:
            raise ValueError("the answer is too large")
    return bytes(data)


def header(response: httpcore.Response, name: bytes) -> str:
    """A header's value, "" where there is none."""
    found = (value for given, value in response.headers if given.lower() == name)
    return next(found, b"").decode("latin-1")


def segments(*parts: str) -> str:
    """A path of the control API from segments that are quoted here."""
    return "/api/v1/" + "/".join(quote(part, safe="") for part in parts)


def _host(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
