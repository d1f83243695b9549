"""`oversight backup` and `oversight restore` on a real drive."""

from __future__ import annotations

import asyncio
from pathlib import Path

from storage.config import Config
from storage.engine import interface as i
from storage.engine.embedded.engine import EmbeddedEngine
from tests.commands import Run


def config(drive: Path) -> Config:
    return Config(drives=(str(drive),), segment_size=1 << 20)


async def fill(drive: Path) -> None:
    engine = await EmbeddedEngine.local(config(drive))
    bucket = await engine.commit(i.CreateBucket("b", "root", 1))
    await engine.commit(
        i.PutObject(bucket.id, "k", 1, 5, "etag", "root", "STANDARD", i.EMPTY_META, b"bytes")
    )
    await engine.close()


async def content(drive: Path) -> bytes:
    engine = await EmbeddedEngine.local(config(drive))
    try:
        bucket = await engine.bucket("b")
        assert bucket is not None
        version = await engine.lookup(bucket.id, "k")
        assert version is not None
        return await engine.read_inline(version)
    finally:
        await engine.close()


def test_what_was_backed_up_is_restored(run: Run, tmp_path: Path) -> None:
    drive, copy, fresh = tmp_path / "drive", tmp_path / "copy", tmp_path / "fresh"
    drive.mkdir()
    asyncio.run(fill(drive))

    done = run("backup", str(copy), "--drives", str(drive), "--json")
    assert (done.code, done.value["path"], done.value["segments"]) == (0, str(copy), 1)

    done = run("restore", str(copy), "--drives", str(fresh), "--json")
    assert (done.code, done.value["path"]) == (0, str(fresh))
    assert asyncio.run(content(fresh)) == b"bytes"


def test_what_is_in_the_way_is_one_sentence(run: Run, tmp_path: Path) -> None:
    drive, copy = tmp_path / "drive", tmp_path / "copy"
    drive.mkdir()
    asyncio.run(fill(drive))
    assert run("backup", str(copy), "--drives", str(drive)).code == 0

    again = run("backup", str(copy), "--drives", str(drive))
    assert (again.code, again.err) == (1, f"{copy} is not empty: name a new directory.\n")
    taken = run("restore", str(copy), "--drives", str(drive))
    assert (taken.code, "already holds a store" in taken.err) == (1, True)
    nothing = run("restore", str(tmp_path), "--drives", str(tmp_path / "other"))
    assert (nothing.code, "is no complete backup" in nothing.err) == (1, True)
    nowhere = run("backup", str(tmp_path / "new"), "--drives", str(tmp_path / "other"))
    assert (nowhere.code, "holds no store" in nowhere.err) == (1, True)
    assert not (tmp_path / "other").exists()


def test_a_damaged_backup_is_refused(run: Run, tmp_path: Path) -> None:
    drive, copy, fresh = tmp_path / "drive", tmp_path / "copy", tmp_path / "fresh"
    drive.mkdir()
    asyncio.run(fill(drive))
    assert run("backup", str(copy), "--drives", str(drive)).code == 0
    (segment,) = (copy / "segments").glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[data.index(b"bytes")] ^= 1
    segment.write_bytes(data)

    done = run("restore", str(copy), "--drives", str(fresh))
    assert (done.code, done.err.startswith("Damaged data: ")) == (1, True)
