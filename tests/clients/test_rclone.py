"""rclone, as Debian has it: copies, checks and mirrors between a folder and a bucket."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import tools
from tests.conftest import Store
from tests.serving import clean_environment

MIB = 1024 * 1024
Rclone = Callable[..., str]


@pytest.fixture
def rclone(store: Store, tmp_path: Path) -> Rclone:
    """Call ``rclone`` with a remote ``store:`` set up as docs/clients.md says."""
    program = tools.debian("rclone")
    settings = {
        "TYPE": "s3",
        "PROVIDER": "Minio",
        "ENDPOINT": store.endpoint,
        "REGION": "us-east-1",
        "ACCESS_KEY_ID": store.access_key,
        "SECRET_ACCESS_KEY": store.secret_key,
    }
    environment = clean_environment(
        RCLONE_CONFIG=str(tmp_path / "no-config"),
        RCLONE_RETRIES="1",
        RCLONE_LOW_LEVEL_RETRIES="1",
        **{f"RCLONE_CONFIG_STORE_{name}": value for name, value in settings.items()},
    )
    return lambda *words: tools.run(program, *words, env=environment, cwd=tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with small files, odd names, and one file of several parts."""
    folder = tmp_path / "up"
    for name in ("a.txt", "sub/b.txt", *(key.replace("\\", "-") for key in tools.ODD_KEYS)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (folder / "large").write_bytes(os.urandom(13 * MIB))
    return folder


def test_copy_check_and_back(rclone: Rclone, bucket: str, tree: Path, tmp_path: Path) -> None:
    rclone(
        "copy", "up", f"store:{bucket}/tree", "--s3-upload-cutoff", "6M", "--s3-chunk-size", "5M"
    )
    rclone("check", "up", f"store:{bucket}/tree", "--download")
    rclone("copy", f"store:{bucket}/tree", "down")
    names = {path.relative_to(tree) for path in tree.rglob("*") if path.is_file()}
    down = tmp_path / "down"
    assert {path.relative_to(down) for path in down.rglob("*") if path.is_file()} == names
    assert (down / "large").read_bytes() == (tree / "large").read_bytes()


def test_sync_deletes_and_does_nothing_twice(rclone: Rclone, bucket: str, tree: Path) -> None:
    rclone("sync", "up", f"store:{bucket}")
    (tree / "a.txt").unlink()
    rclone("sync", "up", f"store:{bucket}")
    listed = json.loads(rclone("lsjson", "--recursive", "--files-only", f"store:{bucket}"))
    assert "a.txt" not in {entry["Path"] for entry in listed}
    assert len(listed) == len([path for path in tree.rglob("*") if path.is_file()])
    modified = {entry["Path"]: entry["ModTime"] for entry in listed}
    rclone("sync", "up", f"store:{bucket}")
    again = json.loads(rclone("lsjson", "--recursive", "--files-only", f"store:{bucket}"))
    assert {entry["Path"]: entry["ModTime"] for entry in again} == modified


def test_copies_moves_and_deletes_inside(rclone: Rclone, bucket: str, tree: Path) -> None:
    rclone("copyto", "up/a.txt", f"store:{bucket}/a")
    rclone("copyto", f"store:{bucket}/a", f"store:{bucket}/b")
    rclone("moveto", f"store:{bucket}/b", f"store:{bucket}/dir/c")
    assert sorted(rclone("lsf", "--recursive", f"store:{bucket}").split()) == [
        "a", "dir/", "dir/c",
    ]  # fmt: skip
    assert rclone("cat", f"store:{bucket}/dir/c") == "a.txt"
    rclone("deletefile", f"store:{bucket}/a")
    rclone("purge", f"store:{bucket}/dir")
    assert rclone("lsf", f"store:{bucket}") == ""


def test_presigned_url(rclone: Rclone, bucket: str, tree: Path) -> None:
    rclone("copyto", "up/sub/b.txt", f"store:{bucket}/signed")
    url = rclone("link", f"store:{bucket}/signed", "--expire", "1h").strip()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as answer:
        assert answer.read() == b"sub/b.txt"


def test_buckets_and_unfinished_uploads(rclone: Rclone, bucket: str, boto_client: object) -> None:
    other = f"{bucket}-other"
    rclone("mkdir", f"store:{other}")
    assert other in rclone("lsd", "store:")
    boto_client.create_multipart_upload(Bucket=other, Key="unfinished")  # type: ignore[attr-defined]
    assert "unfinished" in rclone("backend", "list-multipart-uploads", f"store:{other}")
    rclone("backend", "cleanup", f"store:{other}", "-o", "max-age=0s")
    assert "unfinished" not in rclone("backend", "list-multipart-uploads", f"store:{other}")
    rclone("rmdir", f"store:{other}")
    assert other not in rclone("lsd", "store:")
