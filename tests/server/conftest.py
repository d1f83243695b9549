"""Stores in processes of their own, and a look at those processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import ServedStore

Start = Callable[..., ServedStore]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a store over one drive; every store that was started is stopped in the end."""
    started: list[ServedStore] = []

    def begin(*options: str, **environment: str) -> ServedStore:
        log = tmp_path / f"log-{len(started)}"
        store = ServedStore(tmp_path / "drive", log, options, environment)
        started.append(store)
        return store.start()

    yield begin
    for store in started:
        store.kill()


def children(supervisor: int) -> dict[str, list[int]]:
    """Process ids of a supervisor's children, by role."""
    found: dict[str, list[int]] = {}
    for pid in map(int, Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()):
        role = role_of(pid)
        if role:
            found.setdefault(role, []).append(pid)
    return found


def role_of(pid: int) -> str:
    """What a process of a store does; "" if it is none, or gone."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    if b"storage.process" not in arguments:
        return ""
    return arguments[arguments.index(b"storage.process") + 1].decode()


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until ``condition()`` is true, and return what it returned."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return found
