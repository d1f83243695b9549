"""Multipart uploads: parts, completion, repetition, abortion, listings."""

from __future__ import annotations

import os

import pytest

from storage import errors
from storage.engine.interface import (
    AbortUpload,
    Bucket,
    CompletePart,
    Conditions,
    Engine,
    Meta,
    Upload,
)
from tests.contract.store import (
    MIB,
    NOW,
    abort,
    completion,
    get,
    keys,
    md5,
    put,
    put_part,
    read,
    start_upload,
)

pytestmark = pytest.mark.anyio
PART = 5 * MIB


async def test_parts_become_one_object(engine: Engine, bucket: Bucket) -> None:
    meta = Meta(headers={"content-type": "video/mp4"}, metadata={"a": "b"}, tags={"t": "1"})
    await start_upload(engine, bucket, "big", meta=meta, owner="alice", storage_class="COLD")
    bodies = [os.urandom(PART), os.urandom(PART + 7), b"end"]
    named = []
    for number, body in zip((2, 5, 10_000), bodies, strict=True):
        checks = {"crc32": f"c{number}"}
        named.append(await put_part(engine, bucket, "big", "upload-1", number, body, checks))
    assert await engine.lookup(bucket.id, "big") is None
    size = sum(map(len, bodies))
    change = completion(
        bucket,
        "big",
        "upload-1",
        named,
        size,
        checksums={"crc32": "x-3"},
        checksum_type="COMPOSITE",
    )
    answer = await engine.commit(change)
    assert not answer.existed
    assert (answer.etag, answer.modified) == (change.etag, change.modified)
    version = await engine.lookup(bucket.id, "big")
    assert version is not None
    assert (version.seq, version.etag, version.size) == (answer.seq, change.etag, size)
    assert (version.owner, version.storage_class) == ("alice", "COLD")
    assert (version.meta.headers, version.meta.metadata) == (meta.headers, meta.metadata)
    assert version.meta.tags == meta.tags
    assert version.meta.checksums == {"crc32": "x-3"}
    assert version.meta.checksum_type == "COMPOSITE"
    assert version.meta.upload_id == "upload-1"
    assert [(p.number, p.size, p.etag, p.checksums) for p in version.meta.parts] == [
        (number, len(body), md5(body), {"crc32": f"c{number}"})
        for number, body in zip((2, 5, 10_000), bodies, strict=True)
    ]
    whole = b"".join(bodies)
    assert await get(engine, bucket, "big") == whole
    assert await read(engine, version, PART - 3, PART + 3) == whole[PART - 3 : PART + 3]
    assert await engine.upload(bucket.id, "big", "upload-1") is None
    assert await keys(engine, bucket) == ["big"]
    with pytest.raises(errors.NoSuchUpload):
        await engine.parts(bucket.id, "big", "upload-1")


async def test_an_upload_is_what_was_asked_for(engine: Engine, bucket: Bucket) -> None:
    meta = Meta(headers={"content-type": "text/plain"})
    await start_upload(
        engine,
        bucket,
        "k",
        "id",
        meta=meta,
        owner="bob",
        storage_class="COLD",
        checksum_algorithm="sha256",
        checksum_type="COMPOSITE",
    )
    assert await engine.upload(bucket.id, "k", "id") == Upload(
        bucket.id, "k", "id", NOW, "bob", "COLD", meta, "sha256", "COMPOSITE"
    )
    assert await engine.upload(bucket.id, "k", "other") is None
    assert await engine.upload(bucket.id, "other", "id") is None


