"""What the caller may do in a bucket: for whoever offers it to people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from storage.control.access import Caller, SignedIn, open_bucket
from storage.control.buckets import BucketName
from storage.control.problems import Problem
from storage.engine import interface as engine

router = APIRouter(prefix="/api/v1/buckets/{bucket}", tags=["buckets"])

#: Actions on a bucket, and on objects, that there is something to offer for.
BUCKET_ACTIONS = (
    "s3:DeleteBucket",
    "s3:DeleteBucketPolicy",
    "s3:GetBucketAcl",
    "s3:GetBucketCORS",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetLifecycleConfiguration",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucketVersions",
    "s3:PutBucketAcl",
    "s3:PutBucketCORS",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketTagging",
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
)
OBJECT_ACTIONS = (
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:DeleteObjectTagging",
    "s3:DeleteObjectVersion",
    "s3:GetObject",
    "s3:GetObjectAcl",
    "s3:GetObjectTagging",
    "s3:GetObjectVersion",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectTagging",
)


class Rights(BaseModel):
    """What is allowed, as it would be decided at this moment."""

    bucket: list[str] = Field(description="Actions on the bucket, listing below `prefix`.")
    objects: list[str] = Field(
        description="Actions on the object `key`; without it, on any object below `prefix`."
    )


@router.get("/rights", summary="What may I do in a bucket?")
async def rights(
    caller: SignedIn,
    bucket: BucketName,
    prefix: Annotated[str, Query(max_length=1024)] = "",
    key: Annotated[str, Query(max_length=1024)] = "",
) -> Rights:
    """The actions that the caller is allowed. What is not in the answer would be refused."""
    found = await caller.plane.engine.bucket(bucket)
    if found is None:
        await open_bucket(caller, bucket, "s3:ListBucket")  # which says what may be said
        raise Problem(404, "NoSuchBucket", "The bucket does not exist.")
    version = await caller.plane.engine.lookup(found.id, key) if key else None
    facts = {"s3:prefix": prefix, "s3:delimiter": "/"}
    answer = Rights(
        bucket=_allowed(caller, BUCKET_ACTIONS, found, facts=facts),
        # A "*" in a key is matched by what any text would be.
        objects=_allowed(caller, OBJECT_ACTIONS, found, key or f"{prefix}*", version),
    )
    if not answer.bucket and not answer.objects:
        caller.require_on("s3:ListBucket", found)
    return answer


def _allowed(
    caller: Caller,
    actions: tuple[str, ...],
    bucket: engine.Bucket,
    key: str = "",
    version: engine.Version | None = None,
    facts: dict[str, str] | None = None,
) -> list[str]:
    return [
        action
        for action in actions
        if caller.decide_on(action, bucket, key, version, facts or {}).allowed
    ]
