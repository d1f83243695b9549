"""What Langfuse keeps: projects, days, traces and their events, out of the index.

Everybody sees what they could read anyway. Sums of a project are shown kind by kind to who may
list and read everything of that kind (``s3:ListBucket`` with its prefix, ``s3:GetObject`` there);
a trace, and each of its events, to who may read that very object.

One request makes a bounded number of decisions (``langfuse_sight``). A page may therefore be short,
or empty, and have a ``next`` all the same.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from storage.control.access import Caller, SignedIn
from storage.control.buckets import timestamp
from storage.control.langfuse_sight import Int64, Places, Sight, Spent
from storage.control.problems import Problem
from storage.langfuse.index import DAY_MS, Event, Usage
from storage.langfuse.keys import EVENTS, KINDS, OTEL, RUN_ITEM, SCORE, TRACE, layout

router = APIRouter(prefix="/api/v1/langfuse", tags=["langfuse"])

Kind = Annotated[str, Field(description=f"One of {', '.join(KINDS)}.")]
ProjectId = Annotated[str, Query(description="Id of a project.", max_length=1024)]
Cursor = Annotated[str, Query(description="The `next` of the page before.", max_length=4096)]

_FLAWS: tuple[Literal["", "damaged", "too large"], ...] = ("", "damaged", "too large")
_EPOCH = date(1970, 1, 1)
_DAYS_MAX = 400
#: Objects of a trace that are looked at for its row on a page of traces.
_EVENTS_OF_ROW = 200
#: Traces, projects and rows of usage that are read from the index at once.
_ROWS = 200
_USAGE_ROWS = 8000


class Folder(BaseModel):
    """Where Langfuse keeps something."""

    bucket: str
    prefix: str


class Progress(BaseModel):
    """How far the index is. Counts are for who may look at the whole store (`admin:ServerInfo`),
    null for everybody else."""

    state: Literal["off", "stocktaking", "following"]
    progress: float = Field(description="Of the stocktaking, 0 to 1.")
    done: int | None = Field(description="Objects looked at since the stocktaking began.")
    total: int | None = Field(description="As many as there may have been then.")
    objects: int | None = Field(description="In the index.")
    flawed: int | None = Field(description="Those of them that could not be read whole.")
    lag: int | None = Field(
        description="Seconds that it is behind the store's changes; null: not known yet."
    )
    behind: int | None = Field(description="Changes in the store that it has not come to yet.")
    share: float = Field(description="Of the time that it may work now, 0 to 1.")
    url: str = Field(description="Where people open Langfuse; empty: not known.")
    media: Folder = Field(description="Where media lie.")


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


class Projects(BaseModel):
    """A page of projects, by name."""

    projects: list[Project]
    next: str | None = Field(description="Give it as `after` for the next page.")


class Day(BaseModel):
    """A day (UTC) of a project."""

    day: date
    objects: int
    bytes: int
    traces: int | None = Field(
        description="That began on this day; null: not all events are readable."
    )
    kinds: list[Sum]


class UsageRow(BaseModel):
    """Objects and bytes of a project on a day (UTC)."""

    project: str
    day: date
    objects: int
    bytes: int
    kinds: list[Sum]


class UsageRows(BaseModel):
    """A page of usage, by project and day."""

    rows: list[UsageRow]
    next: str | None = Field(description="Give it as `after` for the next page.")


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
    config = caller.plane.config
    media = layout(config.langfuse_events, config.langfuse_media, config.langfuse_exports).media
    whole = caller.allowed("admin:ServerInfo")
    return Progress(
        state=state,
        progress=1.0 if state == "following" else found.done / found.total if found.total else 0.0,
        done=found.done if whole else None,
        total=found.total if whole else None,
        objects=found.objects if whole else None,
        flawed=found.flawed if whole else None,
        # It looks once a second.
        lag=max(0, int(found.lag(time.time())) - 2) if found.heard else None,
        behind=found.behind if whole else None,
        share=found.share / 1000,
        url=config.langfuse_url,
        media=Folder(bucket=media.bucket, prefix=media.prefix),
    )


@router.get("/projects", summary="Projects")
async def projects(
    caller: SignedIn,
    sight: Seen,
    after: Cursor = "",
    limit: Annotated[int, Query(ge=1, le=_ROWS)] = _ROWS,
) -> Projects:
    """Projects with what they keep, by kind, in the order of their names."""
    places = Places(caller, "projects")
    last = (places.unseal(after, tuple[str]) or ("",))[0]
    names, rows = await sight.ask(lambda reader: reader.projects(last, limit))
    found: dict[str, list[Project]] = {name: [] for name in names}
    try:
        for name, kinds in groupby(rows, key=lambda row: row[0]):
            seen = [row for row in kinds if await sight.sees(row[1], name)]
            if seen:
                found[name].append(_project(name, seen))
            last = name
    except Spent:
        pass
    else:
        last = names[-1] if len(names) == limit else ""
    shown = [each for name in names for each in found[name]]
    return Projects(projects=shown, next=places.seal(last) if last else None)


def _project(name: str, rows: list[tuple[str, str, int, int, int, int]]) -> Project:
    return Project(
        project=name,
        objects=sum(row[2] for row in rows),
        bytes=sum(row[3] for row in rows),
        first=_day(min(row[4] for row in rows)),
        last=_day(max(row[5] for row in rows)),
        kinds=[Sum(kind=row[1], objects=row[2], bytes=row[3]) for row in rows],
    )


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
    for row in await sight.ask(lambda reader: reader.days(project, last, limit)):
        if await sight.sees(row.kind, project):
            sums[row.day].append(_sum(row))
    shown = sorted(sums, reverse=True)
    counts: dict[int, int] | None = None
    if shown:
        kinds = await sight.ask(lambda reader: reader.kinds(project))
        if all([await sight.sees(kind, project) for kind in kinds if kind in EVENTS]):
            counts = await sight.ask(
                lambda reader: reader.trace_counts(project, shown[-1], shown[0])
            )
    return [
        Day(
            day=_day(day),
            objects=sum(each.objects for each in sums[day]),
            bytes=sum(each.bytes for each in sums[day]),
            traces=None if counts is None else counts.get(day, 0),
            kinds=sums[day],
        )
        for day in shown
    ]


@router.get("/usage", summary="Usage by project and day")
async def usage(
    caller: SignedIn,
    sight: Seen,
    since: Annotated[date | None, Query(description="30 days before `until` if left out.")] = None,
    until: Annotated[date | None, Query(description="Today if left out.")] = None,
    project: ProjectId = "",
    after: Cursor = "",
) -> UsageRows:
    """Objects and bytes by project and day (UTC) and kind, at most 400 days."""
    last = until or datetime.now(UTC).date()
    first = since or last - timedelta(days=30)
    if not 0 <= (last - first).days < _DAYS_MAX:
        raise Problem(400, "InvalidArgument", f"A span has 1 to {_DAYS_MAX} days.")
    places = Places(caller, f"usage {first} {last} {project}")
    before = places.unseal(after, tuple[str, Int64])
    rows = await sight.ask(
        lambda reader: reader.usage_page(
            project, _number(first), _number(last), before, _USAGE_ROWS
        )
    )
    whole = len(rows) < _USAGE_ROWS
    found: list[UsageRow] = []
    try:
        for (name, day), group in groupby(rows, key=lambda row: (row.project, row.day)):
            kinds = [_sum(row) for row in group if await sight.sees(row.kind, name)]
            if not whole and (name, day) == (rows[-1].project, rows[-1].day):
                break  # it may go on behind this page
            before = name, day
            if kinds:
                found.append(_usage_row(name, day, kinds))
    except Spent:
        whole = False
    return UsageRows(rows=found, next=places.seal(*before) if before and not whole else None)


def _usage_row(name: str, day: int, kinds: list[Sum]) -> UsageRow:
    return UsageRow(
        project=name,
        day=_day(day),
        objects=sum(each.objects for each in kinds),
        bytes=sum(each.bytes for each in kinds),
        kinds=kinds,
    )


@router.get("/traces", summary="Traces of a day")
async def traces(
    caller: SignedIn,
    sight: Seen,
    project: ProjectId,
    day: Annotated[date, Query(description="On which they began (UTC).")],
    after: Cursor = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Traces:
    """Traces that began on a day, the latest first. What may not be read is passed over; a trace
    is shown if one of its first 200 objects may be read."""
    start = _number(day) * DAY_MS
    places = Places(caller, f"traces {day} {project}")

    async def rows(before: tuple[int, str] | None) -> list[tuple[tuple[int, str], str, str]]:
        found = await sight.ask(
            lambda reader: reader.traces(project, start, start + DAY_MS, before, _ROWS)
        )
        return [((row.first, row.trace), row.trace, project) for row in found]

    return await _page(caller, sight, rows, places, places.unseal(after, tuple[Int64, str]), limit)


@router.get("/search", summary="Search by trace id")
async def search(
    caller: SignedIn,
    sight: Seen,
    trace: Annotated[str, Query(min_length=1, max_length=1024, description="How it begins.")],
    after: Cursor = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Traces:
    """Traces of all projects whose id is this, or begins with it, in the order of their ids."""
    places = Places(caller, f"search {trace}")

    async def rows(before: tuple[str, str] | None) -> list[tuple[tuple[str, str], str, str]]:
        found = await sight.ask(lambda reader: reader.search(trace, before, _ROWS))
        return [(row, *row) for row in found]

    return await _page(caller, sight, rows, places, places.unseal(after, tuple[str, str]), limit)


async def _page(
    caller: Caller,
    sight: Sight,
    rows: Callable[[Any], Awaitable[list[tuple[Any, str, str]]]],
    places: Places,
    place: Any,
    limit: int,
) -> Traces:
    """The next traces that may be read: of ``rows``, (place, trace, project) after a place."""
    page: list[Trace] = []

    def until_here() -> Traces:
        return Traces(traces=page, next=places.seal(*place) if place else None)

    try:
        while found := await rows(place):
            for following, trace, project in found:
                view = await _trace(caller, sight, trace, project)
                place = following
                if view is not None:
                    page.append(view)
                    if len(page) == limit:
                        return until_here()
    except Spent:
        return until_here()
    return Traces(traces=page, next=None)


@router.get("/events", summary="Events of a trace")
async def events(
    caller: SignedIn,
    sight: Seen,
    trace: Annotated[str, Query(min_length=1, max_length=1024)],
    project: ProjectId = "",
    after: Cursor = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Events:
    """The objects that speak of a trace, project by project, in the order of their events. Their
    bodies come from S3; one object of the OTel layout may hold spans of several traces."""
    places = Places(caller, f"events {project} {trace}")
    since = places.unseal(after, tuple[str, Int64, Int64])
    rows = await sight.ask(lambda reader: reader.events(trace, project, since, limit))
    shown = [_event(row) for row in await sight.readable(rows)]
    last = rows[-1] if len(rows) == limit else None
    following = places.seal(last.project, last.time, last.number) if last else None
    return Events(events=shown, next=following)


async def _trace(caller: Caller, sight: Sight, trace: str, project: str) -> Trace | None:
    """A trace with the sums of what may be read of it; None if that is nothing. Raises Spent."""
    rows = await sight.ask(lambda reader: reader.events(trace, project, limit=_EVENTS_OF_ROW))
    found = await sight.readable(rows)
    if not found:
        return None
    # A score's name says nothing of the trace that was judged.
    names = [event.name for event in found if event.name and event.kind not in (SCORE, RUN_ITEM)]
    of_trace = [event.name for event in found if event.name and event.kind in (TRACE, OTEL)]
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


def _sum(row: Usage) -> Sum:
    return Sum(kind=row.kind, objects=row.objects, bytes=row.bytes)


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
