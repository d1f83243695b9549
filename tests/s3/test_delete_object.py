"""DeleteObject."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient, error_code, error_status


@pytest.mark.parametrize("size", [5, 500_000])
def test_what_is_deleted_is_gone(boto_client: Any, bucket: str, size: int) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"x" * size)
    answer = boto_client.delete_object(Bucket=bucket, Key="k")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(ClientError) as error:
        boto_client.get_object(Bucket=bucket, Key="k")
    assert error_code(error) == "NoSuchKey"


def test_what_is_not_there_is_deleted_too(boto_client: Any, bucket: str) -> None:
    boto_client.delete_object(Bucket=bucket, Key="absent")
    boto_client.delete_object(Bucket=bucket, Key="absent", IfMatch='"x"')


def test_if_match(boto_client: Any, bucket: str) -> None:
    etag = boto_client.put_object(Bucket=bucket, Key="k")["ETag"]
    with pytest.raises(ClientError) as error:
        boto_client.delete_object(Bucket=bucket, Key="k", IfMatch='"other"')
    assert (error_status(error), error_code(error)) == (412, "PreconditionFailed")
    boto_client.head_object(Bucket=bucket, Key="k")
    boto_client.delete_object(Bucket=bucket, Key="k", IfMatch=etag)
    with pytest.raises(ClientError):
        boto_client.head_object(Bucket=bucket, Key="k")


def test_if_match_size_and_time(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"12345")
    modified = boto_client.head_object(Bucket=bucket, Key="k")["LastModified"]
    for condition in ({"IfMatchSize": 4}, {"IfMatchLastModifiedTime": modified.replace(year=2001)}):
        with pytest.raises(ClientError) as error:
            boto_client.delete_object(Bucket=bucket, Key="k", **condition)
        assert error_status(error) == 412
    boto_client.delete_object(
        Bucket=bucket, Key="k", IfMatchSize=5, IfMatchLastModifiedTime=modified
    )
    with pytest.raises(ClientError):
        boto_client.head_object(Bucket=bucket, Key="k")


def test_a_sub_resource_is_never_the_object(raw: RawClient, boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"x")
    for query in ("acl", "annotation", "uploadId=none"):
        assert raw.request("DELETE", f"/{bucket}/k", query).status in (404, 405, 501)
    boto_client.head_object(Bucket=bucket, Key="k")


def test_a_stranger_is_denied(raw: RawClient, boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k")
    assert raw.request("DELETE", f"/{bucket}/k", sign=False).status == 403
    boto_client.head_object(Bucket=bucket, Key="k")


def test_if_match_of_a_delete_marker(boto_client: Any, bucket: str) -> None:
    """It has no ETag: only ``*`` fits it."""
    boto_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    boto_client.delete_object(Bucket=bucket, Key="never", IfMatch="x")
    etag = boto_client.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    assert boto_client.delete_object(Bucket=bucket, Key="k", IfMatch=etag)["DeleteMarker"]
    boto_client.delete_object(Bucket=bucket, Key="k", IfMatch="*")
    with pytest.raises(ClientError) as error:
        boto_client.delete_object(Bucket=bucket, Key="k", IfMatch=etag)
    assert (error_status(error), error_code(error)) == (412, "PreconditionFailed")
    entry = {"Key": "k", "ETag": etag}
    answer = boto_client.delete_objects(Bucket=bucket, Delete={"Objects": [entry]})
    assert [e["Code"] for e in answer["Errors"]] == ["PreconditionFailed"]
