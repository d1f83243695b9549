"""A store in memory in which people come and go while requests are on their way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from storage.config import Config
from storage.engine import interface as i
from storage.engine.memory import MemoryEngine
from storage.iam.principal import ANONYMOUS
from storage.iam.sessions import Session, Sessions
from storage.iam.users import (
    KEY,
    KINDS,
    SESSION_END,
    USER,
    AccessKey,
    Directory,
    Record,
    User,
    encode,
    encode_end,
    new_key,
)
from storage.s3.app import Hooks, S3App
from storage.s3.auth import AuthResult
from tests.unit.s3.asgi import ask
from tests.unit.s3.speaking import HOST, Heard

ROOT, SECRET = "root", "secret-of-root"
STORE_KEY = b"k" * 32
Act = Callable[[], Awaitable[Any]]


class Living:
    """An app over an engine in memory, with users as the engine's records say at each moment.

    Whoever speaks is known by an access key, as if it had signed.
    """

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.sessions = Sessions(STORE_KEY)
        self._key, self._token = "", ""
        self.app = S3App(
            self.engine,
            Directory(
                self._records, self.engine.generation, root_user=ROOT, root_secret=SECRET,
                store_key=STORE_KEY,
            ),
            Config(),
            Hooks(authenticate=self._authenticate),
        )  # fmt: skip

    async def _records(self) -> Iterable[Record]:
        return [
            (one.kind, one.name, one.value)
            for kind in KINDS
            for one in await self.engine.system(kind)
        ]

    def _authenticate(self, _call: Any, keyring: Any, _region: str, **_: Any) -> AuthResult:
        if not self._key:
            return AuthResult(ANONYMOUS)
        credential = keyring(self._key, self._token)
        return AuthResult(credential.principal, self._key, "header", credential=credential)

    async def keep(self, *records: User | AccessKey) -> None:
        for record in records:
            await self.engine.commit(i.PutSystem(*encode(record)))

    async def add(self, name: str, *policies: str) -> User:
        """A user with a key of the same name; the first letter is the canonical id's."""
        user = User(name=name, id=name[0] * 64, policies=policies)
        await self.keep(user, new_key(STORE_KEY, key_of(name), "its-secret", user.id, created=1))
        return user

    async def forget(self, kind: str, name: str) -> None:
        await self.engine.commit(i.PutSystem(kind, name, None))

    async def remove(self, name: str) -> None:
        await self.forget(KEY, key_of(name))
        await self.forget(USER, name)

    async def end(self, session: Session) -> None:
        value = encode_end(session.expires, session.parent)
        await self.engine.commit(i.PutSystem(SESSION_END, session.access_key, value))

    async def __call__(
        self,
        name: str,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        before_body: Act | None = None,
        session: tuple[str, str] = ("", ""),
    ) -> Heard:
        """One request of a user, ``ROOT``, or "" for a stranger; or within a ``session`` (access
        key, token)."""
        self._key, self._token = session
        if not self._key:
            self._key = name if name in ("", ROOT) else key_of(name)
        sent: list[dict[str, Any]] = []
        await ask(self.app, sent, method, path, query, body, {"host": HOST} | (headers or {}),
                  before_body)  # fmt: skip
        return Heard(sent[0]["status"], b"".join(message["body"] for message in sent[1:]))

    async def aside(self, act: Act) -> None:
        """``act`` by others, while somebody speaks."""
        speaking = self._key, self._token
        await act()
        self._key, self._token = speaking

    def between(self, method: str, act: Act, *, after: bool) -> None:
        """Have ``act`` happen once: right after, or before, the engine's next ``method``."""
        asked = getattr(self.engine, method)

        async def intervening(*arguments: Any, **named: Any) -> Any:
            setattr(self.engine, method, asked)
            if not after:
                await self.aside(act)
            found = await asked(*arguments, **named)
            if after:
                await self.aside(act)
            return found

        setattr(self.engine, method, intervening)


def key_of(name: str) -> str:
    """The access key of a user."""
    return f"KEY-{name}"


def once(act: Act) -> Act:
    """``act`` the first time that it is called."""
    left = [act]

    async def first() -> None:
        if left:
            await left.pop()()

    return first
