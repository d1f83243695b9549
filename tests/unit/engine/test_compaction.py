"""Space comes back, and nothing that is needed goes: not now, not after a rebuild."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from storage import errors
from storage.config import Config
from storage.engine.embedded import link, segment
from storage.engine.embedded.compaction import Compactor, Outcome, index_reader, victims
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.embedded.index import SegmentRow
from storage.engine.interface import (
    ENABLED,
    VERSIONING,
    AmendObject,
    Bucket,
    DeleteBucket,
    Meta,
    PutSystem,
    SetBucketConfig,
    SetCursor,
)
from tests.contract.store import (
    abort,
    completion,
    delete,
    expected_usage,
    get,
    keys,
    make_bucket,
    put,
    put_part,
    start_upload,
)
from tests.engines import alone, lose_index, small_config

pytestmark = pytest.mark.anyio
SEGMENT = 64 * 1024


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return small_config(tmp_path, segment_size=SEGMENT, inline_max=4096, fsync=False)


async def fill(engine: EmbeddedEngine, bucket: Bucket, names: list[str]) -> None:
    for name in names:
        await put(engine, bucket, name, name.encode().ljust(1500, b"."))


async def roll(engine: EmbeddedEngine, bucket: Bucket) -> None:
    """Close the segment that is being written: fill it with what is deleted at once."""
    before = engine.index.segments()[-1].id
    while engine.index.segments()[-1].id == before:
        await put(engine, bucket, "filler", b"f" * 4000)
    await delete(engine, bucket, "filler")


async def compact(engine: EmbeddedEngine, number: int, share_max: float = 0.5) -> Outcome:
    """Compact a segment; its footer may still be in the making."""
    async with asyncio.timeout(60):
        while True:
            try:
                outcome = await Compactor(engine).compact(number, share_max)
            except errors.Conflict:
                await asyncio.sleep(0.01)
            else:
                assert outcome is not None
                return outcome


def segments(engine: EmbeddedEngine) -> list[int]:
    return segment.listing(engine.drive.segments)


async def check(engine: EmbeddedEngine, bucket: Bucket, names: list[str]) -> None:
    assert await keys(engine, bucket, limit=10_000) == sorted(names)
    for name in names:
        assert await get(engine, bucket, name) == name.encode().ljust(1500, b".")
    assert await engine.usage(bucket.id) == expected_usage([1500] * len(names))


async def test_what_is_needed_moves_and_the_rest_goes(config: Config) -> None:
    names = [f"k{number:03d}" for number in range(200)]
    kept = names[::7]
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await fill(engine, bucket, names)
        for name in names:
            if name not in kept:
                await delete(engine, bucket, name)
        await roll(engine, bucket)
        before = segments(engine)
        done = await Compactor(engine).run()
        assert len(done) > 3
        assert len(segments(engine)) < len(before)
        assert sum(outcome.moved for outcome in done) >= len(kept) // 2
        await check(engine, bucket, kept)
    for rebuild in (False, True):
        if rebuild:
            lose_index(config)
        async with alone(config) as engine:
            await check(engine, bucket, kept)


async def test_compaction_comes_to_rest(config: Config) -> None:
    """Tombstones that are still needed don't make their segments move for ever."""
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await fill(engine, bucket, [f"old{number}" for number in range(60)])
        await roll(engine, bucket)
        for number in range(40):
            await fill(engine, bucket, [f"gone{number}-{n}" for n in range(20)])
            for n in range(20):
                await delete(engine, bucket, f"gone{number}-{n}")
        compactor = Compactor(engine)
        turns = 0
        while await compactor.run():
            turns += 1
            assert turns < 20
        assert len(segments(engine)) < 12
        await check(engine, bucket, [f"old{number}" for number in range(60)])


async def test_a_tombstone_outlives_what_it_hides(config: Config) -> None:
    """Delete lies in a dead segment, the object in one that stays: a rebuild must not revive it."""
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        names = [f"stays{number:02d}" for number in range(28)]
        await fill(engine, bucket, ["victim", *names])
        await start_upload(engine, bucket, "m", "aborted")
        await engine.commit(PutSystem("user", "gone", b"secret"))
        other = await make_bucket(engine, "other")
        assert engine.index.segments()[-1].id == 1
        await roll(engine, bucket)
        await delete(engine, bucket, "victim")
        await abort(engine, bucket, "m", "aborted")
        await engine.commit(PutSystem("user", "gone", None))
        await engine.commit(DeleteBucket("other"))
        await roll(engine, bucket)
        await roll(engine, bucket)
        assert (await compact(engine, 2)).moved == 4
        assert 2 not in segments(engine)
        assert 1 in segments(engine)
    lose_index(config)
    async with alone(config) as engine:
        await check(engine, bucket, names)
        assert await engine.upload(bucket.id, "m", "aborted") is None
        assert await engine.system_record("user", "gone") is None
        assert await engine.bucket("other") is None
        assert other.id not in [found.id for found in await engine.buckets()]


