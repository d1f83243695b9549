"""Counters, tokens, health and metrics."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from storage import errors
from storage.config import Config
from storage.engine import interface as i
from storage.engine.memory import MemoryEngine
from storage.serving import assembly
from storage.telemetry import board, process, token
from storage.telemetry.endpoint import Endpoint

SECRET = "miniosecret"


@pytest.fixture
def shared() -> Iterator[int]:
    fd = board.create(3)
    yield fd
    os.close(fd)


class TestBoard:
    def test_all_workers_are_added_up(self, shared: int) -> None:
        for index in range(3):
            record = board.Board(shared).slot(index).recorder()
            record("PutObject", 200, 1000, 0, 0.004)
            record("GetObject", 404, 0, 300, 0.0005)
            record("GetObject", 503, 0, 0, 99.0)
        rows = board.Board(shared).totals().rows
        put, get = rows["PutObject"], rows["GetObject"]
        assert (put.ok, put.requests, put.bytes_in, put.microseconds) == (3, 3, 3000, 12_000)
        assert (get.client_errors, get.server_errors, get.bytes_out) == (3, 3, 900)
        assert put.histogram[board.BOUNDS.index(0.005)] == 3
        assert (get.histogram[0], get.histogram[-1]) == (3, 3)

    def test_a_worker_that_starts_again_goes_on_counting(self, shared: int) -> None:
        first = board.Board(shared).slot(1)
        first.recorder()("PutObject", 200, 1, 0, 0.0)
        first.set_in_flight(7)
        board.Board(shared).slot(1).recorder()("PutObject", 200, 1, 0, 0.0)
        totals = board.Board(shared).totals()
        assert totals.rows["PutObject"].ok == 2
        assert totals.in_flight == 0

    def test_reading_changes_nothing(self, shared: int) -> None:
        board.Board(shared).slot(0).set_in_flight(4)
        board.Board(shared).totals()
        assert board.Board(shared).totals().in_flight == 4

    def test_endless_names_do_not_overflow(self, shared: int) -> None:
        record = board.Board(shared).slot(2).recorder()
        record(board.UNKNOWN, 200, 0, 0, 0.0)
        for number in range(500):
            record(f"Operation{number}", 200, 0, 0, 0.0)
        rows = board.Board(shared).totals().rows
        assert sum(row.ok for row in rows.values()) == 501

    def test_buckets_are_counted_apart_and_together(self, shared: int) -> None:
        for index in range(2):
            record = board.Board(shared).slot(index).recorder()
            record("PutObject", 200, 10, 0, 0.004, "one")
            record("PutObject", 412, 0, 5, 0.004, "one")
            record("PutObject", 200, 20, 0, 0.004, "two")
            record("HeadObject", 404, 0, 0, 0.004, "two")
            record("ListBuckets", 200, 0, 7, 0.004, "")
        again = board.Board(shared).slot(1).recorder()  # it goes on counting there
        again("PutObject", 500, 0, 0, 0.004, "two")
        totals = board.Board(shared).totals()
        one, two = totals.buckets["one", "PutObject"], totals.buckets["two", "PutObject"]
        assert (one.ok, one.client_errors, one.bytes_in, one.bytes_out) == (2, 2, 20, 10)
        assert (two.ok, two.server_errors, two.bytes_in) == (2, 1, 40)
        assert totals.rows["PutObject"].requests == 7
        assert totals.buckets["two", "HeadObject"].client_errors == 2
        assert len(totals.buckets) == 3

    def test_names_of_buckets_that_clients_guess_take_no_room(self, shared: int) -> None:
        slot = board.Board(shared).slot(0)
        record = slot.recorder()
        for number in range(5000):
            record("GetObject", 404, 0, 0, 0.0, f"guess-{number}")
        record("GetObject", 404, 0, 0, 0.0, "x" * 100)
        totals = board.Board(shared).totals()
        assert totals.buckets == {}
        assert totals.rows["GetObject"].client_errors == 5001

    def test_more_buckets_than_there_is_room_for_are_counted_together(self, shared: int) -> None:
        record = board.Board(shared).slot(0).recorder()
        for number in range(3000):
            record("GetObject", 200, 0, 0, 0.0, f"bucket-{number}")
        totals = board.Board(shared).totals()
        assert 1000 < len(totals.buckets) < 3000
        assert totals.rows["GetObject"].ok == 3000


class TestToken:
    SECRETS = {"minio": SECRET}.get

    def test_a_token_speaks_for_its_access_key(self) -> None:
        assert token.check(token.make("minio", SECRET), self.SECRETS) == "minio"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "a.b.c",
            "..",
            token.make("minio", "another secret"),
            token.make("nobody", SECRET),
            token.make("minio", SECRET, now=-2 * token.LIFETIME),
            token.make("minio", SECRET) + "x" * 5000,
        ],
    )
    def test_others_do_not(self, text: str) -> None:
        assert token.check(text, self.SECRETS) == ""

    @pytest.mark.parametrize("part", [{"alg": "none"}, {"alg": "HS256"}, ["HS512"]])
    def test_only_hs512_counts(self, part: Any) -> None:
        header, rest = token.make("minio", SECRET).split(".", 1)
        forged = base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        assert header != forged
        assert token.check(f"{forged}.{rest}", self.SECRETS) == ""

    def test_tokens_for_something_else_do_not_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(token, "ISSUER", "console")
        other = token.make("minio", SECRET)
        monkeypatch.undo()
        assert token.check(other, self.SECRETS) == ""

    def test_claims_can_not_be_changed(self) -> None:
        header, _, signature = token.make("minio", SECRET).split(".")
        claims = json.dumps({"sub": "minio", "iss": "prometheus", "exp": 9e12}).encode()
        forged = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
        assert token.check(f"{header}.{forged}.{signature}", self.SECRETS) == ""


class Broken(MemoryEngine):
    async def space(self) -> i.Space:
        raise errors.Unavailable


def endpoint(engine: i.Engine | None = None, *, public: bool = False) -> Endpoint:
    engine = engine or MemoryEngine()
    directory = assembly.identities(engine, Config(), b"k" * 32)
    return Endpoint(engine, board.Board(), directory, public=public)


def ask(
    app: Endpoint, path: str, *, query: bytes = b"", method: str = "GET", bearer: str = ""
) -> tuple[int, str]:
    answer: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        answer.append(message)

    headers = [(b"authorization", f"Bearer {bearer}".encode())] if bearer else []
    scope = {"path": path, "query_string": query, "method": method, "headers": headers}
    asyncio.run(app(scope, None, send))  # type: ignore[arg-type]
    start, body = answer
    assert method == "HEAD" or dict(start["headers"])[b"content-length"] == b"%d" % len(
        body["body"]
    )
    return start["status"], body["body"].decode()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "query", "whole", "broken"),
    [
        ("live", b"", 200, 200),
        ("ready", b"", 200, 503),
        ("cluster", b"", 200, 503),
        ("cluster/read", b"", 200, 503),
        ("cluster", b"maintenance=true", 412, 503),
        ("cluster/read", b"maintenance=true", 412, 503),
        ("else", b"", 404, 404),
    ],
)
def test_health(method: str, path: str, query: bytes, whole: int, broken: int) -> None:
    where = f"/minio/health/{path}"
    assert ask(endpoint(), where, query=query, method=method) == (whole, "")
    assert ask(endpoint(Broken()), where, query=query, method=method) == (broken, "")


@pytest.mark.parametrize(
    ("state", "ready", "writes", "reads"),
    [
        ("ready", 200, 200, 200),
        ("full", 200, 200, 200),
        ("readonly", 200, 503, 200),
        ("starting", 503, 503, 503),
        ("replaying", 503, 503, 503),
        ("stopped", 503, 503, 503),
    ],
)
def test_health_by_the_engines_state(state: str, ready: int, writes: int, reads: int) -> None:
    engine = MemoryEngine()
    directory = assembly.identities(engine, Config(), b"k" * 32)
    app = Endpoint(engine, board.Board(), directory, state=lambda: state)
    found = [
        ask(app, f"/minio/health/{probe}")[0] for probe in ("ready", "cluster", "cluster/read")
    ]
    assert found == [ready, writes, reads]
    assert ask(app, "/minio/health/live")[0] == 200


class TestMetrics:
    def test_they_want_a_token(self) -> None:
        where = "/minio/v2/metrics/cluster"
        assert ask(endpoint(), where)[0] == 403
        assert ask(endpoint(), where, bearer=token.make("minio", "wrong"))[0] == 403
        assert ask(endpoint(), where, bearer=token.make("minio", SECRET))[0] == 200
        assert ask(endpoint(public=True), where)[0] == 200

    def test_pages(self) -> None:
        app = endpoint(public=True)
        assert ask(app, "/minio/v2/metrics/else")[0] == 404
        assert ask(app, "/minio/v2/metrics/cluster", method="POST")[0] == 405
        assert ask(endpoint(Broken(), public=True), "/minio/v2/metrics/cluster")[0] == 503
        for name in ("cluster", "node", "bucket", "resource"):
            status, text = ask(app, f"/minio/v2/metrics/{name}")
            assert status == 200
            parse(text)

    def test_what_dashboards_look_for(self, shared: int) -> None:
        engine = MemoryEngine()

        async def fill() -> None:
            bucket = await engine.commit(i.CreateBucket('with"quote', "me", 1))
            change = i.PutObject(
                bucket_id=bucket.id, key="k", modified=1, size=3, etag="e", owner="me",
                storage_class="STANDARD", meta=i.EMPTY_META, payload=b"abc",
            )  # fmt: skip
            await engine.commit(change)

        asyncio.run(fill())
        numbers = board.Board(shared)
        numbers.slot(1).recorder()("PutObject", 200, 3, 0, 0.004, 'with"quote')
        numbers.slot(2).recorder()("PutObject", 500, 3, 0, 0.004)
        numbers.slot(2).recorder()("GetObject", 200, 0, 9, 0.004, "deleted-since")
        directory = assembly.identities(engine, Config(), b"k" * 32)
        app = Endpoint(engine, numbers, directory, public=True)
        cluster = parse(ask(app, "/minio/v2/metrics/cluster")[1])
        put = 'api="putobject"'
        assert cluster["minio_cluster_bucket_total", ""] == 1
        assert cluster["minio_cluster_usage_object_total", ""] == 1
        assert cluster["minio_cluster_usage_total_bytes", ""] == 3
        assert cluster["minio_cluster_health_status", ""] == 1
        assert cluster["minio_s3_requests_total", put] == 2
        assert cluster["minio_s3_requests_5xx_errors_total", put] == 1
        assert cluster["minio_s3_requests_4xx_errors_total", put] == 0
        # The parser adds the suffix that OpenMetrics wants; the text has the name as it is known.
        assert cluster["minio_s3_traffic_received_bytes_total", ""] == 6
        assert "\nminio_s3_traffic_received_bytes{" in ask(app, "/minio/v2/metrics/cluster")[1]
        assert cluster["oversight_s3_request_seconds_bucket", f'{put},le="0.0025"'] == 0
        assert cluster["oversight_s3_request_seconds_bucket", f'{put},le="0.005"'] == 2
        assert cluster["oversight_s3_request_seconds_count", put] == 2
        sizes = cluster["minio_cluster_objects_size_distribution", 'range="LESS_THAN_1024_B"']
        assert sizes == 1
        for name in (
            "minio_cluster_capacity_usable_free_bytes", "minio_cluster_drive_online_total",
            "minio_node_process_resident_memory_bytes", "minio_node_process_starttime_seconds",
            "minio_node_io_rchar_bytes_total", "minio_node_file_descriptor_open_total",
        ):  # fmt: skip
            assert (name, "") in cluster
        bucket = parse(ask(app, "/minio/v2/metrics/bucket")[1])
        quoted = 'bucket="with\\"quote"'
        assert bucket["minio_bucket_usage_total_bytes", quoted] == 3
        assert bucket["minio_bucket_requests_total", f"{put},{quoted}"] == 1
        assert bucket["minio_bucket_requests_5xx_errors_total", f"{put},{quoted}"] == 0
        assert bucket["minio_bucket_traffic_received_bytes_total", quoted] == 3
        distribution = "minio_bucket_requests_ttfb_seconds_distribution"
        assert bucket[distribution, f'{put},{quoted},le="0.005"'] == 1
        assert not any("deleted-since" in labels for _, labels in bucket)


def parse(text: str) -> dict[tuple[str, str], float]:
    """Samples by name and labels (without ``server``), as Prometheus' own parser reads them."""
    from prometheus_client.parser import text_string_to_metric_families

    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(
                '{}="{}"'.format(name, value.replace('"', '\\"'))
                for name, value in sample.labels.items()
                if name != "server"
            )
            assert (sample.name, labels) not in found
            found[sample.name, labels] = sample.value
    return found


_TWO_THAT_SHARE = """
import mmap, os, sys
shared = mmap.mmap(-1, 64 << 20)
shared.write(b"x" * len(shared))
child = os.fork()
seen = sum(shared[at] for at in range(0, len(shared), 4096))
if child == 0:
    print("child", flush=True)
    os.read(0, 1)
else:
    print("parent", flush=True)
    os.waitpid(child, 0)
"""


def test_memory_that_processes_share_counts_once() -> None:
    """Two processes with the same 64 MiB are not told to need 128."""
    program = [sys.executable, "-c", _TWO_THAT_SHARE]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert {parent.stdout.readline(), parent.stdout.readline()} == {b"child\n", b"parent\n"}
        resident = process.measure(parent.pid).resident
        parent.stdin.write(b".")
        parent.stdin.close()
    assert 64 << 20 <= resident < 110 << 20
