"""minio-py against the store."""

from __future__ import annotations

import io
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

minio = pytest.importorskip("minio", reason="minio-py is not installed")
import urllib3  # noqa: E402
from minio.commonconfig import REPLACE, CopySource  # noqa: E402
from minio.deleteobjects import DeleteObject  # noqa: E402

from tests.clients.tools import ODD_KEYS  # noqa: E402
from tests.conftest import Store  # noqa: E402

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def client(store: Store) -> Any:
    return minio.Minio(
        store.host,
        access_key=store.access_key,
        secret_key=store.secret_key,
        secure=False,
        http_client=urllib3.PoolManager(retries=False, timeout=60),
    )


def test_make_list_and_remove_bucket(client: Any, bucket: str) -> None:
    other = f"{bucket}-other"
    client.make_bucket(other)
    assert client.bucket_exists(other)
    assert other in {found.name for found in client.list_buckets()}
    client.remove_bucket(other)
    assert not client.bucket_exists(other)


def test_put_get_and_stat(client: Any, bucket: str) -> None:
    body = os.urandom(100_000)
    client.put_object(
        bucket, "a/b", io.BytesIO(body), len(body), content_type="image/png", metadata={"who": "me"}
    )
    found = client.stat_object(bucket, "a/b")
    assert (found.size, found.content_type) == (len(body), "image/png")
    assert found.metadata["x-amz-meta-who"] == "me"
    assert _read(client, bucket, "a/b") == body
    assert _read(client, bucket, "a/b", offset=10, length=20) == body[10:30]


def test_fput_and_fget_by_parts(client: Any, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(os.urandom(16 * MIB + 3))
    client.fput_object(bucket, "large", str(tmp_path / "up"), part_size=5 * MIB)
    assert client.stat_object(bucket, "large").etag.endswith("-4")
    client.fget_object(bucket, "large", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()


def test_put_stream_of_unknown_length(client: Any, bucket: str) -> None:
    body = os.urandom(7 * MIB)
    client.put_object(bucket, "stream", io.BytesIO(body), -1, part_size=5 * MIB)
    assert _read(client, bucket, "stream") == body


def test_list(client: Any, bucket: str) -> None:
    for key in ("a/1", "a/2", "b", "ü & <x>"):
        client.put_object(bucket, key, io.BytesIO(b""), 0)
    # minio-py gives the objects of a page before its folders.
    assert [found.object_name for found in client.list_objects(bucket)] == ["b", "ü & <x>", "a/"]
    every = client.list_objects(bucket, recursive=True)
    assert [found.object_name for found in every] == ["a/1", "a/2", "b", "ü & <x>"]
    first = client.list_objects(bucket, recursive=True, use_api_v1=True, start_after="a/1")
    assert [found.object_name for found in first] == ["a/2", "b", "ü & <x>"]


def test_copy(client: Any, bucket: str) -> None:
    client.put_object(bucket, "from", io.BytesIO(b"copied"), 6)
    client.copy_object(
        bucket,
        "to",
        CopySource(bucket, "from"),
        metadata={"new": "1"},
        metadata_directive=REPLACE,
    )
    assert _read(client, bucket, "to") == b"copied"
    assert client.stat_object(bucket, "to").metadata["x-amz-meta-new"] == "1"


def test_odd_names(client: Any, bucket: str) -> None:
    for key in ODD_KEYS:
        body = key.encode()
        client.put_object(bucket, key, io.BytesIO(body), len(body))
        client.copy_object(bucket, f"copy/{key}", CopySource(bucket, key))
        assert _read(client, bucket, f"copy/{key}") == body
    found = {entry.object_name for entry in client.list_objects(bucket, recursive=True)}
    assert found == {*ODD_KEYS, *(f"copy/{key}" for key in ODD_KEYS)}


def test_presigned_urls(client: Any, bucket: str) -> None:
    put = client.presigned_put_object(bucket, "by url", expires=timedelta(hours=1))
    http = urllib3.PoolManager(retries=False)
    assert http.request("PUT", put, body=b"presigned").status == 200
    get = client.presigned_get_object(bucket, "by url", expires=timedelta(hours=1))
    assert http.request("GET", get).data == b"presigned"


def test_remove_objects(client: Any, bucket: str) -> None:
    keys = [f"k{number}" for number in range(7)]
    for key in keys:
        client.put_object(bucket, key, io.BytesIO(b"x"), 1)
    client.remove_object(bucket, "k0")
    assert list(client.remove_objects(bucket, [DeleteObject(key) for key in keys[1:6]])) == []
    assert [found.object_name for found in client.list_objects(bucket)] == ["k6"]
    with pytest.raises(minio.error.S3Error) as gone:
        client.stat_object(bucket, "k0")
    assert gone.value.code == "NoSuchKey"


def _read(client: Any, bucket: str, key: str, **options: int) -> bytes:
    answer = client.get_object(bucket, key, **options)
    try:
        return bytes(answer.read())
    finally:
        answer.close()
        answer.release_conn()
