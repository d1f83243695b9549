"""Versions: enabled, suspended, delete markers, single versions, listings, amendments."""

from __future__ import annotations

import random

import pytest

from storage import errors
from storage.engine.interface import (
    ENABLED,
    NULL_VERSION,
    SUSPENDED,
    VERSIONING,
    AmendObject,
    Bucket,
    Conditions,
    DeleteBucket,
    Engine,
    FileRef,
    Meta,
    PutObject,
    SetBucketConfig,
    Usage,
    Version,
    VersionPage,
    encode_meta,
    parse_version_id,
    version_id,
)
from tests.contract.store import (
    MIB,
    NOW,
    completion,
    delete,
    get,
    keys,
    make_bucket,
    md5,
    put,
    put_part,
    read,
    start_upload,
)

pytestmark = pytest.mark.anyio


async def set_versioning(engine: Engine, bucket: Bucket, state: bytes) -> None:
    await engine.commit(SetBucketConfig(bucket.name, VERSIONING, state))


@pytest.fixture
async def versioned(engine: Engine, bucket: Bucket) -> Bucket:
    await set_versioning(engine, bucket, ENABLED)
    return bucket


async def bytes_of(engine: Engine, version: Version | None) -> bytes:
    assert version is not None
    if version.files:
        return await read(engine, version)
    return await engine.read_inline(version)


async def content(engine: Engine, bucket: Bucket, key: str, version: str) -> bytes | None:
    found = await engine.version(bucket.id, key, version)
    return None if found is None else await bytes_of(engine, found)


async def ids(engine: Engine, bucket: Bucket, key: str) -> list[str]:
    """Ids of a key's versions as listed; delete markers begin with a minus sign."""
    page = await engine.list_versions(bucket.id, prefix=key)
    return [
        ("-" if entry.delete_marker else "") + entry.version_id
        for entry in page.entries
        if entry.key == key
    ]


def test_ids_and_numbers_are_one_to_one() -> None:
    for seq in (1, 2, 255, 1 << 40, (1 << 63) - 1):
        assert parse_version_id(version_id(seq)) == seq
    assert parse_version_id(NULL_VERSION) == 0
    for text in ("", "0" * 16, "f" * 16, "1", version_id(7).upper() + "A", "g" * 16, "-" * 16):
        assert parse_version_id(text) == -1


async def test_without_versioning_an_object_has_the_null_version(
    engine: Engine, bucket: Bucket
) -> None:
    answer = await put(engine, bucket, "k", b"one")
    assert answer.version_id == ""
    found = await engine.lookup(bucket.id, "k")
    assert found is not None
    assert found.version_id == NULL_VERSION
    assert await content(engine, bucket, "k", NULL_VERSION) == b"one"
    assert await content(engine, bucket, "k", "") == b"one"
    assert await engine.version(bucket.id, "k", version_id(answer.seq)) is None
    assert await engine.version(bucket.id, "k", "nonsense") is None
    assert await ids(engine, bucket, "k") == [NULL_VERSION]
    gone = await delete(engine, bucket, "k", version_id=NULL_VERSION)
    assert (gone.existed, gone.delete_marker, gone.version_id) == (True, False, NULL_VERSION)
    assert await ids(engine, bucket, "k") == []


async def test_every_put_is_a_version_of_its_own(engine: Engine, versioned: Bucket) -> None:
    made = [await put(engine, versioned, "k", b"%d" % n, modified=NOW + n) for n in range(5)]
    assert [answer.version_id for answer in made] == [version_id(answer.seq) for answer in made]
    assert [answer.existed for answer in made] == [False, True, True, True, True]
    for n, answer in enumerate(made):
        found = await engine.version(versioned.id, "k", answer.version_id)
        assert found is not None
        assert (found.version_id, found.modified, found.delete_marker) == (
            answer.version_id,
            NOW + n,
            False,
        )
        assert await bytes_of(engine, found) == b"%d" % n
    assert await get(engine, versioned, "k") == b"4"
    assert await ids(engine, versioned, "k") == [answer.version_id for answer in reversed(made)]
    page = await engine.list_versions(versioned.id)
    assert [entry.latest for entry in page.entries] == [True, False, False, False, False]
    assert [entry.etag for entry in page.entries] == [md5(b"%d" % n) for n in (4, 3, 2, 1, 0)]


