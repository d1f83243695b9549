"""Carrying out lifecycle rules: what is due (``storage.lifecycle.due``) is deleted in batches.

Whatever stops a run, the next one goes on where it ended: it finds exactly what is left.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from storage import errors, lifecycle
from storage.engine import interface as i
from storage.lifecycle import Clock
from storage.lifecycle.due import (
    ABORT,
    EXPIRE,
    MARKER,
    NONCURRENT,
    Due,
    Tally,
    count,
    due,
)

#: Deletions that are under way at once: so much may stand before a client's change.
BATCH = 64
_logger = logging.getLogger("oversight.lifecycle")
#: What is counted of each kind.
_COUNTED = {EXPIRE: "objects", NONCURRENT: "versions", MARKER: "markers", ABORT: "uploads"}


class Lifecycle:
    """Carries out the rules of all buckets of a store."""

    def __init__(
        self,
        engine: i.Engine,
        day: int = lifecycle.DAY_SECONDS,
        *,
        before: i.Expiry | None = None,
        tell: Callable[[i.Expiry], None] | None = None,
    ) -> None:
        """``day``: its length in seconds. ``tell`` is given the figures whenever they change,
        which go on from those of ``before``."""
        self._engine = engine
        self._day = day
        self._figures = before or i.Expiry()
        self._tell = tell

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
        clock = Clock(_now(), self._day)
        began = time.monotonic()
        buckets = [b for b in await self._engine.buckets() if lifecycle.DOCUMENT in b.config]
        self._note(started=clock.now)
        await self._look(buckets, clock)
        for bucket in buckets:
            tallies += await self._run_bucket(bucket, clock)
        # What was deleted meanwhile by others is nobody's backlog.
        self._note(
            runs=self._figures.runs + 1,
            finished=_now(),
            duration=int((time.monotonic() - began) * 1000),
            backlog=0,
            backlog_bytes=0,
        )
        return tallies

    async def _look(self, buckets: list[i.Bucket], clock: Clock) -> None:
        """Count what is ahead, so that a run of hours shows how far it has come."""
        number = size = 0
        for bucket in buckets:
            async for found in due(self._engine, bucket, clock):
                number += 1
                size += found.size
        self._note(backlog=number, backlog_bytes=size)

    def _note(self, **changes: int) -> None:
        self._figures = msgspec.structs.replace(self._figures, **changes)
        if self._tell is not None:
            self._tell(self._figures)

    def _note_gone(self, gone: list[Due]) -> None:
        """Count what went, and take it off the backlog."""
        figures = self._figures
        size = sum(found.size for found in gone)
        changes = {
            "bytes": figures.bytes + size,
            "backlog": max(0, figures.backlog - len(gone)),
            "backlog_bytes": max(0, figures.backlog_bytes - size),
        }
        for found in gone:
            name = _COUNTED[found.kind]
            changes[name] = changes.get(name, getattr(figures, name)) + 1
        self._note(**changes)

    async def _run_bucket(self, listed: i.Bucket, clock: Clock) -> list[Tally]:
        """Carry out the rules as they are now; where they change meanwhile the next run does."""
        bucket = await self._engine.bucket(listed.name)
        if bucket is None or lifecycle.DOCUMENT not in bucket.config:
            return []
        tallies: dict[tuple[str, str], Tally] = {}
        batch: list[Due] = []
        changed = False
        async for found in due(self._engine, bucket, clock):
            batch.append(found)
            if len(batch) == BATCH:
                changed = await self._has_changed(bucket)
                if changed:
                    break
                await self._carry_out(bucket, batch, tallies)
                batch = []
        if batch and not changed and not await self._has_changed(bucket):
            await self._carry_out(bucket, batch, tallies)
        for tally in tallies.values():
            _logger.info(
                "bucket %s, rule %s: %d gone (%s), %d bytes",
                tally.bucket, tally.rule, tally.count, tally.kind, tally.bytes,
            )  # fmt: skip
        return list(tallies.values())

    async def _has_changed(self, bucket: i.Bucket) -> bool:
        """Whether what would be deleted is no longer what is to be."""
        now = await self._engine.bucket(bucket.name)
        return (
            now is None
            or now.id != bucket.id
            or any(
                now.config.get(name) != bucket.config.get(name)
                for name in (lifecycle.DOCUMENT, i.VERSIONING)
            )
        )

    async def _carry_out(
        self, bucket: i.Bucket, batch: list[Due], tallies: dict[tuple[str, str], Tally]
    ) -> None:
        began = time.monotonic()
        outcomes = await asyncio.gather(
            *(self._engine.commit(found.change) for found in batch), return_exceptions=True
        )
        gone: list[Due] = []
        failure: BaseException | None = None
        for found, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, i.Committed) and not outcome.existed:
                continue  # it was replaced meanwhile
            if isinstance(outcome, errors.NoSuchUpload | errors.NoSuchBucket):
                continue
            if isinstance(outcome, BaseException):
                failure = failure or outcome
                continue
            count(tallies, bucket, found)
            gone.append(found)
        self._note_gone(gone)
        if failure is not None:
            raise failure
        # Never busy for more than half of the time: clients come first.
        await asyncio.sleep(time.monotonic() - began)


def _now() -> int:
    return time.time_ns() // 1_000_000
