"""``python -m tests.fuzz``: play random requests for as long as wanted, and report.

A finding is printed with the command that makes its input again. Exit status 1: there were some.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

import uvloop

from tests.fuzz.campaign import EPOCH, Campaign, campaign, resident

_MIB = 1 << 20


def main() -> int:
    options = _options()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(seed, options))


async def _run(seed: int, options: argparse.Namespace) -> int:
    print(f"seed {seed}", flush=True)
    if options.input is not None:
        start = options.start if options.start is not None else options.input
        stop, seconds = options.input + 1, float("inf")
    else:
        start = options.start or 0
        stop = start + options.inputs if options.inputs else sys.maxsize
        seconds = options.seconds if options.seconds or options.inputs else 600.0
        seconds = seconds or float("inf")
    async with campaign(seed, keep_going=options.keep_going) as running:
        await _play(running, start, stop, time.monotonic() + seconds)
        _report(running)
        return 1 if running.tally.findings else 0


async def _play(running: Campaign, start: int, stop: int, deadline: float) -> None:
    before = 0
    while start < stop and time.monotonic() < deadline:
        until = min(stop, start - start % EPOCH + EPOCH)
        await running.play(start, until)
        held = resident()
        before = before or held
        tally = running.tally
        print(
            f"{until} inputs, {tally.inputs / tally.seconds:.0f}/s, {tally.requests} answers, "
            f"{len(tally.findings)} findings, {held / _MIB:.1f} MiB "
            f"({(held - before) / _MIB:+.1f})",
            flush=True,
        )
        start = until


def _report(running: Campaign) -> None:
    tally = running.tally
    print("statuses:", dict(sorted(tally.statuses.items())))
    print("codes:", dict(tally.codes.most_common()))
    done: dict[str, list[int]] = {}
    for (operation, status), count in tally.operations.items():
        row = done.setdefault(operation, [0, 0])
        row[status >= 300] += count
    print("operations, granted/refused:")
    for name, (granted, refused) in sorted(done.items()):
        print(f"  {name} {granted}/{refused}")
    print(f"slowest: input {tally.slowest[1]}, {tally.slowest[0]:.2f} s of CPU")
    print(f"{tally.inputs} inputs in {tally.seconds:.0f} s, {len(tally.findings)} findings")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the random numbers (default: a new one)")
    parser.add_argument("--inputs", type=int, default=0, help="how many connections to play")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long (default: 600)")
    parser.add_argument("--input", type=int, help="play this input alone")
    parser.add_argument("--from", type=int, dest="start", help="begin with this input")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a finding")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