async def test_deleting_hides_and_deleting_the_marker_shows_again(
    engine: Engine, versioned: Bucket
) -> None:
    first = await put(engine, versioned, "k", b"one")
    second = await put(engine, versioned, "k", b"two")
    marker = await delete(engine, versioned, "k", modified=NOW + 9, owner="alice")
    assert (marker.delete_marker, marker.existed) == (True, True)
    assert marker.version_id == version_id(marker.seq)
    assert await engine.lookup(versioned.id, "k") is None
    assert await keys(engine, versioned) == []
    newest = await engine.version(versioned.id, "k")
    assert newest is not None
    assert (newest.delete_marker, newest.version_id) == (True, marker.version_id)
    assert (newest.modified, newest.owner, newest.size) == (NOW + 9, "alice", 0)
    assert await content(engine, versioned, "k", first.version_id) == b"one"
    assert await ids(engine, versioned, "k") == [
        "-" + marker.version_id,
        second.version_id,
        first.version_id,
    ]
    gone = await delete(engine, versioned, "k", version_id=marker.version_id)
    assert (gone.existed, gone.delete_marker, gone.version_id) == (True, True, marker.version_id)
    assert await get(engine, versioned, "k") == b"two"
    assert await keys(engine, versioned) == ["k"]


async def test_a_key_that_never_was_gets_a_marker_too(engine: Engine, versioned: Bucket) -> None:
    marker = await delete(engine, versioned, "k", modified=NOW)
    assert (marker.delete_marker, marker.existed) == (True, False)
    again = await delete(engine, versioned, "k", modified=NOW)
    assert await ids(engine, versioned, "k") == [
        "-" + again.version_id,
        "-" + marker.version_id,
    ]


async def test_deleting_a_version_takes_just_that_one(engine: Engine, versioned: Bucket) -> None:
    made = [await put(engine, versioned, "k", b"%d" % n) for n in range(4)]
    assert (await delete(engine, versioned, "k", version_id=made[1].version_id)).existed
    assert await get(engine, versioned, "k") == b"3"
    assert (await delete(engine, versioned, "k", version_id=made[3].version_id)).existed
    assert await get(engine, versioned, "k") == b"2"
    assert await content(engine, versioned, "k", made[3].version_id) is None
    again = await delete(engine, versioned, "k", version_id=made[3].version_id)
    assert (again.existed, again.delete_marker) == (False, False)
    assert await ids(engine, versioned, "k") == [made[2].version_id, made[0].version_id]
    for n in (2, 0):
        await delete(engine, versioned, "k", version_id=made[n].version_id)
    assert await ids(engine, versioned, "k") == []
    assert await engine.version(versioned.id, "k") is None


async def test_under_a_marker_nothing_becomes_visible(engine: Engine, versioned: Bucket) -> None:
    first = await put(engine, versioned, "k", b"one")
    second = await put(engine, versioned, "k", b"two")
    await delete(engine, versioned, "k", modified=NOW)
    await delete(engine, versioned, "k", version_id=second.version_id)
    assert await engine.lookup(versioned.id, "k") is None
    assert await content(engine, versioned, "k", first.version_id) == b"one"


async def test_what_was_there_before_stays_as_the_null_version(
    engine: Engine, bucket: Bucket
) -> None:
    await put(engine, bucket, "k", b"null")
    await set_versioning(engine, bucket, ENABLED)
    second = await put(engine, bucket, "k", b"two")
    assert await ids(engine, bucket, "k") == [second.version_id, NULL_VERSION]
    assert await content(engine, bucket, "k", NULL_VERSION) == b"null"
    await delete(engine, bucket, "k", version_id=second.version_id)
    assert await get(engine, bucket, "k") == b"null"
    assert (await delete(engine, bucket, "k", version_id=NULL_VERSION)).existed
    assert await ids(engine, bucket, "k") == []


