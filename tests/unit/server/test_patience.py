"""The console port does not wait without end: for heads, bodies, or for answers to be taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from storage.serving import patience, webserver
from storage.serving.patience import PIPELINE_MAX, PROGRESS, PatientProtocol

HEAD = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n"


class Clock:
    """A clock that stands still until it is put forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Heard(PatientProtocol):
    """Counts what has come."""

    heard = 0

    def data_received(self, data: bytes) -> None:
        self.heard += len(data)
        super().data_received(data)


class Client:
    """The other end, which counts what it has sent."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.transport, self._writer, self.sent = writer.transport, writer, 0

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        self._writer.write(data)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, unless told not to; answer with much, if told so."""
    if scope["path"] != "/unread":
        while (await receive()).get("more_body"):
            pass
    size = 50_000_000 if scope["path"] == "/much" else 2
    await send(
        {"type": "http.response.start", "status": 200,
         "headers": [(b"content-length", b"%d" % size)]}
    )  # fmt: skip
    await send({"type": "http.response.body", "body": b"o" * size})


Work = Callable[[asyncio.StreamReader, Client, Heard, Clock], Awaitable[None]]


def run(work: Work) -> None:
    async def main() -> None:
        config = webserver.configure(app, PatientProtocol)
        config.load()
        state = uvicorn.server.ServerState()
        made: list[Heard] = []
        clock = Clock()

        def protocol() -> Heard:
            made.append(Heard(config, state, {}))
            made[0].loop = _Timed(asyncio.get_running_loop(), clock)  # type: ignore[assignment]
            return made[-1]

        loop = asyncio.get_running_loop()
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**27)
        while not made or made[0].transport is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            await work(reader, Client(writer), made[0], clock)
        writer.close()
        server.close()

    asyncio.run(main())


class _Timed:
    """A loop with another clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop, self.time = loop, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


async def settle(writer: Client, protocol: Heard) -> None:
    """Return when all that was sent has come, and the application has done what it can with it."""
    while protocol.heard < writer.sent and not protocol.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    for _ in range(20):
        await asyncio.sleep(0)


async def over(writer: Client, protocol: Heard, clock: Clock, seconds: float) -> bool:
    """Whether a sweep after that time breaks the connection off."""
    await settle(writer, protocol)
    protocol.sweep()
    clock.now += seconds
    protocol.sweep()
    return protocol.transport.is_closing()


@pytest.mark.parametrize(
    ("sent", "then"), [(b"", b""), (b"G", b"E"), (b"GET / HTTP/1.1\r\nA: ", b"a")]
)
def test_a_head_comes_to_its_end_in_time(sent: bytes, then: bytes) -> None:
    async def work(
        reader: asyncio.StreamReader, writer: Client, protocol: Heard, clock: Clock
    ) -> None:
        writer.write(sent)
        assert not await over(writer, protocol, clock, patience.HEAD_TIMEOUT - 1)
        writer.write(then)
        assert await over(writer, protocol, clock, 2)

    run(work)


def test_a_body_that_stalls_or_dribbles_is_given_up() -> None:
    async def work(
        reader: asyncio.StreamReader, writer: Client, protocol: Heard, clock: Clock
    ) -> None:
        writer.write(HEAD + b"x" * PROGRESS)
        assert not await over(writer, protocol, clock, patience.STALL_TIMEOUT - 1)
        writer.write(b"x" * PROGRESS)
        assert not await over(writer, protocol, clock, patience.STALL_TIMEOUT - 1)
        writer.write(b"x")
        assert await over(writer, protocol, clock, 2)

    run(work)


def test_work_may_take_its_time_and_the_next_request_too() -> None:
    async def work(
        reader: asyncio.StreamReader, writer: Client, protocol: Heard, clock: Clock
    ) -> None:
        writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"oo")).startswith(b"HTTP/1.1 200")
        # Between requests uvicorn's own timer counts.
        assert not await over(writer, protocol, clock, 10 * patience.STALL_TIMEOUT)
        writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"oo")).startswith(b"HTTP/1.1 200")

    run(work)


def test_the_rest_of_a_body_that_was_answered_is_not_waited_for() -> None:
    async def work(
        reader: asyncio.StreamReader, writer: Client, protocol: Heard, clock: Clock
    ) -> None:
        writer.write(HEAD.replace(b"/x", b"/unread"))
        await reader.readuntil(b"oo")
        assert not await over(writer, protocol, clock, patience.HEAD_TIMEOUT - 1)
        writer.write(b"x")
        assert await over(writer, protocol, clock, 2)

    run(work)


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    async def work(
        reader: asyncio.StreamReader, writer: Client, protocol: Heard, clock: Clock
    ) -> None:
        writer.transport.pause_reading()
        writer.write(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        sizes = [0]  # of what the kernel has no room for any more
        while not sizes[-1] or len(set(sizes[-20:])) > 1 or len(sizes) < 20:
            await asyncio.sleep(0.01)
            sizes.append(protocol.transport.get_write_buffer_size())
        assert not await over(writer, protocol, clock, patience.STALL_TIMEOUT - 1)
        assert await over(writer, protocol, clock, 2)

    run(work)


def test_a_pile_of_requests_is_refused() -> None:
    async def work(
        reader: asyncio.StreamReader, writer: Client, protocol: Heard, clock: Clock
    ) -> None:
        writer.write(HEAD + b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        await settle(writer, protocol)
        assert not protocol.transport.is_closing()
        writer.write(b"x" * 4000 + b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * (PIPELINE_MAX + 2))
        await settle(writer, protocol)
        assert protocol.transport.is_closing()

    run(work)
