"""Calls an S3App without a server, as whoever is to speak, or with real signatures."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from storage.config import Config
from storage.engine.memory import MemoryEngine
from storage.iam.policy import parse_policy
from storage.iam.principal import Principal
from storage.iam.users import Identity, User, encode
from storage.s3 import auth
from storage.s3.app import Hooks, S3App
from storage.s3.auth import AuthResult
from tests.unit.s3.asgi import FixedDirectory, ask

#: What a user needs for buckets of its own.
OWN = (
    {"Effect": "Allow", "Action": "s3:CreateBucket", "Resource": "*"},
    {
        "Effect": "Allow",
        "Action": "s3:*",
        "Resource": "*",
        "Condition": {"StringEquals": {"s3:ResourceAccount": "${aws:PrincipalAccount}"}},
    },
)
HOST = "store.test"


def user(name: str, *statements: dict[str, Any]) -> Principal:
    """A user with one policy; the first letter of the name is the canonical id's."""
    policies = ()
    if statements:
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        policies = (parse_policy(json.dumps(document), name),)
    return Principal(name=name, id=name[0] * 64, policies=policies)


@dataclass
class Heard:
    status: int
    body: bytes

    @property
    def code(self) -> str:
        """The S3 error code, "" of a success."""
        found = re.search(rb"<Code>(\w+)</Code>", self.body)
        return found[1].decode() if found else ""

    @property
    def tags(self) -> dict[str, str]:
        pairs = re.findall(rb"<Key>(.*?)</Key><Value>(.*?)</Value>", self.body)
        return {name.decode(): value.decode() for name, value in pairs}


class Speaking:
    """An app over an engine in memory, to which anybody may speak; ACLs may name bob."""

    def __init__(self) -> None:
        directory = FixedDirectory()
        bob = encode(User(name="bob", id="b" * 64))
        directory.identity = Identity(
            [bob], root_user="root", root_secret="secret-of-root", store_key=b""
        )
        self.root = directory.identity.root
        self._speaker: Principal | None = None
        hooks = Hooks(authenticate=self._authenticate)
        self.app = S3App(MemoryEngine(), directory, Config(), hooks)

    def _authenticate(self, call: Any, keyring: Any, region: str, **options: Any) -> AuthResult:
        if self._speaker is None:
            return auth.authenticate(call, keyring, region, **options)
        name = self._speaker.name
        return AuthResult(self._speaker, name, "header" if name else "")

    async def __call__(
        self,
        speaker: Principal | None,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        before_body: Callable[[], Awaitable[Any]] | None = None,
    ) -> Heard:
        """One request; without a speaker its signature counts. ``before_body``: runs once the
        body is asked for."""
        sent: list[dict[str, Any]] = []
        lines = {"host": HOST} | (headers or {})
        self._speaker = speaker
        await ask(self.app, sent, method, path, query, body, lines, before_body)
        return Heard(sent[0]["status"], b"".join(message["body"] for message in sent[1:]))
