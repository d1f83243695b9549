"""Keeping the index's WAL short while commits go on.

A checkpoint syncs the WAL, moves its pages into the database and syncs that. The WAL begins anew
only if all of it was moved, so under load nobody may commit meanwhile, and that takes as long as
what is left to be moved. A thread therefore moves what it can, again and again, until little is
left; only then the committer moves the rest, between two batches.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

import apsw

from storage.engine.embedded import index
from storage.engine.embedded.index import Writer

_LONG = (32 << 20) // index.PAGE_BYTES
"""Pages in the WAL from which on it is to begin anew."""
_LITTLE = (4 << 20) // index.PAGE_BYTES
"""Pages that a commit may wait for."""
_PASSES = 5
_PAUSE = 1.0
"""Seconds between two attempts: a reader in the way may stay there for long."""
_BUSY_PAUSE = 0.05
"""Seconds until another process' checkpoint is looked at again."""


class Checkpointer:
    """The committer's checkpoints."""

    def __init__(self, folder: str) -> None:
        """``folder`` is the index's."""
        self._folder = folder
        self._thread: threading.Thread | None = None
        self._not_before = 0.0

    def tend(self, writer: Writer) -> None:
        """Called between two batches, often; costs nothing while the WAL is short.

        Waits for readers a moment at most; if they stay, the WAL stays as well.
        """
        thread = self._thread
        if thread is None:
            if writer.wal_pages > _LONG and time.monotonic() >= self._not_before:
                self._thread = threading.Thread(
                    target=_move, args=(self._folder,), name="oversight-checkpoint", daemon=True
                )
                self._thread.start()
        elif not thread.is_alive():
            self._thread = None
            self._not_before = time.monotonic() + _PAUSE
            with contextlib.suppress(apsw.Error):
                writer.checkpoint(apsw.SQLITE_CHECKPOINT_RESTART)

    def join(self) -> None:
        """Wait for the thread, if one is at work."""
        if self._thread is not None:
            self._thread.join()


def _move(folder: str) -> None:
    """Move the WAL into the database until little is left that was committed meanwhile."""
    with contextlib.suppress(apsw.Error):
        connection = index.connect(os.path.join(folder, index.FILE), write=True)
        try:
            before = 0
            for _ in range(_PASSES):
                try:
                    frames, moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                except apsw.BusyError:
                    time.sleep(_BUSY_PAUSE)
                    continue
                if moved < frames or moved - before < _LITTLE:
                    break  # a reader is in the way, or this is as good as it gets
                before = moved
        finally:
            connection.close()
