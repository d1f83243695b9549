"""What Langfuse keeps: projects, days, traces and their events, out of the index.

Everybody sees what they could read anyway. Sums of a project are shown kind by kind to who may
list and read everything of that kind (``s3:ListBucket`` with its prefix, ``s3:GetObject`` there);
a trace, and each of its events, to who may read that very object.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from storage.control.access import Caller, SignedIn
from storage.control.buckets import timestamp
from storage.control.problems import Problem
from storage.engine.interface import Bucket
from storage.iam.resources import EXISTING_TAG, ObjectNeeded, decide_on
from storage.langfuse.index import DAY_MS, Event, Reader
from storage.langfuse.keys import EVENTS, KINDS, Layout, layout

router = APIRouter(prefix="/api/v1/langfuse", tags=["langfuse"])

Kind = Annotated[str, Field(description=f"One of {', '.join(KINDS)}.")]
ProjectId = Annotated[str, Query(description="Id of a project.", max_length=1024)]
Cursor = Annotated[str, Query(description="The `next` of the page before.", max_length=4096)]

_FLAWS: tuple[Literal["", "damaged", "too large"], ...] = ("", "damaged", "too large")
_EPOCH = date(1970, 1, 1)
_DAYS_MAX = 400
#: Traces that are looked at for one page, and objects that are looked at for one trace of it.
_LOOKED_AT_MAX = 2000
_EVENTS_OF_ROW = 200
_T = TypeVar("_T")


class Progress(BaseModel):
    """How far the index is."""

    state: Literal["off", "stocktaking", "following"]
    done: int = Field(description="Objects that were looked at since the stocktaking began.")
    total: int = Field(description="As many as there may have been then.")
    objects: int = Field(description="In the index.")
    flawed: int = Field(description="Those of them that could not be read whole.")
    lag: int | None = Field(description="Seconds that it is behind; null: it takes stock.")
    url: str = Field(description="Where people open Langfuse; empty: not known.")


class Sum(BaseModel):
    """Objects of one kind."""

    kind: Kind
    objects: int
    bytes: int


class Project(BaseModel):
    """A project, as far as the caller may read it."""

    project: str
    objects: int
    bytes: int
    first: date
    last: date
    kinds: list[Sum]


class Day(BaseModel):
    """A day (UTC) of a project."""

    day: date
    objects: int
    bytes: int
    traces: int = Field(description="That began on this day; 0 where not all events are readable.")
    kinds: list[Sum]


class UsageRow(BaseModel):
    """Objects and bytes of a project on a day (UTC)."""

    project: str
    day: date
    objects: int
    bytes: int


class Trace(BaseModel):
    """A trace, as far as the caller may read it."""

    trace: str
    project: str
    name: str
    first: datetime
    last: datetime
    objects: int
    bytes: int
    more: bool = Field(description="Whether it has more objects than were counted here.")
    url: str = Field(description="The trace in Langfuse; empty: its address is not known.")


class Traces(BaseModel):
    """A page of traces."""

    traces: list[Trace]
    next: str | None = Field(description="Give it as `after` for the next page.")


class EventView(BaseModel):
    """An object that speaks of a trace."""

    bucket: str
    key: str
    kind: Kind
    project: str
    time: datetime
    modified: datetime
    size: int
    parts: int = Field(description="Spans or events of the trace in it.")
    name: str
    flaw: Literal["", "damaged", "too large"]


class Events(BaseModel):
    """A page of a trace's objects, in the order of their events."""

    events: list[EventView]
    next: str | None = Field(description="Give it as `after` for the next page.")


class Sight:
    """What one caller may see. Remembers decisions about prefixes for one request."""

    def __init__(self, caller: Caller, reader: Reader, where: Layout) -> None:
        self._caller = caller
        self._reader = reader
        self._layout = where
        self._buckets: dict[str, Bucket | None] = {}
        self._scopes: dict[tuple[str, str], bool] = {}

    async def ask(self, question: Callable[[Reader], _T]) -> _T:
        """The index's answer, from a thread."""
        return await asyncio.to_thread(question, self._reader)

    async def sees(self, kind: str, project: str) -> bool:
        """Whether everything of a kind and project may be listed and read."""
        name, prefix = self._layout.scope(kind, project)
        known = self._scopes.get((name, prefix))
        if known is None:
            bucket = await self._bucket(name)
            known = (
                bucket is not None
                and self._caller.decide_on(
                    "s3:ListBucket", bucket, facts={"s3:prefix": prefix}
                ).allowed
                # A "*" in a key is matched by what any text would be.
                and self._caller.decide_on("s3:GetObject", bucket, f"{prefix}*").allowed
            )
            self._scopes[name, prefix] = known
        return known

    async def readable(self, events: Iterable[Event]) -> list[Event]:
        """Those of ``events`` whose objects may be read."""
        return [event for event in events if await self._reads(event.bucket, event.key)]

    async def _reads(self, name: str, key: str) -> bool:
        bucket = await self._bucket(name)
        if bucket is None:
            return False
        caller = self._caller
        try:
            return decide_on(
                caller.principal, "s3:GetObject", bucket, key,
                lambda: _Untold(caller), None, looked=False,
            ).allowed  # fmt: skip
        except ObjectNeeded:
            found = await caller.plane.engine.lookup(bucket.id, key)
            return caller.decide_on("s3:GetObject", bucket, key, found).allowed

    async def _bucket(self, name: str) -> Bucket | None:
        if name not in self._buckets:
            self._buckets[name] = await self._caller.plane.engine.bucket(name)
        return self._buckets[name]


