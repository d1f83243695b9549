"""What a tree of processes uses, from Linux' /proc: CPU seconds and memory.

CPU counts user and system time of every process of the tree, and of the children that they have
already reaped. Kernel threads (write-back, loopback's soft interrupts outside the caller) belong
to nobody and are not counted, for any server alike.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: A tree is at rest once it uses less than this many CPU seconds in _REST_WINDOW seconds.
_REST_CPU = 0.01
_REST_WINDOW = 0.25


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            stat = Path("/proc", name, "stat").read_text()
        except OSError:
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(name))
    return children


def descend(root: int) -> list[int]:
    """The tree of ``root``, itself first."""
    children = _children()
    tree = [root]
    for pid in tree:
        tree.extend(children.get(pid, ()))
    return tree


def label(pid: int) -> str:
    """What a process of a tree is called in reports: its role, or its program's name."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    text = [word.decode(errors="replace") for word in words if word]
    if "storage.process" in text[:-1]:
        return text[text.index("storage.process") + 1]
    return Path(text[0]).name if text else "?"


def _cpu(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:15]) / _TICK


def cpu_seconds(root: int) -> float:
    """CPU seconds of the tree since it started."""
    return sum(_cpu(pid) for pid in descend(root))


def cpu_by_thread(pid: int) -> dict[int, float]:
    """CPU seconds of each living thread of one process, by its id, to the nanosecond."""
    used: dict[int, float] = {}
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                used[int(thread.name)] = int((thread / "schedstat").read_text().split()[0]) / 1e9
    return used


def settle(root: int, limit: float = 2.0) -> None:
    """Wait until the tree is at rest, at most ``limit`` seconds.

    What a server puts off until after the answer is work for the request all the same.
    """
    deadline = time.monotonic() + limit
    before = cpu_seconds(root)
    while time.monotonic() < deadline:
        time.sleep(_REST_WINDOW)
        now = cpu_seconds(root)
        if now - before < _REST_CPU:
            return
        before = now


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


@dataclass
class Peak:
    """Largest sums over the tree, and each process' own peak by "label pid", in bytes.

    RSS counts pages that processes share once for each of them, PSS shares them out.
    """

    rss: int = 0
    pss: int = 0
    processes: dict[str, int] = field(default_factory=dict)


class MemoryWatch:
    """Samples a tree's memory while a ``with`` block runs: RSS each 50 ms, PSS each 500 ms."""

    def __init__(self, root: int) -> None:
        self.peak = Peak()
        self._root = root
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for names in self._rounds():
            sizes = {name: _rss(pid) for pid, name in names.items()}
            self.peak.rss = max(self.peak.rss, sum(sizes.values()))
            for name, size in sizes.items():
                self.peak.processes[name] = max(self.peak.processes.get(name, 0), size)

    def _rounds(self) -> Iterator[dict[int, str]]:
        count = 0
        names: dict[int, str] = {}
        while True:
            if count % 10 == 0:
                names = {pid: f"{label(pid)} {pid}" for pid in descend(self._root)}
                self.peak.pss = max(self.peak.pss, sum(_pss(pid) for pid in names))
            yield names
            count += 1
            if self._stop.wait(0.05):
                yield names
                return
