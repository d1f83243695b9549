"""A limit of bytes per second, shared by all threads."""

from __future__ import annotations

import threading
import time


class Throttle:
    """Lets ``rate`` bytes a second pass, with at most a second's worth at once; 0: no limit."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def pass_on(self, count: int) -> None:
        """Return when ``count`` bytes may be sent."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - 1.0) + count / self._rate
            wait = self._free_at - now
        if wait > 0:
            time.sleep(wait)
