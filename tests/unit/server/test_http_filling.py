"""Large bodies that go from the socket straight into the application's memory."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

from storage.s3 import http
from storage.s3.call import RECEIVE_INTO
from tests.unit.server.conftest import App, Running, respond
from tests.unit.server.test_http_requests import GET, MIB, put

SIZE = 3 * MIB + 17


def filling(room: int, gone: threading.Event | None = None) -> App:
    """An application that takes a body in pieces of ``room`` and answers with it."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        receive_into = scope["extensions"][RECEIVE_INTO]
        left, body = SIZE, b""
        try:
            while left:
                view = memoryview(bytearray(room))
                count = await receive_into(view)
                body += view[:count]
                left -= count
        except ConnectionError:
            if gone is not None:
                gone.set()
            raise
        await respond(send, 200, body)

    return application


@pytest.mark.parametrize("room", [1000_003, MIB, SIZE])
@pytest.mark.parametrize("headers", [(), (b"expect: 100-continue",)])
def test_a_body_fills_the_room_and_the_next_request_is_not_touched(
    server: Running, room: int, headers: tuple[bytes, ...]
) -> None:
    server.routes["/fill"] = filling(room)
    body = os.urandom(SIZE)
    with server.wire() as wire:
        for _ in range(2):
            wire.send(put(body, *headers, path=b"/fill") + GET)
            if headers:
                assert wire.head()[0] == 100
            status, _, answer = wire.answer()
            assert status == 200
            assert answer == body
            assert wire.answer()[0] == 200


def test_small_packets_of_a_large_body(server: Running) -> None:
    server.routes["/fill"] = filling(MIB)
    request = put(os.urandom(SIZE), path=b"/fill")
    with server.wire() as wire:
        sender = threading.Thread(
            target=lambda: wire.send(*(request[a : a + 7001] for a in range(0, len(request), 7001)))
        )
        sender.start()
        assert wire.answer()[2] == request[-SIZE:]
        sender.join()


def test_a_body_that_is_not_large_has_no_such_thing(server: Running) -> None:
    with server.wire() as wire:
        wire.send(put(bytes(MIB)))
        wire.answer()
    assert "extensions" not in server.seen[0]


def test_a_client_that_goes_is_told_of(server: Running) -> None:
    gone = threading.Event()
    server.routes["/fill"] = filling(MIB, gone)
    with server.wire() as wire:
        wire.send(put(bytes(SIZE), path=b"/fill")[: 2 * MIB])
    assert gone.wait(60)


def test_a_body_that_stalls_is_refused(server: Running) -> None:
    gone = threading.Event()
    server.routes["/fill"] = filling(MIB, gone)
    with server.wire() as wire:
        wire.send(put(bytes(SIZE), path=b"/fill")[: -(SIZE - MIB - MIB // 2)])
        while not _waits(server):
            time.sleep(0.01)
        server.sweep(http.STALL_TIMEOUT + 1)
        wire.send(bytes(1000))  # is dropped: the answer must not be lost to a reset
        status, _, document = wire.answer()
        assert status == 400
        assert b"RequestTimeout" in document
    assert gone.wait(60)


def _waits(server: Running) -> bool:
    """Whether all that was sent is received, and more of it is waited for."""
    left = [connection.body_left for connection in server.connections()]
    return left == [SIZE - MIB - MIB // 2]


def test_an_application_that_gives_up_halfway(server: Running) -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await scope["extensions"][RECEIVE_INTO](memoryview(bytearray(MIB)))
        await respond(send, 507, b"full")

    server.routes["/half"] = half
    with server.wire() as wire:
        sender = threading.Thread(target=lambda: wire.send(put(bytes(SIZE), path=b"/half")))
        sender.start()
        status, headers, body = wire.answer()
        assert (status, body) == (507, b"full")
        assert headers["connection"] == "close"
        sender.join()
