"""Keeping the index of Langfuse's objects: a consumer of the change feed.

It first takes stock: lists what is under Langfuse's prefixes, and enters each object. From then on
it follows the feed from where it was when the stocktaking began. Every change is taken as "look at
this key again", so that nothing depends on how often or in which order changes are heard. Whatever
stops it, it goes on where the index's last transaction left it; where the index is damaged, of
another layout, or the feed was cut off behind it, it is made anew.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence

from storage import errors
from storage.config import Config
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.interface import FeedEvent, Following, SetCursor, Version
from storage.langfuse import bodies
from storage.langfuse.apart import understood_apart
from storage.langfuse.bodies import DAMAGED, LARGE, SOUND
from storage.langfuse.index import Change, Found, Progress, Unusable, Writer
from storage.langfuse.index import remove as remove_index
from storage.langfuse.keys import EVENTS, Layout, Place, layout
from storage.services.feed import Follower

NAME = "langfuse-index"
OFF, STOCKTAKING, FOLLOWING = range(3)
#: Objects that are entered in one transaction, and events of the feed that are read at once.
BATCH = 100
#: Share of the time that it may work: clients come first, all the more where they are many ...
SHARE = 0.25
SHARE_BUSY = 0.03
#: ... but being behind counts too: the share doubles with so many seconds of it, up to the most.
#: Otherwise a store that is always busy would leave it behind until the feed is cut off.
DOUBLING = 30.0
SHARE_MAX = 0.6
#: The most where requests are served from the same event loop.
SHARE_MAX_LOCAL = 0.3
#: Changes a second from which on the store counts as busy.
BUSY = 200
#: Rates are measured over so many seconds.
_RATE_SECONDS = 1.0
#: The cursor of one who needs no events: nothing is kept for it.
_NEVER_BEHIND = (1 << 62) - 1
_CURSOR_SECONDS = 5.0
_PAUSE = 5.0
#: Rests between two rebuilds double up to this, until one of them was of use.
_PAUSE_MAX = 600.0
#: Bodies from which on a thread decodes them ...
_THREAD_BYTES = 64 << 10
#: ... and, where requests are served from this process, another process.
_APART_BYTES = 256 << 10
_logger = logging.getLogger("oversight.langfuse")


class Budget:
    """Which share of the time may be worked: little while the store is busy, more the further the
    work is behind, everything there is before the feed is cut off behind it."""

    def __init__(self, most: float, retention: float) -> None:
        """``most``: share that is never exceeded, but for half of ``retention`` (seconds for which
        the feed is kept) behind."""
        self._most = most
        self._retention = retention
        self._seen: tuple[int, float] | None = None
        self._busy = False

    def see(self, seq: int, now: float) -> None:
        """The store's last change is ``seq``; ``now`` is any clock that runs evenly."""
        if self._seen is None:
            self._seen = seq, now
        before, at = self._seen
        if now - at >= _RATE_SECONDS:
            self._busy = seq - before > BUSY * (now - at)
            self._seen = seq, now

    def share(self, lag: float) -> float:
        """The share (0 to 1) for who is ``lag`` seconds behind."""
        if lag > self._retention / 2:
            return 1.0
        share = SHARE_BUSY if self._busy else SHARE
        return min(self._most, share * math.exp2(min(lag / DOUBLING, 16)))


def layout_of(config: Config) -> Layout:
    """Where Langfuse keeps what it keeps, by the settings."""
    return layout(config.langfuse_events, config.langfuse_media, config.langfuse_exports)


