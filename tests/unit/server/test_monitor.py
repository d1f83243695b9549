"""What the console is told of the past: rings of counters, percentiles, growth, last errors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.engine.memory import MemoryEngine
from storage.telemetry import monitor
from storage.telemetry.board import BOUNDS, Board, Failure, Totals
from storage.telemetry.monitor import Counts, Monitor, Ring, by_operation, series
from storage.telemetry.trends import FILE, DriveHour, Trends, estimate

NOW = 1_787_000_000.0


def failure(number: int, **changes: object) -> Failure:
    texts = {"request_id": f"id-{number}", "operation": "GetObject", "bucket": "b", "key": "k"}
    return Failure(number, 500, 1500, **{**texts, **changes})  # type: ignore[arg-type]


# -- counters ----------------------------------------------------------------------------------


def test_steps_hold_what_was_added() -> None:
    board = Board()
    record = board.slot(0).recorder()
    ring = Ring()
    record("GetObject", 200, 0, 100, 0.002)
    ring.take(board.totals(), NOW)  # what was before is of no time
    record("GetObject", 200, 0, 10, 0.002)
    record("PutObject", 503, 7, 0, 0.02)
    ring.take(board.totals(), NOW + 10)
    ring.take(board.totals(), NOW + 20)
    steps = ring.steps(60, NOW + 20)
    assert [(step.start, step.seconds, sorted(step.rows)) for step in steps] == [
        (NOW, 10, ["GetObject", "PutObject"]),
        (NOW + 10, 10, []),
    ]
    table = by_operation(steps)
    assert (table["GetObject"].requests, table["GetObject"].bytes_out) == (1, 10)
    assert (table["PutObject"].server_errors, table["PutObject"].bytes_in) == (1, 7)
    ((whole, counts),) = series(steps, 1)
    assert (whole.start, whole.seconds, counts.requests) == (NOW, 20, 2)
    assert [counts.requests for _, counts in series(steps, 10, "GetObject")] == [1, 0]
    assert ring.steps(5, NOW + 20) == steps[1:]
    assert series([], 10) == []


def test_an_hour_in_small_steps_and_a_day_in_large_ones() -> None:
    board = Board()
    record, ring = board.slot(0).recorder(), Ring()
    for step in range(2 * 360 + 1):
        ring.take(board.totals(), NOW + 10 * step)
        record("GetObject", 200, 0, 1, 0.001)
    end = NOW + 7200
    assert len(ring.steps(3600, end)) == 360
    day = ring.steps(86400, end)
    assert sum(step.rows["GetObject"][0] for step in day) == 720
    assert 24 <= len(day) <= 25
    assert abs(sum(step.seconds for step in day) - 7200) < 1


def test_counters_that_began_anew_are_not_negative() -> None:
    first, second, ring = Board(), Board(), Ring()
    record = first.slot(0).recorder()
    for _ in range(5):
        record("GetObject", 200, 0, 1, 0.001)
    ring.take(first.totals(), NOW)
    second.slot(0).recorder()("GetObject", 200, 0, 1, 0.001)
    ring.take(second.totals(), NOW + 10)
    assert ring.steps(60, NOW + 10)[0].rows["GetObject"][0] == 1


def test_percentiles() -> None:
    assert Counts().percentile(0.5) == 0
    counts = Counts(histogram=[0] * (len(BOUNDS) + 1))
    counts.histogram[2] = 100  # 2.5 to 5 ms
    assert counts.percentile(0.5) == pytest.approx(0.00375)
    assert counts.percentile(1) == pytest.approx(0.005)
    counts.histogram[-1] = 900
    assert counts.percentile(0.99) == BOUNDS[-1]


@given(st.lists(st.integers(0, 50), min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1))
def test_percentiles_never_fall(histogram: list[int]) -> None:
    counts = Counts(histogram=histogram)
    found = [counts.percentile(share / 100) for share in range(1, 101)]
    assert found == sorted(found)
    assert all(0 <= each <= BOUNDS[-1] for each in found)


# -- the last errors -----------------------------------------------------------------------------


def test_the_last_errors_are_remembered() -> None:
    board = Board()
    slot = board.slot(0)
    assert board.failures() == []
    for number in range(1, 101):
        slot.note_failure(failure(number))
    found = board.failures()
    assert [each.time for each in found] == list(range(100, 36, -1))
    assert found[0] == failure(100)


@given(st.text(max_size=2000), st.text(max_size=2000))
def test_any_text_may_have_failed(bucket: str, key: str) -> None:
    board = Board()
    board.slot(0).note_failure(failure(1, bucket=bucket, key=key))
    (found,) = board.failures()
    assert found.request_id == "id-1"
    assert len(found.key.encode()) <= 336 + 9
    sound = key.encode("utf-8", "replace").decode()
    if len(sound.encode()) <= 336 and not sound.endswith("\0"):
        assert found.key == sound


def test_requests_in_flight_by_worker() -> None:
    board = Board()
    board.slot(0).set_in_flight(3)
    assert board.in_flight() == [3]


# -- growth --------------------------------------------------------------------------------------


def test_trends_keep_the_last_look_of_a_day(tmp_path: Path) -> None:
    trends = Trends(str(tmp_path))
    assert trends.buckets([7], 0) == []
    for hour in range(30):
        trends.record(NOW + 3600 * hour, [(7, hour, 10 * hour), (8, 1, 1)], 1000, 900 - hour)
    days = trends.buckets([7], 0)
    assert [(each.bucket, each.bytes) for each in days] == [(7, 30), (7, 270), (7, 290)]
    assert len(trends.buckets([8, 7], days[-1].day)) == 2
    assert len(trends.drives(0)) == 30
    later = NOW + 500 * 86400
    trends.record(later, [(9, 1, 1)], 1000, 1)
    assert [each.bucket for each in trends.buckets([7, 8, 9], 0)] == [9]
    assert len(trends.drives(0)) == 1
    trends.close()


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    trends = Trends(str(tmp_path))
    (tmp_path / FILE).write_bytes(b"no database at all" * 500)
    assert trends.buckets([7], 0) == []
    with pytest.raises(OSError, match="made anew"):
        trends.record(NOW, [(7, 1, 1)], 10, 5)
    trends.record(NOW, [(7, 1, 1)], 10, 5)
    assert len(trends.buckets([7], 0)) == 1
    trends.close()


def test_what_passes_discards_nothing(tmp_path: Path) -> None:
    trends = Trends(str(tmp_path))
    trends.record(NOW, [(7, 1, 1)], 10, 5)
    assert trends._connection is not None
    trends._connection.set_busy_timeout(0)
    other = apsw.Connection(str(tmp_path / FILE))
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OSError, match="locked"):
        trends.record(NOW, [(7, 2, 2)], 10, 5)
    other.close()
    assert [each.bytes for each in trends.buckets([7], 0)] == [1]
    trends.close()


def test_a_file_of_another_layout_begins_anew(tmp_path: Path) -> None:
    former = apsw.Connection(str(tmp_path / FILE))
    former.execute("CREATE TABLE buckets (day, bucket TEXT, objects, bytes)")
    former.close()
    trends = Trends(str(tmp_path))
    trends.record(NOW, [(7, 1, 1)], 10, 5)
    assert len(trends.buckets([7], 0)) == 1
    trends.close()


@pytest.mark.anyio
async def test_sampling_outlives_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A board that can't be read for a while costs samples, not the sampler."""
    board, engine = Board(), MemoryEngine()
    watching = Monitor(engine, board, Trends(str(tmp_path)))
    monkeypatch.setattr(monitor, "STEP", 0.001)
    whole, taken = board.totals, asyncio.Event()
    answers: list[Any] = [ValueError("a name that is no text")] * 3

    def totals() -> Totals:
        if answers:
            raise answers.pop()
        taken.set()
        return whole()

    monkeypatch.setattr(board, "totals", totals)
    watching.start()
    await asyncio.wait_for(taken.wait(), 60)
    await watching.close()
    assert [each.getMessage() for each in caplog.records] == ["requests were not sampled"]


def test_growth_is_a_line() -> None:
    first = int(NOW // 3600)
    hours = [DriveHour(first + n, 1000, 900 - 10 * n) for n in range(25)]
    growth = estimate(hours, NOW)
    assert growth is not None
    assert growth.bytes_per_day == pytest.approx(240)
    assert growth.full == pytest.approx(NOW + (900 - 240) / 240 * 86400)
    assert estimate(hours[:5], NOW) is None
    assert estimate([], NOW) is None
    shrinking = estimate([each._replace(free=100 + n) for n, each in enumerate(hours)], NOW)
    assert shrinking is not None
    assert shrinking.full is None
    still = estimate([each._replace(free=100) for each in hours], NOW)
    assert still is not None
    assert (still.bytes_per_day, still.full) == (0, None)
