"""Pages that are slow on purpose: a test that depends on luck fails with them.

``OVERSIGHT_TESTS_SLOW=120`` lets each request of a browser take so many milliseconds longer, and
lets none go while a test does something else than wait for the page. What a test only happens to be
late enough for has not happened yet then.
"""

from __future__ import annotations

import os
from typing import Any

#: Milliseconds that each request takes longer; 0 where pages are as fast as they can be.
LATENCY = int(os.environ.get("OVERSIGHT_TESTS_SLOW") or 0)
#: Seconds that a test may take then.
TIME_LIMIT = 600


def slow_down(context: Any) -> None:
    """Make all pages of a browser context slow, if that is asked for."""
    if LATENCY:
        # A route's handler runs only while the test waits for something of the browser.
        context.route("**/*", lambda route: route.continue_())
        context.on("page", _delay)


def _delay(page: Any) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    conditions = {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
    session.send("Network.emulateNetworkConditions", {**conditions, "latency": LATENCY})
