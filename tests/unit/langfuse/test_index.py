"""The index as a file: what changes do to it, what is found, and when it is of no use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.langfuse.bodies import DAMAGED, Mention
from storage.langfuse.index import (
    DAY_MS,
    FILE,
    Change,
    Event,
    Found,
    Progress,
    Reader,
    Unusable,
    Writer,
    remove,
    shown,
    stored,
)

HEX = "0af7651916cd43dd8448eb211c80319c"
DAY = 20_000


def found(
    *traces: str,
    project: str = "p1",
    kind: str = "otel",
    time: int = 0,
    size: int = 10,
    seq: int = 1,
) -> Found:
    at = DAY * DAY_MS + time
    return Found(seq, at, size, project, kind, [Mention(trace, at) for trace in traces])


@pytest.fixture
def writer(tmp_path: Path) -> Any:
    made = Writer.create(str(tmp_path), "store", Progress())
    yield made
    made.close()


@pytest.fixture
def reader(tmp_path: Path) -> Any:
    made = Reader(str(tmp_path))
    yield made
    made.close()


def test_without_an_index_nothing_is_found(reader: Reader) -> None:
    assert (reader.projects(), reader.events(HEX), reader.usage("p1")) == (([], []), [], [])


def test_what_was_entered_is_found(writer: Writer, reader: Reader) -> None:
    writer.apply(
        [
            Change("b", "k2", found(HEX, "other", time=20)),
            Change("b", "k1", found(HEX, time=10, size=5)),
            Change("b", "m", found(project="p2", kind="media", size=100)),
        ],
        Progress(position=3),
    )
    assert [event.key for event in reader.events(HEX)] == ["k1", "k2"]
    assert [event.key for event in reader.events(HEX.upper())] == ["k1", "k2"]
    first = reader.events(HEX, limit=1)[0]
    assert [e.key for e in reader.events(HEX, after=("p1", first.time, first.number))] == ["k2"]
    assert reader.events(HEX, project="p2") == []
    assert reader.projects()[1] == [
        ("p1", "otel", 2, 15, DAY, DAY),
        ("p2", "media", 1, 100, DAY, DAY),
    ]
    start = DAY * DAY_MS
    rows = reader.traces("p1", start, start + DAY_MS, None, 10)
    assert [(row.trace, row.objects, row.last - row.first) for row in rows] == [
        ("other", 1, 0),
        (HEX, 2, 10),
    ]
    rest = reader.traces("p1", start, start + DAY_MS, (rows[0].first, rows[0].trace), 10)
    assert rest == rows[1:]
    assert reader.traces("p1", start + DAY_MS, start + 2 * DAY_MS, None, 10) == []
    assert reader.trace_counts("p1") == {DAY: 2}
    assert (writer.objects, writer.flawed) == (3, 0)


def test_search_by_the_beginning_of_an_id(writer: Writer, reader: Reader) -> None:
    ids = [HEX, "0af" + "0" * 29, "0afternoon", "0b" * 16, "text", "0AF"]
    changes = [Change("b", f"k{n}", found(trace)) for n, trace in enumerate(ids)]
    changes.append(Change("b", "again", found(HEX, project="p2")))
    writer.apply(changes, Progress())
    everything = [
        ("0afternoon", "p1"),
        ("0af" + "0" * 29, "p1"),
        (HEX, "p1"),
        (HEX, "p2"),
    ]
    assert reader.search("0af", None, 10) == everything
    pages = []
    after = None
    while page := reader.search("0af", after, 1):
        pages += page
        after = page[-1]
    assert pages == everything
    assert reader.search(HEX, None, 10) == [(HEX, "p1"), (HEX, "p2")]
    assert reader.search("nothing", None, 10) == []
    assert len(reader.search("", None, 10)) == 7


def _steps(reader: Reader, ask: Callable[[], Any]) -> int:
    """Instructions of SQLite's machine that a question takes."""
    connection, steps = reader._current(), 0

    def step() -> bool:
        nonlocal steps
        steps += 1
        return False

    assert connection is not None
    connection.set_progress_handler(step, 1)
    ask()
    connection.set_progress_handler(None)
    return steps