class _Untold:
    """The facts of a request, before the object was looked at."""

    def __init__(self, caller: Caller) -> None:
        self._facts = caller.context()

    def get(self, key: str) -> str | tuple[str, ...] | None:
        if key.startswith(EXISTING_TAG):
            raise ObjectNeeded
        return self._facts.get(key)


async def sight_of(caller: SignedIn) -> Sight:
    """What the caller may see of the index. Raises Problem where there is none."""
    plane = caller.plane
    if plane.langfuse is None or not plane.config.langfuse_index:
        raise Problem(
            404, "IndexIsOff", "No index of Langfuse's objects is kept: set "
            "OVERSIGHT_LANGFUSE_INDEX=on.",
        )  # fmt: skip
    config = plane.config
    where = layout(config.langfuse_events, config.langfuse_media, config.langfuse_exports)
    return Sight(caller, plane.langfuse, where)


Seen = Annotated[Sight, Depends(sight_of)]


@router.get("", summary="How far is the index?")
async def progress(caller: SignedIn) -> Progress:
    """Whether there is an index of Langfuse's objects, and how much is in it."""
    found = (await caller.plane.engine.health()).langfuse
    state: Literal["off", "stocktaking", "following"]
    state = ("off", "stocktaking", "following")[min(found.state, 2)]
    behind = int(time.time() - found.current / 1000) if found.current else None
    return Progress(
        state=state,
        done=found.done,
        total=found.total,
        objects=found.objects,
        flawed=found.flawed,
        lag=max(0, behind - 2) if behind is not None and found.state == 2 else None,
        url=caller.plane.config.langfuse_url,
    )


@router.get("/projects", summary="Projects")
async def projects(sight: Seen) -> list[Project]:
    """Projects with what they keep, by kind."""
    sums: dict[str, list[Sum]] = defaultdict(list)
    days: dict[str, list[int]] = defaultdict(list)
    for project, kind, objects, size, first, last in await sight.ask(Reader.projects):
        if await sight.sees(kind, project):
            sums[project].append(Sum(kind=kind, objects=objects, bytes=size))
            days[project] += first, last
    return [
        Project(
            project=project,
            objects=sum(each.objects for each in kinds),
            bytes=sum(each.bytes for each in kinds),
            first=_day(min(days[project])),
            last=_day(max(days[project])),
            kinds=kinds,
        )
        for project, kinds in sums.items()
    ]


@router.get("/days", summary="Days of a project")
async def days(
    sight: Seen,
    project: ProjectId,
    until: Annotated[date | None, Query(description="The last day to be shown.")] = None,
    limit: Annotated[int, Query(ge=1, le=_DAYS_MAX)] = 90,
) -> list[Day]:
    """The days on which something was kept, the latest first."""
    last = 1 << 30 if until is None else _number(until)
    sums: dict[int, list[Sum]] = defaultdict(list)
    for row in await sight.ask(lambda reader: reader.usage(project, 0, last)):
        if await sight.sees(row.kind, project):
            sums[row.day].append(Sum(kind=row.kind, objects=row.objects, bytes=row.bytes))
    shown = sorted(sums, reverse=True)[:limit]
    counts = {}
    if shown and all([await sight.sees(kind, project) for kind in EVENTS]):
        counts = await sight.ask(lambda reader: reader.trace_counts(project, shown[-1], shown[0]))
    return [
        Day(
            day=_day(day),
            objects=sum(each.objects for each in sums[day]),
            bytes=sum(each.bytes for each in sums[day]),
            traces=counts.get(day, 0),
            kinds=sums[day],
        )
        for day in shown
    ]


@router.get("/usage", summary="Usage by project and day")
async def usage(
    sight: Seen,
    since: Annotated[date | None, Query(description="30 days before `until` if left out.")] = None,
    until: Annotated[date | None, Query(description="Today if left out.")] = None,
    project: ProjectId = "",
) -> list[UsageRow]:
    """Objects and bytes by project and day (UTC), at most 400 days."""
    last = until or datetime.now(UTC).date()
    first = since or last - timedelta(days=30)
    if not 0 <= (last - first).days < _DAYS_MAX:
        raise Problem(400, "InvalidArgument", f"A span has 1 to {_DAYS_MAX} days.")
    sums: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    found = await sight.ask(lambda reader: reader.usage(project, _number(first), _number(last)))
    for row in found:
        if await sight.sees(row.kind, row.project):
            total = sums[row.project, row.day]
            total[0] += row.objects
            total[1] += row.bytes
    return [
        UsageRow(project=name, day=_day(day), objects=objects, bytes=size)
        for (name, day), (objects, size) in sums.items()
    ]


