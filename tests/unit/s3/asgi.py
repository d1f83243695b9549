"""Calls an S3App without a server, as a root user whose signature is taken for granted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from storage.config import Config
from storage.engine.memory import MemoryEngine
from storage.iam.users import Identity
from storage.s3 import app as s3_app
from storage.s3.app import Hooks, S3App
from storage.s3.auth import AuthResult


class FixedDirectory:
    """A directory whose identities never change."""

    def __init__(self) -> None:
        self.identity = Identity((), root_user="root", root_secret="secret-of-root", store_key=b"")

    def current(self) -> Identity | None:
        return self.identity

    async def refresh(self) -> Identity:
        return self.identity


async def ask(
    app: S3App,
    sent: list[dict[str, Any]],
    method: str,
    path: str,
    query: str,
    body: bytes,
    headers: dict[str, str],
    before_body: Callable[[], Awaitable[Any]] | None = None,
) -> None:
    """One request; what is sent back is added to ``sent`` as it comes, raise who will.

    ``before_body`` runs once the body is asked for."""
    lines = {"content-length": str(len(body))} | headers
    scope = {
        "type": "http",
        "method": method,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(n.encode(), v.encode()) for n, v in lines.items()],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
    }

    async def receive() -> dict[str, Any]:
        if before_body is not None:
            await before_body()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(dict(message) | {"body": bytes(message.get("body", b""))})

    await app(scope, receive, send)


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool


class Caller:
    """An app over an engine in memory."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        engine: Any = None,
        hooks: Hooks | None = None,
        **config: Any,
    ) -> None:
        directory = FixedDirectory()
        self.engine = engine or MemoryEngine()
        result = AuthResult(directory.identity.root, "root", "header")
        monkeypatch.setattr(s3_app.auth, "authenticate", lambda *_: result)
        self.app = S3App(self.engine, directory, Config(**config), hooks)

    async def __call__(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """One request. Where the app raises, the reply is incomplete, as a closed connection."""
        sent: list[dict[str, Any]] = []
        broken = False
        try:
            await ask(self.app, sent, method, path, query, body, headers or {})
        except Exception:
            broken = True
        head, *rest = sent
        return Reply(
            head["status"],
            {n.decode(): v.decode("latin-1") for n, v in head["headers"]},
            b"".join(message["body"] for message in rest),
            not broken and not rest[-1].get("more_body", False),
        )


async def blocks(*pieces: bytes | Exception) -> AsyncIterator[bytes]:
    """A stream that yields, and fails where an exception stands."""
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece
