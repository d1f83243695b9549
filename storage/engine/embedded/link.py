"""How workers and the committer talk: messages, and the worker's end of the line.

A connection is an AF_UNIX SOCK_SEQPACKET socket. One datagram carries all changes that arose in
one turn of a worker's event loop, one datagram answers all that one batch settled. A message too
long for a datagram goes in several: each begins with a byte, 1 for "more follows".

Whoever loses the line does not know what became of what it had sent: ``Unavailable``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import socket
import struct
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from storage import errors
from storage.engine import interface
from storage.engine.interface import Bucket, Committed

SOCKET = "committer.sock"
DATAGRAM_MAX = 160 * 1024
"""Longer messages are cut. Linux' default send buffer takes 208 KiB."""
SEND_BUFFER = 4 << 20
MESSAGE_MAX = 64 << 20
"""Nobody sends so much at once; what claims to go on for longer is no message."""
_GATHER_BYTES = 128 * 1024
_PATIENCE = 5.0
"""Seconds that unsent changes wait for a committer that restarts."""
_RETRY = 0.05

# -- changes that only the engine's own services make ---------------------------------------------


class Hello(msgspec.Struct, array_like=True, tag="he"):
    """First of every connection. -> generation for names of files; 0 asks for a new one."""

    generation: int
    pid: int


class Moved(msgspec.Struct, array_like=True):
    """A record to be moved: what it was, when it was committed and first written, its payload.

    ``record`` is the sequence number of the record that is to be moved itself, 0 if it is ``seq``.
    """

    type: int
    seq: int
    origin: int
    body: bytes
    payload: bytes = b""
    record: int = 0


class Relocate(msgspec.Struct, array_like=True, tag="rl"):
    """-> number of records written. Moves what is still needed out of ``segment``.

    Records that the index no longer names are left behind, tombstones that hide nothing any more
    likewise. Send at most 64 rows at a time.
    """

    segment: int
    rows: list[Moved]


class DropSegment(msgspec.Struct, array_like=True, tag="ds"):
    """-> None. Unlinks a segment out of which everything needed was moved.

    Raises Conflict while the index still names records in it or is not checkpointed: again later.
    """

    segment: int


class DropGarbage(msgspec.Struct, array_like=True, tag="dg"):
    """-> None. These files were unlinked."""

    names: list[str]


class Fence(msgspec.Struct, array_like=True, tag="fe"):
    """-> None. No commit of this (dead) generation is accepted from here on."""

    generation: int


class Checkpoint(msgspec.Struct, array_like=True, tag="ck"):
    """-> None. The committer moves the index's WAL into the database, waiting for readers."""


Internal = Hello | Relocate | DropSegment | DropGarbage | Fence | Checkpoint
BACKGROUND = (Relocate, DropSegment, DropGarbage, Checkpoint)
"""Settled after clients' changes, in small portions."""

# -- answers ---------------------------------------------------------------------------------------


class Ok(msgspec.Struct, array_like=True, tag="o", gc=False):
    id: int
    committed: Committed


class Done(msgspec.Struct, array_like=True, tag="d", gc=False):
    id: int


class Made(msgspec.Struct, array_like=True, tag="b"):
    id: int
    bucket: Bucket


class Number(msgspec.Struct, array_like=True, tag="n", gc=False):
    id: int
    number: int


class Failed(msgspec.Struct, array_like=True, tag="e"):
    id: int
    name: str
    arguments: list[int | str]


Answer = Ok | Done | Made | Number | Failed

_encoder = msgspec.msgpack.Encoder()
decode_requests = msgspec.msgpack.Decoder(list[tuple[int, interface.Change | Internal]]).decode
_decode_answers = msgspec.msgpack.Decoder(list[Answer]).decode


def answer(number: int, result: Any) -> Answer:
    """The answer to request ``number``: ``result`` is what ``Committer.process`` returned."""
    if isinstance(result, Committed):
        return Ok(number, result)
    if result is None:
        return Done(number)
    if isinstance(result, Bucket):
        return Made(number, result)
    if isinstance(result, int):
        return Number(number, result)
    return _failed(number, result)


def _failed(number: int, error: BaseException) -> Failed:
    arguments: list[int | str]
    match error:
        case errors.BucketExists():
            arguments = [error.owner]
        case errors.InvalidPart():
            arguments = [error.number]
        case errors.PartTooSmall():
            arguments = [error.number, error.size, error.minimum]
        case _:
            arguments = [str(error)]
    for cls in type(error).__mro__:
        if cls.__module__ == errors.__name__:
            return Failed(number, cls.__name__, arguments)
    return Failed(number, "Unavailable", [f"{type(error).__name__}: {error}"])


def error_of(failed: Failed) -> errors.StoreError:
    """The inverse: the error that the committer raised."""
    cls = getattr(errors, failed.name, errors.Unavailable)
    error: errors.StoreError = cls(*failed.arguments)
    return error


