"""CopyObject."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient, error_code, error_status

LARGE = 3 * 1024 * 1024 + 5


@pytest.mark.parametrize("size", [0, 10, LARGE])
def test_bytes_and_what_they_carry(boto_client: Any, bucket: str, size: int) -> None:
    data = os.urandom(size)
    boto_client.put_object(
        Bucket=bucket, Key="a", Body=data, Metadata={"m": "1"}, ContentType="text/x",
        CacheControl="no-cache", Tagging="t=1",
    )  # fmt: skip
    answer = boto_client.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a")
    assert answer["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    boto_client.delete_object(Bucket=bucket, Key="a")
    got = boto_client.get_object(Bucket=bucket, Key="b")
    assert got["Body"].read() == data
    assert (got["Metadata"], got["ContentType"]) == ({"m": "1"}, "text/x")
    assert (got["CacheControl"], got["TagCount"]) == ("no-cache", 1)


def test_between_buckets_and_odd_keys(boto_client: Any, bucket: str) -> None:
    other = f"{bucket}-2"
    boto_client.create_bucket(Bucket=other)
    try:
        key = "../ä+ %2F?versionId=x/"
        boto_client.put_object(Bucket=bucket, Key=key, Body=b"odd")
        source = {"Bucket": bucket, "Key": key}
        boto_client.copy_object(Bucket=other, Key=key, CopySource=source)
        assert boto_client.get_object(Bucket=other, Key=key)["Body"].read() == b"odd"
        boto_client.delete_object(Bucket=other, Key=key)
    finally:
        boto_client.delete_bucket(Bucket=other)


@pytest.mark.parametrize("size", [10, LARGE])
def test_onto_itself_changes_only_what_it_carries(boto_client: Any, bucket: str, size: int) -> None:
    data = os.urandom(size)
    boto_client.put_object(Bucket=bucket, Key="k", Body=data, Metadata={"old": "1"})
    for value in ("1", "2"):
        boto_client.copy_object(
            Bucket=bucket, Key="k", CopySource=f"{bucket}/k", MetadataDirective="REPLACE",
            Metadata={"new": value}, ContentType="text/new",
        )  # fmt: skip
    got = boto_client.get_object(Bucket=bucket, Key="k")
    assert (got["Body"].read(), got["Metadata"]) == (data, {"new": "2"})
    assert got["ContentType"] == "text/new"


def test_onto_itself_without_a_change_is_refused(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k")
    with pytest.raises(ClientError) as error:
        boto_client.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/k")
    assert (error_status(error), error_code(error)) == (400, "InvalidRequest")


def test_tags_are_kept_or_replaced(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="a", Tagging="one=1&two=2")
    boto_client.copy_object(
        Bucket=bucket, Key="b", CopySource=f"{bucket}/a", TaggingDirective="REPLACE",
        Tagging="three=3",
    )  # fmt: skip
    assert boto_client.get_object(Bucket=bucket, Key="b")["TagCount"] == 1


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
@pytest.mark.parametrize("size", [10, LARGE])
def test_a_checksum_may_be_asked_for(
    boto_client: Any, bucket: str, algorithm: str, size: int
) -> None:
    data = os.urandom(size)
    expected = boto_client.put_object(
        Bucket=bucket, Key="e", Body=data, ChecksumAlgorithm=algorithm
    )[f"Checksum{algorithm}"]
    boto_client.put_object(Bucket=bucket, Key="a", Body=data, ChecksumAlgorithm="SHA1")
    answer = boto_client.copy_object(
        Bucket=bucket, Key="b", CopySource=f"{bucket}/a", ChecksumAlgorithm=algorithm
    )
    assert answer["CopyObjectResult"][f"Checksum{algorithm}"] == expected
    kept = boto_client.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/a")
    assert "ChecksumSHA1" in kept["CopyObjectResult"]


def test_of_a_multipart_object(boto_client: Any, bucket: str) -> None:
    upload = boto_client.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
    data = os.urandom((5 << 20) + 3)
    parts = [
        {"PartNumber": n, "ETag": boto_client.upload_part(
            Bucket=bucket, Key="a", UploadId=upload, PartNumber=n, Body=piece)["ETag"]}
        for n, piece in ((1, data[: 5 << 20]), (2, data[5 << 20 :]))
    ]  # fmt: skip
    boto_client.complete_multipart_upload(
        Bucket=bucket, Key="a", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    answer = boto_client.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a")
    assert answer["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    assert boto_client.get_object(Bucket=bucket, Key="b")["Body"].read() == data


PAST, FUTURE = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.mark.parametrize(
    ("condition", "value", "status"),
    [
        ("if-match", "ETAG", 200),
        ("if-match", '"x"', 412),
        ("if-none-match", "ETAG", 412),
        ("if-none-match", '"x"', 200),
        ("if-modified-since", PAST, 200),
        ("if-modified-since", FUTURE, 200),  # RFC 9110: no condition
        ("if-modified-since", "SINCE", 412),
        ("if-unmodified-since", FUTURE, 200),
        ("if-unmodified-since", PAST, 412),
    ],
)
def test_conditions_on_the_source(
    raw: RawClient, boto_client: Any, bucket: str, condition: str, value: str, status: int
) -> None:
    boto_client.put_object(Bucket=bucket, Key="a", Body=b"x")
    found = raw.request("HEAD", f"/{bucket}/a").headers
    value = value.replace("ETAG", found["etag"]).replace("SINCE", found["last-modified"])
    answer = raw.request(
        "PUT",
        f"/{bucket}/b",
        headers={
            "x-amz-copy-source": f"/{bucket}/a",
            f"x-amz-copy-source-{condition}": value,
        },
        body=b"",
    )
    assert answer.status == status
    assert raw.request("HEAD", f"/{bucket}/b").status == (200 if status == 200 else 404)


def test_conditions_on_the_target(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="a", Body=b"new")
    boto_client.put_object(Bucket=bucket, Key="b", Body=b"old")
    with pytest.raises(ClientError) as error:
        boto_client.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a", IfNoneMatch="*")
    assert error_status(error) == 412
    assert boto_client.get_object(Bucket=bucket, Key="b")["Body"].read() == b"old"


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("", 400, "InvalidArgument"),
        ("BUCKET", 400, "InvalidArgument"),
        ("BUCKET/", 400, "InvalidArgument"),
        ("BUCKET/%FF", 400, "InvalidArgument"),
        ("BUCKET/absent", 404, "NoSuchKey"),
        ("test-that-never-was/k", 404, "NoSuchBucket"),
        ("BUCKET/a?versionId=abc", 400, "InvalidArgument"),
    ],
)
def test_sources_that_make_no_sense(
    raw: RawClient, bucket: str, source: str, status: int, code: str
) -> None:
    answer = raw.request(
        "PUT", f"/{bucket}/b", headers={"x-amz-copy-source": source.replace("BUCKET", bucket)},
        body=b"",
    )  # fmt: skip
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize("header", ["x-amz-metadata-directive", "x-amz-tagging-directive"])
def test_an_unknown_directive_is_refused(raw: RawClient, bucket: str, header: str) -> None:
    answer = raw.request(
        "PUT", f"/{bucket}/b", headers={"x-amz-copy-source": f"{bucket}/a", header: "KEEP"},
        body=b"",
    )  # fmt: skip
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_encryption_of_the_copy_is_refused(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="a")
    with pytest.raises(ClientError) as error:
        boto_client.copy_object(
            Bucket=bucket, Key="b", CopySource=f"{bucket}/a", ServerSideEncryption="AES256"
        )
    assert error_code(error) == "NotImplemented"


def test_a_refusal_says_nothing_of_the_sources_delete_marker(
    raw: RawClient, boto_client: Any, bucket: str
) -> None:
    boto_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    boto_client.put_object(Bucket=bucket, Key="a", Body=b"x")
    boto_client.delete_object(Bucket=bucket, Key="a")
    for source in ("a", "missing"):
        copying = {"x-amz-copy-source": f"/{bucket}/{source}"}
        answer = raw.request("PUT", f"/{bucket}/b", headers=copying)
        assert (answer.status, answer.code, answer.text("Key")) == (404, "NoSuchKey", source)
        # These headers would speak of the copy.
        assert not {"x-amz-delete-marker", "x-amz-version-id"} & answer.headers.keys()
