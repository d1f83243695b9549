"""What the operating system says about the store's processes (proc(5)); nothing elsewhere."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from pathlib import Path

import msgspec

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_IO = ("rchar", "wchar", "read_bytes", "write_bytes", "syscr", "syscw")


class Processes(msgspec.Struct):
    """All processes of the store together. Bytes and seconds."""

    cpu_seconds: float = 0.0
    resident: int = 0
    """Pages that several processes share count once."""
    started: float = 0.0
    descriptors: int = 0
    descriptors_limit: int = 0
    io: dict[str, int] = msgspec.field(default_factory=dict)


def measure(supervisor: int) -> Processes:
    """Sum over ``supervisor`` and its children; processes that have just gone are left out."""
    total = Processes(io=dict.fromkeys(_IO, 0))
    total.descriptors_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    for pid in (supervisor, *_children(supervisor)):
        with contextlib.suppress(OSError, ValueError, IndexError):
            _add(total, pid)
    return total


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return [os.getpid()]


def _add(total: Processes, pid: int) -> None:
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total.cpu_seconds += (int(stat[11]) + int(stat[12])) / _TICKS
    total.resident += _proportional(pid) or int(stat[21]) * _PAGE
    started = _boot_time() + int(stat[19]) / _TICKS
    total.started = min(total.started, started) if total.started else started
    with contextlib.suppress(OSError):
        total.descriptors += len(os.listdir(f"/proc/{pid}/fd"))
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            name, _, value = line.partition(": ")
            if name in total.io:
                total.io[name] += int(value)


def _proportional(pid: int) -> int:
    """Resident bytes of a process and its share of what it shares; 0 where nobody tells.

    The store's processes share the interpreter, libraries and the index's pages: the sum of their
    resident sets counts those many times.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _boot_time() -> float:
    return time.time() - time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