async def test_suspended_writes_replace_the_null_version_alone(
    engine: Engine, bucket: Bucket
) -> None:
    await put(engine, bucket, "k", b"null 1")
    await set_versioning(engine, bucket, ENABLED)
    kept = await put(engine, bucket, "k", b"kept")
    await set_versioning(engine, bucket, SUSPENDED)
    second = await put(engine, bucket, "k", b"null 2")
    assert second.version_id == NULL_VERSION
    assert await ids(engine, bucket, "k") == [NULL_VERSION, kept.version_id]
    assert await get(engine, bucket, "k") == b"null 2"
    await put(engine, bucket, "k", b"null 3")
    assert await ids(engine, bucket, "k") == [NULL_VERSION, kept.version_id]
    marker = await delete(engine, bucket, "k", modified=NOW)
    assert (marker.version_id, marker.delete_marker) == (NULL_VERSION, True)
    assert await ids(engine, bucket, "k") == ["-" + NULL_VERSION, kept.version_id]
    assert await engine.lookup(bucket.id, "k") is None
    await put(engine, bucket, "k", b"null 4")
    assert await ids(engine, bucket, "k") == [NULL_VERSION, kept.version_id]
    await set_versioning(engine, bucket, ENABLED)
    newest = await put(engine, bucket, "k", b"new")
    assert await ids(engine, bucket, "k") == [
        newest.version_id,
        NULL_VERSION,
        kept.version_id,
    ]
    await set_versioning(engine, bucket, SUSPENDED)
    await put(engine, bucket, "k", b"null 5")
    assert await ids(engine, bucket, "k") == [
        NULL_VERSION,
        newest.version_id,
        kept.version_id,
    ]
    assert await content(engine, bucket, "k", NULL_VERSION) == b"null 5"


async def test_a_bucket_with_nothing_but_hidden_versions_is_not_empty(
    engine: Engine, versioned: Bucket
) -> None:
    made = await put(engine, versioned, "k")
    marker = await delete(engine, versioned, "k", modified=NOW)
    with pytest.raises(errors.BucketNotEmpty):
        await engine.commit(DeleteBucket(versioned.name))
    await delete(engine, versioned, "k", version_id=made.version_id)
    with pytest.raises(errors.BucketNotEmpty):
        await engine.commit(DeleteBucket(versioned.name))
    await delete(engine, versioned, "k", version_id=marker.version_id)
    await engine.commit(DeleteBucket(versioned.name))


async def test_conditions_see_what_is_visible(engine: Engine, versioned: Bucket) -> None:
    absent = Conditions(if_none_match=("*",))
    await put(engine, versioned, "k", b"one", conditions=absent)
    with pytest.raises(errors.PreconditionFailed):
        await put(engine, versioned, "k", b"two", conditions=absent)
    await delete(engine, versioned, "k", modified=NOW)
    with pytest.raises(errors.NoSuchKey):
        await put(engine, versioned, "k", b"two", conditions=Conditions(if_match=(md5(b"one"),)))
    await put(engine, versioned, "k", b"three", conditions=absent)
    assert await get(engine, versioned, "k") == b"three"


async def test_a_deletion_that_expects_a_version_makes_no_marker_over_another(
    engine: Engine, versioned: Bucket
) -> None:
    first = await put(engine, versioned, "k", b"one")
    second = await put(engine, versioned, "k", b"two")
    assert not (await delete(engine, versioned, "k", expect_seq=first.seq, modified=NOW)).seq
    assert await get(engine, versioned, "k") == b"two"
    assert (await delete(engine, versioned, "k", expect_seq=second.seq, modified=NOW)).existed
    assert await engine.lookup(versioned.id, "k") is None


