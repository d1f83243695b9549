"""One answer to how large a file system is, whoever asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage.capacity import Capacity, capacity
from storage.config import Config
from storage.engine.embedded.drives import open_drive
from storage.serving.panel import describe

# 1,000 blocks, 700 of them used, 50 kept back for the system; inodes likewise.
TOLD = os.statvfs_result((4096, 4096, 1000, 300, 250, 90, 80, 70, 0, 255))


def test_what_the_system_keeps_back_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: TOLD)
    assert capacity("/") == Capacity(950 * 4096, 250 * 4096, 90, 70)


def test_the_panel_and_the_drive_tell_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(drives=(str(tmp_path),))
    drive = open_drive(str(tmp_path), config)
    monkeypatch.setattr(os, "statvfs", lambda path: TOLD)
    space = drive.space()
    drive.close()
    rows = dict(describe(config, []))
    assert f"({space.free >> 10} KiB free of {space.total / 2**20:.0f} MiB)" in str(rows)


def test_nothing_else_is_imported_for_it() -> None:
    script = "import sys, storage.capacity; print(*(m for m in sys.modules if 'storage' in m))"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert set(answer.stdout.split()) == {"storage", "storage.capacity"}
