"""The store in this process: engine, S3 plane and HTTP protocol as they are, without a socket.

Only the transport is a stand-in. It keeps what was written, and the rules of asyncio's own: no
call of the protocol after ``connection_lost``, no data while reading is paused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from uvicorn.server import ServerState

from storage.config import Config
from storage.engine import interface as i
from storage.engine.embedded.engine import EmbeddedEngine
from storage.iam import users
from storage.s3.app import Hooks, S3App
from storage.s3.http import S3Protocol
from storage.serving import assembly, bootstrap, webserver
from tests.fuzz.connections import Connection
from tests.fuzz.world import User, World

HOST, DOMAIN = b"127.0.0.1:9000", b"s3.fuzz.test"
ROOT = User(b"minio", b"miniosecret")
ALT = User(b"altaltaltaltalt1", b"altsecretaltsecretaltsecretaltsecret1234")
READER = User(b"readreadreadread", b"readsecretreadsecretreadsecretreads12345")
_ALT_ID, _READER_ID = "a1" * 32, "b2" * 32

#: Seconds after which something that should have ended counts as hanging.
PATIENCE = 60.0
_SPINS = 100


class Hang(AssertionError):
    """The server neither answers, nor waits for the client, nor closes."""


class Transport(asyncio.Transport):
    """What a protocol sees of a socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, slow: bool) -> None:
        super().__init__()
        self._loop = loop
        self._slow = slow
        self._protocol: Any = None
        self.written = bytearray()
        self.closing = self.lost = self.paused = self.ended = False
        #: What of the bytes received last found no room.
        self.rest = b""

    def attach(self, protocol: S3Protocol) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 9000)}.get(
            name, default
        )

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None:
        if self.closing:
            return
        assert not self.ended, "bytes are written behind the end of the answer"
        self.written += data
        if self._slow and data:
            self._protocol.pause_writing()
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if not self.lost:
            self._protocol.resume_writing()

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self.lose)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def lose(self) -> None:
        """The connection is gone, whoever ended it."""
        self.closing = True
        if not self.lost:
            self.lost = True
            self._protocol.connection_lost(None)

    def end(self) -> None:
        """The client sends no more."""
        if not self._protocol.eof_received():
            self.close()

    def receive(self, data: bytes) -> None:
        """Bytes from the client, into memory that the protocol offers where it does."""
        if not isinstance(self._protocol, asyncio.BufferedProtocol):
            self._protocol.data_received(data)
            return
        room = memoryview(self._protocol.get_buffer(len(data)))
        count = min(len(room), len(data))
        room[:count] = data[:count]
        self._protocol.buffer_updated(count)
        self.rest = data[count:]


class Answered(NamedTuple):
    """The outcome of a connection.

    Of the requests that reached the application: ``methods``, and ``operations`` ("" where none was
    recognised) with the status that was noted. ``seconds`` of CPU that everything took.
    """

    written: bytes
    methods: list[str]
    operations: list[tuple[str, int]]
    seconds: float


