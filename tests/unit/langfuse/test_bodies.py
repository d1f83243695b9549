"""Bodies of events: both layouts, ids of all shapes, and what is no body at all."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.langfuse import bodies
from storage.langfuse.bodies import Damaged, Mention, mentions, search, unpacked
from storage.langfuse.index import stored
from storage.langfuse.keys import EVAL, OTEL, Place

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTEL_PLACE, OBSERVATION = Place(OTEL, "p1"), Place("observation", "p1", "o-1")
AT = 1_787_000_000_000


def buffer(text: str) -> dict[str, Any]:
    return {"type": "Buffer", "data": list(bytes.fromhex(text))}


def spans(*found: dict[str, Any]) -> bytes:
    return json.dumps([{"resource": {}, "scopeSpans": [{"spans": list(found)}]}]).encode()


@pytest.mark.parametrize(
    "trace",
    [TRACE, TRACE.upper(), buffer(TRACE), {"data": buffer(TRACE)["data"]}, buffer(TRACE)["data"]],
)
def test_trace_ids_of_spans(trace: Any) -> None:
    assert mentions(OTEL_PLACE, spans({"traceId": trace})) == [Mention(TRACE)]


@pytest.mark.parametrize(
    "trace", [base64.b64encode(bytes.fromhex(TRACE)).decode(), buffer(TRACE), TRACE.upper()]
)
@pytest.mark.parametrize("form", ["an OTLP request", "several", "resource spans"])
def test_otlp_requests(form: str, trace: Any) -> None:
    """OTLP in JSON has hex ids, protobuf's own mapping to JSON base64."""
    root = {"traceId": trace, "spanId": "AAAAAAAAAAE=", "parentSpanId": "AAAAAAAAAAA=", "name": "r"}
    child = {"traceId": trace, "spanId": "AAAAAAAAAAI=", "parentSpanId": "AAAAAAAAAAE="}
    whole = {"resourceSpans": [{"scopeSpans": [{"spans": [child, root]}]}]}
    document: Any = {
        "an OTLP request": whole, "several": [whole], "resource spans": whole["resourceSpans"],
    }[form]  # fmt: skip
    body = json.dumps(document).encode()
    assert mentions(OTEL_PLACE, body) == [Mention(TRACE, 0, 2, "r")]
    found = search(OTEL_PLACE, body)
    assert found == [Mention(TRACE, 0, 2)]


def test_texts_that_look_like_base64_stay() -> None:
    for text in ("A" * 24, "not base64 at all......=", "QUJD" * 3):
        assert mentions(OTEL_PLACE, spans({"traceId": text})) == [Mention(text)]
    text = base64.b64encode(bytes(16)).decode()
    (found,) = mentions(OBSERVATION, json.dumps([{"body": {"traceId": text}}]).encode())
    assert found.trace == text, "ids of Langfuse's own API are any text"


def test_one_event_and_a_batch() -> None:
    event = {"timestamp": "2026-08-17T22:13:20Z", "body": {"traceId": "t", "name": "n"}}
    for document in (event, {"batch": [event]}):
        (found,) = mentions(OBSERVATION, json.dumps(document).encode())
        assert (found.trace, found.name) == ("t", "n")


def test_bodies_in_gzip() -> None:
    body = spans({"traceId": TRACE})
    packed = gzip.compress(body)
    assert unpacked(packed, 1 << 20) == (body, True)
    assert unpacked(body, 5) == (body, True)
    assert unpacked(packed, 30) == (body[:30], False)
    assert unpacked(packed[:-9], 1 << 20)[1] is False
    bomb = gzip.compress(bytes(50 << 20))
    assert len(unpacked(bomb, 1000)[0]) == 1000
    for broken in (packed[:2], packed[:5] + b"\xff" * 20):
        with contextlib.suppress(Damaged):
            assert unpacked(broken, 100)[1] is False


@pytest.mark.parametrize(
    "time",
    [
        str(AT * 10**6 + 5),
        AT * 10**6,
        {"high": (AT * 10**6) >> 32, "low": (AT * 10**6) & 0xFFFFFFFF},
        {"high": (AT * 10**6) >> 32, "low": ((AT * 10**6) & 0xFFFFFFFF) - (1 << 32)},
    ],
)
def test_times_of_spans(time: Any) -> None:
    (found,) = mentions(OTEL_PLACE, spans({"traceId": TRACE, "startTimeUnixNano": time}))
    assert found.time == AT


@pytest.mark.parametrize("time", [None, "soon", -1, 10**30, "9" * 40, {"high": "x"}, [], 5])
def test_times_that_are_none(time: Any) -> None:
    (found,) = mentions(OTEL_PLACE, spans({"traceId": TRACE, "startTimeUnixNano": time}))
    assert found.time == 0


