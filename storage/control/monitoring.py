"""How the store does: requests, latency, errors, capacity, growth, workers and drives."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from storage.control.access import SignedIn, open_bucket
from storage.control.buckets import BucketName, timestamp
from storage.control.problems import Problem
from storage.telemetry import process
from storage.telemetry.monitor import DAY, STEP, Counts, Monitor, Step, by_operation, series
from storage.telemetry.trends import BucketDay

router = APIRouter(prefix="/api/v1", tags=["monitoring"])

#: Seconds over which "now" is measured.
_NOW = 3 * STEP
_TREND_DAYS_MAX = 400
#: Buckets that one request tells the trends of.
_TRENDS_MAX = 200
_EPOCH = date(1970, 1, 1)

Days = Annotated[int, Query(ge=1, le=_TREND_DAYS_MAX, description="So many days back.")]


class Rates(BaseModel):
    """Requests over a while."""

    requests: int
    client_errors: int = Field(description="Answered with 4xx.")
    server_errors: int = Field(description="Answered with 5xx.")
    bytes_in: int
    bytes_out: int
    mean: float = Field(description="Seconds from a request's head to its answer's last byte.")
    p50: float = Field(description="Half of the answers took no longer, in seconds.")
    p95: float
    p99: float


class Point(Rates):
    """Requests of one step of a chart."""

    time: datetime = Field(description="Its beginning.")
    seconds: float = Field(description="Its length.")


class OperationRates(Rates):
    """Requests of one operation."""

    operation: str


class WorkerView(BaseModel):
    """A process that serves S3."""

    number: int
    in_flight: int


class Live(Rates):
    """The last half minute, and this moment."""

    seconds: float = Field(description="How long was counted; less than 30 after a start.")
    in_flight: int
    workers: list[WorkerView]
    uptime: int = Field(description="Seconds since the control plane started.")
    cpu_seconds: float = Field(description="CPU time of all processes of the store.")
    resident: int = Field(
        description="Resident memory of all processes, what they share counted once, in bytes."
    )


class Requests(BaseModel):
    """A chart, and the table below it."""

    points: list[Point] = Field(description="Oldest first.")
    operations: list[OperationRates] = Field(description="By number of requests.")


class DrivePoint(BaseModel):
    """The drives in one hour."""

    time: datetime
    total: int
    free: int


class CapacityView(BaseModel):
    """Space on the drives, and how long it lasts. Bytes."""

    total: int
    free: int
    objects: int
    object_bytes: int
    inodes_total: int
    inodes_free: int
    growth: float | None = Field(
        description="Bytes a day, by the last two weeks; null: too little is known."
    )
    full: datetime | None = Field(
        description="When the drives are full if it goes on; null: never, or not known."
    )
    history: list[DrivePoint]


class FailureView(BaseModel):
    """An answer that something was wrong with."""

    time: datetime
    request_id: str
    operation: str
    status: int
    seconds: float
    bucket: str
    key: str = Field(description="Its beginning.")


class TrendPoint(BaseModel):
    """A bucket at the end of a day (UTC)."""

    day: date
    objects: int
    bytes: int


class Trend(BaseModel):
    """How a bucket grew."""

    bucket: str
    points: list[TrendPoint]


async def watching(caller: SignedIn) -> Monitor:
    """What watches the store, for who may look at it. Raises Problem."""
    caller.require("admin:ServerInfo")
    return _monitor(caller)


def _monitor(caller: SignedIn) -> Monitor:
    monitor = caller.plane.monitor
    if monitor is None:
        raise Problem(404, "NotWatched", "Nothing watches this store.")
    return monitor


Watching = Annotated[Monitor, Depends(watching)]


@router.get("/monitoring/live", summary="This moment")
async def live(caller: SignedIn, monitor: Watching) -> Live:
    """Requests in flight and the rates of the last half minute."""
    steps = monitor.ring.steps(_NOW, time.time())
    counts = next((counts for _, counts in series(steps, 1)), Counts())
    in_flight = monitor.board.in_flight()
    processes = await asyncio.to_thread(process.measure, monitor.root)
    return Live(
        **_rates(counts),
        seconds=sum(step.seconds for step in steps),
        in_flight=sum(in_flight),
        workers=[WorkerView(number=n, in_flight=each) for n, each in enumerate(in_flight)],
        uptime=int(time.time() - caller.plane.started),
        cpu_seconds=processes.cpu_seconds,
        resident=processes.resident,
    )


@router.get("/monitoring/requests", summary="Requests over time")
async def requests(
    monitor: Watching,
    span: Annotated[int, Query(ge=60, le=DAY, description="Seconds back from now.")] = 3600,
    points: Annotated[int, Query(ge=1, le=360)] = 60,
    operation: Annotated[str, Query(max_length=64, description="Of this one alone.")] = "",
) -> Requests:
    """Throughput, errors and latency: steps of ten seconds over the last hour, of five minutes over
    a day. Counting began when the store started."""
    steps = monitor.ring.steps(span, time.time())
    table = sorted(by_operation(steps).items(), key=lambda each: -each[1].requests)
    return Requests(
        points=[_point(step, counts) for step, counts in series(steps, points, operation)],
        operations=[OperationRates(operation=name, **_rates(counts)) for name, counts in table],
    )


@router.get("/monitoring/capacity", summary="Capacity and growth")
async def capacity(caller: SignedIn, monitor: Watching, days: Days = 14) -> CapacityView:
    """Space, how it changed, and when it ends if that goes on."""
    engine, now = caller.plane.engine, time.time()
    space = await engine.space()
    usages = [await engine.usage(bucket.id) for bucket in await engine.buckets()]
    growth = await asyncio.to_thread(monitor.trends.growth, now)
    hours = await asyncio.to_thread(monitor.trends.drives, int(now // 3600) - 24 * days)
    return CapacityView(
        total=space.total,
        free=space.free,
        objects=sum(usage.objects for usage in usages),
        object_bytes=sum(usage.bytes for usage in usages),
        inodes_total=space.inodes_total,
        inodes_free=space.inodes_free,
        growth=growth.bytes_per_day if growth else None,
        full=datetime.fromtimestamp(growth.full, UTC) if growth and growth.full else None,
        history=[
            DrivePoint(time=timestamp(hour.hour * 3600_000), total=hour.total, free=hour.free)
            for hour in hours
        ],
    )


@router.get("/monitoring/errors", summary="The last errors")
async def last_errors(
    caller: SignedIn, monitor: Watching, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> list[FailureView]:
    """Answers with 4xx (but 404 and 412) and 5xx, the latest first: the last 64 of each worker.
    Their request ids stand in the store's log and in the answers."""
    caller.require("admin:ServerTrace")
    return [
        FailureView(
            time=timestamp(each.time),
            request_id=each.request_id,
            operation=each.operation,
            status=each.status,
            seconds=each.microseconds / 1e6,
            bucket=each.bucket,
            key=each.key,
        )
        for each in monitor.board.failures()[:limit]
    ]


