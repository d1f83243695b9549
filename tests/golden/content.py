"""What the golden drives hold: one of everything that a log can say."""

from __future__ import annotations

from pathlib import Path

from storage.config import Config
from storage.engine import interface as i
from storage.engine.embedded.engine import EmbeddedEngine

META = i.Meta(
    headers={"content-type": "application/json"},
    metadata={"author": "ada"},
    checksums={"crc32": "AAAAAA=="},
    checksum_type="FULL_OBJECT",
    tags={"kind": "event"},
)
LARGE = bytes(range(256)) * 20
SMALL = {"events/a/../b\\c\x01": b"odd", "events/ünïcode 🪣": b"\0" * 10, "events/empty": b""}
PARTS = (b"p" * 3000, b"q" * 10)


def config_at(drive: Path) -> Config:
    return Config(
        drives=(str(drive),), segment_size=64 * 1024, inline_max=1024, free_min=1, fsync=False
    )


def put(bucket: int, key: str, payload: bytes, **more: object) -> i.PutObject:
    size = more.pop("size", len(payload))
    return i.PutObject(
        bucket, key, 1_700_000_000_000, size, f"etag {key}"[:16], "root", "STANDARD",
        i.encode_meta(META), payload, **more,
    )  # type: ignore[arg-type]  # fmt: skip


async def write_all(engine: EmbeddedEngine) -> None:
    """Make everything that ``test_golden`` looks for."""
    bucket = await engine.commit(i.CreateBucket("golden", "root", 1_700_000_000_000, "eu"))
    await engine.commit(i.SetBucketConfig("golden", "cors", b"<CORS/>"))
    await engine.commit(i.CreateBucket("gone", "root", 1))
    await engine.commit(i.DeleteBucket("gone"))
    for key, payload in SMALL.items():
        await engine.commit(put(bucket.id, key, payload))
    await engine.commit(put(bucket.id, "replaced", b"old"))
    await engine.commit(put(bucket.id, "replaced", b"new"))
    await engine.commit(put(bucket.id, "deleted", b"was here"))
    await engine.commit(i.DeleteObject(bucket.id, "deleted"))
    ref = await _file(engine, LARGE)
    await engine.commit(put(bucket.id, "large", b"", size=len(LARGE), files=(ref,)))
    await engine.commit(
        i.CreateUpload(bucket.id, "pending", "upload-1", 2, "root", "STANDARD", i.EMPTY_META)
    )
    for number, data in enumerate(PARTS, 1):
        await engine.commit(
            i.PutPart(
                bucket.id, "pending", "upload-1", number, 3, len(data), f"part {number}", {},
                await _file(engine, data),
            )
        )  # fmt: skip
    await engine.commit(i.PutSystem("user", "ada", b"sealed"))
    await engine.commit(i.PutSystem("user", "bob", b"sealed"))
    await engine.commit(i.PutSystem("user", "bob", None))
    await engine.commit(i.SetCursor("someone", 5))
    await write_versions(engine)
    for number in range(300):  # more than a segment holds, so that one is sealed
        await engine.commit(put(bucket.id, f"many/{number:03}", b"%03d" % number))


async def write_versions(engine: EmbeddedEngine) -> None:
    """Format 2: what a bucket with versioning holds (``VERSIONS``)."""
    bucket = await engine.commit(i.CreateBucket("versions", "root", 1_700_000_000_000))
    await engine.commit(put(bucket.id, "k", b"null"))
    await engine.commit(i.SetBucketConfig("versions", i.VERSIONING, i.ENABLED))
    first = await engine.commit(put(bucket.id, "k", b"first"))
    gone = await engine.commit(put(bucket.id, "k", b"gone"))
    ref = await _file(engine, LARGE)
    await engine.commit(put(bucket.id, "k", b"", size=len(LARGE), files=(ref,)))
    await engine.commit(i.AmendObject(bucket.id, "k", first.seq, {"amended": "yes"}))
    await engine.commit(i.DeleteObject(bucket.id, "k", version_id=gone.version_id))
    await engine.commit(i.DeleteObject(bucket.id, "k", modified=1_700_000_000_001))


#: The newest first; None is a delete marker.
VERSIONS = (None, LARGE, b"first", b"null")


async def _file(engine: EmbeddedEngine, data: bytes) -> i.FileRef:
    writer = await engine.create_file(len(data))
    await writer.write(data)
    return await writer.finish()
