"""The embedded engine where it meets its files: moves, damage, the feed, the board."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage import errors
from storage.engine import interface as i
from storage.engine.embedded import link, records, segment
from storage.engine.embedded.board import SLOTS, Board
from storage.engine.embedded.engine import EmbeddedEngine
from tests import engines

pytestmark = pytest.mark.anyio


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    async with engines.alone(engines.small_config(tmp_path)) as opened:
        yield opened


async def make_bucket(engine: EmbeddedEngine, name: str = "bucket") -> i.Bucket:
    bucket = await engine.commit(i.CreateBucket(name, "root", 1))
    assert isinstance(bucket, i.Bucket)
    return bucket


async def put(engine: EmbeddedEngine, bucket: i.Bucket, key: str, payload: bytes) -> i.Version:
    size = len(payload)
    change = i.PutObject(
        bucket.id, key, 1, size, "e" * 32, "root", "STANDARD", i.EMPTY_META, payload
    )
    await engine.commit(change)
    version = await engine.lookup(bucket.id, key)
    assert version is not None
    return version


async def fill_segment(engine: EmbeddedEngine, bucket: i.Bucket) -> None:
    """Write until the log goes on in another segment."""
    first = (await put(engine, bucket, "filler", bytes(100_000))).place.segment
    while (await put(engine, bucket, "filler", bytes(100_000))).place.segment == first:
        pass


async def compact(engine: EmbeddedEngine, number: int) -> None:
    path = os.path.join(engine.drive.segments, segment.name(number))
    fd = os.open(path, os.O_RDONLY)
    try:
        for record in segment.all_records(path):
            payload = os.pread(fd, record.length, record.offset)
            if record.type != records.RELOCATION:
                row = link.Moved(record.type, record.seq, number, record.body, payload)
                await engine.internal(link.Relocate(number, [row]))
    finally:
        os.close(fd)
    await engine.internal(link.DropSegment(number))


async def test_a_version_that_was_moved_is_read_at_its_new_place(engine: EmbeddedEngine) -> None:
    bucket = await make_bucket(engine)
    version = await put(engine, bucket, "a", b"payload")
    await fill_segment(engine, bucket)
    await compact(engine, version.place.segment)
    moved = await engine.lookup(bucket.id, "a")
    assert moved is not None
    assert moved.place != version.place
    assert moved.seq == version.seq
    engine._segments.clear()
    assert engine.read_at_once(version) is None
    assert await engine.read_inline(version) == b"payload"


async def test_an_unlinked_segment_is_let_go_of(engine: EmbeddedEngine) -> None:
    bucket = await make_bucket(engine)
    version = await put(engine, bucket, "a", b"payload")
    assert await engine.read_inline(version) == b"payload"
    await fill_segment(engine, bucket)
    await compact(engine, version.place.segment)
    moved = await engine.lookup(bucket.id, "a")
    assert moved is not None
    await engine.read_inline(moved)
    assert list(engine._segments._open) == [moved.place.segment]


async def test_a_version_that_was_replaced_is_never_mixed_up(engine: EmbeddedEngine) -> None:
    bucket = await make_bucket(engine)
    version = await put(engine, bucket, "a", b"old")
    await put(engine, bucket, "a", b"new")
    assert await engine.read_inline(version) == b"old"
    await fill_segment(engine, bucket)
    await compact(engine, version.place.segment)
    engine._segments.clear()
    with pytest.raises(errors.Unavailable):
        await engine.read_inline(version)


async def test_a_rotten_payload_is_an_error_and_no_bytes(engine: EmbeddedEngine) -> None:
    bucket = await make_bucket(engine)
    version = await put(engine, bucket, "a", b"payload")
    path = Path(engine.drive.segments, segment.name(version.place.segment))
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, b"P", version.place.offset)
    os.close(fd)
    assert engine.read_at_once(version) is None
    with pytest.raises(errors.DataCorrupt):
        await engine.read_inline(version)


async def test_the_feed_goes_on_across_segments_and_leaves_out_moves(
    engine: EmbeddedEngine,
) -> None:
    bucket = await make_bucket(engine)
    first = await put(engine, bucket, "a", b"payload")
    await fill_segment(engine, bucket)
    await engine.commit(i.PutSystem("user", "x", b"secret"))
    await engine.commit(i.DeleteObject(bucket.id, "a"))
    whole = list(await engine.changes(0, 1000))
    assert [event.kind for event in whole[:2]] == ["bucket-create", "put"]
    assert whole[-1].kind == "delete"
    pages, after = [], 0
    while page := await engine.changes(after, 2):
        pages += page
        after = page[-1].seq
    assert pages == whole

    number = first.place.segment
    path = os.path.join(engine.drive.segments, segment.name(number))
    while segment.read_footer(path) is None:
        await engine.commit(i.SetCursor("c", 1))
    foot = os.path.join(engine.drive.segments, segment.foot_name(number))
    segment.write_foot_file(path, foot)
    await compact(engine, number)
    assert list(await engine.changes(0, 1000)) == whole


async def test_a_drive_has_one_owner(engine: EmbeddedEngine) -> None:
    with pytest.raises(errors.DriveRefused):
        await EmbeddedEngine.local(engine.config)


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    config = engines.small_config(tmp_path)
    async with engines.alone(config) as engine:
        bucket = await make_bucket(engine)
        await put(engine, bucket, "a", b"payload")
    async with engines.beside_a_process(config) as engine:
        found = await engine.bucket("bucket")
        assert found == bucket
        version = await engine.lookup(bucket.id, "a")
        assert version is not None
        assert await engine.read_inline(version) == b"payload"


async def test_a_killed_committer_is_succeeded_without_loss(tmp_path: Path) -> None:
    config = engines.small_config(tmp_path)
    process = engines.CommitterProcess(config)
    process.wait_ready()
    engine = await EmbeddedEngine.connect(config)
    bucket = await make_bucket(engine)
    await put(engine, bucket, "a", b"payload")
    process.kill()
    process = engines.CommitterProcess(config)
    process.wait_ready()
    try:
        version = await put(engine, bucket, "b", b"second")
        assert await engine.read_inline(version) == b"second"
        version = await put(engine, bucket, "a", b"third")
        assert await engine.usage(bucket.id) == i.Usage(2, 11, 0, (2, 0, 0, 0, 0, 0, 0))
    finally:
        await engine.close()
        process.stop()


async def test_active_reads_are_published(engine: EmbeddedEngine) -> None:
    bucket = await make_bucket(engine)
    writer = await engine.create_file()
    await writer.write(bytes(3 << 20))
    ref = await writer.finish()
    change = i.PutObject(
        bucket.id, "big", 1, ref.size, "e" * 32, "root", "STANDARD", i.EMPTY_META, files=(ref,)
    )
    answer = await engine.commit(change)
    version = await engine.lookup(bucket.id, "big")
    assert version is not None
    reading = engine.read(version, 0, ref.size)
    assert engine.board.oldest_read() == 0
    await anext(reading)
    assert engine.board.oldest_read() == answer.seq
    await reading.aclose()  # type: ignore[attr-defined]
    assert engine.board.oldest_read() == 0


def test_slots_are_claimed_once_and_given_back(tmp_path: Path) -> None:
    one, other = Board(str(tmp_path)), Board(str(tmp_path))
    mine, theirs = one.claim(), other.claim()
    assert mine.number != theirs.number
    mine.metrics[3] += 5
    assert [slot.metrics[3] for slot in other.slots()] == [5, 0]
    mine.release()
    assert [slot.number for slot in other.slots()] == [theirs.number]
    more = [one.claim() for _ in range(SLOTS - 1)]
    with pytest.raises(RuntimeError):
        one.claim()
    for slot in [*more, theirs]:
        slot.release()


async def test_a_committer_that_fails_answers_and_never_hangs(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await make_bucket(engine)
    assert engine._thread is not None

    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr(engine._thread.committer, "tend", fail)
    with contextlib.suppress(errors.Unavailable):  # its next tick may come before this put
        await put(engine, bucket, "a", b"payload")
    with pytest.raises(errors.Unavailable):
        await put(engine, bucket, "b", b"payload")


def lose_header(path: str) -> None:
    with open(path, "r+b") as file:
        file.write(bytes(segment.PAGE))


async def test_objects_of_a_segment_whose_header_is_lost_are_read(engine: EmbeddedEngine) -> None:
    bucket = await make_bucket(engine)
    version = await put(engine, bucket, "key", b"the bytes")
    await fill_segment(engine, bucket)
    path = os.path.join(engine.drive.segments, segment.name(version.place.segment))
    lose_header(path)
    assert await engine.read_inline(version) == b"the bytes"


async def test_the_end_of_the_feed_is_found_without_a_search(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await make_bucket(engine)
    searched: list[int] = []
    monkeypatch.setattr(
        segment, "search_batch", lambda fd, start, stop, salt: searched.append(start)
    )
    for number in range(3):
        await put(engine, bucket, f"key{number}", b"x")
        events = await engine.changes(0)
        assert [event.key for event in events[1:]] == [f"key{n}" for n in range(number + 1)]
    assert await engine.changes(0, 2) == events[:2]
    assert await engine.changes(events[1].seq, 1) == events[2:3]
    assert searched == []


async def test_the_feed_goes_on_where_the_last_page_ended(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await make_bucket(engine)
    for number in range(20):
        await put(engine, bucket, f"key{number}", b"x")
    first = await engine.changes(0, 10)
    read: list[int] = []
    heads = segment.read_heads
    monkeypatch.setattr(
        segment,
        "read_heads",
        lambda fd, batch: read.append(batch.first_seq) or heads(fd, batch),  # type: ignore[func-returns-value]
    )
    second = await engine.changes(first[-1].seq, 100)
    assert [event.key for event in second] == [f"key{number}" for number in range(9, 20)]
    assert min(read) == first[-1].seq  # the batch in which the page ended, none before it
