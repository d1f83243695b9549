"""Metrics in Prometheus' text format, under the names that dashboards for MinIO use.

Source of the names: MinIO, "Metrics and alerts", metrics version 2. What this store does not
have (replication, tiers, KMS ...) is left out, not shown as zero. ``oversight_*`` are our own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable

import msgspec

import storage
from storage import errors
from storage.engine.interface import Bucket, Engine, Health, Space, Usage
from storage.telemetry import process
from storage.telemetry.board import BOUNDS, Board, Row, Totals

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_RANGES = (
    "LESS_THAN_1024_B",
    "BETWEEN_1024_B_AND_1_MB",
    "BETWEEN_1_MB_AND_10_MB",
    "BETWEEN_10_MB_AND_64_MB",
    "BETWEEN_64_MB_AND_128_MB",
    "BETWEEN_128_MB_AND_512_MB",
    "GREATER_THAN_512_MB",
)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Snapshot(msgspec.Struct):
    """Everything that a page of metrics may show, taken at one moment."""

    totals: Totals
    space: Space
    buckets: list[tuple[Bucket, Usage]]
    processes: process.Processes
    healthy: bool
    version: str
    health: Health


class Page:
    """Builds the text: one family of samples after the other."""

    def __init__(self, server: str) -> None:
        self._lines: list[str] = []
        self._server = server

    def add(
        self,
        name: str,
        help_text: str,
        samples: float | Iterable[tuple[dict[str, str], float]],
        kind: str = "gauge",
    ) -> None:
        """A family; a single number is one sample without labels but ``server``."""
        if isinstance(samples, (int, float)):
            samples = [({}, samples)]
        self._lines += (f"# HELP {name} {help_text}", f"# TYPE {name} {kind}")
        for labels, value in samples:
            self._lines.append(f"{name}{self._labels(labels)} {value:.15g}")

    def gauges(self, several: Iterable[tuple[str, str, float]]) -> None:
        """Add gauges without labels: (name, what it is, value)."""
        for name, what, value in several:
            self.add(name, what, value)

    def histogram(
        self, name: str, help_text: str, rows: Iterable[tuple[dict[str, str], list[int], float]]
    ) -> None:
        """Histograms over ``BOUNDS``: (labels, counts per bucket, sum of seconds)."""
        self._lines += (f"# HELP {name} {help_text}", f"# TYPE {name} histogram")
        for labels, counts, seconds in rows:
            for bound, below in _cumulative(counts):
                marks = self._labels({**labels, "le": bound})
                self._lines.append(f"{name}_bucket{marks} {below}")
            self._lines.append(f"{name}_sum{self._labels(labels)} {seconds:.15g}")
            self._lines.append(f"{name}_count{self._labels(labels)} {sum(counts)}")

    def text(self) -> str:
        return "\n".join((*self._lines, ""))

    def _labels(self, labels: dict[str, str]) -> str:
        pairs = {**labels, "server": self._server}
        inner = ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in pairs.items())
        return f"{{{inner}}}"


def _cumulative(counts: list[int]) -> list[tuple[str, int]]:
    below, pairs = 0, []
    for bound, count in zip((*(f"{bound:g}" for bound in BOUNDS), "+Inf"), counts, strict=True):
        below += count
        pairs.append((bound, below))
    return pairs


async def snapshot(engine: Engine, board: Board, supervisor: int) -> Snapshot:
    """Ask engine, board and operating system. Raises Unavailable with the engine."""
    space = await engine.space()
    buckets = []
    for bucket in await engine.buckets():
        try:
            buckets.append((bucket, await engine.usage(bucket.id)))
        except errors.NoSuchBucket:
            continue
    return Snapshot(
        totals=board.totals(),
        space=space,
        buckets=buckets,
        processes=process.measure(supervisor),
        healthy=space.drives_online > 0 and space.drives_offline == 0,
        version=storage.__version__,
        health=await engine.health(),
    )


Collector = Callable[[], Awaitable[Snapshot]]


async def page(which: str, server: str, collect: Collector) -> str | None:
    """The text of ``/minio/v2/metrics/<which>``; None for a page that does not exist."""
    parts = PAGES.get(which)
    if parts is None:
        return None
    found = await collect()
    text = Page(server)
    for part in parts:
        part(text, found)
    return text.text()


def _capacity(page: Page, found: Snapshot) -> None:
    space = found.space
    usage = [each for _, each in found.buckets]
    page.add("minio_cluster_capacity_raw_total_bytes", "Capacity of all drives.", space.total)
    page.add("minio_cluster_capacity_raw_free_bytes", "Free capacity of all drives.", space.free)
    page.add("minio_cluster_capacity_usable_total_bytes", "Usable capacity.", space.total)
    page.add("minio_cluster_capacity_usable_free_bytes", "Free usable capacity.", space.free)
    page.add("minio_cluster_drive_online_total", "Drives online.", space.drives_online)
    page.add("minio_cluster_drive_offline_total", "Drives offline.", space.drives_offline)
    page.add("minio_cluster_drive_total", "Drives.", space.drives_online + space.drives_offline)
    page.add("minio_cluster_nodes_online_total", "Nodes online.", 1)
    page.add("minio_cluster_nodes_offline_total", "Nodes offline.", 0)
    page.add("minio_cluster_health_status", "1 if all drives are online.", int(found.healthy))
    page.add("minio_cluster_bucket_total", "Buckets.", len(usage))
    page.add("minio_cluster_buckets_total", "Buckets.", len(usage))
    page.add("minio_cluster_usage_object_total", "Objects.", sum(each.objects for each in usage))
    page.add("minio_cluster_usage_version_total", "Versions.", sum(each.objects for each in usage))
    page.add(
        "minio_cluster_usage_total_bytes", "Bytes of objects.", sum(each.bytes for each in usage)
    )
    sums = [sum(column) for column in zip(*(each.histogram for each in usage), strict=True)]
    page.add(
        "minio_cluster_objects_size_distribution",
        "Objects by size.",
        [({"range": name}, count) for name, count in zip(_RANGES, sums, strict=False)],
    )
    # Usage is counted in the transaction of each change, never by scanning: it is as new as now.
    page.add("minio_usage_last_activity_nano_seconds", "Age of the usage figures.", 0)


def _requests(page: Page, found: Snapshot) -> None:
    totals = found.totals
    rows = sorted(totals.rows.values(), key=lambda row: row.operation)
    named = [({"api": row.operation.lower()}, row) for row in rows]

    def counter(name: str, help_text: str, value: Callable[..., float]) -> None:
        page.add(name, help_text, [(api, value(row)) for api, row in named], "counter")

    counter("minio_s3_requests_total", "S3 requests.", lambda row: row.requests)
    counter(
        "minio_s3_requests_errors_total",
        "S3 requests answered with 4xx or 5xx.",
        lambda row: row.client_errors + row.server_errors,
    )
    counter(
        "minio_s3_requests_4xx_errors_total",
        "S3 requests answered with 4xx.",
        lambda row: row.client_errors,
    )
    counter(
        "minio_s3_requests_5xx_errors_total",
        "S3 requests answered with 5xx.",
        lambda row: row.server_errors,
    )
    page.add("minio_s3_requests_inflight_total", "S3 requests in flight.", totals.in_flight)
    page.add("minio_s3_requests_incoming_total", "S3 requests in flight.", totals.in_flight)
    page.add("minio_s3_requests_waiting_total", "S3 requests that wait for a turn.", 0)
    page.add(
        "minio_s3_requests_rejected_auth_total",
        "S3 requests answered with 403.",
        totals.rejected_auth,
        "counter",
    )
    page.add(
        "minio_s3_requests_rejected_invalid_total",
        "S3 requests answered with 400.",
        totals.rejected_invalid,
        "counter",
    )
    page.add(
        "minio_s3_traffic_received_bytes",
        "Bytes of request bodies.",
        sum(row.bytes_in for row in rows),
        "counter",
    )
    page.add(
        "minio_s3_traffic_sent_bytes",
        "Bytes of answers' bodies.",
        sum(row.bytes_out for row in rows),
        "counter",
    )
    page.add(
        "minio_s3_requests_ttfb_seconds_distribution",
        "Answers by duration, cumulative.",
        [
            ({**api, "le": bound}, below)
            for api, row in named
            for bound, below in _cumulative(row.histogram)
        ],
    )
    page.histogram(
        "oversight_s3_request_seconds",
        "Seconds from a request's head to its answer's last byte.",
        [(api, row.histogram, row.microseconds / 1e6) for api, row in named],
    )
    page.add(
        "oversight_access_log_lost_total",
        "Access log lines that were dropped.",
        totals.lost_log_lines,
        "counter",
    )


def _node(page: Page, found: Snapshot) -> None:
    total = found.processes
    page.add(
        "minio_node_process_cpu_total_seconds", "CPU time of all processes.", total.cpu_seconds,
        "counter",
    )  # fmt: skip
    page.add(
        "minio_node_process_resident_memory_bytes",
        "Resident memory of all processes, what they share counted once.",
        total.resident,
    )
    page.add("minio_node_process_starttime_seconds", "Start of the store.", total.started)
    page.add("minio_node_process_uptime_seconds", "Age of the store.", time.time() - total.started)
    page.add("minio_node_file_descriptor_open_total", "Open file descriptors.", total.descriptors)
    page.add(
        "minio_node_file_descriptor_limit_total", "Limit of each process's file descriptors.",
        total.descriptors_limit,
    )  # fmt: skip
    for name, key, what in (
        ("minio_node_io_rchar_bytes", "rchar", "Bytes read, cache included."),
        ("minio_node_io_wchar_bytes", "wchar", "Bytes written, cache included."),
        ("minio_node_io_read_bytes", "read_bytes", "Bytes read from drives."),
        ("minio_node_io_write_bytes", "write_bytes", "Bytes written to drives."),
        ("minio_node_syscall_read_total", "syscr", "Read system calls."),
        ("minio_node_syscall_write_total", "syscw", "Write system calls."),
    ):
        page.add(name, what, total.io.get(key, 0), "counter")
    page.add("minio_software_version_info", "The release.", [({"version": found.version}, 1)])


def _soundness(page: Page, found: Snapshot) -> None:
    health, scrub = found.health, found.health.scrub
    page.add(
        "oversight_log_damages", "Damaged ranges of the log met since its start.", health.damages
    )
    page.add(
        "oversight_clock_suspect", "1 if the clock is more than a day off the last change.",
        int(health.clock_suspect),
    )  # fmt: skip
    for name, what, value in (
        ("oversight_scrub_passes_total", "Finished searches for rot.", scrub.passes),
        ("oversight_scrub_repairs_total", "Times the index was made anew for one.", scrub.repairs),
    ):
        page.add(name, what, value, "counter")
    gauges: tuple[tuple[str, str, float], ...] = (
        ("oversight_scrub_started_seconds", "Start of the latest search for rot.",
         scrub.started / 1000),
        ("oversight_scrub_finished_seconds", "End of the last finished one.",
         scrub.finished / 1000),
        ("oversight_scrub_bytes", "Bytes that the latest one verified.", scrub.bytes),
        ("oversight_scrub_records", "Records that it compared with the index.", scrub.compared),
        ("oversight_scrub_damages", "Places where it found lost data.", scrub.damages),
        ("oversight_scrub_mismatches", "Differences of index and log that it found.",
         scrub.mismatches),
    )  # fmt: skip
    page.gauges(gauges)


def _expiry(page: Page, found: Snapshot) -> None:
    """What lifecycle rules took."""
    expiry = found.health.expiry
    page.add(
        "oversight_lifecycle_runs_total", "Finished runs over all rules.", expiry.runs, "counter"
    )
    page.add(
        "oversight_lifecycle_expired_total",
        "What rules took, by kind.",
        [
            ({"kind": kind}, number)
            for kind, number in (
                ("object", expiry.objects),
                ("noncurrent_version", expiry.versions),
                ("delete_marker", expiry.markers),
                ("upload", expiry.uploads),
            )
        ],
        "counter",
    )
    page.add(
        "oversight_lifecycle_expired_bytes_total", "Bytes of what rules took.", expiry.bytes,
        "counter",
    )  # fmt: skip
    gauges: tuple[tuple[str, str, float], ...] = (
        ("oversight_lifecycle_started_seconds", "Start of the latest run.", expiry.started / 1000),
        ("oversight_lifecycle_finished_seconds", "End of the last finished run.",
         expiry.finished / 1000),
        ("oversight_lifecycle_duration_seconds", "What that one took.", expiry.duration / 1000),
        ("oversight_lifecycle_backlog", "What is due and was not come to yet.", expiry.backlog),
        ("oversight_lifecycle_backlog_bytes", "Bytes of that.", expiry.backlog_bytes),
        ("minio_node_ilm_expiry_pending_tasks", "The same as oversight_lifecycle_backlog.",
         expiry.backlog),
    )  # fmt: skip
    page.gauges(gauges)


def _langfuse(page: Page, found: Snapshot) -> None:
    """How far the index of Langfuse's objects is."""
    index = found.health.langfuse
    gauges: tuple[tuple[str, str, float], ...] = (
        ("oversight_langfuse_index_state", "0: off, 1: taking stock, 2: following.", index.state),
        ("oversight_langfuse_index_objects", "Objects in the index.", index.objects),
        ("oversight_langfuse_index_flawed", "Objects that could not be read whole.", index.flawed),
        (
            "oversight_langfuse_index_lag_seconds",
            "Age of the last change that it has dealt with.",
            index.lag(time.time()),
        ),
        ("oversight_langfuse_index_behind", "Changes that it has not come to yet.", index.behind),
        ("oversight_langfuse_index_share", "Of the time that it may work now.", index.share / 1000),
        ("oversight_langfuse_index_stocktaking_done", "Objects looked at so far.", index.done),
        ("oversight_langfuse_index_stocktaking_total", "As many as there may be.", index.total),
    )
    page.gauges(gauges)


