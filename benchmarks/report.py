"""Tables of what was measured, and the targets that this store has set itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import versions, work
from benchmarks.work import Results, Sample

STORE = "oversight"
_MIB = 1 << 20
_MEASURED_AT = 16


def print_samples(console: Console, results: Results) -> None:
    """One table per work item."""
    for item in dict.fromkeys(sample.item for sample in results.samples):
        console.print(_table(results, item))


def _table(results: Results, item: str) -> Table:
    table = Table(title=item, title_justify="left", title_style="bold")
    cells = dict.fromkeys((s.connections, s.server) for s in results.samples if s.item == item)
    servers = {server for _, server in cells}
    rivals = [name for name in ("floor", "minio", "seaweedfs") if name in servers]
    columns = ["conns", "server", "op/s", "CPU us/op", "p50 ms", "p99 ms", "RSS MiB", "PSS MiB"]
    columns += ["errors", *[f"CPU / {name}" for name in rivals], "load us/op"]
    for column in columns:
        table.add_column(column, justify="left" if column == "server" else "right")
    for connections, server in cells:
        table.add_row(*_row(results, item, server, connections, rivals))
    return table


def _row(
    results: Results, item: str, server: str, connections: int, rivals: Sequence[str]
) -> Iterator[str]:
    rounds = results.of(item, server, connections)

    def median(value: Any) -> float:
        return results.median(item, server, connections, value) or 0.0

    cpu = median(_cpu)
    yield str(connections)
    yield server
    yield f"{median(lambda s: s.rate):,.0f}" if cpu < 0.05 else f"{median(_rate):.1f}"
    yield f"{cpu * 1e6:,.0f}"
    yield f"{median(lambda s: s.load.p50) * 1e3:.2f}"
    yield f"{median(lambda s: s.load.p99) * 1e3:.2f}"
    yield f"{max(s.peak.rss for s in rounds) / _MIB:,.0f}"
    yield f"{max(s.peak.pss for s in rounds) / _MIB:,.0f}"
    yield str(sum(s.load.errors for s in rounds))
    for name in rivals:
        ratio = results.ratio(item, server, name, connections)
        yield "-" if ratio is None else f"{ratio:.2f}"
    yield f"{median(lambda s: s.load.generator_cpu / max(1, s.load.requests)) * 1e6:,.0f}"


def _cpu(sample: Sample) -> float:
    return sample.cpu_each


def _rate(sample: Sample) -> float:
    return sample.rate


@dataclass(frozen=True)
class Target:
    """One promise: a name, the bound as text, the measured value as text, and whether it holds.

    ``met`` is None where something that it needs was not measured.
    """

    name: str
    bound: str
    measured: str
    met: bool | None


def targets(results: Results) -> list[Target]:
    """Every promise on performance, judged."""
    return [
        *_floor_targets(results),
        *_peer_targets(results),
        *_lone_targets(results),
        *_list_targets(results),
        *_large_targets(results),
        *_memory_targets(results),
        *_scale_targets(results),
        *_version_targets(results),
        _error_target(results),
    ]


def _judge(
    name: str, bound: float, value: float | None, unit: str, *, least: bool = False
) -> Target:
    sign = ">=" if least else "<="
    text = f"{sign} {bound:,.2f}{unit}"
    if value is None:
        return Target(name, text, "not measured", None)
    met = value >= bound if least else value <= bound
    return Target(name, text, f"{value:,.2f}{unit}", met)


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over and under else None


def _floor_targets(results: Results) -> Iterator[Target]:
    for item, bound in (("GET 4 KiB", 2.0), ("PUT 4 KiB", 5.0)):
        ratio = results.ratio(item, STORE, "floor", _MEASURED_AT)
        yield _judge(f"{item}: CPU per operation / floor", bound, ratio, "x")


def _peer_targets(results: Results) -> Iterator[Target]:
    items = ("GET 4 KiB", "PUT 4 KiB", "Langfuse mix 2 KB", "LIST 1,000 of 10^4")
    for peer, bounds in (("minio", (3.5, 6, 6, 6)), ("seaweedfs", (4, 4, 3, 3))):
        for item, bound in zip(items, bounds, strict=True):
            ratio = results.ratio(item, peer, STORE, _MEASURED_AT)
            name = f"{item}: operations per CPU second against {peer}"
            yield _judge(name, bound, ratio, "x", least=True)


def _lone_targets(results: Results) -> Iterator[Target]:
    for item in ("GET 4 KiB", "PUT 4 KiB"):
        own = results.median(item, STORE, 1, lambda s: s.load.p50 * 1e3)
        peer = results.median(item, "minio", 1, lambda s: s.load.p50 * 1e3)
        yield _judge(f"{item}: p50 of one connection", 1.0, own, " ms")
        yield _judge(f"{item}: p50 of one connection / minio's", 1.0, _ratio(own, peer), "x")


def _list_targets(results: Results) -> Iterator[Target]:
    sizes = sorted({s.item for s in results.samples if s.item.startswith("LIST 1,000 of")})
    for delimiter in (False, True):
        small = work.scale_item(work.SCALE_SMALL, delimiter=delimiter)
        large = [
            name
            for name in sizes
            if name.endswith("'/'") == delimiter and name not in (small, "LIST 1,000 of 10^4")
        ]
        name = large[0] if large else "LIST of many keys"
        own = results.median(name, STORE, _MEASURED_AT, _cpu)
        base = results.median(small, STORE, _MEASURED_AT, _cpu)
        yield _judge(f"{name}: CPU / that over 1,000 keys", 1.5, _ratio(own, base), "x")


def _large_targets(results: Results) -> Iterator[Target]:
    get, put, connections = work.GET_LARGE, work.PUT_LARGE, work.LARGE_CONNECTIONS
    ratio = results.ratio(get, "minio", STORE, connections)
    yield _judge(f"{get}: bytes per CPU second against minio", 1.5, ratio, "x", least=True)
    own = results.median(put, STORE, connections, _cpu)
    ruler = results.facts.get("hash_64mib_seconds")
    yield _judge(f"{put}: CPU / MD5 and SHA-256 alone", 1.5, _ratio(own, ruler), "x")
    ratio = results.ratio(put, "minio", STORE, connections)
    yield _judge(f"{put}: bytes per CPU second against minio", 1.0, ratio, "x", least=True)


def _memory_targets(results: Results) -> Iterator[Target]:
    own = results.of(work.STREAM, STORE, work.STREAM_CONNECTIONS)
    workers = [
        size
        for sample in own
        for name, size in sample.peak.processes.items()
        if name.startswith("worker")
    ]
    value = max(workers) / 1e6 if workers else None
    yield _judge("64 MiB on 32 connections: RSS of the largest worker", 150, value, " MB")
    peer = results.median(
        work.STREAM, "minio", work.STREAM_CONNECTIONS, lambda s: float(s.peak.rss)
    )
    total = max((float(s.peak.rss) for s in own), default=None)
    name = "64 MiB on 32 connections: RSS of all processes / minio's"
    yield _judge(name, 1.0, _ratio(total, peer), "x")


def _scale_targets(results: Results) -> Iterator[Target]:
    facts = results.facts
    objects = facts.get("objects")
    inodes, size = facts.get("inodes"), facts.get("bytes")
    label = f"{objects:,.0f} objects" if objects else "very many objects"
    # What is allocated in advance does not weigh with a million objects, but with fewer it does.
    enough = objects is not None and objects >= work.FULL.scale_keys
    yield _judge(f"{label}: inodes", 999, inodes, "")
    each = size / objects if enough and size and objects else None
    bound = 1.4 * work.TINY + 600
    yield _judge(f"{label}: bytes on the drive, each", bound, each, " B")
    start = _ratio(facts.get("start_full_seconds"), facts.get("start_empty_seconds"))
    yield _judge(f"{label}: start / an empty start", 3.0, start, "x")


def _version_targets(results: Results) -> Iterator[Target]:
    for operation in versions.OPERATIONS:
        few = versions.item_name(operation, versions.FEW)
        sizes = {s.item for s in results.samples if s.item.startswith(f"{operation}, a key of ")}
        name = max(sizes - {few}, default=versions.item_name(operation, work.FULL.versions))
        own = results.median(name, STORE, _MEASURED_AT, _cpu)
        base = results.median(few, STORE, _MEASURED_AT, _cpu)
        yield _judge(f"{name} versions: CPU / that of one of 2", 1.5, _ratio(own, base), "x")


def _error_target(results: Results) -> Target:
    own = [sample.load.errors for sample in results.samples if sample.server == STORE]
    return _judge("errors", 0, float(sum(own)) if own else None, "")


def print_targets(console: Console, results: Results) -> None:
    """The promises and what became of them."""
    table = Table(title="Must reach", title_justify="left", title_style="bold")
    table.add_column("target")
    table.add_column("bound", justify="right")
    table.add_column("measured", justify="right")
    table.add_column("")
    words = {True: "[green]met[/]", False: "[red]MISSED[/]", None: "[dim]-[/]"}
    for target in targets(results):
        table.add_row(target.name, target.bound, target.measured, words[target.met])
    console.print(table)


def print_facts(console: Console, results: Results) -> None:
    """Single figures and notes."""
    for name, value in results.facts.items():
        text = f"{value:,.0f}" if value > 100 else f"{value:.6f}".rstrip("0").rstrip(".")
        console.print(f"{name} = {text}", highlight=False)
    for note in results.notes:
        console.print(f"note: {note}", highlight=False)


def notes(results: Results) -> list[str]:
    """What a reader must know to trust a table."""
    found = []
    cells = dict.fromkeys((s.item, s.server, s.connections) for s in results.samples)
    for item, server, connections in cells:
        rounds = results.of(item, server, connections)
        where = f"{item}, {connections} connections, {server}"
        if server != "floor" and any(s.load.wrapped for s in rounds) and "LIST" not in item:
            found.append(f"{where}: the prepared requests ran out and were sent again.")
        generator = sum(s.load.generator_cpu for s in rounds)
        if generator > sum(s.cpu for s in rounds):
            found.append(f"{where}: the generator used more CPU than the server.")
    return found


def as_json(results: Results, environment: dict[str, Any]) -> dict[str, Any]:
    """Everything, for machines."""
    return {
        "environment": environment,
        "facts": results.facts,
        "notes": results.notes,
        "samples": [asdict(sample) | {"cpu_each": sample.cpu_each} for sample in results.samples],
        "targets": [asdict(target) for target in targets(results)],
    }
