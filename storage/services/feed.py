"""Following the change feed with a durable cursor, and keeping what followers still need.

A follower hears of every change at least once, in commit order, and goes on where it stopped,
also after a crash. It has no queue: the log is the queue. Footers of compacted segments wait for
followers, but only so long (``Config.feed_retention``); then a follower is *lost*, visibly, and
must begin anew from a listing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence

from storage.engine.embedded import io, segment
from storage.engine.embedded.compaction import index_reader
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.interface import FeedEvent, PutSystem, SetCursor

#: Kind of the system records that name lost followers; the value is the first seq they can have.
LOST = "feed-lost"


class Follower:
    """One consumer of the feed. ``name`` is unique and stays the same."""

    def __init__(self, engine: EmbeddedEngine, name: str) -> None:
        self._engine = engine
        self.name = name
        self._position: int | None = None

    async def begin(self) -> int:
        """The position, durable from now on: 0 for a new follower, which misses nothing later."""
        if self._position is None:
            self._position = (await self._engine.cursors()).get(self.name)
        if self._position is None:
            await self._advance(0)
        return self._position or 0

    async def step(
        self, handle: Callable[[Sequence[FeedEvent]], Awaitable[None]], limit: int = 1000
    ) -> int:
        """Hand the next events to ``handle`` and remember that it returned; their number.

        If ``handle`` raises, or the process dies, the same events come again.
        """
        events = await self._engine.changes(await self.begin(), limit)
        if events:
            await handle(events)
            await self._advance(events[-1].seq)
        return len(events)

    async def is_lost(self) -> bool:
        """Whether events were given up that this follower had not seen."""
        return await self._engine.system_record(LOST, self.name) is not None

    async def restart(self, position: int) -> None:
        """Go on at ``position``, whose state was taken from a listing."""
        await self._advance(position)
        if await self.is_lost():
            await self._engine.commit(PutSystem(LOST, self.name, None))

    async def _advance(self, position: int) -> None:
        await self._engine.commit(SetCursor(self.name, position))
        self._position = position


async def drop_footers(engine: EmbeddedEngine) -> int:
    """Remove footers that every follower has passed, or that are too old; their number."""
    with index_reader(engine) as reader:
        cursors = reader.cursors()
    folder = engine.drive.segments
    dropped = 0
    for number in segment.listing(folder, ".foot"):
        path = os.path.join(folder, segment.foot_name(number))
        last = _last_seq(path)
        behind = [name for name, position in cursors.items() if position < last]
        if behind and time.time() - _modified(path) < engine.config.feed_retention:
            continue
        for name in behind:
            await engine.commit(PutSystem(LOST, name, str(last + 1).encode()))
        io.unlink(path)
        dropped += 1
    return dropped


def _modified(path: str) -> float:
    return os.stat(path).st_mtime


def _last_seq(path: str) -> int:
    with open(path, "rb") as file:
        fd = file.fileno()
        summary = segment.read_trailer(fd, segment.open_header(fd, path))
    return summary.max_seq if summary else 0
