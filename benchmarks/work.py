"""What is measured: the work items, and the loop that interleaves servers over them.

Every number that a report needs is kept as a ``Sample``; reports take medians over rounds.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import random
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import load, processes
from benchmarks.load import Load, Script
from benchmarks.requests import Body, Signer
from benchmarks.servers import Server, ServerFailed

BUCKET = "langfuse"
FLAT = "bench-flat"
FLAT_KEYS = 10_000
SMALL = 4096
EVENT = 2048
TINY = 1434
LARGE = 64 * 1024 * 1024
#: A GET of the mix asks for what was written this many requests ago: surely done by then.
MIX_DISTANCE = 4096
#: Requests prepared per second of a run; a faster server gets them again (``Load.wrapped``).
_RATE = {1: 8_000, 16: 16_000, 64: 16_000}
_BODIES = 16
#: Different pages that a listing's requests ask for.
_PAGES = 2_000


@dataclass(frozen=True)
class Effort:
    """How long all this may take. ``scale_keys`` is the large listing's number of keys,
    ``versions`` that of one key's versions."""

    rounds: int = 3
    seconds: int = 4
    large_objects: int = 24
    stream_objects: int = 96
    scale_keys: int = 1_000_000
    starts: int = 3
    connections: tuple[int, ...] = (1, 16, 64)
    versions: int = 100_000


FULL = Effort()
QUICK = Effort(
    rounds=1,
    seconds=1,
    large_objects=8,
    stream_objects=32,
    scale_keys=50_000,
    starts=1,
    connections=(1, 16),
    versions=5_000,
)


@dataclass(frozen=True)
class Sample:
    """One server under one load. Seconds and bytes throughout; ``cpu`` is of the whole tree."""

    item: str
    server: str
    connections: int
    load: Load
    cpu: float
    peak: processes.Peak

    @property
    def cpu_each(self) -> float:
        """CPU seconds per operation."""
        return self.cpu / max(1, self.load.requests)

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.load.requests / self.load.seconds


@dataclass
class Results:
    """Everything that was measured. ``facts`` are single figures by name (docs/benchmarks.md)."""

    samples: list[Sample] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, item: str, server: str, connections: int) -> list[Sample]:
        """The rounds of one cell."""
        wanted = (item, server, connections)
        return [s for s in self.samples if (s.item, s.server, s.connections) == wanted]

    def ratio(self, item: str, over: str, under: str, connections: int) -> float | None:
        """The median of ``over``'s CPU per operation / ``under``'s, round by round.

        Servers of one round ran within seconds of each other, so that what the machine did
        besides weighs least.
        """
        pairs = zip(
            self.of(item, over, connections), self.of(item, under, connections), strict=False
        )
        ratios = [a.cpu_each / b.cpu_each for a, b in pairs if b.cpu]
        return statistics.median(ratios) if ratios else None

    def median(
        self, item: str, server: str, connections: int, value: Callable[[Sample], float]
    ) -> float | None:
        """The median over rounds, None where nothing was measured."""
        rounds = self.of(item, server, connections)
        return statistics.median(map(value, rounds)) if rounds else None


Step = Callable[[str], None]
Shot = Callable[[Server], Load]


def measure(item: str, server: Server, connections: int, run: Callable[[], Load]) -> Sample:
    """Run a load, and account to it all CPU that the server uses until it is at rest again."""
    processes.settle(server.pid)
    before = processes.cpu_seconds(server.pid)
    with processes.MemoryWatch(server.pid) as watch:
        result = run()
        processes.settle(server.pid)
    cpu = processes.cpu_seconds(server.pid) - before
    return Sample(item, server.name, connections, result, cpu, watch.peak)


def event_keys(tag: str, seed: int) -> Iterator[str]:
    """Langfuse's keys of OpenTelemetry batches: ordered by the minute, random within it."""
    source = random.Random(seed)
    for number in itertools.count():
        minute = number // 2000
        day = f"2026/11/{1 + minute // 1440 % 28:02d}/{minute // 60 % 24:02d}/{minute % 60:02d}"
        name = uuid.UUID(int=source.getrandbits(128), version=4)
        yield f"events/otel/{tag}/{day}/{name}.json"


def _bodies(size: int) -> list[Body]:
    return [Body.random(size, seed) for seed in range(_BODIES)]


class Item:
    """A work item: what must be stored before, and the load itself."""

    def __init__(self, name: str, *, on_floor: bool) -> None:
        self.name = name
        self.on_floor = on_floor

    def prepare(self, server: Server) -> None:
        """Store what the requests will ask for."""

    @contextlib.contextmanager
    def round(self, connections: int, seconds: int, seed: int) -> Iterator[Shot]:
        """Prepare one round's requests; the same go to every server."""
        raise NotImplementedError
        yield


