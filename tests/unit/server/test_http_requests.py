"""Requests as they arrive: whole, in pieces, pipelined, chunked, awaited with 100-continue."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.unit.server.conftest import Running, read_body, respond

GET = b"GET /echo HTTP/1.1\r\nhost: x\r\n\r\n"
MIB = 1024 * 1024


def put(body: bytes, *headers: bytes, path: bytes = b"/echo") -> bytes:
    lines = [b"PUT %b HTTP/1.1" % path, b"host: x", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.parametrize("size", [0, 1, 4096, 70_000, 300_000, 3 * MIB + 17])
def test_a_body_arrives_whole(server: Running, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    with server.wire() as wire:
        for _ in range(2):
            wire.send(put(body))
            assert wire.answer() == (200, wire_headers(size), body)


def wire_headers(size: int) -> Any:
    class _Like(dict[str, str]):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, dict) and other["content-length"] == str(size)

        __hash__ = None  # type: ignore[assignment]

    return _Like()


def test_every_split_of_a_request_is_understood(server: Running) -> None:
    request = put(b"hello", b"x-a: b", path=b"/echo?x=%20y")
    with server.wire() as wire:
        for cut in range(1, len(request)):
            wire.send(request[:cut])
            server.call(lambda: None)  # the loop has seen the first piece, most of the time
            wire.send(request[cut:])
            assert wire.answer()[2] == b"hello", cut
    assert {scope["query_string"] for scope in server.seen} == {b"x=%20y"}


def test_single_bytes_of_a_body(server: Running) -> None:
    request = put(b"0123456789")
    with server.wire() as wire:
        for position in range(len(request)):
            wire.send(request[position : position + 1])
        assert wire.answer()[2] == b"0123456789"


def test_the_scope_says_what_was_asked(server: Running) -> None:
    with server.wire() as wire:
        wire.send(
            b"GET /echo?a=b%20c&d HTTP/1.1\r\nHost: H\r\nX-Mixed: Case Kept\r\nx-two: 1\r\n\r\n"
        )
        wire.answer()
    (scope,) = server.seen
    assert scope["method"] == "GET"
    assert scope["http_version"] == "1.1"
    assert scope["raw_path"] == b"/echo"
    assert scope["query_string"] == b"a=b%20c&d"
    assert scope["headers"] == [(b"host", b"H"), (b"x-mixed", b"Case Kept"), (b"x-two", b"1")]
    assert scope["client"][0] == "127.0.0.1"


def test_repeated_headers(server: Running) -> None:
    """ASGI gets them as they came, our own way in joined; trailers never count among them."""
    joined: list[dict[bytes, bytes]] = []
    lines = b"host: x\r\nx-a: 1\r\nx-b: 2\r\nX-A: 1\r\nx-b:\r\nx-c: 3\r\ntransfer-encoding: chunked"
    request = b"PUT /echo HTTP/1.1\r\n" + lines + b"\r\n\r\n2\r\nhi\r\n0\r\nx-a: no\r\n\r\n"
    with server.wire() as wire:
        wire.send(request)
        assert wire.answer()[2] == b"hi"

        def begin(exchange: Any) -> Any:
            joined.append(exchange.headers)
            return exchange.answer(200, [], 0, b"")

        server.door.begin = begin
        wire.send(request, request)
        wire.answer()
        wire.answer()
    (scope,) = server.seen
    assert scope["headers"] == [
        (b"host", b"x"), (b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"1"), (b"x-b", b""),
        (b"x-c", b"3"), (b"transfer-encoding", b"chunked"),
    ]  # fmt: skip
    expected = {
        b"host": b"x", b"x-a": b"1,1", b"x-b": b"2,", b"x-c": b"3",
        b"transfer-encoding": b"chunked",
    }  # fmt: skip
    assert joined == [expected, expected]


@pytest.mark.parametrize(
    ("target", "path", "raw", "query"),
    [
        (b"/a%2Fb/../c", "/a/b/../c", b"/a%2Fb/../c", b""),
        (b"//x", "//x", b"//x", b""),
        (b"/?list-type=2", "/", b"/", b"list-type=2"),
        (b"http://h:1/a?b", "/a", b"/a", b"b"),
        (b"/%C3%A4", "/\u00e4", b"/%C3%A4", b""),
        (b"/k?a=1?b", "/k", b"/k", b"a=1?b"),
    ],
)
def test_targets(server: Running, target: bytes, path: str, raw: bytes, query: bytes) -> None:
    async def ok(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, 200)

    server.routes[path] = ok
    with server.wire() as wire:
        wire.send(b"GET " + target + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert wire.answer()[0] == 200
    assert (server.seen[0]["raw_path"], server.seen[0]["query_string"]) == (raw, query)


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    with server.wire() as wire:
        wire.send(b"".join(put(b"%d" % number) for number in range(100)))
        assert [wire.answer()[2] for _ in range(100)] == [b"%d" % n for n in range(100)]


def test_pipelined_requests_wait_for_a_slow_one(server: Running) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)
        await respond(send, 200, b"slow")

    server.routes["/slow"] = slow
    with server.wire() as wire:
        wire.send(GET.replace(b"/echo", b"/slow") * 2 + put(b"quick"))
        assert [wire.answer()[2] for _ in range(3)] == [b"slow", b"slow", b"quick"]


def test_a_request_behind_a_large_body(server: Running) -> None:
    body = b"x" * 700_000
    with server.wire() as wire:
        wire.send(put(body) + put(b"next") + GET)
        assert wire.answer()[2] == body
        assert wire.answer()[2] == b"next"
        assert wire.answer()[2] == b""


def test_chunked_bodies_and_trailers(server: Running) -> None:
    head = b"PUT /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with server.wire() as wire:
        wire.send(head, b"5\r\nhello\r\n", b"6;ext=1\r\n world\r\n", b"0\r\nx-evil: 1\r\n\r\n")
        assert wire.answer()[2] == b"hello world"
        assert wire.is_open()
    assert all(name != b"x-evil" for name, _ in server.seen[0]["headers"])


def test_a_body_is_read_ahead_only_so_far(server: Running) -> None:
    go = asyncio.Event()

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await respond(send, 200, b"%d" % len(await read_body(receive)))

    server.routes["/late"] = late
    body = b"x" * (16 * MIB)
    with server.wire() as wire:
        wire.socket.setblocking(False)
        request = memoryview(put(body, path=b"/late"))
        sent = 0
        for _ in range(200):
            try:
                sent += wire.socket.send(request[sent : sent + MIB])
            except BlockingIOError:
                server.call(lambda: None)
        (connection,) = server.connections()
        assert connection._reading.unread < 2 * MIB
        assert sent < len(request)
        server.call(go.set)
        wire.socket.settimeout(60)
        wire.send(request[sent:])
        assert wire.answer()[2] == b"%d" % len(body)


def test_a_disconnect_reaches_the_application(server: Running) -> None:
    events: list[str] = []

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        events.append("first")
        events.append((await receive())["type"])
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        except ConnectionError:
            events.append("refused")

    server.routes["/wait"] = wait
    with server.wire() as wire:
        wire.send(put(b"y" * 10, path=b"/wait")[:-5])
        until(lambda: events == ["first"])
    until(lambda: events == ["first", "http.disconnect", "refused"])


def until(condition: Any) -> None:
    """Wait until ``condition()`` holds, at most a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_idle_connections_do_not_hold_up_the_end(server: Running) -> None:
    server.patience = 3600
    with server.wire() as wire, server.wire() as unused:
        wire.send(GET)
        assert wire.answer()[0] == 200
        server.stop()
        assert wire.rest() == unused.rest() == b""


