"""Scrubbing by and by: one pass over a store each interval, so slowly that nobody notices.

Works for a few milliseconds, then rests ten times as long. Where it stands is kept in a file
beside the committer's socket: a pass of a large store outlives restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator

import msgspec

from storage.engine.embedded.committer import RUN
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.embedded.scrub import DONE, Pass, Progress
from storage.engine.interface import Scrub

FILE = "scrub.json"
#: Seconds of work at a time, and the share of all time that is spent with it.
_SLICE = 0.004
_SHARE = 0.1
_SAVE_SECONDS = 60.0
_logger = logging.getLogger("oversight.scrub")


class Scrubber:
    """Scrubs one store. ``interval``: seconds from the end of a pass to the next one."""

    def __init__(self, engine: EmbeddedEngine, interval: float) -> None:
        self._engine = engine
        self._interval = interval
        self._path = os.path.join(engine.drive.root, RUN, FILE)
        self.progress = self._load()
        self._saved = time.monotonic()
        self._publish()

    def is_due(self) -> bool:
        """Whether a pass is to be begun or finished now."""
        progress = self.progress
        rested = 0 <= _now() - progress.finished < 1000 * self._interval
        return progress.part != DONE or not rested

    async def run(self) -> None:
        """Do the pass that is due, if one is. Can be cancelled anywhere, and goes on there."""
        if not self.is_due():
            return
        progress = self.progress
        if progress.part == DONE:
            progress.begin(_now())
            _logger.info("scrub: pass %d begins", progress.passes + 1)
        steps = Pass(self._engine, progress).steps()
        loop = asyncio.get_running_loop()
        try:
            while True:
                if not await loop.run_in_executor(None, self._work, steps):
                    break
                await asyncio.sleep(_SLICE * (1 / _SHARE - 1))
        finally:
            await asyncio.shield(loop.run_in_executor(None, self._save))
        progress.passes += 1
        progress.finished = _now()
        self._save()
        _logger.info(
            "scrub: pass %d is done: %d bytes verified, %d records compared, %d damages, "
            "%d differences of index and log", progress.passes, progress.verified,
            progress.compared, progress.damages, progress.mismatches,
        )  # fmt: skip

    def _work(self, steps: Iterator[None]) -> bool:
        """Take steps for a short while; whether there are more."""
        until = time.monotonic() + _SLICE
        for _ in steps:
            if time.monotonic() >= until:
                break
        else:
            return False
        self._publish()
        if until - self._saved >= _SAVE_SECONDS:
            self._save()
        return True

    def _publish(self) -> None:
        now = self.progress
        self._engine.board.scrub = Scrub(
            now.passes,
            now.started,
            now.finished,
            now.verified,
            now.compared,
            max(now.damages, now.earlier if now.part != DONE else 0),
            now.mismatches,
            now.repairs,
        )

    def _load(self) -> Progress:
        """Where the last process stood. A store that was never scrubbed is as good as new."""
        with contextlib.suppress(OSError, msgspec.MsgspecError), open(self._path, "rb") as file:
            return msgspec.json.decode(file.read(), type=Progress)
        return Progress(finished=_now())

    def _save(self) -> None:
        """Nothing depends on it: it is replaced whole and not synced."""
        self._saved = time.monotonic()
        self._publish()
        staged = self._path + ".new"
        with contextlib.suppress(OSError):
            with open(staged, "wb", opener=_private) as file:
                file.write(msgspec.json.encode(self.progress))
            os.replace(staged, self._path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _now() -> int:
    return time.time_ns() // 1_000_000
