"""What the console's process answers at once: its pages. The rest is loaded behind them.

Somebody waits for the first page, and most of what the process imports (an HTTP client,
signatures) is needed only once they have typed their secret. Until then nobody is signed in.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from storage.console.answers import answer_json
from storage.console.request import Request
from storage.console.static import Pages
from storage.serving.doorway import CONSOLE, Birth
from storage.serving.handover import Receive, Scope, Send

if TYPE_CHECKING:
    from storage.console.app import Console

#: Seconds after the first answer at which the rest is loaded if nobody has asked for it.
_REST = 0.5


class Front:
    """ASGI application: pages, and before everything else the ``Console``."""

    def __init__(self, birth: Birth) -> None:
        self._birth = birth
        self._pages = Pages()
        self._console: Console | None = None
        self._loading: asyncio.Task[Console] | None = None
        self._last = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        self._last = time.monotonic()
        head, _, rest = request.path.removeprefix(CONSOLE + "/").partition("/")
        if head in ("", "static"):
            await self._pages.answer(request, rest, self._birth)
            self._begin(_REST)
        elif self._console is None and (head, request.method) == ("session", "GET"):
            self._begin(0)
            await answer_json(send, 200, None)
        else:
            console = await asyncio.shield(self._begin(0))
            await console(scope, receive, send)

    def is_idle(self, seconds: float) -> bool:
        """Whether nobody is signed in and nobody asked for anything for so long."""
        quiet = time.monotonic() - self._last > seconds
        return (self._console is None or self._console.is_idle(seconds)) and quiet

    async def close(self) -> None:
        if self._loading is not None:
            await (await self._loading).close()

    def _begin(self, after: float) -> asyncio.Task[Console]:
        """Load the rest, if that has not begun yet."""
        if self._loading is None:
            self._hurry = asyncio.Event()
            self._loading = asyncio.create_task(self._load(after))
        if not after:
            self._hurry.set()
        return self._loading

    async def _load(self, after: float) -> Console:
        try:
            async with asyncio.timeout(after or None):
                await self._hurry.wait()
        except TimeoutError:
            pass  # nobody needs it yet; who will does not wait then
        console = await asyncio.to_thread(_import)
        self._console = console(self._birth)
        return self._console


def _import() -> type[Console]:
    from storage.console.app import Console

    return Console
