"""CopyObject and UploadPartCopy."""

from __future__ import annotations

from typing import NamedTuple

from storage.engine import interface as i
from storage.iam.resources import ACL
from storage.s3 import checksums, headers, xml
from storage.s3.call import Call, HeaderList, Response
from storage.s3.errors import S3Error
from storage.s3.operations import access, acl, lifecycle, versioning
from storage.s3.operations.body import (
    OBJECT_BYTES_MAX,
    Integrity,
    Pump,
    commit_file,
    new_file,
)
from storage.s3.operations.facts import Value
from storage.s3.operations.multipart import open_upload, part_number, part_of
from storage.s3.operations.put_object import (
    authorize_tags,
    now_ms,
    object_meta,
    permit_conditions,
)

_SOURCE = b"x-amz-copy-source-"


class Source(NamedTuple):
    """The object to copy. ``named``: its version was named."""

    bucket: i.Bucket
    version: i.Version
    named: bool

    @property
    def facts(self) -> dict[str, Value]:
        """What conditions of policies see of the request where the source is concerned."""
        return {"s3:versionid": self.version.version_id if self.named else None}


async def _open_source(call: Call) -> Source:
    """The object to copy, its conditions checked.

    Raises NoSuchBucket, NoSuchKey, AccessDenied, PreconditionFailed, InvalidRequest (too large).
    """
    name, key, version_id = headers.parse_copy_source(call.headers[b"x-amz-copy-source"])
    if version_id is not None:
        versioning.check_version_id(version_id)
    bucket = await call.app.bucket(name)
    call.app.check_owner(call, bucket, b"x-amz-source-expected-bucket-owner")
    action = "s3:GetObjectVersion" if version_id else "s3:GetObject"
    # The source has conditions and a version of its own.
    given: dict[str, Value] = {
        "s3:versionid": version_id,
        "s3:if-match": call.header(_SOURCE + b"if-match") or None,
        "s3:if-none-match": call.header(_SOURCE + b"if-none-match") or None,
    }
    try:
        if not access.decided(call, action, bucket, key, given=given):
            await access.settle(call, action, bucket, key, version_id or "", given=given)
        version = await versioning.find(call, bucket, key, version_id or "", action, given)
    except S3Error as error:
        if error.code != "MethodNotAllowed":
            error.headers = ()  # of versions and delete markers they would speak of the copy's
            raise
        raise S3Error(
            "InvalidRequest", "The source of a copy request may not specifically refer to a "
            "delete marker by version id."
        ) from None  # fmt: skip
    conditions = headers.read_conditions(call.headers, _SOURCE)
    if (
        conditions is not None
        and headers.check_read(conditions, version.etag, version.modified) != 200
    ):
        raise S3Error(
            "PreconditionFailed",
            Condition=f"x-amz-copy-source-{headers.failed_condition(conditions)}",
        )
    return Source(bucket, version, version_id is not None)


def _directive(call: Call, header: bytes) -> bool:
    """Whether a directive says REPLACE. Raises InvalidArgument."""
    value = call.headers.get(header, b"COPY")
    if value not in (b"COPY", b"REPLACE"):
        kind = "metadata" if b"metadata" in header else "tagging"
        raise S3Error(
            "InvalidArgument",
            f"Unknown {kind} directive.",
            ArgumentName=header.decode(),
            ArgumentValue=value.decode("latin-1"),
        )
    return value == b"REPLACE"


# -- CopyObject -----------------------------------------------------------------------------------


