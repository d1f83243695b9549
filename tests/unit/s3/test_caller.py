"""Whose address counts: the connection's, unless our own console proves for whom it calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from storage.s3.app import Hooks
from storage.s3.caller import CALLER, PROOF, address_of, caller_key, prove
from storage.s3.operations import facts

STORE_KEY = bytes(range(32))
KEY = caller_key(STORE_KEY)
SIGNED = "AWS4-HMAC-SHA256 Credential=ASIA/20261122/us-east-1/s3/aws4_request, Signature=0a"


def call(headers: dict[bytes, bytes], key: bytes = KEY, client: Any = ("127.0.0.1", 5)) -> Any:
    return SimpleNamespace(
        scope={"client": client},
        headers={b"authorization": SIGNED.encode(), **headers},
        header=lambda name: {b"authorization": SIGNED.encode(), **headers}.get(name, b"").decode(
            "latin-1"
        ),
        app=SimpleNamespace(hooks=Hooks(caller_key=key)),
    )


def proven(address: str, key: bytes = KEY, signed: str = SIGNED) -> dict[bytes, bytes]:
    return {CALLER: address.encode(), PROOF: prove(key, signed, address).encode()}


def test_the_connection_counts() -> None:
    assert address_of(call({})) == "127.0.0.1"
    assert address_of(call({}, client=None)) == ""


def test_our_console_names_the_browser() -> None:
    assert address_of(call(proven("203.0.113.7"))) == "203.0.113.7"
    assert address_of(call(proven("2001:db8::1"))) == "2001:db8::1"
    asked = facts._PLAIN["aws:sourceip"]
    assert asked(call(proven("203.0.113.7"))) == "203.0.113.7"


@pytest.mark.parametrize(
    "headers",
    [
        {CALLER: b"203.0.113.7"},
        {CALLER: b"203.0.113.7", PROOF: b""},
        {CALLER: b"203.0.113.7", PROOF: b"\xff" * 64},
        {**proven("203.0.113.7"), CALLER: b"203.0.113.8"},
        proven("203.0.113.7", signed=SIGNED + "b"),
        proven("203.0.113.7", key=caller_key(bytes(32))),
        proven("203.0.113.7", key=b""),
        {b"x-forwarded-for": b"203.0.113.7", b"forwarded": b"for=203.0.113.7"},
    ],
)
def test_nobody_else_does(headers: dict[bytes, bytes]) -> None:
    assert address_of(call(headers)) == "127.0.0.1"


def test_without_a_key_there_is_no_proof() -> None:
    assert address_of(call(proven("203.0.113.7", key=b""), key=b"")) == "127.0.0.1"
