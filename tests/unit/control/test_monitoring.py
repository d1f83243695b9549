"""The monitoring API over counters of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from storage.engine.memory import MemoryEngine
from storage.telemetry.board import Board, Failure
from storage.telemetry.monitor import Monitor
from storage.telemetry.trends import Trends

from .conftest import problem


@pytest.fixture
def monitor(app: FastAPI, engine: MemoryEngine, tmp_path: Path) -> Iterator[Monitor]:
    made = Monitor(engine, Board(), Trends(str(tmp_path)))
    app.state.plane.monitor = made
    yield made
    made.trends.close()


def get(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(f"/api/v1/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_requests_over_time(monitor: Monitor, root: TestClient) -> None:
    slot = monitor.board.slot(0)
    slot.set_in_flight(2)
    record, now = slot.recorder(), time.time()
    assert get(root, "monitoring/requests") == {"points": [], "operations": []}
    assert get(root, "monitoring/live")["requests"] == 0
    monitor.ring.take(monitor.board.totals(), now - 20)
    for _ in range(99):
        record("GetObject", 200, 0, 1000, 0.002)
    record("PutObject", 500, 10, 0, 4.0)
    monitor.ring.take(monitor.board.totals(), now - 10)
    record("GetObject", 403, 0, 0, 0.002)
    monitor.ring.take(monitor.board.totals(), now)
    live = get(root, "monitoring/live")
    assert (live["requests"], live["server_errors"], live["in_flight"]) == (101, 1, 2)
    assert live["seconds"] == pytest.approx(20)
    assert live["p50"] == pytest.approx(0.00175, abs=0.001)
    assert live["p99"] == pytest.approx(0.0025, abs=0.0001)
    assert live["resident"] > 0
    found = get(root, "monitoring/requests", span=3600, points=60)
    assert [point["requests"] for point in found["points"]] == [100, 1]
    assert [row["operation"] for row in found["operations"]] == ["GetObject", "PutObject"]
    assert found["operations"][0]["client_errors"] == 1
    one = get(root, "monitoring/requests", operation="PutObject")
    assert [point["requests"] for point in one["points"]] == [1, 0]
    assert get(root, "monitoring/requests", points=1)["points"][0]["bytes_out"] == 99_000
    problem(root.get("/api/v1/monitoring/requests?span=1"), 400, "InvalidArgument")


def test_capacity_and_growth(monitor: Monitor, root: TestClient, bucket: str) -> None:
    root.put(f"/api/v1/buckets/{bucket}/objects/k", content=b"12345")
    found = get(root, "monitoring/capacity")
    assert (found["objects"], found["object_bytes"], found["growth"]) == (1, 5, None)
    now = time.time()
    for hour in range(48, -1, -1):
        monitor.trends.record(now - 3600 * hour, [], 10**9, 5 * 10**8 - (48 - hour) * 10**6)
    found = get(root, "monitoring/capacity")
    assert found["growth"] == pytest.approx(24 * 10**6)
    assert found["full"] is not None
    assert len(found["history"]) == 49


def test_buckets_trends(
    monitor: Monitor, root: TestClient, bucket: str, make_user: Callable[..., TestClient]
) -> None:
    assert get(root, f"buckets/{bucket}/trend") == {"bucket": bucket, "points": []}
    root.put(f"/api/v1/buckets/{bucket}/objects/k", content=b"12345")
    portal = root.portal
    assert portal is not None
    portal.call(monitor.look)
    (point,) = get(root, f"buckets/{bucket}/trend")["points"]
    assert (point["objects"], point["bytes"]) == (1, 5)
    assert get(root, "trends", bucket=[bucket, "none"]) == [{"bucket": bucket, "points": [point]}]
    ada = make_user("ada", "ownbuckets")
    assert get(ada, "trends", bucket=bucket) == []
    problem(root.get("/api/v1/trends"), 400, "InvalidArgument")
    problem(ada.get(f"/api/v1/buckets/{bucket}/trend"), 403, "AccessDenied")


def test_a_bucket_made_anew_does_not_inherit_a_trend(
    monitor: Monitor, root: TestClient, bucket: str
) -> None:
    root.put(f"/api/v1/buckets/{bucket}/objects/k", content=b"12345")
    portal = root.portal
    assert portal is not None
    portal.call(monitor.look)
    assert get(root, f"buckets/{bucket}/trend")["points"]
    assert root.delete(f"/api/v1/buckets/{bucket}/objects/k").status_code == 204
    assert root.delete(f"/api/v1/buckets/{bucket}").status_code == 204
    assert root.post("/api/v1/buckets", json={"name": bucket}).status_code == 201
    assert get(root, f"buckets/{bucket}/trend")["points"] == []
    assert get(root, "trends", bucket=bucket) == [{"bucket": bucket, "points": []}]


def test_the_last_errors(monitor: Monitor, root: TestClient) -> None:
    slot = monitor.board.slot(0)
    for number in range(3):
        slot.note_failure(Failure(1000 + number, 503, 10, f"id-{number}", "PutObject", "b", "k"))
    found = get(root, "monitoring/errors", limit=2)
    assert [each["request_id"] for each in found] == ["id-2", "id-1"]
    assert (found[0]["status"], found[0]["seconds"]) == (503, 1e-05)


@pytest.mark.parametrize("path", ["live", "requests", "capacity", "errors"])
def test_only_who_may_look(
    monitor: Monitor, make_user: Callable[..., TestClient], root: TestClient, path: str
) -> None:
    ada = make_user("ada", "readwrite")
    problem(ada.get(f"/api/v1/monitoring/{path}"), 403, "AccessDenied")
    admin = make_user("admin", "consoleAdmin")
    assert admin.get(f"/api/v1/monitoring/{path}").status_code == 200


def test_what_nobody_watches(root: TestClient) -> None:
    problem(root.get("/api/v1/monitoring/live"), 404, "NotWatched")
    problem(root.get("/api/v1/trends?bucket=abc"), 404, "NotWatched")