async def copy_object(call: Call) -> Response:
    """Copy an object, or change what it carries by copying it onto itself."""
    replace = _directive(call, b"x-amz-metadata-directive")
    replace_tags = _directive(call, b"x-amz-tagging-directive")
    # S3 takes no notice of tags in the header that it is not told to set: nor may conditions.
    idle_tags = not replace_tags and call.headers.pop(b"x-amz-tagging", None) is not None
    target = call.target
    opened = await _open_source(call)
    source = opened.version
    if not replace_tags and (idle_tags or source.meta.tags):
        _permit_tags(call, opened)
    if source.size > OBJECT_BYTES_MAX:
        raise S3Error(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {OBJECT_BYTES_MAX}",
        )
    algorithm = _algorithm(call, source)
    itself = opened.bucket.id == target.id and source.key == call.key and not opened.named
    new_class = b"x-amz-storage-class" in call.headers
    if itself and not (replace or replace_tags or new_class or _asks_checksum(call)):
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself "
            "without changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )
    conditions = headers.write_conditions(call.headers)
    if conditions is not None:
        await permit_conditions(call, conditions)
    owner, document = acl.of_new_object(call)
    change = i.PutObject(
        bucket_id=target.id,
        key=call.key,
        modified=0,
        size=source.size,
        etag="",
        owner=owner,
        storage_class=headers.storage_class(call.headers),
        meta=b"",
        conditions=conditions,
    )
    asked = object_meta(call, document)
    meta = _carried(asked, source, replace=replace, replace_tags=replace_tags)
    committed, modified = await _copy(call, source, change, meta, algorithm, itself=itself)
    text = (
        f"<LastModified>{headers.iso_date(modified)}</LastModified>"
        f"<ETag>&quot;{committed.etag or change.etag}&quot;</ETag>"
        f"{checksums.elements(meta.checksums, meta.checksum_type)}"
    )
    lines = [xml.CONTENT_TYPE, *versioning.committed_header(committed)]
    lines += _source_version(opened)
    lines += lifecycle.expiration_header(call, target, call.key, modified)
    return Response(200, lines, xml.document("CopyObjectResult", text))


def _permit_tags(call: Call, opened: Source) -> None:
    """Permit the copy with the source's tags, which it brings from now on. Raises AccessDenied."""
    source = opened.version
    tags = source.meta.tags
    if tags:
        action = "s3:GetObjectVersionTagging" if opened.named else "s3:GetObjectTagging"
        access.authorize_version(call, action, opened.bucket, source.key, source, opened.facts)
    call.request_tags = tags
    access.authorize(call, "s3:PutObject", call.target, call.key)
    if tags:
        authorize_tags(call)


def _source_version(opened: Source) -> HeaderList:
    """Which version was copied; a null version is told to whoever named it, and to nobody else."""
    version_id = opened.version.version_id
    if version_id == i.NULL_VERSION and not opened.named:
        return []
    return [(b"x-amz-copy-source-version-id", version_id.encode())]


def _asks_checksum(call: Call) -> bool:
    return b"x-amz-checksum-algorithm" in call.headers


def _algorithm(call: Call, source: i.Version) -> str:
    """The checksum that the copy will have: the one asked for, else the source's."""
    named = call.header(b"x-amz-checksum-algorithm")
    if named:
        return checksums.parse_algorithm(named, "x-amz-checksum-algorithm")
    return next(iter(source.meta.checksums), "")


def _carried(asked: i.Meta, source: i.Version, *, replace: bool, replace_tags: bool) -> i.Meta:
    """Headers, metadata and tags of the copy. An ACL is never copied."""
    return i.Meta(
        headers=asked.headers if replace else source.meta.headers,
        metadata=asked.metadata if replace else source.meta.metadata,
        tags=asked.tags if replace_tags else source.meta.tags,
        extra=asked.extra,
    )


