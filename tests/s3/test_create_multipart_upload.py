"""CreateMultipartUpload."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient, error_code


def test_ids_are_never_the_same(boto_client: Any, bucket: str) -> None:
    ids = {
        boto_client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"] for _ in range(5)
    }
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("algorithm", "kind", "answered"),
    [
        ("CRC32", None, "COMPOSITE"),
        ("CRC32", "FULL_OBJECT", "FULL_OBJECT"),
        ("CRC32C", "COMPOSITE", "COMPOSITE"),
        ("CRC64NVME", None, "FULL_OBJECT"),
        ("SHA256", None, "COMPOSITE"),
    ],
)
def test_checksum_types(
    boto_client: Any, bucket: str, algorithm: str, kind: str | None, answered: str
) -> None:
    wanted = {"ChecksumType": kind} if kind else {}
    answer = boto_client.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, **wanted
    )
    assert (answer["ChecksumAlgorithm"], answer["ChecksumType"]) == (algorithm, answered)


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("SHA1", "FULL_OBJECT"), ("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE"),
     ("CRC32", "HALF"), ("MD4", ""), ("", "COMPOSITE")],
)  # fmt: skip
def test_checksum_types_that_do_not_exist(
    raw: RawClient, bucket: str, algorithm: str, kind: str
) -> None:
    headers = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind}
    headers = {name: value for name, value in headers.items() if value}
    answer = raw.request("POST", f"/{bucket}/k", "uploads", headers=headers, body=b"")
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_encryption_is_refused(boto_client: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        boto_client.create_multipart_upload(Bucket=bucket, Key="k", ServerSideEncryption="AES256")
    assert error_code(error) == "NotImplemented"


def test_nothing_is_visible_yet(boto_client: Any, bucket: str) -> None:
    boto_client.create_multipart_upload(Bucket=bucket, Key="k")
    assert "Contents" not in boto_client.list_objects_v2(Bucket=bucket)