async def test_parts_are_listed_by_number(engine: Engine, bucket: Bucket) -> None:
    await start_upload(engine, bucket, "k")
    for number in (3, 1, 2, 9999):
        await put_part(
            engine, bucket, "k", "upload-1", number, b"x" * number, {"crc32": str(number)}
        )
    parts = await engine.parts(bucket.id, "k", "upload-1")
    assert [part.number for part in parts] == [1, 2, 3, 9999]
    assert parts[2].size == 3
    assert parts[2].etag == md5(b"xxx")
    assert (parts[2].modified, parts[2].checksums) == (NOW, {"crc32": "3"})
    assert [p.number for p in await engine.parts(bucket.id, "k", "upload-1", after=1, limit=2)] == [
        2,
        3,
    ]
    assert await engine.parts(bucket.id, "k", "upload-1", after=9999) == []


async def test_a_part_put_again_replaces(engine: Engine, bucket: Bucket) -> None:
    await start_upload(engine, bucket, "k")
    await put_part(engine, bucket, "k", "upload-1", 1, b"first")
    last = await put_part(engine, bucket, "k", "upload-1", 1, b"second!")
    (part,) = await engine.parts(bucket.id, "k", "upload-1")
    assert (part.size, part.etag) == (7, md5(b"second!"))
    await engine.commit(completion(bucket, "k", "upload-1", [last], 7))
    assert await get(engine, bucket, "k") == b"second!"


async def test_parts_left_out_do_not_count(engine: Engine, bucket: Bucket) -> None:
    await start_upload(engine, bucket, "k")
    await put_part(engine, bucket, "k", "upload-1", 1, b"left out")
    kept = await put_part(engine, bucket, "k", "upload-1", 2, b"kept")
    await engine.commit(completion(bucket, "k", "upload-1", [kept], 4))
    assert await get(engine, bucket, "k") == b"kept"


async def test_completion_replaces_what_is_there(engine: Engine, bucket: Bucket) -> None:
    await put(engine, bucket, "k", b"old")
    await start_upload(engine, bucket, "k")
    part = await put_part(engine, bucket, "k", "upload-1", 1, b"new")
    answer = await engine.commit(completion(bucket, "k", "upload-1", [part], 3))
    assert answer.existed
    assert await get(engine, bucket, "k") == b"new"


async def test_a_repeated_completion_gets_the_first_answer(engine: Engine, bucket: Bucket) -> None:
    await start_upload(engine, bucket, "k")
    one = await put_part(engine, bucket, "k", "upload-1", 1, os.urandom(PART))
    two = await put_part(engine, bucket, "k", "upload-1", 2, b"end")
    first = await engine.commit(completion(bucket, "k", "upload-1", [one, two], PART + 3))
    for repeated in ([one, two], [CompletePart(1, ""), CompletePart(2, "")]):
        again = await engine.commit(
            completion(bucket, "k", "upload-1", repeated, PART + 3, modified=NOW + 99, etag="x-2")
        )
        assert (again.seq, again.etag, again.modified) == (first.seq, first.etag, first.modified)
    for other in ([one], [one, CompletePart(2, "other")], [two]):
        with pytest.raises(errors.NoSuchUpload):
            await engine.commit(completion(bucket, "k", "upload-1", other, PART + 3))
    await put(engine, bucket, "k", b"somebody else's")
    with pytest.raises(errors.NoSuchUpload):
        await engine.commit(completion(bucket, "k", "upload-1", [one, two], PART + 3))
    assert await get(engine, bucket, "k") == b"somebody else's"


@pytest.mark.parametrize(
    "named",
    [
        [CompletePart(1, "0" * 32)],
        [CompletePart(2, md5(b"part"))],
        [CompletePart(1, md5(b"part"), {"crc32": "other"})],
        [CompletePart(1, md5(b"part"), {"sha256": "never given"})],
    ],
    ids=["etag", "number", "checksum", "algorithm"],
)
async def test_a_part_that_is_not_there(
    engine: Engine, bucket: Bucket, named: list[CompletePart]
) -> None:
    await start_upload(engine, bucket, "k")
    await put_part(engine, bucket, "k", "upload-1", 1, b"part", {"crc32": "right"})
    with pytest.raises(errors.InvalidPart) as caught:
        await engine.commit(completion(bucket, "k", "upload-1", named, 4))
    assert caught.value.number == named[0].number
    assert await engine.lookup(bucket.id, "k") is None
    good = CompletePart(1, "", {"crc32": "right"})
    await engine.commit(completion(bucket, "k", "upload-1", [good], 4))
    assert await get(engine, bucket, "k") == b"part"