async def test_versions_may_be_large_and_their_files_go_with_them(
    engine: Engine, versioned: Bucket
) -> None:
    big = bytes(range(256)) * 4096
    first = await put(engine, versioned, "k", big, files=True)
    second = await put(engine, versioned, "k", b"small")
    third = await put(engine, versioned, "k", big[::-1], files=True)
    assert await content(engine, versioned, "k", first.version_id) == big
    await delete(engine, versioned, "k", version_id=third.version_id)
    assert await get(engine, versioned, "k") == b"small"
    await delete(engine, versioned, "k", version_id=second.version_id)
    assert await get(engine, versioned, "k") == big


async def test_two_versions_never_share_a_file(engine: Engine, versioned: Bucket) -> None:
    data = b"x" * 200_000
    first = await put(engine, versioned, "k", data, files=True)
    found = await engine.lookup(versioned.id, "k")
    assert found is not None
    shared: tuple[FileRef, ...] = found.files
    change = PutObject(
        versioned.id, "k", NOW, len(data), md5(data), "root", "STANDARD", encode_meta(Meta()),
        files=shared, expect_seq=first.seq,
    )  # fmt: skip
    with pytest.raises((errors.Conflict, errors.Unavailable)):
        await engine.commit(change)
    assert await content(engine, versioned, "k", first.version_id) == data


async def test_a_completed_upload_is_a_version(engine: Engine, versioned: Bucket) -> None:
    first = await put(engine, versioned, "k", b"before")
    meta = Meta(headers={"content-type": "text/plain"}, extra={"acl": b"of the object"})
    upload = await start_upload(engine, versioned, "k", meta=meta)
    part = await put_part(engine, versioned, "k", upload, 1, b"p" * 1000)
    change = completion(versioned, "k", upload, [part], 1000)
    made = await engine.commit(change)
    assert made.version_id == version_id(made.seq)
    found = await engine.version(versioned.id, "k", made.version_id)
    assert found is not None
    assert (found.meta.headers, found.meta.extra) == (meta.headers, meta.extra)
    again = await engine.commit(change)
    assert (again.seq, again.version_id, again.etag) == (made.seq, made.version_id, made.etag)
    assert await ids(engine, versioned, "k") == [made.version_id, first.version_id]
    assert await get(engine, versioned, "k") == b"p" * 1000


async def test_amending_changes_metadata_and_nothing_else(
    engine: Engine, versioned: Bucket
) -> None:
    meta = Meta(headers={"content-type": "text/plain"}, tags={"a": "1"}, extra={"acl": "old"})
    for key, data in (("small", b"small"), ("large", b"L" * MIB), ("empty", b"")):
        first = await put(engine, versioned, key, data, meta=meta)
        second = await put(engine, versioned, key, data + b"!", meta=meta)
        change = AmendObject(versioned.id, key, first.seq, {"b": "2"}, {"acl": None, "x": [1]})
        answer = await engine.commit(change)
        assert (answer.version_id, answer.etag) == (first.version_id, md5(data))
        found = await engine.version(versioned.id, key, first.version_id)
        assert found is not None
        assert found.meta == Meta(
            headers={"content-type": "text/plain"}, tags={"b": "2"}, extra={"x": [1]}
        )
        assert (found.seq, found.modified, found.etag) == (first.seq, NOW, md5(data))
        assert await bytes_of(engine, found) == data
        await engine.commit(AmendObject(versioned.id, key, second.seq, extra={"y": 1}))
        visible = await engine.lookup(versioned.id, key)
        assert visible is not None
        assert (visible.meta.tags, visible.meta.extra) == ({"a": "1"}, {"acl": "old", "y": 1})
        assert await bytes_of(engine, visible) == data + b"!"
    assert await keys(engine, versioned) == ["empty", "large", "small"]


async def test_amending_works_without_versioning(engine: Engine, bucket: Bucket) -> None:
    made = await put(engine, bucket, "k", b"bytes", meta=Meta(tags={"a": "1"}))
    answer = await engine.commit(AmendObject(bucket.id, "k", made.seq, {}))
    assert answer.version_id == ""
    found = await engine.lookup(bucket.id, "k")
    assert found is not None
    assert (found.meta.tags, found.seq) == ({}, made.seq)
    assert await get(engine, bucket, "k") == b"bytes"
    replaced = await put(engine, bucket, "k", b"other")
    assert await get(engine, bucket, "k") == b"other"
    with pytest.raises(errors.NoSuchVersion):
        await engine.commit(AmendObject(bucket.id, "k", made.seq, {"late": "1"}))
    assert (await delete(engine, bucket, "k", expect_seq=replaced.seq)).existed


