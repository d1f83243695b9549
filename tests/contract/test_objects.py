"""Objects: put, look up, read, delete, and the conditions on each."""

from __future__ import annotations

import os

import pytest

from storage import errors
from storage.engine.interface import (
    EMPTY_META,
    Bucket,
    Conditions,
    Engine,
    FileRef,
    Meta,
    PutObject,
    decode_meta,
    encode_meta,
)
from tests.contract.store import MIB, NOW, delete, get, keys, md5, put, read

pytestmark = pytest.mark.anyio

ODD_KEYS = [
    "..",
    ".",
    "../../etc/passwd",
    "/",
    "//",
    "/leading",
    "trailing/",
    "a//b",
    "a/./b",
    "a/../b",
    "back\\slash",
    "new\nline",
    "tab\tand\rreturn",
    "nul\0byte",
    "\0",
    "\x01\x1f\x7f",
    " ",
    "percent%2Fencoded%00",
    "quote\"'`$(id)",
    "ünïcödé",
    "日本語",
    "\U0001f600",
    "\uffff",
    "\ue000",
    "e\u0301 is not é",
    "x" * 1024,
    "\U0001f600" * 256,
    "media/" + "s" * 800 + "/..",
    "xl.meta",
    ".minio.sys/x",
    ".oversight/superblock",
]


async def test_a_version_is_what_was_put(engine: Engine, bucket: Bucket) -> None:
    meta = Meta(
        headers={"content-type": "application/json", "cache-control": "no-store"},
        metadata={"colour": "blue", "ümlaut": "ß"},
        checksums={"crc32c": "yZRlqg==", "sha256": "x"},
        checksum_type="FULL_OBJECT",
        tags={"team": "a&b"},
        extra={"some": ["thing", 1]},
    )
    answer = await put(
        engine, bucket, "a/b", b"hello", meta=meta, owner="alice", storage_class="COLD"
    )
    assert not answer.existed
    assert (answer.etag, answer.modified) == (md5(b"hello"), NOW)
    version = await engine.lookup(bucket.id, "a/b")
    assert version is not None
    assert (version.bucket_id, version.key, version.seq) == (bucket.id, "a/b", answer.seq)
    assert (version.modified, version.size) == (NOW, 5)
    assert (version.etag, version.owner) == (md5(b"hello"), "alice")
    assert (version.storage_class, version.meta, version.files) == ("COLD", meta, ())
    assert not version.delete_marker
    assert await get(engine, bucket, "a/b") == b"hello"


async def test_listings_show_the_checksum_that_was_stored(engine: Engine, bucket: Bucket) -> None:
    meta = Meta(checksums={"crc64nvme": "abc"}, checksum_type="FULL_OBJECT")
    await put(engine, bucket, "with", meta=meta, owner="alice", storage_class="COLD")
    await put(engine, bucket, "without", b"12")
    first, second = (await engine.list_objects(bucket.id)).entries
    assert (first.checksum_algorithm, first.checksum_type) == ("crc64nvme", "FULL_OBJECT")
    assert (second.checksum_algorithm, second.checksum_type) == ("", "")
    assert (first.owner, first.storage_class) == ("alice", "COLD")
    assert (second.owner, second.storage_class) == ("root", "STANDARD")
    assert (second.key, second.size, second.etag) == ("without", 2, md5(b"12"))
    assert second.modified == NOW


@pytest.mark.parametrize("size", [0, 1, 1000, 128 * 1024])
@pytest.mark.parametrize("files", [False, True])
async def test_bytes_come_back(engine: Engine, bucket: Bucket, size: int, files: bool) -> None:
    data = os.urandom(size)
    await put(engine, bucket, "key", data, files=files)
    assert await get(engine, bucket, "key") == data


async def test_answers_at_once_are_the_same(engine: Engine, bucket: Bucket) -> None:
    if not engine.immediate:
        return
    assert engine.lookup_at_once(bucket.id, "key") is None
    for data in (b"", b"one", os.urandom(4096)):
        await put(engine, bucket, "key", data)
        version = engine.lookup_at_once(bucket.id, "key")
        assert version is not None
        assert version == await engine.lookup(bucket.id, "key")
        assert await engine.read_inline(version) == data
        assert engine.read_at_once(version) in (data, None)
    await delete(engine, bucket, "key")
    assert engine.lookup_at_once(bucket.id, "key") is None


async def test_large_bytes_come_back_in_pieces(engine: Engine, bucket: Bucket) -> None:
    data = os.urandom(5 * MIB + 12345)
    await put(engine, bucket, "big", data)
    version = await engine.lookup(bucket.id, "big")
    assert version is not None
    assert len(version.files) == 1
    edges = [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB, len(data) - 1, len(data)]
    for start in edges:
        for stop in edges:
            if start <= stop:
                assert await read(engine, version, start, stop) == data[start:stop]


