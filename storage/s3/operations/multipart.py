"""Multipart uploads: create, upload parts, list, complete, abort."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator

from storage import errors
from storage.engine import interface as i
from storage.iam.acl import ANONYMOUS_ID
from storage.s3 import checksums, headers, xml
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error
from storage.s3.hosts import object_url
from storage.s3.operations import access, acl, lifecycle, versioning
from storage.s3.operations.body import (
    Body,
    Integrity,
    commit_file,
    new_file,
    read_document,
    write_file,
)
from storage.s3.operations.list_objects import (
    owner_element,
    page_limit,
    shown_owner,
    wants_url,
)
from storage.s3.operations.put_object import (
    etag_header,
    now_ms,
    object_meta,
    permit_conditions,
)

#: Seconds after which a completion that still runs sends white space, so that no one between
#: gives up on it.
KEEP_ALIVE = 10.0

#: Name in ``Meta.extra`` of the canonical id of who began an upload for another owner.
_INITIATOR = "initiator"
_PART_FIELDS = frozenset(("PartNumber", "ETag", *checksums.ALGORITHM_OF_ELEMENT))


# -- create ---------------------------------------------------------------------------------------


async def create_multipart_upload(call: Call) -> Response:
    """Begin an upload; what the object will carry is fixed here."""
    bucket = call.target
    request = call.headers
    owner, document = acl.of_new_object(call)
    meta = object_meta(call, document)
    initiator = call.auth.principal.id
    if initiator and initiator != owner:
        meta.extra[_INITIATOR] = initiator
    storage_class = headers.storage_class(request)
    named = request.get(b"x-amz-checksum-algorithm")
    algorithm = (
        checksums.parse_algorithm(named.decode("latin-1"), "x-amz-checksum-algorithm")
        if named
        else ""
    )
    kind = checksums.upload_type(algorithm, call.header(b"x-amz-checksum-type"))
    upload_id, initiated = secrets.token_urlsafe(32), now_ms()
    await call.app.engine.commit(
        i.CreateUpload(
            bucket_id=bucket.id,
            key=call.key,
            upload_id=upload_id,
            initiated=initiated,
            owner=owner,
            storage_class=storage_class,
            meta=i.encode_meta(meta),
            checksum_algorithm=algorithm,
            checksum_type=kind,
        )
    )
    lines = [xml.CONTENT_TYPE, *lifecycle.abort_headers(call, bucket, call.key, initiated)]
    if algorithm:
        lines.append((b"x-amz-checksum-algorithm", checksums.SPELLED[algorithm].encode()))
        lines.append((b"x-amz-checksum-type", kind.encode()))
    text = (
        f"<Bucket>{xml.escape(call.bucket)}</Bucket><Key>{xml.escape(call.key)}</Key>"
        f"<UploadId>{upload_id}</UploadId>"
    )
    return Response(200, lines, xml.document("InitiateMultipartUploadResult", text))


# -- parts ----------------------------------------------------------------------------------------


async def open_upload(call: Call, bucket: i.Bucket) -> i.Upload:
    """The upload that the call names, to be written to. Raises NoSuchUpload, AccessDenied."""
    upload = await _named_upload(call, bucket)
    _check_writer(call, upload)
    return upload


async def _named_upload(call: Call, bucket: i.Bucket) -> i.Upload:
    """The upload that the call names. Raises NoSuchUpload."""
    upload_id = call.query["uploadId"]
    upload = await call.app.engine.upload(bucket.id, call.key, upload_id) if upload_id else None
    if upload is None:
        raise S3Error("NoSuchUpload", UploadId=upload_id)
    return upload


def _initiator(upload: i.Upload | i.Version) -> str:
    """The canonical id of who began ``upload``, or the upload that an object was made by."""
    initiator: str = upload.meta.extra.get(_INITIATOR, upload.owner)
    return initiator


def _check_initiator(call: Call, upload: i.Upload) -> None:
    """Raise AccessDenied unless the caller began ``upload``. (Nobody anonymous can show that.)"""
    if call.auth.principal.id != _initiator(upload):
        raise S3Error("AccessDenied")


def _check_writer(call: Call, upload: i.Upload | i.Version) -> None:
    """Raise AccessDenied where the bucket's ACL alone lets in a caller who didn't begin ``upload``.

    Strangers may go on with what a stranger began.
    """
    writer = call.auth.principal.id or ANONYMOUS_ID
    if writer != _initiator(upload) and acl.lets_in(call, "s3:PutObject"):
        raise S3Error("AccessDenied")


def part_number(call: Call) -> int:
    """Raises InvalidArgument outside of 1 to 10,000."""
    text = call.query["partNumber"]
    if not (text.isascii() and text.isdigit() and len(text) <= 5) or not (
        1 <= int(text) <= i.PART_NUMBER_MAX
    ):
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {i.PART_NUMBER_MAX}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=text,
        )
    return int(text)


async def upload_part(call: Call) -> Response:
    """Store one part; the same number again replaces it."""
    bucket = call.target
    number = part_number(call)
    upload = await open_upload(call, bucket)
    integrity = Integrity.of_call(call, upload.checksum_algorithm)
    if upload.checksum_algorithm and integrity.algorithm != upload.checksum_algorithm:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: "
            f"{upload.checksum_algorithm}, actual checksum Type: {integrity.algorithm}",
        )
    body = Body(call, chunked=True)
    engine = call.app.engine
    async with new_file(engine, max(body.length, 0)) as writer:
        file, stored = await write_file(writer, body, integrity)
        if await access.renewed(call):
            await open_upload(call, call.target)
    part = part_of(call, upload, number, body.length, integrity.etag, stored, file)
    await commit_file(engine, writer, part)
    return Response(200, [etag_header(integrity.etag), *checksums.response_headers(stored, "")])


def part_of(
    call: Call,
    upload: i.Upload,
    number: int,
    size: int,
    etag: str,
    stored: dict[str, str],
    file: i.FileRef,
) -> i.PutPart:
    """A part that has come whole, at this moment. ``size`` in bytes; ``stored``: its checksums."""
    return i.PutPart(
        bucket_id=call.target.id,
        key=call.key,
        upload_id=upload.upload_id,
        number=number,
        modified=now_ms(),
        size=size,
        etag=etag,
        checksums=stored,
        file=file,
    )


async def abort_multipart_upload(call: Call) -> Response:
    """Throw an upload and its parts away."""
    bucket = call.target
    if acl.lets_in(call, "s3:AbortMultipartUpload"):
        _check_initiator(call, await _named_upload(call, bucket))
    await call.app.engine.commit(i.AbortUpload(bucket.id, call.key, call.query["uploadId"]))
    return Response(204, [])


# -- complete -------------------------------------------------------------------------------------


class Completion:
    """What a finished upload amounts to, computed from the parts that the client names."""

    __slots__ = ("checksums", "etag", "size")

    def __init__(self, upload: i.Upload, chosen: list[i.UploadedPart]) -> None:
        """Raises InvalidRequest where a part lacks the checksum that the whole needs."""
        digests = b"".join(bytes.fromhex(part.etag) for part in chosen)
        md5 = hashlib.md5(digests, usedforsecurity=False).hexdigest()
        self.etag = f"{md5}-{len(chosen)}"
        self.size = sum(part.size for part in chosen)
        self.checksums: dict[str, str] = {}
        algorithm = upload.checksum_algorithm
        if not algorithm:
            return
        try:
            values = [(part.checksums[algorithm], part.size) for part in chosen]
        except KeyError:
            raise S3Error(
                "InvalidRequest", f"A part lacks the {algorithm} checksum of the upload."
            ) from None
        if upload.checksum_type == checksums.FULL_OBJECT:
            self.checksums[algorithm] = checksums.combine(algorithm, values)
        else:
            self.checksums[algorithm] = checksums.composite(algorithm, [v for v, _ in values])


async def complete_multipart_upload(call: Call) -> Response:
    """Make the object of its parts. Repeating a completion gives the first answer."""
    conditions = headers.write_conditions(call.headers)
    if conditions is not None:
        await permit_conditions(call, conditions)
    upload_id = call.query["uploadId"]
    body = await read_document(call, about_object=True)
    await access.renewed(call)
    bucket = call.target
    engine = call.app.engine
    upload = await engine.upload(bucket.id, call.key, upload_id) if upload_id else None
    if upload is None:
        return await _completed_before(call, bucket, body)
    _check_writer(call, upload)
    acl.refuse_blocked(bucket, upload.meta)
    named = _parse_parts(body, upload_id)
    stored = {p.number: p for p in await engine.parts(bucket.id, call.key, upload_id)}
    chosen = _choose(named, stored, upload_id)
    completion = Completion(upload, chosen)
    _check_promises(call, upload, completion)
    change = i.CompleteUpload(
        bucket_id=bucket.id,
        key=call.key,
        upload_id=upload_id,
        parts=[i.CompletePart(p.number, p.etag, n.checksums)
               for p, n in zip(chosen, named, strict=True)],
        modified=now_ms(),
        etag=completion.etag,
        size=completion.size,
        checksums=completion.checksums,
        checksum_type=upload.checksum_type,
        conditions=conditions,
    )  # fmt: skip
    task = asyncio.ensure_future(engine.commit(change))
    await asyncio.wait((task,), timeout=KEEP_ALIVE)
    if not task.done():
        return Response(200, [xml.CONTENT_TYPE], stream=_keep_alive(call, upload, completion, task))
    committed: i.Committed = task.result()
    body = _result(call, committed.etag or completion.etag, upload, completion)
    lines = [xml.CONTENT_TYPE, *versioning.written_header(committed)]
    lines += lifecycle.expiration_header(call, bucket, call.key, change.modified)
    return Response(200, lines, body)


async def _keep_alive(
    call: Call, upload: i.Upload, completion: Completion, task: asyncio.Future[i.Committed]
) -> AsyncIterator[bytes]:
    """White space until the commit is through, then its result or its error (S3 does the same)."""
    yield xml.DECLARATION.encode()
    while not task.done():
        await asyncio.wait((task,), timeout=KEEP_ALIVE)
        yield b" "
    try:
        etag = task.result().etag or completion.etag
    except errors.StoreError as error:
        document = call.app.error_document(call, error)
    else:
        document = _result(call, etag, upload, completion)
    yield document.removeprefix(xml.DECLARATION.encode())


def _result(call: Call, etag: str, upload: i.Upload, completion: Completion) -> bytes:
    return _result_document(call, etag, completion.checksums, upload.checksum_type)


def _result_document(call: Call, etag: str, values: dict[str, str], kind: str) -> bytes:
    text = (
        f"{xml.element('Location', object_url(call))}<Bucket>{xml.escape(call.bucket)}</Bucket>"
        f"<Key>{xml.escape(call.key)}</Key><ETag>&quot;{etag}&quot;</ETag>"
        f"{checksums.elements(values, kind)}"
    )
    return xml.document("CompleteMultipartUploadResult", text)


async def _completed_before(call: Call, bucket: i.Bucket, body: bytes) -> Response:
    """The first answer once more, if this upload made the visible object of these parts.

    Raises NoSuchUpload, and of an upload that is known what is wrong with ``body``.
    """
    version = await call.app.engine.lookup(bucket.id, call.key)
    upload_id = call.query["uploadId"]
    if version is None or not upload_id or version.meta.upload_id != upload_id:
        raise S3Error("NoSuchUpload", UploadId=upload_id)
    _check_writer(call, version)
    named = _parse_parts(body, upload_id)
    if [(p.number, p.etag) for p in version.meta.parts] != [(p.number, p.etag) for p in named]:
        raise S3Error("NoSuchUpload", UploadId=upload_id)
    answer = _result_document(
        call, version.etag, version.meta.checksums, version.meta.checksum_type
    )
    lines = [xml.CONTENT_TYPE]
    if version.version_id != i.NULL_VERSION:
        lines += versioning.version_header(bucket, version)
    lines += lifecycle.expiration_header(call, bucket, call.key, version.modified)
    return Response(200, lines, answer)


def _parse_parts(body: bytes, upload_id: str) -> list[i.CompletePart]:
    """The parts of a CompleteMultipartUpload document. Raises MalformedXML, InvalidPartOrder."""
    if not body:
        raise xml.malformed("CompleteMultipartUpload")  # and not MissingRequestBodyError, as in S3
    parts: list[i.CompletePart] = []
    for node in xml.items(xml.parse(body, "CompleteMultipartUpload"), "Part"):
        found = xml.fields(node, _PART_FIELDS, ("PartNumber", "ETag"))
        text = found["PartNumber"].strip()
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise xml.malformed("PartNumber")
        number = int(text)
        if parts and number < parts[-1].number:
            raise S3Error("InvalidPartOrder", UploadId=upload_id)
        values = {
            checksums.ALGORITHM_OF_ELEMENT[name]: value.strip()
            for name, value in found.items()
            if name in checksums.ALGORITHM_OF_ELEMENT
        }
        part = i.CompletePart(number, found["ETag"].strip().strip('"'), values)
        if parts and number == parts[-1].number:
            parts[-1] = part  # sent twice: the later one counts
        else:
            parts.append(part)
    if not parts or len(parts) > i.PART_NUMBER_MAX:
        raise xml.malformed("Part")
    return parts


def _choose(
    named: list[i.CompletePart], stored: dict[int, i.UploadedPart], upload_id: str
) -> list[i.UploadedPart]:
    """The stored parts that the client names. Raises InvalidPart, EntityTooSmall."""
    chosen: list[i.UploadedPart] = []
    for part in named:
        found = stored.get(part.number)
        if (
            found is None
            or found.etag != part.etag
            or any(found.checksums.get(name) != value for name, value in part.checksums.items())
        ):
            raise S3Error(
                "InvalidPart", UploadId=upload_id, PartNumber=str(part.number), ETag=part.etag
            )
        chosen.append(found)
    for found in chosen[:-1]:
        if found.size < i.PART_BYTES_MIN:
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=str(found.size),
                MinSizeAllowed=str(i.PART_BYTES_MIN),
                PartNumber=str(found.number),
                ETag=found.etag,
            )
    return chosen


def _check_promises(call: Call, upload: i.Upload, completion: Completion) -> None:
    """What the request says of the whole: size, checksum, checksum type.

    Raises InvalidRequest, BadDigest.
    """
    size = call.headers.get(b"x-amz-mp-object-size")
    if size is not None:
        promise = headers.integer(size.decode("latin-1"), "x-amz-mp-object-size", 0, 1 << 60)
        if promise != completion.size:
            raise S3Error(
                "InvalidRequest",
                f"The provided 'x-amz-mp-object-size' header value {promise} does not match what "
                f"was computed: {completion.size}",
            )
    kind = call.header(b"x-amz-checksum-type")
    if kind and kind.upper() != upload.checksum_type:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {upload.checksum_type or 'null'} checksum mode. The "
            f"complete request must use the same checksum mode.",
        )
    for algorithm, header in checksums.HEADER.items():
        promised = call.header(header)
        if not promised:
            continue
        computed = completion.checksums.get(algorithm)
        if computed is None:
            raise S3Error(
                "InvalidRequest", f"The upload was not created with the {algorithm} checksum."
            )
        if promised not in (computed, computed.partition("-")[0]):
            raise checksums.mismatch(algorithm)


# -- lists ----------------------------------------------------------------------------------------


async def list_parts(call: Call) -> Response:
    """The parts of an upload in progress, by number."""
    bucket = call.target
    limit = page_limit(call.query.get("max-parts", ""), "max-parts")
    after = headers.integer(
        call.query.get("part-number-marker", "") or "0", "part-number-marker", 0, 2**31 - 1
    )
    upload = await _named_upload(call, bucket)
    if acl.lets_in(call, "s3:ListMultipartUploadParts"):
        _check_initiator(call, upload)
    parts = await call.app.engine.parts(
        bucket.id, call.key, upload.upload_id, after=after, limit=limit + 1
    )
    truncated = len(parts) > limit
    parts = parts[:limit]
    rows = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber>"
        f"<LastModified>{headers.iso_date(part.modified)}</LastModified>"
        f"<ETag>&quot;{part.etag}&quot;</ETag><Size>{part.size}</Size>"
        f"{checksums.elements(part.checksums)}</Part>"
        for part in parts
    )
    text = (
        f"<Bucket>{xml.escape(call.bucket)}</Bucket><Key>{xml.escape(call.key)}</Key>"
        f"<UploadId>{upload.upload_id}</UploadId>{_people(call, upload)}"
        f"<StorageClass>{upload.storage_class}</StorageClass>"
        f"<PartNumberMarker>{after}</PartNumberMarker>"
        f"<NextPartNumberMarker>{parts[-1].number if parts else 0}</NextPartNumberMarker>"
        f"<MaxParts>{limit}</MaxParts><IsTruncated>{'true' if truncated else 'false'}"
        f"</IsTruncated>{_checksum_elements(upload)}{rows}"
    )
    lines = [xml.CONTENT_TYPE, *lifecycle.abort_headers(call, bucket, call.key, upload.initiated)]
    return Response(200, lines, xml.document("ListPartsResult", text))


def _people(call: Call, upload: i.Upload) -> str:
    initiator = _initiator(upload)
    owner = shown_owner(call.target, upload.owner)
    return owner_element(call, initiator, "Initiator") + owner_element(call, owner)


def _checksum_elements(upload: i.Upload) -> str:
    if not upload.checksum_algorithm:
        return ""
    return (
        f"<ChecksumAlgorithm>{checksums.SPELLED[upload.checksum_algorithm]}</ChecksumAlgorithm>"
        f"<ChecksumType>{upload.checksum_type}</ChecksumType>"
    )


async def list_multipart_uploads(call: Call) -> Response:
    """Uploads in progress by key, then by initiation."""
    query = call.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key_marker = query.get("key-marker", "")
    upload_marker = query.get("upload-id-marker", "") if key_marker else ""
    limit = page_limit(query.get("max-uploads", ""), "max-uploads")
    url = wants_url(call)
    bucket = call.target
    page = await call.app.engine.list_uploads(
        bucket.id,
        prefix=prefix,
        delimiter=delimiter,
        after_key=key_marker,
        after_upload=upload_marker,
        limit=limit,
    )
    next_key, next_upload = page.next_key or "", page.next_upload or ""
    if page.next_key is None and page.uploads and not page.prefixes:
        # Nothing follows; S3 names the last one all the same.
        next_key, next_upload = page.uploads[-1].key, page.uploads[-1].upload_id
    url, _ = xml.encoding([*page.prefixes, *[u.key for u in page.uploads]], url=url)
    encode = xml.url_encode if url else xml.escape
    text = (
        f"<Bucket>{xml.escape(call.bucket)}</Bucket><KeyMarker>{encode(key_marker)}</KeyMarker>"
        f"<UploadIdMarker>{xml.escape(upload_marker)}</UploadIdMarker>"
        f"<NextKeyMarker>{encode(next_key)}</NextKeyMarker>"
        f"<NextUploadIdMarker>{xml.escape(next_upload)}</NextUploadIdMarker>"
        f"<Prefix>{encode(prefix)}</Prefix>"
        + (f"<Delimiter>{encode(delimiter)}</Delimiter>" if delimiter else "")
        + ("<EncodingType>url</EncodingType>" if url else "")
        + f"<MaxUploads>{limit}</MaxUploads>"
        f"<IsTruncated>{'false' if page.next_key is None else 'true'}</IsTruncated>"
    )
    text += "".join(
        f"<Upload><Key>{encode(upload.key)}</Key><UploadId>{upload.upload_id}</UploadId>"
        f"{_people(call, upload)}<StorageClass>{upload.storage_class}</StorageClass>"
        f"<Initiated>{headers.iso_date(upload.initiated)}</Initiated>"
        f"{_checksum_elements(upload)}</Upload>"
        for upload in page.uploads
    )
    text += "".join(
        f"<CommonPrefixes><Prefix>{encode(p)}</Prefix></CommonPrefixes>" for p in page.prefixes
    )
    return Response(200, [xml.CONTENT_TYPE], xml.document("ListMultipartUploadsResult", text))
