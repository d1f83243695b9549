"""The context of one request, built once, and the response that answers it.

Header names and values stay bytes as ASGI gives them: most are never looked at, and signatures
are computed over bytes.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any
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

#: Looked for as a number: bytes in bytes are found at ten times the price.
_PERCENT = ord("%")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_EMPTY_QUERY: dict[str, str] = {}
_request_prefix = secrets.token_hex(4).upper()
_request_numbers = itertools.count(1)


def new_request_id() -> str:
    """An id that no other request gets, in error documents, answers' headers and logs."""
    return f"{_request_prefix}{next(_request_numbers):08X}"


class Call:
    """One request.

    ``bucket`` and ``key`` are decoded ("" where the path has none); ``raw_path`` and
    ``raw_query`` are as sent, for signatures. ``headers`` has lower-case names; repeated headers
    are joined with commas. ``query`` must not be changed. ``auth`` is what
    ``storage.s3.auth.authenticate`` returned, ``target`` the bucket, where the operation needs
    one that exists. ``bytes_in`` and ``bytes_out`` count the bodies as far as they came and went.
    """

    __slots__ = (
        "app",
        "auth",
        "bucket",
        "bytes_in",
        "bytes_out",
        "headers",
        "key",
        "method",
        "query",
        "raw_path",
        "raw_query",
        "receive",
        "request_id",
        "route",
        "scope",
        "send",
        "target",
    )

    app: S3App
    auth: Any
    route: Route | None
    target: Bucket

    def __init__(self, app: S3App, scope: Scope, receive: Receive, send: Send) -> None:
        """Never raises: what the client may have got wrong is found by ``parse``."""
        self.app = app
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        self.raw_query: bytes = scope["query_string"]
        self.request_id = new_request_id()
        self.auth = self.route = None  # an answer may come before either is known
        self.bucket = self.key = ""
        self.query = _EMPTY_QUERY
        self.bytes_in = self.bytes_out = 0
        pairs = scope["headers"]
        headers: dict[bytes, bytes] = dict(pairs)
        if len(headers) != len(pairs):
            headers = _join_repeated(pairs)
        self.headers = headers

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
        body: bytes = b"",
        stream: AsyncIterator[bytes | memoryview] | None = None,
        length: int = -1,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.stream = stream
        self.length = length
        """Content-Length to declare; -1: that of ``body`` (or chunked, with a stream)."""


def _join_repeated(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
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
