"""A backup holds what was acknowledged before it, and a restored store says so."""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path

import pytest

from storage import errors
from storage.config import Config
from storage.engine.embedded import pin
from storage.engine.embedded.backup import MANIFEST, Progress, backup, restore
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.interface import (
    ENABLED,
    VERSIONING,
    Bucket,
    PutSystem,
    SetBucketConfig,
    SetCursor,
)
from storage.services.upkeep import Upkeep
from tests.contract.store import (
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
from tests.engines import alone, small_config

pytestmark = pytest.mark.anyio
LARGE = b"l" * 1_500_000


def config_at(path: Path) -> Config:
    return small_config(path, segment_size=64 * 1024, inline_max=4096, fsync=False)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_at(tmp_path / "original")


async def fill(engine: EmbeddedEngine) -> Bucket:
    bucket = await make_bucket(engine)
    for number in range(100):
        await put(engine, bucket, f"k{number:03d}", bytes([number]) * 1500)
    for number in range(0, 100, 3):
        await delete(engine, bucket, f"k{number:03d}")
    await put(engine, bucket, "large", LARGE)
    await put(engine, bucket, "replaced", LARGE)
    await put(engine, bucket, "replaced", b"small now")
    await start_upload(engine, bucket, "m", "open")
    await put_part(engine, bucket, "m", "open", 1, b"part" * 2000)
    await engine.commit(PutSystem("store-key", "wrapped", b"sealed"))
    await engine.commit(SetCursor("follower", 3))
    return bucket


async def check(config: Config, bucket: Bucket) -> None:
    async with alone(config) as engine:
        kept = [number for number in range(100) if number % 3]
        expected = [f"k{number:03d}" for number in kept] + ["large", "replaced"]
        assert await keys(engine, bucket, limit=1000) == expected
        for number in kept:
            assert await get(engine, bucket, f"k{number:03d}") == bytes([number]) * 1500
        assert await get(engine, bucket, "large") == LARGE
        assert await get(engine, bucket, "replaced") == b"small now"
        record = await engine.system_record("store-key", "wrapped")
        assert record is not None
        assert record.value == b"sealed"
        sizes = [1500] * len(kept) + [len(LARGE), 9]
        assert await engine.usage(bucket.id) == expected_usage(sizes, uploads=1)
        (part,) = await engine.parts(bucket.id, "m", "open")
        from storage.engine.interface import CompletePart

        await engine.commit(
            completion(bucket, "m", "open", [CompletePart(1, part.etag)], part.size)
        )
        assert await get(engine, bucket, "m") == b"part" * 2000
        await put(engine, bucket, "and it", b"goes on")
        assert await get(engine, bucket, "and it") == b"goes on"


async def test_of_a_stopped_store(config: Config, tmp_path: Path) -> None:
    async with alone(config) as engine:
        bucket = await fill(engine)
    told: list[Progress] = []
    made = backup(config, str(tmp_path / "copy"), told.append)
    assert told[-1].done == made.bytes
    assert all(step.done <= step.total for step in told)
    restored = config_at(tmp_path / "restored")
    again = restore(str(tmp_path / "copy"), restored)
    assert (again.seq, again.segments) == (made.seq, made.segments)
    await check(restored, bucket)
    await check(config, bucket)


async def test_of_a_running_store(config: Config, tmp_path: Path) -> None:
    async with alone(config) as engine:
        bucket = await fill(engine)
        backup(config, str(tmp_path / "copy"))
        await put(engine, bucket, "after", b"the cut")
        await delete(engine, bucket, "large")
    restored = config_at(tmp_path / "restored")
    restore(str(tmp_path / "copy"), restored)
    await check(restored, bucket)


async def test_while_everything_moves(config: Config, tmp_path: Path) -> None:
    """Writers, compaction and collection beside it: all that was acknowledged before is there."""
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        upkeep = Upkeep(engine)
        upkeep.start()
        stopping = False
        acknowledged: dict[str, bytes] = {}

        async def write(seed: int) -> None:
            dice = random.Random(seed)
            number = 0
            while not stopping:
                number += 1
                body = dice.randbytes(dice.choice([10, 3000, 20_000]))
                await put(engine, bucket, f"moving-{seed}-{dice.randrange(20)}", body)
                await put(engine, bucket, f"{seed}-{number}", body)
                acknowledged[f"{seed}-{number}"] = body

        writers = [asyncio.create_task(write(seed)) for seed in range(3)]
        loop = asyncio.get_running_loop()
        backups = []
        for number in range(3):
            enough = len(acknowledged) + 20
            while len(acknowledged) < enough:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            before = dict(acknowledged)
            copy = str(tmp_path / f"copy{number}")
            await loop.run_in_executor(None, backup, config, copy)
            backups.append((copy, before))
        stopping = True
        await asyncio.gather(*writers)
        await upkeep.close()
    for number, (copy, before) in enumerate(backups):
        restored = config_at(tmp_path / f"restored{number}")
        restore(copy, restored)
        async with alone(restored) as engine:
            for key, body in before.items():
                assert await get(engine, bucket, key) == body
            page = await engine.list_objects(bucket.id, limit=100_000)
            assert len(page.entries) >= len(before) > 0
            for entry in page.entries:
                assert len(await get(engine, bucket, entry.key) or b"") == entry.size


async def test_nothing_is_removed_meanwhile(config: Config, tmp_path: Path) -> None:
    async with alone(config) as engine:
        with pin.removing(engine.drive) as allowed:
            assert allowed
            with pytest.raises(errors.Unavailable), pin.held_still(engine.drive, patience=0.0):
                pass
        with pin.held_still(engine.drive, patience=0.0):
            with pin.removing(engine.drive) as allowed:
                assert not allowed
            with pytest.raises(errors.Unavailable), pin.held_still(engine.drive, patience=0.0):
                pass


async def test_rot_is_not_backed_up(config: Config, tmp_path: Path) -> None:
    async with alone(config) as engine:
        bucket = await fill(engine)
        version = await engine.lookup(bucket.id, "large")
        assert version is not None
    name = version.files[0].name
    path = Path(config.drives[0], ".oversight", "files", name[-2:], name)
    damage(path, 1000)
    with pytest.raises(errors.DataCorrupt):
        backup(config, str(tmp_path / "copy"))
    assert not (tmp_path / "copy" / MANIFEST).exists()


async def test_a_rotten_segment_is_not_backed_up(config: Config, tmp_path: Path) -> None:
    async with alone(config) as engine:
        await fill(engine)
    damage(Path(config.drives[0], ".oversight", "segments", f"{2:016x}.seg"), 8000)
    with pytest.raises(errors.DataCorrupt):
        backup(config, str(tmp_path / "copy"))


def damage(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("what", ["segments", "files"])
async def test_a_damaged_backup_is_not_restored(config: Config, tmp_path: Path, what: str) -> None:
    async with alone(config) as engine:
        await fill(engine)
    backup(config, str(tmp_path / "copy"))
    paths = [path for path in sorted((tmp_path / "copy" / what).rglob("*")) if path.is_file()]
    damage(max(paths, key=lambda path: path.stat().st_size), 5000)
    restored = config_at(tmp_path / "restored")
    with pytest.raises(errors.DataCorrupt):
        restore(str(tmp_path / "copy"), restored)
    with pytest.raises(errors.DriveRefused):  # it is no store
        await EmbeddedEngine.local(restored)


@pytest.mark.parametrize("what", ["segments", "files"])
async def test_an_incomplete_backup_is_not_restored(
    config: Config, tmp_path: Path, what: str
) -> None:
    async with alone(config) as engine:
        await fill(engine)
    backup(config, str(tmp_path / "copy"))
    paths = [path for path in sorted((tmp_path / "copy" / what).rglob("*")) if path.is_file()]
    max(paths, key=lambda path: path.stat().st_size).unlink()
    with pytest.raises(errors.DataCorrupt):
        restore(str(tmp_path / "copy"), config_at(tmp_path / "restored"))


@pytest.mark.parametrize("what", ["damaged", "missing", "rotten before"])
async def test_files_of_hidden_versions_are_verified(
    config: Config, tmp_path: Path, what: str
) -> None:
    async with alone(config) as engine:
        bucket = await make_bucket(engine)
        await engine.commit(SetBucketConfig(bucket.name, VERSIONING, ENABLED))
        await put(engine, bucket, "k", LARGE)
        version = await engine.lookup(bucket.id, "k")
        assert version is not None
        await put(engine, bucket, "k", b"small now")
    name = version.files[0].name
    copy = tmp_path / "copy"
    if what == "rotten before":
        damage(Path(config.drives[0], ".oversight", "files", name[-2:], name), 1000)
        with pytest.raises(errors.DataCorrupt):
            backup(config, str(copy))
        return
    backup(config, str(copy))
    (path,) = (copy / "files").rglob(name)
    if what == "damaged":
        damage(path, 1000)
    else:
        path.unlink()
    with pytest.raises(errors.DataCorrupt):
        restore(str(copy), config_at(tmp_path / "restored"))


async def test_what_is_refused(config: Config, tmp_path: Path) -> None:
    async with alone(config) as engine:
        await fill(engine)
        with pytest.raises(errors.DriveRefused, match="not empty"):
            backup(config, config.drives[0])
        copy = tmp_path / "copy"
        backup(config, str(copy))
        with pytest.raises(errors.DriveRefused, match="not empty"):
            backup(config, str(copy))
        with pytest.raises(errors.DriveRefused, match="already holds a store"):
            restore(str(copy), config)
    restored = config_at(tmp_path / "restored")
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(errors.DriveRefused, match="newer release"):
        restore(str(copy), restored)
    (copy / MANIFEST).unlink()
    with pytest.raises(errors.DriveRefused, match="no complete backup"):
        restore(str(copy), restored)
    assert not os.path.exists(restored.drives[0])  # noqa: ASYNC240
