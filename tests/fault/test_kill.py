"""A store is killed at every kind of call that changes a drive; what it acknowledged is there.

A sample by default; ``OVERSIGHT_FAULT_EVERY=1`` takes every call.

A kill leaves the page cache as it is. So this catches a wrong *order*: of answer, log, index,
files and names (``MUTANTS``, each of which is lived here and found out). A sync that is missing
it can't catch: that is what ``test_power_cut`` is for, where un-synced writes are lost.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage import errors
from storage.config import Config
from storage.engine.embedded import io
from storage.engine.embedded.committer import Committer
from storage.engine.embedded.log import Applied, Log
from storage.engine.embedded.segment import Builder
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


# -- can it fail? ---------------------------------------------------------------------------------
# Each mutant makes one thing in the wrong order; a life that is killed must tell.


def answer_before_the_log() -> None:
    """A batch is written when the next one comes; its clients have long been answered."""
    late: list[tuple[int, Any, int]] = []
    real = io.pwritev

    def pwritev(fd: int, buffers: Any, offset: int) -> None:
        for each in late:
            real(*each)
        late[:] = [(fd, [b"".join(buffers)], offset)]

    io.pwritev = pwritev


def index_before_the_log() -> None:
    """The index shows a batch which is not written yet."""
    real = Log.append

    def append(self: Log, batch: Builder) -> Applied:
        writer = _writer_of(self)
        check = batch.buffers(self.epoch, self._previous)[2]
        applied = Applied(batch.next_seq - 1, batch.segment, batch.start, check)
        writer.commit(applied)
        writer.begin()
        return real(self, batch)

    Log.append = append  # type: ignore[method-assign]


def _writer_of(log: Log) -> Any:
    return next(
        each._index
        for each in gc.get_objects()
        if isinstance(each, Committer) and each._log is log and each._index is not None
    )


def name_before_the_header() -> None:
    """A new segment has its name before it has its header."""
    real = Log._open_segment

    def _open_segment(self: Log, needed: int) -> None:
        before = io.pwrite

        def pwrite(fd: int, data: io.Buffer, offset: int) -> None:
            if offset == 0 and self._next_id() > self.segment:
                staged, path = os.path.join(self.folder, "next"), self.path(self._next_id())
                io.rename(staged, path)
                before(fd, data, offset)
                os.rename(path, staged)
            else:
                before(fd, data, offset)

        io.pwrite = pwrite
        try:
            real(self, needed)
        finally:
            io.pwrite = before

    Log._open_segment = _open_segment  # type: ignore[method-assign]


def commit_before_the_file() -> None:
    """A file's last bytes are written by and by, behind the commit that names it."""
    late: list[Any] = []
    real, batch = io.pwrite, io.pwritev

    def pwrite(fd: int, data: io.Buffer, offset: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").split("/")[-3] == "files":
            late.append((os.dup(fd), bytes(data), offset))
        else:
            real(fd, data, offset)

    def pwritev(fd: int, buffers: Any, offset: int) -> None:
        batch(fd, buffers, offset)
        while late:
            real(*late.pop(0))

    io.pwrite, io.pwritev = pwrite, pwritev


MUTANTS: dict[Callable[[], None], tuple[str, str]] = {
    answer_before_the_log: ("pwritev", "before"),
    index_before_the_log: ("pwritev", "before"),
    name_before_the_header: ("pwrite", "before"),
    commit_before_the_file: ("pwrite", "before"),
}


def live_as(
    mutate: Callable[[], None], config: Config, journal: Path, calls: io.Calls, seed: int
) -> None:
    """A life of a mutant, in a process of its own."""
    mutate()
    live(config, journal, calls, seed)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_what_is_made_in_the_wrong_order_is_found(mutant: Callable[[], None]) -> None:
    kind, when = MUTANTS[mutant]
    for at in sample(counts()[kind], 40):
        with folder() as path:
            journal = path / "journal"
            target = functools.partial(live_as, mutant)
            run(target, config_at(path / "drive"), journal, Dying(kind, at, when), 0)
            try:
                asyncio.run(check_store(config_at(path / "drive"), read_journal(journal)))
            except (AssertionError, errors.StoreError):
                return
    pytest.fail(f"{mutant.__name__}: killed {when} any {kind}, it was not found out")
