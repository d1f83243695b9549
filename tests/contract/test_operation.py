"""Counters, system records, the feed, cursors: what keeps a store running."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from storage import errors
from storage.engine.interface import (
    Bucket,
    DeleteBucket,
    Engine,
    FeedEvent,
    PutSystem,
    SetBucketConfig,
    SetCursor,
    SystemRecord,
    Usage,
)
from tests.contract.store import (
    MIB,
    NOW,
    abort,
    completion,
    delete,
    expected_usage,
    get,
    keys,
    make_bucket,
    md5,
    put,
    put_part,
    start_upload,
)

pytestmark = pytest.mark.anyio

# -- counters -------------------------------------------------------------------------------------


async def test_counters_follow_every_change(engine: Engine, bucket: Bucket) -> None:
    assert await engine.usage(bucket.id) == Usage()
    await put(engine, bucket, "empty", b"")
    await put(engine, bucket, "small", bytes(1023))
    await put(engine, bucket, "kib", bytes(1024))
    await put(engine, bucket, "mib", bytes(MIB))
    assert await engine.usage(bucket.id) == expected_usage([0, 1023, 1024, MIB])
    await put(engine, bucket, "small", bytes(5 * MIB))
    assert await engine.usage(bucket.id) == expected_usage([0, 5 * MIB, 1024, MIB])
    await delete(engine, bucket, "mib")
    await delete(engine, bucket, "mib")
    await delete(engine, bucket, "never")
    assert await engine.usage(bucket.id) == expected_usage([0, 5 * MIB, 1024])


async def test_counters_of_uploads(engine: Engine, bucket: Bucket) -> None:
    await start_upload(engine, bucket, "a", "one")
    await start_upload(engine, bucket, "b", "two")
    part = await put_part(engine, bucket, "a", "one", 1, bytes(3000))
    await put_part(engine, bucket, "b", "two", 1, bytes(3000))
    assert await engine.usage(bucket.id) == expected_usage([], uploads=2)
    change = completion(bucket, "a", "one", [part], 3000)
    await engine.commit(change)
    await engine.commit(change)
    assert await engine.usage(bucket.id) == expected_usage([3000], uploads=1)
    await abort(engine, bucket, "b", "two")
    assert await engine.usage(bucket.id) == expected_usage([3000])


async def test_counters_ignore_what_was_refused(engine: Engine, bucket: Bucket) -> None:
    first = await put(engine, bucket, "a", b"123")
    with pytest.raises(errors.Conflict):
        await put(engine, bucket, "a", b"12345", expect_seq=first.seq + 1000)
    await delete(engine, bucket, "a", expect_seq=first.seq + 1000)
    assert await engine.usage(bucket.id) == expected_usage([3])


async def test_counters_are_per_bucket(engine: Engine, bucket: Bucket) -> None:
    other = await make_bucket(engine, "other")
    await put(engine, bucket, "a", b"1")
    await put(engine, other, "a", b"22")
    assert await engine.usage(bucket.id) == expected_usage([1])
    assert await engine.usage(other.id) == expected_usage([2])


# -- many at once ---------------------------------------------------------------------------------


async def test_changes_at_once_are_all_made(engine: Engine, bucket: Bucket) -> None:
    names = [f"k{number:03d}" for number in range(200)]
    answers = await asyncio.gather(*(put(engine, bucket, name, name.encode()) for name in names))
    assert len({answer.seq for answer in answers}) == len(names)
    assert await keys(engine, bucket) == names
    for name in names:
        assert await get(engine, bucket, name) == name.encode()
    assert await engine.usage(bucket.id) == expected_usage([4] * 200)


async def test_one_of_many_wins_a_name(engine: Engine, bucket: Bucket) -> None:
    """Preconditions see the changes of the same batch."""
    from storage.engine.interface import Conditions

    absent = Conditions(if_none_match=("*",))
    outcomes = await asyncio.gather(
        *(put(engine, bucket, "k", bytes([n]), conditions=absent) for n in range(50)),
        return_exceptions=True,
    )
    won = [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, Exception)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(won) == 1
    assert all(isinstance(outcome, errors.PreconditionFailed) for outcome in lost)
    assert await get(engine, bucket, "k") == bytes(won)


async def test_changes_of_one_key_at_once_have_an_order(engine: Engine, bucket: Bucket) -> None:
    answers = await asyncio.gather(
        *(put(engine, bucket, "k", b"x" * number) for number in range(1, 60))
    )
    last = max(range(len(answers)), key=lambda index: answers[index].seq)
    assert await get(engine, bucket, "k") == b"x" * (last + 1)
    assert await engine.usage(bucket.id) == expected_usage([last + 1])
    assert sum(not answer.existed for answer in answers) == 1


# -- system records -------------------------------------------------------------------------------


async def test_system_records(engine: Engine) -> None:
    first = await engine.commit(PutSystem("user", "alice", b"1"))
    await engine.commit(PutSystem("user", "Bob", b"2"))
    await engine.commit(PutSystem("policy", "alice", b"3"))
    assert await engine.system("user") == [
        SystemRecord("user", "Bob", b"2", first.seq + 1),
        SystemRecord("user", "alice", b"1", first.seq),
    ]
    assert await engine.system_record("policy", "alice") == SystemRecord(
        "policy", "alice", b"3", first.seq + 2
    )
    assert await engine.system_record("user", "nobody") is None
    assert await engine.system("nothing") == []
    await engine.commit(PutSystem("user", "alice", b""))
    record = await engine.system_record("user", "alice")
    assert record is not None
    assert record.value == b""
    await engine.commit(PutSystem("user", "alice", None))
    await engine.commit(PutSystem("user", "alice", None))
    assert await engine.system_record("user", "alice") is None


async def test_system_records_are_compared_and_set(engine: Engine) -> None:
    made = await engine.commit(PutSystem("user", "a", b"1", expect_seq=0))
    with pytest.raises(errors.Conflict):
        await engine.commit(PutSystem("user", "a", b"2", expect_seq=0))
    changed = await engine.commit(PutSystem("user", "a", b"2", expect_seq=made.seq))
    with pytest.raises(errors.Conflict):
        await engine.commit(PutSystem("user", "a", b"3", expect_seq=made.seq))
    with pytest.raises(errors.Conflict):
        await engine.commit(PutSystem("user", "b", None, expect_seq=made.seq))
    await engine.commit(PutSystem("user", "a", None, expect_seq=changed.seq))
    await engine.commit(PutSystem("user", "a", b"4", expect_seq=0))
    record = await engine.system_record("user", "a")
    assert record is not None
    assert record.value == b"4"


async def test_generation_grows_with_system_records(engine: Engine) -> None:
    before = engine.generation()
    await engine.commit(PutSystem("user", "a", b"1"))
    middle = engine.generation()
    await engine.commit(PutSystem("user", "a", None))
    assert before < middle < engine.generation()


# -- the feed -------------------------------------------------------------------------------------


async def test_the_feed_tells_what_happened_in_order(engine: Engine) -> None:
    start = await feed_end(engine)
    bucket = await make_bucket(engine, "feed", "alice")
    await engine.commit(SetBucketConfig("feed", "cors", b"x"))
    one = await put(engine, bucket, "k", b"one", owner="bob")
    await put(engine, bucket, "big", os.urandom(2 * MIB))
    await engine.commit(PutSystem("user", "secret", b"hidden"))
    await engine.commit(SetCursor("lifecycle", one.seq))
    await start_upload(engine, bucket, "m")
    part = await put_part(engine, bucket, "m", "upload-1", 1, b"part")
    done = await engine.commit(completion(bucket, "m", "upload-1", [part], 4))
    gone = await delete(engine, bucket, "k")
    await delete(engine, bucket, "k")
    await delete(engine, bucket, "big")
    await delete(engine, bucket, "m")
    await engine.commit(DeleteBucket("feed"))
    events = await engine.changes(start)
    assert [(event.kind, event.key) for event in events] == [
        ("bucket-create", ""),
        ("bucket-config", ""),
        ("put", "k"),
        ("put", "big"),
        ("put", "m"),
        ("delete", "k"),
        ("delete", "big"),
        ("delete", "m"),
        ("bucket-delete", ""),
    ]
    assert all(event.bucket == "feed" and event.bucket_id == bucket.id for event in events)
    seqs = [event.seq for event in events]
    assert seqs == sorted(set(seqs))
    event = events[2]
    assert (event.seq, event.size, event.etag) == (one.seq, 3, md5(b"one"))
    assert (event.modified, event.owner) == (NOW, "bob")
    assert (events[4].seq, events[4].etag, events[4].size) == (done.seq, done.etag, 4)
    assert (events[2].multipart, events[4].multipart) == (False, True)
    assert events[1].document == "cors"
    assert [events[0].owner, events[-1].owner] == ["alice", "alice"]
    event = events[5]
    assert (event.seq, event.victim) == (gone.seq, one.seq)
    assert (event.size, event.etag, event.owner) == (3, md5(b"one"), "bob")
    assert abs(event.modified - time.time() * 1000) < 60_000
    assert (events[7].victim, events[7].etag) == (done.seq, done.etag)


async def test_cursors_are_kept_by_consumer(engine: Engine) -> None:
    before = await engine.cursors()
    await engine.commit(SetCursor("one", 5))
    await engine.commit(SetCursor("two", 7))
    await engine.commit(SetCursor("one", 9))
    assert await engine.cursors() == {**before, "one": 9, "two": 7}


async def test_a_new_store_is_sound(engine: Engine) -> None:
    health = await engine.health()
    assert (health.damages, health.clock_suspect, health.scrub.damages) == (0, False, 0)


async def feed_end(engine: Engine) -> int:
    after = 0
    while events := await engine.changes(after):
        after = events[-1].seq
    return after


async def test_the_feed_comes_in_pages(engine: Engine, bucket: Bucket) -> None:
    for number in range(25):
        await put(engine, bucket, f"k{number}")
    everything = list(await engine.changes(0))
    assert len(everything) == 26
    paged: list[FeedEvent] = []
    while events := await engine.changes(paged[-1].seq if paged else 0, limit=4):
        assert len(events) <= 4
        paged += events
    assert paged == everything
    assert list(await engine.changes(everything[-1].seq)) == []


async def test_the_feed_leaves_out_what_was_refused(engine: Engine, bucket: Bucket) -> None:
    start = await feed_end(engine)
    with pytest.raises(errors.Conflict):
        await put(engine, bucket, "a", expect_seq=999_999)
    await delete(engine, bucket, "never")
    assert list(await engine.changes(start)) == []


async def test_space(engine: Engine) -> None:
    space = await engine.space()
    assert 0 < space.free <= space.total
    assert (space.drives_online, space.drives_offline) == (1, 0)


async def test_the_inline_limit(engine: Engine) -> None:
    assert engine.inline_limit() > 0
