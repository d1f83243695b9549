"""``python -m benchmarks.profile``: where this store's microseconds go, process by process.

Starts the store, loads it with one of the work items, and lets py-spy sample every process of
its tree meanwhile. A thread's CPU (from /proc) divided by the operations is shared out over its
samples, so that each line reads as microseconds per operation and waiting costs nothing.
"""

from __future__ import annotations

import argparse
import collections
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import load, processes, report, servers, work

ITEMS = {
    "put": work.PutSmall,
    "get": work.GetSmall,
    "mix": work.Mix,
    "list": work.ListFlat,
}
#: Processes that use less than this share of the CPU are not worth a table.
_SHARE_MIN = 0.02


@dataclass(frozen=True)
class Profile:
    """One process under load: microseconds per operation, of each collapsed stack."""

    name: str
    cpu: float
    stacks: dict[tuple[str, ...], float]


def main() -> int:
    """Parse, record, print."""
    options = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 130)
    if shutil.which("py-spy") is None:
        console.print("This needs py-spy, which is not on PATH: install it with pip.")
        return 2
    try:
        load.require_wrk()
        with tempfile.TemporaryDirectory(prefix="oversight-profile-") as folder:
            _record(options, Path(folder), console)
    except (load.GeneratorFailed, servers.ServerFailed) as error:
        console.print(str(error), markup=False)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("work", choices=sorted(ITEMS))
    parser.add_argument("--server", default=report.STORE, help="default: this store")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--rate", type=int, default=250, help="samples per second")
    parser.add_argument("--native", action="store_true", help="sample C frames, too")
    parser.add_argument(
        "--gil", action="store_true", help="sample only who holds the interpreter's lock"
    )
    parser.add_argument("--top", type=int, default=25, help="lines of each table")
    parser.add_argument("--out", type=Path, help="keep the collapsed stacks in this folder")
    return parser


def _record(options: argparse.Namespace, folder: Path, console: Console) -> None:
    kind = servers.available(options.workers)[options.server]
    item = ITEMS[options.work]()
    out = options.out or folder / "stacks"
    out.mkdir(parents=True, exist_ok=True)
    with servers.Server(kind, folder / kind.name) as server:
        if kind.stores:
            server.make_bucket(work.BUCKET)
        item.prepare(server)
        with item.round(options.connections, options.seconds, 1) as shot:
            shot(server)
            processes.settle(server.pid)
            files = {
                pid: out / f"{options.work}-{name}-{pid}.txt"
                for pid, name in ((pid, processes.label(pid)) for pid in _tree(server.pid))
            }
            before = {pid: processes.cpu_by_thread(pid) for pid in files}
            spies = [_spy(pid, path, options) for pid, path in files.items()]
            result = shot(server)
            for spy in spies:
                spy.wait(60)
            after = {pid: processes.cpu_by_thread(pid) for pid in files}
            names = {pid: processes.label(pid) for pid in files}
    console.print(
        f"{item.name}, {options.connections} connections: {result.requests:,} operations, "
        f"{result.errors} errors; trust the shares more than the sums."
    )
    used = {
        pid: {
            thread: (seconds - before[pid].get(thread, 0.0)) * 1e6 / result.requests
            for thread, seconds in threads.items()
        }
        for pid, threads in after.items()
    }
    total = sum(sum(threads.values()) for threads in used.values())
    for pid, threads in used.items():
        cpu = sum(threads.values())
        if files[pid].exists() and cpu > _SHARE_MIN * total:
            stacks = _weigh(files[pid], threads)
            _print(console, Profile(f"{names[pid]} {pid}", cpu, stacks), options.top)


def _tree(root: int) -> list[int]:
    return [pid for pid in processes.descend(root) if "python" in _program(pid)]


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""


def _spy(pid: int, path: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    words = ["py-spy", "record", "--pid", str(pid), "--format", "raw", "--output", str(path)]
    words += [
        "--nonblocking",
        "--threads",
        "--rate",
        str(options.rate),
        "--duration",
        str(options.seconds),
    ]
    words += [f"--{name}" for name in ("native", "gil") if getattr(options, name)]
    spy = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.05)
    return spy


def _weigh(path: Path, threads: dict[int, float]) -> dict[tuple[str, ...], float]:
    """The collapsed stacks of ``path``, each with its share of its thread's CPU."""
    counts: dict[tuple[int, tuple[str, ...]], int] = {}
    totals: collections.Counter[int] = collections.Counter()
    for line in path.read_text().splitlines():
        text, _, count = line.rpartition(" ")
        first, *frames = text.split(";")
        found = re.match(r"thread \((\w+)\)", first)
        thread = int(found[1], 0) if found else 0
        counts[thread, tuple(frames)] = int(count)
        totals[thread] += int(count)
    stacks: collections.defaultdict[tuple[str, ...], float] = collections.defaultdict(float)
    for (thread, stack), samples in counts.items():
        stacks[stack] += threads.get(thread, 0.0) * samples / totals[thread]
    return stacks


def _function(frame: str) -> str:
    """A frame without its line number: "name (file.py:12)" -> "name (file.py)"."""
    name, _, place = frame.rpartition(" (")
    return f"{name} ({place.rpartition(':')[0]})" if ":" in place else frame


def _print(console: Console, profile: Profile, top: int) -> None:
    own: collections.defaultdict[str, float] = collections.defaultdict(float)
    within: collections.defaultdict[str, float] = collections.defaultdict(float)
    for stack, cost in profile.stacks.items():
        functions = [_function(frame) for frame in stack]
        for function in functions[-1:]:
            own[function] += cost
        for function in set(functions):
            within[function] += cost
    title = f"{profile.name}: {profile.cpu:.1f} us per operation"
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("us/op itself", "us/op with what it calls"):
        table.add_column(column, justify="right")
    table.add_column("function")
    for function in _ranked(own, within, top):
        table.add_row(f"{own[function]:.2f}", f"{within[function]:.2f}", function)
    console.print(table)


def _ranked(own: Mapping[str, float], within: Mapping[str, float], top: int) -> list[str]:
    names = set(sorted(own, key=lambda name: -own[name])[:top])
    names.update(sorted(within, key=lambda name: -within[name])[:top])
    return sorted(names, key=lambda name: -within[name])


if __name__ == "__main__":
    sys.exit(main())