class Replay(Item):
    """Small requests, replayed by wrk."""

    def __init__(self, name: str, bodies: list[Body]) -> None:
        super().__init__(name, on_floor=True)
        self.bodies = bodies

    def requests(self, count: int, seed: int) -> Iterator[tuple[bytes, int]]:
        """``count`` heads and their body's number (0: none)."""
        raise NotImplementedError

    @contextlib.contextmanager
    def round(self, connections: int, seconds: int, seed: int) -> Iterator[Shot]:
        """See ``Item``."""
        count = _RATE.get(connections, 16_000) * seconds
        with Script(self.requests(count, seed), self.bodies) as script:
            yield lambda server: script.run(server.port, connections, seconds)


class Listing(Item):
    """Pages of 1,000 entries; ``heads`` has them rendered."""

    def __init__(self, name: str) -> None:
        super().__init__(name, on_floor=False)

    def heads(self, seed: int) -> list[bytes]:
        """Requests for pages, a good many."""
        raise NotImplementedError

    @contextlib.contextmanager
    def round(self, connections: int, seconds: int, seed: int) -> Iterator[Shot]:
        """See ``Item``."""
        heads = self.heads(seed)
        yield lambda server: load.stream(server.port, connections, heads, 1_000, seconds=seconds)


class PutSmall(Replay):
    """New objects of 4 KiB, durably."""

    def __init__(self) -> None:
        super().__init__("PUT 4 KiB", _bodies(SMALL))

    def requests(self, count: int, seed: int) -> Iterator[tuple[bytes, int]]:
        signer = Signer()
        for number, key in enumerate(itertools.islice(event_keys(f"put{seed}", seed), count)):
            index = number % _BODIES
            yield signer.put(BUCKET, key, self.bodies[index]), index + 1


def flat_keys() -> list[str]:
    """The keys of the flat bucket, sorted."""
    return sorted(itertools.islice(event_keys("flat", 1), FLAT_KEYS))


class GetSmall(Replay):
    """Objects of 4 KiB, in random order over 10,000 of them."""

    def __init__(self) -> None:
        super().__init__("GET 4 KiB", [])

    def prepare(self, server: Server) -> None:
        fill_flat(server)

    def requests(self, count: int, seed: int) -> Iterator[tuple[bytes, int]]:
        signer, keys = Signer(), flat_keys()
        source = random.Random(seed)
        for _ in range(count):
            yield signer.get(FLAT, source.choice(keys)), 0


class ListFlat(Listing):
    """Pages of 1,000 keys from anywhere in a bucket of 10,000."""

    def __init__(self) -> None:
        super().__init__("LIST 1,000 of 10^4")

    def prepare(self, server: Server) -> None:
        fill_flat(server)

    def heads(self, seed: int) -> list[bytes]:
        signer, keys = Signer(), flat_keys()
        source = random.Random(seed)
        starts = ["", *keys[:-1_000]]
        return [signer.list(FLAT, after=source.choice(starts)) for _ in range(_PAGES)]


class Mix(Replay):
    """Langfuse's traffic: nine PUTs of 2 KB by time, then a GET of what was just written."""

    def __init__(self) -> None:
        super().__init__("Langfuse mix 2 KB", _bodies(EVENT))

    def prepare(self, server: Server) -> None:
        if server.kind.stores:
            fill(server, BUCKET, itertools.islice(self._keys(0), MIX_DISTANCE), self.bodies)

    def requests(self, count: int, seed: int) -> Iterator[tuple[bytes, int]]:
        signer = Signer()
        recent = list(itertools.islice(self._keys(0), MIX_DISTANCE))
        new = self._keys(seed)
        for number in range(count):
            if number % 10 == 9:
                yield signer.get(BUCKET, recent[number % MIX_DISTANCE]), 0
                continue
            key = next(new)
            index = number % _BODIES
            recent[(number + MIX_DISTANCE - 1) % MIX_DISTANCE] = key
            yield signer.put(BUCKET, key, self.bodies[index]), index + 1

    @staticmethod
    def _keys(seed: int) -> Iterator[str]:
        return event_keys(f"mix{seed}", seed)


