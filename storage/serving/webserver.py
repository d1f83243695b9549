"""uvicorn as the store runs it: on inherited sockets, with neither signals nor logs of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn

#: Seconds between two looks at the clock (Date header) and at idle connections.
TICK = 1.0


def configure(app: Any, http: type[asyncio.Protocol] | str) -> uvicorn.Config:
    """uvicorn's configuration for ``app``.

    Forwarded headers are not believed, there are no WebSockets, and the access log is the
    store's own. The Date header is made once a second by uvicorn, which is the cheapest place.
    """
    return uvicorn.Config(
        app,
        http=http,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=[("server", "Oversight")],
        date_header=True,
    )


class Server(uvicorn.Server):
    """Serve from ``open`` to ``drain``, under somebody else's event loop and signal handling."""

    def __init__(self, config: uvicorn.Config, on_second: Callable[[], None] | None = None) -> None:
        """``on_second`` is called once a second."""
        super().__init__(config)
        self._on_second = on_second
        self._ticking: asyncio.Task[None] | None = None
        self._sockets: list[socket.socket] = []

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on ``sockets``, which are bound and listening."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.on_tick(0)
        self._sockets = list(sockets)
        await self.startup(sockets=self._sockets)
        self._ticking = asyncio.create_task(self._tick())

    async def drain(self, seconds: float) -> None:
        """Accept no more, let requests in flight finish within ``seconds``, cancel the rest."""
        self.config.timeout_graceful_shutdown = seconds  # type: ignore[assignment]
        await self.shutdown(sockets=self._sockets)
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            await self.on_tick(0)
            if self._on_second is not None:
                self._on_second()
            for connection in tuple(self.server_state.connections):
                if (sweep := getattr(connection, "sweep", None)) is not None:
                    sweep()
