"""GetBucketLocation and the location constraint of new buckets."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient, error_code


def test_no_constraint_is_an_empty_element(raw: RawClient, bucket: str) -> None:
    answer = raw.request("GET", f"/{bucket}", "location")
    assert answer.status == 200
    assert answer.xml().tag.endswith("LocationConstraint")
    assert not answer.xml().text


def test_the_constraint_is_kept(boto_client: Any) -> None:
    name = f"test-{uuid.uuid4().hex[:20]}"
    boto_client.create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    try:
        assert boto_client.get_bucket_location(Bucket=name)["LocationConstraint"] == "eu-west-1"
    finally:
        boto_client.delete_bucket(Bucket=name)


def test_of_a_bucket_that_is_not_there(boto_client: Any) -> None:
    with pytest.raises(ClientError) as error:
        boto_client.get_bucket_location(Bucket="test-that-never-was")
    assert error_code(error) == "NoSuchBucket"
