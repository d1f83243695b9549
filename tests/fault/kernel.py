"""Kernels that go wrong: one that dies at a call, one that fails it, one that only counts."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from storage.engine.embedded import io

KINDS = (
    "create",
    "mkdir",
    "pwrite",
    "pwritev",
    "fdatasync",
    "fsync",
    "fsync_dir",
    "rename",
    "unlink",
    "truncate",
    "fallocate",
)


class Counting(io.Calls):
    """The kernel, counting calls by kind. Subclasses do something about one of them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lock: Any = None

    def prepare(self) -> None:
        """Called in the process that will make the calls: locks don't travel."""
        self._lock = threading.Lock()

    def meet(self, kind: str, number: int, call: Callable[..., Any], arguments: Any) -> Any:
        return call(*arguments)

    def _count(self, kind: str) -> int:
        if self._lock is None:
            self.prepare()
        with self._lock:
            self.counts[kind] += 1
            self.counts["any"] += 1
            return self.counts[kind]


def _counted(kind: str) -> Callable[..., Any]:
    plain = getattr(io.Calls, kind)

    def made(self: Counting, *arguments: Any) -> Any:
        def call(*given: Any) -> Any:
            return plain(io.Calls(), *given)

        return self.meet(kind, self._count(kind), call, arguments)

    return made


for _kind in KINDS:
    setattr(Counting, _kind, _counted(_kind))


class Dying(Counting):
    """SIGKILL to this process at the ``at``-th call of ``kind`` ("any": of all calls).

    ``when``: "before" the call, "after" it, or "torn" in the middle of what is written.
    """

    def __init__(self, kind: str, at: int, when: str) -> None:
        super().__init__()
        self.kind, self.at, self.when = kind, at, when

    def meet(self, kind: str, number: int, call: Callable[..., Any], arguments: Any) -> Any:
        if self.kind == "any":
            kind, number = "any", self.counts["any"]
        if (kind, number) != (self.kind, self.at):
            return call(*arguments)
        if self.when == "after":
            call(*arguments)
        if self.when == "torn":
            fd, data, offset = arguments
            data = b"".join(data) if kind == "pwritev" else bytes(data)
            io.Calls().pwrite(fd, data[: len(data) // 2], offset)
        os.kill(os.getpid(), signal.SIGKILL)
        return signal.pause()


class Unreadable(io.Calls):
    """Bytes ``start`` to ``stop`` of the file ``path`` can't be read. Writing them is noted."""

    def __init__(self, path: str, start: int, stop: int) -> None:
        self._inode = os.stat(path).st_ino
        self._start, self._stop = start, stop
        self.met = 0
        self.overwritten = False

    def _touches(self, fd: int, offset: int, size: int) -> bool:
        return (
            os.fstat(fd).st_ino == self._inode
            and offset < self._stop
            and offset + size > self._start
        )

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        if self._touches(fd, offset, size):
            self.met += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().pread(fd, size, offset)

    def pwrite(self, fd: int, data: io.Buffer, offset: int) -> None:
        self.overwritten = self.overwritten or self._touches(fd, offset, len(data))
        super().pwrite(fd, data, offset)

    def pwritev(self, fd: int, buffers: Sequence[io.Buffer], offset: int) -> None:
        self.pwrite(fd, b"".join(buffers), offset)


class Failing(Counting):
    """``times`` calls of ``kind`` from the ``at``-th on fail with ``code``."""

    def __init__(self, kind: str, at: int, code: int = errno.EIO, times: int = 1) -> None:
        super().__init__()
        self.kind, self.at, self.code, self.times = kind, at, code, times
        self.failed = 0

    def meet(self, kind: str, number: int, call: Callable[..., Any], arguments: Any) -> Any:
        if kind == self.kind and self.at <= number < self.at + self.times:
            self.failed += 1
            raise OSError(self.code, os.strerror(self.code))
        return call(*arguments)
