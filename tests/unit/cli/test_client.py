"""What the commands say of a control API that does not answer as it should."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from stack.client import Control, Starting
from stack.store import CommandError
from storage.serving import starting

Answering = Callable[[int, bytes], Control]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """A store's console port that gives one answer to everything."""
    servers: list[HTTPServer] = []

    def make(status: int, body: bytes) -> Control:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Control(f"http://127.0.0.1:{server.server_port}", "key", "secret")

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_store_that_replays_says_so(answering: Answering) -> None:
    with pytest.raises(Starting, match=r"is starting .*replays its log.*try again"):
        answering(503, starting._BODY).get("status")


def test_a_503_of_something_else_is_not_called_no_control_api(answering: Answering) -> None:
    with pytest.raises(CommandError, match=r"503: the store is not ready.*Try again"):
        answering(503, b"<html>upstream</html>").get("status")


def test_what_is_no_control_api_is_called_so(answering: Answering) -> None:
    with pytest.raises(CommandError, match="is no control API"):
        answering(404, b"<html></html>").get("status")


def test_a_store_that_takes_long_is_not_called_absent() -> None:
    """It has accepted the connection: what is missing is time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        control = Control(url, "key", "secret")
        control._token = "t"
        with pytest.raises(CommandError, match=r"not answered within 0 seconds.*try again"):
            control.get("status", patience=0.05)


def test_a_connection_that_the_store_has_closed_is_made_anew() -> None:
    """A keep-alive connection ends with its time; the next call must not say that no store is
    there."""
    closed = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self._answer(b'{"token": "t"}')

        def do_GET(self) -> None:
            self._answer(b"{}")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True  # without having said so

        def finish(self) -> None:
            super().finish()
            self.connection.shutdown(socket.SHUT_RDWR)
            closed.set()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        control = Control(f"http://127.0.0.1:{server.server_port}", "key", "secret")
        control._send("POST", "/api/v1/login", {})
        for _ in range(3):
            assert closed.wait(60)
            closed.clear()
            assert control._send("GET", "/api/v1/status", None) == {}
    finally:
        server.shutdown()
        server.server_close()