@router.get("/trends", summary="How buckets grew")
async def trends(
    caller: SignedIn,
    bucket: Annotated[
        list[BucketName], Query(description="Of these, at most 200.", max_length=_TRENDS_MAX)
    ],
    days: Days = 30,
) -> list[Trend]:
    """Objects and bytes by day, of those of the buckets asked for that the caller may list."""
    found = [await caller.plane.engine.bucket(name) for name in sorted(set(bucket))]
    shown = {
        each.id: each.name
        for each in found
        if each is not None and caller.decide_on("s3:ListBucket", each).allowed
    }
    points = await _points(caller, list(shown), days)
    return [Trend(bucket=name, points=points[number]) for number, name in shown.items()]


@router.get("/buckets/{bucket}/trend", summary="How a bucket grew")
async def trend(caller: SignedIn, bucket: BucketName, days: Days = 30) -> Trend:
    """Objects and bytes by day."""
    found = await open_bucket(caller, bucket, "s3:ListBucket")
    return Trend(bucket=bucket, points=(await _points(caller, [found.id], days))[found.id])


async def _points(caller: SignedIn, buckets: list[int], days: int) -> dict[int, list[TrendPoint]]:
    """What is known of buckets, by their ids."""
    known = _monitor(caller).trends
    points: dict[int, list[TrendPoint]] = defaultdict(list)
    for row in await asyncio.to_thread(known.buckets, buckets, _today() - days + 1):
        points[row.bucket].append(_trend_point(row))
    return points


def _rates(counts: Counts) -> dict[str, Any]:
    return {
        "requests": counts.requests,
        "client_errors": counts.client_errors,
        "server_errors": counts.server_errors,
        "bytes_in": counts.bytes_in,
        "bytes_out": counts.bytes_out,
        "mean": counts.microseconds / 1e6 / counts.requests if counts.requests else 0.0,
        "p50": counts.percentile(0.5),
        "p95": counts.percentile(0.95),
        "p99": counts.percentile(0.99),
    }


def _point(step: Step, counts: Counts) -> Point:
    return Point(
        **_rates(counts), time=timestamp(int(step.start * 1000)), seconds=round(step.seconds, 3)
    )


def _trend_point(row: BucketDay) -> TrendPoint:
    return TrendPoint(day=_EPOCH + timedelta(days=row.day), objects=row.objects, bytes=row.bytes)


def _today() -> int:
    return int(time.time() // 86400)
