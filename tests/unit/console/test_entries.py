"""Names in archives: safe, each once, on every system."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.console.entries import PART_BYTES_MAX, Entries


@pytest.mark.parametrize(
    ("key", "entry"),
    [
        ("a/b.txt", "a/b.txt"),
        ("../../etc/passwd", "_/_/etc/passwd"),
        ("/absolute", "_/absolute"),
        ("a//b", "a/_/b"),
        ("./a\x00", "_/a_"),
        ("C:\\evil.exe", "C__evil.exe"),
        ("line\nbreak", "line_break"),
        ("\u202egpj.exe", "_gpj.exe"),
        ("nul.txt", "_nul.txt"),
        ("dots.", "dots_"),
        ("é" * 500 + ".txt", "é" * 98 + ".txt"),
    ],
)
def test_a_name_stays_below_its_folder(key: str, entry: str) -> None:
    assert Entries().add(key) == entry


def test_names_that_clash_are_told_apart() -> None:
    entries = Entries()
    keys = ["a", "a/b", "a/c", "A", "x:1", "x?1", "x_1", "n.txt", "N.txt", "d/x", "D/y"]
    assert [entries.add(key) for key in keys] == [
        "a", "a (2)/b", "a (2)/c", "A (3)", "x_1", "x_1 (2)", "x_1 (3)", "n.txt", "N (2).txt",
        "d/x", "D (2)/y",
    ]  # fmt: skip
    assert len(entries) == len(keys)


_PARTS = st.sampled_from(["a", "A", "..", ".", "", "a.", "b:", "b?", "con", "é" * 150, "a (2)"])


@given(st.lists(st.lists(_PARTS, min_size=1, max_size=4).map("/".join), unique=True))
def test_whatever_the_keys(keys: list[str]) -> None:
    entries = Entries()
    found = [entries.add(key) for key in keys]
    folded = [entry.casefold() for entry in found]
    assert len(set(folded)) == len(keys)
    folders = {name[: at + 1] for name in folded for at, c in enumerate(name) if c == "/"}
    assert not folders & {f"{name}/" for name in folded}
    for entry in found:
        for part in entry.split("/"):
            assert part not in ("", ".", "..")
            assert len(part.encode()) <= PART_BYTES_MAX + 8


def test_so_many_of_one_name_are_no_work() -> None:
    entries = Entries()
    began = time.process_time()
    for number in range(100_000):
        entries.add("?*:|"[number % 4])
    assert len(entries) == 100_000
    assert time.process_time() - began < 10
