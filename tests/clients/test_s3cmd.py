"""s3cmd, as Debian has it."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import tools
from tests.conftest import Store
from tests.serving import clean_environment

MIB = 1024 * 1024
S3cmd = Callable[..., str]


@pytest.fixture
def s3cmd(store: Store, tmp_path: Path) -> S3cmd:
    """Call ``s3cmd`` with the settings of docs/clients.md and nothing of ~/.s3cfg."""
    program = tools.debian("s3cmd")
    config = tmp_path / "s3cfg"
    config.write_text(
        f"[default]\nhost_base = {store.host}\nhost_bucket = {store.host}\nuse_https = False\n"
        f"access_key = {store.access_key}\nsecret_key = {store.secret_key}\n"
        "bucket_location = us-east-1\nmax_retries = 1\nprogress_meter = False\n"
    )
    environment = clean_environment(HOME=str(tmp_path), LANG="C.UTF-8")
    return lambda *words: tools.run(
        program, "--config", config, *words, env=environment, cwd=tmp_path
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    path.write_bytes(b"hello")
    return path


def test_put_and_get_small_and_by_parts(
    s3cmd: S3cmd, bucket: str, small: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(12 * MIB + 1))
    s3cmd("put", small, f"s3://{bucket}/in/small", "--add-header", "x-amz-meta-who: me")
    s3cmd("put", large, f"s3://{bucket}/in/large", "--multipart-chunk-size-mb", "5")
    assert "x-amz-meta-who" in s3cmd("info", f"s3://{bucket}/in/small")
    (tmp_path / "back").mkdir()
    s3cmd("get", "--recursive", f"s3://{bucket}/in/", "back/")
    assert (tmp_path / "back/small").read_bytes() == b"hello"
    assert (tmp_path / "back/large").read_bytes() == large.read_bytes()


def test_list_copy_move_and_delete(s3cmd: S3cmd, bucket: str, tmp_path: Path) -> None:
    for key in ("one", "dir/two", *tools.ODD_KEYS):
        path = tmp_path / "up" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(key)
    s3cmd("put", "--recursive", "up/", f"s3://{bucket}")
    listed = s3cmd("ls", "--recursive", f"s3://{bucket}")
    assert {line.split(f"s3://{bucket}/")[1] for line in listed.splitlines()} == {
        "one", "dir/two", *tools.ODD_KEYS,
    }  # fmt: skip
    assert "DIR" in s3cmd("ls", f"s3://{bucket}")
    s3cmd("cp", f"s3://{bucket}/one", f"s3://{bucket}/copy")
    s3cmd("mv", f"s3://{bucket}/copy", f"s3://{bucket}/moved")
    s3cmd("modify", "--add-header", "Cache-Control: max-age=60", f"s3://{bucket}/moved")
    s3cmd("del", f"s3://{bucket}/per%2Fcent")
    s3cmd("del", "--recursive", "--force", f"s3://{bucket}/dir")
    left = s3cmd("ls", "--recursive", f"s3://{bucket}")
    assert "moved" in left
    assert "two" not in left
    assert "per%2Fcent" not in left


def test_sync(s3cmd: S3cmd, bucket: str, tmp_path: Path) -> None:
    for name in ("a.txt", "sub/b.txt", "sub/c d.txt"):
        path = tmp_path / "up" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    s3cmd("sync", "up/", f"s3://{bucket}/tree/")
    assert "upload" not in s3cmd("sync", "up/", f"s3://{bucket}/tree/")
    (tmp_path / "up/a.txt").unlink()
    s3cmd("sync", "--delete-removed", "up/", f"s3://{bucket}/tree/")
    s3cmd("sync", f"s3://{bucket}/tree/", "down/")
    down = tmp_path / "down"
    assert {str(path.relative_to(down)) for path in down.rglob("*.txt")} == {
        "sub/b.txt", "sub/c d.txt",
    }  # fmt: skip


def test_presigned_url(s3cmd: S3cmd, bucket: str, small: Path) -> None:
    s3cmd("put", small, f"s3://{bucket}/signed")
    url = s3cmd("signurl", f"s3://{bucket}/signed", "+60").strip()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as answer:
        assert answer.read() == b"hello"


def test_buckets_and_what_they_are_set_to(s3cmd: S3cmd, bucket: str, tmp_path: Path) -> None:
    other = f"{bucket}-other"
    s3cmd("mb", f"s3://{other}")
    assert f"s3://{other}" in s3cmd("ls")
    s3cmd("expire", "--expiry-days", "7", "--expiry-prefix", "old/", f"s3://{other}")
    assert "<Days>7</Days>" in s3cmd("getlifecycle", f"s3://{other}")
    s3cmd("dellifecycle", f"s3://{other}")
    s3cmd("rb", f"s3://{other}")
    assert f"s3://{other}" not in s3cmd("ls")


def test_who_may_read(s3cmd: S3cmd, store: Store, small: Path, tmp_path: Path) -> None:
    """By policy, then by ACL: a bucket that s3cmd makes has no ownership controls."""
    name = f"s3cmd-{uuid.uuid4().hex[:20]}"
    s3cmd("mb", f"s3://{name}")
    s3cmd("put", small, f"s3://{name}/file")
    url = f"{store.endpoint}/{name}/file"
    assert anonymous(url) == 403
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{name}/*",
    }
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    s3cmd("setpolicy", policy, f"s3://{name}")
    assert anonymous(url) == 200
    s3cmd("delpolicy", f"s3://{name}")
    assert anonymous(url) == 403
    s3cmd("setacl", "--acl-public", f"s3://{name}/file")
    assert anonymous(url) == 200
    assert "*anon*: READ" in s3cmd("info", f"s3://{name}/file")
    s3cmd("setacl", "--acl-private", f"s3://{name}/file")
    assert anonymous(url) == 403
    s3cmd("rb", "--recursive", "--force", f"s3://{name}")


def test_cors(s3cmd: S3cmd, bucket: str, tmp_path: Path) -> None:
    rules = tmp_path / "cors.xml"
    rules.write_text(
        "<CORSConfiguration><CORSRule><AllowedOrigin>http://a.example</AllowedOrigin>"
        "<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
    )
    s3cmd("setcors", rules, f"s3://{bucket}")
    assert "http://a.example" in s3cmd("info", f"s3://{bucket}")
    s3cmd("delcors", f"s3://{bucket}")
    assert "http://a.example" not in s3cmd("info", f"s3://{bucket}")


def test_signature_version_2(s3cmd: S3cmd, bucket: str, small: Path, tmp_path: Path) -> None:
    s3cmd("--signature-v2", "put", small, f"s3://{bucket}/old way+")
    s3cmd("--signature-v2", "get", f"s3://{bucket}/old way+", "back")
    assert (tmp_path / "back").read_bytes() == b"hello"
    assert "old way+" in s3cmd("--signature-v2", "ls", f"s3://{bucket}")
    url = s3cmd("--signature-v2", "signurl", f"s3://{bucket}/old way+", "+60").strip()
    assert anonymous(url) == 200


def anonymous(url: str) -> int:
    """The status of a GET that nobody has signed."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
