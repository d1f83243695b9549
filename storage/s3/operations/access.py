"""Authorization: the one place where a request meets ``storage.iam``.

Most requests are decided by policies alone. What depends on the object asked for (its own access
control list, its tags, its owner) waits until the object has been looked up, and only for callers
whom policies have not decided: see ``decided`` and ``settle``. docs/access.md tells the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from storage.engine.interface import VERSIONING
from storage.iam.decide import decide
from storage.iam.policy import Decision
from storage.iam.resources import ACL, POLICY, ObjectNeeded, arn, decide_on, foreign_owner
from storage.s3.errors import S3Error
from storage.s3.operations import facts
from storage.s3.operations.facts import Facts, Value

if TYPE_CHECKING:
    from storage.engine.interface import Bucket, Version
    from storage.s3.call import Call

#: The header that tells of a delete marker.
MARKER = (b"x-amz-delete-marker", b"true")
_NO_MARKER = (b"x-amz-delete-marker", b"false")


def decision(
    call: Call,
    action: str,
    bucket: Bucket | None,
    key: str = "",
    version: Version | None = None,
    *,
    looked: bool = True,
    prefix: str | None = None,
    given: Mapping[str, Value] | None = None,
) -> Decision | None:
    """Whether the caller may do ``action`` on the object or bucket, and why.

    Without a bucket it is about one that is yet to be made, or about the whole store. ``version``
    is the object as it exists, None where there is none; with ``looked`` False nobody knows yet,
    and the answer is None where it matters. ``prefix`` stands for the request's own in
    ``s3:prefix``, ``given`` for its values of other keys.
    """
    principal = call.auth.principal

    def context() -> Facts:
        return Facts(call, action, version, looked=looked, prefix=prefix, given=given)

    if bucket is None:
        return decide(principal, action, arn(call.bucket), context)
    try:
        return decide_on(principal, action, bucket, key, context, version, looked=looked)
    except ObjectNeeded:
        return None


def speaks(bucket: Bucket) -> bool:
    """Whether the bucket itself may let in whom no policy of their own does."""
    return POLICY in bucket.config or ACL in bucket.config


def allowed(
    call: Call,
    action: str,
    bucket: Bucket | None,
    key: str = "",
    *,
    prefix: str | None = None,
    given: Mapping[str, Value] | None = None,
) -> bool:
    """Whether the caller may do ``action``, where that does not depend on an existing object."""
    principal = call.auth.principal
    if principal.root and principal.boundary is None:
        return True
    found = decision(call, action, bucket, key, prefix=prefix, given=given)
    return found is not None and found.allowed


def authorize(call: Call, action: str, bucket: Bucket | None, key: str = "") -> None:
    """Raise AccessDenied unless ``allowed``."""
    if not allowed(call, action, bucket, key):
        raise S3Error("AccessDenied")


def decided(call: Call, action: str, bucket: Bucket | None, key: str = "") -> bool:
    """True if the caller may do ``action``; False if that depends on the object: ``settle`` it.

    Raises AccessDenied.
    """
    principal = call.auth.principal
    if principal.root and principal.boundary is None:
        return True
    found = decision(call, action, bucket, key, looked=False)
    if found is None:
        return False
    if not found.allowed:
        raise S3Error("AccessDenied")
    return True


async def settle(call: Call, action: str, bucket: Bucket, key: str, version_id: str = "") -> None:
    """Decide with the object at hand. Raises AccessDenied, or NoSuchKey and NoSuchVersion.

    Only who may list the bucket learns that there is no such object.
    """
    if facts.puts_tags(call):
        await facts.read_tags(call)
    engine = call.app.engine
    if version_id:
        version = await engine.version(bucket.id, key, version_id)
    else:
        version = await engine.lookup(bucket.id, key)
    found = decision(call, action, bucket, key, version)
    if found is not None and found.allowed:
        return
    explicit = found is not None and found.source
    if version is None and not explicit:
        raise await absent(call, bucket, key, version_id)
    raise S3Error("AccessDenied")


async def absent(call: Call, bucket: Bucket, key: str, version_id: str = "") -> S3Error:
    """Why there is nothing under ``key``; a delete marker is named, as in S3.

    It is AccessDenied to callers who may not know what keys exist: who could not list this one.
    """
    if not allowed(call, "s3:ListBucket", bucket, prefix=key):
        return S3Error("AccessDenied")
    if version_id:
        return S3Error("NoSuchVersion", Key=key, VersionId=version_id)
    newest = None
    if VERSIONING in bucket.config:
        newest = await call.app.engine.version(bucket.id, key)
    if newest is None or not newest.delete_marker:
        return S3Error("NoSuchKey", headers=(_NO_MARKER,), Key=key)
    version = (b"x-amz-version-id", newest.version_id.encode())
    return S3Error("NoSuchKey", headers=(MARKER, version), Key=key)


def check_version(call: Call, bucket: Bucket, key: str, version: Version, action: str = "") -> None:
    """Decide once more for a version that belongs to another account than its bucket.

    To be called for every version whose ``owner`` differs from the bucket's. Without ``action`` it
    is the request's own. Raises AccessDenied.
    """
    principal = call.auth.principal
    if (principal.root and principal.boundary is None) or not foreign_owner(bucket, version):
        return
    found = decision(call, action or action_of(call), bucket, key, version)
    if found is None or not found.allowed:
        raise S3Error("AccessDenied")


def authorize_version(call: Call, action: str, bucket: Bucket, key: str, version: Version) -> None:
    """Decide about a version at hand. Raises AccessDenied."""
    principal = call.auth.principal
    if principal.root and principal.boundary is None:
        return
    found = decision(call, action, bucket, key, version)
    if found is None or not found.allowed:
        raise S3Error("AccessDenied")


async def renew(call: Call) -> Bucket:
    """``call.target`` as it is now: to be called once a body has come, for which anything may have
    changed. What lets the call in at an object is its handler's to decide again.

    Raises NoSuchBucket, AccessDenied.
    """
    app = call.app
    bucket = call.target = await app.bucket(call.bucket)
    app.check_owner(call, bucket)
    if not call.key:
        authorize(call, action_of(call), bucket)
    return bucket


def action_of(call: Call) -> str:
    """The action that the request as a whole asks for."""
    route = call.route
    assert route is not None
    return route.version_action if call.query and "versionId" in call.query else route.action
