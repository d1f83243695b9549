"""ListBuckets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.s3.raw import RawClient


def test_a_new_bucket_is_listed_in_order(boto_client: Any, bucket: str) -> None:
    answer = boto_client.list_buckets()
    names = [entry["Name"] for entry in answer["Buckets"]]
    assert bucket in names
    assert names == sorted(names)
    assert answer["Owner"]["ID"]


def test_pages_by_token(boto_client: Any, bucket: str) -> None:
    other = f"{bucket}-2"
    boto_client.create_bucket(Bucket=other)
    try:
        first = boto_client.list_buckets(MaxBuckets=1, Prefix=bucket)
        assert [b["Name"] for b in first["Buckets"]] == [bucket]
        second = boto_client.list_buckets(
            MaxBuckets=1, Prefix=bucket, ContinuationToken=first["ContinuationToken"]
        )
        assert [b["Name"] for b in second["Buckets"]] == [other]
        assert "ContinuationToken" not in second
    finally:
        boto_client.delete_bucket(Bucket=other)


def test_a_stranger_is_denied(raw: RawClient) -> None:
    answer = raw.request("GET", "/", sign=False)
    assert (answer.status, answer.code) == (403, "AccessDenied")


def test_a_bad_limit_is_refused(raw: RawClient) -> None:
    answer = raw.request("GET", "/", "max-buckets=0")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_buckets_by_region(boto_client: Any, bucket: str) -> None:
    (found,) = boto_client.list_buckets(Prefix=bucket)["Buckets"]
    region = boto_client.head_bucket(Bucket=bucket)["BucketRegion"]
    assert (found["BucketRegion"], found["BucketArn"]) == (region, f"arn:aws:s3:::{bucket}")
    answer = boto_client.list_buckets(Prefix=bucket, BucketRegion=region)
    assert [b["Name"] for b in answer["Buckets"]] == [bucket]
    assert answer["Prefix"] == bucket
    assert not boto_client.list_buckets(Prefix=bucket, BucketRegion="mars-north-7").get("Buckets")


@pytest.mark.parametrize(
    "query", ["bucket-region=a%20b", "continuation-token=what", "max-buckets=-1"]
)
def test_what_cannot_be_is_refused(raw: RawClient, query: str) -> None:
    answer = raw.request("GET", "/", query)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_every_page_together_is_everything(boto_client: Any, bucket: str) -> None:
    others = [f"{bucket}-{number}" for number in range(4)]
    for other in others:
        boto_client.create_bucket(Bucket=other)
    try:
        pages = boto_client.get_paginator("list_buckets").paginate(
            Prefix=bucket, PaginationConfig={"PageSize": 2}
        )
        names = [[entry["Name"] for entry in page["Buckets"]] for page in pages]
        assert names == [[bucket, others[0]], others[1:3], others[3:]]
    finally:
        for other in others:
            boto_client.delete_bucket(Bucket=other)
