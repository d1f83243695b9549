"""GetObjectAttributes."""

from __future__ import annotations

import os
from typing import Any

from tests.s3.raw import RawClient

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def test_of_a_plain_object(boto_client: Any, bucket: str) -> None:
    put = boto_client.put_object(Bucket=bucket, Key="k", Body=b"12345", ChecksumAlgorithm="SHA256")
    got = boto_client.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=ALL)
    assert f'"{got["ETag"]}"' == put["ETag"]
    assert got["Checksum"]["ChecksumSHA256"] == put["ChecksumSHA256"]
    assert (got["ObjectSize"], got["StorageClass"]) == (5, "STANDARD")
    assert "ObjectParts" not in got


def test_of_a_multipart_object(boto_client: Any, bucket: str) -> None:
    upload = boto_client.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256"
    )["UploadId"]
    parts = []
    for number, size in ((1, 5 << 20), (2, 7)):
        part = boto_client.upload_part(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=os.urandom(size),
            ChecksumAlgorithm="SHA256",
        )  # fmt: skip
        parts.append({"PartNumber": number, "ETag": part["ETag"],
                      "ChecksumSHA256": part["ChecksumSHA256"]})  # fmt: skip
    boto_client.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    got = boto_client.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts", "Checksum"], MaxParts=1
    )
    found = got["ObjectParts"]
    assert (found["TotalPartsCount"], found["IsTruncated"]) == (2, True)
    assert found["Parts"][0]["ChecksumSHA256"] == parts[0]["ChecksumSHA256"]
    assert got["Checksum"]["ChecksumSHA256"].endswith("-2")


def test_an_unknown_attribute_is_refused(raw: RawClient, bucket: str) -> None:
    answer = raw.request(
        "GET", f"/{bucket}/k", "attributes", headers={"x-amz-object-attributes": "Colour"}
    )
    assert (answer.status, answer.code) == (400, "InvalidArgument")