async def test_a_tombstone_that_hides_nothing_any_more_goes(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await roll(engine, bucket)
        await fill(engine, bucket, ["victim"])
        await roll(engine, bucket)
        await delete(engine, bucket, "victim")
        await roll(engine, bucket)
        await compact(engine, 2, share_max=1.0)
        assert (await compact(engine, 3, share_max=1.0)).moved == 0


async def test_everything_that_can_be_alive_moves(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await engine.commit(SetBucketConfig("bucket", "cors", b"<Cors/>"))
        await engine.commit(PutSystem("user", "alice", b"sealed"))
        await engine.commit(SetCursor("follower", 1))
        await start_upload(engine, bucket, "m", "open")
        part = await put_part(engine, bucket, "m", "open", 1, b"p" * 9000)
        await put(engine, bucket, "large", b"l" * 9000)
        await put(engine, bucket, "empty", b"")
        await put(engine, bucket, "small", b"small", owner="alice", storage_class="COLD")
        await roll(engine, bucket)
        assert (await compact(engine, 1)).moved == 9
        assert segments(engine)[0] == 2

        async def verify(engine: EmbeddedEngine) -> None:
            found = await engine.bucket("bucket")
            assert found is not None
            assert (found.id, found.config) == (bucket.id, {"cors": b"<Cors/>"})
            record = await engine.system_record("user", "alice")
            assert record is not None
            assert record.value == b"sealed"
            assert engine.index.cursors() == {"follower": 1}
            (uploaded,) = await engine.parts(bucket.id, "m", "open")
            assert uploaded.size == 9000
            assert await get(engine, bucket, "large") == b"l" * 9000
            assert await get(engine, bucket, "empty") == b""
            assert await get(engine, bucket, "small") == b"small"
            assert await engine.usage(bucket.id) == expected_usage([9000, 0, 5], uploads=1)

        await verify(engine)
    lose_index(config)
    async with alone(config) as engine:
        await verify(engine)
        await engine.commit(completion(bucket, "m", "open", [part], 9000))
        assert await get(engine, bucket, "m") == b"p" * 9000


async def test_moving_twice_and_rebuilding(config: Config) -> None:
    names = [f"k{number}" for number in range(5)]
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await fill(engine, bucket, names)
        seqs = [(await engine.lookup(bucket.id, name)).seq for name in names]  # type: ignore[union-attr]
        for _ in range(4):
            number = engine.index.segments()[-1].id
            await roll(engine, bucket)
            await compact(engine, number, share_max=1.0)
        await check(engine, bucket, names)
    lose_index(config)
    async with alone(config) as engine:
        await check(engine, bucket, names)
        assert [(await engine.lookup(bucket.id, name)).seq for name in names] == seqs  # type: ignore[union-attr]


async def test_what_was_amended_stays_amended(config: Config) -> None:
    """An ACL put on a version, and one taken away again, through moves and a rebuild."""
    public, private = {"acl": b"public"}, {"acl": None}

    async def acls(engine: EmbeddedEngine, bucket: Bucket) -> dict[str, object]:
        page = await engine.list_versions(bucket.id)
        found = {}
        for entry in page.entries:
            version = await engine.version(bucket.id, entry.key, entry.version_id)
            assert version is not None
            assert (version.modified, version.etag) == (entry.modified, entry.etag)
            found[entry.version_id] = version.meta.extra.get("acl")
        return found

    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await engine.commit(SetBucketConfig(bucket.name, VERSIONING, ENABLED))
        await engine.commit(SetBucketConfig(bucket.name, "acl", b"of the bucket"))
        opened = Meta(extra=public)
        made = [await put(engine, bucket, "k", bytes(1500)) for _ in range(3)]
        made += [await put(engine, bucket, "q", bytes(size), meta=opened) for size in (1500, 9000)]
        await roll(engine, bucket)
        for index, extra in ((0, public), (1, public), (3, private)):
            key = "k" if index < 3 else "q"
            await engine.commit(AmendObject(bucket.id, key, made[index].seq, extra=extra))
        await roll(engine, bucket)
        await engine.commit(AmendObject(bucket.id, "k", made[1].seq, extra=private))
        expected = dict(
            zip(
                [committed.version_id for committed in made],
                (b"public", None, None, None, b"public"),
                strict=True,
            )
        )
        for number in range(1, engine.index.segments()[-1].id):
            await compact(engine, number, share_max=1.0)
            assert expected.items() <= (await acls(engine, bucket)).items()
        assert len(segments(engine)) < 5
    for rebuild in (False, True):
        if rebuild:
            lose_index(config)
        async with alone(config) as engine:
            assert expected.items() <= (await acls(engine, bucket)).items()
            found = await engine.bucket(bucket.name)
            assert found is not None
            assert found.config["acl"] == b"of the bucket"


async def test_a_reader_that_looked_up_before_the_move(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await fill(engine, bucket, ["k"])
        version = await engine.lookup(bucket.id, "k")
        assert version is not None
        await roll(engine, bucket)
        await compact(engine, 1)
        assert await engine.read_inline(version) == b"k".ljust(1500, b".")


async def test_what_changes_under_way_is_not_moved_back(config: Config) -> None:
    """A record is replaced after it was looked at and before the committer gets to it."""
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await fill(engine, bucket, ["a", "b", "c"])
        await roll(engine, bucket)
        real = engine.internal

        async def internal(change: link.Internal) -> object:
            if isinstance(change, link.Relocate):
                await put(engine, bucket, "a", b"newer")
                await delete(engine, bucket, "b")
            return await real(change)

        engine.internal = internal  # type: ignore[method-assign]
        await compact(engine, 1)
        assert await get(engine, bucket, "a") == b"newer"
        assert await get(engine, bucket, "b") is None
        assert await get(engine, bucket, "c") == b"c".ljust(1500, b".")
    lose_index(config)
    async with alone(config) as engine:
        assert await get(engine, bucket, "a") == b"newer"
        assert await get(engine, bucket, "b") is None
        assert await get(engine, bucket, "c") == b"c".ljust(1500, b".")


async def test_rot_is_not_given_a_fresh_checksum(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await fill(engine, bucket, ["rotten", "sound"])
        version = await engine.lookup(bucket.id, "rotten")
        assert version is not None
        await roll(engine, bucket)
        overwrite(os.path.join(engine.drive.segments, segment.name(1)), version.place.offset)
        compactor = Compactor(engine)
        with pytest.raises(errors.DataCorrupt):
            await compactor.compact(1)
        await compactor.run()
        assert 1 in segments(engine)
        with pytest.raises(errors.DataCorrupt):
            await get(engine, bucket, "rotten")
        assert await get(engine, bucket, "sound") == b"sound".ljust(1500, b".")


def overwrite(path: str, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff\xff")


async def test_a_segment_in_use_is_not_dropped(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await fill(engine, bucket, ["k"])
        with pytest.raises(errors.Conflict):
            await engine.internal(link.DropSegment(1))
        await roll(engine, bucket)
        with pytest.raises(errors.Conflict):
            await engine.internal(link.DropSegment(1))
        assert await get(engine, bucket, "k") is not None


async def test_the_feed_does_not_tell_of_moves(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await engine.commit(SetCursor("follower", 0))
        await fill(engine, bucket, ["a", "b"])
        await roll(engine, bucket)
        before = [event for event in await engine.changes(0) if event.key != "filler"]
        await compact(engine, 1)
        after = [event for event in await engine.changes(0) if event.key != "filler"]
        assert after == before


async def test_random_histories_survive_compaction(config: Config) -> None:
    dice = random.Random(7)
    held: dict[str, bytes] = {}
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        compactor = Compactor(engine)
        for number in range(1500):
            key = f"{dice.randrange(80)}"
            if dice.random() < 0.4:
                await delete(engine, bucket, key)
                held.pop(key, None)
            else:
                body = dice.randbytes(dice.randrange(3000))
                await put(engine, bucket, key, body)
                held[key] = body
            if number % 100 == 0:
                await compactor.run()
        await compactor.run()
        assert len(segments(engine)) < 10
    for rebuild in (False, True):
        if rebuild:
            lose_index(config)
        async with alone(config) as engine:
            assert await keys(engine, bucket, limit=1000) == sorted(held)
            for key, body in held.items():
                assert await get(engine, bucket, key) == body
            assert await engine.usage(bucket.id) == expected_usage(
                [len(body) for body in held.values()]
            )


def test_the_emptiest_goes_first() -> None:
    rows = [
        SegmentRow(1, 1000, 9, 900, 9, 900, 1, 9),
        SegmentRow(2, 1000, 9, 900, 4, 400, 10, 19),
        SegmentRow(3, 1000, 9, 900, 0, 0, 20, 29),
        SegmentRow(4, 1000, 9, 900, 7, 700, 30, 39),
        SegmentRow(5, 0, 9, 900, 0, 0, 40, 49),
    ]
    assert victims(rows, 5, full=False) == [3, 2]
    assert victims(rows, 5, full=True) == [3, 2, 4, 1]


async def test_no_decision_on_an_index_in_the_making(config: Config) -> None:
    from storage.engine.embedded import board

    async with alone(config) as engine:
        engine.board.state = board.REPLAYING
        with pytest.raises(errors.Unavailable), index_reader(engine):
            pass
        engine.board.state = board.READY
        with pytest.raises(errors.Unavailable), index_reader(engine):
            engine.board.bump_index()