@router.get("/traces", summary="Traces of a day")
async def traces(
    caller: SignedIn,
    sight: Seen,
    project: ProjectId,
    day: Annotated[date, Query(description="On which they began (UTC).")],
    after: Cursor = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Traces:
    """Traces that began on a day, the latest first. A page may be short, or empty, and have a
    `next` all the same: what may not be read is passed over."""
    start = _number(day) * DAY_MS
    before = _split(after)
    page: list[Trace] = []
    for _ in range(_LOOKED_AT_MAX // limit):
        rows = await sight.ask(
            lambda reader, before=before: reader.traces(  # type: ignore[misc]
                project, start, start + DAY_MS, before, limit
            )
        )
        for row in rows:
            before = row.first, row.trace
            found = await _trace(caller, sight, row.trace, project)
            if found is not None:
                page.append(found)
                if len(page) == limit:
                    return Traces(traces=page, next=_join(*before))
        if len(rows) < limit:
            return Traces(traces=page, next=None)
    return Traces(traces=page, next=_join(*before) if before else None)


@router.get("/search", summary="Search by trace id")
async def search(
    caller: SignedIn,
    sight: Seen,
    trace: Annotated[str, Query(min_length=1, max_length=1024, description="How it begins.")],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> list[Trace]:
    """Traces of all projects whose id is this, or begins with it."""
    page: list[Trace] = []
    after: tuple[str, str] | None = None
    for _ in range(_LOOKED_AT_MAX // 100):
        rows = await sight.ask(
            lambda reader, after=after: reader.search(trace, after, 100)  # type: ignore[misc]
        )
        for row in rows:
            after = row
            found = await _trace(caller, sight, *row)
            if found is not None:
                page.append(found)
                if len(page) == limit:
                    return page
        if len(rows) < 100:
            break
    return page


@router.get("/events", summary="Events of a trace")
async def events(
    sight: Seen,
    trace: Annotated[str, Query(min_length=1, max_length=1024)],
    project: ProjectId = "",
    after: Cursor = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Events:
    """The objects that speak of a trace, in the order of their events. Their bodies come from
    S3; one object of the OTel layout may hold spans of several traces."""
    at, number = _split(after) or (-1, "-1")
    since = at, _parse(number)
    rows = await sight.ask(lambda reader: reader.events(trace, project, since, limit))
    following = _join(rows[-1].time, str(rows[-1].number)) if len(rows) == limit else None
    return Events(events=[_event(row) for row in await sight.readable(rows)], next=following)


async def _trace(caller: Caller, sight: Sight, trace: str, project: str) -> Trace | None:
    """A trace with the sums of what may be read of it; None if that is nothing."""
    rows = await sight.ask(lambda reader: reader.events(trace, project, limit=_EVENTS_OF_ROW))
    found = await sight.readable(rows)
    if not found:
        return None
    names = [event.name for event in found if event.name]
    of_trace = [event.name for event in found if event.name and event.kind in ("trace", "otel")]
    return Trace(
        trace=trace,
        project=project,
        name=(of_trace or names or [""])[0],
        first=timestamp(found[0].time),
        last=timestamp(found[-1].time),
        objects=len(found),
        bytes=sum(event.size for event in found),
        more=len(rows) == _EVENTS_OF_ROW,
        url=_url(caller.plane.config.langfuse_url, project, trace),
    )


def _event(event: Event) -> EventView:
    return EventView(
        bucket=event.bucket,
        key=event.key,
        kind=event.kind,
        project=event.project,
        time=timestamp(event.time),
        modified=timestamp(event.modified),
        size=event.size,
        parts=event.parts,
        name=event.name,
        flaw=_FLAWS[event.flaw],
    )


def _url(base: str, project: str, trace: str) -> str:
    if not base:
        return ""
    return f"{base}/project/{quote(project, safe='')}/traces/{quote(trace, safe='')}"


def _day(number: int) -> date:
    return _EPOCH + timedelta(days=number)


def _number(day: date) -> int:
    return (day - _EPOCH).days


def _join(at: int, rest: str) -> str:
    return f"{at} {rest}"


def _split(cursor: str) -> tuple[int, str] | None:
    if not cursor:
        return None
    at, space, rest = cursor.partition(" ")
    if not space:
        raise _no_cursor()
    return _parse(at), rest


def _parse(number: str) -> int:
    """A number of 64 bits with a sign. Raises Problem."""
    digits = number.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 19:
        raise _no_cursor()
    return max(-(1 << 63), min(int(number), (1 << 63) - 1))


def _no_cursor() -> Problem:
    return Problem(400, "InvalidArgument", "after: it is not the next of another page.")
