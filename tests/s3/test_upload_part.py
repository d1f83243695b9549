"""UploadPart."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest

from tests.s3.raw import UNSIGNED, RawClient, md5_base64


@pytest.fixture
def upload(boto_client: Any, bucket: str) -> str:
    return str(boto_client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"])


@pytest.mark.parametrize("size", [0, 7, 200_000, 6 << 20])
def test_its_etag_is_its_md5(boto_client: Any, bucket: str, upload: str, size: int) -> None:
    data = os.urandom(size)
    answer = boto_client.upload_part(
        Bucket=bucket, Key="k", UploadId=upload, PartNumber=10_000, Body=data
    )
    assert answer["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", "", "1.0", "%C2%B2"])
def test_bad_numbers(raw: RawClient, bucket: str, upload: str, number: str) -> None:
    query = f"partNumber={number}&uploadId={upload}"
    answer = raw.request("PUT", f"/{bucket}/k", query, body=b"x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.parametrize(("key", "wrong"), [("k", "none"), ("k", ""), ("other", None)])
def test_no_such_upload(
    raw: RawClient, bucket: str, upload: str, key: str, wrong: str | None
) -> None:
    upload_id = upload if wrong is None else wrong
    answer = raw.request("PUT", f"/{bucket}/{key}", f"partNumber=1&uploadId={upload_id}", body=b"x")
    assert (answer.status, answer.code) == (404, "NoSuchUpload")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-md5": md5_base64(b"other")}, "BadDigest"),
        ({"content-md5": "x"}, "InvalidDigest"),
        ({"x-amz-checksum-crc32": "AAAAAQ=="}, "BadDigest"),
    ],
)
def test_a_bad_part_is_not_there(
    raw: RawClient, bucket: str, upload: str, headers: dict[str, str], code: str
) -> None:
    query = f"partNumber=1&uploadId={upload}"
    answer = raw.request("PUT", f"/{bucket}/k", query, body=b"x" * 300_000, headers=headers)
    assert (answer.status, answer.code) == (400, code)
    listed = raw.request("GET", f"/{bucket}/k", f"uploadId={upload}")
    assert listed.texts("PartNumber") == []


def test_another_algorithm_than_the_upload_has(
    boto_client: Any, raw: RawClient, bucket: str
) -> None:
    upload = boto_client.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256"
    )["UploadId"]
    answer = raw.request(
        "PUT", f"/{bucket}/k", f"partNumber=1&uploadId={upload}", body=b"",
        headers={"x-amz-checksum-crc32": "AAAAAA=="},
    )  # fmt: skip
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_a_plain_chunked_part(raw: RawClient, boto_client: Any, bucket: str) -> None:
    upload = boto_client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    answer = raw.request(
        "PUT", f"/{bucket}/k", f"partNumber=1&uploadId={upload}",
        body=b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", headers={"transfer-encoding": "chunked"},
        payload=UNSIGNED,
    )  # fmt: skip
    assert answer.status == 200
    (part,) = boto_client.list_parts(Bucket=bucket, Key="k", UploadId=upload)["Parts"]
    assert (part["Size"], part["ETag"]) == (11, answer.headers["etag"])
