"""A store for tests, inside the process that wants one: S3 on a free port, data that goes with it.

It is the real thing, with one worker and the embedded engine as a thread, but that it never syncs
to the drive and that its segments are small: nothing here has to survive. It loads neither FastAPI
nor pydantic, so that it is ready in a fraction of a second.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from collections.abc import Iterable
from typing import Self

from storage.config import Config
from storage.engine.embedded.engine import EmbeddedEngine
from storage.s3.http import S3Protocol
from storage.services.upkeep import Upkeep
from storage.serving import assembly, bootstrap, webserver

_SEGMENT_BYTES = 16 * 1024 * 1024
_FREE_MIN_BYTES = 64 * 1024 * 1024
_START_SECONDS = 30.0
_DRAIN_SECONDS = 1.0


class ThrowawayStore:
    """Serve S3 on a free loopback port from ``start`` to ``stop``, under an event loop of its own.

    Usable from any thread, also by code that runs an event loop itself. ``buckets`` are made at
    the start; ``bucket/prefix/`` makes a prefix visible, too.
    """

    def __init__(
        self,
        *,
        access_key: str = "minio",
        secret_key: str = "miniosecret",  # noqa: S107 - the published default
        buckets: Iterable[str] = ("langfuse",),
        host: str = "127.0.0.1",
        folder: str | None = None,
    ) -> None:
        """``folder``: where the temporary folder is made; None is the system's place for those."""
        self.access_key, self.secret_key = access_key, secret_key
        self.host, self.port = host, 0
        self._folder = folder
        self._names = tuple(buckets)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None

    @property
    def endpoint(self) -> str:
        """The URL of S3, without a slash at its end."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> Self:
        """Return once the store answers. Raises what kept it from that, as DriveRefused."""
        self._thread = threading.Thread(target=self._run, name="oversight-throwaway", daemon=True)
        self._thread.start()
        if not self._started.wait(_START_SECONDS):
            raise TimeoutError(f"the store was not ready after {_START_SECONDS:.0f} s")
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def stop(self) -> None:
        """Close the port and delete everything. Does nothing the second time."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="oversight-", dir=self._folder) as drive:
                asyncio.run(self._serve(drive))
        except BaseException as error:  # noqa: BLE001 - it is raised again, by `start`
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self, drive: str) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        config = self._config(drive)
        engine = await EmbeddedEngine.local(config)
        try:
            store_key, _ = await bootstrap.prepare(engine, config)
            plane = await assembly.data_plane(engine, config, store_key)
            server = webserver.Server(webserver.configure(plane.app, S3Protocol), plane.tick)
            upkeep = Upkeep(engine)
            with socket.create_server((self.host, 0)) as listener:
                self.port = listener.getsockname()[1]
                await server.open([listener])
                upkeep.start()
                self._started.set()
                await self._stopping.wait()
                await server.drain(_DRAIN_SECONDS)
            await upkeep.close()
            plane.close()
        finally:
            await engine.close()

    def _config(self, drive: str) -> Config:
        prefixes = tuple(name for name in self._names if "/" in name)
        return Config(
            drives=(drive,),
            root_user=self.access_key,
            root_password=self.secret_key,
            buckets=tuple(dict.fromkeys(name.partition("/")[0] for name in self._names)),
            prefixes=prefixes,
            segment_size=_SEGMENT_BYTES,
            free_min=_FREE_MIN_BYTES,
            fsync=False,
        )
