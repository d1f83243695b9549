"""Scores of a trace: the same whatever object was read first."""

from __future__ import annotations

import itertools
from typing import Any

_READ = """async (events) => {
    const base = document.querySelector("script[src$='main.js']").src;
    const { newTrace, read } = await import(base.replace("main.js", "observations.js"));
    const trace = newTrace();
    for (const event of events) read(trace, [event], "t", "key");
    return trace.scores.map(({ name, value }) => [name, value]);
}"""


def score(number: int, name: str, second: int, value: float) -> dict[str, Any]:
    body = {"id": f"score-{number}", "traceId": "t", "name": name, "value": value}
    when = f"2026-11-22T10:00:{second:02}.000Z"
    return {"id": f"e-{number}-{second}", "type": "score-create", "timestamp": when, "body": body}


def test_scores_stand_by_time_and_name(page: Any) -> None:
    events = [score(1, "late", 9, 1), score(2, "b", 5, 2), score(3, "a", 5, 3)]
    for order in itertools.permutations(events):
        assert page.evaluate(_READ, list(order)) == [["a", 3], ["b", 2], ["late", 1]]


def test_what_a_score_was_said_to_be_last_counts(page: Any) -> None:
    events = [score(1, "a", 1, 1), score(1, "a", 8, 2), score(2, "b", 5, 3)]
    for order in itertools.permutations(events):
        assert page.evaluate(_READ, list(order)) == [["b", 3], ["a", 2]]
