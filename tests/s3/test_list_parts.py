"""ListParts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.s3.raw import RawClient


@pytest.fixture
def upload(boto_client: Any, bucket: str) -> str:
    upload = boto_client.create_multipart_upload(
        Bucket=bucket, Key="k&k", ChecksumAlgorithm="CRC32"
    )["UploadId"]
    for number in (7, 3, 5):
        boto_client.upload_part(
            Bucket=bucket, Key="k&k", UploadId=upload, PartNumber=number, Body=b"x" * number,
            ChecksumAlgorithm="CRC32",
        )  # fmt: skip
    return str(upload)


def test_by_number(boto_client: Any, bucket: str, upload: str) -> None:
    answer = boto_client.list_parts(Bucket=bucket, Key="k&k", UploadId=upload)
    assert [(p["PartNumber"], p["Size"]) for p in answer["Parts"]] == [(3, 3), (5, 5), (7, 7)]
    assert (answer["Key"], answer["StorageClass"]) == ("k&k", "STANDARD")
    assert answer["Owner"]["ID"] == answer["Initiator"]["ID"]
    assert (answer["ChecksumAlgorithm"], answer["ChecksumType"]) == ("CRC32", "COMPOSITE")
    assert all(part["ChecksumCRC32"] for part in answer["Parts"])


def test_pages(boto_client: Any, bucket: str, upload: str) -> None:
    first = boto_client.list_parts(Bucket=bucket, Key="k&k", UploadId=upload, MaxParts=2)
    assert first["IsTruncated"]
    assert first["NextPartNumberMarker"] == 5
    rest = boto_client.list_parts(
        Bucket=bucket, Key="k&k", UploadId=upload, PartNumberMarker=first["NextPartNumberMarker"]
    )
    assert [part["PartNumber"] for part in rest["Parts"]] == [7]
    assert not rest["IsTruncated"]


@pytest.mark.parametrize("query", ["max-parts=-1", "max-parts=x", "part-number-marker=-1"])
def test_bad_parameters(raw: RawClient, bucket: str, upload: str, query: str) -> None:
    answer = raw.request("GET", f"/{bucket}/k%26k", f"uploadId={upload}&{query}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_no_such_upload(raw: RawClient, bucket: str) -> None:
    answer = raw.request("GET", f"/{bucket}/k", "uploadId=none")
    assert (answer.status, answer.code) == (404, "NoSuchUpload")


def test_an_empty_page(boto_client: Any, bucket: str, upload: str) -> None:
    answer = boto_client.list_parts(Bucket=bucket, Key="k&k", UploadId=upload, PartNumberMarker=9)
    assert (answer["PartNumberMarker"], answer["NextPartNumberMarker"]) == (9, 0)
    assert not answer["IsTruncated"]
