"""Write the golden drive of today's format version: ``python -m tests.golden FILE.tar.xz``."""

from __future__ import annotations

import asyncio
import sys
import tarfile
import tempfile
from pathlib import Path

from storage.engine.embedded.engine import EmbeddedEngine
from tests.golden.content import config_at, write_all

#: The index is made anew from the log; the rest is prepared ahead or void after a stop.
LEFT_OUT = {"index", "reserve", "run", "board", "lock", "next"}


async def _write(drive: Path) -> None:
    engine = await EmbeddedEngine.local(config_at(drive))
    await write_all(engine)
    await engine.close()


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = entry.name.split("/")
    if LEFT_OUT.intersection(parts):
        return None
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def main(target: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        drive = Path(folder) / "drive"
        drive.mkdir()
        asyncio.run(_write(drive))
        with tarfile.open(target, "w:xz") as archive:
            archive.add(drive / ".oversight", ".oversight", filter=_kept)


if __name__ == "__main__":
    main(sys.argv[1])
