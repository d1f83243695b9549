"""Names in archives: below the folder they are unpacked into, each once, and cheap to find."""

from __future__ import annotations

import time

import pytest

from storage.console.archive import _entry


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a/b.txt", "a/b.txt"), ("../../etc/passwd", "_/_/etc/passwd"), ("/root", "_/root"),
        ("a//b", "a/_/b"), ("./a", "_/a"), ("C:\\x", "C__x"), ("a\nb", "a_b"), ("a\x00", "a_"),
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_folder(key: str, expected: str) -> None:
    assert _entry(key, {}) == expected


def test_names_that_come_to_the_same_are_told_apart() -> None:
    taken: dict[str, int] = {}
    keys = ["a?", "a*", "a_ (2)", "a_", "a_ (2)", "a:"]
    found = [_entry(key, taken) for key in keys]
    assert found == ["a_", "a_ (2)", "a_ (2) (2)", "a_ (3)", "a_ (2) (3)", "a_ (4)"]
    assert len(set(found)) == len(keys) == len(taken)


def test_many_of_them_take_no_quadratic_time() -> None:
    taken: dict[str, int] = {}
    began = time.process_time()
    for number in range(100_000):
        _entry("?*:|"[number % 4], taken)
    assert len(taken) == 100_000
    assert time.process_time() - began < 10
