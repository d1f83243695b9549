"""Reading a file as it lies on the drive, past the page cache."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os

from storage.engine.embedded import io

_DIRECT: int = getattr(os, "O_DIRECT", 0)
_ALIGN = 4096
_WINDOW = 1 << 20


class DriveFile:
    """A file, read from the drive itself where the file system allows it.

    Pages in memory would hide what became of the drive's, and reading everything through the
    page cache would push out what clients need. Meant for reading from front to back: a MiB is
    fetched at once. Only for files that nobody writes any more.
    """

    def __init__(self, path: str) -> None:
        """Raises FileNotFoundError."""
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._direct = -1
        if _DIRECT:
            with contextlib.suppress(OSError):  # tmpfs ...
                self._direct = os.open(path, os.O_RDONLY | os.O_CLOEXEC | _DIRECT)
        self._buffer = mmap.mmap(-1, _WINDOW)
        self._start = self._stop = 0

    def read(self, size: int, offset: int) -> bytes:
        """``size`` bytes at ``offset``, fewer at the end of the file. Raises OSError."""
        if not (self._start <= offset and offset + size <= self._stop):
            start = offset & -_ALIGN
            needed = ((offset + size + _ALIGN - 1) & -_ALIGN) - start
            try:
                self._fetch(start, max(needed, _WINDOW))
            except OSError:
                self._fetch(start, needed)  # the bad sector may lie behind what was asked for
        return self._buffer[offset - self._start : min(offset + size, self._stop) - self._start]

    def _fetch(self, start: int, length: int) -> None:
        self._start = self._stop = start
        if length > len(self._buffer):
            self._buffer.close()
            self._buffer = mmap.mmap(-1, length)
        done = 0
        with memoryview(self._buffer) as whole:
            while done < length:
                with whole[done:length] as rest:
                    count = self._read(rest, start + done)
                done += count
                if count == 0 or done % _ALIGN:
                    break  # the end of the file
        self._stop = start + done

    def _read(self, window: memoryview, offset: int) -> int:
        if self._direct >= 0:
            try:
                return io.preadv(self._direct, [window], offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                os.close(self._direct)
                self._direct = -1
        return io.preadv(self.fd, [window], offset)

    def close(self) -> None:
        """Close it; repeatable."""
        for fd in (self.fd, self._direct):
            if fd >= 0:
                os.close(fd)
        self.fd = self._direct = -1
        self._buffer.close()
