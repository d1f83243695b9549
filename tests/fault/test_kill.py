"""A store is killed at every kind of call that changes a drive; what it acknowledged is there.

A sample by default; ``OVERSIGHT_FAULT_EVERY=1`` takes every call.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.config import Config
from storage.engine.embedded import io
from tests.engines import lose_index
from tests.fault.folders import EVERY, folder, sample
from tests.fault.history import Journal, Promises, check_store, read_journal
from tests.fault.kernel import KINDS, Counting, Dying
from tests.fault.workload import Life, come_back, config_at, live

#: Points of each kind; the calls that make things durable or gone get more.
POINTS = {"pwritev": 7, "pwrite": 7, "fdatasync": 7, "rename": 5, "unlink": 7, "fsync_dir": 5}
WHEN = [(kind, when) for kind in KINDS for when in ("before", "after")]
WHEN = [pair for pair in WHEN if pair != ("mkdir", "after")]
WHEN += [("pwrite", "torn"), ("pwritev", "torn")]
_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["tests.engines", "tests.fault.workload"])


@functools.cache
def counts() -> Counter[str]:
    """How many calls of each kind a whole life makes."""
    with folder() as path:
        calls = Counting()
        before = io.install(calls)
        try:
            asyncio.run(Life(config_at(path / "drive"), Journal(path / "journal")).run())
        finally:
            io.install(before)
        promises = read_journal(path / "journal")
        assert not promises.open
        asyncio.run(check_store(config_at(path / "drive"), promises))
    return calls.counts


def die(path: Path, calls: Dying, seed: int = 0) -> Promises:
    """Live in ``path`` until killed; what was promised until then."""
    journal = path / "journal"
    status = run(live, config_at(path / "drive"), journal, calls, seed)
    promises = read_journal(journal)
    # Threads are not scheduled alike every time: a life may end one call short of the last.
    assert status or not promises.open
    return promises


def run(target: Callable[..., None], config: Config, journal: Path, *more: Any) -> int:
    """The exit status of ``target`` in a process of its own: 0, or killed."""
    process = _forkserver.Process(target=target, args=(config, journal, *more), daemon=True)
    process.start()
    process.join(60)
    error = journal.with_suffix(".error")
    assert process.exitcode in (0, -signal.SIGKILL), error.read_text() if error.exists() else ""
    return process.exitcode


@pytest.mark.timeout(0 if EVERY else 120)
@pytest.mark.parametrize(("kind", "when"), WHEN)
def test_killed_at_a_call(kind: str, when: str) -> None:
    total = counts()[kind]
    if kind not in ("fsync", "truncate", "link"):
        assert total, f"the workload makes no {kind}"
    for at in sample(total, POINTS.get(kind, 3)):
        with folder() as path:
            promises = die(path, Dying(kind, at, when))
            try:
                asyncio.run(check_store(config_at(path / "drive"), promises))
            except BaseException as error:
                error.add_note(f"killed {when} {kind} number {at} of {total}")
                raise


def test_killed_again_while_it_comes_back() -> None:
    """Deaths while the log is replayed, the index rebuilt and an epoch begun, one after another."""
    with folder() as path:
        config = config_at(path / "drive")
        promises = die(path, Dying("pwritev", counts()["pwritev"] // 2, "after"))
        for index in ("kept", "lost"):
            at = 1
            while run(come_back, config, path / "opening", Dying("any", at, "before")):
                at += 1
                if index == "lost":
                    lose_index(config)
            assert at > 3, "opening a store changes the drive in fewer calls than it must"
        asyncio.run(check_store(config, promises))
