"""What the Langfuse view shows, and that nobody sees in it what they could not read."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from storage.control import langfuse, langfuse_sight
from storage.engine.interface import AmendObject, Following, Health
from storage.engine.memory import MemoryEngine
from storage.langfuse.bodies import DAMAGED, Mention
from storage.langfuse.index import DAY_MS, Change, Found, Progress, Reader, Writer
from storage.langfuse.keys import layout

from .conftest import problem

A, B = "a" * 32, "b" * 32
DAY = 20_000  # 2024-10-04
LAYOUT = layout("langfuse/events/", "langfuse/media/", "langfuse/exports/")
#: key -> (trace, milliseconds after the beginning of the day, bytes)
OBJECTS = {
    "events/otel/p1/2024/10/04/00/00/1.json": (A, 10, 100),
    f"events/p1/trace/{A}/e.json": (A, 5, 20),
    "events/p1/score/s/e.json": (A, 20, 7),
    "events/p2/observation/o/e.json": (B, 30, 50),
    "events/otel/p2/2024/10/05/00/00/2.json": ("b-second", DAY_MS + 5, 60),
    "media/p1/picture.png": (None, 0, 1000),
    "exports/1-lf-traces-export-p2.csv": (None, 0, 5),
}


@pytest.fixture
def index(app: FastAPI, root: TestClient, tmp_path: Path) -> Iterator[Writer]:
    """A store with objects of two projects, and their index."""
    assert root.post("/api/v1/buckets", json={"name": "langfuse"}).status_code == 201
    changes = []
    for key, (trace, at, size) in OBJECTS.items():
        answer = root.put(f"/api/v1/buckets/langfuse/objects/{key}", content=b"x" * size)
        assert answer.status_code == 201
        place = LAYOUT.parse("langfuse", key)
        assert place is not None
        time = DAY * DAY_MS + at
        found = Found(1, time, size, place.project, place.kind)
        if trace is not None:
            found.mentions = [Mention(trace, time, 2, f"name of {key[:12]}")]
        changes.append(Change("langfuse", key, found))
    writer = Writer.create(str(tmp_path), "store", Progress())
    writer.apply(changes, Progress(complete=True))
    plane = app.state.plane
    plane.langfuse = Reader(str(tmp_path))
    yield writer
    plane.langfuse.close()
    writer.close()


def get(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(f"/api/v1/langfuse{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def reader_of(root: TestClient, make_user: Callable[..., TestClient]) -> Callable[..., TestClient]:
    """A user who may list and read what is under prefixes, but for what is denied."""

    def make(name: str, *prefixes: str, denied: str = "") -> TestClient:
        statements: list[Any] = [
            {
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": [f"arn:aws:s3:::langfuse/{prefix}*" for prefix in prefixes],
            },
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": "arn:aws:s3:::langfuse",
                "Condition": {"StringLike": {"s3:prefix": [f"{p}*" for p in prefixes]}},
            },
        ]
        if denied:
            resource = f"arn:aws:s3:::langfuse/{denied}"
            statements.append({"Effect": "Deny", "Action": "s3:GetObject", "Resource": resource})
        document = {"Version": "2012-10-17", "Statement": statements}
        assert root.put(f"/api/v1/policies/{name}", json=document).status_code == 200
        return make_user(name, name)

    return make


def test_projects_and_days(index: Writer, root: TestClient) -> None:
    first, second = get(root, "/projects")["projects"]
    assert (first["project"], first["objects"], first["bytes"]) == ("p1", 4, 1127)
    assert {each["kind"] for each in first["kinds"]} == {"otel", "trace", "score", "media"}
    assert (second["first"], second["last"]) == ("2024-10-04", "2024-10-05")
    later, earlier = get(root, "/days", project="p2")
    assert (later["day"], later["objects"], later["traces"]) == ("2024-10-05", 1, 1)
    assert (earlier["day"], earlier["objects"], earlier["bytes"]) == ("2024-10-04", 2, 55)
    assert get(root, "/days", project="p2", until="2024-10-04") == [earlier]
    assert get(root, "/days", project="none") == []


def test_usage(index: Writer, root: TestClient) -> None:
    page = get(root, "/usage", since="2024-10-01", until="2024-10-31")
    rows = page["rows"]
    assert page["next"] is None
    assert {each["kind"]: each["bytes"] for each in rows[0]["kinds"]} == {
        "otel": 100, "trace": 20, "score": 7, "media": 1000,
    }  # fmt: skip
    assert [(row["project"], row["day"], row["bytes"]) for row in rows] == [
        ("p1", "2024-10-04", 1127),
        ("p2", "2024-10-04", 55),
        ("p2", "2024-10-05", 60),
    ]
    assert get(root, "/usage", since="2024-10-05", until="2024-10-05", project="p1")["rows"] == []
    for query in ({"since": "2024-10-05", "until": "2024-10-04"}, {"since": "2000-01-01"}):
        problem(root.get("/api/v1/langfuse/usage", params=query), 400, "InvalidArgument")


def test_traces_and_their_events(index: Writer, root: TestClient) -> None:
    page = get(root, "/traces", project="p1", day="2024-10-04")
    (found,) = page["traces"]
    assert (found["trace"], found["objects"], found["bytes"]) == (A, 3, 127)
    assert page["next"] is None
    told = get(root, "/events", trace=A)["events"]
    assert [event["kind"] for event in told] == ["trace", "otel", "score"]
    assert told[0]["time"] == "2024-10-04T00:00:00.005000Z"
    assert told[1]["parts"] == 2
    paged, after = [], ""
    for _ in range(4):
        page = get(root, "/events", trace=A, limit=1, after=after)
        paged += page["events"]
        after = page["next"] or ""
        if not after:
            break
    assert paged == told


def test_pages_of_traces(index: Writer, root: TestClient) -> None:
    at = DAY * DAY_MS
    changes = [
        Change("langfuse", f"events/p1/trace/t{n}/e.json",
               Found(1, at, 1, "p1", "trace", [Mention(f"t{n}", at + n // 2)]))
        for n in range(7)
    ]  # fmt: skip
    for change in changes:
        root.put(f"/api/v1/buckets/langfuse/objects/{change.key}", content=b"x")
    index.apply(changes, Progress())
    found, after = [], ""
    while True:
        page = get(root, "/traces", project="p1", day="2024-10-04", limit=2, after=after)
        found += [each["trace"] for each in page["traces"]]
        after = page["next"]
        if after is None:
            break
    assert found == [A, "t6", "t5", "t4", "t3", "t2", "t1", "t0"]


def test_search(index: Writer, root: TestClient) -> None:
    assert [each["trace"] for each in get(root, "/search", trace=A)["traces"]] == [A]
    assert [each["trace"] for each in get(root, "/search", trace="b")["traces"]] == ["b-second", B]
    assert get(root, "/search", trace="bb")["traces"][0]["project"] == "p2"
    assert get(root, "/search", trace="c")["traces"] == []
    assert len(get(root, "/search", trace="b", limit=1)["traces"]) == 1


def test_only_what_may_be_read_is_shown(
    index: Writer, reader_of: Callable[..., TestClient], make_user: Callable[..., TestClient]
) -> None:
    everything = ("/projects", {}), ("/usage", {"since": "2024-10-01", "until": "2024-10-31"})
    nobody = make_user("nobody")
    for path, query in everything:
        assert list(get(nobody, path, **query).values()) == [[], None]
    assert get(nobody, "/days", project="p1") == []
    assert get(nobody, "/traces", project="p1", day="2024-10-04")["traces"] == []
    assert get(nobody, "/search", trace=A)["traces"] == []
    assert get(nobody, "/events", trace=A)["events"] == []
    one = reader_of("one", "events/p1/", "media/p1/")
    (project,) = get(one, "/projects")["projects"]
    assert (project["project"], project["objects"]) == ("p1", 3)
    assert {each["kind"] for each in project["kinds"]} == {"trace", "score", "media"}
    assert [event["kind"] for event in get(one, "/events", trace=A)["events"]] == ["trace", "score"]
    (found,) = get(one, "/traces", project="p1", day="2024-10-04")["traces"]
    assert (found["objects"], found["bytes"]) == (2, 27)
    assert get(one, "/search", trace="b")["traces"] == []
    (day,) = get(one, "/days", project="p1")
    assert day["traces"] is None, "it may not read all events"


def test_a_denial_of_a_single_object_counts(
    index: Writer, reader_of: Callable[..., TestClient]
) -> None:
    most = reader_of("most", "events/", denied="events/p1/score/s/*")
    assert [e["kind"] for e in get(most, "/events", trace=A)["events"]] == ["trace", "otel"]
    all_but_b = reader_of("all-but-b", "events/", denied="events/p2/observation/o/e.json")
    assert get(all_but_b, "/search", trace=B)["traces"] == []
    assert len(get(all_but_b, "/search", trace="b")["traces"]) == 1


def test_a_denial_by_tags_counts(
    index: Writer, root: TestClient, engine: MemoryEngine, reader_of: Callable[..., TestClient]
) -> None:
    """What depends on the object itself is decided with the object."""
    reader = reader_of("tagged", "events/")
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"},
            {
                "Effect": "Deny",
                "Action": "s3:GetObject",
                "Resource": "*",
                "Condition": {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}},
            },
        ],
    }
    root.put("/api/v1/policies/tagged", json=document)
    assert len(get(reader, "/search", trace=B)["traces"]) == 1
    portal = root.portal
    assert portal is not None
    key = "events/p2/observation/o/e.json"

    async def tag() -> None:
        bucket = await engine.bucket("langfuse")
        assert bucket is not None
        version = await engine.lookup(bucket.id, key)
        assert version is not None
        await engine.commit(AmendObject(bucket.id, key, version.seq, tags={"secret": "yes"}))

    portal.call(tag)
    assert get(reader, "/search", trace=B)["traces"] == []


def test_what_is_wrong_with_an_object_is_told(index: Writer, root: TestClient) -> None:
    key = "events/p1/observation/x/e.json"
    root.put(f"/api/v1/buckets/langfuse/objects/{key}", content=b"{")
    found = Found(1, DAY * DAY_MS, 1, "p1", "observation", [Mention("x")], DAMAGED)
    index.apply([Change("langfuse", key, found)], Progress())
    (event,) = get(root, "/events", trace="x")["events"]
    assert event["flaw"] == "damaged"


def test_links_to_langfuse(
    app: FastAPI, index: Writer, root: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get(root, "/search", trace=B)["traces"][0]["url"] == ""
    plane = app.state.plane
    config = msgspec.structs.replace(plane.config, langfuse_url="https://lf.example.com")
    monkeypatch.setattr(plane, "config", config)
    assert get(root, "/search", trace=B)["traces"][0]["url"] == (
        f"https://lf.example.com/project/p2/traces/{B}"
    )
    assert get(root, "")["url"] == "https://lf.example.com"


def _walk(client: TestClient, path: str, what: str, **query: Any) -> tuple[list[Any], int]:
    """Everything that a paged question finds, and the pages that it took."""
    found, after, pages = [], "", 0
    while True:
        page = get(client, path, **query, **({"after": after} if after else {}))
        found += page[what]
        pages += 1
        after = page["next"]
        if after is None:
            return found, pages


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that were decided about."""
    made: list[str] = []
    decide = langfuse_sight.decide_on

    def counted(principal: Any, action: str, bucket: Any, key: str, *rest: Any, **more: Any) -> Any:
        made.append(key)
        return decide(principal, action, bucket, key, *rest, **more)

    monkeypatch.setattr(langfuse_sight, "decide_on", counted)
    return made