def datagrams(message: Any) -> Sequence[bytearray | bytes]:
    """A message as the datagrams that carry it, mostly one."""
    whole = bytearray(1)
    _encoder.encode_into(message, whole, 1)
    if len(whole) <= DATAGRAM_MAX:
        return [whole]
    view = memoryview(whole)[1:]
    pieces = [view[at : at + DATAGRAM_MAX] for at in range(0, len(view), DATAGRAM_MAX)]
    return [b"\1" + piece for piece in pieces[:-1]] + [b"\0" + pieces[-1]]


class Assembler:
    """Puts messages together that came in several datagrams."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces = bytearray()

    def feed(self, datagram: memoryview) -> memoryview | bytearray | None:
        """A complete message, or None while more follows. Valid until the next call.

        Raises ValueError for one that does not end.
        """
        if datagram[0]:
            self._pieces += datagram[1:]
            if len(self._pieces) > MESSAGE_MAX:
                raise ValueError(f"a message of more than {MESSAGE_MAX} bytes")
            return None
        if not self._pieces:
            return datagram[1:]
        whole, self._pieces = self._pieces, bytearray()
        whole += datagram[1:]
        return whole


# -- addresses -------------------------------------------------------------------------------------


class Address:
    """The committer's socket in the folder ``run``, whatever the length of its path.

    sun_path holds 108 bytes (unix(7)), so the folder is named through its descriptor.
    """

    def __init__(self, run: str) -> None:
        self._folder = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.path = f"/proc/self/fd/{self._folder}/{SOCKET}"

    def listen(self) -> socket.socket:
        """The committer's listening socket. A leftover of a dead one is replaced."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        listener.bind(self.path)
        listener.listen(128)
        listener.setblocking(False)
        return listener

    def connect(self) -> socket.socket:
        """A connected, non-blocking socket. Raises OSError while nobody listens."""
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            line.setblocking(False)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            line.connect(self.path)
        except OSError:
            line.close()
            raise
        return line

    def close(self) -> None:
        os.close(self._folder)


class Generations:
    """Which generations of file writers live: one locked byte each in ``run/generations``.

    The lock belongs to the open file, so it ends with the process, however that ends.
    """

    def __init__(self, run: str) -> None:
        self._fd = os.open(
            os.path.join(run, "generations"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )

    def claim(self, generation: int) -> None:
        """Hold ``generation`` until ``close``. Raises OSError if another process does."""
        if sys.platform == "linux":
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, generation))

    def is_live(self, generation: int) -> bool:
        """Whether another open file holds it; yes where that can't be told."""
        return sys.platform != "linux" or self.is_held(generation)

    def is_held(self, generation: int) -> bool:
        """Whether another open file is known to hold it."""
        if sys.platform != "linux":
            return False
        found = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, generation))
        return bool(struct.unpack("hhqqi0q", found)[0] != fcntl.F_UNLCK)

    def close(self) -> None:
        os.close(self._fd)


def _flock(kind: int, start: int) -> bytes:
    return struct.pack("hhqqi0q", kind, os.SEEK_SET, start, 1, 0)


# -- the worker's end ------------------------------------------------------------------------------


class Link(Protocol):
    """A way to the committer."""

    generation: int

    def submit(self, change: interface.Change | Internal) -> asyncio.Future[Any]:
        """Send a change; the future tells its outcome (see ``interface``)."""

    async def close(self) -> None: ...


