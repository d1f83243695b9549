"""How much a file system holds, as ``df`` tells it. A leaf: what a start prints needs it."""

from __future__ import annotations

import os
from typing import NamedTuple


class Capacity(NamedTuple):
    """Bytes and inodes that we may use."""

    total: int
    free: int
    inodes_total: int
    inodes_free: int


def capacity(path: str) -> Capacity:
    """What the file system of ``path`` has, without what it keeps back for the system: that is
    neither free nor used, and never ours. Raises OSError."""
    stat = os.statvfs(path)
    return Capacity(
        total=(stat.f_blocks - stat.f_bfree + stat.f_bavail) * stat.f_frsize,
        free=stat.f_bavail * stat.f_frsize,
        inodes_total=stat.f_files,
        inodes_free=stat.f_favail,
    )
