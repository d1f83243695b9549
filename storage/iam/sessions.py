"""Temporary credentials: an access key, a secret and a session token that stand for a user.

A session stands for the access key that it was begun with: it may do what that key may do at the
moment of each request, and ends with that key, with its time, or when its user signs out.
Nothing of a running session is stored. The token says all of it, sealed; the secret is derived
from the session's own access key. Whoever sees a token (it is part of presigned URLs) learns
nothing, and can neither sign with it nor alter it.

Why so, and the layout: docs/decisions/0030-temporary-credentials.md.
"""

from __future__ import annotations

import hmac
import secrets
import string
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable

import msgspec

from storage.iam.errors import TokenExpired, TokenInvalid

#: Seconds that credentials last unless another time is asked for, and the bounds of that.
SECONDS, SECONDS_MIN = 3600, 900
#: Seconds from its beginning after which a session can't be renewed any more.
SECONDS_MAX = 12 * 3600

#: As AWS marks access keys that need a token.
_PREFIX = "ASIA"
_ALPHABET = string.ascii_uppercase + "234567"
_RANDOM_CHARACTERS = 16
_SECRET_CHARACTERS = 40
_VERSION = b"\x01"
_NONCE_BYTES = 12
_PROOF_BYTES = 16
_TOKEN_CHARACTERS_MAX = 2048
_BINDING = b"oversight session token"


class Session(msgspec.Struct, array_like=True, frozen=True):
    """What a session token says. Times in seconds since the epoch; fields are appended only.

    ``access_key`` is the session's own and names it; ``parent`` is the key that it stands for, and
    ``proof`` depends on that key's secret, so that a replaced secret ends the session.
    """

    access_key: str
    parent: str
    proof: bytes
    began: int
    expires: int


class Sessions:
    """Begins, renews and opens sessions; pure but for the clock and randomness."""

    def __init__(self, store_key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._seal_key = hmac.digest(store_key, b"oversight session token", "sha256")
        self._secret_key = hmac.digest(store_key, b"oversight session secret", "sha256")
        self._clock = clock

    def begin(self, parent: str, secret: str, seconds: int = SECONDS) -> Session:
        """A session of the access key ``parent``, whose ``secret`` has been checked."""
        now = int(self._clock())
        name = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
        return Session(
            access_key=_PREFIX + name,
            parent=parent,
            proof=self._proof(secret),
            began=now,
            expires=now + min(max(seconds, SECONDS_MIN), SECONDS_MAX),
        )

    def renew(self, session: Session, seconds: int = SECONDS) -> Session:
        """The same session for longer, as far as its bound allows."""
        seconds = min(max(seconds, SECONDS_MIN), SECONDS_MAX)
        expires = min(int(self._clock()) + seconds, latest(session.began))
        return msgspec.structs.replace(session, expires=max(expires, session.expires))

    def secret(self, access_key: str) -> str:
        """The secret of a session's access key."""
        digest = hmac.digest(self._secret_key, access_key.encode(), "sha256")
        return urlsafe_b64encode(digest)[:_SECRET_CHARACTERS].decode()

    def token(self, session: Session) -> str:
        """The session as its holder sends it along: sealed, url-safe."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._seal_key).encrypt(nonce, msgspec.msgpack.encode(session), _BINDING)
        return urlsafe_b64encode(_VERSION + nonce + sealed).rstrip(b"=").decode()

    def open(self, token: str) -> Session:
        """The inverse of ``token``. Raises TokenInvalid, TokenExpired."""
        session = self._unsealed(token)
        if self.is_over(session):
            raise TokenExpired
        return session

    def is_over(self, session: Session) -> bool:
        """Whether the session's time has come."""
        return session.expires <= self._clock()

    def proves(self, session: Session, secret: str) -> bool:
        """Whether ``secret`` is still that of the key which the session was begun with."""
        return hmac.compare_digest(session.proof, self._proof(secret))

    def _proof(self, secret: str) -> bytes:
        return hmac.digest(self._secret_key, b"\0" + secret.encode(), "sha256")[:_PROOF_BYTES]

    def _unsealed(self, token: str) -> Session:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(token) > _TOKEN_CHARACTERS_MAX:
            raise TokenInvalid
        try:
            blob = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
            nonce, sealed = blob[1 : 1 + _NONCE_BYTES], blob[1 + _NONCE_BYTES :]
            if blob[:1] != _VERSION:
                raise TokenInvalid
            opened = AESGCM(self._seal_key).decrypt(nonce, sealed, _BINDING)
            return msgspec.msgpack.decode(opened, type=Session)
        except (ValueError, InvalidTag, msgspec.MsgspecError):
            raise TokenInvalid from None


def latest(began: int) -> int:
    """When a session that began then must end at last."""
    return began + SECONDS_MAX
