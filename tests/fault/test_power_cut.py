"""Power is cut at every call that changes the drive; whatever was acknowledged is there.

One workload runs once, with every call recorded. Then, for each call, the drive is made as a cut
right behind it leaves it, without its index or with an old one, and the store is opened.
A sample of the calls by default; ``OVERSIGHT_FAULT_EVERY=1`` takes every one.
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.config import Config
from storage.engine.embedded import io
from tests.engines import alone
from tests.fault.disk import Call, Disk, Recorder, Survivors, everything, nothing, something
from tests.fault.folders import EVERY, folder, sample
from tests.fault.history import Effects, Promises, check, check_files, check_goes_on
from tests.fault.workload import Life, config_at

INDEX = Path(".oversight") / "index"


class Workload:
    """A life of a store, call by call, and copies of its index."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "recorded"
        self.path.mkdir()
        self.copies = folder / "indexes"
        self.recorder = Recorder()
        self.indexes: list[tuple[int, Path]] = []

    @property
    def calls(self) -> list[Call]:
        return self.recorder.calls

    def begin(self, number: int, effects: Effects) -> None:
        self.recorder.note((number, effects))

    def acknowledge(self, number: int) -> None:
        self.recorder.note(number)

    def copy_index(self, _chapter: str) -> None:
        """Between two changes nothing is being written: a copy is what a lagging index is."""
        target = self.copies / str(len(self.indexes))
        target.mkdir(parents=True)
        for name in ("index.db", "index.db-wal"):
            if (self.path / INDEX / name).exists():
                shutil.copy(self.path / INDEX / name, target / name)
        self.indexes.append((len(self.calls), target))

    def run(self, seed: int) -> None:
        before = io.install(self.recorder)
        life = Life(config_at(self.path), self, seed=seed, mark=self.copy_index)
        try:
            asyncio.run(life.run())
        finally:
            io.install(before)


@pytest.fixture(scope="module")
def workload() -> Iterator[Workload]:
    with folder() as path:
        made = Workload(path)
        made.run(seed=0)
        names = {call.name for call in made.calls}
        assert names >= {"create", "pwrite", "sync", "sync_dir", "rename", "unlink", "truncate"}
        yield made


def no_index(workload: Workload, cut: int, target: Path) -> None:
    """The index is gone altogether."""


def old_index(workload: Workload, cut: int, target: Path) -> None:
    """The index as it was some time before the cut, its write-ahead log torn somewhere."""
    copies = [path for at, path in workload.indexes if at <= cut]
    if not copies:
        return
    dice = random.Random(cut)
    shutil.copytree(dice.choice(copies), target / INDEX, dirs_exist_ok=True)
    wal = target / INDEX / "index.db-wal"
    if wal.exists() and dice.random() < 0.7:
        os.truncate(wal, dice.randint(0, wal.stat().st_size))


def foreign_index(workload: Workload, cut: int, target: Path) -> None:
    """An index that knows more than the log: it must not be believed."""
    shutil.copytree(workload.indexes[-1][1], target / INDEX, dirs_exist_ok=True)


Index = Callable[[Workload, int, Path], None]


#: What becomes of un-synced writes, what of the index, and how many cuts a test run tries.
LOSSES: dict[str, tuple[Callable[[int], Survivors], Index, int]] = {
    "nothing-no-index": (lambda cut: nothing, no_index, 40),
    "nothing-old-index": (lambda cut: nothing, old_index, 60),
    "everything-old-index": (lambda cut: everything, old_index, 40),
    "everything-no-index": (lambda cut: everything, no_index, 15),
    "something-no-index": (something, no_index, 40),
    "something-old-index": (something, old_index, 60),
    "nothing-foreign-index": (lambda cut: nothing, foreign_index, 20),
}


@pytest.mark.timeout(0 if EVERY else 120)
@pytest.mark.parametrize("loss", LOSSES)
def test_power_cut(workload: Workload, loss: str) -> None:
    with folder() as path:
        survivors, index, count = LOSSES[loss]
        cut_power(workload, path / "drive", survivors, index, sampled(workload, count))


def sampled(workload: Workload, count: int) -> set[int]:
    """Few of the many calls that make an empty drive, ``count`` of those behind them."""
    first = next(n for n, call in enumerate(workload.calls) if is_superblock(call))
    cuts = {n - 1 for n in sample(first, max(2, count // 10))}
    return cuts | {first + n - 1 for n in sample(len(workload.calls) - first, count)}


def cut_power(
    workload: Workload,
    target: Path,
    survivors: Callable[[int], Survivors],
    index: Index,
    cuts: set[int],
) -> int:
    """Cut behind each of the calls ``cuts``; how many that were."""
    disk = Disk(workload.path)
    promises = Promises()
    ready = False
    done = 0
    for cut, call in enumerate(workload.calls):
        match call.note:
            case (number, effects):
                promises.begin(number, effects)
            case int(number):
                promises.acknowledge(number)
        if call.name != "note":
            disk.play(call)
        ready = ready or is_superblock(call)
        if cut not in cuts:
            continue
        disk.leave(target, survivors(cut))
        if ready:
            index(workload, cut, target)
        try:
            asyncio.run(reopen(config_at(target), copy.deepcopy(promises)))
        except BaseException as error:
            error.add_note(f"power was cut behind call {cut}: {call._replace(data=b'')}")
            raise
        shutil.rmtree(target)
        done += 1
    return done


def is_superblock(call: Call) -> bool:
    return call.name == "rename" and call.target.endswith("/superblock")


async def reopen(config: Config, promises: Promises) -> None:
    async with alone(config) as engine:
        await check(engine, promises)
        await check_goes_on(engine, promises)
        await check_files(engine)