async def test_amending_what_was_amended_meanwhile(engine: Engine, bucket: Bucket) -> None:
    meta = Meta(tags={"a": "1"})
    made = await put(engine, bucket, "k", b"bytes", meta=meta)
    change = AmendObject(bucket.id, "k", made.seq, {"b": "2"}, expect=encode_meta(meta))
    await engine.commit(change)
    with pytest.raises(errors.Conflict):
        await engine.commit(change)
    found = await engine.lookup(bucket.id, "k")
    assert found is not None
    assert found.meta.tags == {"b": "2"}


async def test_what_cannot_be_amended(engine: Engine, versioned: Bucket) -> None:
    marker = await delete(engine, versioned, "k", modified=NOW)
    for key, seq in (("k", marker.seq), ("k", 1 << 60), ("none", marker.seq)):
        with pytest.raises(errors.NoSuchVersion):
            await engine.commit(AmendObject(versioned.id, key, seq, {}))
    with pytest.raises(errors.NoSuchBucket):
        await engine.commit(AmendObject(1 << 40, "k", marker.seq, {}))


async def test_counters_tell_what_is_visible_from_what_is_kept(
    engine: Engine, versioned: Bucket
) -> None:
    first = await put(engine, versioned, "a", b"x" * 10)
    await put(engine, versioned, "a", b"x" * 2000)
    await put(engine, versioned, "b", b"x" * 5)
    assert await engine.usage(versioned.id) == Usage(2, 2005, 0, (1, 1, 0, 0, 0, 0, 0), 1, 10, 0)
    await delete(engine, versioned, "a", modified=NOW)
    assert await engine.usage(versioned.id) == Usage(1, 5, 0, (1, 0, 0, 0, 0, 0, 0), 2, 2010, 1)
    await delete(engine, versioned, "a", version_id=first.version_id)
    assert await engine.usage(versioned.id) == Usage(1, 5, 0, (1, 0, 0, 0, 0, 0, 0), 1, 2000, 1)
    await put(engine, versioned, "a", b"y")
    assert await engine.usage(versioned.id) == Usage(2, 6, 0, (2, 0, 0, 0, 0, 0, 0), 1, 2000, 1)


async def test_the_feed_tells_of_versions(engine: Engine, versioned: Bucket) -> None:
    start = (await engine.changes(0))[-1].seq
    first = await put(engine, versioned, "k", b"one", meta=Meta())
    await engine.commit(AmendObject(versioned.id, "k", first.seq, {"t": "1"}))
    marker = await delete(engine, versioned, "k", modified=NOW)
    await delete(engine, versioned, "k", version_id=first.version_id)
    await set_versioning(engine, versioned, SUSPENDED)
    await put(engine, versioned, "k", b"null")
    told = [(event.kind, event.key, event.version_id) for event in await engine.changes(start)]
    assert told == [
        ("put", "k", first.version_id),
        ("amend", "k", first.version_id),
        ("marker", "k", marker.version_id),
        ("delete", "k", first.version_id),
        ("bucket-config", "", NULL_VERSION),
        ("put", "k", NULL_VERSION),
    ]