async def test_a_part_too_small(engine: Engine, bucket: Bucket) -> None:
    await start_upload(engine, bucket, "k")
    small = await put_part(engine, bucket, "k", "upload-1", 1, bytes(PART - 1))
    last = await put_part(engine, bucket, "k", "upload-1", 2, b"end")
    with pytest.raises(errors.PartTooSmall) as caught:
        await engine.commit(completion(bucket, "k", "upload-1", [small, last], PART + 2))
    assert (caught.value.number, caught.value.size) == (1, PART - 1)
    assert caught.value.minimum == PART
    whole = await put_part(engine, bucket, "k", "upload-1", 1, bytes(PART))
    await engine.commit(completion(bucket, "k", "upload-1", [whole, last], PART + 3))


async def test_a_part_that_changed_under_the_caller(engine: Engine, bucket: Bucket) -> None:
    """The caller computed size and ETag from parts that are others now."""
    await start_upload(engine, bucket, "k")
    await put_part(engine, bucket, "k", "upload-1", 1, b"longer than it was")
    with pytest.raises(errors.Conflict):
        await engine.commit(completion(bucket, "k", "upload-1", [CompletePart(1, "")], 4))
    assert await engine.upload(bucket.id, "k", "upload-1") is not None


@pytest.mark.parametrize(
    ("conditions", "exists", "error"),
    [
        (Conditions(if_none_match=("*",)), True, errors.PreconditionFailed),
        (Conditions(if_match=("other",)), True, errors.PreconditionFailed),
        (Conditions(if_match=("*",)), False, errors.NoSuchKey),
    ],
)
async def test_conditions_on_completion(
    engine: Engine,
    bucket: Bucket,
    conditions: Conditions,
    exists: bool,
    error: type[Exception],
) -> None:
    if exists:
        await put(engine, bucket, "k", b"old")
    await start_upload(engine, bucket, "k")
    part = await put_part(engine, bucket, "k", "upload-1", 1, b"new")
    with pytest.raises(error):
        await engine.commit(completion(bucket, "k", "upload-1", [part], 3, conditions=conditions))
    assert await get(engine, bucket, "k") == (b"old" if exists else None)
    await engine.commit(completion(bucket, "k", "upload-1", [part], 3))
    assert await get(engine, bucket, "k") == b"new"


async def test_abort_ends_it(engine: Engine, bucket: Bucket) -> None:
    await start_upload(engine, bucket, "k")
    part = await put_part(engine, bucket, "k", "upload-1", 1, b"part")
    await abort(engine, bucket, "k", "upload-1")
    assert await engine.upload(bucket.id, "k", "upload-1") is None
    with pytest.raises(errors.NoSuchUpload):
        await put_part(engine, bucket, "k", "upload-1", 1, b"part")
    with pytest.raises(errors.NoSuchUpload):
        await engine.commit(completion(bucket, "k", "upload-1", [part], 4))
    with pytest.raises(errors.NoSuchUpload):
        await engine.commit(AbortUpload(bucket.id, "k", "upload-1"))
    assert await engine.lookup(bucket.id, "k") is None


async def test_uploads_of_one_key_are_apart(engine: Engine, bucket: Bucket) -> None:
    await start_upload(engine, bucket, "k", "one")
    await start_upload(engine, bucket, "k", "two", initiated=NOW + 1)
    one = await put_part(engine, bucket, "k", "one", 1, b"1")
    two = await put_part(engine, bucket, "k", "two", 1, b"two")
    await engine.commit(completion(bucket, "k", "two", [two], 3))
    assert await get(engine, bucket, "k") == b"two"
    assert [part.size for part in await engine.parts(bucket.id, "k", "one")] == [1]
    await engine.commit(completion(bucket, "k", "one", [one], 1))
    assert await get(engine, bucket, "k") == b"1"