class LangfuseIndex:
    """Keeps the index of one store. ``tell`` hears how far it is."""

    def __init__(
        self,
        engine: EmbeddedEngine,
        layout: Layout,
        tell: Callable[[Following], None] = lambda following: None,
        *,
        budget: Budget | None = None,
    ) -> None:
        self._engine = engine
        self._layout = layout
        self._tell = tell
        most = SHARE_MAX_LOCAL if engine.is_local else SHARE_MAX
        self._budget = budget or Budget(most, engine.config.feed_retention)
        self._folder = engine.drive.root
        self._fingerprint = f"{engine.drive.store_id} {layout}"
        self._follower = Follower(engine, NAME)
        self._writer: Writer | None = None
        self._cursor = -1
        self._cursor_at = 0.0
        self._heard = 0
        self._rebuilds = 0

    async def run(self) -> None:
        """Do all there is to do. Can be cancelled anywhere. Raises Unavailable and its like."""
        try:
            writer = self._writer or await self._open()
            writer.check()
            if not writer.progress.complete:
                # What happens from here on waits until everything was looked at.
                self._heard = self._heard or time.time_ns() // 1_000_000
                await self._take_stock(writer)
            await self._follow(writer)
        except Unusable as error:
            _logger.warning("the index of Langfuse's objects is made anew: %s", error or "damaged")
            await self._abandon()
            pause = min(_PAUSE * 2 ** min(self._rebuilds, 16), _PAUSE_MAX)
            self._rebuilds += 1
            await asyncio.sleep(pause)
        except OSError as error:
            _logger.error("the index of Langfuse's objects waits: %s", error)
            await asyncio.sleep(_PAUSE)

    async def switch_off(self) -> None:
        """Throw the index away and let nothing wait for it."""
        self._tell(Following())
        await asyncio.to_thread(remove_index, self._folder)
        if (await self._engine.cursors()).get(NAME, _NEVER_BEHIND) != _NEVER_BEHIND:
            await self._follower.restart(_NEVER_BEHIND)

    def close(self) -> None:
        """Close the file, after the batch at hand."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # -- beginning ------------------------------------------------------------------------------

    async def _open(self) -> Writer:
        """The index as it was left, or an empty one."""
        try:
            writer = await asyncio.to_thread(Writer, self._folder, self._fingerprint)
            cursor = (await self._engine.cursors()).get(NAME, -1)
            position = writer.progress.position
            self._cursor = cursor
            # Older than what others were told, or newer than the store: of another time.
            if cursor > position or position > self._engine.board.applied_seq or (
                await self._follower.is_lost()
            ):  # fmt: skip
                writer.close()
                raise Unusable
        except Unusable:
            writer = await self._create()
        self._writer = writer
        return writer

    async def _create(self) -> Writer:
        position = self._engine.board.applied_seq
        await self._follower.restart(position)
        self._cursor = position
        progress = Progress(position=position, total=await self._estimate())
        _logger.info("taking stock of Langfuse's objects")
        return await asyncio.to_thread(Writer.create, self._folder, self._fingerprint, progress)

    async def _abandon(self) -> None:
        self._tell(Following(state=STOCKTAKING))
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        await asyncio.to_thread(remove_index, self._folder)

    async def _estimate(self) -> int:
        """At most so many objects there are."""
        total = 0
        for name in {root.bucket for root in self._layout.roots}:
            bucket = await self._engine.bucket(name)
            if bucket is not None:
                total += (await self._engine.usage(bucket.id)).objects
        return total

    # -- taking stock ---------------------------------------------------------------------------

    async def _take_stock(self, writer: Writer) -> None:
        roots = self._layout.roots
        while writer.progress.root < len(roots):
            began = time.monotonic()
            progress = writer.progress
            root = roots[progress.root]
            bucket = await self._engine.bucket(root.bucket)
            keys: list[str] = []
            after = None
            if bucket is not None:
                page = await self._engine.list_objects(
                    bucket.id, prefix=root.prefix, after=progress.after, limit=BATCH
                )
                keys = [entry.key for entry in page.entries]
                after = page.next_after
            changes, left = await self._look_at((root.bucket, key) for key in keys)
            advanced = progress._replace(
                root=progress.root + (after is None),
                after=after or "",
                done=progress.done + len(keys),
            )
            await self._apply(writer, changes, advanced)
            await self._rest(began + left)
        complete = writer.progress._replace(complete=True)
        await self._apply(writer, [], complete)
        _logger.info("taking stock of Langfuse's objects is done: %d", complete.done)

    # -- following ------------------------------------------------------------------------------

    async def _follow(self, writer: Writer) -> None:
        if await self._follower.is_lost():
            raise Unusable("changes were given up that it had not heard of")
        while True:
            began = time.monotonic()
            position = writer.progress.position
            events = await self._engine.changes(position, BATCH)
            if not events:
                break
            changes, left = await self._look_at(self._concerned(events))
            ahead = writer.progress._replace(position=events[-1].seq)
            self._heard = max((event.modified for event in events), default=0) or self._heard
            if changes:
                await self._apply(writer, changes, ahead)
            else:
                writer.progress = ahead  # kept with the next change
            await self._keep_cursor(writer)
            await self._rest(began + left)
        await self._keep_cursor(writer)
        self._rebuilds = 0
        self._heard = time.time_ns() // 1_000_000
        self._publish(writer, behind=0)

    def _concerned(self, events: Sequence[FeedEvent]) -> dict[tuple[str, str], None]:
        """Keys to be looked at, each once."""
        roots = self._layout.roots
        return {
            (event.bucket, event.key): None
            for event in events
            # An amendment changes tags and lists, which the index does not hold.
            if event.key and event.kind != "amend"
            and any(event.bucket == r.bucket and event.key.startswith(r.prefix) for r in roots)
        }  # fmt: skip

    async def _keep_cursor(self, writer: Writer) -> None:
        """Tell the engine what is no longer needed. Of what is in the index, never more."""
        position, now = writer.progress.position, time.monotonic()
        if position > self._cursor and now - self._cursor_at > _CURSOR_SECONDS:
            self._cursor_at = now
            await asyncio.to_thread(writer.apply, (), writer.progress)
            await self._engine.commit(SetCursor(NAME, position))
            self._cursor = position

    async def _rest(self, began: float) -> None:
        """Leave the processor to others after a batch that ``began`` then."""
        now = time.monotonic()
        self._budget.see(self._engine.board.applied_seq, now)
        share = self._budget.share(self._lag())
        await asyncio.sleep((now - began) * (1 / share - 1))

    def _lag(self) -> float:
        """Seconds that it is behind."""
        return Following(heard=self._heard).lag(time.time())

    # -- one object -----------------------------------------------------------------------------

    async def _look_at(self, places: Iterable[tuple[str, str]]) -> tuple[list[Change], float]:
        """What is under each (bucket, key) now, and the seconds that were left to others."""
        changes, left = [], 0.0
        for bucket_name, key in places:
            changes.append(await self._look(bucket_name, key))
            paused = time.monotonic()
            await asyncio.sleep(0)  # the engine may answer without suspending
            left += time.monotonic() - paused
        return changes, left

    async def _look(self, bucket_name: str, key: str) -> Change:
        """What is under a key now."""
        place = self._layout.parse(bucket_name, key)
        bucket = None if place is None else await self._engine.bucket(bucket_name)
        version = None if bucket is None else await self._engine.lookup(bucket.id, key)
        if place is None or version is None or version.delete_marker:
            return Change(bucket_name, key, None)
        mentions, flaw = await self._read(place, version)
        found = Found(
            version.seq, version.modified, version.size, place.project, place.kind, mentions, flaw
        )
        return Change(bucket_name, key, found)

    async def _read(self, place: Place, version: Version) -> tuple[list[bodies.Mention], int]:
        """The traces that an object speaks of, and what is wrong with it."""
        if place.kind not in EVENTS:
            return [], SOUND
        large = version.size > bodies.BODY_BYTES_MAX
        try:
            body = await self._head(version, bodies.HEAD_BYTES if large else version.size)
        except errors.DataCorrupt:
            return bodies.search(place, b""), DAMAGED
        except errors.NoSuchKey:
            return [], SOUND  # it has just been replaced: that comes next
        if large:
            return bodies.searched(place, body), LARGE
        if len(body) < _THREAD_BYTES:
            return bodies.understood(place, body)
        if self._engine.is_local and len(body) > _APART_BYTES:
            return await asyncio.to_thread(understood_apart, place, body)
        return await asyncio.to_thread(bodies.understood, place, body)

    async def _head(self, version: Version, size: int) -> bytes | bytearray:
        if not version.files:
            return (await self._engine.read_inline(version))[:size]
        blocks = bytearray()
        async for block in self._engine.read(version, 0, min(size, version.size)):
            blocks += block
        return blocks

    async def _apply(self, writer: Writer, changes: Sequence[Change], progress: Progress) -> None:
        await asyncio.to_thread(writer.apply, changes, progress)
        self._publish(writer)

    def _publish(self, writer: Writer, behind: int | None = None) -> None:
        progress = writer.progress
        if behind is None:
            behind = max(0, self._engine.board.applied_seq - progress.position)
        self._tell(
            Following(
                state=FOLLOWING if progress.complete else STOCKTAKING,
                position=progress.position,
                done=progress.done,
                total=max(progress.total, progress.done),
                objects=writer.objects,
                flawed=writer.flawed,
                heard=self._heard,
                behind=behind,
                share=int(1000 * self._budget.share(self._lag())),
            )
        )
