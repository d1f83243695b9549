"""Watching a store for its console: what the counters did over the last hour and day.

One process samples the counters of all workers every ten seconds. An hour is kept in such steps, a
day in steps of five minutes; older steps fall out. What has to outlive the process is ``trends``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from array import array
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from storage import errors
from storage.engine.interface import Engine
from storage.telemetry.board import BOUNDS, Board, Row, Totals
from storage.telemetry.trends import Trends

STEP, LONG_STEP = 10.0, 300.0
HOUR, DAY = 3600, 86400
#: Seconds between two looks at buckets and drives.
TREND_SECONDS = 600.0
_logger = logging.getLogger("oversight.monitor")


class Counts(msgspec.Struct):
    """What happened in a while. ``histogram`` counts durations by ``board.BOUNDS``."""

    requests: int = 0
    client_errors: int = 0
    server_errors: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    microseconds: int = 0
    histogram: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, values: Sequence[int]) -> None:
        """Add what ``_values`` made of a row."""
        self.requests += values[0]
        self.client_errors += values[1]
        self.server_errors += values[2]
        self.bytes_in += values[3]
        self.bytes_out += values[4]
        self.microseconds += values[5]
        for place, count in enumerate(values[6:]):
            self.histogram[place] += count

    def percentile(self, share: float) -> float:
        """Seconds within which that share of the answers was given; 0 without any.

        Within a bucket of the histogram, answers are taken to lie evenly; beyond the last
        bound that bound is all that is known.
        """
        total = sum(self.histogram)
        wanted, below, low = share * total, 0, 0.0
        for bound, count in zip(BOUNDS, self.histogram, strict=False):
            if count and below + count >= wanted:
                return low + (bound - low) * (wanted - below) / count
            below += count
            low = bound
        return BOUNDS[-1] if total else 0.0


class Step(msgspec.Struct):
    """What was counted in [start, start + seconds), by operation. ``start`` since 1970."""

    start: float
    seconds: float
    rows: dict[str, array[int]]


class Ring:
    """The steps of the last hour and of the last day."""

    def __init__(self) -> None:
        self._fine: deque[Step] = deque(maxlen=int(HOUR / STEP))
        self._coarse: deque[Step] = deque(maxlen=int(DAY / LONG_STEP))
        self._last: dict[str, array[int]] | None = None
        self._at = 0.0

    def take(self, totals: Totals, now: float) -> None:
        """Enter what the counters show at ``now`` (seconds since 1970)."""
        counted = {row.operation: _values(row) for row in totals.rows.values()}
        last, began = self._last, self._at
        self._last, self._at = counted, now
        if last is None or now <= began:
            return
        rows = {}
        for operation, values in counted.items():
            before = last.get(operation)
            change = values if before is None else _difference(values, before)
            if change[0]:
                rows[operation] = change
        step = Step(began, now - began, rows)
        self._fine.append(step)
        self._lengthen(step)

    def _lengthen(self, step: Step) -> None:
        """Add a step to the long one that it belongs to."""
        long = self._coarse[-1] if self._coarse else None
        if long is None or long.start // LONG_STEP != step.start // LONG_STEP:
            long = Step(step.start, 0.0, {})
            self._coarse.append(long)
        long.seconds += step.seconds
        for operation, values in step.rows.items():
            known = long.rows.get(operation)
            if known is None:
                long.rows[operation] = array("Q", values)
            else:
                for place, value in enumerate(values):
                    known[place] += value

    def steps(self, span: float, now: float) -> list[Step]:
        """The steps of the last ``span`` seconds, oldest first."""
        steps = self._fine if span <= HOUR else self._coarse
        return [step for step in steps if step.start + step.seconds > now - span]


def series(steps: Iterable[Step], points: int, operation: str = "") -> list[tuple[Step, Counts]]:
    """At most ``points`` points: (a step that stands for several, what was counted in them)."""
    steps = list(steps)
    size = -(-len(steps) // points) if steps else 1
    found = []
    for at in range(0, len(steps), size):
        group = steps[at : at + size]
        counts = Counts()
        for step in group:
            for name, values in step.rows.items():
                if not operation or name == operation:
                    counts.add(values)
        end = group[-1].start + group[-1].seconds
        found.append((Step(group[0].start, end - group[0].start, {}), counts))
    return found


def by_operation(steps: Iterable[Step]) -> dict[str, Counts]:
    """What was counted, by operation."""
    found: dict[str, Counts] = {}
    for step in steps:
        for name, values in step.rows.items():
            found.setdefault(name, Counts()).add(values)
    return found


class Monitor:
    """Samples one store until it is closed."""

    def __init__(self, engine: Engine, board: Board, trends: Trends, supervisor: int = 0) -> None:
        """``supervisor``: the root of the store's process tree; 0: this process is alone."""
        self.board = board
        self.root = supervisor or os.getpid()
        self.trends = trends
        self.ring = Ring()
        self._engine = engine
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; returns at once."""
        self._tasks = [
            asyncio.create_task(self._sample(), name="sample"),
            asyncio.create_task(self._watch(), name="watch"),
        ]

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.trends.close()

    async def _sample(self) -> None:
        failing = False
        while True:
            try:
                self.ring.take(self.board.totals(), time.time())
                failing = False
            except Exception:
                # One sample that fails must not be the last one.
                if not failing:
                    _logger.exception("requests were not sampled")
                failing = True
            await asyncio.sleep(STEP)

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except (errors.StoreError, OSError) as error:
                _logger.warning("the growth of buckets is not recorded: %s", error)
            except Exception:
                _logger.exception("the growth of buckets is not recorded")
            await asyncio.sleep(TREND_SECONDS)

    async def look(self) -> None:
        """Enter how large buckets and drives are now. Raises Unavailable and its like."""
        usages = []
        for bucket in await self._engine.buckets():
            with contextlib.suppress(errors.NoSuchBucket):
                usage = await self._engine.usage(bucket.id)
                usages.append((bucket.id, usage.objects, usage.bytes))
            await asyncio.sleep(0)
        space = await self._engine.space()
        await asyncio.to_thread(self.trends.record, time.time(), usages, space.total, space.free)


def _values(row: Row) -> array[int]:
    return array(
        "Q",
        (row.requests, row.client_errors, row.server_errors, row.bytes_in, row.bytes_out,
         row.microseconds, *row.histogram),
    )  # fmt: skip


def _difference(values: array[int], before: array[int]) -> array[int]:
    """What was added; everything, if the counters began anew."""
    if values[0] < before[0]:
        return values
    return array("Q", (max(0, a - b) for a, b in zip(values, before, strict=True)))
