"""boto3 with its own defaults: what an application does when only the endpoint changes."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("boto3", reason="boto3 is not installed")

import urllib3.util
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.clients.tools import ODD_KEYS

MIB = 1024 * 1024


def test_object_goes_round(boto_client: Any, bucket: str) -> None:
    body = b'{"id": "1"}'
    boto_client.put_object(
        Bucket=bucket,
        Key="events/x.json",
        Body=body,
        ContentType="application/json",
        Metadata={"project": "demo"},
    )
    head = boto_client.head_object(Bucket=bucket, Key="events/x.json")
    assert (head["ContentLength"], head["ContentType"]) == (len(body), "application/json")
    assert head["Metadata"] == {"project": "demo"}
    assert head["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert boto_client.get_object(Bucket=bucket, Key="events/x.json")["Body"].read() == body


def test_default_checksum(make_boto_client: Callable[..., Any], bucket: str) -> None:
    """Since 2025 boto3 adds CRC32 unasked: a header over plain HTTP, a trailer over TLS."""
    client = make_boto_client()
    sent: list[Any] = []
    client.meta.events.register("before-send.s3", lambda request, **_: sent.append(request))
    body = os.urandom(300_000)
    answer = client.put_object(Bucket=bucket, Key="stream", Body=io.BytesIO(body))
    crc = base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()
    assert sent[0].headers["x-amz-checksum-crc32"] == crc.encode()
    assert answer["ChecksumCRC32"] == crc
    got = client.get_object(Bucket=bucket, Key="stream")
    assert got["ChecksumCRC32"] == crc
    assert got["Body"].read() == body


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"])
def test_checksum_is_stored_and_returned(boto_client: Any, bucket: str, algorithm: str) -> None:
    body = os.urandom(70_000)
    put = boto_client.put_object(Bucket=bucket, Key="sum", Body=body, ChecksumAlgorithm=algorithm)
    head = boto_client.head_object(Bucket=bucket, Key="sum", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
    got = boto_client.get_object(Bucket=bucket, Key="sum", ChecksumMode="ENABLED")
    assert got["Body"].read() == body


def test_wrong_checksum_is_refused_and_leaves_nothing(boto_client: Any, bucket: str) -> None:
    wrong = base64.b64encode(hashlib.sha256(b"something else").digest()).decode()
    with pytest.raises(ClientError) as refused:
        boto_client.put_object(Bucket=bucket, Key="bad", Body=b"this", ChecksumSHA256=wrong)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert "Contents" not in boto_client.list_objects_v2(Bucket=bucket)


def test_multipart_by_the_transfer_manager(boto_client: Any, bucket: str) -> None:
    body = os.urandom(13 * MIB + 17)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    boto_client.upload_fileobj(io.BytesIO(body), bucket, "large", Config=config)
    assert boto_client.head_object(Bucket=bucket, Key="large")["ETag"].endswith('-3"')
    into = io.BytesIO()
    boto_client.download_fileobj(bucket, "large", into, Config=config)
    assert into.getvalue() == body
    assert "Uploads" not in boto_client.list_multipart_uploads(Bucket=bucket)


def test_range(boto_client: Any, bucket: str) -> None:
    body = os.urandom(3 * MIB)
    boto_client.put_object(Bucket=bucket, Key="range", Body=body)
    part = boto_client.get_object(Bucket=bucket, Key="range", Range="bytes=1048570-1048590")
    assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert part["ContentRange"] == f"bytes 1048570-1048590/{len(body)}"
    assert part["Body"].read() == body[1048570:1048591]


def test_list_by_pages_and_by_folders(boto_client: Any, bucket: str) -> None:
    keys = [f"{folder}/{number:02}" for folder in "abc" for number in range(5)]
    for key in reversed(keys):
        boto_client.put_object(Bucket=bucket, Key=key, Body=b"")
    pages = boto_client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": 4}
    )
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys
    folders = boto_client.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in folders["CommonPrefixes"]] == ["a/", "b/", "c/"]
    assert "Contents" not in folders
    old = boto_client.list_objects(Bucket=bucket, Prefix="b/", MaxKeys=2)
    assert ([entry["Key"] for entry in old["Contents"]], old["IsTruncated"]) == (keys[5:7], True)


def test_copy_keeps_and_replaces_metadata(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="from", Body=b"same", Metadata={"a": "1"})
    source = {"Bucket": bucket, "Key": "from"}
    boto_client.copy_object(Bucket=bucket, Key="kept", CopySource=source)
    assert boto_client.head_object(Bucket=bucket, Key="kept")["Metadata"] == {"a": "1"}
    boto_client.copy_object(
        Bucket=bucket,
        Key="replaced",
        CopySource=source,
        MetadataDirective="REPLACE",
        Metadata={"b": "2"},
    )
    assert boto_client.head_object(Bucket=bucket, Key="replaced")["Metadata"] == {"b": "2"}
    assert boto_client.get_object(Bucket=bucket, Key="replaced")["Body"].read() == b"same"


def test_odd_names(boto_client: Any, bucket: str) -> None:
    for key in ODD_KEYS:
        boto_client.put_object(Bucket=bucket, Key=key, Body=key.encode())
        source = {"Bucket": bucket, "Key": key}
        boto_client.copy_object(Bucket=bucket, Key=f"copy/{key}", CopySource=source)
        where = {"Bucket": bucket, "Key": f"copy/{key}"}
        url = boto_client.generate_presigned_url("get_object", Params=where, ExpiresIn=600)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=60) as answer:
            assert answer.read() == key.encode()
    listed = boto_client.list_objects_v2(Bucket=bucket, Prefix="copy/")["Contents"]
    assert {entry["Key"] for entry in listed} == {f"copy/{key}" for key in ODD_KEYS}
    answer = boto_client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": key} for key in ODD_KEYS]}
    )
    assert len(answer["Deleted"]) == len(ODD_KEYS)


def test_large_copy_by_parts(boto_client: Any, bucket: str) -> None:
    body = os.urandom(11 * MIB)
    boto_client.upload_fileobj(io.BytesIO(body), bucket, "from")
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    boto_client.copy({"Bucket": bucket, "Key": "from"}, bucket, "to", Config=config)
    assert boto_client.get_object(Bucket=bucket, Key="to")["Body"].read() == body


def test_delete_one_and_many(boto_client: Any, bucket: str) -> None:
    for number in range(5):
        boto_client.put_object(Bucket=bucket, Key=f"k{number}", Body=b"x")
    boto_client.delete_object(Bucket=bucket, Key="k0")
    boto_client.delete_object(Bucket=bucket, Key="never was")
    answer = boto_client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "k1"}, {"Key": "k2"}, {"Key": "never was"}]}
    )
    assert {entry["Key"] for entry in answer["Deleted"]} == {"k1", "k2", "never was"}
    left = boto_client.list_objects_v2(Bucket=bucket)["Contents"]
    assert [entry["Key"] for entry in left] == ["k3", "k4"]
    with pytest.raises(ClientError) as gone:
        boto_client.get_object(Bucket=bucket, Key="k0")
    assert gone.value.response["Error"]["Code"] == "NoSuchKey"


def test_bucket_must_be_empty_to_go(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="x", Body=b"x")
    with pytest.raises(ClientError) as refused:
        boto_client.delete_bucket(Bucket=bucket)
    assert refused.value.response["Error"]["Code"] == "BucketNotEmpty"
    assert bucket in {entry["Name"] for entry in boto_client.list_buckets()["Buckets"]}


def test_presigned_urls_with_sigv4(boto_client: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "signed key/ü+1"}
    put = boto_client.generate_presigned_url("put_object", Params=where, ExpiresIn=600)
    assert "X-Amz-Signature=" in put
    assert _request("PUT", put, b"by url").status == 200
    get = boto_client.generate_presigned_url(
        "get_object",
        Params=where | {"ResponseContentDisposition": 'attachment; filename="u.txt"'},
        ExpiresIn=600,
    )
    with _request("GET", get) as answer:
        assert answer.read() == b"by url"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="u.txt"'
    with pytest.raises(urllib.error.HTTPError) as refused:
        _request("GET", get.replace("u.txt", "v.txt"))
    assert refused.value.code == 403


def test_presigned_url_with_sigv2(make_boto_client: Callable[..., Any], bucket: str) -> None:
    """boto3 signs URLs with version 2 in some regions unless told ``signature_version="s3v4"``."""
    make_boto_client().put_object(Bucket=bucket, Key="old", Body=b"as ever")
    url = make_boto_client(signature_version="s3").generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "old"}, ExpiresIn=600
    )
    assert "X-Amz-Signature" not in url
    with _request("GET", url) as answer:
        assert answer.read() == b"as ever"
    with pytest.raises(urllib.error.HTTPError) as refused:
        _request("GET", url.replace("/old?", "/new?"))
    assert refused.value.code == 403


def test_conditional_write(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        boto_client.put_object(Bucket=bucket, Key="once", Body=b"2", IfNoneMatch="*")
    assert refused.value.response["Error"]["Code"] == "PreconditionFailed"
    assert boto_client.get_object(Bucket=bucket, Key="once")["Body"].read() == b"1"


def _request(method: str, url: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, data=body, method=method)
    request.add_unredirected_header("Content-Type", "")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(request, timeout=60)


def test_it_waits_to_be_asked_for_the_body(
    boto_client: Any,
    bucket: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """botocore sends Expect: 100-continue with every upload, and nothing where it is refused."""
    wait = urllib3.util.wait_for_read  # botocore: for a second, then it sends all the same
    monkeypatch.setattr(urllib3.util, "wait_for_read", lambda sock, _: wait(sock, 60))
    with caplog.at_level("DEBUG", logger="botocore.awsrequest"):
        boto_client.put_object(Bucket=bucket, Key="k", Body=os.urandom(2 * MIB))
    assert "100 Continue response seen, now sending request body." in caplog.messages
    caplog.clear()
    with (
        caplog.at_level("DEBUG", logger="botocore.awsrequest"),
        pytest.raises(ClientError) as refused,
    ):
        boto_client.put_object(Bucket=f"{bucket}-absent", Key="k", Body=os.urandom(2 * MIB))
    assert refused.value.response["Error"]["Code"] == "NoSuchBucket"
    assert any("NOT sending request body" in message for message in caplog.messages)
