"""ListBuckets."""

from __future__ import annotations

from typing import Any

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
