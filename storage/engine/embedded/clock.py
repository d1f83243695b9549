"""Whether the wall clock can be believed, measured by what the log says was later than what.

A clock that jumps would make everything old at once, and lifecycle would delete it. So time as it
is written with each batch goes on from the last batch's, and where the wall clock is more than a
day off that, it is *suspect*: until it is right again, or the store has run with it for a day
(over restarts), so that somebody would have noticed. A store that was off for more than a day
looks the same, and only waits. Order never depends on time: that is the sequence number's.
"""

from __future__ import annotations

import logging
import time

DAY = 86_400_000
_logger = logging.getLogger("oversight.clock")
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def wall() -> int:
    """What the clock on the wall says, ms since 1970."""
    return time.time_ns() // 1_000_000


def steady() -> int:
    """Milliseconds of a clock that nobody sets; it goes on while the machine sleeps."""
    return time.clock_gettime_ns(_STEADY) // 1_000_000


class Clock:
    """The time as far as it can be believed. Call ``begin`` once, then ``look`` every second."""

    def __init__(self) -> None:
        self.time = 0
        """Believed time, ms."""
        self.doubt = 0
        """For how long the store has run while the clock was suspect, ms; 0: it is not."""
        self._at = steady()

    @property
    def suspect(self) -> bool:
        return self.doubt > 0

    def begin(self, time: int, doubt: int) -> None:
        """Go on from what was written with the last batch; 0: nothing is known of it."""
        self.time = time or wall()
        self.doubt = doubt
        self._at = steady()
        self.look()

    def look(self) -> None:
        """Compare the clock with the time that should be."""
        now, shown = steady(), wall()
        passed = max(0, now - self._at)
        self._at = now
        expected = self.time + passed
        off = shown - expected
        if abs(off) <= DAY:
            if self.doubt:
                _logger.warning("the clock is right again")
            self.time, self.doubt = shown, 0
            return
        if self.doubt + passed > DAY:
            _logger.warning("the clock has stood like this for a day: it is believed now")
            self.time, self.doubt = shown, 0
            return
        if not self.doubt:
            _logger.error(
                "the clock is %.1f days %s the last change: what depends on time alone is paused "
                "until it is right, or has stood like this for a day",
                abs(off) / DAY,
                "ahead of" if off > 0 else "behind",
            )
        self.time, self.doubt = expected, self.doubt + max(passed, 1)
