"""Ending sessions in the store: tried until it is done, or until they are over by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from storage.console.sessions import Session
from storage.console.upstream import UNANSWERED, Refused

#: Seconds between two tries, at first and at most.
FIRST, LONGEST = 1.0, 60.0
#: Sign-outs that wait at once; beyond it the oldest is given up, and ends with its time.
WAITING_MAX = 4096
#: Seconds that somebody who signs out waits for the first try.
PATIENCE = 5.0
_FAILURES = (*UNANSWERED, OSError, ValueError)

End = Callable[[Session], Awaitable[None]]


class Farewells:
    """Tells the store which sessions have ended.

    A session that was only forgotten here would leave its links good until its time is over.
    """

    def __init__(self, end: End, clock: Callable[[], float] = time.time) -> None:
        """``end`` ends a session in the store; it raises Refused."""
        self._end = end
        self._clock = clock
        self._waiting: dict[asyncio.Task[None], Session] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, session: Session) -> asyncio.Task[None]:
        """End ``session`` in the store, now or as soon as it answers; what is done when it is."""
        while len(self._waiting) >= WAITING_MAX:
            oldest = next(iter(self._waiting))
            oldest.cancel()
            del self._waiting[oldest]
        task = asyncio.create_task(self._insist(session))
        self._waiting[task] = session
        task.add_done_callback(lambda done: self._waiting.pop(done, None))
        return task

    async def say(self, session: Session) -> bool:
        """The same; whether the store knew of it soon. It is tried further if not."""
        done, _ = await asyncio.wait((self.add(session),), timeout=PATIENCE)
        return bool(done)

    async def close(self) -> None:
        """Give up."""
        tasks = list(self._waiting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _insist(self, session: Session) -> None:
        pause = FIRST
        while self._clock() < session.expires:
            with contextlib.suppress(*_FAILURES):
                if await self._told(session):
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST)

    async def _told(self, session: Session) -> bool:
        try:
            await self._end(session)
        except Refused as refused:
            return refused.status == 401  # it is over already
        return True
