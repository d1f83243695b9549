"""HeadObject."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient, error_status


@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_says_what_a_get_says(raw: RawClient, boto_client: Any, bucket: str, size: int) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"x" * size, Metadata={"a": "b"})
    head, get = (raw.request(method, f"/{bucket}/k") for method in ("HEAD", "GET"))
    assert head.body == b""
    assert head.headers["content-length"] == str(size)
    different = {"x-amz-request-id", "date"}
    assert {n: v for n, v in head.headers.items() if n not in different} == {
        n: v for n, v in get.headers.items() if n not in different
    }


def test_a_range(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    got = boto_client.head_object(Bucket=bucket, Key="k", Range="bytes=2-4")
    assert (got["ContentLength"], got["ContentRange"]) == (3, "bytes 2-4/10")


def test_absent_without_a_body(raw: RawClient, boto_client: Any, bucket: str) -> None:
    with pytest.raises(ClientError) as error:
        boto_client.head_object(Bucket=bucket, Key="absent")
    assert error_status(error) == 404
    assert raw.request("HEAD", f"/{bucket}/absent").body == b""
