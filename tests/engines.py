"""Embedded engines for tests: alone with a thread, or beside a committer process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from storage.config import Config
from storage.engine.embedded import server
from storage.engine.embedded.engine import EmbeddedEngine

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["tests.engines"])


def small_config(path: Path | str, **changes: object) -> Config:
    """A store of small segments, so that a few MiB make it roll, and with a low watermark."""
    settings: dict[str, object] = {"segment_size": 2 << 20, "free_min": 1 << 20, **changes}
    return Config(drives=(str(path),), **settings)  # type: ignore[arg-type]


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder where syncs cost nothing, for tests that stand in for the kernel themselves."""
    with tempfile.TemporaryDirectory(
        prefix="oversight-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None
    ) as path:
        yield Path(path)


def lose_index(config: Config) -> None:
    """Delete the index of a store that is closed."""
    folder = Path(config.drives[0], ".oversight", "index")
    for path in folder.iterdir():
        path.unlink()


class CommitterProcess:
    """A committer in a process of its own, started in about 20 ms.

    ``prepare`` runs in the new process first (a fault to be injected); it must be picklable.
    """

    def __init__(self, config: Config, prepare: Callable[[], None] | None = None) -> None:
        self.config = config
        self._parent, child = _forkserver.Pipe()
        self.process: BaseProcess = _forkserver.Process(
            target=_serve, args=(config, child, prepare), daemon=True
        )
        self.process.start()
        child.close()

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Return when it serves; raise what it met if it can't."""
        if not self._parent.poll(timeout):
            raise TimeoutError("the committer does not get ready")
        try:
            error = self._parent.recv()
        except EOFError:
            raise ProcessLookupError("the committer died before it was ready") from None
        if error is not None:
            raise error

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it the hard way and wait for that."""
        assert self.process.pid is not None
        self.process.kill() if number == signal.SIGKILL else self.process.terminate()
        self.process.join()

    def stop(self) -> None:
        """Let it end in order."""
        self.process.terminate()
        self.process.join(60)
        assert self.process.exitcode == 0, self.process.exitcode

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid


def _serve(config: Config, pipe: object, prepare: Callable[[], None] | None) -> None:
    if prepare is not None:
        prepare()
    try:
        server.main(config, lambda: pipe.send(None))  # type: ignore[attr-defined]
    except Exception as error:
        pipe.send(error)  # type: ignore[attr-defined]
        raise


@asynccontextmanager
async def alone(config: Config) -> AsyncIterator[EmbeddedEngine]:
    """An engine whose committer is a thread."""
    engine = await EmbeddedEngine.local(config)
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def beside_a_process(config: Config) -> AsyncIterator[EmbeddedEngine]:
    """An engine whose committer is a process."""
    process = CommitterProcess(config)
    try:
        process.wait_ready()
        engine = await EmbeddedEngine.connect(config)
        try:
            yield engine
        finally:
            await engine.close()
        process.stop()
    finally:
        process.kill()
