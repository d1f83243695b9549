"""Holding still: while a backup copies log and files, nothing is removed from them.

One lock file per store. Whoever removes (compaction, collection) shares it for the length of one
step; a backup has it alone. It is a lock on the open file, so it ends with its process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys
import time
from collections.abc import Iterator

from storage import errors
from storage.engine.embedded.drives import Drive

_WAIT = 0.02


@contextlib.contextmanager
def removing(drive: Drive) -> Iterator[bool]:
    """Whether things may be removed now; nothing begins to hold still before this ends."""
    with _open(drive) as fd:
        yield _lock(fd, fcntl.F_RDLCK)


@contextlib.contextmanager
def held_still(drive: Drive, patience: float = 300.0) -> Iterator[None]:
    """Nothing is removed inside. Raises Unavailable if that can't be had in ``patience`` s."""
    deadline = time.monotonic() + patience
    with _open(drive) as fd:
        while not _lock(fd, fcntl.F_WRLCK):
            if time.monotonic() > deadline:
                raise errors.Unavailable("another backup is running, or compaction does not end")
            time.sleep(_WAIT)
        yield


@contextlib.contextmanager
def _open(drive: Drive) -> Iterator[int]:
    path = os.path.join(drive.root, "run", "pin")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int, kind: int) -> bool:
    try:
        if sys.platform == "linux":
            whole = struct.pack("hhqqi0q", kind, os.SEEK_SET, 0, 0, 0)
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, whole)
        else:
            shared = fcntl.LOCK_SH if kind == fcntl.F_RDLCK else fcntl.LOCK_EX
            fcntl.flock(fd, shared | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True
