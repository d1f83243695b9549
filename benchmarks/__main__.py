"""``python -m benchmarks``: measure this store beside its peers and beside the floor."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import load, report, servers, versions, work
from benchmarks.requests import Body

GROUPS = ("put", "get", "mix", "list", "large", "scale", "versions")


def main() -> int:
    """Parse, measure, print. Returns 1 if a measured target was missed with ``--strict``."""
    options = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    if not sys.platform.startswith("linux"):
        console.print("The benchmarks read /proc and so need Linux.")
        return 2
    results = work.Results()
    failure = ""
    try:
        load.require_wrk()
        _measure(options, console, results)
    except (load.GeneratorFailed, servers.ServerFailed) as error:
        failure = str(error)
    if results.samples:
        _report(options, console, results)
    if failure:
        console.print(failure, markup=False, highlight=False)
        return 2
    missed = any(target.met is False for target in report.targets(results))
    return 1 if options.strict and missed else 0


def _report(options: argparse.Namespace, console: Console, results: work.Results) -> None:
    results.notes.extend(report.notes(results))
    report.print_samples(console, results)
    report.print_facts(console, results)
    report.print_targets(console, results)
    if options.json:
        text = json.dumps(report.as_json(results, environment(options)), indent=1)
        Path(options.json).write_text(text + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, under 3 minutes")
    parser.add_argument(
        "--only", help=f"comma-separated work out of {', '.join(GROUPS)} (default: all)"
    )
    parser.add_argument(
        "--peers", help="comma-separated servers beside this store (default: all present); '' none"
    )
    parser.add_argument(
        "--without-store", action="store_true", help="measure the floor and the peers alone"
    )
    parser.add_argument("--workers", type=int, help="workers of the store and of the floor")
    parser.add_argument("--rounds", type=int, help="rounds over all servers; medians are printed")
    parser.add_argument("--seconds", type=int, help="seconds of each run of small requests")
    parser.add_argument("--keys", type=int, help="keys of the large listing")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured there")
    parser.add_argument(
        "--folder", help="where the drives are made (default: the temporary folder)"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    return parser


def _effort(options: argparse.Namespace) -> work.Effort:
    base = work.QUICK if options.quick else work.FULL
    return work.Effort(
        rounds=options.rounds or base.rounds,
        seconds=options.seconds or base.seconds,
        large_objects=base.large_objects,
        stream_objects=base.stream_objects,
        scale_keys=options.keys or base.scale_keys,
        starts=base.starts,
        connections=base.connections,
        versions=base.versions,
    )


def _chosen(options: argparse.Namespace) -> list[servers.Kind]:
    kinds = servers.available(options.workers)
    wanted = set(kinds) if options.peers is None else {report.STORE, *options.peers.split(",")}
    if unknown := wanted - set(kinds) - {""}:
        raise servers.ServerFailed(
            f"Not here: {', '.join(sorted(unknown))}. Put the program on PATH, or name it in "
            "OVERSIGHT_BENCH_MINIO or OVERSIGHT_BENCH_WEED."
        )
    if options.without_store:
        wanted.discard(report.STORE)
    return [kind for name, kind in kinds.items() if name in wanted]


def _groups(options: argparse.Namespace) -> set[str]:
    chosen = set(options.only.split(",")) if options.only else set(GROUPS)
    if unknown := chosen - set(GROUPS):
        raise servers.ServerFailed(f"There is no work called {', '.join(sorted(unknown))}.")
    return chosen


def _measure(options: argparse.Namespace, console: Console, results: work.Results) -> None:
    effort, kinds, groups = _effort(options), _chosen(options), _groups(options)
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="oversight-bench-", dir=options.folder)
            )
        )
        step = _progress(stack, console, _steps(effort, kinds, groups))
        running = [stack.enter_context(servers.Server(kind, folder / kind.name)) for kind in kinds]
        for server in running:
            if server.kind.stores:
                server.make_bucket(work.BUCKET)
                server.check(work.BUCKET, "check/first", Body.random(work.SMALL, 7))
        small = {"put": work.PutSmall, "get": work.GetSmall, "mix": work.Mix, "list": work.ListFlat}
        for group, item in small.items():
            if group in groups:
                work.run_item(item(), running, effort, results, step)
        if "large" in groups:
            work.run_large(running, folder, effort, results, step)
        for server in running:
            server.stop()
        own = [kind for kind in kinds if kind.name == report.STORE]
        if "scale" in groups and own:
            work.run_scale(
                lambda name: servers.Server(own[0], folder / name), effort, results, step
            )
        if "versions" in groups and own:
            server = servers.Server(own[0], folder / "versions")
            versions.run_versions(server, effort, results, step)


def _steps(effort: work.Effort, kinds: list[servers.Kind], groups: set[str]) -> int:
    """How many steps the progress bar has."""
    stores = sum(kind.stores for kind in kinds)
    cells = len(effort.connections) * effort.rounds + 1
    count = sum(len(kinds) * cells for group in ("put", "get", "mix") if group in groups)
    count += stores * cells if "list" in groups else 0
    count += stores * (2 * effort.rounds + 1) if "large" in groups else 0
    if "versions" in groups and any(kind.name == report.STORE for kind in kinds):
        count += 2 + 2 * len(versions.OPERATIONS) * effort.rounds
    if "scale" in groups and any(kind.name == report.STORE for kind in kinds):
        count += 2 * effort.starts + 3 - (-effort.scale_keys // 50_000) + 4 * (effort.rounds + 1)
    return count


def _progress(stack: contextlib.ExitStack, console: Console, total: int) -> Callable[[str], None]:
    if not console.is_terminal:
        return lambda text: print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = stack.enter_context(
        Progress(*columns, TextColumn("{task.description}"), console=console, transient=True)
    )
    task = progress.add_task("starting the servers", total=total)
    return lambda text: progress.update(task, advance=1, description=text)


def environment(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "options": {name: value for name, value in vars(options).items() if value is not None},
    }


if __name__ == "__main__":
    sys.exit(main())
