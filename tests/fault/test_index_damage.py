"""The index is disposable: whatever becomes of it, the store says what it said before."""

from __future__ import annotations

import asyncio
import copy
import random
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from storage import errors
from storage.config import Config
from storage.engine.embedded.engine import EmbeddedEngine
from tests.contract.store import make_bucket
from tests.engines import alone
from tests.fault.folders import folder
from tests.fault.history import Promises, check, check_goes_on, check_store, tables
from tests.fault.workload import Life, config_at

INDEX = Path(".oversight") / "index"
DATABASE, WAL, SHM = "index.db", "index.db-wal", "index.db-shm"
PAGE = 4096
PATIENCE = 60.0
Damage = Callable[[Path, random.Random], None]


class Crashed:
    """A store as a crash leaves it, its index in both of SQLite's files; and an older index."""

    def __init__(self, folder: Path) -> None:
        self.drive = folder / "crashed"
        self.old = folder / "old"
        self.foreign = folder / "foreign"
        self.promises = Promises()
        self.tables: dict[str, list[object]] = {}
        asyncio.run(self._live(folder / "live"))

    async def _live(self, path: Path) -> None:
        life = Life(config_at(path), self.promises)
        await life.run()
        shutil.copytree(path / INDEX, self.old)
        async with alone(config_at(path)) as engine:
            bucket = await engine.bucket("one")
            assert bucket is not None
            for number in range(40):
                await life.put(engine, bucket, f"many/{number:03}" * 20, b"small")
            await life.objects(engine, bucket, 5)
            self.tables = tables(engine)
            shutil.copytree(path, self.drive)
        async with alone(config_at(path.with_name("another"))) as engine:
            await make_bucket(engine, "another")
        shutil.copytree(path.with_name("another") / INDEX, self.foreign)
        assert (self.drive / INDEX / WAL).stat().st_size > 20 * PAGE
        assert (self.drive / INDEX / DATABASE).stat().st_size > 8 * PAGE


@pytest.fixture(scope="module")
def crashed() -> Iterator[Crashed]:
    with folder() as path:
        yield Crashed(path)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def scribble(path: Path, dice: random.Random, count: int, first: int = 0) -> None:
    """Random bytes over whole pages."""
    for _ in range(count):
        page = dice.randrange(first, path.stat().st_size // PAGE)
        overwrite(path, page * PAGE, dice.randbytes(PAGE))


def shorten(path: Path, dice: random.Random) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(dice.randrange(1, size))


DAMAGES: dict[str, Damage] = {
    "all-deleted": lambda index, dice: [each.unlink() for each in index.iterdir()] and None,
    "folder-deleted": lambda index, dice: shutil.rmtree(index),
    "database-deleted": lambda index, dice: (index / DATABASE).unlink(),
    "wal-deleted": lambda index, dice: (index / WAL).unlink(),
    "database-empty": lambda index, dice: (index / DATABASE).write_bytes(b"") and None,
    "database-of-noise": lambda index, dice: (
        (index / DATABASE).write_bytes(dice.randbytes(99999)) and None
    ),
    "first-page": lambda index, dice: overwrite(index / DATABASE, 0, dice.randbytes(PAGE)),
    "a-page": lambda index, dice: scribble(index / DATABASE, dice, 1, 1),
    "pages": lambda index, dice: scribble(index / DATABASE, dice, 5, 1),
    "database-shortened": lambda index, dice: shorten(index / DATABASE, dice),
    "wal-shortened": lambda index, dice: shorten(index / WAL, dice),
    "wal-scribbled": lambda index, dice: scribble(index / WAL, dice, 3),
    "wal-of-noise": lambda index, dice: (index / WAL).write_bytes(dice.randbytes(50000)) and None,
    "shared-memory-of-noise": lambda index, dice: (
        (index / SHM).write_bytes(dice.randbytes(32768)) and None
    ),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_while_closed(crashed: Crashed, damage: str, seed: int) -> None:
    with folder() as path:
        damage_and_restore(crashed, path / "drive", damage, seed)


def damage_and_restore(crashed: Crashed, drive: Path, damage: str, seed: int) -> None:
    shutil.copytree(crashed.drive, drive)
    DAMAGES[damage](drive / INDEX, random.Random(seed))
    asyncio.run(check_restored(config_at(drive), crashed))


@pytest.mark.parametrize("which", ["old", "foreign"])
def test_another_index(crashed: Crashed, which: str) -> None:
    """One from before, as a lagging drive has it; one of another store."""
    with folder() as path:
        config = config_at(path / "drive")
        shutil.copytree(crashed.drive, path / "drive")
        shutil.rmtree(path / "drive" / INDEX)
        shutil.copytree(getattr(crashed, which), path / "drive" / INDEX)
        asyncio.run(check_restored(config, crashed))


@pytest.mark.parametrize("damage", ["pages", "first-page", "database-of-noise"])
def test_damaged_while_open(crashed: Crashed, damage: str) -> None:
    """Someone scribbles over the file under a running store."""

    async def run(config: Config) -> None:
        async with alone(config) as engine:
            DAMAGES[damage](Path(config.drives[0]) / INDEX, random.Random(1))
            promises = await settled(engine, crashed)
        await check_store(config, promises)

    with folder() as path:
        shutil.copytree(crashed.drive, path / "drive")
        asyncio.run(run(config_at(path / "drive")))


async def check_restored(config: Config, crashed: Crashed) -> None:
    async with alone(config) as engine:
        promises = await settled(engine, crashed)
    await check_store(config, promises)


async def settled(engine: EmbeddedEngine, crashed: Crashed) -> Promises:
    """Damage that is met later than at the start is repaired while clients are asked to wait."""
    promises = copy.deepcopy(crashed.promises)

    async def look() -> None:
        assert tables(engine) == crashed.tables
        await check(engine, promises)

    await patiently(look)
    await patiently(lambda: check_goes_on(engine, promises))
    return promises


async def patiently(work: Callable[[], Awaitable[None]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await work()
        except errors.Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
