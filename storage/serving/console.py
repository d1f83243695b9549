"""The console port: FastAPI over the engine, with health and metrics as on the S3 port."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any, cast

from storage.config import Config
from storage.engine.embedded.engine import EmbeddedEngine
from storage.s3.caller import caller_key
from storage.serving import assembly, bootstrap, webserver
from storage.serving.doorway import Doorway, reachable
from storage.serving.patience import PatientProtocol
from storage.serving.starting import Application, Switch, starting_console
from storage.telemetry.board import Board

if TYPE_CHECKING:
    from storage.telemetry.monitor import Monitor


class Console:
    """Answers from ``open`` on, with the control plane from ``begin`` on."""

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        self._config = config
        self._sockets = sockets
        self._switch = Switch(starting_console)
        self._monitor: Monitor | None = None
        self._doorway: Doorway | None = None

    async def open(self) -> None:
        """Accept; until ``begin`` has finished the store is starting."""
        self._server = webserver.Server(webserver.configure(self._switch, PatientProtocol))
        await self._server.open(self._sockets)

    async def begin(self, engine: EmbeddedEngine, store_key: bytes, shared: int) -> None:
        """Serve the control plane. ``shared``: descriptor of the counters' memory."""
        # FastAPI takes half a second to load: beside the loop, since S3 may be served from it.
        create_control = await asyncio.to_thread(_load)
        directory = assembly.identities(engine, self._config, store_key)
        await directory.refresh()
        self._monitor = assembly.monitor(engine, Board(shared), os.getppid())
        self._monitor.start()
        app = create_control(
            engine,
            directory,
            self._config,
            store_key=store_key,
            rekey=lambda password: bootstrap.rekey(engine, store_key, password),
            minio=assembly.telemetry(engine, self._config, directory, shared),
            langfuse=engine.drive.root,
            monitor=self._monitor,
        )
        here = reachable(self._sockets[0].getsockname()[:2])
        key = caller_key(store_key)
        self._doorway = Doorway(cast(Application, app), self._config, here, key)
        self._switch.app = self._doorway

    async def close(self, seconds: float) -> None:
        """Accept no more and let requests in flight finish."""
        await self._server.drain(seconds)
        if self._monitor is not None:
            await self._monitor.close()
        if self._doorway is not None:
            await self._doorway.close()


def _load() -> Any:
    from storage.control.app import create_control

    return create_control
