"""GetObject, HeadObject and GetObjectAttributes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from storage.engine.interface import PART_NUMBER_MAX, Part, Version
from storage.s3 import checksums, headers, xml
from storage.s3.call import Call, HeaderList, Response
from storage.s3.errors import S3Error
from storage.s3.operations import access, lifecycle, list_objects, versioning

_ACCEPT_RANGES = (b"accept-ranges", b"bytes")
#: What makes more of a read than "the object": headers and parameters.
_ASKING = frozenset(
    (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"range",
     b"x-amz-checksum-mode")
)  # fmt: skip
_ASKING_QUERY = frozenset(("partNumber", *headers.OVERRIDES))
#: What of an object's headers says how long a copy of it may be kept (RFC 9110, section 15.4.5).
_OF_COPIES = frozenset((b"cache-control", b"expires"))
_DEFAULT_TYPE = (b"content-type", headers.DEFAULT_CONTENT_TYPE.encode())


async def find(call: Call) -> Version:
    """The version that the call asks for. Raises as ``versioning.find``."""
    version_id = versioning.asked_version(call) if call.query else ""
    return await versioning.find(call, call.target, call.key, version_id)


def _find_at_once(call: Call) -> Version | None:
    """The visible version; None where there is none, or another one is asked for.

    Raises AccessDenied where it is another account's.
    """
    if call.query and "versionId" in call.query:
        return None
    version = call.app.engine.lookup_at_once(call.target.id, call.key)
    if version is not None and version.owner != call.target.owner:
        access.check_version(call, call.target, call.key, version)
    return version


async def get_object(call: Call) -> Response:
    """An object's bytes, or a range of them."""
    version = await find(call)
    response, start, stop = _describe(call, version)
    if response.status >= 300 or start == stop:
        return response
    engine = call.app.engine
    if not version.files:
        return _whole(response, await engine.read_inline(version), start, stop)
    blocks = engine.read(version, start, stop)
    # The first block is read before the status goes out: damage that shows here is an error.
    response.stream = _chain(await anext(blocks), blocks)
    return response


def get_object_at_once(call: Call) -> Response | None:
    """``get_object`` of a small object whose bytes are in memory; None of any other."""
    version = _find_at_once(call)
    if version is None or version.files:
        return None
    response, start, stop = _describe(call, version)
    if response.status >= 300 or start == stop:
        return response
    data = call.app.engine.read_at_once(version)
    return None if data is None else _whole(response, data, start, stop)


def _whole(response: Response, data: bytes | bytearray, start: int, stop: int) -> Response:
    """``response`` with the bytes [start, stop) of an object's ``data``."""
    response.body = data if stop - start == len(data) else data[start:stop]
    return response


async def head_object(call: Call) -> Response:
    """An object's headers."""
    return _describe(call, await find(call))[0]


def head_object_at_once(call: Call) -> Response | None:
    """``head_object`` of what is visible; None where something has to be waited for."""
    version = _find_at_once(call)
    return None if version is None else _describe(call, version)[0]


async def _chain(
    first: bytes | memoryview, rest: AsyncIterator[bytes | memoryview]
) -> AsyncIterator[bytes | memoryview]:
    try:
        yield first
        async for block in rest:
            yield block
    finally:
        await rest.aclose()  # type: ignore[attr-defined]


