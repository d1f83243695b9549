"""``/minio/health/*`` and ``/minio/v2/metrics/*`` as a small ASGI callable.

Health answers without credentials, as probes need it. Metrics want a bearer token unless
MINIO_PROMETHEUS_AUTH_TYPE is "public".
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from storage import errors
from storage.engine.interface import Engine
from storage.iam.decide import decide
from storage.iam.users import Directory, Identity
from storage.telemetry import metrics, token
from storage.telemetry.board import Board

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

HEALTH = "/minio/health/"
METRICS = "/minio/v2/metrics/"
_ACTION = "admin:Prometheus"

#: States of an engine that matter here; in any other one it reads and writes.
READY, READ_ONLY = "ready", "readonly"
_AWAY = ("starting", "replaying", "stopped")


class Endpoint:
    """The callable. It knows one engine and one board, and whom an access key stands for."""

    def __init__(
        self,
        engine: Engine,
        board: Board,
        directory: Directory,
        *,
        state: Callable[[], str] = lambda: READY,
        public: bool = False,
        supervisor: int = 0,
    ) -> None:
        """``state`` is the engine's ("ready", "replaying" ...), where it has one.

        ``public``: metrics without a token. ``supervisor``: the root of the process tree.
        """
        self._engine = engine
        self._board = board
        self._directory = directory
        self._state = state
        self._public = public
        self._supervisor = supervisor or os.getpid()
        self._server = socket.gethostname()

    @staticmethod
    def serves(path: str) -> bool:
        """Whether ``path`` belongs to this callable."""
        return path.startswith((HEALTH, METRICS))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        body = b""
        headers: Headers = []
        if scope["method"] not in ("GET", "HEAD"):
            status, headers = 405, [(b"allow", b"GET, HEAD")]
        elif path.startswith(HEALTH):
            status, headers = await self._health(path[len(HEALTH) :], scope["query_string"])
        else:
            status, headers, body = await self._metrics(path[len(METRICS) :], scope["headers"])
        headers.append((b"content-length", b"%d" % len(body)))
        if scope["method"] == "HEAD":
            body = b""
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    # -- health -----------------------------------------------------------------------------------

    async def _health(self, probe: str, query: bytes) -> tuple[int, Headers]:
        if probe == "live":
            return 200, []
        if probe == "ready":
            return (200, []) if await self._answers() else (503, [(b"retry-after", b"1")])
        if probe not in ("cluster", "cluster/read"):
            return 404, []
        writable = probe == "cluster/read" or self._state() != READ_ONLY
        if not writable or not await self._answers():
            return 503, [(b"x-minio-server-status", b"offline"), (b"retry-after", b"1")]
        if b"maintenance=true" in query.split(b"&"):
            # One machine: without it nothing is left to read or write on.
            return 412, []
        return 200, [(b"x-minio-write-quorum", b"1")]

    async def _answers(self) -> bool:
        """Whether the engine can serve requests now."""
        if self._state() in _AWAY:
            return False
        try:
            space = await self._engine.space()
        except errors.StoreError:
            return False
        return space.drives_online > 0

    # -- metrics ----------------------------------------------------------------------------------

    async def _metrics(self, which: str, headers: Headers) -> tuple[int, Headers, bytes]:
        try:
            if not self._public and not self._allowed(headers, await self._identity()):
                return 403, [], b""
            text = await metrics.page(which, self._server, self._snapshot)
        except errors.StoreError:
            return 503, [(b"retry-after", b"1")], b""
        if text is None:
            return 404, [], b""
        return 200, [(b"content-type", metrics.CONTENT_TYPE)], text.encode()

    async def _snapshot(self) -> metrics.Snapshot:
        return await metrics.snapshot(self._engine, self._board, self._supervisor)

    async def _identity(self) -> Identity:
        return self._directory.current() or await self._directory.refresh()

    @staticmethod
    def _allowed(headers: Headers, identity: Identity) -> bool:
        given = next((value for name, value in headers if name == b"authorization"), b"")
        scheme, _, text = given.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return False

        def secret_of(access_key: str) -> str | None:
            found = identity.keyring(access_key)
            return None if found is None else found.secret

        credential = identity.keyring(token.check(text.strip(), secret_of))
        if credential is None or not credential.enabled:
            return False
        principal = credential.principal
        return principal.root or decide(principal, _ACTION, "").allowed