def test_spans_are_gathered_by_trace() -> None:
    other = "f" * 32
    body = spans(
        {"traceId": TRACE, "parentSpanId": "ab", "name": "child", "startTimeUnixNano": AT * 10**6},
        {"traceId": TRACE, "name": "root", "startTimeUnixNano": (AT - 9) * 10**6},
        {"traceId": other, "name": "second"},
        {"traceId": None},
        {},
    )
    assert mentions(OTEL_PLACE, body) == [
        Mention(TRACE, AT - 9, 2, "root"),
        Mention(other, 0, 1, "second"),
    ]


def test_ingested_events() -> None:
    event = {
        "id": "e",
        "timestamp": "2026-08-17T22:13:20.500Z",
        "type": "generation-create",
        "body": {"id": "o-1", "traceId": "my trace", "name": "answer", "input": {"traceId": "x"}},
    }
    body = json.dumps([event, {**event, "timestamp": "2026-08-17T22:13:19.500Z"}]).encode()
    assert mentions(OBSERVATION, body) == [Mention("my trace", 1787004799500, 2, "answer")]
    started = {**event, "body": {**event["body"], "startTime": "2026-08-17T22:13:10+00:00"}}  # type: ignore[dict-item]
    (found,) = mentions(OBSERVATION, json.dumps([started]).encode())
    assert found.time == 1787004790000
    place = Place("trace", "p1", "t-1", "t-1")
    (found,) = mentions(place, json.dumps([event]).encode())
    assert found.trace == "t-1", "the key knows better"
    assert mentions(Place(EVAL, "p1", "o", "t"), b"whatever") == [Mention("t")]
    assert mentions(Place("score", "p1", "s"), b'[{"body": {"id": "s"}}]') == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1]", b"null", b'{"a": 1}', b"\xff\xfe", b'[{"body": []}]', b'"x"',
     b"[" * 100_000, b'[{"body":' * 30_000, b'[{"scopeSpans": 3}]'],
)  # fmt: skip
def test_damaged_bodies(body: bytes) -> None:
    for place in (OTEL_PLACE, OBSERVATION):
        try:
            assert mentions(place, body) == []
        except Damaged:
            continue


@given(st.binary() | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["scopeSpans", "spans", "traceId", "body", "timestamp", "data", "name"])
        | st.text(), inner),
    max_leaves=20,
).map(lambda value: json.dumps([value]).encode()))  # fmt: skip
def test_no_body_stops_it(body: bytes) -> None:
    for place in (OTEL_PLACE, OBSERVATION, Place("trace", "p", "t", "t")):
        try:
            found = mentions(place, body)
        except Damaged:
            continue
        for each in (*found, *search(place, body)):
            each.trace.encode()
            each.name.encode()


def test_lone_surrogates_can_be_kept() -> None:
    """Texts that were cut in the middle of a character are common in inputs and outputs."""
    body = rb'[{"body": {"input": "cut \ud83d", "traceId": "a\ud800b"}}]'
    (found,) = mentions(OBSERVATION, body)
    assert found.trace == "a\N{REPLACEMENT CHARACTER}b"
    body = rb'[{"body": {"traceId": "t", "name": "\ud83d\ude00 \\ud83d \ude00\ud83d"}}]'
    (found,) = mentions(OBSERVATION, body)
    assert found.name.startswith("\N{GRINNING FACE} ")
    assert stored("a\ud800b").encode() == b"a?b"


def test_what_is_too_large_is_searched_at_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "VALUES_MAX", 10)
    body = spans(*({"traceId": buffer(TRACE), "name": "x"} for _ in range(20)))
    assert mentions(OTEL_PLACE, body) == [Mention(TRACE, 0, 20)]
    nested = json.dumps([{"body": {"input": json.dumps({"traceId": "inner"}), "traceId": "t"}}])
    assert search(OBSERVATION, nested.encode()) == [Mention("t")]
    assert search(Place("trace", "p", "t", "t"), b'"traceId": "x"') == [Mention("t")]


@pytest.mark.parametrize("kind", [EVAL, "trace"])
def test_ids_of_keys_are_normalized_too(kind: str) -> None:
    place = Place(kind, "p", "x", TRACE.upper())
    assert mentions(place, b'[{"body": {}}]') == [Mention(TRACE)]
    (found,) = search(place, b'[{"traceId": "%b"' % TRACE.encode())
    assert found.trace == TRACE


def test_what_one_object_can_add_is_bounded() -> None:
    body = spans(*({"traceId": f"{number:032x}"} for number in range(1, 3000)))
    assert len(mentions(OTEL_PLACE, body)) == bodies.TRACES_MAX
    assert mentions(OBSERVATION, json.dumps([{"body": {"traceId": "x" * 5000}}]).encode()) == []
    (found,) = mentions(
        OBSERVATION, json.dumps([{"body": {"traceId": "x", "name": "n" * 5000}}]).encode()
    )
    assert len(found.name) == bodies.NAME_CHARACTERS_MAX