async def test_ranges_of_inline_bytes(engine: Engine, bucket: Bucket) -> None:
    await put(engine, bucket, "small", b"0123456789")
    version = await engine.lookup(bucket.id, "small")
    assert version is not None
    for start in range(11):
        for stop in range(start, 11):
            assert await read(engine, version, start, stop) == b"0123456789"[start:stop]


async def test_a_reader_may_stop_early(engine: Engine, bucket: Bucket) -> None:
    data = os.urandom(3 * MIB)
    await put(engine, bucket, "big", data)
    version = await engine.lookup(bucket.id, "big")
    assert version is not None
    reader = engine.read(version, 0, version.size)
    assert bytes(await anext(reader)) == data[:MIB]
    await reader.aclose()  # type: ignore[attr-defined]
    assert await get(engine, bucket, "big") == data


async def test_a_put_replaces(engine: Engine, bucket: Bucket) -> None:
    first = await put(engine, bucket, "a", b"first")
    second = await put(engine, bucket, "a", b"the second")
    assert (first.existed, second.existed) == (False, True)
    assert second.seq > first.seq
    assert await get(engine, bucket, "a") == b"the second"
    assert await keys(engine, bucket) == ["a"]


@pytest.mark.parametrize("small_first", [True, False])
async def test_replacing_across_the_inline_limit(
    engine: Engine, bucket: Bucket, small_first: bool
) -> None:
    bodies = [b"small", os.urandom(2 * MIB)]
    for body in bodies if small_first else reversed(bodies):
        await put(engine, bucket, "a", body)
        assert await get(engine, bucket, "a") == body


async def test_a_read_under_way_ends_with_the_bytes_it_began_with(
    engine: Engine, bucket: Bucket
) -> None:
    data = os.urandom(4 * MIB)
    await put(engine, bucket, "big", data)
    version = await engine.lookup(bucket.id, "big")
    assert version is not None
    reader = engine.read(version, 0, version.size)
    got = bytes(await anext(reader))
    await put(engine, bucket, "big", b"replaced")
    await delete(engine, bucket, "big")
    async for piece in reader:
        got += bytes(piece)
    assert got == data


async def test_delete_takes_the_object_away(engine: Engine, bucket: Bucket) -> None:
    await put(engine, bucket, "a")
    gone = await delete(engine, bucket, "a")
    assert gone.existed
    assert await engine.lookup(bucket.id, "a") is None
    assert await keys(engine, bucket) == []
    again = await delete(engine, bucket, "a")
    assert not again.existed
    assert not (await delete(engine, bucket, "never")).existed
    assert not (await put(engine, bucket, "a", b"back")).existed
    assert await get(engine, bucket, "a") == b"back"


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_odd_keys_are_ordinary(engine: Engine, bucket: Bucket, key: str) -> None:
    await put(engine, bucket, key, key.encode())
    await put(engine, bucket, "neighbour", b"n")
    assert await get(engine, bucket, key) == key.encode()
    assert set(await keys(engine, bucket)) == {key, "neighbour"}
    assert await keys(engine, bucket, prefix=key) == [key]
    await delete(engine, bucket, key)
    assert await keys(engine, bucket) == ["neighbour"]


async def test_odd_keys_live_side_by_side(engine: Engine, bucket: Bucket) -> None:
    for key in ODD_KEYS:
        await put(engine, bucket, key, key.encode())
    for key in ODD_KEYS:
        assert await get(engine, bucket, key) == key.encode()
    assert await keys(engine, bucket) == sorted(ODD_KEYS, key=lambda key: key.encode())


async def test_a_key_and_a_key_below_it(engine: Engine, bucket: Bucket) -> None:
    for key in ("a", "a/b", "a/b/c", "a/"):
        await put(engine, bucket, key, key.encode())
    assert await keys(engine, bucket) == ["a", "a/", "a/b", "a/b/c"]
    await delete(engine, bucket, "a/b")
    assert await get(engine, bucket, "a/b/c") == b"a/b/c"
    assert await get(engine, bucket, "a") == b"a"


# -- conditions -----------------------------------------------------------------------------------

ETAG = md5(b"payload")


