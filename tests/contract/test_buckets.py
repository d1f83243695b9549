"""Buckets: their names, their configuration, their end."""

from __future__ import annotations

import pytest

from storage import errors
from storage.engine.interface import (
    Bucket,
    CreateBucket,
    DeleteBucket,
    Engine,
    SetBucketConfig,
    Usage,
)
from tests.contract.store import NOW, delete, get, keys, make_bucket, put, put_part, start_upload

pytestmark = pytest.mark.anyio


async def test_a_bucket_is_what_was_asked_for(engine: Engine) -> None:
    made = await engine.commit(
        CreateBucket("langfuse", "root", NOW, "eu-central-1", {"tagging": b"<Tagging/>"})
    )
    assert made.name == "langfuse"
    assert (made.owner, made.created, made.region) == ("root", NOW, "eu-central-1")
    assert made.config == {"tagging": b"<Tagging/>"}
    assert made.id > 0
    assert await engine.bucket("langfuse") == made
    assert await engine.bucket("other") is None


async def test_names_are_taken_once(engine: Engine) -> None:
    await make_bucket(engine, "one", "alice")
    for asker in ("alice", "bob"):
        with pytest.raises(errors.BucketExists) as caught:
            await engine.commit(CreateBucket("one", asker, NOW))
        assert caught.value.owner == "alice"


async def test_buckets_are_listed_by_name(engine: Engine) -> None:
    for name in ("b", "a-b", "a", "a.b"):
        await make_bucket(engine, name)
    assert [bucket.name for bucket in await engine.buckets()] == ["a", "a-b", "a.b", "b"]


async def test_configuration_documents(engine: Engine, bucket: Bucket) -> None:
    await engine.commit(SetBucketConfig("bucket", "cors", b"<Cors/>"))
    await engine.commit(SetBucketConfig("bucket", "policy", b"{}"))
    await engine.commit(SetBucketConfig("bucket", "cors", b"<Cors>2</Cors>"))
    await engine.commit(SetBucketConfig("bucket", "policy", None))
    await engine.commit(SetBucketConfig("bucket", "never-set", None))
    found = await engine.bucket("bucket")
    assert found is not None
    assert found.config == {"cors": b"<Cors>2</Cors>"}
    assert found.id == bucket.id


async def test_a_document_is_set_while_others_are_as_expected(engine: Engine) -> None:
    await engine.commit(CreateBucket("made", "root", NOW, config={"block": b"", "old": b"1"}))
    await engine.commit(SetBucketConfig("made", "old", None))
    for expect in (
        {"block": None}, {"block": b"p"}, {"policy": b""}, {"old": b"1"},
        {"block": b"", "policy": b"{}"},
    ):  # fmt: skip
        with pytest.raises(errors.Conflict):
            await engine.commit(SetBucketConfig("made", "policy", b"{}", expect=expect))
    absent = {"block": b"", "policy": None, "old": None}
    change = SetBucketConfig("made", "policy", b"{}", expect=absent)
    await engine.commit(change)
    with pytest.raises(errors.Conflict):
        await engine.commit(change)
    found = await engine.bucket("made")
    assert found is not None
    assert found.config == {"block": b"", "policy": b"{}"}


async def test_a_change_is_about_the_bucket_that_its_maker_saw(engine: Engine) -> None:
    gone = await make_bucket(engine, "one")
    await engine.commit(DeleteBucket("one", gone.id))
    again = await make_bucket(engine, "one", "bob")
    for change in (SetBucketConfig("one", "acl", b"x", gone.id), DeleteBucket("one", gone.id)):
        with pytest.raises(errors.NoSuchBucket):
            await engine.commit(change)
    assert await engine.bucket("one") == again
    await engine.commit(SetBucketConfig("one", "acl", b"x", again.id))
    await engine.commit(DeleteBucket("one", again.id))
    assert await engine.bucket("one") is None


async def test_a_document_that_came_with_the_bucket_can_go(engine: Engine) -> None:
    await engine.commit(CreateBucket("made", "root", NOW, config={"cors": b"1", "tagging": b"2"}))
    await engine.commit(SetBucketConfig("made", "cors", None))
    found = await engine.bucket("made")
    assert found is not None
    assert found.config == {"tagging": b"2"}


@pytest.mark.parametrize(
    "change", [DeleteBucket("missing"), SetBucketConfig("missing", "cors", b"")]
)
async def test_a_missing_bucket_is_said_to_be_missing(
    engine: Engine, change: DeleteBucket | SetBucketConfig
) -> None:
    with pytest.raises(errors.NoSuchBucket):
        await engine.commit(change)


async def test_only_an_empty_bucket_goes(engine: Engine, bucket: Bucket) -> None:
    await put(engine, bucket, "a")
    with pytest.raises(errors.BucketNotEmpty):
        await engine.commit(DeleteBucket("bucket"))
    assert await get(engine, bucket, "a") == b"payload"
    await delete(engine, bucket, "a")
    assert await engine.commit(DeleteBucket("bucket")) is None
    assert await engine.bucket("bucket") is None
    assert await engine.buckets() == []
    with pytest.raises(errors.NoSuchBucket):
        await engine.commit(DeleteBucket("bucket"))


async def test_uploads_in_progress_go_with_their_bucket(engine: Engine, bucket: Bucket) -> None:
    await start_upload(engine, bucket, "big", "u1")
    await put_part(engine, bucket, "big", "u1", 1, b"part")
    await engine.commit(DeleteBucket("bucket"))
    assert await engine.upload(bucket.id, "big", "u1") is None
    again = await make_bucket(engine)
    assert (await engine.list_uploads(again.id)).uploads == []
    assert await engine.usage(again.id) == Usage()


async def test_a_bucket_made_again_starts_empty(engine: Engine, bucket: Bucket) -> None:
    await engine.commit(SetBucketConfig("bucket", "cors", b"<Cors/>"))
    await put(engine, bucket, "a")
    await delete(engine, bucket, "a")
    await engine.commit(DeleteBucket("bucket"))
    again = await make_bucket(engine)
    assert again.id != bucket.id
    assert again.config == {}
    assert await keys(engine, again) == []
    assert await engine.lookup(bucket.id, "a") is None


async def test_nothing_is_put_into_a_bucket_that_went(engine: Engine, bucket: Bucket) -> None:
    await engine.commit(DeleteBucket("bucket"))
    await make_bucket(engine)
    with pytest.raises(errors.NoSuchBucket):
        await put(engine, bucket, "a")
    with pytest.raises(errors.NoSuchBucket):
        await delete(engine, bucket, "a")
    with pytest.raises(errors.NoSuchBucket):
        await start_upload(engine, bucket, "a")


async def test_generation_grows_with_buckets(engine: Engine) -> None:
    seen = [engine.generation()]

    async def grew() -> None:
        assert engine.generation() > seen[-1]
        seen.append(engine.generation())

    bucket = await make_bucket(engine)
    await grew()
    await engine.commit(SetBucketConfig("bucket", "cors", b"x"))
    await grew()
    await put(engine, bucket, "a")
    await delete(engine, bucket, "a")
    await engine.commit(DeleteBucket("bucket"))
    await grew()
