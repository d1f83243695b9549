"""restic, as Debian has it: a backup repository in a bucket."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import tools
from tests.conftest import Store
from tests.serving import clean_environment

MIB = 1024 * 1024
Restic = Callable[..., str]


@pytest.fixture
def restic(store: Store, bucket: str, tmp_path: Path) -> Restic:
    """Call ``restic`` on a repository in the bucket, set up as docs/clients.md says."""
    program = tools.debian("restic")
    environment = clean_environment(
        RESTIC_REPOSITORY=f"s3:{store.endpoint}/{bucket}/backup",
        RESTIC_PASSWORD="secret of the repository",
        RESTIC_CACHE_DIR=str(tmp_path / "cache"),
        AWS_ACCESS_KEY_ID=store.access_key,
        AWS_SECRET_ACCESS_KEY=store.secret_key,
        AWS_DEFAULT_REGION="us-east-1",
    )
    return lambda *words: tools.run(program, "--quiet", *words, env=environment, cwd=tmp_path)


def test_backup_check_restore_and_forget(restic: Restic, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "sub dir").mkdir(parents=True)
    (folder / "large").write_bytes(os.urandom(30 * MIB))
    for number in range(50):
        (folder / "sub dir" / f"é {number}").write_text(f"file {number}")
    restic("init")
    restic("backup", "data")
    (folder / "large").write_bytes(os.urandom(MIB))
    restic("backup", "data")
    restic("check", "--read-data")
    first, _ = json.loads(restic("snapshots", "--json"))
    restic("restore", "latest", "--target", "back")
    back = tmp_path / "back" / "data"
    assert (back / "large").read_bytes() == (folder / "large").read_bytes()
    assert (back / "sub dir" / "é 49").read_text() == "file 49"
    restic("restore", first["short_id"], "--target", "old", "--include", "large")
    assert (tmp_path / "old/data/large").stat().st_size == 30 * MIB
    restic("forget", "--keep-last", "1", "--prune")
    restic("check")
    assert len(json.loads(restic("snapshots", "--json"))) == 1
