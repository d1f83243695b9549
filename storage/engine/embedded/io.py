"""Every call that changes what a drive holds, and those that read the log, in one place.

Durability depends on the order of a handful of system calls. All of the engine makes them through
these functions, so that a test can stand in for the kernel: die before or after the N-th call,
fail one with EIO or ENOSPC, or drop whatever was not synced (``tests/fault``). SQLite's own files
are the exception; tests damage them as files.

The functions look the calls up anew each time: ``install`` takes effect at once and everywhere in
the process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview
Writable = bytearray | memoryview


class Calls:
    """The kernel's own calls. Writes are complete or raise ``OSError``: no short counts."""

    def create(self, path: str, mode: int = 0o600) -> int:
        """Make a new file (it must not exist), open for reading and writing."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        os.mkdir(path, mode)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def preadv(self, fd: int, buffers: Sequence[Writable], offset: int) -> int:
        """Fill ``buffers``; the number of bytes, fewer at the end of the file."""
        return os.preadv(fd, buffers, offset)

    def pwrite(self, fd: int, data: Buffer, offset: int) -> None:
        view = memoryview(data)
        while True:
            done = os.pwrite(fd, view, offset)
            if done == len(view):
                return
            view, offset = view[done:], offset + done

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        """Write ``buffers`` one behind the other. At most IOV_MAX (1,024) of them."""
        total = sum(map(len, buffers))
        done = os.pwritev(fd, buffers, offset)
        if done < total:
            self.pwrite(fd, b"".join(buffers)[done:], offset + done)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def fsync_dir(self, path: str) -> None:
        """Make names in ``path`` durable: creations, renames and unlinks."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def link(self, source: str, target: str) -> None:
        os.link(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        """Reserve space, so that later writes in the range can't meet a full drive."""
        os.posix_fallocate(fd, offset, length)


if not hasattr(os, "fdatasync"):  # macOS, for development

    def _fdatasync(self: Calls, fd: int) -> None:
        os.fsync(fd)

    Calls.fdatasync = _fdatasync  # type: ignore[method-assign]

if not hasattr(os, "posix_fallocate"):  # macOS, for development

    def _fallocate(self: Calls, fd: int, offset: int, length: int) -> None:
        if os.fstat(fd).st_size < offset + length:
            os.ftruncate(fd, offset + length)

    Calls.fallocate = _fallocate  # type: ignore[method-assign]


_calls = Calls()


def install(calls: Calls) -> Calls:
    """Replace the calls of this process; returns those in force before."""
    global _calls
    previous, _calls = _calls, calls
    return previous


def create(path: str, mode: int = 0o600) -> int:
    return _calls.create(path, mode)


def mkdir(path: str, mode: int = 0o700) -> None:
    _calls.mkdir(path, mode)


def pread(fd: int, size: int, offset: int) -> bytes:
    return _calls.pread(fd, size, offset)


def preadv(fd: int, buffers: Sequence[Writable], offset: int) -> int:
    return _calls.preadv(fd, buffers, offset)


def pwrite(fd: int, data: Buffer, offset: int) -> None:
    _calls.pwrite(fd, data, offset)


def pwritev(fd: int, buffers: Sequence[Buffer], offset: int) -> None:
    _calls.pwritev(fd, buffers, offset)


def fdatasync(fd: int) -> None:
    _calls.fdatasync(fd)


def fsync(fd: int) -> None:
    _calls.fsync(fd)


def fsync_dir(path: str) -> None:
    _calls.fsync_dir(path)


def rename(source: str, target: str) -> None:
    _calls.rename(source, target)


def link(source: str, target: str) -> None:
    _calls.link(source, target)


def unlink(path: str) -> None:
    _calls.unlink(path)


def truncate(fd: int, length: int) -> None:
    _calls.truncate(fd, length)


def fallocate(fd: int, offset: int, length: int) -> None:
    _calls.fallocate(fd, offset, length)