async def _copy(
    call: Call,
    source: i.Version,
    change: i.PutObject,
    meta: i.Meta,
    algorithm: str,
    *,
    itself: bool,
) -> tuple[i.Committed, int]:
    """Commit ``change`` with the source's bytes; (outcome, time of the copy)."""
    engine = call.app.engine
    known = source.meta
    same_checksum = not algorithm or (
        algorithm in known.checksums and known.checksum_type != checksums.COMPOSITE
    )
    if source.files and itself and same_checksum and not versioning.has_versions(call.target):
        # The bytes stay where they are: only what the object carries is written anew.
        change.files = source.files
        change.etag = source.etag
        change.expect_seq = source.seq
        meta.parts = known.parts
        meta.checksums, meta.checksum_type = known.checksums, known.checksum_type
        return await _commit(engine, change, meta)
    integrity = Integrity.of_copy("" if same_checksum else algorithm)
    if same_checksum:
        meta.checksums, meta.checksum_type = known.checksums, known.checksum_type
    if source.size <= engine.inline_limit():
        change.payload = await read_whole(engine, source)
        integrity.update(change.payload)
        _seal(change, meta, integrity)
        return await _commit(engine, change, meta)
    async with new_file(engine, source.size) as writer:
        await pump_version(engine, source, 0, source.size, writer, integrity)
        change.files = (await writer.finish(),)
        if await access.renewed(call):
            _own_anew(call, change, meta)
    _seal(change, meta, integrity)
    change.modified = now_ms()
    change.meta = i.encode_meta(meta)
    return await commit_file(engine, writer, change), change.modified


def _own_anew(call: Call, change: i.PutObject, meta: i.Meta) -> None:
    """Whose the copy is, and its ACL, by what is so now that the bytes are there.

    Raises AccessDenied, AccessControlListNotSupported.
    """
    change.owner, document = acl.of_new_object(call)
    meta.extra = {} if document is None else {ACL: document}
    if meta.tags:
        authorize_tags(call)


def _seal(change: i.PutObject, meta: i.Meta, integrity: Integrity) -> None:
    stored = integrity.verify({})
    change.etag = integrity.etag
    if stored:
        meta.checksums, meta.checksum_type = stored, checksums.FULL_OBJECT


async def _commit(engine: i.Engine, change: i.PutObject, meta: i.Meta) -> tuple[i.Committed, int]:
    change.modified = now_ms()
    change.meta = i.encode_meta(meta)
    return await engine.commit(change), change.modified


async def read_whole(engine: i.Engine, version: i.Version) -> bytes:
    """The bytes of a small object, wherever they lie."""
    if not version.files:
        return await engine.read_inline(version)
    return b"".join([bytes(b) async for b in engine.read(version, 0, version.size)])


async def pump_version(
    engine: i.Engine,
    version: i.Version,
    start: int,
    stop: int,
    writer: i.FileWriter,
    integrity: Integrity,
) -> None:
    """Bytes [start, stop) of an object into ``writer``, hashed on the way."""
    if not version.files:
        data = (await engine.read_inline(version))[start:stop]
        await writer.write(data)
        integrity.update(data)
        return
    pump = Pump(writer, integrity)
    blocks = engine.read(version, start, stop)
    try:
        async for block in blocks:
            await pump.add(block)
            await pump.settle()  # the block is ours only until the next one is asked for
    finally:
        await blocks.aclose()  # type: ignore[attr-defined]


# -- UploadPartCopy -------------------------------------------------------------------------------


async def upload_part_copy(call: Call) -> Response:
    """Store a range of an object as a part."""
    number = part_number(call)
    upload = await open_upload(call, call.target)
    opened = await _open_source(call)
    source = opened.version
    start, stop = 0, source.size
    wanted = call.header(b"x-amz-copy-source-range")
    if wanted:
        start, stop = headers.parse_copy_range(wanted, source.size)
    if stop - start > OBJECT_BYTES_MAX:
        raise S3Error(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {OBJECT_BYTES_MAX}",
        )
    engine = call.app.engine
    integrity = Integrity.of_copy(upload.checksum_algorithm)
    async with new_file(engine, stop - start) as writer:
        if stop > start:
            await pump_version(engine, source, start, stop, writer, integrity)
        stored = integrity.verify({})
        file = await writer.finish()
        if await access.renewed(call):
            await open_upload(call, call.target)
    part = part_of(call, upload, number, stop - start, integrity.etag, stored, file)
    await commit_file(engine, writer, part)
    text = (
        f"<LastModified>{headers.iso_date(part.modified)}</LastModified>"
        f"<ETag>&quot;{integrity.etag}&quot;</ETag>{checksums.elements(stored)}"
    )
    lines = [xml.CONTENT_TYPE, *_source_version(opened)]
    return Response(200, lines, xml.document("CopyPartResult", text))
