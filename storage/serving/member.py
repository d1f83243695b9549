"""What worker, control and services have in common: an event loop, an engine, a way to stop."""

from __future__ import annotations

import asyncio
import gc
import socket
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import uvloop

from storage import errors
from storage.engine.embedded.engine import EmbeddedEngine
from storage.serving.channel import EngineReady, Message, Prepared, Ready, Start, Stop
from storage.serving.children import is_alone

if TYPE_CHECKING:
    from storage.serving.lifeline import Lifeline

#: Seconds between two attempts to reach a committer that is being started again.
RETRY = 0.05


class Member(ABC):
    """A child with an event loop. ``run`` opens, becomes ready, and closes when told to stop."""

    def __init__(self, start: Start, lifeline: Lifeline) -> None:
        self.start = start
        self.config = start.config
        self.lifeline = lifeline
        self._store_key = start.store_key
        self._engine: EmbeddedEngine | None = None

    def run(self) -> int:
        """Work until told to stop; the exit code. Raises what makes the work impossible."""
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(self._live())
        return 0

    @abstractmethod
    async def open(self) -> None:
        """Answer already, before the engine is there."""

    @abstractmethod
    async def begin(self) -> None:
        """Wait for the engine (``engine``, ``store_key``) and take up work."""

    @abstractmethod
    async def close(self, seconds: float) -> None:
        """Finish what was begun, within ``seconds``. The engine is closed afterwards."""

    async def engine(self) -> EmbeddedEngine:
        """The engine, once it answers. Alone it lives in this process, else with the committer."""
        if is_alone(self.config):
            self._engine = await EmbeddedEngine.local(self.config)
            self.lifeline.send(EngineReady())
            return self._engine
        if not self.start.engine:
            await self._engine_there.wait()
        while True:
            try:
                self._engine = await EmbeddedEngine.connect(self.config)
            except errors.Unavailable:
                await asyncio.sleep(RETRY)
            else:
                return self._engine

    async def store_key(self) -> bytes:
        """The store key, once the first-start duties are done."""
        if not self._store_key:
            await self._prepared.wait()
        return self._store_key

    def sockets(self, fds: list[int]) -> list[socket.socket]:
        """Inherited listening sockets."""
        return [socket.socket(fileno=fd) for fd in fds]

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        self._engine_there = asyncio.Event()
        self._prepared = asyncio.Event()
        self._stopping: asyncio.Future[float] = loop.create_future()
        self.lifeline.listen(lambda message: loop.call_soon_threadsafe(self._heard, message))
        await self.open()
        work = self.watch(self._begin())
        try:
            seconds = await self._stopping
        finally:
            work.cancel()
        await self.close(seconds)
        if self._engine is not None:
            await self._engine.close()

    async def _begin(self) -> None:
        await self.begin()
        # What lives now lives until the end: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        self.lifeline.send(Ready())

    def watch(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` beside everything else; if it fails, so does the process."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and not self._stopping.done():
            self._stopping.set_exception(error)

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
