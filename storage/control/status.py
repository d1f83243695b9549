"""How the store is: for people, for scripts and for what watches it."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field, SecretStr

import storage
from storage.control.access import SignedIn
from storage.control.buckets import timestamp
from storage.control.plane import Plane, plane_of, refuse
from storage.control.problems import Problem
from storage.engine import interface
from storage.engine.interface import Space
from storage.errors import StoreError
from storage.iam.credentials import check_secret
from storage.iam.errors import IdentityError

router = APIRouter(prefix="/api/v1", tags=["operation"])

#: State of an index that follows the change feed, and seconds behind it that are worth a word.
_FOLLOWING, _BEHIND = 2, 600


class Capacity(BaseModel):
    """Space on the drives, in bytes."""

    total: int
    free: int


class Scrub(BaseModel):
    """The search for rot: the pass at hand, or the last one between two."""

    passes: int = Field(description="Finished ones.")
    started: datetime | None
    finished: datetime | None = Field(description="End of the last finished one.")
    bytes: int = Field(description="Read and verified.")
    damages: int = Field(description="Places where data is lost; the log names them.")
    mismatches: int = Field(description="Differences of index and log.")
    repairs: int = Field(description="How often the index was made anew for that.")


class Status(BaseModel):
    """The store at a glance."""

    version: str
    started: datetime
    uptime: int = Field(description="Seconds since the control plane started.")
    workers: int = Field(description="Processes that serve S3.")
    endpoint: str = Field(description="Address of S3 for clients outside, where it is set.")
    region: str
    buckets: int
    objects: int
    bytes: int
    drives_online: int
    drives_offline: int
    capacity: Capacity
    last_change: datetime | None = Field(description="As far as the clock could be believed.")
    clock_suspect: bool = Field(description="The clock is more than a day off the last change.")
    damages: int = Field(description="Damaged ranges of the log met since its start.")
    scrub: Scrub
    warnings: list[str] = Field(description="What the operator should know, a sentence each.")


class Drive(BaseModel):
    """A drive and its state."""

    path: str
    online: bool


class Drives(BaseModel):
    """The drives, with their space and inodes together."""

    drives: list[Drive]
    capacity: Capacity
    inodes_total: int
    inodes_free: int


class Health(BaseModel):
    """Whether the store answers."""

    status: Literal["ok", "unavailable"]


class NewRootSecret(BaseModel):
    """The root password to come."""

    secret_key: SecretStr


@router.get("/status", summary="The store at a glance")
async def status(caller: SignedIn) -> Status:
    """Version, uptime, counters, capacity and warnings."""
    caller.require("admin:ServerInfo")
    plane = caller.plane
    buckets = await plane.engine.buckets()
    usages = [await plane.engine.usage(bucket.id) for bucket in buckets]
    space = await plane.engine.space()
    health = await plane.engine.health()
    identity = await plane.identity()
    return Status(
        version=storage.__version__,
        started=timestamp(int(plane.started * 1000)),
        uptime=int(time.time() - plane.started),
        workers=plane.config.workers,
        endpoint=plane.config.external_endpoint,
        region=plane.config.region,
        buckets=len(buckets),
        objects=sum(usage.objects for usage in usages),
        bytes=sum(usage.bytes for usage in usages),
        drives_online=space.drives_online,
        drives_offline=space.drives_offline,
        capacity=_capacity(space),
        last_change=_moment(health.last_record),
        clock_suspect=health.clock_suspect,
        damages=health.damages,
        scrub=_scrub(health.scrub),
        warnings=[
            *plane.config.warnings,
            *identity.problems,
            *_trouble(space),
            *_unsoundness(health),
        ],
    )


@router.get("/drives", summary="List drives")
async def drives(caller: SignedIn) -> Drives:
    """The drives with their space."""
    caller.require("admin:StorageInfo")
    space = await caller.plane.engine.space()
    paths = space.drives or caller.plane.config.drives
    online = space.drives_online
    return Drives(
        drives=[Drive(path=path, online=place < online) for place, path in enumerate(paths)],
        capacity=_capacity(space),
        inodes_total=space.inodes_total,
        inodes_free=space.inodes_free,
    )


@router.post("/rekey", status_code=204, summary="Change the root password")
async def rekey(caller: SignedIn, new: NewRootSecret) -> Response:
    """Seal the store's key under a new root password.

    The running store goes on with the old one; the next start needs the new one in its
    environment.
    """
    if not caller.principal.root or caller.principal.boundary is not None:
        raise Problem(403, "AccessDenied", "Only the root user changes the root password.")
    if caller.plane.rekey is None:
        raise Problem(501, "NotImplemented", "This store's root password cannot be changed here.")
    secret = new.secret_key.get_secret_value()
    try:
        check_secret(secret)
    except IdentityError as error:
        raise refuse(error) from None
    await caller.plane.rekey(secret)
    return Response(status_code=204)


@router.get("/health", summary="Does the store answer?", responses={503: {"model": Health}})
async def health(response: Response, plane: Annotated[Plane, Depends(plane_of)]) -> Health:
    """Needs no token: 200 while the engine answers and a drive is online, else 503."""
    try:
        if (await plane.engine.space()).drives_online:
            return Health(status="ok")
    except StoreError:
        pass
    response.status_code = 503
    return Health(status="unavailable")


def _capacity(space: Space) -> Capacity:
    return Capacity(total=space.total, free=space.free)


def _moment(milliseconds: int) -> datetime | None:
    return timestamp(milliseconds) if milliseconds else None


def _scrub(found: interface.Scrub) -> Scrub:
    return Scrub(
        passes=found.passes,
        started=_moment(found.started),
        finished=_moment(found.finished),
        bytes=found.bytes,
        damages=found.damages,
        mismatches=found.mismatches,
        repairs=found.repairs,
    )


def _unsoundness(health: interface.Health) -> list[str]:
    found = []
    if health.clock_suspect:
        found.append(
            "The clock is more than a day off the last change: what depends on time alone "
            "(lifecycle) is paused until it is right, or has stood like this for a day."
        )
    behind = health.langfuse.lag(time.time())
    if health.langfuse.state == _FOLLOWING and behind > _BEHIND:
        found.append(
            f"The index of Langfuse's objects is {behind / 60:.0f} minutes behind: the console "
            "shows newer traces later."
        )
    if health.damages:
        found.append(
            f"Damaged ranges met in the log: {health.damages}. The store's log names each."
        )
    if health.scrub.damages:
        found.append(
            f"Lost data found by the search for rot: {health.scrub.damages}. The store's log names "
            "each; restore it from a backup."
        )
    return found


def _trouble(space: Space) -> list[str]:
    found = []
    if space.drives_offline:
        found.append(f"{space.drives_offline} of the drives are offline.")
    if space.inodes_total and space.inodes_free < space.inodes_total // 20:
        found.append("Fewer than 5 % of the drive's inodes are free.")
    if space.total and space.free < space.total // 20:
        found.append("Less than 5 % of the drive is free.")
    return found
