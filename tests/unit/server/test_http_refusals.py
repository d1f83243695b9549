"""What can't be understood, takes too long or is too large; and the end of a server."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from storage.s3 import http
from tests.unit.server.conftest import Running, read_body, respond
from tests.unit.server.test_http_requests import GET, put, until

MALFORMED = {
    "garbage": b"\x16\x03\x01\x02\x00 not http\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /echo\r\nhost: x\r\n\r\n",
    "bad header": b"GET /echo HTTP/1.1\r\nhost x\r\n\r\n",
    "space before colon": b"GET /echo HTTP/1.1\r\nhost : x\r\n\r\n",
    "negative length": b"PUT /echo HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    "two lengths": b"PUT /echo HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "length and chunks": (
        b"PUT /echo HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "nul in header": b"GET /echo HTTP/1.1\r\nx: a\0b\r\n\r\n",
    "bytes beyond ASCII": b"GET /\xc3\xa4 HTTP/1.1\r\nhost: x\r\n\r\n",
    "chunks behind an upgrade": (
        b"PUT /echo HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "bare line feed": b"GET /echo HTTP/1.1\nhost: x\n\n",
    "no host": b"GET /echo HTTP/1.1\r\naccept: */*\r\n\r\n",
    "two hosts": b"GET /echo HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
    "the same host twice": b"GET /echo HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n",
    "a host with a path": b"GET /echo HTTP/1.1\r\nhost: x/y\r\n\r\n",
    "a host with a user": b"GET /echo HTTP/1.1\r\nhost: me@x\r\n\r\n",
    "a host with a space": b"GET /echo HTTP/1.1\r\nhost: x y\r\n\r\n",
    "a port that is no number": b"GET /echo HTTP/1.1\r\nhost: x:http\r\n\r\n",
}


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_requests_get_an_s3_error(server: Running, request_: bytes) -> None:
    with server.wire() as wire:
        wire.send(request_)
        status, headers, body = wire.answer()
        assert status == 400
        assert headers["content-type"] == "application/xml"
        assert headers["connection"] == "close"
        assert b"<Error><Code>BadRequest</Code>" in body
        assert wire.rest() == b""
    assert server.seen == []


HOSTS = (
    *(b"x", b"LOCALHOST:9000", b"a_bucket.s3.example.com.", b"192.0.2.1:80", b"[::1]:9000"),
    *(b"%C3%A4.example", b"x:", b""),
)


@pytest.mark.parametrize("host", HOSTS)
def test_every_valid_host_is_taken(server: Running, host: bytes) -> None:
    with server.wire() as wire:
        wire.send(b"GET /echo HTTP/1.1\r\nhost: %b\r\n\r\n" % host)
        assert wire.answer()[0] == 200


def test_a_host_is_looked_at_with_each_request(server: Running) -> None:
    for later in ("no host", "two hosts", "the same host twice"):
        with server.wire() as wire:
            wire.send(GET + MALFORMED[later])
            assert wire.answer()[0] == 200
            assert wire.answer()[0] == 400


def test_http_1_0_needs_no_host(server: Running) -> None:
    for follower in (b"", GET):
        with server.wire() as wire:
            wire.send(b"GET /echo HTTP/1.0\r\nconnection: keep-alive\r\n\r\n" + follower)
            assert wire.answer()[0] == 200
    with server.wire() as wire:
        wire.send(b"GET /echo HTTP/1.0\r\nconnection: keep-alive\r\n\r\n" + MALFORMED["no host"])
        assert [wire.answer()[0] for _ in range(2)] == [200, 400]


def test_a_malformed_request_waits_for_those_before_it(server: Running) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)
        await respond(send, 200, b"first")

    server.routes["/slow"] = slow
    with server.wire() as wire:
        wire.send(GET.replace(b"/echo", b"/slow") + MALFORMED["bad header"])
        assert wire.answer()[2] == b"first"
        assert wire.answer()[0] == 400
        assert wire.rest() == b""


@pytest.mark.parametrize("path", [b"/echo", b"/slow"])
@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        (b"", [200]),
        (GET, [200, 200]),
        (GET[:-6], [200]),
        (MALFORMED["garbage"], [200, 400]),
        (GET + MALFORMED["bad header"], [200, 200, 400]),
    ],
    ids=["nothing", "another", "a beginning", "garbage", "another and garbage"],
)
def test_who_sends_no_more_still_gets_all_answers(
    server: Running,
    monkeypatch: pytest.MonkeyPatch,
    path: bytes,
    behind: bytes,
    expected: list[int],
) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)
        await respond(send, 200, b"first")

    server.routes["/slow"] = slow
    monkeypatch.setattr(http, "LINGER_TIMEOUT", 3600)  # one that lingers is none that ends here
    with server.wire() as wire:
        wire.send(GET.replace(b"/echo", path) + behind)
        wire.socket.shutdown(socket.SHUT_WR)
        assert [wire.answer()[0] for _ in expected] == expected
        assert wire.rest() == b""


def test_who_leaves_in_the_middle_of_a_body_is_not_waited_for(server: Running) -> None:
    with server.wire() as wire:
        wire.send(b"PUT /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
        until(lambda: len(server.seen) == 1)
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.rest() == b""


def test_a_broken_chunk_is_refused_and_the_application_told(server: Running) -> None:
    events: list[str] = []

    async def store(scope: Any, receive: Any, send: Any) -> None:
        try:
            await read_body(receive)
        except ConnectionError:
            events.append("told")
            raise

    server.routes["/echo"] = store
    head = b"PUT /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with server.wire() as wire:
        wire.send(head + b"5\r\nhello\r\n")
        until(lambda: len(server.seen) == 1)
        wire.send(b"zz\r\n")
        status, _, body = wire.answer()
        assert status == 400
        assert b"BadRequest" in body
        assert wire.rest() == b""
    until(lambda: events == ["told"])


@pytest.mark.parametrize("step", [1000, 100_000])
def test_a_head_has_a_limit(server: Running, step: int) -> None:
    with server.wire() as wire:
        wire.send(b"GET /echo HTTP/1.1\r\nhost: x\r\n")
        line = b"x-filler: " + b"y" * 990 + b"\r\n"
        sent = 0
        while sent < http.HEAD_BYTES_MAX + 5000:
            wire.send(line * (step // 1000))
            sent += step
        status, _, body = wire.answer()
        assert status == 400
        assert b"<Code>RequestHeaderSectionTooLarge</Code>" in body
    assert server.seen == []


def test_a_whole_head_beyond_the_limit_in_one_read(server: Running) -> None:
    head = b"GET /echo HTTP/1.1\r\nx: " + b"y" * (http.HEAD_BYTES_MAX + 10) + b"\r\n\r\n"
    with server.wire() as wire:
        wire.send(head)
        status, _, body = wire.answer()
        assert status == 400
        assert b"RequestHeaderSectionTooLarge" in body
    assert server.seen == []


def test_offers_of_other_protocols_are_passed_over(server: Running) -> None:
    upgrade = (b"connection: upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: AA")
    with server.wire() as wire:
        wire.send(put(b"with body", *upgrade))
        assert wire.answer()[2] == b"with body"
        wire.send(*(put(b"in pieces", *upgrade)[cut : cut + 30] for cut in range(0, 200, 30)))
        assert wire.answer()[2] == b"in pieces"
        wire.send(put(b"", *upgrade) + GET)
        assert wire.answer()[0] == 200
        assert wire.answer()[0] == 200
        assert wire.is_open()


def test_a_dribbled_head_ends_in_time(server: Running) -> None:
    with server.wire() as wire:
        wire.send(b"GET /echo HT")
        until(lambda: [each._in_head for each in server.connections()] == [True])
        server.sweep(http.HEAD_TIMEOUT // 2)
        wire.send(b"TP/1.1\r\n")
        server.sweep(http.HEAD_TIMEOUT // 2 + 2)
        assert wire.rest() == b""


def test_an_idle_connection_ends(server: Running) -> None:
    with server.wire() as wire:
        wire.send(GET)
        wire.answer()
        server.sweep(http.IDLE_TIMEOUT - 2)
        assert wire.is_open()
        server.sweep(http.IDLE_TIMEOUT + 2)
        assert wire.rest() == b""


def test_a_stalled_body_is_refused(server: Running) -> None:
    with server.wire() as wire:
        wire.send(put(b"hello")[:-2])
        until(lambda: len(server.seen) == 1)
        server.sweep(http.STALL_TIMEOUT + 1)
        status, _, body = wire.answer()
        assert status == 400
        assert b"<Code>RequestTimeout</Code>" in body


def test_a_reader_that_stalls_is_cut_off(server: Running) -> None:
    ended: list[bool] = []

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, 200, bytes(64 * 1024 * 1024))
        ended.append(True)

    server.routes["/x"] = large
    with server.wire() as wire:
        wire.send(GET.replace(b"/echo", b"/x"))
        wire.head()
        until(lambda: [each.write_paused for each in server.connections()] == [True])
        server.sweep(http.STALL_TIMEOUT + 3)
        until(lambda: server.connections() == [])
    until(lambda: ended == [True])


def test_work_that_takes_its_time_is_left_alone(server: Running) -> None:
    go = asyncio.Event()

    async def patient(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await respond(send, 200, b"done")

    server.routes["/x"] = patient
    with server.wire() as wire:
        wire.send(GET.replace(b"/echo", b"/x"))
        until(lambda: len(server.seen) == 1)
        server.sweep(3 * http.STALL_TIMEOUT)
        server.call(go.set)
        assert wire.answer()[2] == b"done"


def test_draining_finishes_what_was_begun(server: Running) -> None:
    go = asyncio.Event()

    async def patient(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await respond(send, 200, b"done")

    server.routes["/x"] = patient
    with server.wire() as busy, server.wire() as idle, server.wire() as uploading:
        idle.send(GET)
        idle.answer()
        uploading.send(put(b"hello")[:-2])
        busy.send(GET.replace(b"/echo", b"/x"))
        until(lambda: len(server.seen) == 3)
        server.loop.call_soon_threadsafe(server._stop.set)
        assert idle.rest() == b""
        uploading.send(b"lo")
        _, headers, body = uploading.answer()
        assert (headers["connection"], body) == ("close", b"hello")
        server.call(go.set)
        _, headers, body = busy.answer()
        assert (headers["connection"], body) == ("close", b"done")
        assert busy.rest() == b""


def test_refusals_have_a_request_id(server: Running) -> None:
    with server.wire() as wire:
        wire.send(MALFORMED["bad header"])
        _, headers, body = wire.answer()
    request_id = headers["x-amz-request-id"]
    assert request_id
    assert f"<RequestId>{request_id}</RequestId>".encode() in body


def test_pipelining_without_taking_answers_is_bounded(server: Running) -> None:
    gate = asyncio.Event()

    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        await gate.wait()
        await respond(send, 200, b"late")

    server.routes["/stuck"] = stuck
    with server.wire() as wire:
        wire.send(GET.replace(b"/echo", b"/stuck"))
        until(lambda: len(server.seen) == 1)
        wire.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            wire.send(GET * 1_000_000)
        (connection,) = server.connections()
        assert len(connection._waiting) <= http.PIPELINE_MAX
        server.call(gate.set)


def test_pipelined_requests_go_on_after_a_pause(server: Running) -> None:
    with server.wire() as wire:
        wire.send(GET * 500)
        for _ in range(500):
            assert wire.answer()[0] == 200
        assert wire.is_open()