def _describe(call: Call, version: Version) -> tuple[Response, int, int]:
    """(the response without a body, first byte, byte behind the last one)."""
    request, query = call.headers, call.query
    if _ASKING.isdisjoint(request) and _ASKING_QUERY.isdisjoint(query):
        lines = _validators(call, version)
        _add_stored(call, lines, version)
        return Response(200, lines, length=version.size), 0, version.size
    conditions = headers.read_conditions(request)
    if conditions is not None:
        status = headers.check_read(conditions, version.etag, version.modified)
        if status == 304:
            return _not_modified(call, version), 0, 0
        if status == 412:
            raise S3Error("PreconditionFailed", Condition=headers.failed_condition(conditions))
    start, stop = 0, version.size
    window, part = None, None
    if query and "partNumber" in query:
        window, part = _part(call, version)
    elif (value := request.get(b"range")) is not None and _range_applies(call, version):
        window = headers.parse_range(value, version.size)
    lines = _validators(call, version)
    _add_stored(call, lines, version)
    if query:
        _override(call, lines)
    if window is not None:
        start, stop = window
        lines.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, version.size)))
    if part is not None:
        lines.append((b"x-amz-mp-parts-count", b"%d" % len(version.meta.parts)))
    if b"x-amz-checksum-mode" in request:
        lines += _checksums(call, version, part, whole=stop - start == version.size)
    return Response(200 if window is None else 206, lines, length=stop - start), start, stop


