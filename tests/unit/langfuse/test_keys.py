"""Keys that Langfuse writes, and those that only look like them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.langfuse.keys import EVAL, EXPORT, MEDIA, OTEL, Place, layout

LAYOUT = layout("langfuse/events/", "langfuse/media/", "langfuse/exports/")
DEFAULT = layout("b/", "b/media/", "b/exports/")
UUID = "7e34b1f0-14f6-4d4d-9f0e-0b0f2f4ac1d4"


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (f"events/otel/p1/2026/08/17/09/41/{UUID}.json", Place(OTEL, "p1")),
        ("events/p1/trace/t-1/e-1.json", Place("trace", "p1", "t-1", "t-1")),
        ("events/p1/observation/o-1/e-1.json", Place("observation", "p1", "o-1")),
        ("events/p1/score/s/e.json", Place("score", "p1", "s")),
        ("events/p1/dataset_run_item/d/e.json", Place("dataset_run_item", "p1", "d")),
        ("events/p1/trace/a/b/../c/e.json", Place("trace", "p1", "a/b/../c", "a/b/../c")),
        ("events/p1/trace/a\nb/e.json", Place("trace", "p1", "a\nb", "a\nb")),
        ("events/p1/trace//e.json", None),
        (
            "events/evals/p1/traces/t-1/observations/o-1.json",
            Place(EVAL, "p1", "o-1", "t-1"),
        ),
        ("media/p1/Zm9vYmFyYmF6cXV4MTIzNA.png", Place(MEDIA, "p1", "Zm9vYmFyYmF6cXV4MTIzNA")),
        ("media/p1/noextension", Place(MEDIA, "p1", "noextension")),
        ("exports/1755423671000-lf-traces-export-p1.csv", Place(EXPORT, "p1")),
        ("exports/1755423671000-lf-batch-x-export-p-1.jsonl", Place(EXPORT, "p-1")),
        ("events/", None),
        ("events/p1/session/x/e.json", None),
        ("events/p1/trace/t-1/e-1.txt", None),
        ("events/p1/trace/e-1.json", None),
        ("media/p1/", None),
        ("media/p1/a/b.png", None),
        ("exports/x-lf-traces-export-p1.csv", None),
        ("other/p1/trace/t-1/e-1.json", None),
    ],
)
def test_keys(key: str, place: Place | None) -> None:
    assert LAYOUT.parse("langfuse", key) == place
    assert LAYOUT.parse("other", key) is None


def test_prefixes_may_lie_below_one_another() -> None:
    assert DEFAULT.parse("b", "media/p1/x.png") == Place(MEDIA, "p1", "x")
    assert DEFAULT.parse("b", "p1/trace/t/e.json") == Place("trace", "p1", "t", "t")
    assert DEFAULT.parse("b", "exports/1-lf-t-export-p1.csv") == Place(EXPORT, "p1")


@given(st.text())
def test_any_key_is_understood_or_not(text: str) -> None:
    for prefix in ("", "events/", "media/", "exports/", "events/otel/", "events/p/trace/"):
        place = LAYOUT.parse("langfuse", prefix + text)
        if place is not None:
            bucket, scope = LAYOUT.scope(place.kind, place.project)
            assert bucket == "langfuse"
            assert (prefix + text).startswith(scope)
