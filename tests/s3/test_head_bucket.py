"""HeadBucket."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient, error_status


def test_there(boto_client: Any, bucket: str) -> None:
    assert boto_client.head_bucket(Bucket=bucket)["BucketRegion"]


def test_not_there_without_a_body(raw: RawClient, boto_client: Any) -> None:
    with pytest.raises(ClientError) as error:
        boto_client.head_bucket(Bucket="test-that-never-was")
    assert error_status(error) == 404
    assert raw.request("HEAD", "/test-that-never-was").body == b""


def test_a_stranger_is_denied(raw: RawClient, bucket: str) -> None:
    assert raw.request("HEAD", f"/{bucket}", sign=False).status == 403


def test_another_expected_owner_is_denied(raw: RawClient, bucket: str) -> None:
    answer = raw.request("HEAD", f"/{bucket}", headers={"x-amz-expected-bucket-owner": "0" * 12})
    assert answer.status == 403
