"""Drives that older releases wrote are read by this one, byte for byte."""

from __future__ import annotations

import asyncio
import json
import tarfile
from pathlib import Path

import pytest

from storage.engine.embedded import drives
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.interface import ENABLED, NULL_VERSION, VERSIONING, Bucket
from tests.golden.content import LARGE, META, PARTS, SMALL, VERSIONS, config_at

DRIVES = sorted(Path(__file__).parent.glob("format-*.tar.xz"))


async def look_at_versions(engine: EmbeddedEngine, bucket: Bucket) -> None:
    assert bucket.config == {VERSIONING: ENABLED}
    entries = (await engine.list_versions(bucket.id)).entries
    found = []
    for entry in entries:
        version = await engine.version(bucket.id, "k", entry.version_id)
        assert version is not None
        pieces = [bytes(each) async for each in engine.read(version, 0, version.size)]
        found.append(None if version.delete_marker else b"".join(pieces))
        if found[-1] == b"first":
            assert version.meta.tags == {"amended": "yes"}
            assert version.meta.headers == META.headers
    assert tuple(found) == VERSIONS
    assert [entry.version_id for entry in entries][-1] == NULL_VERSION


async def look(drive: Path, version: int) -> None:
    engine = await EmbeddedEngine.local(config_at(drive))
    try:
        bucket, *others = await engine.buckets()
        if version > 1:
            await look_at_versions(engine, others.pop())
        assert not others
        assert (bucket.name, bucket.owner, bucket.region) == ("golden", "root", "eu")
        assert bucket.config == {"cors": b"<CORS/>"}
        expected = {**SMALL, "replaced": b"new", "large": LARGE}
        expected |= {f"many/{number:03}": b"%03d" % number for number in range(300)}
        page = await engine.list_objects(bucket.id)
        assert [entry.key for entry in page.entries] == sorted(expected, key=str.encode)
        for key, payload in expected.items():
            shown = await engine.lookup(bucket.id, key)
            assert shown is not None
            assert shown.meta == META
            assert shown.modified == 1_700_000_000_000
            pieces = [bytes(each) async for each in engine.read(shown, 0, shown.size)]
            assert b"".join(pieces) == payload, key
        usage = await engine.usage(bucket.id)
        assert usage.objects == len(expected)
        assert usage.bytes == sum(map(len, expected.values()))
        assert usage.uploads == 1
        parts = await engine.parts(bucket.id, "pending", "upload-1")
        assert [(part.number, part.size, part.etag) for part in parts] == [
            (number, len(data), f"part {number}") for number, data in enumerate(PARTS, 1)
        ]
        (user,) = await engine.system("user")
        assert (user.name, user.value) == ("ada", b"sealed")
    finally:
        await engine.close()


def test_the_version_of_today_has_a_golden_drive() -> None:
    assert [path.name for path in DRIVES] == [
        f"format-{version}.tar.xz" for version in range(1, drives.FORMAT + 1)
    ]


@pytest.mark.parametrize("archive", DRIVES, ids=lambda path: path.name)
def test_a_golden_drive_is_read(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as found:
        found.extractall(tmp_path)  # our own archive; Debian 12's tarfile has no filters
    asyncio.run(look(tmp_path, int(archive.name.split(".")[0].removeprefix("format-"))))
    assert (
        json.loads((tmp_path / ".oversight" / "superblock").read_text())["format"] == drives.FORMAT
    )
