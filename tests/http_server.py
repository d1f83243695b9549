"""An HTTP server in the test's own process, for stand-ins of other services."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no error of the test."""


class HttpServer:
    """Serves on ``port`` of loopback, 0: a free one, while the ``with`` block runs.

    Handlers find the object itself as ``server.owner``.
    """

    port: int = 0

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """The class that answers requests."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", self.port), self.handler())
        self._server.owner = self  # type: ignore[attr-defined]
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
