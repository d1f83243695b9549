"""The AWS command line against the store, with its defaults."""

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
Aws = Callable[..., str]


@pytest.fixture
def aws(store: Store, tmp_path: Path) -> Aws:
    """Call ``aws`` with the settings that docs and README recommend and nothing of ~/.aws.

    ``signature_version`` concerns ``presign`` alone; requests are signed with version 4 anyway.
    """
    program = tools.aws()
    (tmp_path / "aws-config").write_text("[default]\ns3 =\n  signature_version = s3v4\n")
    environment = clean_environment(
        AWS_ENDPOINT_URL=store.endpoint,
        AWS_ACCESS_KEY_ID=store.access_key,
        AWS_SECRET_ACCESS_KEY=store.secret_key,
        AWS_DEFAULT_REGION="us-east-1",
        AWS_CONFIG_FILE=str(tmp_path / "aws-config"),
        AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "no-credentials"),
        AWS_EC2_METADATA_DISABLED="true",
        AWS_MAX_ATTEMPTS="1",
    )
    return lambda *words: tools.run(program, *words, env=environment, cwd=tmp_path)


def test_cp_small_and_large(aws: Aws, bucket: str, tmp_path: Path) -> None:
    small, large = tmp_path / "small.txt", tmp_path / "large.bin"
    small.write_bytes(b"hello")
    large.write_bytes(os.urandom(20 * MIB + 1))  # multipart from 8 MiB on
    aws("s3", "cp", str(small), f"s3://{bucket}/in/small.txt")
    aws("s3", "cp", str(large), f"s3://{bucket}/in/large.bin", "--no-progress")
    aws("s3", "cp", f"s3://{bucket}/in/", "back", "--recursive", "--no-progress")
    assert (tmp_path / "back/small.txt").read_bytes() == b"hello"
    assert (tmp_path / "back/large.bin").read_bytes() == large.read_bytes()


def test_sync_both_ways_and_delete(aws: Aws, bucket: str, tmp_path: Path) -> None:
    for name in ("a.txt", "sub/b.txt", "sub/c d.txt"):
        path = tmp_path / "up" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    aws("s3", "sync", "up", f"s3://{bucket}/tree")
    assert aws("s3", "sync", "up", f"s3://{bucket}/tree") == "", "the second sync has nothing to do"
    (tmp_path / "up/a.txt").unlink()
    aws("s3", "sync", "up", f"s3://{bucket}/tree", "--delete")
    aws("s3", "sync", f"s3://{bucket}/tree", "down")
    found = {
        str(path.relative_to(tmp_path / "down")) for path in (tmp_path / "down").rglob("*.txt")
    }
    assert found == {"sub/b.txt", "sub/c d.txt"}


def test_odd_names(aws: Aws, bucket: str, tmp_path: Path) -> None:
    names = set(tools.ODD_KEYS)
    for name in names:
        path = tmp_path / "odd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    aws("s3", "cp", "odd", f"s3://{bucket}/from", "--recursive")
    aws("s3", "cp", f"s3://{bucket}/from", f"s3://{bucket}/to", "--recursive")
    aws("s3", "sync", f"s3://{bucket}/to", "back")
    back = tmp_path / "back"
    found = {str(path.relative_to(back)) for path in back.rglob("*") if path.is_file()}
    assert found == names


def test_ls_and_rm(aws: Aws, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    for key in ("one", "dir/two", "dir/three"):
        aws("s3", "cp", "x", f"s3://{bucket}/{key}")
    assert bucket in aws("s3", "ls")
    top = aws("s3", "ls", f"s3://{bucket}/")
    assert "PRE dir/" in top
    assert " 5 one" in top
    summary = aws("s3", "ls", f"s3://{bucket}", "--recursive", "--summarize")
    assert "Total Objects: 3" in summary
    aws("s3", "rm", f"s3://{bucket}/dir/", "--recursive")
    assert [line.split()[-1] for line in aws("s3", "ls", f"s3://{bucket}/").splitlines()] == ["one"]


def test_mb_rb_and_mv(aws: Aws, bucket: str, tmp_path: Path) -> None:
    other = f"{bucket}-other"
    (tmp_path / "x").write_bytes(b"moved")
    aws("s3", "mb", f"s3://{other}")
    aws("s3", "cp", "x", f"s3://{bucket}/x")
    aws("s3", "mv", f"s3://{bucket}/x", f"s3://{other}/y")
    assert aws("s3", "ls", f"s3://{bucket}") == ""
    assert aws("s3", "cp", f"s3://{other}/y", "-") == "moved"
    aws("s3", "rb", f"s3://{other}", "--force")
    assert other not in aws("s3", "ls")


def test_presign(aws: Aws, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"signed")
    aws("s3", "cp", "x", f"s3://{bucket}/x")
    url = aws("s3", "presign", f"s3://{bucket}/x", "--expires-in", "3600").strip()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as answer:
        assert answer.read() == b"signed"


def test_api_commands(aws: Aws, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    put = ("s3api", "put-object", "--bucket", bucket, "--key", "x", "--body", "x")
    answer = json.loads(aws(*put, "--checksum-algorithm", "SHA256", "--metadata", "a=b"))
    get = ("s3api", "get-object", "--bucket", bucket, "--key", "x", "--checksum-mode", "ENABLED")
    got = json.loads(aws(*get, "--range", "bytes=2-4", "part"))
    assert (got["ContentLength"], got["Metadata"]) == (3, {"a": "b"})
    assert (tmp_path / "part").read_bytes() == b"234"
    whole = json.loads(aws(*get, "whole"))
    assert whole["ChecksumSHA256"] == answer["ChecksumSHA256"]
