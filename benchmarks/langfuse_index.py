"""``python -m benchmarks.langfuse_index``: what the index of Langfuse's objects costs and answers.

Fills an index with made-up events of both layouts, ten objects a trace, and asks it what the
console asks. No store runs: what is measured is the index itself. Times are wall clock, the worst
of ``--rounds`` beside the median.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from storage.langfuse import bodies
from storage.langfuse.bodies import Mention
from storage.langfuse.index import DAY_MS, FILE, Change, Found, Progress, Reader, Writer
from storage.langfuse.keys import OTEL, Place

PER_TRACE = 10
PROJECTS = 8
DAYS = 30
FIRST_DAY = 20_650
BATCH = 100


def changes(events: int, chance: random.Random) -> Iterator[Change]:
    """Objects as a month of Langfuse leaves them."""
    for number in range(events // PER_TRACE):
        trace = f"{chance.getrandbits(128):032x}"
        project = f"project-{number % PROJECTS}"
        at = (FIRST_DAY + chance.randrange(DAYS)) * DAY_MS + chance.randrange(DAY_MS)
        for part in range(PER_TRACE):
            if part % 2:
                kind = "observation"
                key = f"events/{project}/observation/{chance.getrandbits(64):016x}/{number}.json"
            else:
                kind = "otel"
                key = f"events/otel/{project}/2026/08/17/09/41/{number}-{part}.json"
            mention = Mention(trace, at + part, 2, "answer" if part == 0 else "")
            yield Change("langfuse", key, Found(1, at, 2048, project, kind, [mention]))


def fill(folder: str, events: int) -> tuple[float, list[str]]:
    """Seconds that it took, and some trace ids."""
    writer = Writer.create(folder, "bench", Progress())
    chance, batch, traces = random.Random(1), [], []
    began = time.perf_counter()
    for number, change in enumerate(changes(events, chance)):
        batch.append(change)
        if number % (events // 100 or 1) == 0 and change.found is not None:
            traces.append(change.found.mentions[0].trace)
        if len(batch) == BATCH:
            writer.apply(batch, Progress(position=number))
            batch = []
    writer.apply(batch, Progress(position=events, complete=True))
    seconds = time.perf_counter() - began
    writer.close()
    return seconds, traces


def questions(reader: Reader, traces: list[str]) -> dict[str, Callable[[], Any]]:
    """What the console asks."""
    trace, start = random.choice(traces), (FIRST_DAY + 3) * DAY_MS
    return {
        "search, a whole id": lambda: reader.search(trace, None, 20),
        "search, 4 characters": lambda: reader.search(trace[:4], None, 20),
        "search, 1 character": lambda: reader.search(trace[:1], None, 100),
        "search, nothing found": lambda: reader.search("no such trace", None, 20),
        "events of a trace": lambda: reader.events(trace),
        "a page of a day's traces": lambda: reader.traces(
            "project-1", start, start + DAY_MS, None, 50
        ),
        "projects": reader.projects,
        "days of a project": lambda: reader.usage("project-1"),
        "traces by day": lambda: reader.trace_counts("project-1"),
        "usage of a month": lambda: reader.usage_page("", FIRST_DAY, FIRST_DAY + DAYS, None, 8000),
    }


def parsing() -> float:
    """Seconds to understand one body of two spans, 2 KB."""
    span = {
        "traceId": {"type": "Buffer", "data": list(range(16))},
        "spanId": {"type": "Buffer", "data": list(range(8))},
        "name": "answer",
        "startTimeUnixNano": "1787000000000000000",
        "attributes": [{"key": "langfuse.observation.input", "value": {"stringValue": "x" * 700}}],
    }
    body = json.dumps([{"resource": {}, "scopeSpans": [{"spans": [span, span]}]}]).encode()
    place, rounds = Place(OTEL, "p"), 2000
    began = time.perf_counter()
    for _ in range(rounds):
        bodies.mentions(place, body)
    return (time.perf_counter() - began) / rounds


def main() -> int:
    """Measure and print. Returns 1 if a search took a second or more."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.langfuse_index")
    parser.add_argument("--events", type=int, default=1_000_000, help="objects to enter")
    parser.add_argument("--rounds", type=int, default=20, help="how often each question is asked")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oversight-bench-") as folder:
        seconds, traces = fill(folder, options.events)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        each = seconds / options.events * 1e6
        print(f"{options.events} objects entered in {seconds:.0f} s ({each:.0f} us each)")
        print(f"{FILE}: {size / 1e6:.0f} MB")
        print(f"a body of two spans: {parsing() * 1e6:.0f} us")
        reader = Reader(folder)
        times: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            for name, ask in questions(reader, traces).items():
                began = time.perf_counter()
                ask()
                times.setdefault(name, []).append(time.perf_counter() - began)
        reader.close()
    for name, taken in times.items():
        median, worst = statistics.median(taken) * 1000, max(taken) * 1000
        print(f"{name:26} {median:8.2f} ms   worst {worst:8.2f} ms")
    slow = [name for name, taken in times.items() if name.startswith("search") and max(taken) >= 1]
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