@pytest.mark.parametrize(("key", "upload_id"), [("k", "other"), ("other", "upload-1")])
async def test_what_is_no_upload(engine: Engine, bucket: Bucket, key: str, upload_id: str) -> None:
    await start_upload(engine, bucket, "k")
    with pytest.raises(errors.NoSuchUpload):
        await put_part(engine, bucket, key, upload_id, 1, b"x")
    with pytest.raises(errors.NoSuchUpload):
        await engine.parts(bucket.id, key, upload_id)
    with pytest.raises(errors.NoSuchUpload):
        await abort(engine, bucket, key, upload_id)


# -- listings -------------------------------------------------------------------------------------


async def begin_many(engine: Engine, bucket: Bucket) -> list[tuple[str, str]]:
    """Uploads in the order of a listing: by key, then by initiation."""
    made = [
        ("a", "z-first", NOW),
        ("a", "a-second", NOW + 1),
        ("a", "m-third", NOW + 2),
        ("dir/1", "u", NOW),
        ("dir/2", "u", NOW),
        ("é", "u", NOW),
        ("\uffff", "u", NOW),
        ("\U0001f600", "u", NOW),
    ]
    for key, upload_id, initiated in reversed(made):
        await start_upload(engine, bucket, key, upload_id, initiated=initiated)
    return [(key, upload_id) for key, upload_id, _ in made]


async def test_uploads_are_listed_page_by_page(engine: Engine, bucket: Bucket) -> None:
    expected = await begin_many(engine, bucket)
    for limit in (1, 2, 3, 100):
        found: list[tuple[str, str]] = []
        key, upload_id = "", ""
        while True:
            page = await engine.list_uploads(
                bucket.id, after_key=key, after_upload=upload_id, limit=limit
            )
            found += [(upload.key, upload.upload_id) for upload in page.uploads]
            if page.next_key is None:
                break
            assert len(page.uploads) == limit
            key, upload_id = page.next_key, page.next_upload or ""
        assert found == expected


async def test_uploads_behind_a_key(engine: Engine, bucket: Bucket) -> None:
    expected = await begin_many(engine, bucket)
    page = await engine.list_uploads(bucket.id, after_key="a")
    assert [(upload.key, upload.upload_id) for upload in page.uploads] == expected[3:]


async def test_uploads_by_prefix_and_delimiter(engine: Engine, bucket: Bucket) -> None:
    await begin_many(engine, bucket)
    page = await engine.list_uploads(bucket.id, delimiter="/")
    assert page.prefixes == ["dir/"]
    assert len(page.uploads) == 6
    page = await engine.list_uploads(bucket.id, prefix="dir/", delimiter="/")
    assert [upload.key for upload in page.uploads] == ["dir/1", "dir/2"]
    page = await engine.list_uploads(bucket.id, delimiter="/", limit=4)
    assert (len(page.uploads), page.prefixes, page.next_key) == (3, ["dir/"], "dir/")
    page = await engine.list_uploads(bucket.id, delimiter="/", after_key="dir/")
    assert [upload.key for upload in page.uploads] == ["é", "\uffff", "\U0001f600"]
    assert (await engine.list_uploads(bucket.id, limit=0)).uploads == []


async def test_ended_uploads_are_not_listed(engine: Engine, bucket: Bucket) -> None:
    await start_upload(engine, bucket, "a", "one")
    await start_upload(engine, bucket, "b", "two")
    part = await put_part(engine, bucket, "a", "one", 1, b"x")
    await engine.commit(completion(bucket, "a", "one", [part], 1))
    await abort(engine, bucket, "b", "two")
    assert (await engine.list_uploads(bucket.id)).uploads == []