class Subject:
    """A store that connections can be made to."""

    def __init__(self, engine: EmbeddedEngine, app: S3App, config: Any) -> None:
        self.engine = engine
        self.app = app
        self._config = config
        self._state = ServerState()
        self._state.default_headers = [
            (b"date", b"Sun, 22 Nov 2026 10:00:00 GMT"),
            (b"server", b"Oversight"),
        ]
        self._methods: list[str] = []
        self._operations: list[tuple[str, int]] = []
        app.hooks.on_response = self._on_response
        self._canary: Callable[[], bytes] | None = None
        self._canary_body = b""
        self._loop = asyncio.get_running_loop()

    def _on_response(self, call: Any, status: int, _in: int, _out: int, _seconds: float) -> None:
        self._methods.append(call.method)
        self._operations.append((call.route.operation if call.route else "", status))

    async def converse(self, connection: Connection) -> Answered:
        """Play the client's part. Raises Hang."""
        transport, protocol = self._connect(slow=connection.slow_reader)
        began = time.process_time()
        for piece in connection.pieces:
            await self._deliver(transport, protocol, piece)
        if connection.ends and not transport.closing:
            transport.end()
        await self._settle(transport, protocol)
        for _ in range(connection.waits):
            if not transport.closing:
                protocol.sweep()
                await self._settle(transport, protocol)
        closed = transport.closing or transport.ended or connection.ends
        if connection.goes_on and not closed and self._canary and self._idle(protocol):
            await self._try_canary(transport, protocol)
        if connection.waits >= 100 and not transport.closing:
            raise Hang("a silent connection is not closed")
        transport.lose()
        await self._until(lambda: not self._state.tasks and not self.app.in_flight, "after the end")
        return Answered(
            bytes(transport.written),
            list(self._methods),
            list(self._operations),
            time.process_time() - began,
        )

    def expect(self, canary: Callable[[], bytes], body: bytes) -> None:
        """From now on a connection that is left open must answer ``canary`` with ``body``."""
        self._canary, self._canary_body = canary, body

    def forget(self) -> None:
        """Leave what hangs to itself, so that other inputs can be played."""
        for task in tuple(self._state.tasks):
            task.cancel()
        self._state.tasks.clear()
        self.app.in_flight = 0

    async def request(self, data: bytes) -> bytes:
        """Everything the server writes to a client that sends ``data``."""
        return (await self.converse(Connection([data]))).written

    def _connect(self, *, slow: bool) -> tuple[Transport, S3Protocol]:
        self._methods.clear()
        self._operations.clear()
        transport = Transport(self._loop, slow=slow)
        protocol = S3Protocol(self._config, self._state, {}, self._loop)
        transport.attach(protocol)
        return transport, protocol

    async def _deliver(self, transport: Transport, protocol: S3Protocol, data: bytes) -> None:
        while data and not transport.closing:
            if transport.paused:
                await self._until(
                    lambda: not transport.paused or transport.closing, "reading is paused"
                )
                continue
            transport.rest = b""
            transport.receive(data)
            data = transport.rest
            await asyncio.sleep(0)

    async def _settle(self, transport: Transport, protocol: S3Protocol) -> None:
        """Wait until the server waits for the client."""
        await self._until(lambda: self._waits(transport, protocol), "an answer")

    def _waits(self, transport: Transport, protocol: S3Protocol) -> bool:
        if transport.lost:
            return True
        active = protocol._active
        if active is None:
            return not protocol._waiting and not transport.closing
        return active.more_body and active.waiter is not None and not transport.paused

    @staticmethod
    def _idle(protocol: S3Protocol) -> bool:
        """Whether the protocol is between two requests."""
        reading = protocol._reading
        return (
            protocol._active is None
            and not protocol._in_head
            and not protocol.body_left
            and not protocol._lingering
            and (reading is None or not reading.more_body)
        )

    async def _try_canary(self, transport: Transport, protocol: S3Protocol) -> None:
        """A connection that is left open must answer a good request."""
        assert self._canary is not None
        before = len(transport.written)
        await self._deliver(transport, protocol, self._canary())
        await self._settle(transport, protocol)
        answer = bytes(transport.written[before:])
        del transport.written[before:]
        self._methods.pop()
        self._operations.pop()
        if not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(self._canary_body)):
            raise Hang(f"a connection is left open and answers no good request: {answer[:300]!r}")

    async def _until(self, holds: Any, what: str) -> None:
        for _ in range(_SPINS):
            if holds():
                return
            await asyncio.sleep(0)
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                raise Hang(what)
            await asyncio.sleep(0.0002)


@asynccontextmanager
async def opened(folder: str) -> AsyncIterator[tuple[Subject, World]]:
    """A store in ``folder`` with three users, and the world that it shows."""
    settings: dict[str, Any] = {}
    for name in ("domains", "domain"):
        if name in Config.__struct_fields__:
            settings[name] = (DOMAIN.decode(),)
    config = Config(
        drives=(folder,), root_user=ROOT.access_key.decode(), root_password=ROOT.secret.decode(),
        buckets=(), prefixes=(), segment_size=4 << 20, free_min=1 << 20, fsync=False, **settings,
    )  # fmt: skip
    engine = await EmbeddedEngine.local(config)
    try:
        store_key, _ = await bootstrap.prepare(engine, config)
        await _add_user(engine, store_key, ALT, "alt", _ALT_ID, "ownbuckets")
        await _add_user(engine, store_key, READER, "reader", _READER_ID, "readonly")
        directory = assembly.identities(engine, config, store_key)
        app = S3App(engine, directory, config, Hooks())
        served = webserver.configure(app, S3Protocol)
        served.load()
        subject = Subject(engine, app, served)
        owners = (users.ROOT_ID.encode(), _ALT_ID.encode(), _READER_ID.encode())
        yield subject, World(HOST, DOMAIN, (ROOT, ALT, READER), owners)
    finally:
        await engine.close()


async def _add_user(
    engine: i.Engine, store_key: bytes, user: User, name: str, canonical_id: str, policy: str
) -> None:
    account = users.User(
        name=name, id=canonical_id, display_name=name, policies=(policy,), created=1
    )
    key = users.new_key(
        store_key, user.access_key.decode(), user.secret.decode(), canonical_id, created=1
    )
    for record in (account, key):
        await engine.commit(i.PutSystem(*users.encode(record)))
