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
from ipaddress import IPv4Address, IPv6Address, ip_address

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
    """Counts sign-ins in windows of a minute: failed ones by address, by key and by both together,
    successful ones by key.

    The pair's limit is the tight one: someone who guesses from elsewhere must not be able to
    lock the owner of a key out with a handful of requests. What guesses from many places use up of
    the key's limit does not count for who has proved themselves from an address lately. An IPv6
    address counts as its network of 64 bits, which one person has all of. Memory is bounded.
    """

    WINDOW = 60
    LIMITS = (("pair", 5), ("address", 20), ("key", 100))
    #: Sessions that may be begun with one key in a window.
    BEGUN_MAX = 120
    _ENTRIES_MAX = 16384
    _PROVEN_MAX = 4096
    _PROVEN_SECONDS = 86_400.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._begun: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._proven: OrderedDict[str, float] = OrderedDict()

    def wait(self, address: str, access_key: str) -> int:
        """Seconds until another try is allowed; 0: now."""
        now = self._clock()
        since, begun = self._begun.get(access_key, (now, 0))
        longest = since + self.WINDOW - now if begun >= self.BEGUN_MAX else 0.0
        proven = self._is_proven(address, access_key)
        for entry, limit in self._entries(address, access_key):
            since, count = self._failures.get(entry, (now, 0))
            if count >= limit and not (proven and entry[0] == "key"):
                longest = max(longest, since + self.WINDOW - now)
        return int(longest) + 1 if longest > 0 else 0

    def failed(self, address: str, access_key: str) -> None:
        """Remember a failed try."""
        now = self._clock()
        for entry, _ in self._entries(address, access_key):
            self._failures[entry] = self._counted(self._failures.pop(entry, (now, 0)), now)
        while len(self._failures) > self._ENTRIES_MAX:
            self._failures.popitem(last=False)

    def succeeded(self, address: str, access_key: str) -> None:
        """Remember a session that is begun, and forget the failures of the pair."""
        now, pair = self._clock(), _pair(address, access_key)
        self._failures.pop(("pair", pair), None)
        self._begun[access_key] = self._counted(self._begun.pop(access_key, (now, 0)), now)
        self._proven.pop(pair, None)
        self._proven[pair] = now
        for kept in (self._begun, self._proven):
            while len(kept) > self._PROVEN_MAX:
                kept.popitem(last=False)

    def _counted(self, entry: tuple[float, int], now: float) -> tuple[float, int]:
        since, count = entry
        return (now, 1) if now - since >= self.WINDOW else (since, count + 1)

    def _is_proven(self, address: str, access_key: str) -> bool:
        when = self._proven.get(_pair(address, access_key))
        return when is not None and self._clock() - when < self._PROVEN_SECONDS

    def _entries(self, address: str, access_key: str) -> Iterable[tuple[tuple[str, str], int]]:
        names = {
            "pair": _pair(address, access_key), "address": _network(address), "key": access_key,
        }  # fmt: skip
        return (((kind, names[kind]), limit) for kind, limit in self.LIMITS)


def _pair(address: str, access_key: str) -> str:
    return f"{_network(address)} {access_key}"


def _network(address: str) -> str:
    """What one person has at least: an IPv4 address, or an IPv6 network."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return address
    return str(found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64))


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
