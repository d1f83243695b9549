"""HTTP/1.1 on the S3 port: a protocol for uvicorn's ``http=`` hook, made for object traffic.

It speaks the same ASGI to the application as uvicorn's own protocol, from which it derives, and
differs where that one costs or errs (figures: docs/architecture.md, "The HTTP floor"):

- The head of a response waits for the first piece of body, and both leave in one system call.
- A request starts as a plain call inside ``data_received``; what it waits for first goes on with
  it the same way. Only if it has to wait for a second time does a task take it over: most reads
  wait for nothing and small writes for their commit alone.
- Body bytes of a declared length go past the parser, are handed over as they arrived, and up to
  1 MiB of them is read ahead.
- Large bodies go from the socket into memory that the application offers (``receive_into``): no
  copy, and one turn of the application for a block instead of one for each packet.
- Blocks are written without copying, and ``send`` returns only once the kernel has taken them:
  the sender may reuse its buffer.
- A request that cannot be understood gets an S3 error document, never beside another answer;
  idle, stalled and dribbling connections are closed by one sweep a second instead of a timer
  each.

An application runs its first two steps outside of any task: it must not use ``asyncio.timeout``
or ``asyncio.current_task`` before it has had to wait twice.

Beside ASGI there is a shorter way: an application that has a method ``begin(exchange)`` is not
called; ``begin`` answers what needs no waiting as a plain function, through ``Exchange.answer``,
and returns None, or the coroutine that is left to be run.

Framing follows RFC 9112, the expectation of 100-continue RFC 9110, section 10.1.1.
"""

from __future__ import annotations

import asyncio
import logging
import re
import types
from collections import deque
from collections.abc import Coroutine, Generator, Iterable, MutableMapping
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from storage.s3.call import RECEIVE_INTO, new_request_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]

#: Bytes of a request line and headers together. S3's own limits (8 KiB of headers, 2 KiB of user
#: metadata, 1 KiB of key) stay far below.
HEAD_BYTES_MAX = 64 * 1024
#: Bytes of body that are read ahead of the application.
READ_AHEAD_MAX = 1024 * 1024
#: Up to here a body is copied behind its head; a larger one goes out beside it (writev).
JOIN_MAX = 32 * 1024
#: Rest of a body nobody wants that is read and thrown away to keep the connection.
DISCARD_MAX = 256 * 1024
#: Pipelined requests that are answered in one go before other connections get their turn.
PIPELINE_TURN = 16
#: Pipelined requests that may wait. Reading pauses while one does; what one read brings is refused
#: beyond this bound, so that a client that takes no answers can't fill the memory.
PIPELINE_MAX = 1024

#: Seconds: between requests; for a whole request head; without a byte of a body that is waited
#: for, or without one taken of a response; for the rest of a refused body.
IDLE_TIMEOUT = 90
HEAD_TIMEOUT = 20
STALL_TIMEOUT = 60
LINGER_TIMEOUT = 5

# Looked for as a number: bytes in bytes are found at ten times the price.
_HASH = ord("#")
_VERSIONS = ("1.1", "1.0")
# RFC 3986, section 3.2.2, without the comma, and an optional port.
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-fv:.]+\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
).fullmatch
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CONNECTION_CLOSE = b"connection: close\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"
# 2.4: ``send`` raises once the client has gone.
_ASGI = {"version": "3.0", "spec_version": "2.4"}
_logger = logging.getLogger("storage.http")


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


_STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}

_ENDED = object()
# How the end of a response's body is told.
_DECLARED, _CHUNKS, _NOTHING, _CLOSING = range(4)


class ClientDisconnected(ConnectionError):
    """The client has gone, or its request was refused halfway: nobody takes what is sent."""


