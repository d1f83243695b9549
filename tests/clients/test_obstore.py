"""obstore: Rust's object_store for Python, which delta-rs, LanceDB and Zarr build upon."""

from __future__ import annotations

import os
import urllib.request
from datetime import timedelta
from typing import Any

import pytest

from tests.clients.tools import ODD_KEYS
from tests.conftest import Store

obstore = pytest.importorskip("obstore", reason="obstore is not installed")
from obstore.exceptions import AlreadyExistsError, PreconditionError  # noqa: E402
from obstore.store import S3Store  # noqa: E402

MIB = 1024 * 1024


@pytest.fixture
def s3(store: Store, bucket: str) -> Any:
    """With the settings of docs/clients.md."""
    return S3Store(
        bucket,
        endpoint=store.endpoint,
        region="us-east-1",
        access_key_id=store.access_key,
        secret_access_key=store.secret_key,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def test_objects_go_round(s3: Any) -> None:
    s3.put("a/small", b"hello", attributes={"Content-Type": "text/plain", "who": "me"})
    got = s3.get("a/small")
    assert (bytes(got.bytes()), got.attributes["Content-Type"]) == (b"hello", "text/plain")
    assert got.attributes["who"] == "me"
    body = os.urandom(11 * MIB + 1)
    s3.put("large", body, chunk_size=5 * MIB, max_concurrency=3)
    assert bytes(s3.get("large").bytes()) == body
    assert bytes(s3.get_range("large", start=5, length=10)) == body[5:15]
    pieces = s3.get_ranges("large", starts=[0, 6 * MIB], lengths=[10, 10])
    assert [bytes(piece) for piece in pieces] == [body[:10], body[6 * MIB : 6 * MIB + 10]]


def test_lists_copies_renames_and_deletes(s3: Any) -> None:
    for key in ("top", "dir/a", "dir/b", "dir/sub/c"):
        s3.put(key, key.encode())
    listed = s3.list_with_delimiter("dir/")
    assert [entry["path"] for entry in listed["objects"]] == ["dir/a", "dir/b"]
    assert listed["common_prefixes"] == ["dir/sub"]
    after = s3.list(offset="dir/a").collect()
    assert [entry["path"] for entry in after] == ["dir/b", "dir/sub/c", "top"]
    s3.copy("top", "copy")
    s3.rename("top", "renamed")
    s3.delete(["dir/a", "dir/b", "dir/sub/c"])
    assert [entry["path"] for entry in s3.list().collect()] == ["copy", "renamed"]


def test_conditional_writes(s3: Any) -> None:
    """What table formats commit with."""
    made = s3.put("log/1", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        s3.put("log/1", b"second", mode="create")
    s3.put("log/1", b"third", mode={"e_tag": made["e_tag"]})
    with pytest.raises(PreconditionError):
        s3.put("log/1", b"fourth", mode={"e_tag": made["e_tag"]})
    assert bytes(s3.get("log/1").bytes()) == b"third"


def test_odd_names(s3: Any) -> None:
    for key in ODD_KEYS:
        s3.put(key, key.encode())
        assert bytes(s3.get(key).bytes()) == key.encode()
    assert sorted(entry["path"] for entry in s3.list().collect()) == sorted(ODD_KEYS)
    s3.delete(list(ODD_KEYS))
    assert s3.list().collect() == []


def test_presigned_urls(s3: Any) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    put = urllib.request.Request(
        obstore.sign(s3, "PUT", "signed", timedelta(minutes=1)), data=b"by url", method="PUT"
    )
    with opener.open(put, timeout=60):
        pass
    url = obstore.sign(s3, "GET", "signed", timedelta(minutes=1))
    with opener.open(url, timeout=60) as answer:
        assert answer.read() == b"by url"
