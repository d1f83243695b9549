"""Files go when nobody needs them any more, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.config import Config
from storage.engine.embedded import link
from storage.engine.embedded.compaction import index_reader
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.embedded.files import FileStore
from storage.engine.interface import ENABLED, VERSIONING, SetBucketConfig, version_id
from storage.services import collection
from storage.services.collection import Collector
from tests.contract.store import (
    MIB,
    completion,
    delete,
    get,
    make_bucket,
    put,
    put_part,
    read,
    start_upload,
)
from tests.engines import alone, lose_index, small_config

pytestmark = pytest.mark.anyio
LARGE = b"l" * (2 * MIB)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return small_config(tmp_path, fsync=False)


def names(engine: EmbeddedEngine) -> set[str]:
    return set(engine.files.names())


async def leave_behind(engine: EmbeddedEngine, generation: int, count: int = 3) -> set[str]:
    """Files of a process that died before it could commit them."""
    store = FileStore(engine.drive.files, generation)
    left = set()
    for _ in range(count):
        writer = store.create()
        await writer.write(b"left behind")
        left.add((await writer.finish()).name)
    store.close()
    return left


async def test_replaced_and_deleted_files_go(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        collector = Collector(engine, grace=0.0)
        await put(engine, bucket, "a", LARGE)
        await put(engine, bucket, "a", LARGE + b"2")
        await put(engine, bucket, "b", LARGE)
        await delete(engine, bucket, "b")
        assert len(names(engine)) == 3
        assert await collector.collect_garbage() > 2 * len(LARGE)
        assert len(names(engine)) == 1
        assert await get(engine, bucket, "a") == LARGE + b"2"
        assert engine.index.garbage() == []
        assert await collector.collect_garbage() == 0


async def test_parts_of_ended_uploads_go(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await start_upload(engine, bucket, "k")
        await put_part(engine, bucket, "k", "upload-1", 1, b"left out" * 1000)
        kept = await put_part(engine, bucket, "k", "upload-1", 2, b"kept" * 1000)
        await put_part(engine, bucket, "k", "upload-1", 3, b"replaced" * 1000)
        await put_part(engine, bucket, "k", "upload-1", 3, b"left out" * 1000)
        collector = Collector(engine, grace=0.0)
        await collector.collect_garbage()
        assert len(names(engine)) == 3
        await engine.commit(completion(bucket, "k", "upload-1", [kept], 4000))
        await collector.collect_garbage()
        assert len(names(engine)) == 1
        assert await get(engine, bucket, "k") == b"kept" * 1000


async def test_garbage_waits_for_requests_that_looked_it_up(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        collector = Collector(engine, grace=3600.0)
        await put(engine, bucket, "a", LARGE)
        version = await engine.lookup(bucket.id, "a")
        assert version is not None
        await delete(engine, bucket, "a")
        assert await collector.collect_garbage() == 0
        assert await read(engine, version) == LARGE


async def test_garbage_waits_for_reads_under_way(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        collector = Collector(engine, grace=0.0)
        data = [LARGE, LARGE + b"2"]
        refs = [await put_part_file(engine, body) for body in data]
        await commit_files(engine, bucket.id, "a", refs, sum(map(len, data)))
        version = await engine.lookup(bucket.id, "a")
        assert version is not None
        reader = engine.read(version, 0, version.size)
        got = bytes(await anext(reader))
        await delete(engine, bucket, "a")
        assert await collector.collect_garbage() == 0
        async for piece in reader:  # opens the second file only now
            got += bytes(piece)
        assert got == b"".join(data)
        assert await collector.collect_garbage() > 0
        assert names(engine) == set()


async def test_a_read_that_never_ends_keeps_nothing_for_ever(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        collector = Collector(engine, grace=0.0, read_max=0.0)
        await put(engine, bucket, "a", LARGE)
        version = await engine.lookup(bucket.id, "a")
        assert version is not None
        reader = engine.read(version, 0, version.size)
        await anext(reader)
        await delete(engine, bucket, "a")
        assert await collector.collect_garbage() > 0
        await reader.aclose()  # type: ignore[attr-defined]


async def put_part_file(engine: EmbeddedEngine, data: bytes) -> object:
    writer = await engine.create_file(len(data))
    await writer.write(data)
    return await writer.finish()


async def commit_files(
    engine: EmbeddedEngine, bucket: int, key: str, refs: list[object], size: int
) -> None:
    from storage.engine.interface import EMPTY_META, PutObject

    await engine.commit(
        PutObject(
            bucket,
            key,
            1,
            size,
            "e",
            "root",
            "STANDARD",
            EMPTY_META,
            files=tuple(refs),  # type: ignore[arg-type]
        )
    )


async def test_what_a_dead_process_left_goes(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await put(engine, bucket, "mine", LARGE)
        await start_upload(engine, bucket, "k")
        await put_part(engine, bucket, "k", "upload-1", 1, b"part" * 1000)
        await put(engine, bucket, "garbage", LARGE)
        await delete(engine, bucket, "garbage")
    async with alone(config) as engine:  # all of the above is of a dead generation now
        before = names(engine)
        left = await leave_behind(engine, 12345)
        live = await make_uncommitted(engine)
        assert await Collector(engine).collect_leftovers() == len(left)
        assert names(engine) == before | {live}
        assert await get(engine, bucket, "mine") == LARGE


async def test_files_of_hidden_versions_stay(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await engine.commit(SetBucketConfig(bucket.name, VERSIONING, ENABLED))
        versions = [await put(engine, bucket, "k", LARGE + b"%d" % n) for n in range(3)]
        await put(engine, bucket, "gone", LARGE)
        await delete(engine, bucket, "gone")  # behind a delete marker
    async with alone(config) as engine:  # all of the above is of a dead generation now
        before = names(engine)
        assert await Collector(engine).collect_leftovers() == 0
        assert names(engine) == before
        for number, made in enumerate(versions):
            version = await engine.version(bucket.id, "k", version_id(made.seq))
            assert version is not None
            assert await read(engine, version) == LARGE + b"%d" % number


async def test_a_version_that_becomes_visible_meanwhile_stays(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row moves from one table to the other while the names of files are being read."""
    monkeypatch.setattr(collection, "_PAGE", 1)
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await engine.commit(SetBucketConfig(bucket.name, VERSIONING, ENABLED))
        for key in ("a", "b", "c"):
            await put(engine, bucket, key, LARGE)
            await put(engine, bucket, key, LARGE)
        marker = await delete(engine, bucket, "b")
        for behind in range(6):
            with index_reader(engine) as reader:
                walk = collection._objects(reader)
                seen = {next(walk) for _ in range(behind)}
                if behind % 2:
                    marker = await delete(engine, bucket, "b")
                else:
                    await delete(engine, bucket, "b", version_id=version_id(marker.seq))
                assert seen | set(walk) == names(engine)


