"""What the tests of authentication share: a principal, a keyring, a plain request."""

from __future__ import annotations

import dataclasses
from urllib.parse import urlsplit

import pytest

from storage.iam.errors import TokenExpired, TokenInvalid
from storage.iam.principal import Credential, Principal

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

ALICE = Principal(name="alice", id="a" * 64)


@dataclasses.dataclass
class Request:
    """A request as authentication sees it."""

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: dict[bytes, bytes]
    host_bucket: str = ""

    @classmethod
    def make(cls, method: str, url: str, headers: dict[str, str]) -> Request:
        """From what a client is about to send."""
        parts = urlsplit(url)
        lower = {k.lower().encode(): v.encode("latin-1") for k, v in headers.items()}
        lower.setdefault(b"host", parts.netloc.encode())
        return cls(method, parts.path.encode(), parts.query.encode(), lower)

    def replace(self, **changes: object) -> Request:
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def with_header(self, name: bytes, value: bytes) -> Request:
        return self.replace(headers={**self.headers, name: value})

    def without_header(self, name: bytes) -> Request:
        return self.replace(headers={k: v for k, v in self.headers.items() if k != name})


#: A session of alice's: its access key, its secret, its token; and the token of one that is over.
SESSION_KEY, SESSION_SECRET = "ASIAIOSFODNN7EXAMPLE", "session-secret"
TOKEN, FORMER_TOKEN = "sealed-token", "former-token"


def keyring(access_key: str, token: str = "") -> Credential | None:
    if token == FORMER_TOKEN:
        raise TokenExpired
    if token:
        if (access_key, token) != (SESSION_KEY, TOKEN):
            raise TokenInvalid
        return Credential(access_key=access_key, secret=SESSION_SECRET, principal=ALICE)
    if access_key == ACCESS_KEY:
        return Credential(access_key=access_key, secret=SECRET, principal=ALICE)
    if access_key == "disabled":
        return Credential(access_key=access_key, secret=SECRET, principal=ALICE, enabled=False)
    return None


@pytest.fixture
def ring():
    return keyring
