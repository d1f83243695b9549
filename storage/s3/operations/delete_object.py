"""DeleteObject and DeleteObjects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from storage import errors
from storage.engine import interface as i
from storage.iam.acl import ANONYMOUS_ID
from storage.s3 import headers, xml
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error, translate
from storage.s3.operations import access, versioning
from storage.s3.operations.body import read_document
from storage.s3.operations.facts import Value
from storage.s3.operations.put_object import now_ms

#: Keys of one DeleteObjects (S3: 1,000).
KEYS_MAX = 1000
_FIELDS = frozenset(("Key", "VersionId", "ETag", "LastModifiedTime", "Size"))


class Target(msgspec.Struct):
    """A key to delete, and what must be true of its object then ("" and -1: anything).

    ``modified`` is in whole seconds, ``if_match`` the ETag that DeleteObjects was told, as written.
    """

    key: str
    version_id: str = ""
    etags: tuple[str, ...] = ()
    modified: int = -1
    size: int = -1
    if_match: str | None = None


async def delete_object(call: Call) -> Response:
    """Delete one key. Deleting what is not there succeeds."""
    target = _header_target(call)
    await _permit_conditions(call, call.target, target)
    done = await _delete(call, call.target, target)
    return Response(204, versioning.deleted_headers(done))


async def _permit_conditions(
    call: Call, bucket: i.Bucket, target: Target, given: Mapping[str, Value] | None = None
) -> None:
    """Permit the conditions of a deletion, whose outcome tells of the object. Raises AccessDenied.

    Like S3: an ETag needs the permission to read the object; whether there is one (``*``) may be
    found out by whoever may delete it.
    """
    if target.modified >= 0 or target.size >= 0 or any(etag != "*" for etag in target.etags):
        version_id = target.version_id
        await access.authorize_comparison(call, bucket, target.key, version_id, given=given)


def _header_target(call: Call) -> Target:
    target = Target(call.key, versioning.asked_version(call))
    match = call.headers.get(b"if-match")
    if match is not None:
        target.etags = headers.required_etags(match.decode("latin-1"), "if-match")
    modified = call.headers.get(b"x-amz-if-match-last-modified-time")
    if modified is not None:
        target.modified = _seconds(modified.decode("latin-1"), "x-amz-if-match-last-modified-time")
    size = call.headers.get(b"x-amz-if-match-size")
    if size is not None:
        target.size = headers.integer(size.decode("latin-1"), "x-amz-if-match-size", 0, 1 << 60)
    return target


def _seconds(text: str, name: str) -> int:
    """Seconds of an HTTP date or an ISO 8601 time. Raises InvalidArgument."""
    milliseconds = headers.parse_http_date(text) or headers.parse_iso_date(text)
    if not milliseconds:
        raise S3Error(
            "InvalidArgument", "The time condition is not a time.", ArgumentName=name,
            ArgumentValue=text,
        )  # fmt: skip
    return milliseconds // 1000


async def _delete(call: Call, bucket: i.Bucket, target: Target) -> i.Committed:
    """Delete ``target.key`` where its conditions hold. Raises PreconditionFailed.

    What is not there needs no deleting, whatever the conditions say.
    """
    engine = call.app.engine
    change = i.DeleteObject(
        bucket.id,
        target.key,
        version_id=target.version_id,
        modified=now_ms(),
        owner=call.auth.principal.id or ANONYMOUS_ID,
    )
    if target.modified < 0 and target.size < 0 and not (target.etags and target.version_id):
        change.conditions = i.Conditions(if_match=target.etags) if target.etags else None
        try:
            done: i.Committed = await engine.commit(change)
        except errors.NoSuchKey:
            await _check_marker(engine, bucket, target)
            return i.Committed(version_id=target.version_id)
        return done
    # Conditions that the engine doesn't know are checked here, against one version that the
    # commit then names: if another one took its place, look again.
    while (version := await engine.version(bucket.id, target.key, target.version_id)) is not None:
        if version.delete_marker and not target.version_id:
            _check_etags_of_marker(target)
            break
        if target.etags:
            i.check_write(i.Conditions(if_match=target.etags), version.etag)
        if target.modified >= 0 and version.modified // 1000 != target.modified:
            raise errors.PreconditionFailed("x-amz-if-match-last-modified-time")
        if target.size >= 0 and version.size != target.size:
            raise errors.PreconditionFailed("x-amz-if-match-size")
        change.expect_seq = 0 if target.version_id else version.seq
        done = await engine.commit(change)
        if done.existed:
            return done
    return i.Committed(version_id=target.version_id)


async def _check_marker(engine: i.Engine, bucket: i.Bucket, target: Target) -> None:
    """Raise PreconditionFailed where a delete marker hides the key from the ETags asked for."""
    newest = await engine.version(bucket.id, target.key)
    if newest is not None and newest.delete_marker:
        _check_etags_of_marker(target)


def _check_etags_of_marker(target: Target) -> None:
    """A delete marker has no ETag; only ``*`` fits it. Raises PreconditionFailed."""
    if target.etags and "*" not in target.etags:
        raise errors.PreconditionFailed("If-Match")


async def delete_objects(call: Call) -> Response:
    """Delete up to 1,000 keys; each succeeds or fails by itself."""
    bucket = call.target
    if call.auth.principal.anonymous and not access.speaks(bucket):
        raise S3Error("AccessDenied")  # before a stranger has a large document parsed
    if b"content-md5" not in call.headers and not _has_checksum(call):
        raise S3Error(
            "InvalidRequest", "Missing required header for this request: Content-MD5 OR "
            "x-amz-checksum-*"
        )  # fmt: skip
    targets, quiet = _parse(await read_document(call))
    await access.renewed(call)
    bucket = call.target
    outcomes = await asyncio.gather(*(_try_delete(call, bucket, target) for target in targets))
    rows = []
    for target, outcome in zip(targets, outcomes, strict=True):
        name = f"<Key>{xml.escape(target.key)}</Key>"
        if target.version_id:
            name += xml.element("VersionId", target.version_id)
        if isinstance(outcome, S3Error):
            rows.append(
                f"<Error>{name}<Code>{outcome.code}</Code>"
                f"<Message>{xml.escape(outcome.message)}</Message></Error>"
            )
        elif not quiet:
            rows.append(f"<Deleted>{name}{_marker(outcome)}</Deleted>")
    return Response(200, [xml.CONTENT_TYPE], xml.document("DeleteResult", "".join(rows)))


def _marker(done: i.Committed) -> str:
    """The delete marker that a deletion made or took away."""
    if not done.delete_marker:
        return ""
    return (
        "<DeleteMarker>true</DeleteMarker>"
        f"<DeleteMarkerVersionId>{done.version_id}</DeleteMarkerVersionId>"
    )


def _has_checksum(call: Call) -> bool:
    """Whether the body is protected: S3 insists on it for this operation."""
    return bool(call.auth.sha256) or any(
        name.startswith(b"x-amz-checksum-") or name == b"x-amz-trailer" for name in call.headers
    )


async def _try_delete(call: Call, bucket: i.Bucket, target: Target) -> i.Committed | S3Error:
    action = "s3:DeleteObjectVersion" if target.version_id else "s3:DeleteObject"
    # The request is about many keys: each brings its own facts.
    given: dict[str, Value] = {
        "s3:versionid": target.version_id or None,
        "s3:if-match": target.if_match,
    }
    if not access.allowed(call, action, bucket, target.key, given=given):
        return S3Error("AccessDenied")
    if target.version_id and i.parse_version_id(target.version_id) < 0:
        return S3Error("NoSuchVersion")
    if len(target.key.encode()) > i.KEY_BYTES_MAX:
        return S3Error("KeyTooLongError")
    try:
        await _permit_conditions(call, bucket, target, given)
        return await _delete(call, bucket, target)
    except S3Error as error:
        return error
    except errors.StoreError as error:
        return translate(error)


def _parse(body: bytes) -> tuple[list[Target], bool]:
    """(targets, quiet) of a Delete document. Raises MalformedXML."""
    targets: list[Target] = []
    quiet: bool | None = None
    for node in xml.children(xml.parse(body, "Delete", control_characters=True)):
        if node.name == "Object":
            targets.append(_parse_target(node))
        elif node.name == "Quiet" and quiet is None:
            quiet = xml.truth(node)
        else:
            raise xml.malformed(node.name)
    if not 1 <= len(targets) <= KEYS_MAX:
        raise xml.malformed("Object")
    return targets, bool(quiet)


def _parse_target(node: xml.Node) -> Target:
    found = xml.fields(node, _FIELDS, ("Key",))
    if not found["Key"]:
        raise xml.malformed("Key")
    target = Target(found["Key"], found.get("VersionId", ""))
    if "ETag" in found:
        target.etags = headers.required_etags(found["ETag"], "ETag")
        target.if_match = found["ETag"]
    if "LastModifiedTime" in found:
        target.modified = _seconds(found["LastModifiedTime"], "LastModifiedTime")
    if "Size" in found:
        target.size = headers.integer(found["Size"], "Size", 0, 1 << 60)
    return target
