"""A clock that jumps is suspected, and lifecycle hears of it; one that is right never is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.config import Config
from storage.engine.embedded import clock, index, io
from storage.engine.embedded.clock import DAY, Clock
from storage.engine.embedded.engine import EmbeddedEngine
from tests.unit.engine.test_committer import MIB, Store, store

HOUR = DAY // 24
NOON = 1_800_000_000_000


class Time:
    """Both clocks, in our hands."""

    def __init__(self) -> None:
        self.wall = NOON
        self.steady = 5_000

    def passes(self, milliseconds: int) -> None:
        self.wall += milliseconds
        self.steady += milliseconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(clock, "wall", lambda: made.wall)
    monkeypatch.setattr(clock, "steady", lambda: made.steady)
    return made


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(drives=(str(tmp_path),), segment_size=MIB, free_min=MIB)


@pytest.fixture(autouse=True)
def real_calls() -> Iterator[None]:
    before = io.install(io.Calls())
    yield
    io.install(before)


def test_a_clock_that_goes_is_believed(time: Time) -> None:
    found = Clock()
    found.begin(0, 0)
    for step in (1000, 3 * DAY, DAY * 400):  # however seldom anybody looks
        time.passes(step)
        found.look()
        assert not found.suspect
        assert found.time == time.wall
    time.wall -= HOUR  # set right, as clocks are
    found.look()
    assert (found.suspect, found.time) == (False, time.wall)


@pytest.mark.parametrize("jump", [-400 * DAY, -DAY - 1, DAY + 1, 10_000 * DAY])
def test_a_jump_is_suspect_until_it_is_undone(
    time: Time, jump: int, caplog: pytest.LogCaptureFixture
) -> None:
    found = Clock()
    found.begin(NOON, 0)
    time.wall += jump
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            time.passes(1000)
            found.look()
            assert found.suspect
    assert found.time == NOON + 3000
    assert [("ahead" in each.message, "behind" in each.message) for each in caplog.records] == [
        (jump > 0, jump < 0)
    ]
    time.wall -= jump
    time.passes(1000)
    found.look()
    assert (found.suspect, found.time) == (False, time.wall)


def test_what_stands_for_a_day_is_believed(time: Time) -> None:
    found = Clock()
    found.begin(NOON, 0)
    time.wall += 40 * DAY
    for _ in range(24):
        time.passes(HOUR - 1)
        found.look()
        assert found.suspect
    time.passes(HOUR)
    found.look()
    assert (found.suspect, found.time) == (False, time.wall)


def tick(opened: Store) -> None:
    opened.committer._next_tick = 0.0
    opened.committer.tend()


@pytest.mark.parametrize("lost", [False, True])
def test_the_board_tells(config: Config, time: Time, lost: bool) -> None:
    with store(config) as opened:
        bucket = opened.make_bucket()
        tick(opened)
        board = opened.committer.board
        assert (board.clock_suspect, board.last_record) == (False, NOON)
        time.passes(2 * HOUR)
        tick(opened)
        assert board.last_record == NOON  # no change since
    time.passes(20 * HOUR)
    with store(config) as opened:
        opened.bucket = bucket
        assert not opened.committer.board.clock_suspect
        opened.do(opened.put("a"))
        tick(opened)
        assert opened.committer.board.last_record == time.wall
        time.wall += 3 * DAY
        tick(opened)
        assert opened.committer.board.clock_suspect
        opened.do(opened.put("b"))
        tick(opened)
        assert opened.committer.board.last_record == time.wall - 3 * DAY
        folder = opened.drive.index
    time.passes(1000)
    if lost:
        index.remove(folder)
    with store(config) as opened:  # a restart makes nothing believable
        assert opened.committer.board.clock_suspect
    time.wall -= 3 * DAY
    with store(config) as opened:
        assert not opened.committer.board.clock_suspect


def test_doubt_adds_up_over_restarts(config: Config, time: Time) -> None:
    with store(config) as opened:
        bucket = opened.make_bucket()
    time.passes(5 * DAY)  # switched off
    for evening in range(4):
        with store(config) as opened:
            opened.bucket = bucket
            assert opened.committer.board.clock_suspect == (evening < 3)
            time.passes(8 * HOUR + 1000)
            tick(opened)
            opened.do(opened.put(f"evening-{evening}"))
        time.passes(16 * HOUR)


@pytest.mark.anyio
async def test_health_tells(config: Config, time: Time) -> None:
    engine = await EmbeddedEngine.local(config)
    await engine.close()
    time.wall += 2 * DAY
    engine = await EmbeddedEngine.local(config)
    health = await engine.health()
    await engine.close()
    assert (health.clock_suspect, health.last_record) == (True, NOON)
