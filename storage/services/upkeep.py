"""The timers of a store: checkpoints, garbage, compaction, leftovers, footers, scrub, indexes.

One process of a server runs them (``Upkeep.start``), or the only one there is. They are clients
of the engine like any other: the committer may restart under them, and whatever they do may be
interrupted anywhere and done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable

import apsw

from storage import errors
from storage.engine.embedded import index, pin
from storage.engine.embedded.compaction import Compactor
from storage.engine.embedded.engine import EmbeddedEngine
from storage.services.collection import Collector
from storage.services.feed import drop_footers
from storage.services.langfuse_index import LangfuseIndex, layout_of
from storage.services.lifecycle import Lifecycle
from storage.services.scrubbing import Scrubber

#: Bytes of write-ahead log from which on it is worth to be moved into the index.
WAL_MAX = 8 << 20
_CHECKPOINT_SECONDS = 1.0
_GARBAGE_SECONDS = 5.0
_COMPACTION_SECONDS = 5.0
_LEFTOVER_SECONDS = 60.0
_FOOTER_SECONDS = 60.0
_SCRUB_SECONDS = 60.0
_LANGFUSE_SECONDS = 1.0
_logger = logging.getLogger("oversight.services")


class Upkeep:
    """Everything that is done to a store in the background."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine
        self._compactor = Compactor(engine)
        self._collector = Collector(engine)
        self._scrubber: Scrubber | None = None
        board = engine.board
        self._lifecycle = Lifecycle(
            engine,
            engine.config.lifecycle_day,
            before=board.expiry,
            tell=lambda expiry: setattr(board, "expiry", expiry),
        )
        self._langfuse = LangfuseIndex(
            engine, layout_of(engine.config), lambda found: setattr(board, "langfuse", found)
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._seen = self._moved = 0
        self._switched_off = False

    def start(self) -> None:
        """Begin; returns at once. The engine must stay open until ``close`` has returned."""
        for work, seconds in (
            (self._checkpoint, _CHECKPOINT_SECONDS),
            (self._collect_garbage, _GARBAGE_SECONDS),
            (self._compact, _COMPACTION_SECONDS),
            (self._collect_leftovers, _LEFTOVER_SECONDS),
            (self._drop_footers, _FOOTER_SECONDS),
            (self._expire, self._lifecycle.interval),
            (self._scrub, _SCRUB_SECONDS),
            (self._index_langfuse, _LANGFUSE_SECONDS),
        ):
            self._tasks.append(asyncio.create_task(_every(seconds, work), name=work.__name__))

    async def close(self) -> None:
        """Stop, wherever the work is; what was begun is done again at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._langfuse.close()

    async def _checkpoint(self) -> None:
        """Move the index's write-ahead log once nothing is written.

        While something is, the committer sees to it (``checkpoint.Checkpointer``): two would sync
        the same drive twice, and move pages that change again twice.
        """
        seq, before = self._engine.board.applied_seq, self._seen
        self._seen = seq
        if seq == before and seq != self._moved:
            loop = asyncio.get_running_loop()
            if await loop.run_in_executor(None, checkpoint, self._engine.drive.index):
                self._moved = seq

    async def _collect_garbage(self) -> None:
        with pin.removing(self._engine.drive) as allowed:
            if allowed:
                await self._collector.collect_garbage()

    async def _compact(self) -> None:
        for number in await self._compactor.candidates():
            with pin.removing(self._engine.drive) as allowed:
                done = await self._compactor.attempt(number) if allowed else None
            if done is not None:
                _logger.info(
                    "segment %x is gone: %d records moved, %d bytes came back",
                    done.segment,
                    done.moved,
                    done.freed,
                )

    async def _collect_leftovers(self) -> None:
        with pin.removing(self._engine.drive) as allowed:
            removed = await self._collector.collect_leftovers() if allowed else 0
        if removed:
            _logger.info("%d files that were never committed are gone", removed)

    async def _expire(self) -> None:
        await self._lifecycle.run()

    async def _drop_footers(self) -> None:
        with pin.removing(self._engine.drive) as allowed:
            if allowed:
                await drop_footers(self._engine)

    async def _scrub(self) -> None:
        interval = self._engine.config.scrub_interval
        if interval:
            self._scrubber = self._scrubber or Scrubber(self._engine, interval)
            await self._scrubber.run()

    async def _index_langfuse(self) -> None:
        if self._engine.config.langfuse_index:
            await self._langfuse.run()
        elif not self._switched_off:
            await self._langfuse.switch_off()
            self._switched_off = True


def checkpoint(folder: str) -> bool:
    """Move the index's write-ahead log into it if that is long, without making anyone wait."""
    path = os.path.join(folder, index.FILE)
    try:
        if os.path.getsize(path + "-wal") < WAL_MAX:
            return False
        connection = index.connect(path, write=True)
    except (FileNotFoundError, apsw.Error):
        return False
    with contextlib.closing(connection), contextlib.suppress(apsw.Error):
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    return True


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` again and again. The committer's restarts are waited out; a failure is told,
    and the next turn tries again: upkeep must not end with its first trouble."""
    while True:
        began = time.monotonic()
        try:
            await work()
        except errors.Unavailable as error:
            _logger.debug("%s is put off: %s", work.__name__, error)
        except (errors.StoreError, OSError) as error:
            _logger.warning("%s failed: %s", work.__name__, error)
        except Exception:  # a defect, told with its traceback: the rest of the store goes on, too
            _logger.exception("%s failed", work.__name__)
        # Never busy for more than half of the time.
        await asyncio.sleep(max(seconds, time.monotonic() - began))