def _drives(page: Page, found: Snapshot) -> None:
    space = found.space
    drive = {"drive": ",".join(space.drives)}
    used = space.total - space.free
    page.add("minio_node_drive_total_bytes", "Capacity of a drive.", [(drive, space.total)])
    page.add("minio_node_drive_free_bytes", "Free bytes of a drive.", [(drive, space.free)])
    page.add("minio_node_drive_used_bytes", "Used bytes of a drive.", [(drive, used)])
    page.add("minio_node_drive_total_inodes", "Inodes of a drive.", [(drive, space.inodes_total)])
    page.add(
        "minio_node_drive_free_inodes", "Free inodes of a drive.", [(drive, space.inodes_free)]
    )
    page.add(
        "minio_node_drive_used_inodes", "Used inodes of a drive.",
        [(drive, space.inodes_total - space.inodes_free)],
    )  # fmt: skip
    page.add("minio_node_drive_online_total", "Drives online.", space.drives_online)
    page.add("minio_node_drive_offline_total", "Drives offline.", space.drives_offline)
    page.add("minio_node_drive_total", "Drives.", space.drives_online + space.drives_offline)


def _buckets(page: Page, found: Snapshot) -> None:
    named = [({"bucket": bucket.name}, usage) for bucket, usage in found.buckets]
    page.add(
        "minio_bucket_usage_object_total", "Objects of a bucket.",
        [(label, usage.objects) for label, usage in named],
    )  # fmt: skip
    page.add(
        "minio_bucket_usage_version_total", "Versions of a bucket.",
        [(label, usage.objects) for label, usage in named],
    )  # fmt: skip
    page.add(
        "minio_bucket_usage_total_bytes", "Bytes of a bucket's objects.",
        [(label, usage.bytes) for label, usage in named],
    )  # fmt: skip
    page.add(
        "minio_bucket_objects_size_distribution",
        "Objects of a bucket by size.",
        [
            ({**label, "range": name}, count)
            for label, usage in named
            for name, count in zip(_RANGES, usage.histogram, strict=True)
        ],
    )


