"""Followers hear everything at least once, in order, also across compaction and restarts."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from storage.config import Config
from storage.engine.embedded import segment
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.interface import Bucket, FeedEvent
from storage.services.feed import Follower, drop_footers
from tests.contract.store import delete, make_bucket, put
from tests.engines import alone, small_config
from tests.unit.engine.test_compaction import compact

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return small_config(tmp_path, segment_size=64 * 1024, inline_max=4096, fsync=False)


class Ear:
    """Remembers what it heard; fails when told to."""

    def __init__(self) -> None:
        self.heard: list[FeedEvent] = []
        self.failing = False

    async def __call__(self, events: Sequence[FeedEvent]) -> None:
        self.heard += events
        if self.failing:
            raise RuntimeError

    @property
    def keys(self) -> list[str]:
        return [event.key for event in self.heard if event.key]


async def churn(engine: EmbeddedEngine, bucket: Bucket, count: int = 120) -> list[str]:
    """Fill several segments with objects that are deleted at once; the keys, each twice."""
    told = []
    for number in range(count):
        await put(engine, bucket, f"k{number}", b"x" * 3000)
        await delete(engine, bucket, f"k{number}")
        told += [f"k{number}"] * 2
    return told


def feet(engine: EmbeddedEngine) -> list[int]:
    return segment.listing(engine.drive.segments, ".foot")


async def compact_all(engine: EmbeddedEngine) -> None:
    for number in segment.listing(engine.drive.segments)[:-1]:
        await compact(engine, number)


async def test_a_follower_goes_on_where_it_stopped(config: Config) -> None:
    ear = Ear()
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        told = await churn(engine, bucket, 10)
        follower = Follower(engine, "ear")
        assert await follower.step(ear, limit=5) == 5
    async with alone(config) as engine:
        follower = Follower(engine, "ear")
        while await follower.step(ear, limit=5):
            pass
        assert ear.keys == told
        assert await follower.step(ear) == 0


async def test_what_was_not_handled_comes_again(config: Config) -> None:
    ear = Ear()
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await put(engine, bucket, "a")
        follower = Follower(engine, "ear")
        ear.failing = True
        with pytest.raises(RuntimeError):
            await follower.step(ear)
        ear.failing = False
        await follower.step(ear)
        assert ear.keys == ["a", "a"]


async def test_footers_wait_for_followers(config: Config) -> None:
    ear = Ear()
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        follower = Follower(engine, "ear")
        await follower.begin()
        told = await churn(engine, bucket)
        await compact_all(engine)
        assert len(feet(engine)) >= 3
        assert await drop_footers(engine) == 0
        while await follower.step(ear, limit=50):
            pass
        assert ear.keys == told
        assert await drop_footers(engine) >= 3
        assert feet(engine) == []
        assert not await follower.is_lost()


async def test_without_followers_nothing_is_kept(config: Config) -> None:
    async with alone(config) as engine:
        await churn(engine, await make_bucket(engine))
        await compact_all(engine)
        assert feet(engine) == []


async def test_a_follower_that_is_too_late_is_lost_and_hears_of_it(config: Config) -> None:
    ear = Ear()
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        follower = Follower(engine, "ear")
        await follower.begin()
        await churn(engine, bucket)
        await compact_all(engine)
        age(engine, config.feed_retention + 60)
        assert await drop_footers(engine) >= 3
        assert feet(engine) == []
        assert await follower.is_lost()
        await follower.restart(engine.board.applied_seq)
        assert not await follower.is_lost()
        await put(engine, bucket, "new")
        await follower.step(ear)
        assert ear.keys == ["new"]


def age(engine: EmbeddedEngine, seconds: int) -> None:
    for number in feet(engine):
        path = os.path.join(engine.drive.segments, segment.foot_name(number))
        then = time.time() - seconds
        os.utime(path, (then, then))