async def everything(
    engine: Engine, bucket: Bucket, limit: int, **more: str
) -> list[tuple[str, str]]:
    """(key, version) and (prefix, "") of all pages."""
    found: list[tuple[str, str]] = []
    key, version = "", ""
    while True:
        page: VersionPage = await engine.list_versions(
            bucket.id, after_key=key, after_version=version, limit=limit, **more
        )
        assert len(page.entries) + len(page.prefixes) <= limit
        rows = [(entry.key, entry.version_id) for entry in page.entries]
        rows += [(prefix, "") for prefix in page.prefixes]
        found += sorted(rows, key=lambda row: row[0].encode())
        if page.next_key is None:
            return found
        assert rows
        key, version = page.next_key, page.next_version or ""


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
async def test_pages_of_versions_add_up(engine: Engine, bucket: Bucket, limit: int) -> None:
    chance = random.Random(limit)
    model: dict[str, list[str]] = {}
    names = ["a", "a/", "a/1", "a/2", "a/2/x", "b", "b/1", "é", "é/1", "\U0001f600"]
    await put(engine, bucket, "a/1")
    await put(engine, bucket, "b")
    model["a/1"], model["b"] = [NULL_VERSION], [NULL_VERSION]
    await set_versioning(engine, bucket, ENABLED)
    for _ in range(60):
        name = chance.choice(names)
        if chance.random() < 0.7:
            answer = await put(engine, bucket, name, b"%d" % chance.randrange(10))
        else:
            answer = await delete(engine, bucket, name, modified=NOW)
        model.setdefault(name, []).insert(0, answer.version_id)
    ordered = sorted(model, key=str.encode)
    flat = [(name, version) for name in ordered for version in model[name]]
    assert await everything(engine, bucket, limit) == flat
    assert await everything(engine, bucket, limit, prefix="a/") == [
        row for row in flat if row[0].startswith("a/")
    ]
    folded: list[tuple[str, str]] = []
    for name, version in flat:
        at = name.find("/")
        row = (name[: at + 1], "") if at >= 0 else (name, version)
        if row[1] or row not in folded:
            folded.append(row)
    assert await everything(engine, bucket, limit, delimiter="/") == folded


async def test_a_page_goes_on_behind_a_version_that_is_gone(
    engine: Engine, versioned: Bucket
) -> None:
    made = [await put(engine, versioned, "k", b"%d" % n) for n in range(4)]
    await put(engine, versioned, "l")
    await delete(engine, versioned, "k", version_id=made[2].version_id)
    page = await engine.list_versions(versioned.id, after_key="k", after_version=made[2].version_id)
    assert [entry.key for entry in page.entries] == ["k", "k", "l"]
    assert [entry.latest for entry in page.entries] == [False, False, True]
    page = await engine.list_versions(versioned.id, after_key="k")
    assert [entry.key for entry in page.entries] == ["l"]
    assert (await engine.list_versions(versioned.id, limit=0)).entries == []
    with pytest.raises(errors.NoSuchBucket):
        await engine.list_versions(1 << 40)


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("gone", [1, 2, 3])
async def test_a_page_goes_on_where_all_that_was_newer_is_gone(
    engine: Engine, versioned: Bucket, gone: int, hidden: bool
) -> None:
    """As when a bucket is emptied page by page: what comes up then must not be skipped."""
    for number in range(3 if hidden else 4):
        await put(engine, versioned, "k", b"%d" % number)
        if hidden and number == 0:
            await delete(engine, versioned, "k")  # a marker among the versions that are left
    await put(engine, versioned, "l")
    first = await engine.list_versions(versioned.id, limit=gone)
    for entry in first.entries:
        await delete(engine, versioned, "k", version_id=entry.version_id)
    assert first.next_key == "k"
    rest = await engine.list_versions(
        versioned.id, after_key=first.next_key, after_version=first.next_version or ""
    )
    assert [entry.key for entry in rest.entries] == ["k"] * (4 - gone) + ["l"]
    latest = [True, *[False] * (3 - gone), True]
    assert [entry.latest for entry in rest.entries] == latest
    newest = await engine.version(versioned.id, "k")
    assert newest is not None
    assert newest.seq == rest.entries[0].seq


async def test_another_bucket_does_not_care(engine: Engine, versioned: Bucket) -> None:
    other = await make_bucket(engine, "other")
    await put(engine, other, "k", b"one")
    await put(engine, other, "k", b"two")
    await delete(engine, other, "k")
    assert (await engine.list_versions(other.id)).entries == []
    assert await engine.usage(other.id) == Usage()