def _bucket_requests(page: Page, found: Snapshot) -> None:
    """Requests by bucket, of buckets that exist, from the first one on that succeeded there."""
    present = {bucket.name for bucket, _ in found.buckets}
    rows = sorted(
        (each for each in found.totals.buckets.items() if each[0][0] in present),
        key=lambda each: each[0],
    )
    named = [
        ({"api": operation.lower(), "bucket": bucket}, row) for (bucket, operation), row in rows
    ]

    def counter(name: str, help_text: str, value: Callable[[Row], float]) -> None:
        page.add(name, help_text, [(labels, value(row)) for labels, row in named], "counter")

    counter("minio_bucket_requests_total", "S3 requests on a bucket.", lambda row: row.requests)
    counter(
        "minio_bucket_requests_4xx_errors_total",
        "S3 requests on a bucket answered with 4xx.",
        lambda row: row.client_errors,
    )
    counter(
        "minio_bucket_requests_5xx_errors_total",
        "S3 requests on a bucket answered with 5xx.",
        lambda row: row.server_errors,
    )
    page.add(
        "minio_bucket_requests_ttfb_seconds_distribution",
        "Answers by duration, cumulative.",
        [
            ({**labels, "le": bound}, below)
            for labels, row in named
            for bound, below in _cumulative(row.histogram)
        ],
    )
    received: dict[str, int] = {}
    sent: dict[str, int] = {}
    for (bucket, _), row in rows:
        received[bucket] = received.get(bucket, 0) + row.bytes_in
        sent[bucket] = sent.get(bucket, 0) + row.bytes_out
    for name, what, values in (
        ("minio_bucket_traffic_received_bytes", "Bytes of request bodies, by bucket.", received),
        ("minio_bucket_traffic_sent_bytes", "Bytes of answers' bodies, by bucket.", sent),
    ):
        page.add(
            name, what, [({"bucket": bucket}, value) for bucket, value in values.items()], "counter"
        )


def _resources(page: Page, found: Snapshot) -> None:
    with open("/proc/meminfo") as lines:
        memory = {
            name: int(rest.split()[0]) * 1024
            for name, _, rest in (line.partition(":") for line in lines)
        }
    total, available = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
    page.add("minio_node_mem_total", "Memory of the node.", total)
    page.add("minio_node_mem_available", "Memory that is available.", available)
    page.add("minio_node_mem_used", "Memory in use.", total - available)
    page.add(
        "minio_node_mem_used_perc", "Memory in use, percent.",
        100 * (total - available) / total if total else 0,
    )  # fmt: skip
    for name, load in zip(("load1", "load5", "load15"), os.getloadavg(), strict=True):
        page.add(f"minio_node_cpu_avg_{name}", "Load average.", load)


Part = Callable[[Page, Snapshot], None]
PAGES: dict[str, tuple[Part, ...]] = {
    "cluster": (_capacity, _requests, _node, _soundness, _expiry, _langfuse),
    "node": (_requests, _node, _drives, _soundness, _expiry, _langfuse),
    "bucket": (_buckets, _bucket_requests),
    "resource": (_drives, _resources) if os.path.exists("/proc/meminfo") else (_drives,),
}
