"""Buckets: list with counters, make, look at, delete."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from storage.control.access import Caller, SignedIn, bucket_arn, open_bucket
from storage.control.problems import Problem
from storage.engine import interface as engine
from storage.iam.resources import first_documents
from storage.lifecycle import Clock
from storage.lifecycle.due import preview
from storage.names import is_bucket_name

router = APIRouter(prefix="/api/v1/buckets", tags=["buckets"])

BucketName = Annotated[str, Path(description="Name of the bucket.")]

#: Buckets that are described before others get their turn.
_AT_ONCE = 100


class NewBucket(BaseModel):
    """A bucket to make."""

    name: str = Field(description="3 to 63 of a-z, 0-9, '.' and '-'.", max_length=255)


class Bucket(BaseModel):
    """A bucket with its counters."""

    name: str
    owner: str = Field(description="Name of the user to whom it belongs, or their canonical id.")
    created: datetime
    objects: int
    bytes: int = Field(description="Bytes of all objects, uploads in progress not counted.")
    uploads: int = Field(description="Multipart uploads in progress.")


def timestamp(milliseconds: int) -> datetime:
    """A time as the API shows it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


@router.get("", summary="List buckets")
async def list_buckets(caller: SignedIn) -> list[Bucket]:
    """The caller's own buckets, and all others that the caller may list."""
    own = caller.allowed("s3:ListAllMyBuckets", bucket_arn("*"))
    shown = [
        bucket
        for bucket in await caller.plane.engine.buckets()
        if (own and bucket.owner == caller.principal.id)
        or caller.decide_on("s3:ListBucket", bucket).allowed
    ]
    if not shown:
        caller.require("s3:ListAllMyBuckets", bucket_arn("*"))
    described = []
    for number, bucket in enumerate(shown):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)  # thousands of buckets must not hold up health and metrics
        described.append(await _described(caller, bucket))
    return described


@router.post("", status_code=201, summary="Make a bucket")
async def create_bucket(caller: SignedIn, new: NewBucket) -> Bucket:
    """Make a bucket that belongs to the caller."""
    caller.require("s3:CreateBucket", bucket_arn(new.name))
    if not is_bucket_name(new.name):
        raise Problem(
            400, "InvalidBucketName",
            'A bucket name has 3 to 63 of a-z, 0-9, "." and "-", with a letter or digit at both '
            "ends.",
        )  # fmt: skip
    created: engine.Bucket = await caller.plane.engine.commit(
        engine.CreateBucket(
            name=new.name,
            owner=caller.principal.id,
            created=time.time_ns() // 1_000_000,
            region=caller.plane.config.region,
            config=first_documents(caller.plane.config.bucket_defaults),
        )
    )
    return await _described(caller, created)


@router.get("/{bucket}", summary="Look at a bucket")
async def bucket_info(caller: SignedIn, bucket: BucketName) -> Bucket:
    """A bucket's owner, age and counters."""
    return await _described(caller, await open_bucket(caller, bucket, "s3:ListBucket"))


class Expiring(BaseModel):
    """What one lifecycle rule would take at a moment."""

    rule: str
    kind: str = Field(description="expire, noncurrent, marker or abort (an upload).")
    count: int
    bytes: int = Field(description="Bytes of what goes; with versioning `expire` only hides.")


@router.get("/{bucket}/lifecycle/preview", summary="What lifecycle rules would take")
async def preview_lifecycle(
    caller: SignedIn,
    bucket: BucketName,
    days: Annotated[int, Query(ge=0, le=36500, description="So many days from now; 0: now.")] = 0,
) -> list[Expiring]:
    """By rule and kind, how many objects, versions and uploads would go, and how many bytes."""
    found = await open_bucket(caller, bucket, "s3:GetLifecycleConfiguration")
    day = caller.plane.config.lifecycle_day
    clock = Clock(time.time_ns() // 1_000_000 + days * day * 1000, day)
    return [
        Expiring(rule=each.rule, kind=each.kind, count=each.count, bytes=each.bytes)
        for each in await preview(caller.plane.engine, found, clock)
    ]


@router.delete("/{bucket}", status_code=204, summary="Delete an empty bucket")
async def delete_bucket(caller: SignedIn, bucket: BucketName) -> Response:
    """Delete a bucket that holds no objects; uploads in progress are aborted with it."""
    found = await open_bucket(caller, bucket, "s3:DeleteBucket")
    await caller.plane.engine.commit(engine.DeleteBucket(found.name, found.id))
    return Response(status_code=204)


async def _described(caller: Caller, bucket: engine.Bucket) -> Bucket:
    usage = await caller.plane.engine.usage(bucket.id)
    owner = (await caller.plane.identity()).principal(bucket.owner)
    return Bucket(
        name=bucket.name,
        owner=owner.name if owner else bucket.owner,
        created=timestamp(bucket.created),
        objects=usage.objects,
        bytes=usage.bytes,
        uploads=usage.uploads,
    )
