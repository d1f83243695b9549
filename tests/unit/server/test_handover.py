"""Requests that another process answers: whole, in pieces, given up, and with nobody there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from storage.config import Config
from storage.serving import doorway
from storage.serving.handover import (
    MESSAGE_BYTES_MAX,
    Application,
    Broken,
    Busy,
    Gone,
    Receive,
    Scope,
    Send,
    answer_all,
    hand_over,
)

SCOPE: dict[str, Any] = {
    "type": "http", "method": "PUT", "scheme": "http", "path": "/console/x y",
    "raw_path": b"/console/x%20y", "query_string": b"a=1", "root_path": "",
    "headers": [(b"host", b"here"), (b"cookie", b"\xff")], "client": ("10.1.2.3", 99),
}  # fmt: skip


class Client:
    """One side of a request: a body to send, and what came back."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces) or [b""]
        self.leaves = asyncio.Event()
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.complete = False

    async def receive(self) -> dict[str, Any]:
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        else:
            self.body += message["body"]
            self.complete = not message.get("more_body", False)


Work = Callable[[socket.socket], Awaitable[None]]


def run(app: Application, work: Work) -> None:
    """Do ``work`` with the hatch of somebody who answers with ``app``."""

    async def both() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        answering = asyncio.create_task(answer_all(theirs, app))
        await asyncio.wait_for(work(ours), 60)
        ours.close()
        await asyncio.wait_for(answering, 60)

    asyncio.run(both())


async def body_of(receive: Receive) -> bytes:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    return body


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await body_of(receive)
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b"."})


def test_a_request_arrives_as_it_was() -> None:
    seen: dict[str, Any] = {}

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope)
        await echo(scope, receive, send)

    async def work(hatch: socket.socket) -> None:
        client = Client(b"one ", b"two")
        await hand_over(hatch, SCOPE, client.receive, client.send)
        assert (client.status, client.body, client.complete) == (201, b"one two.", True)

    run(look, work)
    assert seen["client"][0] == "10.1.2.3"
    assert {name: seen[name] for name in SCOPE if name != "client"} == {
        name: SCOPE[name] for name in SCOPE if name != "client"
    }


