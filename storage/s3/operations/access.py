"""Authorization: the one place where a request meets ``storage.iam``.

Most requests are decided by policies alone. What depends on the object asked for (its own access
control list, its tags, its owner) waits until the object has been looked up, and only for callers
whom policies have not decided: see ``decided`` and ``settle``. Such a call is marked
(``Call.by_object``): the object may be replaced before its handler looks it up; ``check_version``
decides once more about what the handler found. docs/access.md tells the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from storage.engine.interface import VERSIONING, encode_meta
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
        return Facts(call, version, looked=looked, prefix=prefix, given=given)

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


def decided(
    call: Call,
    action: str,
    bucket: Bucket | None,
    key: str = "",
    *,
    given: Mapping[str, Value] | None = None,
) -> bool:
    """True if the caller may do ``action``; False if that depends on the object: ``settle`` it.

    Raises AccessDenied.
    """
    principal = call.auth.principal
    if principal.root and principal.boundary is None:
        return True
    found = decision(call, action, bucket, key, looked=False, given=given)
    if found is None:
        return False
    if not found.allowed:
        raise S3Error("AccessDenied")
    return True


async def settle(
    call: Call,
    action: str,
    bucket: Bucket,
    key: str,
    version_id: str = "",
    *,
    given: Mapping[str, Value] | None = None,
) -> None:
    """Decide with the object at hand. Raises AccessDenied, or NoSuchKey and NoSuchVersion.

    Only who may list the bucket learns that there is no such object.
    """
    call.by_object = True
    if facts.puts_tags(call):
        await facts.read_tags(call)
        bucket = await renew(call)
    version = await _version(call, bucket, key, version_id)
    found = decision(call, action, bucket, key, version, given=given)
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


def check_version(
    call: Call,
    bucket: Bucket,
    key: str,
    version: Version,
    action: str = "",
    given: Mapping[str, Value] | None = None,
) -> None:
    """Decide once more about the version that is about to be used, where it matters: where objects
    have a say (``Call.by_object``), or it belongs to another account than its bucket.

    To be called for every version of which one of the two may be so. Without ``action`` it is
    the request's own. Raises AccessDenied.
    """
    if call.by_object or foreign_owner(bucket, version):
        authorize_version(call, action or action_of(call), bucket, key, version, given)


def authorize_version(
    call: Call,
    action: str,
    bucket: Bucket,
    key: str,
    version: Version | None,
    given: Mapping[str, Value] | None = None,
) -> None:
    """Raise AccessDenied unless ``allows_version``."""
    if not allows_version(call, action, bucket, key, version, given):
        raise S3Error("AccessDenied")


def allows_version(
    call: Call,
    action: str,
    bucket: Bucket,
    key: str,
    version: Version | None,
    given: Mapping[str, Value] | None = None,
) -> bool:
    """Whether the caller may do ``action`` to a version at hand, None where there is none."""
    principal = call.auth.principal
    if principal.root and principal.boundary is None:
        return True
    found = decision(call, action, bucket, key, version, given=given)
    return found is not None and found.allowed


async def authorize_comparison(
    call: Call,
    bucket: Bucket,
    key: str,
    version_id: str = "",
    *,
    given: Mapping[str, Value] | None = None,
) -> None:
    """Permit a write or deletion on condition of what the object is now: its answer tells that.

    S3 asks for GetObject where If-Match names an ETag. Raises AccessDenied, there being an object
    or not.
    """
    action = "s3:GetObjectVersion" if version_id else "s3:GetObject"
    if not decided(call, action, bucket, key, given=given):
        version = await _version(call, bucket, key, version_id)
        authorize_version(call, action, bucket, key, version, given)


def seen(call: Call, version: Version) -> bytes:
    """What an amendment must find (``AmendObject.expect``): the tags and ACL by which the call
    was let in, b"" where they had no say."""
    return encode_meta(version.meta) if call.by_object else b""


async def _version(call: Call, bucket: Bucket, key: str, version_id: str) -> Version | None:
    engine = call.app.engine
    if version_id:
        return await engine.version(bucket.id, key, version_id)
    return await engine.lookup(bucket.id, key)


async def renewed(call: Call) -> bool:
    """Decide about ``call`` once more if buckets or people have changed since it was let in;
    whether they have. To be called where time has passed: once a body has come.

    Raises as ``renew`` and ``settle``.
    """
    if call.app.is_current(call.target):
        return False
    bucket = await renew(call)
    action = action_of(call)
    if call.key and not decided(call, action, bucket, call.key):
        await settle(call, action, bucket, call.key, call.query.get("versionId", ""))
    return True


async def renew(call: Call) -> Bucket:
    """``call.target`` as it is now, and who calls: anything may have changed while a body came.
    What lets the call in at an object is its handler's to decide again.

    Raises NoSuchBucket, AccessDenied, InvalidAccessKeyId, InvalidToken.
    """
    app, route = call.app, call.route
    assert route is not None
    await renew_caller(call)
    bucket = call.target = await app.bucket(call.bucket)
    app.check_owner(call, bucket)
    if not call.key and not route.per_key:
        authorize(call, action_of(call), bucket)
    return bucket


async def renew_caller(call: Call) -> None:
    """Who calls, as they are now. Raises InvalidAccessKeyId, InvalidToken."""
    directory = call.app.directory
    identity = directory.current() or await directory.refresh()
    call.auth = call.auth.renewed(identity)


def action_of(call: Call) -> str:
    """The action that the request as a whole asks for."""
    route = call.route
    assert route is not None
    return route.version_action if call.query and "versionId" in call.query else route.action