def fill(
    server: Server,
    bucket: str,
    keys: Iterator[str],
    bodies: list[Body],
    *,
    connections: int = 16,
    limit: float = 300,
) -> Load:
    """Store one object for each key, and make sure that every one was acknowledged."""
    server.make_bucket(bucket)
    signer = Signer()
    server.check(bucket, "~check", bodies[0])

    def requests() -> Iterator[tuple[bytes, int]]:
        for number, key in enumerate(keys):
            index = number % len(bodies)
            yield signer.put(bucket, key, bodies[index]), index + 1
        yield signer.get(bucket, "~check"), 0

    with Script(requests(), bodies) as script:
        result = script.run_once(server.port, connections, limit)
    if result.errors:
        raise ServerFailed(
            f"{server.name}: {result.errors} errors while filling {bucket}: {result.refusal}"
        )
    status, text = server.call(signer.head("DELETE", f"/{bucket}/~check"))
    if status not in (200, 204):
        raise ServerFailed(f"{server.name} answers a DELETE with {status} {text[:200]!r}")
    return result


def fill_flat(server: Server) -> None:
    """10,000 objects of 4 KiB in the flat bucket, unless they are there."""
    marker = server.folder / "flat-filled"
    if server.kind.stores and not marker.exists():
        bodies = _bodies(SMALL)
        fill(server, FLAT, iter(flat_keys()), bodies)
        server.expect(FLAT, flat_keys()[FLAT_KEYS // 2], bodies[FLAT_KEYS // 2 % _BODIES])
        marker.touch()


def run_item(
    item: Item, servers: list[Server], effort: Effort, results: Results, step: Step
) -> None:
    """All rounds of an item, servers in turn, each with the very same requests."""
    servers = [server for server in servers if item.on_floor or server.kind.stores]
    for server in servers:
        step(f"{item.name}: preparing {server.name}")
        item.prepare(server)
    for connections in effort.connections:
        for number in range(effort.rounds):
            seed = 1 + connections * 100 + number
            with item.round(connections, effort.seconds, seed) as shot:
                for server in rotated(servers, number):
                    step(f"{item.name}: {connections} connections, {server.name}")
                    run = functools.partial(shot, server)
                    results.samples.append(measure(item.name, server, connections, run))


def rotated(servers: list[Server], number: int) -> list[Server]:
    """Another server goes first in every round, so that nobody always follows the same one."""
    shift = number % max(1, len(servers))
    return servers[shift:] + servers[:shift]


# -- large objects --------------------------------------------------------------------------------

PUT_LARGE = "PUT 64 MiB"
GET_LARGE = "GET 64 MiB"
STREAM = "stream 64 MiB"
LARGE_CONNECTIONS = 4
STREAM_CONNECTIONS = 32


def run_large(
    servers: list[Server], folder: Path, effort: Effort, results: Results, step: Step
) -> None:
    """64 MiB objects: PUT and GET over four connections, then both over 32 for the memory."""
    body = Body.random(LARGE, 1)
    path = folder / "large-body"
    path.write_bytes(body.data)
    servers = [server for server in servers if server.kind.stores]
    rulers = []

    def puts(count: int) -> list[bytes]:
        signer = Signer()
        return [
            signer.put(BUCKET, f"media/large/{number % 8}", body, expect=True)
            for number in range(count)
        ]

    def gets(count: int) -> list[bytes]:
        signer = Signer()
        return [signer.get(BUCKET, f"media/large/{number % 8}") for number in range(count)]

    def shot(item: str, server: Server, connections: int, heads: list[bytes]) -> None:
        step(f"{item}: {connections} connections, {server.name}")
        sample = measure(
            item,
            server,
            connections,
            lambda: load.stream(server.port, connections, heads, LARGE, body=path),
        )
        results.samples.append(sample)

    for server in servers:
        server.make_bucket(BUCKET)
    for number in range(effort.rounds):
        for server in rotated(servers, number):
            shot(PUT_LARGE, server, LARGE_CONNECTIONS, puts(max(8, effort.large_objects)))
        rulers.append(hash_seconds(body.data))
        for server in rotated(servers, number):
            shot(GET_LARGE, server, LARGE_CONNECTIONS, gets(2 * effort.large_objects))
        rulers.append(hash_seconds(body.data))
    for server in servers:
        server.expect(BUCKET, "media/large/7", body)
        count = effort.stream_objects // 2
        heads = [head for pair in zip(puts(count), gets(count), strict=True) for head in pair]
        shot(STREAM, server, STREAM_CONNECTIONS, heads)
    results.facts["hash_64mib_seconds"] = statistics.median(rulers)


def hash_seconds(data: bytes) -> float:
    """CPU seconds that MD5 (the ETag) and SHA-256 (the payload hash) of ``data`` cost alone."""
    begun = time.thread_time()
    for start in range(0, len(data), 1 << 20):
        block = data[start : start + (1 << 20)]
        if start == 0:
            md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        md5.update(block)
        sha256.update(block)
    return time.thread_time() - begun


# -- a million keys, this store alone -------------------------------------------------------------

SCALE_SMALL = 1_000
_SCALE_GROUPS = 1_000
_CHUNK = 50_000


def scale_item(keys: int, *, delimiter: bool) -> str:
    """The name of a listing over ``keys`` keys."""
    return f"LIST 1,000 of {keys:,}" + (" with '/'" if delimiter else "")


class ListScale(Listing):
    """Pages of 1,000 keys, or of 1,000 common prefixes, of a bucket with ``keys`` keys."""

    def __init__(self, keys: int, *, delimiter: bool) -> None:
        super().__init__(scale_item(keys, delimiter=delimiter))
        self._keys = keys
        self._delimiter = "/" if delimiter else ""

    def heads(self, seed: int) -> list[bytes]:
        signer, source = Signer(), random.Random(seed)
        # The last page that is full starts where 1,000 keys are left.
        groups = 1 + (self._keys - 1_000) * _SCALE_GROUPS // self._keys
        heads = []
        for _ in range(_PAGES):
            group = 0 if self._delimiter else source.randrange(groups)
            after = f"{group:04d}" if group else ""
            bucket = f"scale-{self._keys}"
            heads.append(signer.list(bucket, after=after, delimiter=self._delimiter))
        return heads


def scale_keys(keys: int) -> Iterator[str]:
    """``keys`` keys in 1,000 folders, in the order of time as Langfuse writes them."""
    source = random.Random(keys)
    for number in range(keys):
        name = uuid.UUID(int=source.getrandbits(128), version=4)
        yield f"{number * _SCALE_GROUPS // keys:04d}/{name}.json"


def run_scale(make: Callable[[str], Server], effort: Effort, results: Results, step: Step) -> None:
    """Listing, space and start with very many small objects."""
    empty = make("empty")
    times = []
    for number in range(effort.starts):
        step(f"start of an empty store, {number + 1}")
        times.append(empty.start())
        empty.stop()
    results.facts["start_empty_seconds"] = statistics.median(times)

    server = make("scale")
    server.start()
    try:
        results.facts["inodes_before"], results.facts["bytes_before"] = occupied(server.drive)
        bodies = [Body.random(TINY, seed) for seed in range(100, 100 + _BODIES)]
        for keys in (SCALE_SMALL, effort.scale_keys):
            _load_scale(server, keys, bodies, results, step)
        step("space")
        processes.settle(server.pid, 10)
        inodes, size = occupied(server.drive)
        results.facts["inodes"] = inodes
        results.facts["bytes"] = size
        results.facts["objects"] = effort.scale_keys + SCALE_SMALL
        times = []
        for number in range(effort.starts):
            step(f"start with {effort.scale_keys:,} objects, {number + 1}")
            server.stop()
            times.append(server.start())
        results.facts["start_full_seconds"] = statistics.median(times)
        step(f"start with {effort.scale_keys:,} objects after SIGKILL")
        server.stop(kill=True)
        results.facts["start_killed_seconds"] = server.start()
        for keys, delimiter in itertools.product((SCALE_SMALL, effort.scale_keys), (False, True)):
            item = ListScale(keys, delimiter=delimiter)
            run_item(item, [server], _only_sixteen(effort), results, step)
    finally:
        server.stop()


def _only_sixteen(effort: Effort) -> Effort:
    return Effort(rounds=effort.rounds, seconds=effort.seconds, connections=(16,))


def _load_scale(
    server: Server, keys: int, bodies: list[Body], results: Results, step: Step
) -> None:
    source = scale_keys(keys)
    loads = []
    before = processes.cpu_seconds(server.pid)
    for done in range(0, keys, _CHUNK):
        step(f"loading {keys:,} objects, {done:,} done")
        chunk = itertools.islice(source, min(_CHUNK, keys - done))
        loads.append(fill(server, f"scale-{keys}", chunk, bodies, connections=64, limit=900))
    processes.settle(server.pid)
    if keys > SCALE_SMALL:
        cpu = processes.cpu_seconds(server.pid) - before
        results.facts["load_rate"] = keys / sum(one.seconds for one in loads)
        results.facts["load_cpu_seconds"] = cpu / keys


def occupied(folder: Path) -> tuple[int, int]:
    """Inodes and allocated bytes below ``folder``, itself included."""
    inodes = size = 0
    for entry in itertools.chain([folder], folder.rglob("*")):
        try:
            stat = entry.lstat()
        except FileNotFoundError:
            continue
        inodes += 1
        size += stat.st_blocks * 512
    return inodes, size
