"""Requests handed from one process to another: ASGI over pairs of connected sockets.

The process that listens keeps one end of a socket pair (the *hatch*), over which it passes one
end of a new pair for every request (SCM_RIGHTS). On that pair travel the request's head, body and
answer as length-prefixed messages. So the other process has no port, no path in the file system
and no HTTP to parse, and its end is noticed as end-of-file.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Most bytes of a message: a head of 64 KiB or a piece of a body, with room to spare.
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
_logger = logging.getLogger("storage.console")
_LENGTH = struct.Struct(">I")
_PIECE = 1024 * 1024
# A hatch that is full, too many sockets on their way, and none left to make.
_BUSY = frozenset(
    (errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
)


class Head(msgspec.Struct, tag="head"):
    """The request as ASGI's scope has it."""

    method: str
    scheme: str
    path: str
    raw_path: bytes
    query: bytes
    root_path: str
    headers: list[tuple[bytes, bytes]]
    client: str


class Data(msgspec.Struct, tag="data"):
    """A piece of a body."""

    data: bytes
    more: bool


class Begin(msgspec.Struct, tag="begin"):
    """The beginning of an answer."""

    status: int
    headers: list[tuple[bytes, bytes]]


Frame = Head | Data | Begin
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


class Broken(Exception):
    """The other side of a request has gone, or does not speak this language."""


class Gone(Exception):
    """The other process has gone: nobody took the request."""


class Busy(Exception):
    """The other process is there but can't be given one more request now."""


class Line:
    """One request's pair of sockets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Line:
        """Take over a connected socket."""
        sock.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=MESSAGE_BYTES_MAX))

    async def write(self, frame: Frame) -> None:
        """Raises Broken."""
        data = _encoder.encode(frame)
        try:
            self._writer.write(_LENGTH.pack(len(data)) + data)
            await self._writer.drain()
        except OSError as error:
            raise Broken from error

    async def read(self) -> Frame:
        """Raises Broken at the end as well."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > MESSAGE_BYTES_MAX:
                raise Broken
            frame: Frame = _decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError) as error:
            raise Broken from error
        return frame

    async def write_body(self, data: bytes, more: bool) -> None:
        """Raises Broken."""
        view = memoryview(data)
        while len(view) > _PIECE:
            await self.write(Data(bytes(view[:_PIECE]), True))
            view = view[_PIECE:]
        await self.write(Data(bytes(view), more))

    def close(self) -> None:
        self._writer.transport.abort()


# -- the side that listens ------------------------------------------------------------------------


async def hand_over(hatch: socket.socket, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the process behind ``hatch`` answer one request; done as well when the client goes.

    ``hatch`` must not block. Raises Gone if that process has gone, Busy if it does not take
    requests fast enough, Broken if it gave up the request: if anything was sent by then, the
    connection must be broken off.
    """
    ours = _offer(hatch)
    line = await Line.over(ours)
    pump = asyncio.create_task(_pump(line, scope, receive))
    try:
        await _answer(line, send)
    except Broken:
        if not (pump.done() and pump.result()):
            raise
    finally:
        pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pump
        line.close()


def _offer(hatch: socket.socket) -> socket.socket:
    """Pass one end of a new pair through ``hatch``; the other. Raises Gone, Busy."""
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise Busy from error
    with theirs:
        try:
            socket.send_fds(hatch, [b"\0"], [theirs.fileno()])
        except OSError as error:
            ours.close()
            raise (Busy if error.errno in _BUSY else Gone) from error
    return ours


async def _pump(line: Line, scope: Scope, receive: Receive) -> bool:
    """Send the request; when the client goes away, hang up and return True."""
    try:
        await line.write(
            Head(
                method=scope["method"],
                scheme=scope["scheme"],
                path=scope["path"],
                raw_path=scope.get("raw_path") or scope["path"].encode(),
                query=scope["query_string"],
                root_path=scope.get("root_path", ""),
                headers=[(bytes(name), bytes(value)) for name, value in scope["headers"]],
                client=(scope.get("client") or ("",))[0],
            )
        )
        while (message := await receive())["type"] == "http.request":
            await line.write_body(message.get("body", b""), message.get("more_body", False))
    except Broken:
        return False  # who reads the answer finds the same
    line.close()
    return True


async def _answer(line: Line, send: Send) -> None:
    begin = await line.read()
    if not isinstance(begin, Begin):
        raise Broken
    await send({"type": "http.response.start", "status": begin.status, "headers": begin.headers})
    more = True
    while more:
        piece = await line.read()
        if not isinstance(piece, Data):
            raise Broken
        more = piece.more
        await send({"type": "http.response.body", "body": piece.data, "more_body": more})


# -- the side that answers ------------------------------------------------------------------------


async def answer_all(hatch: socket.socket, app: Application) -> None:
    """Answer requests until the process that listens has gone."""
    hatch.setblocking(False)
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[list[int] | None] = asyncio.Queue()

    def take() -> None:
        try:
            data, fds, _, _ = socket.recv_fds(hatch, 64, 64)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            loop.remove_reader(hatch)
            arrived.put_nowait(None)
        elif fds:
            arrived.put_nowait(fds)

    loop.add_reader(hatch, take)
    tasks: set[asyncio.Task[None]] = set()
    while (fds := await arrived.get()) is not None:
        for fd in fds:
            task = asyncio.create_task(_serve(socket.socket(fileno=fd), app))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(sock: socket.socket, app: Application) -> None:
    line = await Line.over(sock)
    try:
        head = await line.read()
        if isinstance(head, Head):
            await app(_scope(head), _receiver(line), _sender(line))
            # Closing now would discard what is not sent yet, and reset the pair if anything of the
            # request was left unread: who got the whole answer closes.
            while True:
                await line.read()
    except (Broken, ConnectionError):
        pass  # the client went away
    except Exception:
        _logger.exception("a request to the console failed")
    finally:
        line.close()


def _scope(head: Head) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": head.method,
        "scheme": head.scheme,
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
        "root_path": head.root_path,
        "headers": head.headers,
        "client": (head.client, 0),
    }


def _receiver(line: Line) -> Receive:
    more = True

    async def receive() -> Message:
        nonlocal more
        if not more:
            with contextlib.suppress(Broken):
                await line.read()
            return {"type": "http.disconnect"}
        try:
            piece = await line.read()
        except Broken:
            return {"type": "http.disconnect"}
        if not isinstance(piece, Data):
            return {"type": "http.disconnect"}
        more = piece.more
        return {"type": "http.request", "body": piece.data, "more_body": piece.more}

    return receive


def _sender(line: Line) -> Send:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
            await line.write(Begin(message["status"], headers))
        else:
            await line.write_body(message.get("body", b""), message.get("more_body", False))

    return send
