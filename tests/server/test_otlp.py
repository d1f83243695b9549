"""Spans and metrics of a running store, as a receiver of OTLP gets them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.http_server import HttpServer
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore, free_port

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http", reason="OpenTelemetry's exporter is not installed"
)
traces = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    reason="opentelemetry-proto is not installed",
)
metrics = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "300"}
AWAY = "does not take telemetry"


@dataclass
class Receiver(HttpServer):
    """A collector that keeps what it gets: spans by name, data points by metric."""

    port: int = 0
    delay: float = 0
    status: int = 200
    spans: list[Any] = field(default_factory=list)
    points: dict[str, list[Any]] = field(default_factory=dict)
    resources: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _Handler

    def named(self, name: str) -> list[Any]:
        return [span for span in list(self.spans) if span.name == name]

    def measured(self) -> set[str]:
        """The operations whose durations were told."""
        points = list(self.points.get("http.server.request.duration", ()))
        return {attributes(point)["oversight.operation"] for point in points}

    def most(self, counter: str) -> int:
        """The largest number that was told of a counter."""
        return max((point.as_int for point in list(self.points.get(counter, ()))), default=0)

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for group in traces.ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(attributes(group.resource))
                for scope in group.scope_spans:
                    self.spans += scope.spans
        elif path == "/v1/metrics":
            for group in metrics.ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in group.scope_metrics:
                    for metric in scope.metrics:
                        data = getattr(metric, metric.WhichOneof("data"))
                        self.points.setdefault(metric.name, []).extend(data.data_points)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        receiver: Receiver = self.server.owner  # type: ignore[attr-defined]
        time.sleep(receiver.delay)
        receiver.headers.append(self.headers)
        if receiver.status == 200:
            receiver.take(self.path, body)
        self.send_response(receiver.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def attributes(thing: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in thing.attributes
    }


def eventually(found: Callable[[], Any], seconds: float = 60) -> Any:
    """What ``found`` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return value


def client(store: ServedStore) -> Any:
    options: Any = {"s3": {"addressing_style": "path"}, "retries": {"total_max_attempts": 1}}
    made = boto3.session.Session().client(
        "s3", endpoint_url=store.endpoint, region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
        config=Config(proxies={}, **options),
    )  # fmt: skip

    def trace_it(request: Any, **_: Any) -> None:
        request.headers["traceparent"] = f"00-{TRACE}-{PARENT}-01"

    made.meta.events.register("before-send.s3", trace_it)
    return made


def store(folder: Path, url: str, workers: int = 1, **environment: str) -> ServedStore:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, **QUICK, **environment}
    return ServedStore(folder / "drive", folder / "log", ("--workers", str(workers)), settings)


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Receiver:
    """What a receiver was told of a few requests; each is an operation of its own."""
    folder = tmp_path_factory.mktemp("otlp")
    with Receiver() as receiver, store(folder, receiver.url, request.param) as served:
        s3 = client(served)
        s3.put_object(Bucket="langfuse", Key="a/small", Body=b"x" * 2000)
        s3.get_object(Bucket="langfuse", Key="a/small")["Body"].read()
        s3.list_objects_v2(Bucket="langfuse")
        s3.upload_part(
            Bucket="langfuse", Key="a/large", PartNumber=1, Body=b"x" * 6_000_000,
            UploadId=s3.create_multipart_upload(Bucket="langfuse", Key="a/large")["UploadId"],
        )  # fmt: skip
        s3.put_object(Bucket="langfuse", Key="a/file", Body=b"y" * 3_000_000)
        assert len(s3.get_object(Bucket="langfuse", Key="a/file")["Body"].read()) == 3_000_000
        with pytest.raises(s3.exceptions.NoSuchKey):
            s3.get_object(Bucket="langfuse", Key="nowhere")
        eventually(lambda: len(receiver.named("GetObject")) == 3)
        eventually(lambda: len(receiver.named("PutObject")) == 2)
        eventually(lambda: receiver.named("ListObjectsV2") and receiver.named("UploadPart"))
        eventually(lambda: {"PutObject", "GetObject"} <= receiver.measured())
        eventually(lambda: receiver.most("oversight.s3.sent") >= 3_000_000)
        eventually(lambda: "http.server.active_requests" in receiver.points)
    return receiver


def test_request_continues_the_callers_trace(told: Receiver) -> None:
    requests = [span for span in told.spans if span.kind == 2]
    assert {span.name for span in requests} >= {
        "PutObject",
        "GetObject",
        "ListObjectsV2",
        "UploadPart",
    }
    for span in requests:
        assert span.trace_id.hex() == TRACE
        assert span.parent_span_id.hex() == PARENT


def test_spans_nest(told: Receiver) -> None:
    """Each part belongs to one request, and lies within its time."""
    requests = {span.span_id: span for span in told.spans if span.kind == 2}
    parts = [span for span in told.spans if span.kind != 2]
    assert {span.name for span in parts} >= {
        "auth",
        "engine.commit",
        "engine.lookup",
        "engine.read",
    }
    for part in parts:
        request = requests[part.parent_span_id]
        assert part.trace_id == request.trace_id
        assert request.start_time_unix_nano <= part.start_time_unix_nano
        assert part.end_time_unix_nano <= request.end_time_unix_nano


