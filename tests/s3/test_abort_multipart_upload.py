"""AbortMultipartUpload."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient, error_code, error_status


def test_nothing_is_left(boto_client: Any, bucket: str) -> None:
    upload = boto_client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = boto_client.upload_part(
        Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x" * 300_000
    )
    answer = boto_client.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert "Uploads" not in boto_client.list_multipart_uploads(Bucket=bucket)
    named = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    with pytest.raises(ClientError) as error:
        boto_client.complete_multipart_upload(
            Bucket=bucket, Key="k", UploadId=upload, MultipartUpload=named
        )
    assert (error_status(error), error_code(error)) == (404, "NoSuchUpload")


@pytest.mark.parametrize("upload_id", ["none", ""])
def test_no_such_upload(raw: RawClient, boto_client: Any, bucket: str, upload_id: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k")
    answer = raw.request("DELETE", f"/{bucket}/k", f"uploadId={upload_id}")
    assert (answer.status, answer.code) == (404, "NoSuchUpload")
    boto_client.head_object(Bucket=bucket, Key="k")
