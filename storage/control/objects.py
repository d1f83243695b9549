"""Objects over plain HTTP, for programs and people without an S3 SDK.

The same policies count as on the S3 port (s3:PutObject, s3:GetObject ...), and an object is the
same through both doors. Keys are taken from the path as it was sent: ``..``, empty segments and
control characters are ordinary in them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from email.utils import formatdate
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote, unquote_to_bytes

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Receive, Scope, Send

from storage import encodedwords
from storage.control.access import SignedIn, no_such_key, open_bucket, open_object
from storage.control.buckets import BucketName, timestamp
from storage.control.forms import Form
from storage.control.problems import Problem
from storage.control.uploads import METADATA_PREFIX, Upload, check_key, describe
from storage.engine.interface import Bucket, Conditions, DeleteObject, Engine, Meta, Version
from storage.iam import acl, ownership

_PREFIX = b"/api/v1/buckets/"
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_LIST_MAX = 1000
# What people stored must never act as a page of this origin, whatever type it claims.
_DOWNLOAD_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"


class _KeyConvertor(Convertor[str]):
    """Everything that follows, line breaks included (Starlette's own ``path`` stops at them)."""

    regex = r"(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("key", _KeyConvertor())
router = APIRouter(prefix="/api/v1/buckets/{bucket}", tags=["objects"])


def raw_key(request: Request, key: Annotated[str, Path(description="Key of the object.")]) -> str:
    """The key as it was sent. What the framework decoded has lost what is not UTF-8."""
    _, _, rest = request.scope["raw_path"].partition(_PREFIX)
    _, _, rest = rest.partition(b"/")
    encoded = rest.partition(b"/")[2]
    try:
        key = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise Problem(400, "InvalidURI", "The key is not UTF-8.") from None
    check_key(key)
    return key


Key = Annotated[str, Depends(raw_key)]


class ObjectView(BaseModel):
    """An object without its bytes."""

    key: str
    size: int = Field(description="Bytes.")
    etag: str
    modified: datetime
    content_type: str = ""


class ObjectInfo(ObjectView):
    """Everything known of an object."""

    bucket: str
    headers: dict[str, str]
    metadata: dict[str, str]
    checksums: dict[str, str]
    storage_class: str
    tags: dict[str, str]


class Listing(BaseModel):
    """A page of objects in the order of their keys' UTF-8 bytes."""

    objects: list[ObjectView]
    prefixes: list[str] = Field(description="What the delimiter cut off, each once.")
    next: str | None = Field(description="Give it as `after` for the next page.")


@router.get("/objects", summary="List objects")
async def list_objects(
    caller: SignedIn,
    bucket: BucketName,
    prefix: str | None = None,
    delimiter: str | None = None,
    after: str = "",
    limit: Annotated[int | None, Query(ge=1, le=_LIST_MAX)] = None,
) -> Listing:
    """Objects whose keys start with `prefix`, page by page; `/` as delimiter shows one level."""
    given = {"s3:prefix": prefix, "s3:delimiter": delimiter, "s3:max-keys": limit}
    facts = {key: str(value) for key, value in given.items() if value is not None}
    found = await open_bucket(caller, bucket, "s3:ListBucket", facts=facts)
    page = await caller.plane.engine.list_objects(
        found.id,
        prefix=prefix or "",
        delimiter=delimiter or "",
        after=after,
        limit=limit or _LIST_MAX,
    )
    objects = [
        ObjectView(key=e.key, size=e.size, etag=e.etag, modified=timestamp(e.modified))
        for e in page.entries
    ]
    return Listing(objects=objects, prefixes=page.prefixes, next=page.next_after)


@router.post("/objects", status_code=201, summary="Upload files from a form")
async def upload_form(request: Request, caller: SignedIn, bucket: BucketName) -> list[ObjectView]:
    """Upload the files of a `multipart/form-data` body.

    Fields that come before a file count for it: `prefix` is put before the file's name, `key`
    names the object (one file only).
    """
    form = Form(request.headers.get("content-type", ""), request.stream())
    stored: list[ObjectView] = []
    async for filename, content_type, content in form.files():
        key = form.fields.pop("key", "") or form.fields.get("prefix", "") + filename
        check_key(key)
        await open_bucket(caller, bucket, "s3:PutObject", key)
        meta = describe({"content-type": content_type})
        upload = Upload(caller.plane.engine, key)
        await upload.receive(content, length=-1)
        await upload.commit(meta, partial(_admit, caller, bucket, key, meta))
        stored.append(_stored(upload, key, meta.headers["content-type"]))
    if not stored:
        raise Problem(400, "InvalidArgument", "The form holds no file.")
    return stored


@router.put(
    "/objects/{key:key}",
    summary="Upload an object",
    status_code=201,
    responses={200: {"description": "The object replaced another one."}},
    openapi_extra={"requestBody": {"required": True, "content": {"*/*": {}}}},
)
async def put_object(
    request: Request, response: Response, caller: SignedIn, bucket: BucketName, key: Key
) -> ObjectView:
    """Store the body under the key. An answer means that it is durable.

    `Content-Type` and `x-amz-meta-*` are kept, `Content-MD5` is checked, `If-Match` and
    `If-None-Match` decide whether an existing object may be replaced.
    """
    found = await open_bucket(caller, bucket, "s3:PutObject", key)
    conditions = await _conditions(request, caller, found, key)
    meta = describe(request.headers)
    length = request.headers.get("content-length", "")
    upload = Upload(caller.plane.engine, key)
    await upload.receive(
        request.stream(),
        int(length) if length.isdigit() else -1,
        request.headers.get("content-md5", ""),
    )
    admit = partial(_admit, caller, bucket, key, meta)
    committed = await upload.commit(meta, admit, conditions)
    response.status_code = 200 if committed.existed else 201
    response.headers["ETag"] = f'"{upload.etag}"'
    return _stored(upload, key, meta.headers["content-type"])


@router.get(
    "/objects/{key:key}",
    summary="Download an object",
    response_class=Response,
    responses={200: {"content": {"*/*": {}}}, 206: {"description": "The range asked for."}},
)
async def get_object(request: Request, caller: SignedIn, bucket: BucketName, key: Key) -> Response:
    """The object's bytes, or the one range that `Range` asks for, verified as they are read."""
    _, version = await _lookup(caller, bucket, key)
    return _download(caller.plane.engine, version, request)


@router.head("/objects/{key:key}", summary="An object's headers", response_class=Response)
async def head_object(request: Request, caller: SignedIn, bucket: BucketName, key: Key) -> Response:
    """What a download would say, without the bytes."""
    _, version = await _lookup(caller, bucket, key)
    return _download(caller.plane.engine, version, request)


@router.get("/metadata/{key:key}", summary="Everything known of an object")
async def get_metadata(caller: SignedIn, bucket: BucketName, key: Key) -> ObjectInfo:
    """Size, ETag, headers, metadata, checksums and tags as JSON."""
    found, version = await _lookup(caller, bucket, key)
    meta = version.meta
    tagged = caller.decide_on("s3:GetObjectTagging", found, key, version).allowed
    return ObjectInfo(
        bucket=bucket,
        key=key,
        size=version.size,
        etag=version.etag,
        modified=timestamp(version.modified),
        content_type=meta.headers.get("content-type", ""),
        headers=meta.headers,
        metadata={name: encodedwords.text(value) for name, value in meta.metadata.items()},
        checksums=meta.checksums,
        storage_class=version.storage_class,
        tags=meta.tags if tagged else {},
    )


@router.delete("/objects/{key:key}", status_code=204, summary="Delete an object")
async def delete_object(
    request: Request, caller: SignedIn, bucket: BucketName, key: Key
) -> Response:
    """Delete the object; deleting what does not exist is no error."""
    found = await open_bucket(caller, bucket, "s3:DeleteObject", key)
    conditions = await _conditions(request, caller, found, key)
    await caller.plane.engine.commit(
        DeleteObject(bucket_id=found.id, key=key, conditions=conditions)
    )
    return Response(status_code=204)


def _stored(upload: Upload, key: str, content_type: str) -> ObjectView:
    return ObjectView(
        key=key,
        size=upload.size,
        etag=upload.etag,
        modified=timestamp(upload.modified),
        content_type=content_type,
    )


async def _lookup(caller: SignedIn, name: str, key: str) -> tuple[Bucket, Version]:
    bucket, version = await open_object(caller, name, "s3:GetObject", key)
    if version is None or version.delete_marker:
        # Who may not list a bucket does not learn which keys it lacks, as on the S3 port.
        caller.require_on("s3:ListBucket", bucket, facts={"s3:prefix": key})
        raise no_such_key()
    return bucket, version


async def _admit(caller: SignedIn, name: str, key: str, meta: Meta) -> tuple[Bucket, str]:
    """(bucket, owner) of an object whose bytes have come, if it may be stored as things are now.

    Whom the bucket's policy or ACL lets in keeps control of what it writes by an ACL, as on the S3
    port. Raises Problem.
    """
    caller = await caller.renewed()
    bucket = await open_bucket(caller, name, "s3:PutObject", key)
    state = ownership.of(bucket.config.get(ownership.DOCUMENT))
    writer = caller.principal.id
    owner = ownership.owner_of_new(state, writer, bucket.owner)
    let_in_by = caller.decide_on("s3:PutObject", bucket, key).source
    if owner == writer != bucket.owner and let_in_by in acl.BY_GRANT:
        meta.extra[acl.DOCUMENT] = acl.spell(acl.private(owner))
    return bucket, owner


# -- conditions and ranges (RFC 9110, sections 13 and 14) -----------------------------------------


def _etags(request: Request, header: str) -> tuple[str, ...]:
    text = ",".join(request.headers.getlist(header))
    return tuple(
        tag.strip().removeprefix("W/").strip('"') for tag in text.split(",") if tag.strip()
    )


async def _conditions(
    request: Request, caller: SignedIn, bucket: Bucket, key: str
) -> Conditions | None:
    """The conditions of a write or deletion. Where they name ETags, its answer tells of the object:
    whoever asks must be allowed to read it, as on the S3 port."""
    match, none = _etags(request, "if-match"), _etags(request, "if-none-match")
    if any(etag != "*" for etag in (*match, *none)):
        version = await caller.plane.engine.lookup(bucket.id, key)
        caller.require_on("s3:GetObject", bucket, key, version)
    return Conditions(if_match=match, if_none_match=none) if match or none else None


def _download(engine: Engine, version: Version, request: Request) -> Response:
    headers = _headers(version)
    match, none = _etags(request, "if-match"), _etags(request, "if-none-match")
    if match and not {"*", version.etag}.intersection(match):
        raise Problem(412, "PreconditionFailed", "The object has another ETag.")
    if {"*", version.etag}.intersection(none):
        return Response(status_code=304, headers=headers)
    start, stop = 0, version.size
    span = _span(request, version)
    if span is not None:
        start, stop = span
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{version.size}"
    headers["Content-Length"] = str(stop - start)
    status = 200 if span is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return _Download(_blocks(engine, version, start, stop), status, headers)


def _headers(version: Version) -> dict[str, str]:
    meta = version.meta
    name = quote(version.key.rpartition("/")[2] or "object", safe="")
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        **{_title(header): _latin(value) for header, value in meta.headers.items()},
        **{
            METADATA_PREFIX + name: encodedwords.header(value).decode()
            for name, value in meta.metadata.items()
        },
        "ETag": f'"{version.etag}"',
        "Last-Modified": formatdate(version.modified // 1000, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Security-Policy": _DOWNLOAD_POLICY,
    }


def _title(header: str) -> str:
    return "-".join(word.capitalize() for word in header.split("-"))


def _latin(value: str) -> str:
    """A header's value as HTTP can carry it, as the S3 port sends it."""
    return value.encode("latin-1", "replace").decode("latin-1")


def _span(request: Request, version: Version) -> tuple[int, int] | None:
    """The bytes [start, stop) asked for; None means all. Raises Problem where there are none."""
    text = request.headers.get("range", "").replace(" ", "")
    condition = request.headers.get("if-range")
    if not text or (condition is not None and condition.strip('"') != version.etag):
        return None
    match = _RANGE.fullmatch(text)
    if match is None or match.group(0) == "bytes=-":
        return None  # several ranges, or none that makes sense: RFC 9110 lets us send everything
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1 if last else version.size, version.size)
        if last and int(last) < int(first):
            return None
    else:
        start, stop = max(0, version.size - int(last)), version.size
    if start >= stop:
        raise Problem(
            416, "InvalidRange", f"The object has {version.size} bytes, none of them in the range.",
            {"Content-Range": f"bytes */{version.size}"},
        )  # fmt: skip
    return start, stop


async def _blocks(
    engine: Engine, version: Version, start: int, stop: int
) -> AsyncIterator[bytes | memoryview]:
    if not version.files:
        data = await engine.read_inline(version)
        yield data[start:stop]
        return
    blocks: Any = engine.read(version, start, stop)
    async with aclosing(blocks):
        async for block in blocks:
            yield block


class _Download(Response):
    """A streamed answer that closes its source whatever happens to the connection."""

    def __init__(
        self, blocks: AsyncIterator[bytes | memoryview], status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        self._blocks: Any = blocks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._blocks):
            # The first block decides the status: corrupt data must not begin with a 200.
            first = await anext(self._blocks, b"")
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            await send({"type": "http.response.body", "body": first, "more_body": True})
            async for block in self._blocks:
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
