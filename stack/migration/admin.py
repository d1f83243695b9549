"""MinIO's admin API, as far as a migration reads it: users, groups, policies, access keys.

Source: package madmin of MinIO's SDK (``EncryptData``, ``ListUsers`` and others). Answers about
users are encrypted under the secret of whoever asks: salt (32 bytes), cipher (1), nonce (8), then
fragments of 16 KiB, each sealed with the nonce, its number and a mark for the last one.
"""

from __future__ import annotations

import json
from typing import Any

from stack.s3.client import S3
from stack.s3.signing import Query

_SALT, _NONCE, _FRAGMENT, _TAG = 32, 8, 16 << 10, 16
_AES, _CHACHA, _AES_PBKDF2 = 0, 1, 2


class Unreadable(Exception):
    """The answer is not what MinIO's admin API sends, or was made for another secret."""


class Admin:
    """The admin API of one MinIO. Raises S3Error, Unreachable, Unreadable."""

    def __init__(self, s3: S3) -> None:
        self._s3 = s3

    def users(self) -> dict[str, dict[str, Any]]:
        """Users by access key: ``policyName`` (separated by commas), ``status``, ``memberOf``."""
        return dict(self._sealed("list-users"))

    def policies(self) -> dict[str, dict[str, Any]]:
        """Policy documents by name, those that are part of MinIO included."""
        return dict(self._plain("list-canned-policies"))

    def groups(self) -> dict[str, dict[str, Any]]:
        """Groups by name: ``policy`` (separated by commas), ``status``, ``members``."""
        names = self._plain("groups")
        return {name: self._plain("group", [("group", name)]) for name in names or ()}

    def access_keys(self) -> dict[str, list[str]]:
        """Access keys (service accounts) by the user that they belong to."""
        query = [("listType", "svcacc-only"), ("all", "true")]
        found = self._sealed("list-access-keys-bulk", query)
        return {
            user: [str(each["accessKey"]) for each in keys.get("serviceAccounts") or ()]
            for user, keys in (found or {}).items()
        }

    def access_key(self, name: str) -> dict[str, Any]:
        """One of them: ``impliedPolicy`` (its user's rights), else ``policy``; ``expiration``."""
        return dict(self._sealed("info-service-account", [("accessKey", name)]))

    def quota(self, bucket: str) -> int:
        """The most bytes that a bucket may hold; 0 for no limit."""
        found = self._plain("get-bucket-quota", [("bucket", bucket)])
        return int(found.get("size") or found.get("quota") or 0)

    def _plain(self, what: str, query: Query = ()) -> Any:
        return _json(self._ask(what, query))

    def _sealed(self, what: str, query: Query = ()) -> Any:
        return _json(unseal(self._ask(what, query), self._s3.credentials.secret_key))

    def _ask(self, what: str, query: Query) -> bytes:
        return self._s3.request("GET", "minio", f"admin/v3/{what}", query=query).body


def unseal(data: bytes, secret: str) -> bytes:
    """What was encrypted under ``secret``. Raises Unreadable."""
    from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm

    salt, cipher = data[:_SALT], data[_SALT : _SALT + 1]
    nonce, sealed = data[_SALT + 1 : _SALT + 1 + _NONCE], data[_SALT + 1 + _NONCE :]
    if len(nonce) < _NONCE or len(sealed) < _TAG:
        raise Unreadable("the answer is too short")
    try:
        box = _box(cipher[0], secret.encode(), salt)

        def numbered(number: int) -> bytes:
            return nonce + number.to_bytes(4, "little")

        bound = box.encrypt(numbered(0), b"", b"")
        step = _FRAGMENT + _TAG
        pieces = [sealed[at : at + step] for at in range(0, len(sealed), step)]
        return b"".join(
            box.decrypt(numbered(at), piece, (b"\x80" if at == len(pieces) else b"\0") + bound)
            for at, piece in enumerate(pieces, 1)
        )
    except InvalidTag:
        raise Unreadable("the answer was encrypted under another secret") from None
    except UnsupportedAlgorithm:
        raise Unreadable("this machine's OpenSSL has no Argon2") from None


def _box(cipher: int, secret: bytes, salt: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

    if cipher == _AES_PBKDF2:
        return AESGCM(PBKDF2HMAC(SHA256(), 32, salt, 8192).derive(secret))
    if cipher not in (_AES, _CHACHA):
        raise Unreadable(f"the answer is encrypted in a way that is not known ({cipher})")
    key = Argon2id(salt=salt, length=32, iterations=1, lanes=4, memory_cost=64 << 10)
    return (AESGCM if cipher == _AES else ChaCha20Poly1305)(key.derive(secret))


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise Unreadable("the answer is no JSON") from None
