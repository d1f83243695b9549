"""ListObjectVersions and GetBucketVersioning of a bucket without versioning."""

from __future__ import annotations

from typing import Any

from tests.s3.raw import RawClient


def test_every_object_once_as_the_null_version(boto_client: Any, bucket: str) -> None:
    for key in ("a", "b/c", "b/d"):
        boto_client.put_object(Bucket=bucket, Key=key)
        boto_client.put_object(Bucket=bucket, Key=key, Body=b"again")
    answer = boto_client.list_object_versions(Bucket=bucket)
    assert [(v["Key"], v["VersionId"], v["IsLatest"]) for v in answer["Versions"]] == [
        ("a", "null", True),
        ("b/c", "null", True),
        ("b/d", "null", True),
    ]
    folded = boto_client.list_object_versions(Bucket=bucket, Delimiter="/")
    assert [p["Prefix"] for p in folded["CommonPrefixes"]] == ["b/"]


def test_pages(boto_client: Any, bucket: str) -> None:
    for number in range(5):
        boto_client.put_object(Bucket=bucket, Key=f"k{number}")
    paginator = boto_client.get_paginator("list_object_versions")
    pages = paginator.paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    found = [version["Key"] for page in pages for version in page["Versions"]]
    assert found == [f"k{number}" for number in range(5)]


def test_a_marker_of_a_version_that_cannot_exist(raw: RawClient, bucket: str) -> None:
    answer = raw.request("GET", f"/{bucket}", "versions&key-marker=a&version-id-marker=x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_versioning_was_never_enabled(boto_client: Any, bucket: str) -> None:
    assert "Status" not in boto_client.get_bucket_versioning(Bucket=bucket)
