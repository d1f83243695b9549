"""The timers do their work beside clients, and outlive the committer's restarts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from storage import errors
from storage.engine.embedded import segment
from storage.engine.embedded.engine import EmbeddedEngine
from storage.services import upkeep
from storage.services.upkeep import Upkeep
from tests.contract.store import delete, get, make_bucket, put
from tests.engines import CommitterProcess, alone, small_config

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in vars(upkeep):
        if name.endswith("_SECONDS"):
            monkeypatch.setattr(upkeep, name, 0.05)


async def until(condition: object, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_space_comes_back_by_itself(tmp_path: Path) -> None:
    config = small_config(tmp_path, segment_size=64 * 1024, inline_max=4096, fsync=False)
    async with alone(config) as engine:
        service = Upkeep(engine)
        service.start()
        bucket = await make_bucket(engine)
        for number in range(200):
            await put(engine, bucket, "k", bytes([number]) * 3000)
        await put(engine, bucket, "large", b"l" * 100_000)
        await delete(engine, bucket, "large")
        await until(lambda: len(segment.listing(engine.drive.segments)) <= 2)
        assert await get(engine, bucket, "k") == bytes([199]) * 3000
        await service.close()


async def test_the_committer_may_restart_under_it(tmp_path: Path) -> None:
    config = small_config(tmp_path, segment_size=64 * 1024, inline_max=4096, fsync=False)
    first = CommitterProcess(config)
    first.wait_ready()
    engine = await EmbeddedEngine.connect(config)
    service = Upkeep(engine)
    service.start()
    bucket = await make_bucket(engine)
    for number in range(100):
        await put(engine, bucket, "k", bytes([number]) * 3000)
    first.kill()
    second = CommitterProcess(config)
    second.wait_ready()
    for number in range(100):
        await put(engine, bucket, "k", bytes([number]) * 3000)
    await until(lambda: len(segment.listing(engine.drive.segments)) <= 2)
    assert await get(engine, bucket, "k") == bytes([99]) * 3000
    await service.close()
    await engine.close()
    second.stop()


async def test_the_write_ahead_log_stays_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "WAL_MAX", 200_000)
    async with alone(small_config(tmp_path, fsync=False)) as engine:
        bucket = await make_bucket(engine)
        wal = os.path.join(engine.drive.index, "index.db-wal")
        sizes = []
        for number in range(600):
            await put(engine, bucket, f"k{number % 50}", b"x")
            if number % 50 == 0:
                upkeep.checkpoint(engine.drive.index)
            sizes.append(os.path.getsize(wal))  # noqa: ASYNC240
        assert upkeep.checkpoint(engine.drive.index)
        assert max(sizes) < 2_000_000
        assert await get(engine, bucket, "k1") == b"x"


async def test_the_write_ahead_log_is_moved_once_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[bool] = []
    monkeypatch.setattr(upkeep, "WAL_MAX", 0)
    real = upkeep.checkpoint

    def checkpoint(folder: str) -> bool:
        moved.append(real(folder))
        return moved[-1]

    monkeypatch.setattr(upkeep, "checkpoint", checkpoint)
    async with alone(small_config(tmp_path, fsync=False)) as engine:
        bucket = await make_bucket(engine)
        service = Upkeep(engine)
        for number in range(5):
            await put(engine, bucket, f"k{number}", b"x")
            await service._checkpoint()
        assert not moved
        for _ in range(3):
            await service._checkpoint()
        assert moved == [True]
        await put(engine, bucket, "k", b"x")
        for _ in range(3):
            await service._checkpoint()
        assert moved == [True, True]


@pytest.mark.parametrize(
    "trouble", [KeyError("a defect"), OSError("a drive"), errors.Unavailable()]
)
async def test_no_trouble_ends_the_upkeep(trouble: Exception) -> None:
    """A rule that can't be read must not keep the store from getting its space back for ever."""
    turns = asyncio.Queue[int]()

    async def work() -> None:
        turns.put_nowait(1)
        raise trouble

    task = asyncio.create_task(upkeep._every(0, work))
    async with asyncio.timeout(60):
        await turns.get()
        await turns.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