def test_large_bodies_go_through_in_pieces() -> None:
    large = bytes(range(256)) * (MESSAGE_BYTES_MAX // 128)

    async def work(hatch: socket.socket) -> None:
        client = Client(large)
        await hand_over(hatch, SCOPE, client.receive, client.send)
        assert client.body == large + b"."

    run(echo, work)


def test_an_answer_before_the_body_was_read_is_whole() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": b"no" * 100_000})

    async def work(hatch: socket.socket) -> None:
        for _ in range(50):
            client = Client(b"x" * 200_000, b"y")
            await hand_over(hatch, SCOPE, client.receive, client.send)
            assert (client.status, len(client.body), client.complete) == (403, 200_000, True)

    run(refuse, work)


def test_many_requests_at_once() -> None:
    async def work(hatch: socket.socket) -> None:
        clients = [Client(b"%d" % number) for number in range(100)]
        await asyncio.gather(*(hand_over(hatch, SCOPE, c.receive, c.send) for c in clients))
        assert [client.body for client in clients] == [b"%d." % number for number in range(100)]

    run(echo, work)


def test_a_client_that_leaves_ends_the_work() -> None:
    ended = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with contextlib.suppress(Broken):
            while True:
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        ended.set()

    async def work(hatch: socket.socket) -> None:
        client = Client()
        asyncio.get_running_loop().call_later(0.05, client.leaves.set)
        await hand_over(hatch, SCOPE, client.receive, client.send)
        await ended.wait()

    run(endless, work)


def test_work_that_fails_is_told_from_nobody_there() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    async def work(hatch: socket.socket) -> None:
        client = Client()
        with pytest.raises(Broken):
            await hand_over(hatch, SCOPE, client.receive, client.send)

    run(fail, work)

    async def alone() -> None:
        ours, theirs = socket.socketpair()
        theirs.close()
        client = Client()
        with pytest.raises(Gone):
            await hand_over(ours, SCOPE, client.receive, client.send)
        ours.close()

    asyncio.run(alone())


MANY = 400


async def settled(tasks: list[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
    """Let all begin, and wait until one has ended; those that have."""
    done, _ = await asyncio.wait(tasks, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    return list(done)


async def cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_hatch_that_nobody_reads_is_busy_and_does_not_block() -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        clients = [Client() for _ in range(MANY)]
        tasks = [asyncio.create_task(hand_over(ours, SCOPE, c.receive, c.send)) for c in clients]
        done = await settled(tasks)
        assert 0 < len(done) < MANY
        assert {type(task.exception()) for task in done} == {Busy}
        await cancelled(tasks)
        # One that reads again is given requests again.
        answering = asyncio.create_task(answer_all(theirs, echo))
        for _ in range(1000):
            client = Client(b"late")
            with contextlib.suppress(Busy):
                await hand_over(ours, SCOPE, client.receive, client.send)
                break
            await asyncio.sleep(0.05)
        assert client.body == b"late."
        ours.close()
        await answering

    asyncio.run(work())


def test_a_process_that_takes_nothing_is_busy_and_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def idle(_: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", "import time; time.sleep(600)"], **options))
        return started[-1]

    async def work() -> None:
        birth = doorway.Birth(("127.0.0.1", 1), ("127.0.0.1", 2), "", "us-east-1", "proof")
        process = doorway.Process(birth)
        assert not process._open().getblocking()  # else this would hang instead of fail
        clients = [Client() for _ in range(MANY)]
        tasks = [asyncio.create_task(process(SCOPE, c.receive, c.send)) for c in clients]
        done = await settled(tasks)
        busy = [client for client in clients if client.status]
        assert 0 < len(done) == len(busy) < MANY
        for client in busy:
            assert (client.status, client.complete) == (503, True)
            assert client.headers[b"retry-after"] == b"1"
        assert [each.poll() for each in started] == [None]
        await cancelled(tasks)
        await process.close()

    monkeypatch.setattr(subprocess, "Popen", idle)
    try:
        asyncio.run(work())
    finally:
        for each in started:
            each.kill()
            each.wait()


def test_a_head_that_is_too_large_is_not_handed_over() -> None:
    handed: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        handed.append(len(scope["path"]))
        await echo(scope, receive, send)

    def asked(**changes: Any) -> int:
        client = Client()
        asyncio.run(door({**SCOPE, **changes}, client.receive, client.send))
        assert client.complete
        return client.status

    door = doorway.Doorway(app, Config(), ("127.0.0.1", 1))
    door._console = app  # type: ignore[assignment]
    limit = doorway.HEAD_BYTES_MAX
    plain = len(SCOPE["raw_path"]) + len(SCOPE["query_string"])
    fits = [(b"cookie", b"x" * (limit - plain - len("cookie: \r\n")))]
    assert asked(headers=fits) == 201
    assert len(handed) == 1
    assert asked(headers=[(b"cookie", fits[0][1] + b"x")]) == 431
    assert asked(headers=[(b"a", b"")] * (limit // 5 + 1)) == 431
    assert asked(query_string=b"x" * (limit + 1), headers=[]) == 431
    assert asked(raw_path=b"/console/" + b"x" * limit, headers=[]) == 431
    assert len(handed) == 1


def test_a_process_that_will_not_end_holds_nobody_up() -> None:
    """One that hangs in the kernel ends late, whatever it is sent: nobody waits for that."""
    ended = threading.Event()
    waited: list[bool] = []

    class Hanging:
        def poll(self) -> None:
            return None

        def kill(self) -> None:
            pass

        def wait(self) -> int:
            waited.append(ended.wait(60))
            return 0

    birth = doorway.Birth(("127.0.0.1", 1), ("127.0.0.1", 2), "", "us-east-1", "proof")
    process = doorway.Process(birth)
    process._process = Hanging()  # type: ignore[assignment]
    process._forget()
    assert waited == []
    assert process._process is None
    ended.set()
