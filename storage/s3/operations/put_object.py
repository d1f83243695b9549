"""PutObject."""

from __future__ import annotations

import time
from functools import lru_cache

from storage.engine import interface as i
from storage.iam.resources import ACL
from storage.s3 import checksums, headers
from storage.s3.call import Call, HeaderList, Response
from storage.s3.errors import S3Error
from storage.s3.operations import access, acl, lifecycle, versioning
from storage.s3.operations.body import Body, Integrity, commit_file, new_file, write_file


def now_ms() -> int:
    """The time that changes carry, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def object_meta(call: Call, document: bytes | None) -> i.Meta:
    """What a request wants stored beside the bytes: headers, metadata, tags, and the ACL.

    Raises MetadataTooLarge, InvalidTag, AccessDenied (tags need a permission of their own).
    """
    request = call.headers
    meta = i.Meta(headers=headers.system_headers(request), metadata=headers.user_metadata(request))
    if document is not None:
        meta.extra = {ACL: document}
    tagging = request.get(b"x-amz-tagging")
    if tagging:
        meta.tags = headers.parse_tagging(tagging.decode("latin-1"))
        authorize_tags(call)
    return meta


def authorize_tags(call: Call) -> None:
    """Permit the tags of a new object. Raises AccessDenied.

    Whoever writes by grace of the bucket's ACL may bring them; nobody must deny it.
    """
    found = access.decision(call, "s3:PutObjectTagging", call.target, call.key)
    if found is not None and found.allowed:
        return
    if found is None or found.source or not acl.lets_in(call, "s3:PutObject"):
        raise S3Error("AccessDenied")


@lru_cache(maxsize=256)
def _meta_of_type(content_type: bytes) -> bytes:
    """The encoded metadata of an object of which nothing but its type is told."""
    return i.encode_meta(i.Meta(headers=headers.system_headers({b"content-type": content_type})))


def _encoded_meta(call: Call) -> bytes | None:
    """``object_meta``, encoded, where there is only a content type; it repeats. Else None.

    The ACL comes with headers, except for what a bucket's owner lets others write.
    """
    request = call.headers
    content_type = request.get(b"content-type", b"")
    if headers.describes_more(request) or len(content_type) > _TYPE_BYTES_MAX:
        return None
    return _meta_of_type(content_type)


_TYPE_BYTES_MAX = 256
"""Longer content types are not remembered."""


def etag_header(etag: str) -> tuple[bytes, bytes]:
    return (b"etag", b'"%b"' % etag.encode())


async def put_object(call: Call) -> Response:
    """Store a body under a key. Acknowledged only once it is durable."""
    change, meta = describe(call)
    if change.conditions is not None:
        await permit_conditions(call, change.conditions)
    integrity = Integrity.of_call(call)
    body = Body(call, chunked=True)
    if body.length < 0:
        await body.look_ahead(call.app.engine.inline_limit())
    change.size = body.length
    if 0 <= body.length <= call.app.engine.inline_limit():
        change.payload = payload = await body.read()
        if not call.app.is_current(call.target):
            meta = await renew(call, change, meta)
        stored = integrity.verify_whole(payload, body.trailers)
        complete(change, meta, integrity, stored)
        committed = await call.app.engine.commit(change)
    else:
        committed, stored = await _put_large(call, change, meta, integrity, body)
    return Response(200, answer_lines(call, change, committed, stored))


def describe(call: Call) -> tuple[i.PutObject, i.Meta | bytes]:
    """The change that a request asks for, without its bytes, and what is stored beside them.

    Raises what is wrong with conditions, storage class, metadata and ACL; AccessDenied.
    """
    conditions = headers.write_conditions(call.headers)
    storage_class = headers.storage_class(call.headers)
    owner, document = call.auth.principal.id, None
    meta: i.Meta | bytes | None = _encoded_meta(call)
    if meta is None or call.target.config or not owner:
        owner, document = acl.of_new_object(call)
    if meta is None or document is not None:
        meta = object_meta(call, document)
    change = i.PutObject(
        bucket_id=call.target.id,
        key=call.key,
        modified=0,
        size=0,
        etag="",
        owner=owner,
        storage_class=storage_class,
        meta=i.EMPTY_META,
        conditions=conditions,
    )
    return change, meta


async def renew(call: Call, change: i.PutObject, meta: i.Meta | bytes) -> i.Meta | bytes:
    """``meta``, and the owner in ``change``, as they are to be once the body has come.

    Meanwhile anything may have changed that ``describe`` went by. Raises as it does, and as
    ``access.renewed``.
    """
    if not await access.renewed(call):
        return meta
    anew, meta = describe(call)
    change.owner = anew.owner
    return meta


async def permit_conditions(call: Call, conditions: i.Conditions) -> None:
    """Permit a write on these conditions. Raises AccessDenied.

    Where they name ETags, the answer tells whether the object has one of them: S3 asks for the
    permission to read it as well.
    """
    if any(etag != "*" for etag in (*conditions.if_match, *conditions.if_none_match)):
        await access.authorize_comparison(call, call.target, call.key)


def answer_lines(
    call: Call, change: i.PutObject, committed: i.Committed, stored: dict[str, str]
) -> HeaderList:
    """What a client is told of an object that was stored."""
    lines: HeaderList = [etag_header(committed.etag or change.etag)]
    bucket = call.target
    if bucket.config:
        lines += versioning.written_header(committed)
        lines += lifecycle.expiration_header(call, bucket, call.key, change.modified)
    if stored:
        lines += checksums.response_headers(stored, checksums.FULL_OBJECT)
    return lines


def complete(
    change: i.PutObject, meta: i.Meta | bytes, integrity: Integrity, stored: dict[str, str]
) -> None:
    """Fill in what is known only once the body was read."""
    if stored:
        if isinstance(meta, bytes):
            meta = i.decode_meta(meta)
        meta.checksums = stored
        meta.checksum_type = checksums.FULL_OBJECT
    change.etag = integrity.etag
    change.meta = meta if isinstance(meta, bytes) else i.encode_meta(meta)
    change.modified = now_ms()


async def _put_large(
    call: Call, change: i.PutObject, meta: i.Meta | bytes, integrity: Integrity, body: Body
) -> tuple[i.Committed, dict[str, str]]:
    engine = call.app.engine
    await check_conditions(call, change)
    async with new_file(engine, max(body.length, 0)) as writer:
        file, stored = await write_file(writer, body, integrity)
        meta = await renew(call, change, meta)
    change.files = (file,)
    change.size = body.length
    complete(change, meta, integrity, stored)
    return await commit_file(engine, writer, change), stored


async def check_conditions(call: Call, change: i.PutObject) -> None:
    """Refuse before gigabytes are sent; the commit decides for good. Raises PreconditionFailed."""
    if change.conditions is not None:
        current = await call.app.engine.lookup(change.bucket_id, change.key)
        i.check_write(change.conditions, None if current is None else current.etag)