@pytest.mark.parametrize(
    ("conditions", "missing", "present"),
    [
        (Conditions(if_none_match=("*",)), None, errors.PreconditionFailed),
        (Conditions(if_none_match=(ETAG,)), None, errors.PreconditionFailed),
        (Conditions(if_none_match=("other",)), None, None),
        (Conditions(if_match=("*",)), errors.NoSuchKey, None),
        (Conditions(if_match=(ETAG,)), errors.NoSuchKey, None),
        (Conditions(if_match=("other", ETAG)), errors.NoSuchKey, None),
        (Conditions(if_match=("other",)), errors.NoSuchKey, errors.PreconditionFailed),
        (Conditions(), None, None),
    ],
)
@pytest.mark.parametrize("exists", [False, True])
async def test_conditions_on_writes(
    engine: Engine,
    bucket: Bucket,
    exists: bool,
    conditions: Conditions,
    missing: type[Exception] | None,
    present: type[Exception] | None,
) -> None:
    if exists:
        await put(engine, bucket, "a")
    before = await engine.lookup(bucket.id, "a")
    error = present if exists else missing
    if error is None:
        await put(engine, bucket, "a", b"new", conditions=conditions)
        assert await get(engine, bucket, "a") == b"new"
        return
    with pytest.raises(error):
        await put(engine, bucket, "a", b"new", conditions=conditions)
    after = await engine.lookup(bucket.id, "a")
    assert (after and after.seq) == (before and before.seq)


async def test_conditions_on_deletes(engine: Engine, bucket: Bucket) -> None:
    await put(engine, bucket, "a")
    with pytest.raises(errors.PreconditionFailed):
        await delete(engine, bucket, "a", conditions=Conditions(if_match=("other",)))
    assert await get(engine, bucket, "a") == b"payload"
    assert (await delete(engine, bucket, "a", conditions=Conditions(if_match=(ETAG,)))).existed
    with pytest.raises(errors.NoSuchKey):
        await delete(engine, bucket, "a", conditions=Conditions(if_match=(ETAG,)))


async def test_writing_over_a_known_version_only(engine: Engine, bucket: Bucket) -> None:
    first = await put(engine, bucket, "a", b"1")
    second = await put(engine, bucket, "a", b"2", expect_seq=first.seq)
    with pytest.raises(errors.Conflict):
        await put(engine, bucket, "a", b"3", expect_seq=first.seq)
    with pytest.raises(errors.Conflict):
        await put(engine, bucket, "missing", b"3", expect_seq=second.seq)
    assert await get(engine, bucket, "a") == b"2"


async def test_deleting_a_known_version_only(engine: Engine, bucket: Bucket) -> None:
    first = await put(engine, bucket, "a", b"1")
    second = await put(engine, bucket, "a", b"2")
    assert not (await delete(engine, bucket, "a", expect_seq=first.seq)).existed
    assert await get(engine, bucket, "a") == b"2"
    assert (await delete(engine, bucket, "a", expect_seq=second.seq)).existed
    assert await engine.lookup(bucket.id, "a") is None


async def test_new_metadata_on_the_same_bytes(engine: Engine, bucket: Bucket) -> None:
    """A copy onto itself names the files that the object already has: they stay."""
    data = os.urandom(3 * MIB)
    first = await put(engine, bucket, "big", data)
    version = await engine.lookup(bucket.id, "big")
    assert version is not None
    meta = encode_meta(Meta(metadata={"colour": "red"}))
    change = PutObject(
        bucket.id,
        "big",
        NOW + 1,
        version.size,
        version.etag,
        version.owner,
        version.storage_class,
        meta,
        files=version.files,
        expect_seq=first.seq,
    )
    await engine.commit(change)
    with pytest.raises(errors.Conflict):
        await engine.commit(change)
    found = await engine.lookup(bucket.id, "big")
    assert found is not None
    assert found.meta.metadata == {"colour": "red"}
    assert await get(engine, bucket, "big") == data


# -- files ----------------------------------------------------------------------------------------


async def test_what_was_not_committed_is_not_visible(engine: Engine, bucket: Bucket) -> None:
    writer = await engine.create_file()
    await writer.write(b"x" * MIB)
    ref = await writer.finish()
    assert (ref.size, await keys(engine, bucket)) == (MIB, [])
    await writer.abort()
    await writer.abort()
    early = await engine.create_file(10 * MIB)
    await early.write(b"x" * 300_000)
    await early.abort()


async def test_the_order_of_writes_is_the_order_of_bytes(engine: Engine, bucket: Bucket) -> None:
    writer = await engine.create_file()
    buffer = bytearray(200_003)
    expected = b""
    for number in range(12):
        buffer[:] = bytes([number]) * len(buffer)
        await writer.write(memoryview(buffer))
        expected += bytes(buffer)
    ref: FileRef = await writer.finish()
    await engine.commit(
        PutObject(bucket.id, "k", NOW, ref.size, "e", "root", "STANDARD", EMPTY_META, files=(ref,))
    )
    assert await get(engine, bucket, "k") == expected


async def test_meta_survives_its_encoding() -> None:
    assert decode_meta(encode_meta(Meta())) == Meta()
    assert decode_meta(EMPTY_META) == Meta()
