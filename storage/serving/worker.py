"""The worker: the S3 plane under uvicorn.

It answers from its first moment: until the engine is there, ``live`` with 200 and everything else
with 503. Worker 0 also does the store's first-start duties, because all that they need is loaded
there anyway.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import TYPE_CHECKING, cast

import uvloop

from storage import errors
from storage.engine.interface import Engine
from storage.s3.http import S3Protocol
from storage.serving import assembly, bootstrap, webserver
from storage.serving.channel import EngineReady, Message, Prepared, Ready, Start, Stop
from storage.serving.starting import Application, Switch

if TYPE_CHECKING:
    from storage.serving.lifeline import Lifeline

#: Seconds between two attempts to reach a committer that is being started again.
RETRY = 0.05


def run(start: Start, lifeline: Lifeline) -> int:
    """Serve S3 until told to stop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Worker(start, lifeline).serve())
    return 0


class _Worker:
    def __init__(self, start: Start, lifeline: Lifeline) -> None:
        self._start = start
        self._lifeline = lifeline
        self._store_key = start.store_key
        self._switch = Switch()
        self._engine: Engine | None = None
        self._plane: assembly.DataPlane | None = None

    async def serve(self) -> None:
        """Open the port, become ready, drain when told. Raises what makes the work impossible."""
        loop = asyncio.get_running_loop()
        self._engine_there = asyncio.Event()
        self._prepared = asyncio.Event()
        self._stopping: asyncio.Future[float] = loop.create_future()
        self._lifeline.listen(lambda message: loop.call_soon_threadsafe(self._heard, message))
        server = webserver.Server(webserver.configure(self._switch, S3Protocol), self._tick)
        await server.open([socket.socket(fileno=fd) for fd in self._start.listeners])
        work = loop.create_task(self._become_ready())
        work.add_done_callback(self._worked)
        try:
            seconds = await self._stopping
        finally:
            work.cancel()
        await server.drain(seconds)
        if self._plane is not None:
            self._plane.close()
        if self._engine is not None:
            await self._engine.close()

    def _tick(self) -> None:
        if self._plane is not None:
            self._plane.tick()

    def _heard(self, message: Message) -> None:
        match message:
            case EngineReady():
                self._engine_there.set()
            case Prepared(store_key):
                self._store_key = store_key
                self._prepared.set()
            case Stop(seconds) if not self._stopping.done():
                self._stopping.set_result(seconds)
            case _:
                pass

    def _worked(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled() and (error := work.exception()) and not self._stopping.done():
            self._stopping.set_exception(error)

    async def _become_ready(self) -> None:
        config = self._start.config
        engine = self._engine = await self._open_engine()
        if not self._store_key:
            if self._start.index == 0:
                self._store_key, buckets = await bootstrap.prepare(engine, config)
                self._lifeline.send(Prepared(self._store_key, buckets))
            else:
                await self._prepared.wait()
        self._plane = await assembly.data_plane(
            engine, config, self._store_key, shared=self._start.shared, index=self._start.index
        )
        self._switch.app = cast(Application, self._plane.app)
        # What lives now lives until the end: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        self._lifeline.send(Ready())

    async def _open_engine(self) -> Engine:
        """The engine, once it answers: with one worker it lives here, else with the committer."""
        from storage.engine.embedded.engine import EmbeddedEngine

        config = self._start.config
        if config.workers == 1:
            engine = await EmbeddedEngine.local(config)
            self._lifeline.send(EngineReady())
            return engine
        if not self._start.engine:
            await self._engine_there.wait()
        while True:
            try:
                return await EmbeddedEngine.connect(config)
            except errors.Unavailable:
                await asyncio.sleep(RETRY)
