"""Who is behind a proxy, and whose word is worth nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.origin import Origin
from storage.proxies import Proxies

PROXIES = Proxies(("10.0.0.0/8", "2001:db8::/64", "192.0.2.1/32"))
WORDS = st.sampled_from(
    ["10.0.0.1", "10.9.9.9:1234", "192.0.2.1", "[2001:db8::5]:80", "203.0.113.7", "198.51.100.9",
     "::ffff:203.0.113.7", "unknown", "_hidden", "", " ", "\xff", "1.2.3.4.5"]
)  # fmt: skip


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("198.51.100.9, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.9, 203.0.113.7, 10.0.0.2, 192.0.2.1", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8:1::7]:4711", "2001:db8:1::7"),
        ("2001:db8:1::7", "2001:db8:1::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("203.0.113.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.7, unknown", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("203.0.113.7,", "10.0.0.1"),
    ],
)
def test_who_is_behind(addresses: str, found: str) -> None:
    assert PROXIES.origin(Origin("10.0.0.1", "http"), addresses, "").address == found


@pytest.mark.parametrize(
    ("said", "scheme"),
    [("https", "https"), ("HTTPS ", "https"), ("https, http", "http"), ("http, https", "https"),
     ("", "http"), ("wss", "http"), ("https,", "http")],
)  # fmt: skip
def test_how_it_speaks(said: str, scheme: str) -> None:
    assert PROXIES.origin(Origin("10.0.0.1", "http"), "203.0.113.7", said).scheme == scheme


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::9", "192.0.2.1"])
def test_whose_word_is_taken(peer: str) -> None:
    assert PROXIES.origin(Origin(peer, "http"), "203.0.113.7", "https") == (
        Origin("203.0.113.7", "https")
    )


@pytest.mark.parametrize("peer", ["11.0.0.1", "192.0.2.2", "2001:db8:0:1::1", "", "fe80::1%eth0"])
def test_whose_is_not(peer: str) -> None:
    origin = Origin(peer, "http")
    assert PROXIES.origin(origin, "203.0.113.7", "https") == origin


@given(st.lists(WORDS), st.lists(WORDS))
def test_what_a_client_says_changes_nothing(invented: list[str], other: list[str]) -> None:
    """A proxy adds the address that it sees; whatever stood there before does not matter."""
    found = {
        PROXIES.origin(Origin("10.0.0.1", "http"), ",".join([*before, "203.0.113.8"]), "").address
        for before in (invented, other)
    }
    assert found == {"203.0.113.8"}


def test_none_is_trusted_by_default() -> None:
    assert not Proxies(())


@pytest.mark.parametrize("told", ["https 203.0.113.7", "http 2001:db8::1", "http "])
def test_origins_are_read_as_they_are_told(told: str) -> None:
    assert Origin.parse(told).told() == told
