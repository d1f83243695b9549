"""Drives that older releases wrote are read by this one, byte for byte."""

from __future__ import annotations

import asyncio
import tarfile
from pathlib import Path

import pytest

from storage.engine.embedded import drives
from storage.engine.embedded.engine import EmbeddedEngine
from tests.golden.content import LARGE, META, PARTS, SMALL, config_at

DRIVES = sorted(Path(__file__).parent.glob("format-*.tar.xz"))


async def look(drive: Path) -> None:
    engine = await EmbeddedEngine.local(config_at(drive))
    try:
        (bucket,) = await engine.buckets()
        assert (bucket.name, bucket.owner, bucket.region) == ("golden", "root", "eu")
        assert bucket.config == {"cors": b"<CORS/>"}
        expected = {**SMALL, "replaced": b"new", "large": LARGE}
        expected |= {f"many/{number:03}": b"%03d" % number for number in range(300)}
        page = await engine.list_objects(bucket.id)
        assert [entry.key for entry in page.entries] == sorted(expected, key=str.encode)
        for key, payload in expected.items():
            version = await engine.lookup(bucket.id, key)
            assert version is not None
            assert version.meta == META
            assert version.modified == 1_700_000_000_000
            pieces = [bytes(each) async for each in engine.read(version, 0, version.size)]
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
    asyncio.run(look(tmp_path))
