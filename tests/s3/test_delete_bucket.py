"""DeleteBucket."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import error_code, error_status


def test_an_empty_bucket_goes(boto_client: Any, bucket: str) -> None:
    boto_client.delete_bucket(Bucket=bucket)
    with pytest.raises(ClientError) as error:
        boto_client.delete_bucket(Bucket=bucket)
    assert (error_status(error), error_code(error)) == (404, "NoSuchBucket")


def test_a_bucket_with_objects_stays(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k")
    with pytest.raises(ClientError) as error:
        boto_client.delete_bucket(Bucket=bucket)
    assert (error_status(error), error_code(error)) == (409, "BucketNotEmpty")
    assert error.value.response["Error"]["BucketName"] == bucket
    boto_client.head_object(Bucket=bucket, Key="k")


def test_a_bucket_made_again_starts_empty(boto_client: Any, bucket: str) -> None:
    upload = boto_client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    boto_client.delete_bucket(Bucket=bucket)
    boto_client.create_bucket(Bucket=bucket)
    assert "Uploads" not in boto_client.list_multipart_uploads(Bucket=bucket)
    with pytest.raises(ClientError) as error:
        boto_client.list_parts(Bucket=bucket, Key="k", UploadId=upload)
    assert error_code(error) == "NoSuchUpload"
