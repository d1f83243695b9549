"""UploadPartCopy."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.s3.raw import RawClient

DATA = os.urandom((6 << 20) + 11)


@pytest.fixture
def upload(boto_client: Any, bucket: str) -> str:
    boto_client.put_object(Bucket=bucket, Key="source", Body=DATA)
    boto_client.put_object(Bucket=bucket, Key="small", Body=b"0123456789")
    return str(boto_client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"])


def test_ranges_make_an_object(boto_client: Any, bucket: str, upload: str) -> None:
    pieces = [("source", f"bytes=3-{(5 << 20) + 2}"), ("small", "bytes=2-4"), ("source", None)]
    parts = []
    for number, (key, wanted) in enumerate(pieces, 1):
        part = boto_client.upload_part_copy(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=number,
            CopySource=f"{bucket}/{key}", **({"CopySourceRange": wanted} if wanted else {}),
        )  # fmt: skip
        parts.append({"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]})
    boto_client.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": [parts[0], parts[2]]}
    )
    got = boto_client.get_object(Bucket=bucket, Key="k")["Body"].read()
    assert got == DATA[3 : (5 << 20) + 3] + DATA


@pytest.mark.parametrize(
    "wanted", ["bytes=0-", "bytes=-5", "bytes=5-2", "0-5", "bytes=0-5,7-8", "bytes=0-10",
               "bytes=10-11", "x"]
)  # fmt: skip
def test_bad_ranges(raw: RawClient, bucket: str, upload: str, wanted: str) -> None:
    answer = raw.request(
        "PUT", f"/{bucket}/k", f"partNumber=1&uploadId={upload}", body=b"",
        headers={"x-amz-copy-source": f"{bucket}/small", "x-amz-copy-source-range": wanted},
    )  # fmt: skip
    beyond = wanted in ("bytes=0-10", "bytes=10-11")
    expected = (416, "InvalidRange") if beyond else (400, "InvalidArgument")
    assert (answer.status, answer.code) == expected


def test_conditions(raw: RawClient, bucket: str, upload: str) -> None:
    answer = raw.request(
        "PUT", f"/{bucket}/k", f"partNumber=1&uploadId={upload}", body=b"",
        headers={"x-amz-copy-source": f"{bucket}/small", "x-amz-copy-source-if-match": '"x"'},
    )  # fmt: skip
    assert (answer.status, answer.code) == (412, "PreconditionFailed")


@pytest.mark.parametrize(("source", "code"), [("absent", "NoSuchKey"), ("", "InvalidArgument")])
def test_no_source(raw: RawClient, bucket: str, upload: str, source: str, code: str) -> None:
    answer = raw.request(
        "PUT", f"/{bucket}/k", f"partNumber=1&uploadId={upload}", body=b"",
        headers={"x-amz-copy-source": f"{bucket}/{source}"},
    )  # fmt: skip
    assert answer.code == code
