"""A reverse proxy that meddles in one way: the faults that operators really have in front of S3."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.http_server import HttpServer

_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "expect")


@dataclass
class Meddler(HttpServer):
    """Forward to ``target`` (a URL) on a free loopback port while the ``with`` block runs.

    ``request`` may change the headers that go to the store (names are lower-case), ``answer`` those
    that come back; ``path`` changes the path; ``chunked`` drops the length; ``delay`` waits before
    each request (seconds); ``limit`` refuses larger bodies (bytes); ``instead`` may answer a
    request (method, path) itself with (status, body).
    """

    target: str
    request: Callable[[dict[str, str]], None] = field(default=lambda headers: None)
    answer: Callable[[dict[str, str]], None] = field(default=lambda headers: None)
    body: Callable[[bytes], bytes] = field(default=lambda body: body)
    path: Callable[[str], str] = field(default=lambda path: path)
    chunked: bool = False
    delay: float = 0
    limit: int = 1 << 40
    instead: Callable[[str, str], tuple[int, bytes] | None] = field(default=lambda *_: None)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        meddler: Meddler = self.server.owner  # type: ignore[attr-defined]
        length = int(self.headers.get("content-length", 0))
        if length > meddler.limit:
            self.close_connection = True
            return self._send(413, {"server": "proxy", "connection": "close"}, b"too large")
        body = self.rfile.read(length)
        time.sleep(meddler.delay)
        own = meddler.instead(self.command, self.path)
        if own is not None:
            return self._send(own[0], {"content-type": "application/xml"}, own[1])
        headers = {
            name.lower(): value
            for name, value in self.headers.items()
            if name.lower() not in _HOP_BY_HOP
        }
        meddler.request(headers)
        status, answered, content = self._ask(meddler, headers, body)
        meddler.answer(answered)
        if self.command != "HEAD":
            content = meddler.body(content)
        return self._send(status, answered, content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_OPTIONS = _forward

    def _ask(
        self, meddler: Meddler, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(meddler.target).netloc, timeout=60)
        connection.putrequest(
            self.command, meddler.path(self.path), skip_host=True, skip_accept_encoding=True
        )
        if meddler.chunked and body:
            headers.pop("content-length")
            headers["transfer-encoding"] = "chunked"
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body or None, encode_chunked=meddler.chunked and bool(body))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kept = {n.lower(): v for n, v in answer.getheaders() if n.lower() not in _HOP_BY_HOP}
        return answer.status, kept, content

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        if self.command != "HEAD":
            headers["content-length"] = str(len(body))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