class ProcessLink:
    """The line from a worker's event loop (asyncio or uvloop) to the committer process."""

    def __init__(self, run: str) -> None:
        self.generation = 0
        self._address = Address(run)
        self._loop = asyncio.get_running_loop()
        self._line: socket.socket | None = None
        self._assembler = Assembler()
        self._buffer = bytearray(DATAGRAM_MAX + 1024)
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._queue: deque[tuple[int, interface.Change | Internal]] = deque()
        self._unsent: deque[bytearray | bytes] = deque()
        self._last = 0
        self._scheduled = False
        self._greeted = False
        self._closed = False
        self._retry: asyncio.TimerHandle | None = None
        self._gone_since = self._loop.time()

    async def start(self, patience: float = 30.0) -> None:
        """Wait until the committer has answered. Raises Unavailable after ``patience`` seconds."""
        self._gone_since = self._loop.time() + patience
        self._welcomed: asyncio.Future[None] = self._loop.create_future()
        self._connect()
        try:
            await asyncio.wait_for(asyncio.shield(self._welcomed), patience)
        except TimeoutError:
            raise errors.Unavailable("the committer does not answer") from None

    def submit(self, change: interface.Change | Internal) -> asyncio.Future[Any]:
        future = self._loop.create_future()
        if self._closed:
            future.set_exception(errors.Unavailable("closed"))
            return future
        self._last = number = self._last + 1
        self._pending[number] = future
        self._queue.append((number, change))
        if not self._scheduled and self._greeted:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        """Send what this turn of the loop gathered."""
        self._scheduled = False
        pending = self._queue
        while pending and not self._unsent and self._line is not None:
            requests = []
            size = 0
            while pending and size < _GATHER_BYTES:
                request = pending.popleft()
                requests.append(request)
                size += 256 + len(getattr(request[1], "payload", b""))
            try:
                pieces = datagrams(requests)
            except Exception:  # noqa: BLE001
                requests = [request for request in requests if self._is_sound(request)]
                pieces = datagrams(requests) if requests else ()
            self._send(pieces, requests)

    def _is_sound(self, request: tuple[int, interface.Change | Internal]) -> bool:
        """Whether a request can be encoded; if not, only who made it hears of it."""
        try:
            _encoder.encode(request)
        except Exception as error:  # noqa: BLE001
            self._fail(request[0], f"the change can't be encoded: {error}")
            return False
        return True

    def _send(
        self,
        pieces: Sequence[bytearray | bytes],
        requests: Sequence[tuple[int, interface.Change | Internal]] = (),
    ) -> None:
        """Send a message, now or when there is room. ``requests`` are those in it."""
        assert self._line is not None
        for index, piece in enumerate(pieces):
            try:
                self._line.send(piece)
            except (BlockingIOError, InterruptedError):
                self._unsent.extend(pieces[index:])
                self._loop.add_writer(self._line.fileno(), self._resume)
                return
            except OSError:
                # The message did not go out whole, so nobody has acted on it: it can go again.
                self._queue.extendleft(reversed(requests))
                self._lost()
                return

    def _resume(self) -> None:
        if self._line is None:
            return
        self._loop.remove_writer(self._line.fileno())
        pieces = list(self._unsent)
        self._unsent.clear()
        self._send(pieces)
        if not self._unsent:
            self._flush()

    def _readable(self) -> None:
        if self._line is None:
            return
        try:
            count = self._line.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        if not count:
            self._lost()
            return
        message = self._assembler.feed(memoryview(self._buffer)[:count])
        if message is None:
            return
        pending = self._pending
        for reply in _decode_answers(message):
            future = pending.pop(reply.id, None)
            if future is None or future.done():
                continue
            if type(reply) is Ok:
                future.set_result(reply.committed)
            elif type(reply) is Failed:
                future.set_exception(error_of(reply))
            elif type(reply) is Made:
                future.set_result(reply.bucket)
            elif type(reply) is Number:
                future.set_result(reply.number)
            else:
                future.set_result(None)

    # -- connecting

    def _connect(self) -> None:
        self._retry = None
        if self._closed:
            return
        try:
            self._line = self._address.connect()
        except OSError:
            self._wait()
            return
        self._assembler = Assembler()
        self._loop.add_reader(self._line.fileno(), self._readable)
        self._last = number = self._last + 1
        hello = self._pending[number] = self._loop.create_future()
        hello.add_done_callback(self._welcome)
        self._send(datagrams([(number, Hello(self.generation, os.getpid()))]))

    def _welcome(self, hello: asyncio.Future[Any]) -> None:
        if hello.cancelled() or hello.exception() is not None:
            return
        self.generation = hello.result()
        self._greeted = True
        if not self._welcomed.done():
            self._welcomed.set_result(None)
        self._flush()

    def _wait(self) -> None:
        """Try again soon; whoever waited too long hears Unavailable (nothing was sent)."""
        if self._loop.time() - self._gone_since > _PATIENCE:
            for number, _ in self._queue:
                self._fail(number, "the committer is not running")
            self._queue.clear()
        if self._retry is None and not self._closed:
            self._retry = self._loop.call_later(_RETRY, self._connect)

    def _lost(self) -> None:
        """The line broke: nobody knows what became of what was sent."""
        line, self._line = self._line, None
        if line is not None:
            self._loop.remove_reader(line.fileno())
            self._loop.remove_writer(line.fileno())
            line.close()
        self._greeted = False
        self._unsent.clear()
        self._gone_since = self._loop.time()
        queued = {number for number, _ in self._queue}
        for number in [number for number in self._pending if number not in queued]:
            self._fail(number, "the committer went away; the outcome is unknown")
        self._wait()

    def _fail(self, number: int, reason: str) -> None:
        future = self._pending.pop(number, None)
        if future is not None and not future.done():
            future.set_exception(errors.Unavailable(reason))
            future.exception()  # whoever gave up waiting need not hear of it

    async def close(self) -> None:
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._lost()
        if self._retry is not None:
            self._retry.cancel()
        self._address.close()


class ThreadLink:
    """The line to a committer that is a thread of this process."""

    def __init__(self, inbox: queue.SimpleQueue[Any], generation: int) -> None:
        self.generation = generation
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()

    def submit(self, change: interface.Change | Internal) -> asyncio.Future[Any]:
        future = self._loop.create_future()
        self._inbox.put((self, future, change))
        return future

    def settle(self, outcomes: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
        """Called by the committer's thread: hand outcomes to the event loop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting
            self._loop.call_soon_threadsafe(self._deliver, outcomes)

    def _deliver(self, outcomes: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
        for future, result in outcomes:
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

    async def close(self) -> None:
        """Nothing of its own to close: the committer is closed by its owner."""