def test_a_request_makes_a_bounded_number_of_decisions(
    index: Writer,
    make_user: Callable[..., TestClient],
    decisions: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who may read nothing does not make the store decide about everything at once."""
    monkeypatch.setattr(langfuse_sight, "DECISIONS_MAX", 20)
    monkeypatch.setattr(langfuse, "_EVENTS_OF_ROW", 7)
    at = DAY * DAY_MS
    index.apply(
        [
            Change("langfuse", f"events/p{n % 30}/trace/b{n % 60}/{n}.json",
                   Found(1, at, 1, f"p{n % 30}", "trace", [Mention(f"b{n % 60}", at + n % 60)]))
            for n in range(300)
        ],
        Progress(),
    )  # fmt: skip
    nobody = make_user("nobody")
    for path, what, query in (
        ("/search", "traces", {"trace": "b"}),
        ("/traces", "traces", {"project": "p1", "day": "2024-10-04"}),
        ("/projects", "projects", {}),
        ("/usage", "rows", {"since": "2024-10-01", "until": "2024-10-31"}),
    ):
        decisions.clear()
        get(nobody, path, **query)
        assert len(decisions) <= 20
        found, pages = _walk(nobody, path, what, **query)
        assert found == []
        assert pages > 1 or path == "/traces"
        assert len(decisions) <= 20 * (pages + 1)


def test_bounded_pages_lose_nothing(
    index: Writer, reader_of: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = DAY * DAY_MS
    index.apply(
        [
            Change("langfuse", f"events/q{n}/trace/t{n}/e.json",
                   Found(1, at, 1, f"q{n}", "trace", [Mention(f"t{n}", at)]))
            for n in range(40)
        ],
        Progress(),
    )  # fmt: skip
    some = reader_of("some", "events/q3/", "events/q39/")
    whole = {path: _walk(some, path, what, **query)[0] for path, what, query in _QUESTIONS}
    assert [each["trace"] for each in whole["/search"]] == ["t3", "t39"]
    monkeypatch.setattr(langfuse_sight, "DECISIONS_MAX", 11)
    for path, what, query in _QUESTIONS:
        found, pages = _walk(some, path, what, **query)
        assert found == whole[path]
        assert pages > 2


_QUESTIONS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("/search", "traces", {"trace": "t"}),
    ("/projects", "projects", {}),
    ("/usage", "rows", {"since": "2024-10-01", "until": "2024-10-31"}),
)


def test_places_to_go_on_from_tell_nothing_and_serve_nobody_else(
    index: Writer, root: TestClient, make_user: Callable[..., TestClient]
) -> None:
    after = get(root, "/search", trace="b", limit=1)["next"]
    assert b"b-second" not in base64.urlsafe_b64decode(after)
    assert [each["trace"] for each in get(root, "/search", trace="b", after=after)["traces"]] == [B]
    for client, trace in ((make_user("nobody"), "b"), (root, "a")):
        query = {"trace": trace, "after": after}
        problem(client.get("/api/v1/langfuse/search", params=query), 400, "InvalidArgument")


@pytest.mark.parametrize("after", ["x", "1", "1 x", "² 1", "9" * 30 + " 1", " "])
def test_cursors_that_are_none(index: Writer, root: TestClient, after: str) -> None:
    answer = root.get("/api/v1/langfuse/events", params={"trace": A, "after": after})
    problem(answer, 400, "InvalidArgument")


@pytest.mark.parametrize("text", ["..", "a/b", "\x00", "%", "'; --", "日本", "x" * 1024])
def test_any_text_is_searched_for(index: Writer, root: TestClient, text: str) -> None:
    assert get(root, "/search", trace=text)["traces"] == []
    assert get(root, "/events", trace=text, project=text)["events"] == []


def test_where_there_is_none(
    app: FastAPI, root: TestClient, index: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get(root, "")["state"] == "off"
    plane = app.state.plane
    config = msgspec.structs.replace(plane.config, langfuse_index=False)
    monkeypatch.setattr(plane, "config", config)
    problem(root.get("/api/v1/langfuse/projects"), 404, "IndexIsOff")
    assert json.dumps(get(root, ""))


def test_counts_of_the_whole_index_are_for_who_may_look_at_the_store(
    index: Writer,
    engine: MemoryEngine,
    root: TestClient,
    reader_of: Callable[..., TestClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Following(state=1, done=3, total=12, objects=7, flawed=2, heard=1, behind=9)

    async def health() -> Health:
        return Health(langfuse=told)

    monkeypatch.setattr(engine, "health", health)
    found = get(root, "")
    assert (found["done"], found["total"], found["objects"]) == (3, 12, 7)
    assert (found["flawed"], found["behind"], found["progress"]) == (2, 9, 0.25)
    theirs = get(reader_of("one", "events/p1/"), "")
    assert {name for name, value in theirs.items() if value is None} == {
        "done", "total", "objects", "flawed", "behind",
    }  # fmt: skip
    assert (theirs["state"], theirs["progress"]) == ("stocktaking", 0.25)


def test_traces_that_may_not_be_counted_are_not_said_to_be_none(
    index: Writer, reader_of: Callable[..., TestClient]
) -> None:
    """They are counted where all that there is may be read, though not all that there could be."""
    half = reader_of("half", "events/p1/trace/")
    assert [(d["objects"], d["traces"]) for d in get(half, "/days", project="p1")] == [(1, None)]
    whole = reader_of("whole", "events/p1/trace/", "events/otel/p1/", "events/p1/score/")
    assert [(d["objects"], d["traces"]) for d in get(whole, "/days", project="p1")] == [(3, 1)]


def test_a_trace_is_not_named_after_its_scores(index: Writer, root: TestClient) -> None:
    at = DAY * DAY_MS
    key = "events/p1/score/only/e.json"
    root.put(f"/api/v1/buckets/langfuse/objects/{key}", content=b"x")
    found = Found(1, at, 1, "p1", "score", [Mention("judged", at, 1, "helpful")])
    index.apply([Change("langfuse", key, found)], Progress(complete=True))
    (trace,) = get(root, "/search", trace="judged")["traces"]
    assert trace["name"] == ""


def test_a_rule_about_names_of_a_few_characters_is_none_about_everything(
    index: Writer, root: TestClient, make_user: Callable[..., TestClient]
) -> None:
    resources = [f"arn:aws:s3:::langfuse/events/p1/trace/{'?' * count}" for count in (1, 2, 9)]
    statements = [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": resources},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::langfuse"},
    ]
    document = {"Version": "2012-10-17", "Statement": statements}
    assert root.put("/api/v1/policies/few", json=document).status_code == 200
    assert get(make_user("few", "few"), "/projects")["projects"] == []
