"""Responses as they leave: framing, HEAD, large blocks, slow readers, applications that fail."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from tests.unit.server.conftest import Running, respond
from tests.unit.server.test_http_requests import GET, put, until

MIB = 1024 * 1024


def route(server: Running, app: Any) -> bytes:
    server.routes["/x"] = app
    return GET.replace(b"/echo", b"/x")


def test_head_and_body_leave_in_one_write(server: Running) -> None:
    writes: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        transport = send.__self__.protocol.transport
        send.__self__.protocol.transport = _Counting(transport, writes)
        await respond(send, 200, b"x" * 1000)
        send.__self__.protocol.transport = transport

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request)
        assert wire.answer()[2] == b"x" * 1000
    assert len(writes) == 1


class _Counting:
    def __init__(self, transport: Any, writes: list[int]) -> None:
        self._transport = transport
        self._writes = writes

    def write(self, data: bytes) -> None:
        self._writes.append(len(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def test_every_response_has_date_and_server(server: Running) -> None:
    with server.wire() as wire:
        wire.send(GET)
        _, headers, _ = wire.answer()
    assert headers["date"].endswith("GMT")
    assert headers["server"] == "Oversight"


def test_head_has_a_length_but_no_body(server: Running) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"12345")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    request = route(server, app).replace(b"GET", b"HEAD")
    with server.wire() as wire:
        wire.send(request + request)
        for _ in range(2):
            status, headers, _ = wire.answer(head_only=True)
            assert (status, headers["content-length"]) == (200, "12345")
        assert wire.is_open()


@pytest.mark.parametrize("status", [204, 304])
def test_bodiless_statuses(server: Running, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"dropped"})

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request)
        found, headers = wire.head()
        assert found == status
        assert "transfer-encoding" not in headers
        assert wire.is_open()


def test_without_a_length_the_body_is_chunked(server: Running) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request)
        assert wire.head()[1]["transfer-encoding"] == "chunked"
        assert wire.body(21) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        assert wire.is_open()


def test_http_1_0_gets_no_chunks(server: Running) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"old"})

    request = route(server, app).replace(b"HTTP/1.1", b"HTTP/1.0")
    with server.wire() as wire:
        wire.send(request)
        _, headers = wire.head()
        assert "transfer-encoding" not in headers
        assert headers["connection"] == "close"
        assert wire.rest() == b"old"


def test_connection_close_is_honoured(server: Running) -> None:
    with server.wire() as wire:
        wire.send(put(b"bye", b"connection: close") + GET)
        _, headers, body = wire.answer()
        assert (headers["connection"], body) == ("close", b"bye")
        assert wire.rest() == b""


def test_an_application_may_close(server: Running) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, 200, b"last", (b"connection", b"close"))

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request)
        _, headers, body = wire.answer()
        assert (headers["connection"], body) == ("close", b"last")
        assert wire.rest() == b""


def test_a_reused_block_is_not_overwritten_before_it_is_sent(server: Running) -> None:
    """The engine fills one buffer again and again: ``send`` must not return too early."""
    blocks = 24

    async def app(scope: Any, receive: Any, send: Any) -> None:
        buffer = bytearray(MIB)
        headers = [(b"content-length", b"%d" % (blocks * MIB))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number in range(blocks):
            buffer[:] = bytes([number]) * MIB
            message = {"type": "http.response.body", "body": memoryview(buffer)}
            await send({**message, "more_body": number < blocks - 1})
        buffer[:] = b"\xff" * MIB

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request)
        wire.head()
        body = wire.body(blocks * MIB)
        assert wire.is_open()
    expected = b"".join(bytes([number]) * MIB for number in range(blocks))
    assert hashlib.md5(body).digest() == hashlib.md5(expected).digest()


def test_a_slow_reader_slows_the_application(server: Running) -> None:
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % (64 * MIB))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number in range(64):
            body = bytes(MIB)
            await send({"type": "http.response.body", "body": body, "more_body": number < 63})
            sent.append(number)

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request)
        wire.head()
        until(lambda: len(sent) > 0)
        assert len(sent) < 32
        wire.body(64 * MIB)
    until(lambda: len(sent) == 64)


@pytest.mark.parametrize("after", ["nothing", "head", "part"])
def test_an_application_that_fails(server: Running, after: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if after != "nothing":
            headers = [(b"content-length", b"10")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        if after == "part":
            await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        raise ValueError("a bug")

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request)
        if after == "part":
            wire.head()
            assert wire.body(5) == b"12345"
            with pytest.raises((EOFError, ConnectionResetError)):
                wire.body(1)
        else:
            status, headers, body = wire.answer()
            assert (status, headers["connection"]) == (500, "close")
            assert b"<Code>InternalError</Code>" in body
            assert b"a bug" not in body


@pytest.mark.parametrize("late", [False, True])
def test_an_application_that_says_too_little(server: Running, late: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if late:
            await asyncio.sleep(0)

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request)
        assert wire.answer()[0] == 500


@pytest.mark.parametrize("body", [b"short", b"far too long"])
def test_a_body_unlike_its_declared_length_is_never_passed_on(server: Running, body: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request)
        assert wire.answer()[0] == 500


@pytest.mark.parametrize("value", [b"a\r\nx-forged: 1", b"a\nb", b"a\rb", b"a\0b"])
def test_headers_can_not_be_forged(server: Running, value: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, 200, b"", (b"x-amz-meta-a", value))

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request)
        status, headers, _ = wire.answer()
        assert status == 500
        assert "x-forged" not in headers


@pytest.mark.parametrize("suspensions", [0, 1, 3])
def test_applications_that_wait_behave_like_those_that_do_not(
    server: Running, suspensions: int
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(suspensions):
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_exception, LookupError())
            with pytest.raises(LookupError):
                await future
            await asyncio.sleep(0)
        await respond(send, 200, b"%d" % suspensions)

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request * 2)
        assert [wire.answer()[2] for _ in range(2)] == [b"%d" % suspensions] * 2


@pytest.mark.parametrize("then", ["answer", "fail", "silence", "cancellation", "wait again"])
def test_one_wait_takes_no_task_and_changes_nothing(server: Running, then: str) -> None:
    tasks: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        first = loop.create_future()
        if then == "cancellation":
            loop.call_soon(first.cancel)
        else:
            loop.call_soon(first.set_result, 7)
        assert await first == 7
        tasks.append(asyncio.current_task())
        if then == "fail":
            raise ValueError("a bug")
        if then == "wait again":
            second = loop.create_future()
            loop.call_soon(second.set_result, None)
            await second
            tasks.append(asyncio.current_task())
        if then != "silence":
            await respond(send, 200, b"done")

    request = route(server, app)
    with server.wire() as wire:
        wire.send(request)
        status, _, body = wire.answer()
        if then in ("answer", "wait again"):
            assert (status, body) == (200, b"done")
            assert wire.is_open()
        else:
            assert (status, b"InternalError" in body) == (500, True)
    assert tasks[:1] == ([] if then == "cancellation" else [None])
    assert (tasks[-1:] != [None]) == (then in ("cancellation", "wait again"))


# -- answered at once: ``begin`` and ``Exchange.answer`` -------------------------------------------


def at_once(server: Running, status: int, *lines: tuple[bytes, bytes], body: bytes = b"") -> None:
    """Answer everything so, without a coroutine."""
    length = -1 if status in (204, 304) else len(body)
    server.door.begin = lambda exchange: exchange.answer(status, list(lines), length, body)


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000, 9 * MIB])
def test_whole_answers(server: Running, size: int) -> None:
    at_once(server, 200, (b"x-one", b"1"), body=b"x" * size)
    with server.wire() as wire:
        for _ in range(3):
            wire.send(GET, GET)
            for _ in range(2):
                status, headers, body = wire.answer()
                assert (status, headers["x-one"], body) == (200, "1", b"x" * size)
        assert headers["server"] == "Oversight"


def test_whole_answers_without_a_body(server: Running) -> None:
    with server.wire() as wire:
        at_once(server, 304, (b"etag", b'"a"'))
        wire.send(GET)
        status, headers, _ = wire.answer(head_only=True)
        assert (status, headers["etag"], "content-length" in headers) == (304, '"a"', False)
        server.door.begin = lambda exchange: exchange.answer(200, [], 1000, b"")
        wire.send(GET.replace(b"GET", b"HEAD"))
        status, headers, _ = wire.answer(head_only=True)
        assert (status, headers["content-length"]) == (200, "1000")
        at_once(server, 200, body=b"next")
        wire.send(GET)
        assert wire.answer()[2] == b"next"


def test_a_whole_answer_waits_for_a_slow_reader(server: Running) -> None:
    """The next request of a connection starts only once the kernel has all of this answer."""
    begun: list[int] = []

    def begin(exchange: Any) -> Any:
        begun.append(1)
        return exchange.answer(200, [], 32 * MIB, bytes(32 * MIB))

    server.door.begin = begin
    with server.wire() as wire:
        wire.send(GET, GET)
        until(lambda: begun and server.connections()[0].write_paused)
        assert begun == [1]
        assert len(wire.answer()[2]) == 32 * MIB
        assert len(wire.answer()[2]) == 32 * MIB
    assert len(begun) == 2


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: x", b"a\nb", b"a\rb", b"a\0b", b"a\n\rb"])
def test_whole_answers_can_not_be_forged(server: Running, value: bytes) -> None:
    at_once(server, 200, (b"x-meta", value), body=b"x")
    with server.wire() as wire:
        wire.send(GET)
        status, headers, _ = wire.answer()
        assert (status, "set-cookie" in headers, "x-meta" in headers) == (500, False, False)


def test_a_whole_answer_unlike_its_length_is_never_passed_on(server: Running) -> None:
    server.door.begin = lambda exchange: exchange.answer(200, [], 5, b"four")
    with server.wire() as wire:
        wire.send(GET)
        assert wire.answer()[0] == 500


def test_what_is_left_of_an_answer_is_run_to_its_end(server: Running) -> None:
    async def rest(exchange: Any) -> None:
        await asyncio.sleep(0.01)
        exchange.answer(200, [], 4, b"late")

    server.door.begin = rest
    with server.wire() as wire:
        wire.send(GET, GET)
        assert [wire.answer()[2] for _ in range(2)] == [b"late", b"late"]


def test_an_application_that_fails_at_once(server: Running) -> None:
    def begin(exchange: Any) -> None:
        raise ValueError("secret detail")

    server.door.begin = begin
    with server.wire() as wire:
        wire.send(GET)
        assert wire.answer()[0] == 500


def test_waiting_for_a_body_takes_a_task_that_can_be_cancelled(server: Running) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["method"])
        assert (await receive())["body"] == b"late"
        seen.append(asyncio.current_task())
        await respond(send, 200, b"done")

    server.routes["/x"] = app
    with server.wire() as wire:
        wire.send(b"PUT /x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n")
        until(lambda: bool(seen))
        wire.send(b"late")
        assert wire.answer()[2] == b"done"
    assert seen[1] is not None
