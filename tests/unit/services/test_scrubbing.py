"""Scrubbing as a service: when it is due, where it goes on, what it tells."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from storage.config import Config
from storage.engine.embedded import segment
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.embedded.scrub import DONE, INDEX
from storage.services import scrubbing, upkeep
from storage.services.scrubbing import Scrubber
from storage.services.upkeep import Upkeep
from storage.telemetry import metrics
from storage.telemetry.board import Board
from tests.contract.store import make_bucket, put
from tests.engines import alone, small_config

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return small_config(tmp_path, segment_size=64 * 1024, inline_max=4096, fsync=False)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "_SHARE", 0.9)


async def fill(engine: EmbeddedEngine) -> None:
    bucket = await make_bucket(engine)
    await asyncio.gather(*(put(engine, bucket, f"k{n}", bytes([n]) * 3000) for n in range(60)))
    await put(engine, bucket, "large", b"l" * 100_000)


def overwrite(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"rot")


def spoil(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
    path.write_bytes(b"{")


async def test_a_new_store_is_not_scrubbed_at_once(config: Config) -> None:
    async with alone(config) as engine:
        scrubber = Scrubber(engine, 3600)
        assert not scrubber.is_due()
        await scrubber.run()
        assert (await engine.health()).scrub.passes == 0


async def test_a_pass_is_told_and_remembered(config: Config) -> None:
    async with alone(config) as engine:
        await fill(engine)
        scrubber = Scrubber(engine, 0.001)
        await asyncio.sleep(0.01)
        assert scrubber.is_due()
        await scrubber.run()
        found = (await engine.health()).scrub
        assert found.passes == 1
        assert found.finished >= found.started > 0
        assert found.bytes > 200_000
        assert found.compared > 60
        assert (found.damages, found.mismatches, found.repairs) == (0, 0, 0)
        assert not Scrubber(engine, 3600).is_due()
    async with alone(config) as engine:
        again = Scrubber(engine, 3600)
        assert not again.is_due()
        assert again.progress.passes == 1
        assert (await engine.health()).scrub == found


async def test_it_goes_on_after_a_restart(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "_SLICE", 0.0)  # one step at a time
    async with alone(config) as engine:
        await fill(engine)
        scrubber = Scrubber(engine, 0.001)
        await asyncio.sleep(0.01)
        work = asyncio.create_task(scrubber.run())
        async with asyncio.timeout(60):
            while scrubber.progress.part in (DONE, INDEX):  # noqa: ASYNC110
                await asyncio.sleep(0)
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        stood = scrubber.progress
        assert stood.passes == 0
    async with alone(config) as engine:
        scrubber = Scrubber(engine, 3600)
        assert scrubber.is_due()
        assert scrubber.progress == stood
        await scrubber.run()
        assert scrubber.progress.passes == 1
        assert scrubber.progress.started == stood.started


async def test_an_unreadable_note_only_means_to_begin_anew(config: Config) -> None:
    async with alone(config) as engine:
        Scrubber(engine, 3600)._save()
        spoil(Path(engine.drive.root, "run", scrubbing.FILE))
        assert not Scrubber(engine, 3600).is_due()


async def test_damage_is_shown_by_metrics(config: Config) -> None:
    async with alone(config) as engine:
        await fill(engine)
        number = segment.listing(engine.drive.segments)[0]
        path = Path(engine.drive.segments, segment.name(number))
        record = next(each for each in segment.all_records(str(path)) if each.length)
        overwrite(path, record.offset)
        scrubber = Scrubber(engine, 0.001)
        await asyncio.sleep(0.01)
        await scrubber.run()
        assert (await engine.health()).scrub.damages == 1

        async def collect() -> metrics.Snapshot:
            return await metrics.snapshot(engine, Board(), 0)

        text = await metrics.page("cluster", "here", collect)
        assert text is not None
        assert 'oversight_scrub_damages{server="here"} 1' in text
        assert 'oversight_scrub_passes_total{server="here"} 1' in text


@pytest.mark.parametrize("interval", [0, 1])
async def test_upkeep_scrubs_unless_it_is_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: int
) -> None:
    monkeypatch.setattr(upkeep, "_SCRUB_SECONDS", 0.05)
    config = small_config(tmp_path, scrub_interval=interval, fsync=False)
    async with alone(config) as engine:
        service = Upkeep(engine)
        service.start()
        async with asyncio.timeout(60):
            for _ in range(10 if not interval else 1000):
                await asyncio.sleep(0.05)
                if engine.board.scrub.passes:
                    break
        assert bool(engine.board.scrub.passes) == bool(interval)
        await service.close()
