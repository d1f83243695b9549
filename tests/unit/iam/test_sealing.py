"""The store key and what it seals."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.iam import sealing
from storage.iam.errors import SealBroken, WrongRootSecret
from storage.iam.sealing import open_store_key, rewrap, seal, unseal, unwrap, wrap

KEY = bytes(range(32))
BLOB = wrap(KEY, "miniosecret")


def test_wrapped_key_opens_with_its_secret_alone() -> None:
    assert unwrap(BLOB, "miniosecret") == KEY
    with pytest.raises(WrongRootSecret, match="OVERSIGHT_ROOT_PASSWORD_OLD"):
        unwrap(BLOB, "miniosecret2")
    assert KEY not in BLOB
    assert wrap(KEY, "miniosecret") != BLOB


def test_rewrap_keeps_the_key() -> None:
    again = rewrap(BLOB, "miniosecret", "another secret \N{SNOWMAN}")
    assert unwrap(again, "another secret \N{SNOWMAN}") == KEY
    with pytest.raises(WrongRootSecret):
        unwrap(again, "miniosecret")
    with pytest.raises(WrongRootSecret):
        rewrap(BLOB, "wrong", "miniosecret")


def test_opening_at_start() -> None:
    assert open_store_key(BLOB, "miniosecret") == (KEY, None)
    assert open_store_key(BLOB, "miniosecret", "whatever") == (KEY, None)
    key, renewed = open_store_key(BLOB, "new secret", "miniosecret")
    assert key == KEY
    assert renewed is not None
    assert open_store_key(renewed, "new secret", "miniosecret") == (KEY, None)
    for former in ("", "wrong too"):
        with pytest.raises(WrongRootSecret):
            open_store_key(BLOB, "new secret", former)


def test_damaged_blobs_are_told_from_wrong_secrets() -> None:
    fields = msgspec.msgpack.decode(BLOB)
    assert fields[:4] == [1, 2**15, 8, 1]
    for blob in (b"", b"\xff", BLOB[:-1], BLOB + b"\0", msgspec.msgpack.encode([1, 2])):
        with pytest.raises(SealBroken):
            unwrap(blob, "miniosecret")
    for position, value in ((0, 2), (1, 2**40), (1, 3), (1, 0), (2, 0), (3, 99), (5, b"")):
        changed = [*fields]
        changed[position] = value
        with pytest.raises(SealBroken):
            unwrap(msgspec.msgpack.encode(changed), "miniosecret")


def test_weakened_parameters_are_noticed() -> None:
    fields = msgspec.msgpack.decode(BLOB)
    fields[1] = 2**14
    with pytest.raises(WrongRootSecret):
        unwrap(msgspec.msgpack.encode(fields), "miniosecret")


@given(secret=st.text(max_size=60), name=st.text(max_size=20))
def test_sealed_secret_is_bound_to_its_record(secret: str, name: str) -> None:
    blob = seal(KEY, "key", name, secret)
    assert unseal(KEY, "key", name, blob) == secret
    for kind, other, key in (
        ("key", name + "x", KEY),
        ("user", name, KEY),
        ("key", name, bytes(32)),
    ):
        with pytest.raises(SealBroken):
            unseal(key, kind, other, blob)


@given(st.binary(max_size=60))
def test_any_blob_is_a_secret_or_broken(blob: bytes) -> None:
    for data in (blob, b"\x01" + blob):
        with pytest.raises(SealBroken):
            unseal(KEY, "key", "k", data)


def test_every_byte_counts() -> None:
    blob = seal(KEY, "key", "k", "secretsecret")
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 1
        with pytest.raises(SealBroken):
            unseal(KEY, "key", "k", bytes(changed))


def test_new_keys_differ() -> None:
    assert len(sealing.new_store_key()) == 32
    assert sealing.new_store_key() != sealing.new_store_key()