class TestContinue:
    """Expect: 100-continue (RFC 9110, section 10.1.1)."""

    HEAD = put(b"hello", b"expect: 100-continue")[: -len(b"hello")]

    def test_it_is_sent_when_the_body_is_wanted(self, server: Running) -> None:
        with server.wire() as wire:
            wire.send(self.HEAD)
            assert wire.head() == (100, {})
            wire.send(b"hello")
            assert wire.answer()[2] == b"hello"
            assert wire.is_open()

    def test_not_if_the_body_is_there_already(self, server: Running) -> None:
        with server.wire() as wire:
            wire.send(self.HEAD + b"hello")
            status, _, body = wire.answer()
            assert (status, body) == (200, b"hello")

    def test_a_refusal_comes_instead_and_ends_the_connection(self, server: Running) -> None:
        async def refuse(scope: Any, receive: Any, send: Any) -> None:
            await respond(send, 403, b"no")

        server.routes["/echo"] = refuse
        with server.wire() as wire:
            wire.send(self.HEAD)
            status, headers, body = wire.answer()
            assert (status, body, headers["connection"]) == (403, b"no", "close")
            assert wire.rest() == b""


class TestRefusedBodies:
    """An answer before the body was read."""

    @pytest.fixture(autouse=True)
    def _refusing(self, server: Running) -> None:
        async def refuse(scope: Any, receive: Any, send: Any) -> None:
            await respond(send, 403, b"no")

        server.routes["/no"] = refuse

    def test_a_small_rest_is_dropped_and_the_connection_kept(self, server: Running) -> None:
        request = put(b"x" * 100_000, path=b"/no")
        with server.wire() as wire:
            wire.send(request[:5000])
            assert wire.answer()[0] == 403
            wire.send(request[5000:])
            assert wire.is_open()

    def test_a_large_rest_ends_the_connection_without_a_reset(self, server: Running) -> None:
        with server.wire() as wire:
            wire.send(put(b"x" * 5_000_000, path=b"/no"))
            status, headers, body = wire.answer()
            assert (status, headers["connection"], body) == (403, "close", b"no")
            assert wire.rest() == b""
