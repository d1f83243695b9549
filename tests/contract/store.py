"""A bucketful of shorthand for the contract: changes with defaults, answers as plain values."""

from __future__ import annotations

import hashlib
from typing import Any

from storage.engine.interface import (
    AbortUpload,
    Bucket,
    Committed,
    CompletePart,
    CompleteUpload,
    Conditions,
    CreateBucket,
    CreateUpload,
    DeleteObject,
    Engine,
    FileRef,
    Meta,
    Page,
    PutObject,
    PutPart,
    Usage,
    Version,
    encode_meta,
)

MIB = 1024 * 1024
NOW = 1_700_000_000_000
HISTOGRAM = (1 << 10, 1 << 20, 10 << 20, 64 << 20, 128 << 20, 512 << 20)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def make_bucket(engine: Engine, name: str = "bucket", owner: str = "root") -> Bucket:
    bucket = await engine.commit(CreateBucket(name, owner, NOW))
    assert isinstance(bucket, Bucket)
    return bucket


async def make_file(engine: Engine, data: bytes, *, step: int = 65536) -> FileRef:
    writer = await engine.create_file(len(data))
    for offset in range(0, len(data), step):
        await writer.write(data[offset : offset + step])
    return await writer.finish()


async def put(
    engine: Engine,
    bucket: Bucket,
    key: str,
    data: bytes = b"payload",
    *,
    meta: Meta | None = None,
    files: bool | None = None,
    conditions: Conditions | None = None,
    expect_seq: int = 0,
    modified: int = NOW,
    owner: str = "root",
    storage_class: str = "STANDARD",
) -> Committed:
    """Store ``data``: inline up to the engine's limit, or as ``files`` says."""
    apart = len(data) > engine.inline_limit() if files is None else files
    refs = (await make_file(engine, data),) if apart else ()
    answer = await engine.commit(
        PutObject(
            bucket.id,
            key,
            modified,
            len(data),
            md5(data),
            owner,
            storage_class,
            encode_meta(meta or Meta()),
            payload=b"" if apart else data,
            files=refs,
            conditions=conditions,
            expect_seq=expect_seq,
        )
    )
    assert isinstance(answer, Committed)
    return answer


async def delete(engine: Engine, bucket: Bucket, key: str, **more: Any) -> Committed:
    answer = await engine.commit(DeleteObject(bucket.id, key, **more))
    assert isinstance(answer, Committed)
    return answer


async def read(engine: Engine, version: Version, start: int = 0, stop: int | None = None) -> bytes:
    """Bytes of a version through ``Engine.read``, pieces checked for size."""
    pieces = []
    async for piece in engine.read(version, start, version.size if stop is None else stop):
        assert len(piece) <= MIB
        pieces.append(bytes(piece))
    return b"".join(pieces)


async def get(engine: Engine, bucket: Bucket, key: str) -> bytes | None:
    """What a client would get; None if there is nothing."""
    version = await engine.lookup(bucket.id, key)
    if version is None:
        return None
    assert version.key == key
    if version.files:
        data = await read(engine, version)
    else:
        data = await engine.read_inline(version)
        assert await read(engine, version) == data
    assert len(data) == version.size
    return data


async def start_upload(
    engine: Engine, bucket: Bucket, key: str, upload_id: str = "upload-1", **more: Any
) -> str:
    change = CreateUpload(
        bucket.id,
        key,
        upload_id,
        more.pop("initiated", NOW),
        more.pop("owner", "root"),
        more.pop("storage_class", "STANDARD"),
        encode_meta(more.pop("meta", None) or Meta()),
        **more,
    )
    assert await engine.commit(change) is None
    return upload_id


async def put_part(
    engine: Engine,
    bucket: Bucket,
    key: str,
    upload_id: str,
    number: int,
    data: bytes,
    checksums: dict[str, str] | None = None,
) -> CompletePart:
    ref = await make_file(engine, data, step=1 << 20)
    change = PutPart(
        bucket.id, key, upload_id, number, NOW, len(data), md5(data), checksums or {}, ref
    )
    assert await engine.commit(change) is None
    return CompletePart(number, md5(data))


def completion(
    bucket: Bucket,
    key: str,
    upload_id: str,
    parts: list[CompletePart],
    size: int,
    **more: Any,
) -> CompleteUpload:
    etag = more.pop("etag", f"{md5(''.join(part.etag for part in parts).encode())}-{len(parts)}")
    checksums = more.pop("checksums", {})
    modified = more.pop("modified", NOW + 5)
    return CompleteUpload(bucket.id, key, upload_id, parts, modified, etag, size, checksums, **more)


async def abort(engine: Engine, bucket: Bucket, key: str, upload_id: str) -> None:
    assert await engine.commit(AbortUpload(bucket.id, key, upload_id)) is None


async def keys(engine: Engine, bucket: Bucket, **more: Any) -> list[str]:
    """Keys and common prefixes of one page, in the order of a listing."""
    return listed(await engine.list_objects(bucket.id, **more))


def listed(page: Page) -> list[str]:
    assert [entry.key for entry in page.entries] == ordered(entry.key for entry in page.entries)
    assert page.prefixes == ordered(page.prefixes)
    return ordered([*(entry.key for entry in page.entries), *page.prefixes])


def ordered(names: Any) -> list[str]:
    """Sorted as S3 sorts: by UTF-8 bytes."""
    return sorted(names, key=lambda name: name.encode())


def expected_listing(
    names: Any, *, prefix: str = "", delimiter: str = "", after: str = ""
) -> list[str]:
    """What a complete listing shows, by the definition."""
    shown = []
    for name in ordered(names):
        if not name.startswith(prefix):
            continue
        at = name.find(delimiter, len(prefix)) if delimiter else -1
        if at >= 0:
            common = name[: at + len(delimiter)]
            if not after.startswith(common) and common.encode() > after.encode():
                shown.append(common)
        elif name.encode() > after.encode():
            shown.append(name)
    return ordered(set(shown))


def expected_usage(sizes: list[int], uploads: int = 0) -> Usage:
    histogram = [0] * 7
    for size in sizes:
        histogram[sum(size >= bound for bound in HISTOGRAM)] += 1
    return Usage(len(sizes), sum(sizes), uploads, tuple(histogram))