class Exchange:
    """One request and its response: what ASGI's ``scope``, ``receive`` and ``send`` stand for.

    ``length`` is the declared length of the request's body, -1 where none is known.
    """

    __slots__ = (
        "_scope",
        "chunks",
        "complete",
        "disconnected",
        "ended",
        "expects_continue",
        "framing",
        "head",
        "headers",
        "keep_alive",
        "left",
        "length",
        "method",
        "more_body",
        "protocol",
        "raw_path",
        "raw_query",
        "received",
        "repeated",
        "room",
        "started",
        "unread",
        "version",
        "waiter",
    )

    def __init__(
        self,
        protocol: S3Protocol,
        method: str,
        target: tuple[bytes, bytes],
        version: str,
        headers: dict[bytes, bytes],
        repeated: Headers | None,
        keep_alive: bool,
    ) -> None:
        self.protocol = protocol
        self.method = method
        self.raw_path, self.raw_query = target
        self.version = version
        self.headers = headers
        self.repeated = repeated
        self.keep_alive = keep_alive
        self._scope: Scope | None = None
        # the request's body
        self.expects_continue = False
        self.length = -1
        self.received = 0
        self.chunks: deque[bytes] | None = None
        self.unread = 0
        self.more_body = True
        self.ended = False
        self.waiter: asyncio.Future[None] | None = None
        self.room: memoryview | None = None
        # the response
        self.started = False
        self.complete = False
        self.disconnected = False
        self.head: bytes | None = None
        self.framing = _DECLARED
        self.left = 0

    @property
    def scope(self) -> Scope:
        """The request as ASGI has it, made when it is first asked for."""
        if self._scope is None:
            protocol, path = self.protocol, self.raw_path.decode("latin-1")
            self._scope = {
                "type": "http",
                "asgi": _ASGI,
                "http_version": self.version,
                "method": self.method,
                "scheme": protocol.scheme,
                "path": unquote(path) if "%" in path else path,
                "raw_path": self.raw_path,
                "query_string": self.raw_query,
                "root_path": "",
                "headers": self.repeated or list(self.headers.items()),
                "client": protocol.client,
                "server": protocol.server,
            }
            if self.length > READ_AHEAD_MAX:
                self._scope["extensions"] = {RECEIVE_INTO: self.receive_into}
        return self._scope

    # -- the request's body -----------------------------------------------------------------------

    def expect_body(self) -> None:
        """Learn from the headers what the body will be."""
        length = self.headers.get(b"content-length")
        if length is not None:
            self.length = int(length)
        self.expects_continue = self.headers.get(b"expect", b"").lower() == b"100-continue"

    async def receive(self) -> Message:
        """The next piece of the request's body as it arrived, or the news of a disconnect."""
        while not self.disconnected and not self.complete:
            if self.chunks:
                chunk = self.chunks.popleft()
                self.unread -= len(chunk)
                self.ended = not self.more_body and not self.chunks
                return {"type": "http.request", "body": chunk, "more_body": not self.ended}
            if self.more_body:
                self.protocol.want_body(self)
            elif not self.ended:
                self.ended = True
                return {"type": "http.request", "body": b"", "more_body": False}
            self.waiter = self.protocol.loop.create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None
        return {"type": "http.disconnect"}

    async def receive_into(self, view: memoryview) -> int:
        """Fill ``view`` with body; how many bytes that were, fewer only where the body ends.

        For bodies of a declared length. Raises ClientDisconnected.
        """
        self.room = self._take_ahead(view)
        try:
            if self.more_body and self.room:
                self.protocol.begin_filling(self)
            while self.more_body and self.room and not self.disconnected and not self.complete:
                self.waiter = self.protocol.loop.create_future()
                await self.waiter
            if self.disconnected or self.complete:
                raise ClientDisconnected
            return len(view) - len(self.room)
        finally:
            self.waiter = None
            self.room = None
            self.protocol.end_filling()

    def _take_ahead(self, view: memoryview) -> memoryview:
        """Move what was read ahead into ``view``; the room that is left."""
        while self.chunks and view:
            chunk = self.chunks.popleft()
            count = min(len(chunk), len(view))
            view[:count] = chunk[:count]
            view = view[count:]
            self.unread -= count
            if count < len(chunk):
                self.chunks.appendleft(chunk[count:])
        return view

    def add(self, chunk: bytes) -> None:
        """Take a piece of body, or drop it where nobody will read it."""
        self.received += len(chunk)
        if self.complete or self.disconnected:
            return
        if self.chunks is None:
            self.chunks = deque()
        self.chunks.append(chunk)
        self.unread += len(chunk)
        if self.unread > READ_AHEAD_MAX:
            self.protocol.pause_reading()
        self.wake()

    def end(self) -> None:
        """The body is complete."""
        self.more_body = False
        self.wake()

    def wake(self) -> None:
        """Let ``receive`` look again."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def abandon(self) -> None:
        """Nobody listens to this exchange any more: the application is told, its answer dropped."""
        self.disconnected = True
        self.wake()

    # -- the response -----------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Take the head, or a piece of body; returns once the kernel has taken the bytes.

        Raises ClientDisconnected once nobody takes them any more, and RuntimeError for what no
        client should get to see: body bytes beyond or below the declared length, line breaks in
        headers, messages out of order.
        """
        if self.disconnected:
            raise ClientDisconnected
        if not self.started:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"{message['type']} before the start of the response")
            self.head = self._encode_head(message["status"], message.get("headers", ()))
            self.started = True
            return
        if self.complete or message["type"] != "http.response.body":
            raise RuntimeError(f"{message['type']} out of order")
        body = message.get("body", b"")
        last = not message.get("more_body", False)
        if self.framing == _DECLARED:
            self.left -= len(body)
            if self.left and (last or self.left < 0):
                raise RuntimeError(f"the body is {-self.left} bytes off its declared length")
        elif self.framing == _CHUNKS:
            body = _chunk(body, last)
        elif self.framing == _NOTHING:
            body = b""
        head, self.head = self.head, None
        if head is not None:
            self._write(head, body)
        elif body:
            self.protocol.transport.write(body)
        if self.protocol.write_paused:
            await self.protocol.drained()
        if last:
            self._sent()

    def answer(
        self, status: int, headers: Headers, length: int, body: bytes | bytearray
    ) -> Coroutine[Any, Any, None] | None:
        """Send a whole response; what is left of that to be awaited.

        It is what two ``send`` say, in one plain call. ``length`` is the Content-Length to declare,
        -1 for none; ``headers`` say nothing of framing. Raises as ``send`` does.
        """
        if self.disconnected:
            raise ClientDisconnected
        parts = [_STATUS_LINES[status], b""]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        lines = len(headers)
        if length >= 0:
            parts.append(b"content-length: %d\r\n" % length)
            lines += 1
        head = self._seal(parts, lines, status, length, told_to_close=False)
        if self.framing != _DECLARED:
            body = _chunk(body, True) if self.framing == _CHUNKS else b""
        elif length != len(body):
            raise RuntimeError(f"the body is {len(body) - length} bytes off its declared length")
        self.started = True
        self._write(head, body)
        if self.protocol.write_paused:
            return self._drain()
        self._sent()
        return None

    async def _drain(self) -> None:
        await self.protocol.drained()
        self._sent()

    def _write(self, head: bytes, body: bytes | bytearray | memoryview) -> None:
        transport = self.protocol.transport
        if not body:
            transport.write(head)
        elif len(body) <= JOIN_MAX:
            transport.write(b"".join((head, body)))
        else:
            transport.writelines((head, body))

    def _sent(self) -> None:
        """The kernel has the last byte of the response."""
        if not self.complete and not self.disconnected:
            self.complete = True
            if self.waiter is not None:
                self.wake()
            self.protocol.exchange_complete(self)

    def _encode_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Status line and headers as bytes. Decides on framing, and whether to keep alive."""
        parts = [_STATUS_LINES[status], b""]
        lines = 0
        declared = -1
        told_to_close = False
        for name, value in headers:
            if name == b"content-length":
                declared = int(value)
            elif name == b"connection":
                told_to_close = value.lower() == b"close"
            elif name == b"transfer-encoding":
                continue  # framing is decided below
            parts += (name, b": ", value, b"\r\n")
            lines += 1
        return self._seal(parts, lines, status, declared, told_to_close=told_to_close)

    def _seal(
        self, parts: list[bytes], lines: int, status: int, declared: int, *, told_to_close: bool
    ) -> bytes:
        """The head made of ``parts``, the second of which is still empty, with ``lines`` headers.

        Decides on framing, and whether to keep alive.
        """
        parts[1], breaks = self.protocol.default_head()
        breaks += lines
        if told_to_close or (self.more_body and not self._rest_is_small()):
            self.keep_alive = False
        self.left = declared
        if self.method == "HEAD" or status == 204 or status == 304:
            self.framing = _NOTHING
        elif declared >= 0:
            self.framing = _DECLARED
        elif self.version == "1.1":
            self.framing = _CHUNKS
            parts.append(_CHUNKED)
            breaks += 1
        else:
            self.framing = _CLOSING
            self.keep_alive = False
        if not self.keep_alive and not told_to_close:
            parts.append(_CONNECTION_CLOSE)
            breaks += 1
        parts.append(b"\r\n")
        head = b"".join(parts)
        # A line break out of stored metadata would forge headers. Counting them in the whole is
        # a fraction of what a search in each name and value costs.
        if head.count(b"\n") != breaks or head.count(b"\r") != breaks or 0 in head:
            raise RuntimeError("a response header holds a line break or NUL")
        return head

    def _rest_is_small(self) -> bool:
        """Whether the rest of an unread body is worth reading, to keep the connection."""
        if self.expects_continue or self.length < 0:
            return False
        return self.length - self.received <= DISCARD_MAX


def _chunk(body: bytes | bytearray | memoryview, last: bool) -> bytes:
    """A piece of body in chunked coding (RFC 9112, section 7.1)."""
    parts: tuple[bytes | bytearray | memoryview, ...] = (
        (b"%x\r\n" % len(body), body, b"\r\n") if body else ()
    )
    return b"".join((*parts, b"0\r\n\r\n") if last else parts)


class _Filler(asyncio.BufferedProtocol):
    """Stands in for a connection's protocol while body goes straight into an exchange's room."""

    def __init__(self, protocol: S3Protocol, exchange: Exchange) -> None:
        self._protocol = protocol
        self._exchange = exchange

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def get_buffer(self, _: int) -> memoryview | bytearray:
        """Where the next bytes go; what nobody wants any more goes nowhere."""
        room = self._exchange.room
        left = self._protocol.body_left
        if not room or not left:
            return bytearray(_WASTE)
        return room[:left]

    def buffer_updated(self, count: int) -> None:
        """``count`` bytes have come."""
        exchange = self._exchange
        if exchange.room and self._protocol.body_left:
            exchange.room = exchange.room[count:]
            self._protocol.filled(exchange, count)


_WASTE = 64 * 1024


class S3Protocol(HttpToolsProtocol):
    """A connection on the S3 port. Requests on it are answered in their order."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._url = b""
        #: The last Host that was found to be one: clients say the same with each request.
        self._host = b"\0"
        #: The exchange whose request is being read, and the one that is being answered.
        self._reading: Exchange | None = None
        self._active: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._running = False
        #: Bytes of body that are still to come past the parser.
        self.body_left = 0
        self._filling = False
        self._in_head = False
        self._half_closed = False
        self._head_bytes = 0
        self._read_paused = False
        self.write_paused = False
        self._write_waiter: asyncio.Future[None] | None = None
        #: What to say once everything before it is answered; then the connection ends.
        self._refusal: bytes | None = None
        # counted by ``sweep``, in seconds
        self._quiet = 0
        self._head_age = 0
        self._lingering = 0
        self._unsent = 0

    # -- the connection ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.connections.add(self)
        self.transport = transport
        # Nothing may be buffered when ``send`` returns: the sender reuses its blocks.
        transport.set_write_buffer_limits(0)
        self.server = get_local_addr(transport)
        self.client = get_remote_addr(transport)
        self.scheme = "https" if is_ssl(transport) else "http"

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        for exchange in (self._reading, self._active, *self._waiting):
            if exchange is not None and not exchange.complete:
                exchange.abandon()
        self._waiting.clear()
        self.body_left = 0
        self.resume_writing()
        self.parser = None  # type: ignore[assignment]

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; whether it may still wait for answers (RFC 9112, 9.6).

        One that asked for nothing whole, or for nothing at all, has gone.
        """
        asked = self._waiting[-1] if self._waiting else self._active
        if self._lingering or asked is None or asked.more_body:
            return False
        self._half_closed = True
        if self._refusal is None:
            asked.keep_alive = False
        return True

    def shutdown(self) -> None:
        """The server is draining: answer what was begun, then close."""
        if self._active is None:
            self.transport.close()
        else:
            self._active.keep_alive = False

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._write_waiter is not None and not self._write_waiter.done():
            self._write_waiter.set_result(None)

    async def drained(self) -> None:
        """Wait until the kernel has taken everything that was written."""
        self._write_waiter = self.loop.create_future()
        try:
            await self._write_waiter
        finally:
            self._write_waiter = None
        self._quiet = 0

    def pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            self.transport.resume_reading()

    def want_body(self, exchange: Exchange) -> None:
        """The application waits for body: ask the client for it, and read on."""
        if exchange.expects_continue:
            exchange.expects_continue = False
            if not exchange.started and exchange is self._active:
                self.transport.write(_CONTINUE)
        self._quiet = 0
        self.resume_reading()

    def begin_filling(self, exchange: Exchange) -> None:
        """Let what the client sends next go into the room of ``exchange``."""
        self.transport.set_protocol(_Filler(self, exchange))
        self._filling = True
        self.want_body(exchange)

    def filled(self, exchange: Exchange, count: int) -> None:
        """``count`` bytes of body are in the room of ``exchange``."""
        self._quiet = 0
        exchange.received += count
        self.body_left -= count
        if not self.body_left:
            self.end_filling()
            self._end_body(exchange)
        elif not exchange.room:
            self.pause_reading()  # what comes before there is room again stays in the kernel
            exchange.wake()

    def end_filling(self) -> None:
        """Take over again; repeatable."""
        if self._filling:
            self._filling = False
            self.transport.set_protocol(self)

    def default_head(self) -> tuple[bytes, int]:
        """The headers of every response as bytes, and the line breaks of head and status line."""
        headers = self.server_state.default_headers
        if headers is not _default_head.headers:
            _default_head.render(headers)
        return _default_head.rendered

    # -- reading ----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._quiet = 0
        if self._lingering or self._refusal is not None:
            return
        if self.body_left:
            data = self._take_body(data)
            if not data:
                return
        self._big = len(data) > HEAD_BYTES_MAX
        if self._feed(data):
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_bytes > HEAD_BYTES_MAX:
                    self._refuse("RequestHeaderSectionTooLarge", _HEAD_TOO_LARGE)
            elif (reading := self._reading) is not None and reading.more_body:
                # From here on the parser would only copy what it passes on.
                self.body_left = max(0, reading.length - reading.received)
        if self._waiting:
            if self._active is None:
                self._run()
            if self._waiting:
                self.pause_reading()

    def _feed(self, data: bytes) -> bool:
        """Let the parser call back for everything in ``data``. False if it was refused."""
        while True:
            try:
                self.parser.feed_data(data)
                return True
            except httptools.HttpParserUpgrade as upgrade:
                # Another protocol was offered and is not taken up (RFC 9110, section 7.8).
                data = data[upgrade.args[0] :]
                if not self._resume_body():
                    return False
                if self.body_left:
                    data = self._take_body(data)
                if not data:
                    return True
            except httptools.HttpParserError as error:
                if self._refusal is None:
                    cause = error.__context__
                    told = _MALFORMED if not isinstance(cause, _Refused) else str(cause)
                    self._refuse("BadRequest", told)
                return False

    def _resume_body(self) -> bool:
        """Undo that the parser saw no body because of an Upgrade header. False if refused."""
        reading = self._reading
        assert reading is not None
        if b"transfer-encoding" in reading.headers:
            reading.more_body = True
            self._refuse("BadRequest", _MALFORMED)
            return False
        if reading.length > 0:
            reading.more_body = True
            self.body_left = reading.length
        return True

    def _take_body(self, data: bytes) -> bytes:
        """Take what belongs to the body that is being read; the rest is the next request's."""
        reading = self._reading
        assert reading is not None
        left = self.body_left
        if len(data) <= left:
            chunk, rest = data, b""
        else:
            chunk, rest = data[:left], data[left:]
        self.body_left = left = left - len(chunk)
        reading.add(chunk)
        if not left:
            self._end_body(reading)
        return rest

    def _end_body(self, exchange: Exchange) -> None:
        """The body that went past the parser is complete."""
        exchange.end()
        # The parser still waits for these bytes: the next request gets a new one.
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: Headers | None = None
        self._in_head = True
        self._head_bytes = 0
        self._head_age = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        headers = self._headers
        if name in headers or self._repeated is not None:
            value = self._repeat(name, value)
        headers[name] = value

    def _repeat(self, name: bytes, value: bytes) -> bytes:
        """Keep the list of a head with repeated headers; the joined value (RFC 9110, 5.3)."""
        if self._repeated is None:
            self._repeated = list(self._headers.items())
        self._repeated.append((name, value))
        earlier = self._headers.get(name)
        return value if earlier is None else earlier + b"," + value

    def on_headers_complete(self) -> None:
        self._in_head = False
        headers, repeated = self._headers, self._repeated
        if self._big and _size(self._url, repeated or headers.items()) > HEAD_BYTES_MAX:
            self._refuse("RequestHeaderSectionTooLarge", _HEAD_TOO_LARGE)
            raise _Refused(_HEAD_TOO_LARGE)
        if len(self._waiting) >= PIPELINE_MAX:
            raise _Refused(_TOO_MANY)
        parser = self.parser
        version = parser.get_http_version()
        if version not in _VERSIONS:
            raise _Refused(_MALFORMED)
        if headers.get(b"host") != self._host:
            self._host = _checked_host(headers.get(b"host"), version)
        self._headers, self._repeated = {}, None  # trailers are not headers
        method = parser.get_method()
        exchange = Exchange(
            self,
            method.decode("ascii"),
            _split(self._url),
            version,
            headers,
            repeated,
            parser.should_keep_alive(),
        )
        if method != b"GET" and method != b"HEAD":
            exchange.expect_body()
        self._reading = exchange
        self._waiting.append(exchange)

    def on_body(self, body: bytes) -> None:
        if self._reading is not None:
            self._reading.add(body)

    def on_message_complete(self) -> None:
        if self._reading is not None:
            self._reading.end()

    # -- answering --------------------------------------------------------------------------------

    def _run(self) -> None:
        """Start what waits, one after the other, as long as each is answered at once."""
        if self._running:
            return
        self._running = True
        turn = PIPELINE_TURN
        while self._waiting and self._active is None and not self.transport.is_closing():
            if not turn:
                self.loop.call_soon(self._run)
                break
            turn -= 1
            self._start(self._waiting.popleft())
        self._running = False

    def _start(self, exchange: Exchange) -> None:
        self._active = exchange
        app: Any = self.app
        begin = getattr(app, "begin", None)
        if begin is None:
            coroutine = app(exchange.scope, exchange.receive, exchange.send)
        else:
            try:
                coroutine = begin(exchange)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
                self._ended_early(exchange, error)
                return
            if coroutine is None:
                return
        awaited = self._step(exchange, coroutine)
        if awaited is _ENDED:
            return
        if not exchange.more_body and getattr(awaited, "_asyncio_future_blocking", False):
            # What a task would do with a future, without the task. Who waits for a client's body
            # needs one: it is what the end of a drain cancels.
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(partial(self._awaited, exchange, coroutine))
        else:
            self._hand_over(exchange, coroutine, awaited)

    def _awaited(
        self, exchange: Exchange, coroutine: Coroutine[Any, Any, None], _future: Any
    ) -> None:
        """The first thing that the application waited for is there."""
        awaited = self._step(exchange, coroutine)
        if awaited is not _ENDED:
            self._hand_over(exchange, coroutine, awaited)

    def _step(self, exchange: Exchange, coroutine: Coroutine[Any, Any, None]) -> Any:
        """Run the application until it waits; for what. ``_ENDED``: for nothing any more."""
        try:
            return coroutine.send(None)
        except StopIteration:
            if not exchange.complete:
                self._ended_early(exchange, None)
        except asyncio.CancelledError:
            self._ended_early(exchange, None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            self._ended_early(exchange, error)
        return _ENDED

    def _hand_over(
        self, exchange: Exchange, coroutine: Coroutine[Any, Any, None], awaited: Any
    ) -> None:
        """Let a task go on with an application that waits for ``awaited``."""
        task = self.loop.create_task(self._carry_on(exchange, coroutine, awaited))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _carry_on(
        self, exchange: Exchange, coroutine: Coroutine[Any, Any, None], awaited: Any
    ) -> None:
        try:
            await _resume(coroutine, awaited)
        except asyncio.CancelledError:
            self._ended_early(exchange, None)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            self._ended_early(exchange, error)
        else:
            if not exchange.complete:
                self._ended_early(exchange, None)

    def _ended_early(self, exchange: Exchange, error: Exception | None) -> None:
        """The application ended without a whole response: say so if nothing was sent yet."""
        if error is not None and not isinstance(error, ClientDisconnected):
            _logger.error("the application failed", exc_info=error)
        if exchange.complete or exchange.disconnected:
            return
        exchange.abandon()
        if exchange.head is None and exchange.started:
            self.transport.abort()
            return
        self._close_with(_document(500, "InternalError", _INTERNAL_ERROR))

    def exchange_complete(self, exchange: Exchange) -> None:
        """A response is sent: close, or go on with what waits."""
        self._active = None
        self._quiet = 0
        self.server_state.total_requests += 1
        if not exchange.keep_alive:
            self._waiting.clear()
            if exchange.more_body:
                self._linger()
            else:
                self.transport.close()
        elif self._waiting:
            if not self._running:
                # Not from here: this may be the task of the request before.
                self.loop.call_soon(self._run)
        elif self._refusal is not None:
            self._close_with(self._refusal)
        else:
            self.resume_reading()

    def _linger(self) -> None:
        """Close without losing the answer.

        Closing while the client still sends would reset the connection and may take the answer
        with it (RFC 9112, section 9.6): end our side, drop what comes, close a little later.
        """
        if self._half_closed:
            self.transport.close()  # nothing can come
            return
        self._lingering = LINGER_TIMEOUT
        self.body_left = 0
        self.transport.write_eof()
        self.resume_reading()

    # -- refusing ---------------------------------------------------------------------------------

    def _refuse(self, code: str, message: str) -> None:
        """Answer a request that was not understood once everything before it is answered."""
        self._in_head = False
        self._refusal = _document(400, code, message)
        broken = self._reading
        if broken is not None and broken.more_body and not broken.complete:
            # What was wrong is in its body: it can't be carried on.
            started = broken.started
            broken.abandon()
            if broken is self._active and started:
                self.transport.abort()
                return
            if broken is self._active:
                self._active = None
            elif broken in self._waiting:
                self._waiting.remove(broken)
        if self._active is None and not self._waiting:
            self._close_with(self._refusal)

    def _close_with(self, document: bytes) -> None:
        """Send an error document as the last thing on this connection."""
        self._active = None
        self._waiting.clear()
        if self.transport.is_closing():
            return
        self._refusal = document
        default, _ = self.default_head()
        status, _, rest = document.partition(b"\r\n")
        self.transport.write(b"".join((status, b"\r\n", default, rest)))
        self._linger()

    def sweep(self) -> None:
        """Called once a second: close the connection if it has been quiet for too long."""
        self._quiet += 1
        if self._lingering:
            self._lingering -= 1
            if not self._lingering:
                self.transport.abort()
        elif self._active is None:
            if self._in_head:
                self._head_age += 1
            if self._head_age > HEAD_TIMEOUT or self._quiet > IDLE_TIMEOUT:
                self.transport.close()
        elif self.write_paused:
            unsent = self.transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent, self._quiet = unsent, 0
            elif self._quiet > STALL_TIMEOUT:
                self.transport.abort()
        elif self._active.more_body and self._active.waiter is not None:
            if self._quiet > STALL_TIMEOUT:
                self._refuse("RequestTimeout", _STALLED)
        else:
            self._quiet = 0


class _DefaultHead:
    """The headers of every response, rendered once per change of uvicorn's list (each second)."""

    def __init__(self) -> None:
        self.render([])

    def render(self, headers: Headers) -> None:
        self.headers = headers
        text = b"".join(b"%s: %s\r\n" % pair for pair in headers)
        # Beside its own lines: the status line and the empty line at the end.
        self.rendered = text, len(headers) + 2


_default_head = _DefaultHead()


class _Refused(Exception):
    """Ends parsing; its message is told to the client."""


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that was started outside of a task and yielded ``awaited``."""
    error: BaseException
    try:
        yield awaited
    except BaseException as raised:  # noqa: BLE001 - it belongs to the coroutine
        error = raised
    else:
        yield from coroutine
        return
    try:
        awaited = coroutine.throw(error)
    except StopIteration:
        return
    yield from _resume(coroutine, awaited)


def _split(url: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target, as sent. Also of one in absolute form."""
    if not url.startswith(b"/") or _HASH in url:
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError:
            return url, b""
        return parsed.path or b"/", parsed.query or b""
    path, _, query = url.partition(b"?")
    return path, query


def _checked_host(host: bytes | None, version: str) -> bytes:
    """The Host to expect of the next request.

    Raises _Refused (RFC 9112, section 3.2) where HTTP/1.1 has none, several, which are joined by a
    comma here, or what is no host.
    """
    if host is None and version == "1.0":
        return b"\0"
    if host is None or _HOST(host) is None:
        raise _Refused(_NO_HOST)
    return host


def _size(url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> int:
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


_NO_HOST = "A request needs one Host header, with a valid name."
_MALFORMED = "The request is not well-formed HTTP/1.1."
_HEAD_TOO_LARGE = "Your request header section exceeds the maximum allowed size."
_TOO_MANY = "Too many requests were sent ahead of their answers."
_STALLED = (
    "Your socket connection to the server was not read from or written to within the timeout "
    "period."
)
_INTERNAL_ERROR = "We encountered an internal error. Please try again."


def _document(status: int, code: str, message: str) -> bytes:
    """A whole response that ends the connection, with an S3 error document."""
    request_id = new_request_id()
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message>"
        f"<RequestId>{request_id}</RequestId></Error>"
    ).encode()
    head = (
        f"content-type: application/xml\r\nx-amz-request-id: {request_id}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode()
    return _STATUS_LINES[status] + head + body
