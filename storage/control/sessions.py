"""Signing in with an access key: short-lived bearer tokens, and a brake on guessing.

A bearer token names a session (``storage.iam.sessions``) with the access key that it stands for
and is authenticated with a key derived from the store's own key and from that access key's secret.
Nothing is stored: a token ends with its time, with its session, and at once when the secret
changes or the key or its user is disabled or removed. It holds no secret, and without the store's
key nobody can try secrets against it.

It is another thing than the session token that goes with S3 requests: that one is part of
presigned URLs, which are handed to others, and opens nothing here.
"""

from __future__ import annotations

import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from storage.iam.principal import Credential
from storage.iam.sessions import Session

_VERSION = "ov2"
_TOKEN_CHARACTERS_MAX = 1024


class Tokens:
    """Makes and checks tokens."""

    def __init__(self, store_key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(store_key, b"oversight control token", "sha256")
        self._clock = clock

    def issue(self, session: Session, secret: str) -> str:
        """A token for a session; ``secret`` is that of the access key that was signed in with."""
        claim = msgspec.msgpack.encode(session)
        return f"{_VERSION}.{_text(claim)}.{_text(self._mac(claim, secret))}"

    def check(
        self, token: str, keyring: Callable[[str], Credential | None]
    ) -> tuple[Session, Credential] | None:
        """A token's session and whose it is; None if it is forged, over or no longer good."""
        try:
            version, claim_text, mac_text = token[: _TOKEN_CHARACTERS_MAX + 1].split(".")
            claim_bytes, mac = _bytes(claim_text), _bytes(mac_text)
            session = msgspec.msgpack.decode(claim_bytes, type=Session)
        except (ValueError, msgspec.MsgspecError):
            return None
        credential = keyring(session.parent)
        # An unknown key costs what a known one does, so that time tells nothing.
        expected = self._mac(claim_bytes, credential.secret if credential else "")
        if not hmac.compare_digest(mac, expected) or credential is None or not credential.enabled:
            return None
        if version != _VERSION or session.expires <= self._clock():
            return None
        return session, credential

    def _mac(self, claim: bytes, secret: str) -> bytes:
        key = hmac.digest(self._key, secret.encode(), "sha256")
        return hmac.digest(key, claim, "sha256")


class Brake:
    """Counts failed sign-ins in windows of a minute, by address, by key and by both together.

    The pair's limit is the tight one: someone who guesses from elsewhere must not be able to
    lock the owner of a key out with a handful of requests. Memory is bounded.
    """

    WINDOW = 60
    LIMITS = (("pair", 5), ("address", 20), ("key", 100))
    _ENTRIES_MAX = 16384

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def wait(self, address: str, access_key: str) -> int:
        """Seconds until another try is allowed; 0: now."""
        now, longest = self._clock(), 0.0
        for entry, limit in self._entries(address, access_key):
            since, count = self._failures.get(entry, (now, 0))
            if count >= limit:
                longest = max(longest, since + self.WINDOW - now)
        return int(longest) + 1 if longest > 0 else 0

    def failed(self, address: str, access_key: str) -> None:
        """Remember a failed try."""
        now = self._clock()
        for entry, _ in self._entries(address, access_key):
            since, count = self._failures.pop(entry, (now, 0))
            fresh = now - since >= self.WINDOW
            self._failures[entry] = (now, 1) if fresh else (since, count + 1)
        while len(self._failures) > self._ENTRIES_MAX:
            self._failures.popitem(last=False)

    def succeeded(self, address: str, access_key: str) -> None:
        """Forget the failures of a pair that proved itself."""
        self._failures.pop(("pair", f"{address} {access_key}"), None)

    def _entries(self, address: str, access_key: str) -> Iterable[tuple[tuple[str, str], int]]:
        names = {"pair": f"{address} {access_key}", "address": address, "key": access_key}
        return (((kind, names[kind]), limit) for kind, limit in self.LIMITS)


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
