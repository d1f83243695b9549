"""s3fs, the file system of pandas, Dask and fsspec (aiobotocore underneath)."""

from __future__ import annotations

import os
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.clients.tools import ODD_KEYS
from tests.conftest import Store

s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")

MIB = 1024 * 1024


def options(store: Store, **more: Any) -> dict[str, Any]:
    """What docs/clients.md says to set."""
    return {
        "key": store.access_key,
        "secret": store.secret_key,
        "endpoint_url": store.endpoint,
        "client_kwargs": {"region_name": "us-east-1"},
        "skip_instance_cache": True,
        "use_listings_cache": False,
        **more,
    }


@pytest.fixture
def fs(store: Store) -> Any:
    return s3fs.S3FileSystem(**options(store))


def test_files_go_round(fs: Any, bucket: str, tmp_path: Path) -> None:
    fs.pipe_file(f"{bucket}/a/small.txt", b"hello")
    assert fs.cat_file(f"{bucket}/a/small.txt") == b"hello"
    assert fs.cat_file(f"{bucket}/a/small.txt", start=1, end=3) == b"el"
    large = tmp_path / "large"
    large.write_bytes(os.urandom(17 * MIB))
    fs.put_file(str(large), f"{bucket}/large", chunksize=6 * MIB)
    assert fs.info(f"{bucket}/large")["ETag"].endswith('-3"')
    fs.get_file(f"{bucket}/large", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == large.read_bytes()


def test_a_file_is_written_in_blocks_and_read_at_places(fs: Any, bucket: str) -> None:
    body = os.urandom(12 * MIB)
    with fs.open(f"{bucket}/blocks", "wb", block_size=5 * MIB) as file:
        for start in range(0, len(body), MIB):
            file.write(body[start : start + MIB])
    with fs.open(f"{bucket}/blocks", "rb") as file:
        file.seek(7 * MIB)
        assert file.read(100) == body[7 * MIB : 7 * MIB + 100]
    with fs.open(f"{bucket}/blocks", "ab", block_size=5 * MIB) as file:
        file.write(b"and more")
    assert fs.cat_file(f"{bucket}/blocks") == body + b"and more"


def test_listings(fs: Any, bucket: str) -> None:
    for name in ("a", "dir/b", "dir/c", "dir/sub/d"):
        fs.pipe_file(f"{bucket}/{name}", name.encode())
    assert fs.ls(bucket) == [f"{bucket}/a", f"{bucket}/dir"]
    assert fs.find(f"{bucket}/dir") == [f"{bucket}/dir/{name}" for name in ("b", "c", "sub/d")]
    assert fs.glob(f"{bucket}/dir/[bc]") == [f"{bucket}/dir/b", f"{bucket}/dir/c"]
    assert fs.isdir(f"{bucket}/dir")
    assert not fs.exists(f"{bucket}/nothing")
    assert fs.du(f"{bucket}/dir") == len("dir/bdir/cdir/sub/d")


def test_copies_moves_and_deletes(fs: Any, bucket: str) -> None:
    fs.pipe_file(f"{bucket}/from", b"content")
    fs.copy(f"{bucket}/from", f"{bucket}/copy")
    fs.mv(f"{bucket}/from", f"{bucket}/tree/moved")
    assert fs.find(bucket) == [f"{bucket}/copy", f"{bucket}/tree/moved"]
    fs.rm(f"{bucket}/tree", recursive=True)
    assert fs.find(bucket) == [f"{bucket}/copy"]


def test_odd_names(fs: Any, bucket: str) -> None:
    for key in ODD_KEYS:
        fs.pipe_file(f"{bucket}/{key}", key.encode())
        assert fs.cat_file(f"{bucket}/{key}") == key.encode()
    assert sorted(fs.find(bucket)) == sorted(f"{bucket}/{key}" for key in ODD_KEYS)
    for key in ODD_KEYS:
        fs.rm_file(f"{bucket}/{key}")  # `rm` takes brackets for a pattern
    assert fs.find(bucket) == []


def test_metadata_tags_and_a_presigned_url(fs: Any, bucket: str) -> None:
    path = f"{bucket}/described"
    fs.pipe_file(path, b"x", Metadata={"who": "me"}, ContentType="text/plain")
    assert fs.metadata(path)["who"] == "me"
    fs.put_tags(path, {"a": "b"})
    fs.put_tags(path, {"c": "d"}, mode="m")
    assert fs.get_tags(path) == {"a": "b", "c": "d"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(fs.sign(path, expiration=600), timeout=60) as answer:
        assert answer.read() == b"x"


def test_versions(store: Store, bucket: str, boto_client: Any) -> None:
    boto_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    fs = s3fs.S3FileSystem(**options(store, version_aware=True))
    fs.pipe_file(f"{bucket}/file", b"first")
    fs.pipe_file(f"{bucket}/file", b"second")
    new, old = (row["VersionId"] for row in fs.object_version_info(f"{bucket}/file"))
    with fs.open(f"{bucket}/file", version_id=old) as file:
        assert file.read() == b"first"
    with fs.open(f"{bucket}/file", version_id=new) as file:
        assert file.read() == b"second"


def test_buckets(fs: Any) -> None:
    name = f"test-{uuid.uuid4().hex[:20]}"
    fs.mkdir(name)
    assert name in fs.ls("")
    fs.rmdir(name)
    assert name not in fs.ls("")