def _validators(call: Call, version: Version) -> HeaderList:
    lines = [
        (b"etag", b'"%b"' % version.etag.encode()),
        (b"last-modified", headers.http_date(version.modified // 1000)),
        _ACCEPT_RANGES,
    ]
    bucket = call.target
    if bucket.config:
        lines += versioning.version_header(bucket, version)
        if "versionId" not in call.query:
            lines += lifecycle.expiration_header(call, bucket, version.key, version.modified)
    return lines


def _not_modified(call: Call, version: Version) -> Response:
    stored: HeaderList = []
    _add_stored(call, stored, version)
    _override(call, stored)
    lines = _validators(call, version)
    lines += [line for line in stored if line[0] in _OF_COPIES]
    return Response(304, lines)


def _add_stored(call: Call, lines: HeaderList, version: Version) -> None:
    meta = version.meta
    stored = meta.headers
    if not stored:
        lines.append(_DEFAULT_TYPE)
    for name, value in stored.items():
        lines.append((name.encode(), value.encode("latin-1")))
    if meta.metadata:
        lines += headers.metadata_headers(meta.metadata)
    if meta.tags and _may_read_tags(call, version):
        lines.append((b"x-amz-tagging-count", b"%d" % len(meta.tags)))
    if version.storage_class != headers.DEFAULT_STORAGE_CLASS:
        lines.append((b"x-amz-storage-class", version.storage_class.encode()))


def _may_read_tags(call: Call, version: Version) -> bool:
    """S3 tells how many tags there are to nobody else."""
    named = "versionId" in call.query
    action = "s3:GetObjectVersionTagging" if named else "s3:GetObjectTagging"
    return access.allows_version(call, action, call.target, call.key, version)


def _override(call: Call, lines: HeaderList) -> None:
    """Apply ``response-*``. Raises InvalidRequest for unsigned requests, as S3 does."""
    overrides = headers.response_overrides(call.query)
    if not overrides:
        return
    if call.auth.principal.anonymous:
        raise S3Error(
            "InvalidRequest",
            "Request specific response headers cannot be used for anonymous GET requests.",
        )
    lines[:] = [line for line in lines if line[0] not in overrides]
    lines += overrides.items()


def _checksums(call: Call, version: Version, part: Part | None, *, whole: bool) -> HeaderList:
    """The checksums of what is sent, where it is asked for and they are known."""
    meta = version.meta
    if call.headers[b"x-amz-checksum-mode"].upper() != b"ENABLED":
        return []
    if part is not None and part.checksums:
        return checksums.response_headers(part.checksums, meta.checksum_type)
    return checksums.response_headers(meta.checksums, meta.checksum_type) if whole else []


def _range_applies(call: Call, version: Version) -> bool:
    """If-Range (RFC 9110, section 13.1.5): a range only of the version that the client has."""
    value = call.headers.get(b"if-range")
    if value is None:
        return True
    text = value.decode("latin-1")
    if text.startswith(('"', "W/")):
        return text == f'"{version.etag}"'
    return headers.parse_http_date(text) // 1000 == version.modified // 1000


def _part(call: Call, version: Version) -> tuple[tuple[int, int] | None, Part | None]:
    """([start, stop), part) of ``partNumber``.

    An object that was not made of parts is its own first part. Raises InvalidPartNumber,
    InvalidRequest.
    """
    number = headers.integer(call.query["partNumber"], "partNumber", 1, PART_NUMBER_MAX)
    if b"range" in call.headers:
        raise S3Error(
            "InvalidRequest", "Cannot specify both Range header and partNumber query parameter"
        )
    parts = version.meta.parts
    if number > max(len(parts), 1):
        raise S3Error(
            "InvalidPartNumber",
            PartNumberRequested=str(number),
            ActualPartCount=str(max(len(parts), 1)),
        )
    if not parts:
        return (0, version.size) if version.size else None, None
    start = sum(part.size for part in parts[: number - 1])
    part = parts[number - 1]
    # Content-Range can't tell of a range without bytes.
    return (start, start + part.size) if part.size or version.size > start else None, part


# -- GetObjectAttributes --------------------------------------------------------------------------

_ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")


async def get_object_attributes(call: Call) -> Response:
    """What is known of an object, as far as ``x-amz-object-attributes`` asks for it.

    Whoever asks must be allowed to read the object as well (S3).
    """
    asked = {name.strip() for name in call.header(b"x-amz-object-attributes").split(",")}
    if not asked.issubset(_ATTRIBUTES):
        raise S3Error(
            "InvalidArgument",
            "Invalid attribute name specified.",
            ArgumentName="x-amz-object-attributes",
        )
    limit = list_objects.page_limit(call.header(b"x-amz-max-parts"), "x-amz-max-parts")
    after = headers.integer(
        call.header(b"x-amz-part-number-marker") or "0", "x-amz-part-number-marker", 0, 2**31 - 1
    )
    version = await find(call)
    reading = "s3:GetObjectVersion" if "versionId" in call.query else "s3:GetObject"
    access.authorize_version(call, reading, call.target, call.key, version)
    meta = version.meta
    text = ""
    if "ETag" in asked:
        text += xml.element("ETag", version.etag)
    if "Checksum" in asked and meta.checksums:
        text += f"<Checksum>{checksums.elements(meta.checksums, meta.checksum_type)}</Checksum>"
    if "ObjectParts" in asked and meta.parts:
        text += _object_parts(meta.parts, after, limit)
    if "StorageClass" in asked:
        text += xml.element("StorageClass", version.storage_class)
    if "ObjectSize" in asked:
        text += f"<ObjectSize>{version.size}</ObjectSize>"
    lines = [
        xml.CONTENT_TYPE,
        (b"last-modified", headers.http_date(version.modified // 1000)),
        *versioning.version_header(call.target, version),
    ]
    return Response(200, lines, xml.document("GetObjectAttributesResponse", text))


def _object_parts(parts: list[Part], after: int, limit: int) -> str:
    """``<ObjectParts>``; the parts themselves only where they have checksums, as in S3."""
    text = f"<PartsCount>{len(parts)}</PartsCount>"
    if not any(part.checksums for part in parts):
        return f"<ObjectParts>{text}</ObjectParts>"
    page = [part for part in parts if part.number > after]
    truncated = len(page) > limit
    page = page[:limit]
    rows = "".join(
        f"<Part>{checksums.elements(part.checksums)}<PartNumber>{part.number}</PartNumber>"
        f"<Size>{part.size}</Size></Part>"
        for part in page
    )
    return (
        f"<ObjectParts>{text}<PartNumberMarker>{after}</PartNumberMarker>"
        f"<NextPartNumberMarker>{page[-1].number if page else 0}</NextPartNumberMarker>"
        f"<MaxParts>{limit}</MaxParts><IsTruncated>{'true' if truncated else 'false'}"
        f"</IsTruncated>{rows}</ObjectParts>"
    )
