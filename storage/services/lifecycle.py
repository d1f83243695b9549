"""Carrying out lifecycle rules: what is due (``storage.lifecycle.due``) is deleted in batches.

Whatever stops a run, the next one goes on where it ended: it finds exactly what is left.
"""

from __future__ import annotations

import asyncio
import logging
import time

from storage import errors, lifecycle
from storage.engine import interface as i
from storage.lifecycle import Clock
from storage.lifecycle.due import Due, Tally, count, due

#: Deletions that are under way at once: so much may stand before a client's change.
BATCH = 64
_logger = logging.getLogger("oversight.lifecycle")


class Lifecycle:
    """Carries out the rules of all buckets of a store."""

    def __init__(self, engine: i.Engine, day: int = lifecycle.DAY_SECONDS) -> None:
        """``day``: its length in seconds."""
        self._engine = engine
        self._day = day

    @property
    def interval(self) -> float:
        """Seconds between two runs: an hour of the day as it is."""
        return max(1.0, self._day / 24)

    async def run(self) -> list[Tally]:
        """Delete whatever is due now; what went, by bucket, rule and kind.

        Raises Unavailable and its like; the next run goes on.
        """
        tallies: list[Tally] = []
        if (await self._engine.health()).clock_suspect:
            _logger.error("lifecycle rules wait: the clock is more than a day off the last change")
            return tallies
        for bucket in await self._engine.buckets():
            if lifecycle.DOCUMENT in bucket.config:
                tallies += await self._run_bucket(bucket)
        return tallies

    async def _run_bucket(self, bucket: i.Bucket) -> list[Tally]:
        clock = Clock(time.time_ns() // 1_000_000, self._day)
        tallies: dict[tuple[str, str], Tally] = {}
        batch: list[Due] = []
        async for found in due(self._engine, bucket, clock):
            batch.append(found)
            if len(batch) == BATCH:
                await self._carry_out(bucket, batch, tallies)
                batch = []
        await self._carry_out(bucket, batch, tallies)
        for tally in tallies.values():
            _logger.info(
                "bucket %s, rule %s: %d gone (%s), %d bytes",
                tally.bucket, tally.rule, tally.count, tally.kind, tally.bytes,
            )  # fmt: skip
        return list(tallies.values())

    async def _carry_out(
        self, bucket: i.Bucket, batch: list[Due], tallies: dict[tuple[str, str], Tally]
    ) -> None:
        began = time.monotonic()
        outcomes = await asyncio.gather(
            *(self._engine.commit(found.change) for found in batch), return_exceptions=True
        )
        for found, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, i.Committed) and not outcome.existed:
                continue  # it was replaced meanwhile
            if isinstance(outcome, errors.NoSuchUpload | errors.NoSuchBucket):
                continue
            if isinstance(outcome, BaseException):
                raise outcome
            count(tallies, bucket, found)
        # Never busy for more than half of the time: clients come first.
        await asyncio.sleep(time.monotonic() - began)
