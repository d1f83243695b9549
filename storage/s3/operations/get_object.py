"""GetObject and HeadObject."""

from __future__ import annotations

from collections.abc import AsyncIterator

from storage.engine.interface import PART_NUMBER_MAX, Version
from storage.s3 import checksums, headers
from storage.s3.call import Call, HeaderList, Response
from storage.s3.errors import S3Error
from storage.s3.operations.access import allowed

_ACCEPT_RANGES = (b"accept-ranges", b"bytes")
_DEFAULT_TYPE = (b"content-type", headers.DEFAULT_CONTENT_TYPE.encode())


async def find(call: Call) -> Version:
    """The visible version of the call's key.

    Raises NoSuchKey, or AccessDenied where the caller may not know what keys exist.
    """
    bucket = call.target
    version = await call.app.engine.lookup(bucket.id, call.key)
    if version is None:
        if not allowed(call, "s3:ListBucket", bucket):
            raise S3Error("AccessDenied")
        raise S3Error("NoSuchKey", Key=call.key)
    return version


async def get_object(call: Call) -> Response:
    """An object's bytes, or a range of them."""
    version = await find(call)
    response, start, stop = _describe(call, version)
    if response.status >= 300 or start == stop:
        return response
    engine = call.app.engine
    if not version.files:
        data = await engine.read_inline(version)
        response.body = data if stop - start == len(data) else data[start:stop]
        response.length = -1
        return response
    blocks = engine.read(version, start, stop)
    # The first block is read before the status goes out: damage that shows here is an error.
    response.stream = _chain(await anext(blocks), blocks)
    return response


async def head_object(call: Call) -> Response:
    """An object's headers."""
    return _describe(call, await find(call))[0]


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
    request = call.headers
    conditions = headers.read_conditions(request)
    if conditions is not None:
        status = headers.check_read(conditions, version.etag, version.modified)
        if status == 304:
            return Response(304, _validators(version)), 0, 0
        if status == 412:
            raise S3Error("PreconditionFailed", Condition=headers.failed_condition(conditions))
    query = call.query
    start, stop = 0, version.size
    partial = False
    part_count = 0
    if query and "partNumber" in query:
        start, stop, part_count = _part(call, version)
        partial = True
    elif (value := request.get(b"range")) is not None and _range_applies(call, version):
        found = headers.parse_range(value, version.size)
        if found is not None:
            start, stop = found
            partial = True
    lines = _validators(version)
    _add_stored(lines, version)
    if query:
        _override(call, lines)
    if partial:
        lines.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, version.size)))
        if part_count:
            lines.append((b"x-amz-mp-parts-count", b"%d" % part_count))
    if b"x-amz-checksum-mode" in request and (stop - start == version.size):
        _add_checksums(call, lines, version)
    return Response(206 if partial else 200, lines, length=stop - start), start, stop


def _validators(version: Version) -> HeaderList:
    return [
        (b"etag", b'"%b"' % version.etag.encode()),
        (b"last-modified", headers.http_date(version.modified // 1000)),
        _ACCEPT_RANGES,
    ]


def _add_stored(lines: HeaderList, version: Version) -> None:
    meta = version.meta
    stored = meta.headers
    if not stored:
        lines.append(_DEFAULT_TYPE)
    for name, value in stored.items():
        lines.append((name.encode(), value.encode("latin-1")))
    if meta.metadata:
        lines += headers.object_headers({}, meta.metadata)
    if meta.tags:
        lines.append((b"x-amz-tagging-count", b"%d" % len(meta.tags)))
    if version.storage_class != headers.DEFAULT_STORAGE_CLASS:
        lines.append((b"x-amz-storage-class", version.storage_class.encode()))


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


def _add_checksums(call: Call, lines: HeaderList, version: Version) -> None:
    if call.headers[b"x-amz-checksum-mode"].upper() == b"ENABLED" and version.meta.checksums:
        lines += checksums.response_headers(version.meta.checksums, version.meta.checksum_type)


def _range_applies(call: Call, version: Version) -> bool:
    """If-Range (RFC 9110, section 13.1.5): a range only of the version that the client has."""
    value = call.headers.get(b"if-range")
    if value is None:
        return True
    text = value.decode("latin-1")
    if text.startswith(('"', "W/")):
        return text == f'"{version.etag}"'
    return headers.parse_http_date(text) // 1000 == version.modified // 1000


def _part(call: Call, version: Version) -> tuple[int, int, int]:
    """(first byte, byte behind the last, number of parts) of ``partNumber``.

    An object that was not made of parts has one. Raises InvalidPartNumber, InvalidRequest.
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
        return 0, version.size, 0
    start = sum(part.size for part in parts[: number - 1])
    return start, start + parts[number - 1].size, len(parts)
