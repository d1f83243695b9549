"""The context of one request, built once, and the response that answers it.

Header names and values stay bytes as ASGI gives them: most are never looked at, and signatures
are computed over bytes.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote_to_bytes

from storage.s3.errors import S3Error

if TYPE_CHECKING:
    from storage.engine.interface import Bucket
    from storage.s3.app import S3App
    from storage.s3.routes import Route

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]

#: ASGI extension of our HTTP protocol: ``await receive_into(view)`` fills memory with body straight
#: from the socket; fewer bytes than asked for are the body's last ones. Large bodies have it.
RECEIVE_INTO = "oversight.receive_into"

#: Looked for as a number: bytes in bytes are found at ten times the price.
_PERCENT = ord("%")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_EMPTY_QUERY: dict[str, str] = {}
# A random half and a counting one; the first digit is never 0, so that there are always 16.
_request_numbers = itertools.count((1 << 63) + (secrets.randbits(31) << 32) + 1)


def new_request_id() -> str:
    """An id that no other request gets, in error documents, answers' headers and logs."""
    return hex(next(_request_numbers))[2:].upper()  # a quarter of what formatting costs


class Request(Protocol):
    """A request as an HTTP server hands it over, and the way back to the client.

    ``headers`` has lower-case names, repeated ones joined with commas; ``client`` is address and
    port of the peer.
    """

    @property
    def method(self) -> str: ...
    @property
    def raw_path(self) -> bytes: ...
    @property
    def raw_query(self) -> bytes: ...
    @property
    def headers(self) -> dict[bytes, bytes]: ...
    @property
    def scope(self) -> Scope:
        """The same as ASGI has it."""

    @property
    def receive(self) -> Receive: ...
    @property
    def send(self) -> Send: ...

    def answer(
        self, status: int, headers: HeaderList, length: int, body: bytes | bytearray
    ) -> Coroutine[Any, Any, None] | None:
        """Send a whole response; what is left of that to be awaited.

        ``length`` is the Content-Length to declare, -1 for none.
        """


class AsgiRequest:
    """A request from any ASGI server."""

    __slots__ = ("headers", "method", "raw_path", "raw_query", "receive", "scope", "send")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        self.raw_query: bytes = scope["query_string"]
        self.headers = join_repeated(scope["headers"])

    async def answer(
        self, status: int, headers: HeaderList, length: int, body: bytes | bytearray
    ) -> None:
        if length >= 0:
            headers.append((b"content-length", b"%d" % length))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


class Call:
    """One request.

    ``bucket`` and ``key`` are decoded ("" where the path has none); ``raw_path`` and
    ``raw_query`` are as sent, for signatures. ``headers`` has lower-case names; repeated headers
    are joined with commas. ``query`` must not be changed. ``auth`` is what
    ``storage.s3.auth.authenticate`` returned, ``target`` the bucket, where the operation needs
    one that exists. ``request_tags`` are the tags in the body, once it was read. ``by_object``: an
    object's own ACL or tags let the call in, and whoever looks the object up decides once more by
    what was found (``storage.s3.operations.access``). ``bytes_in`` and
    ``bytes_out`` count the bodies as far as they came and went; ``started`` is what the clock of
    ``time.perf_counter`` showed.
    """

    __slots__ = (
        "app",
        "auth",
        "bucket",
        "by_object",
        "bytes_in",
        "bytes_out",
        "headers",
        "key",
        "method",
        "query",
        "raw_path",
        "raw_query",
        "request",
        "request_id",
        "request_tags",
        "route",
        "started",
        "target",
    )

    app: S3App
    auth: Any
    request_tags: dict[str, str] | None
    route: Route | None
    started: float
    target: Bucket
    host_bucket = ""
    """The bucket that the Host header names (``storage.s3.hosts``), "" where the path does."""

    def __init__(self, app: S3App, request: Request) -> None:
        """Never raises: what the client may have got wrong is found by ``parse``."""
        self.app = app
        self.request = request
        self.method = request.method
        self.raw_path = request.raw_path
        self.raw_query = request.raw_query
        self.headers = request.headers
        self.request_id = new_request_id()
        self.auth = self.route = None  # an answer may come before either is known
        self.request_tags = None
        self.bucket = self.key = ""
        self.query = _EMPTY_QUERY
        self.bytes_in = self.bytes_out = 0
        self.by_object = False

    @property
    def scope(self) -> Scope:
        """The request as ASGI has it, for what is asked for less often."""
        return self.request.scope

    @property
    def receive(self) -> Receive:
        """ASGI's: the next piece of the body."""
        return self.request.receive

    def parse(self) -> None:
        """Decode path and query. Raises InvalidURI where they are not percent-encoded UTF-8.

        Nothing is normalised: ``.``, ``..`` and empty segments are ordinary in keys.
        """
        path = self.raw_path
        if _PERCENT in path:
            bucket, _, key = path[1:].partition(b"/")
            if _BAD_ESCAPE.search(path) is not None:
                raise S3Error("InvalidURI")
            bucket, key = unquote_to_bytes(bucket), unquote_to_bytes(key)
        else:
            bucket, _, key = path[1:].partition(b"/")
        try:
            self.bucket = bucket.decode()
            self.key = key.decode()
        except UnicodeDecodeError:
            raise S3Error("InvalidURI", "The key is not valid UTF-8.") from None
        query = self.raw_query
        if query:
            self.query = _known_query(query) if len(query) <= 64 else parse_query(query)

    def header(self, name: bytes) -> str:
        """The value of a header as text (Latin-1, so that no byte is lost), or ""."""
        value = self.headers.get(name)
        return "" if value is None else value.decode("latin-1")


class Response:
    """An answer: either ``body`` whole, or ``stream``, whose length ``headers`` then declare.

    Without a declared length the stream goes out chunked.
    """

    __slots__ = ("body", "headers", "length", "status", "stream")

    def __init__(
        self,
        status: int,
        headers: HeaderList,
        body: bytes | bytearray = b"",
        stream: AsyncIterator[bytes | memoryview] | None = None,
        length: int = -1,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.stream = stream
        self.length = length
        """Content-Length to declare; -1: that of ``body`` (or chunked, with a stream)."""


def join_repeated(pairs: HeaderList) -> dict[bytes, bytes]:
    """Headers as a dict, repeated ones joined with a comma (RFC 9110, section 5.3)."""
    joined: dict[bytes, bytes] = {}
    for name, value in pairs:
        earlier = joined.get(name)
        joined[name] = value if earlier is None else earlier + b"," + value
    return joined


def parse_query(raw: bytes) -> dict[str, str]:
    """A query's parameters, decoded strictly; of repeated ones the first counts.

    Raises InvalidURI where a name or value is not percent-encoded UTF-8.
    """
    query: dict[str, str] = {}
    try:
        for pair in raw.split(b"&"):
            if not pair:
                continue
            name, _, value = pair.partition(b"=")
            if b"%" in name or b"+" in name:
                name = unquote_to_bytes(name.replace(b"+", b" "))
            if b"%" in value or b"+" in value:
                value = unquote_to_bytes(value.replace(b"+", b" "))
            query.setdefault(name.decode(), value.decode())
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "The query is not valid UTF-8.") from None
    return query


#: Short queries repeat (``x-id=GetObject``, ``location``): parsed once, never changed.
_known_query = lru_cache(maxsize=256)(parse_query)