async def make_uncommitted(engine: EmbeddedEngine) -> str:
    writer = await engine.create_file()
    await writer.write(b"slow upload")
    return (await writer.finish()).name


async def test_the_committer_refuses_what_is_being_collected(config: Config) -> None:
    async with alone(config) as engine:
        await leave_behind(engine, 12345)
        sent: list[object] = []
        real = engine.internal

        async def internal(change: link.Internal) -> object:
            sent.append(change)
            assert len(names(engine)) == 3
            return await real(change)

        engine.internal = internal  # type: ignore[method-assign]
        await Collector(engine).collect_leftovers()
        assert sent == [link.Fence(12345)]
        assert names(engine) == set()


async def test_nothing_is_collected_by_an_index_in_the_making(config: Config) -> None:
    from storage import errors
    from storage.engine.embedded import board

    async with alone(config) as engine:
        left = await leave_behind(engine, 12345)
        engine.board.state = board.REPLAYING
        with pytest.raises(errors.Unavailable):
            await Collector(engine).collect_leftovers()
        assert names(engine) == left


async def test_after_a_rebuild_only_garbage_goes(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await put(engine, bucket, "a", LARGE)
        await put(engine, bucket, "a", LARGE + b"2")
        await start_upload(engine, bucket, "k")
        part = await put_part(engine, bucket, "k", "upload-1", 1, b"part" * 1000)
        await engine.commit(completion(bucket, "k", "upload-1", [part], 4000))
    lose_index(config)
    async with alone(config) as engine:
        collector = Collector(engine, grace=0.0)
        await collector.collect_garbage()
        await collector.collect_leftovers()
        assert len(names(engine)) == 2
        assert await get(engine, bucket, "a") == LARGE + b"2"
        assert await get(engine, bucket, "k") == b"part" * 1000
