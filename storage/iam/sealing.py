"""Secrets at rest: a random store key seals them, the root secret wraps the store key.

Changing the root secret rewraps one key and leaves every sealed secret as it is. The layout of
both blobs is described in docs/identity.md.
"""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from storage.iam.errors import SealBroken, WrongRootSecret

STORE_KEY_BYTES = 32
_NONCE_BYTES = 12
_SALT_BYTES = 16
_SEAL_VERSION = b"\x01"
_WRAP_VERSION = 1

# scrypt with 32 MiB: 50 to 100 ms on the machines this is made for, once per start.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**15, 8, 1
# A blob that asks for more than this is damaged, not ambitious.
_SCRYPT_N_MAX, _SCRYPT_R_MAX, _SCRYPT_P_MAX = 2**20, 32, 16


class _Wrapped(msgspec.Struct, array_like=True, frozen=True):
    """A wrapped store key. Fields are appended only."""

    version: int
    n: int
    r: int
    p: int
    salt: bytes
    nonce: bytes
    sealed: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Wrapped)


def new_store_key() -> bytes:
    """A random store key (256 bits). Made once, at the first start of a store."""
    return secrets.token_bytes(STORE_KEY_BYTES)


def wrap(store_key: bytes, root_secret: str) -> bytes:
    """The store key under a key derived from ``root_secret``, to be kept in the store.

    Costs 50-100 ms and 32 MiB on purpose (scrypt). The root user's name plays no part in it.
    """
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    draft = _Wrapped(_WRAP_VERSION, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P, salt, nonce, b"")
    sealed = _encrypt(_derive(root_secret, draft), nonce, store_key, _wrap_binding(draft))
    return _encoder.encode(msgspec.structs.replace(draft, sealed=sealed))


def unwrap(blob: bytes, root_secret: str) -> bytes:
    """The store key. Raises WrongRootSecret, or SealBroken where ``blob`` is no wrapped key."""
    wrapped = _decode(blob)
    key = _derive(root_secret, wrapped)
    opened = _decrypt(key, wrapped.nonce, wrapped.sealed, _wrap_binding(wrapped))
    if opened is None:
        raise WrongRootSecret
    return opened


def rewrap(blob: bytes, old_secret: str, new_secret: str) -> bytes:
    """The same store key under another root secret. Raises as ``unwrap``."""
    return wrap(unwrap(blob, old_secret), new_secret)


def open_store_key(
    blob: bytes, root_secret: str, former_secret: str = ""
) -> tuple[bytes, bytes | None]:
    """(store key, new blob to keep or None) at start, where the root secret may have changed.

    With ``former_secret`` a key that is still wrapped under it is rewrapped; given again after
    that, it does no harm. Raises as ``unwrap``.
    """
    try:
        return unwrap(blob, root_secret), None
    except WrongRootSecret:
        if not former_secret:
            raise
    store_key = unwrap(blob, former_secret)
    return store_key, wrap(store_key, root_secret)


def seal(store_key: bytes, kind: str, name: str, secret: str) -> bytes:
    """``secret`` sealed for one record: it can't be opened in the place of another one."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = _encrypt(store_key, nonce, secret.encode(), _seal_binding(kind, name))
    return _SEAL_VERSION + nonce + sealed


def unseal(store_key: bytes, kind: str, name: str, blob: bytes) -> str:
    """The inverse of ``seal``. Raises SealBroken."""
    if blob[:1] != _SEAL_VERSION:
        raise SealBroken(f"The secret of {kind} {name} is sealed in an unknown way.")
    nonce, sealed = blob[1 : 1 + _NONCE_BYTES], blob[1 + _NONCE_BYTES :]
    opened = _decrypt(store_key, nonce, sealed, _seal_binding(kind, name))
    if opened is None:
        raise SealBroken(f"The secret of {kind} {name} was altered or sealed by another store.")
    return opened.decode()


def _decode(blob: bytes) -> _Wrapped:
    try:
        wrapped = _decoder.decode(blob)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SealBroken("The wrapped store key is damaged.") from None
    if wrapped.version != _WRAP_VERSION:
        raise SealBroken("The store key is wrapped by a newer release.")
    sound = (
        1 < wrapped.n <= _SCRYPT_N_MAX
        and wrapped.n & (wrapped.n - 1) == 0
        and 0 < wrapped.r <= _SCRYPT_R_MAX
        and 0 < wrapped.p <= _SCRYPT_P_MAX
        and len(wrapped.nonce) == _NONCE_BYTES
    )
    if not sound:
        raise SealBroken("The wrapped store key is damaged.")
    return wrapped


def _derive(secret: str, wrapped: _Wrapped) -> bytes:
    return hashlib.scrypt(
        secret.encode(),
        salt=wrapped.salt,
        n=wrapped.n,
        r=wrapped.r,
        p=wrapped.p,
        maxmem=256 * wrapped.n * wrapped.r + 2**20,
        dklen=STORE_KEY_BYTES,
    )


def _wrap_binding(wrapped: _Wrapped) -> bytes:
    """Associated data: the parameters, so that they can't be weakened unnoticed."""
    return b"oversight store key %d %d %d %d" % (wrapped.version, wrapped.n, wrapped.r, wrapped.p)


def _seal_binding(kind: str, name: str) -> bytes:
    return b"oversight secret\0%b\0%b" % (kind.encode(), name.encode())


def _encrypt(key: bytes, nonce: bytes, data: bytes, binding: bytes) -> bytes:
    # Imported when used: a worker that serves only the root user never needs it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key).encrypt(nonce, data, binding)


def _decrypt(key: bytes, nonce: bytes, data: bytes, binding: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(nonce, data, binding)
    except (InvalidTag, ValueError):
        return None
