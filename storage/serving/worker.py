"""The worker: the S3 plane under uvicorn.

It answers from its first moment: until the engine is there, ``live`` with 200 and everything else
with 503. Worker 0 also does the store's first-start duties, because all that they need is loaded
there anyway. A worker that is alone carries committer, console and services as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from storage.engine.interface import Engine
from storage.s3.http import S3Protocol
from storage.services.upkeep import Upkeep
from storage.serving import assembly, bootstrap, webserver
from storage.serving.channel import Prepared, Start
from storage.serving.children import is_alone
from storage.serving.console import Console
from storage.serving.member import Member
from storage.serving.starting import Application, Switch

if TYPE_CHECKING:
    from storage.serving.lifeline import Lifeline


#: Seconds that the console port of a worker that is alone gets after its S3 port has drained.
CONSOLE_DRAIN = 0.2


def run(start: Start, lifeline: Lifeline) -> int:
    """Serve S3 until told to stop."""
    return Worker(start, lifeline).run()


class Worker(Member):
    """One process of the S3 plane."""

    async def open(self) -> None:
        self._switch = Switch()
        self._plane: assembly.DataPlane | None = None
        config = webserver.configure(self._switch, S3Protocol)
        self._server = webserver.Server(config, self._tick)
        await self._server.open(self.sockets(self.start.listeners))
        self._console: Console | None = None
        if is_alone(self.config):
            self._console = Console(self.config, self.sockets(self.start.console))
            await self._console.open()
        self._upkeep: Upkeep | None = None

    async def begin(self) -> None:
        engine = await self.engine()
        if self.start.index == 0 and not self.start.store_key:
            store_key = await self._prepare(engine)
        else:
            store_key = await self.store_key()
        self._plane = await assembly.data_plane(
            engine, self.config, store_key, shared=self.start.shared, index=self.start.index
        )
        self._switch.app = cast(Application, self._plane.app)
        if self._console is not None:
            self._upkeep = Upkeep(engine)
            self._upkeep.start()
            self.watch(self._console.begin(engine, store_key, self.start.shared))

    async def close(self, seconds: float) -> None:
        await self._server.drain(seconds)
        if self._console is not None:
            await self._console.close(min(seconds, CONSOLE_DRAIN))
        if self._upkeep is not None:
            await self._upkeep.close()
        if self._plane is not None:
            self._plane.close()

    async def _prepare(self, engine: Engine) -> bytes:
        store_key, buckets = await bootstrap.prepare(engine, self.config)
        self.lifeline.send(Prepared(store_key, buckets))
        return store_key

    def _tick(self) -> None:
        if self._plane is not None:
            self._plane.tick()
