"""Where fault tests keep their drives: in memory where that is possible.

A killed process leaves in the page cache what it wrote, on any file system; only a power cut is
another matter, and that one is played (``tests/fault/disk.py``). So nothing is lost by not
waiting for a real drive.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Take every n-th of all points. 0: a sample that suits a test run.
EVERY = int(os.environ.get("OVERSIGHT_FAULT_EVERY", "0"))
_MEMORY = "/dev/shm"
#: Bytes that a memory must have free to be used: containers are often given 64 MiB of it.
_ROOM = 2 << 30


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A new folder that goes away."""
    parent = _MEMORY if _has_room(_MEMORY) else None
    path = Path(tempfile.mkdtemp(prefix="oversight-fault-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _has_room(path: str) -> bool:
    if not os.access(path, os.W_OK):
        return False
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize >= _ROOM


def sample(total: int, count: int) -> list[int]:
    """``count`` of the numbers 1 to ``total``, evenly, first and last among them."""
    if EVERY:
        return list(range(1, total + 1, EVERY))
    if count >= total:
        return list(range(1, total + 1))
    return sorted({1 + round(n * (total - 1) / (count - 1)) for n in range(count)})
