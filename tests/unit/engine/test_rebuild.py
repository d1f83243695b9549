"""The index that is made anew says what the lost one said."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.config import Config
from storage.engine.embedded import drives, index, segment
from storage.engine.embedded.drives import Drive
from storage.engine.embedded.index import Writer
from storage.engine.embedded.log import Log
from storage.engine.embedded.rebuild import STAGING, Progress, rebuild
from storage.engine.embedded.segment import Damage
from storage.engine.interface import (
    ENABLED,
    SUSPENDED,
    VERSIONING,
    AmendObject,
    Bucket,
    PutObject,
    PutSystem,
    SetBucketConfig,
    SetCursor,
)
from tests.contract.store import (
    abort,
    completion,
    delete,
    make_bucket,
    put,
    put_part,
    start_upload,
)
from tests.engines import alone, small_config

pytestmark = pytest.mark.anyio
TABLES = {
    "buckets": "*",
    "bucket_config": "*",
    "bucket_names": "*",
    "usage": "*",
    "current": "*",
    "versions": "*",
    "uploads": "*",
    "parts": "*",
    "system": "*",
    "cursors": "*",
    "garbage": "file, size",
    "segments": "id, length, records, bytes, live, live_bytes, min_seq, max_seq",
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return small_config(tmp_path, segment_size=64 * 1024, inline_max=4096, fsync=False)


async def live_through_much(config: Config, seed: int = 1, changes: int = 600) -> None:
    """A history with everything in it, over many segments."""
    dice = random.Random(seed)
    async with alone(config) as engine:
        buckets = [await make_bucket(engine, name) for name in ("one", "two", "gone")]
        uploads: list[tuple[Bucket, str, str]] = []
        states = {changes // 4: ENABLED, changes // 2: SUSPENDED, 3 * changes // 4: ENABLED}
        for number in range(changes):
            bucket = dice.choice(buckets)
            if number in states:
                await engine.commit(SetBucketConfig("two", VERSIONING, states[number]))
            key = f"{dice.choice('abc')}/{dice.randrange(60):03d}"
            match dice.randrange(12):
                case 0 | 1 | 2 | 3 | 4:
                    body = dice.randbytes(dice.choice([0, 10, 1000, 4000]))
                    await put(engine, bucket, key, body, owner=dice.choice(["root", "alice"]))
                case 5:
                    await put(engine, bucket, key, dice.randbytes(5000), storage_class="COLD")
                case 6:
                    await delete(engine, bucket, key, modified=number)
                case 7:
                    await change_a_version(engine, bucket, dice)
                case 8:
                    upload = (bucket, key, f"u{number}")
                    await start_upload(engine, *upload, initiated=number)
                    uploads.append(upload)
                case 9 if uploads:
                    await put_part(engine, *dice.choice(uploads), dice.randrange(1, 4), b"part")
                case 10 if uploads:
                    upload = uploads.pop(dice.randrange(len(uploads)))
                    if dice.random() < 0.3:
                        await abort(engine, *upload)
                    else:
                        last = await put_part(engine, *upload, 3, dice.randbytes(50))
                        await engine.commit(completion(*upload, [last], 50))
                case _:
                    await engine.commit(PutSystem("user", key[0], dice.choice([None, b"x"])))
                    await engine.commit(SetBucketConfig("one", key[0], dice.choice([None, b"y"])))
                    await engine.commit(SetCursor(f"consumer-{key[0]}", number))
        version = await engine.lookup(buckets[0].id, "kept") or None
        assert version is None
        await keep_files(engine, buckets[0])
        await empty(engine, buckets[2])


async def change_a_version(engine: Any, bucket: Bucket, dice: random.Random) -> None:
    """Delete or amend any version at all."""
    entries = (await engine.list_versions(bucket.id)).entries
    if not entries:
        return
    entry = dice.choice(entries)
    if dice.random() < 0.5:
        await delete(engine, bucket, entry.key, version_id=entry.version_id)
    elif not entry.delete_marker:
        await engine.commit(AmendObject(bucket.id, entry.key, entry.seq, {"n": str(entry.seq)}))


async def keep_files(engine: Any, bucket: Bucket) -> None:
    """New metadata on the same file: the file belongs to the newer version."""
    await put(engine, bucket, "kept", b"x" * 5000)
    version = await engine.lookup(bucket.id, "kept")
    await engine.commit(
        PutObject(bucket.id, "kept", 1, 5000, "e", "root", "STANDARD", b"\x90", files=version.files)
    )


async def empty(engine: Any, bucket: Bucket) -> None:
    from storage.engine.interface import DeleteBucket

    for entry in (await engine.list_objects(bucket.id)).entries:
        await delete(engine, bucket, entry.key)
    await engine.commit(DeleteBucket(bucket.name))


def dump(config: Config) -> dict[str, list[Any]]:
    drive = drives.open_drive(config.drives[0], config, lock=False)
    connection = index.connect(os.path.join(drive.index, index.FILE))
    try:
        return {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)
            for table, columns in TABLES.items()
        }
    finally:
        connection.close()


@pytest.fixture
def opened(config: Config) -> Iterator[Drive]:
    drive = drives.open_drive(config.drives[0], config)
    yield drive
    drive.close()


def rebuilt(config: Config, damages: list[Damage] | None = None) -> dict[str, list[Any]]:
    """What a rebuild makes of the log."""
    drive = drives.open_drive(config.drives[0], config)
    try:
        index.remove(drive.index)
        writer = Writer(drive.index, drive.store_id)
        log = Log(drive, config, damages.append if damages is not None else None)
        told: list[Progress] = []
        rebuild(log, writer, told.append)
        applied = writer.applied()
        assert applied is not None
        assert applied.seq == log.next_seq - 1
        writer.close()
        log.close()
        assert STAGING not in os.listdir(drive.index)
    finally:
        drive.close()
    return dump(config)


def compare(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> None:
    live = {row[0] for row in before["garbage"]}
    for table in TABLES:
        if table == "garbage":
            # Collected files may be named once more, files in use never.
            assert live <= {row[0] for row in after[table]}
            in_use = {
                ref.name
                for row in after["current"] + after["versions"]
                if (files := index.ObjectRow._make(row).files) is not None
                for ref in index.decode_files(files)
            }
            assert not in_use & {row[0] for row in after[table]}
        elif table == "segments":
            # The one being written was closed by no successor yet.
            assert [row[:1] + row[2:] for row in before[table]] == [
                row[:1] + row[2:] for row in after[table]
            ]
            open_ = [row[0] for row in after[table] if not row[1]]
            assert open_ == [max(row[0] for row in after[table])]
        else:
            assert before[table] == after[table], table


def overwrite(drive: Drive, number: int, offset: int, data: bytes) -> None:
    """Damage a segment; a negative offset counts from its end."""
    with open(os.path.join(drive.segments, segment.name(number)), "r+b") as file:
        file.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
        file.write(data)


@pytest.mark.parametrize("seed", range(3))
async def test_a_rebuilt_index_is_the_same(config: Config, seed: int) -> None:
    await live_through_much(config, seed)
    before = dump(config)
    assert len(before["segments"]) > 5
    assert len(before["garbage"]) > 5
    compare(before, rebuilt(config))


async def test_without_footers(config: Config) -> None:
    """Segments that were closed by a crash have none: they are scanned."""
    await live_through_much(config)
    before = dump(config)
    drive = drives.open_drive(config.drives[0], config, lock=False)
    numbers = segment.listing(drive.segments)
    for number in numbers[1::2]:
        overwrite(drive, number, -segment.TRAILER_BYTES, b"\xff" * 8)
    compare(before, rebuilt(config))


async def test_a_damaged_footer_is_replaced_by_a_scan(config: Config) -> None:
    await live_through_much(config)
    before = dump(config)
    drive = drives.open_drive(config.drives[0], config, lock=False)
    overwrite(drive, 2, -segment.TRAILER_BYTES - 200, b"\xff" * 8)
    compare(before, rebuilt(config))


async def test_a_damaged_header_page(config: Config) -> None:
    await live_through_much(config)
    before = dump(config)
    drive = drives.open_drive(config.drives[0], config, lock=False)
    overwrite(drive, 2, 0, b"\xff" * segment.PAGE)
    damages: list[Damage] = []
    compare(before, rebuilt(config, damages))
    assert {damage.segment for damage in damages} == {2}


async def test_records_of_an_upload_whose_beginning_was_compacted_away(config: Config) -> None:
    """Parts of a finished upload, met without the upload's own record, name files in use."""
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await put(engine, bucket, "filler", b"x" * 4000)
        await start_upload(engine, bucket, "big")
        for number in range(20):
            await put(engine, bucket, f"filler-{number}", b"x" * 4000)
        part = await put_part(engine, bucket, "big", "upload-1", 1, b"p" * 9000)
        await engine.commit(completion(bucket, "big", "upload-1", [part], 9000))
    drive = drives.open_drive(config.drives[0], config, lock=False)
    os.unlink(os.path.join(drive.segments, segment.name(1)))
    after = rebuilt(config)
    assert after["garbage"] == []
    assert after["parts"] == after["uploads"] == []


async def test_an_empty_log(config: Config, opened: Drive) -> None:
    writer = Writer(opened.index, opened.store_id)
    log = Log(opened, config)
    rebuild(log, writer)
    assert writer.applied() is None
    writer.close()
    log.close()


async def test_progress(config: Config) -> None:
    progress = Progress(done=50, total=100, records=1000, seconds=2.0, share=0.25)
    assert (progress.rate, progress.remaining) == (500.0, 6.0)
    assert "25%" in str(progress)
    assert Progress(0, 0, 0, 0.0, 0.0).remaining == 0.0