def test_request_has_its_own_parts_only(told: Receiver) -> None:
    """No part of one request hangs under another one of the same connection."""
    for span in told.named("PutObject"):
        names = sorted(part.name for part in told.spans if part.parent_span_id == span.span_id)
        assert names.count("auth") == 1
        assert names.count("engine.commit") == 1
        assert "engine.read" not in names
    for span in told.named("GetObject"):
        names = [part.name for part in told.spans if part.parent_span_id == span.span_id]
        assert names.count("auth") == 1
        assert "engine.commit" not in names


def test_request_is_described(told: Receiver) -> None:
    (span,) = (s for s in told.named("GetObject") if attributes(s).get("aws.s3.key") == "a/small")
    facts = attributes(span)
    assert facts["http.request.method"] == "GET"
    assert facts["http.response.status_code"] == 200
    assert facts["aws.s3.bucket"] == "langfuse"
    assert facts["http.response.body.size"] == 2000
    assert facts["aws.request_id"]


def test_refusals_are_no_errors_of_the_server(told: Receiver) -> None:
    (span,) = (s for s in told.named("GetObject") if attributes(s).get("aws.s3.key") == "nowhere")
    assert attributes(span)["http.response.status_code"] == 404
    assert span.status.code == 0


def test_resource_names_the_store(told: Receiver) -> None:
    assert told.resources
    for resource in told.resources:
        assert resource["service.name"] == "oversight"
        assert resource["service.version"]
        assert resource["service.instance.id"]


def test_metrics(told: Receiver) -> None:
    assert {"PutObject", "GetObject"} <= told.measured()
    assert told.most("oversight.s3.sent") >= 3_000_000
    assert "http.server.active_requests" in told.points


def test_no_span_without_a_caller_is_lost(tmp_path: Path) -> None:
    """Whoever sends no traceparent, or nonsense, begins a trace."""
    with Receiver() as receiver, store(tmp_path, receiver.url) as served:
        s3 = client(served)

        def nonsense(request: Any, **_: Any) -> None:
            request.headers["traceparent"] = "00-nonsense-%-01"

        s3.meta.events.register_last("before-send.s3", nonsense)
        s3.list_buckets()
        (span,) = eventually(lambda: receiver.named("ListBuckets"))
        assert span.trace_id.hex() != TRACE
        assert span.parent_span_id == b""


def test_users_settings_reach_the_exporter(tmp_path: Path) -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer secret-of-mine",
        "OTEL_SERVICE_NAME": "my-store",
        "OTEL_METRICS_EXPORTER": "none",
    }
    with Receiver() as receiver, store(tmp_path, receiver.url, 2, **environment) as served:
        client(served).list_buckets()
        eventually(lambda: receiver.spans)
        assert receiver.headers[0]["authorization"] == "Bearer secret-of-mine"
        assert receiver.resources[0]["service.name"] == "my-store"
        assert receiver.points == {}
        assert "secret-of-mine" not in served.output()
        assert served.process is not None
        for process in [served.process.pid, *_children(served.process.pid)]:
            for part in ("environ", "cmdline"):
                assert b"secret-of-mine" not in Path(f"/proc/{process}/{part}").read_bytes()


@pytest.mark.parametrize("kind", ["away", "slow", "broken"])
def test_store_does_not_care_about_its_collector(tmp_path: Path, kind: str) -> None:
    """Away, slower than anybody waits, or answering nonsense: one warning, and no request waits."""
    receiver = Receiver(delay=5 if kind == "slow" else 0, status=400 if kind == "broken" else 200)
    timeout = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    with receiver:
        url = f"http://127.0.0.1:{free_port()}" if kind == "away" else receiver.url
        served = store(tmp_path, url, **timeout)
        with served:
            s3 = client(served)
            # If each waited the second that an export has, the test's own time would be over.
            for number in range(100):
                s3.put_object(Bucket="langfuse", Key=f"{number}", Body=b"x")
            eventually(lambda: AWAY in served.output())
            for number in range(100):
                s3.get_object(Bucket="langfuse", Key=f"{number}")
            time.sleep(2)  # for more exports that fail: what must not be seen takes time
    assert served.output().count(AWAY) == 1
    assert "Traceback" not in served.output()


def test_collector_that_comes_back_is_welcome(tmp_path: Path) -> None:
    port = free_port()
    with store(tmp_path, f"http://127.0.0.1:{port}") as served:
        client(served).list_buckets()
        eventually(lambda: AWAY in served.output())
        with Receiver(port) as receiver:
            s3 = client(served)
            eventually(lambda: s3.list_buckets() and receiver.named("ListBuckets"))
            eventually(lambda: "takes telemetry again" in served.output())


def test_off_loads_nothing() -> None:
    """Without an endpoint the plain application serves, and no module of the SDK is there."""
    code = """
        import json, sys
        from stack.testing import LocalStore
        with LocalStore() as store:
            store.client().list_buckets()
            print(json.dumps([name for name in sys.modules if "opentelemetry" in name]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found]