def test_a_trace_of_very_many_events_costs_what_others_do(writer: Writer, reader: Reader) -> None:
    at, events = DAY * DAY_MS, 3000
    changes = [Change("b", f"k{n}", found(HEX, time=n)) for n in range(events)]
    changes += [Change("b", f"q{n}", found(HEX, project="p2", time=n)) for n in range(20)]
    changes += [Change("b", f"o{n}", found(f"{n:032x}", time=n)) for n in range(100)]
    writer.apply(changes, Progress())
    middle = ("p1", at + events // 2, 0)
    for ask in (
        lambda: reader.events(HEX, limit=10),
        lambda: reader.events(HEX, "p1", limit=10),
        lambda: reader.events(HEX, after=middle, limit=10),
        lambda: reader.events(HEX, "p1", after=middle, limit=10),
        lambda: reader.search("0", None, 10),
        lambda: reader.search(HEX, None, 10),
        lambda: reader.traces("p1", at, at + DAY_MS, None, 10),
    ):
        assert ask()
        assert _steps(reader, ask) < 1000
    seen: list[Event] = []
    while page := reader.events(
        HEX, after=(seen[-1].project, seen[-1].time, seen[-1].number) if seen else None, limit=700
    ):
        seen += page
    assert [event.key for event in seen] == [f"k{n}" for n in range(events)] + [
        f"q{n}" for n in range(20)
    ]
    steps = 0

    def step() -> bool:
        nonlocal steps
        steps += 1
        return False

    writer._connection.set_progress_handler(step, 1)
    writer.apply([Change("b", f"k{n}", None) for n in (0, 1500, events - 1)], Progress())
    assert steps < 3000
    row = next(row for row in reader.traces("p1", at, at + DAY_MS, None, 200) if row.trace == HEX)
    assert (row.first - at, row.last - at, row.objects) == (1, events - 2, events - 3)


def test_usage_comes_in_pages(writer: Writer, reader: Reader) -> None:
    changes = [
        Change("b", f"{project} {kind} {day}", found(project=project, kind=kind, time=day * DAY_MS))
        for project in ("p2", "p1", "p3")
        for kind in ("media", "otel")
        for day in range(3)
    ]
    writer.apply(changes, Progress())
    page = reader.usage_page("", 0, 1 << 30, None, 5)
    assert [(each.project, each.kind, each.day - DAY) for each in page] == [
        ("p1", "otel", 0), ("p1", "media", 0), ("p1", "otel", 1), ("p1", "media", 1),
        ("p1", "otel", 2),
    ]  # fmt: skip
    rest = reader.usage_page("", 0, 1 << 30, ("p1", DAY + 1), 100)
    assert len(rest) == 14
    assert {each.project for each in reader.usage_page("p2", DAY, DAY, None, 100)} == {"p2"}
    assert len(reader.usage_page("p2", 0, 1 << 30, ("p2", DAY), 100)) == 4
    assert reader.projects("p1", 1)[0] == ["p2"]
    assert [each.day - DAY for each in reader.days("p3", DAY + 1, 1)] == [1, 1]


def test_replaced_and_deleted_objects(writer: Writer, reader: Reader) -> None:
    writer.apply([Change("b", "k", found(HEX)), Change("b", "l", found(HEX, time=5))], Progress())
    writer.apply([Change("b", "k", found("new", size=7)), Change("b", "l", None)], Progress())
    assert reader.events(HEX) == []
    assert reader.projects()[1] == [("p1", "otel", 1, 7, DAY, DAY)]
    assert list(reader.trace_counts("p1").values()) == [1]
    writer.apply([Change("b", "k", None), Change("b", "never", None)], Progress())
    assert reader.projects()[1] == []
    assert reader.trace_counts("p1") == {}
    assert (writer.objects, writer.flawed) == (0, 0)


def test_a_transaction_is_whole(writer: Writer, reader: Reader, tmp_path: Path) -> None:
    writer.apply([Change("b", "k", found(HEX))], Progress(position=1))
    bad = Found(1, 1, 1, "p", "otel", [Mention(object())])  # type: ignore[arg-type]
    with pytest.raises((TypeError, AttributeError)):
        writer.apply([Change("b", "l", found("x")), Change("b", "m", bad)], Progress(position=9))
    writer.close()
    again = Writer(str(tmp_path), "store")
    assert again.progress == Progress(position=1)
    assert (again.objects, len(reader.projects()[1])) == (1, 1)
    again.close()


def test_a_trace_that_is_said_twice_counts_once(writer: Writer, reader: Reader) -> None:
    writer.apply([Change("b", "k", found(HEX, "other", HEX.upper()))], Progress(position=1))
    assert [event.flaw for event in reader.events(HEX)] == [0]
    rows = reader.traces("p1", DAY * DAY_MS, (DAY + 1) * DAY_MS, None, 10)
    assert [row.objects for row in rows] == [1, 1]
    assert (writer.objects, writer.flawed) == (1, 0)


def test_what_the_tables_refuse_is_the_flaw_of_one_object(writer: Writer, reader: Reader) -> None:
    at = DAY * DAY_MS
    refused: Any = Mention(HEX, at, parts="many")  # type: ignore[arg-type]
    bad = Found(1, at, 7, "p2", "otel", [Mention("seen", at), refused])
    changes = [Change("b", "k", bad), Change("b", "l", found(HEX)), Change("b", "m", bad)]
    for position in (1, 2):
        writer.apply(changes, Progress(position=position))
        assert writer.progress == Progress(position=position)
        assert (writer.objects, writer.flawed) == (3, 2)
    assert [event.key for event in reader.events(HEX)] == ["l"]
    assert reader.events("seen") == []
    assert reader.projects()[1] == [
        ("p1", "otel", 1, 10, DAY, DAY),
        ("p2", "otel", 2, 14, DAY, DAY),
    ]
    connection = apsw.Connection(writer.path)
    flaws = dict(connection.execute("SELECT key, flaw FROM objects"))
    connection.close()
    assert flaws == {"k": DAMAGED, "l": 0, "m": DAMAGED}


def test_what_passes_is_no_damage(writer: Writer, reader: Reader) -> None:
    writer._connection.set_busy_timeout(0)
    other = apsw.Connection(writer.path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OSError, match="locked"):
        writer.apply([Change("b", "k", found(HEX))], Progress(position=1))
    other.close()
    writer.apply([Change("b", "k", found(HEX))], Progress(position=1))
    assert (writer.objects, len(reader.events(HEX))) == (1, 1)


def test_it_goes_on_where_it_was(writer: Writer, tmp_path: Path) -> None:
    progress = Progress(5, False, 1, "käse/\n", 2, 3)
    writer.apply([Change("b", "k", found(HEX))], progress)
    writer.close()
    again = Writer(str(tmp_path), "store")
    assert (again.progress, again.objects) == (progress, 1)
    again.close()


def test_what_is_of_no_use(writer: Writer, tmp_path: Path) -> None:
    writer.close()
    with pytest.raises(Unusable):
        Writer(str(tmp_path), "another store")
    with pytest.raises(Unusable):
        Writer(str(tmp_path / "nowhere"), "store")
    path = tmp_path / FILE
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(Unusable):
        Writer(str(tmp_path), "store")
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(Unusable):
        Writer(str(tmp_path), "store")
    remove(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_readers_follow_a_replaced_file(writer: Writer, reader: Reader, tmp_path: Path) -> None:
    writer.apply([Change("b", "k", found(HEX))], Progress())
    assert reader.projects()[1]
    writer.close()
    fresh = Writer.create(str(tmp_path), "store", Progress())
    assert reader.projects()[1] == []
    fresh.apply([Change("b", "k", found("z"))], Progress())
    assert reader.search("z", None, 5) == [("z", "p1")]
    fresh.close()


_ids = st.sampled_from([HEX, "a", "b"])
_founds = st.none() | st.builds(
    lambda traces, project, kind, time, size: found(
        *dict.fromkeys(traces), project=project, kind=kind, time=time, size=size
    ),
    st.lists(_ids, max_size=3),
    st.sampled_from(["p1", "p2"]),
    st.sampled_from(["otel", "trace", "media"]),
    st.integers(0, 3 * DAY_MS),
    st.integers(0, 100),
)
_batches = st.lists(st.lists(st.tuples(st.sampled_from("xyz"), _founds), max_size=4), max_size=8)


def content(path: Path) -> Any:
    """Everything that an index says, without the numbers that differ from file to file."""
    connection = apsw.Connection(str(path / FILE))
    queries = (
        "SELECT bucket, key, seq, modified, size, p.name, kind, day, flaw FROM objects "
        "JOIN projects p ON p.id = project ORDER BY 1, 2",
        "SELECT o.key, trace, p.name, time, parts, m.name FROM mentions m "
        "JOIN objects o ON o.id = object JOIN projects p ON p.id = m.project ORDER BY 1, 2",
        "SELECT p.name, trace, first, last, objects FROM traces "
        "JOIN projects p ON p.id = project ORDER BY 1, 2",
        "SELECT p.name, kind, day, objects, bytes FROM usage "
        "JOIN projects p ON p.id = project ORDER BY 1, 2, 3",
    )
    try:
        return [list(connection.execute(query)) for query in queries]
    finally:
        connection.close()


@settings(max_examples=40)
@given(_batches)
def test_any_history_leaves_what_its_end_alone_would(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, Found | None]]]
) -> None:
    folders = [tmp_path_factory.mktemp("index") for _ in range(2)]
    one, other = (Writer.create(str(folder), "store", Progress()) for folder in folders)
    end: dict[str, Found | None] = {}
    for batch in batches:
        one.apply([Change("b", key, what) for key, what in batch], Progress())
        end |= dict(batch)
    other.apply([Change("b", key, what) for key, what in end.items()], Progress())
    assert (one.objects, one.flawed) == (other.objects, other.flawed)
    one.close()
    other.close()
    assert content(folders[0]) == content(folders[1])


@given(st.text())
def test_ids_come_back(text: str) -> None:
    assert stored(shown(stored(text))) == stored(text)
