"""A server with the store's HTTP protocol in a thread, and a client that speaks raw bytes."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self

import pytest
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from storage.s3.http import S3Protocol
from storage.serving import webserver

App = Callable[[Any, Any, Any], Awaitable[None]]


class Wire:
    """A connection to the server. Everything blocks for at most a minute."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def _fill(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise EOFError(bytes(self.buffer))
        self.buffer += data

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer."""
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        end = self.buffer.index(b"\r\n\r\n")
        status, *lines = self.buffer[:end].decode("latin-1").split("\r\n")
        del self.buffer[: end + 4]
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), {name.lower(): value for name, value in headers.items()}

    def body(self, length: int) -> bytes:
        while len(self.buffer) < length:
            self._fill()
        body = bytes(self.buffer[:length])
        del self.buffer[:length]
        return body

    def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer, by content-length."""
        status, headers = self.head()
        bodiless = head_only or status in (204, 304)
        return status, headers, b"" if bodiless else self.body(int(headers["content-length"]))

    def rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            while True:
                self._fill()
        except EOFError:
            return self.body(len(self.buffer))

    def is_open(self) -> bool:
        """Whether the server still answers on this connection."""
        self.send(b"GET /echo HTTP/1.1\r\nhost: x\r\n\r\n")
        try:
            return self.answer()[0] == 200
        except (EOFError, ConnectionError):
            return False


class _Door:
    """The server's application. ``begin`` is S3Protocol's shorter way in, absent until set."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.begin: Callable[[Any], Any] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


class Running:
    """A server on a free port. ``routes`` maps a path to an ASGI application."""

    def __init__(self, protocol: type[HttpToolsProtocol]) -> None:
        self.door = _Door(self._app)
        self.routes: dict[str, App] = {"/echo": echo}
        self.seen: list[dict[str, Any]] = []
        self.patience = 2.0  # seconds that requests in flight get in the end
        self._protocol = protocol
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(60)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.server = webserver.Server(webserver.configure(self.door, self._protocol))
        await self.server.open([listener])
        self._started.set()
        await self._stop.wait()
        await self.server.drain(self.patience)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope)
        await self.routes[scope["path"]](scope, receive, send)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run ``function`` on the server's loop and return what it returns."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(60)

    def connections(self) -> list[Any]:
        return self.call(lambda: list(self.server.server_state.connections))

    def sweep(self, seconds: int) -> None:
        """Let ``seconds`` pass for every connection."""
        for connection in self.connections():
            for _ in range(seconds):
                self.call(connection.sweep)

    def wire(self) -> Wire:
        return Wire(self.port)

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def server() -> Iterator[Running]:
    running = Running(S3Protocol)
    yield running
    running.stop()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the request's body."""
    body = await read_body(receive)
    await respond(send, 200, body)


async def read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("disconnected")
        body += message["body"]
        if not message["more_body"]:
            return body


async def respond(send: Any, status: int, body: bytes = b"", *extra: tuple[bytes, bytes]) -> None:
    headers = [(b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
