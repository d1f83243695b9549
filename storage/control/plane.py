"""What the control plane works with: made once, handed to every route."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from fastapi import Request

from storage.config import Config
from storage.control import endings
from storage.control.problems import Problem
from storage.control.sessions import Brake, Tokens
from storage.engine.interface import Committed, Engine, PutSystem
from storage.iam.errors import IdentityError
from storage.iam.sessions import Session, Sessions
from storage.iam.users import (
    AccessKey,
    Directory,
    Identity,
    NamedPolicy,
    User,
    decode_key,
    decode_policy,
    decode_user,
    encode,
)

_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "user": decode_user,
    "key": decode_key,
    "policy": decode_policy,
}
if TYPE_CHECKING:
    from storage.langfuse.index import Reader
    from storage.telemetry.monitor import Monitor


class Plane:
    """The engine, the identities and what the control plane remembers."""

    def __init__(
        self,
        engine: Engine,
        directory: Directory,
        config: Config,
        store_key: bytes,
        rekey: Callable[[str], Awaitable[None]] | None = None,
        langfuse: Reader | None = None,
        monitor: Monitor | None = None,
    ) -> None:
        self.engine = engine
        self.config = config
        self.store_key = store_key
        self.rekey = rekey
        self.langfuse = langfuse
        self.monitor = monitor
        self.tokens = Tokens(store_key)
        self.sessions = Sessions(store_key)
        self.brake = Brake()
        self.started = time.time()
        self._directory = directory

    async def identity(self) -> Identity:
        """Everyone who may speak to the store, as of now."""
        return self._directory.current() or await self._directory.refresh()

    async def record(self, kind: str, name: str) -> tuple[Any, int] | None:
        """A user, key or named policy with its sequence number; None if there is none."""
        found = await self.engine.system_record(kind, name)
        return None if found is None else (_DECODERS[kind](found.value), found.seq)

    async def keep(self, record: User | AccessKey | NamedPolicy, expect_seq: int | None) -> None:
        """Keep a record; ``expect_seq`` as in ``interface.PutSystem``. Raises Conflict."""
        kind, name, value = encode(record)
        await self._put(PutSystem(kind, name, value, expect_seq))

    async def forget(self, kind: str, name: str) -> bool:
        """Remove a record; whether there was one."""
        return (await self._put(PutSystem(kind, name, None))).existed

    async def end(self, session: Session) -> None:
        """End a session before its time, in all processes."""
        await endings.end(self.engine, session)

    async def _put(self, change: PutSystem) -> Committed:
        return cast(Committed, await self.engine.commit(change))


def plane_of(request: Request) -> Plane:
    """The plane that serves a request."""
    return cast(Plane, request.app.state.plane)


def refuse(error: IdentityError) -> Problem:
    """The answer to names, secrets and documents that do not fulfil the rules."""
    return Problem(400, type(error).__name__, str(error))


def taken(what: str) -> Problem:
    """The answer to a record that exists already."""
    return Problem(409, "AlreadyExists", f"{what} exists already.")
