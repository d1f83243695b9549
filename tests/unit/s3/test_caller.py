"""Whose origin counts: the connection's, unless it is a trusted proxy's or our own console proves
for whom it calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from storage.origin import Origin
from storage.proxies import Proxies
from storage.s3.app import Hooks
from storage.s3.caller import CALLER, PROOF, caller_key, origin_of, prove
from storage.s3.operations import facts

STORE_KEY = bytes(range(32))
KEY = caller_key(STORE_KEY)
SIGNED = "AWS4-HMAC-SHA256 Credential=ASIA/20261122/us-east-1/s3/aws4_request, Signature=0a"


def call(
    headers: dict[bytes, bytes],
    key: bytes = KEY,
    client: Any = ("127.0.0.1", 5),
    proxies: tuple[str, ...] = (),
) -> Any:
    return SimpleNamespace(
        scope={"client": client, "scheme": "http"},
        headers={b"authorization": SIGNED.encode(), **headers},
        header=lambda name: {b"authorization": SIGNED.encode(), **headers}.get(name, b"").decode(
            "latin-1"
        ),
        app=SimpleNamespace(hooks=Hooks(caller_key=key), proxies=Proxies(proxies)),
    )


def address_of(call: Any) -> str:
    return origin_of(call).address


def proven(address: str, key: bytes = KEY, signed: str = SIGNED) -> dict[bytes, bytes]:
    told = Origin(address, "https").told()
    return {CALLER: told.encode(), PROOF: prove(key, signed, told).encode()}


def test_the_connection_counts() -> None:
    assert address_of(call({})) == "127.0.0.1"
    assert address_of(call({}, client=None)) == ""


def test_our_console_names_the_browser() -> None:
    assert address_of(call(proven("203.0.113.7"))) == "203.0.113.7"
    assert address_of(call(proven("2001:db8::1"))) == "2001:db8::1"
    asked = call(proven("203.0.113.7"))
    assert facts._PLAIN["aws:sourceip"](asked) == "203.0.113.7"
    assert facts._PLAIN["aws:securetransport"](asked) == "true"


@pytest.mark.parametrize(
    "headers",
    [
        {CALLER: b"https 203.0.113.7"},
        {CALLER: b"https 203.0.113.7", PROOF: b""},
        {CALLER: b"https 203.0.113.7", PROOF: b"\xff" * 64},
        {**proven("203.0.113.7"), CALLER: b"https 203.0.113.8"},
        proven("203.0.113.7", signed=SIGNED + "b"),
        proven("203.0.113.7", key=caller_key(bytes(32))),
        proven("203.0.113.7", key=b""),
        {b"x-forwarded-for": b"203.0.113.7", b"forwarded": b"for=203.0.113.7"},
    ],
)
def test_nobody_else_does(headers: dict[bytes, bytes]) -> None:
    assert address_of(call(headers)) == "127.0.0.1"
    assert origin_of(call({b"x-forwarded-proto": b"https", **headers})).scheme == "http"


def test_a_trusted_proxy_names_its_client() -> None:
    named = {b"x-forwarded-for": b"203.0.113.7", b"x-forwarded-proto": b"https"}
    through = call(named, proxies=("127.0.0.0/8",))
    assert origin_of(through) == Origin("203.0.113.7", "https")
    assert facts._PLAIN["aws:securetransport"](through) == "true"
    assert address_of(call(named, proxies=("10.0.0.0/8",))) == "127.0.0.1"
    assert address_of(call({**named, **proven("203.0.113.9")}, proxies=("127.0.0.1/32",))) == (
        "203.0.113.9"
    )


def test_without_a_key_there_is_no_proof() -> None:
    assert address_of(call(proven("203.0.113.7", key=b""), key=b"")) == "127.0.0.1"
