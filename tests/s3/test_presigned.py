"""Requests that are signed in their query, and what signers move there."""

from __future__ import annotations

import pytest

from tests.s3.raw import RawClient


@pytest.mark.parametrize("name", ["x-amz-copy-source", "X-Amz-Copy-Source"])
def test_a_copy_source_in_the_query_copies(raw: RawClient, bucket: str, name: str) -> None:
    assert raw.request("PUT", f"/{bucket}/source", body=b"content").status == 200
    query = raw.presign("PUT", f"/{bucket}/copy", f"{name}={bucket}%2Fsource")
    answer = raw.request("PUT", f"/{bucket}/copy", query, body=b"", sign=False)
    assert answer.status == 200
    assert answer.text("ETag")
    assert raw.request("GET", f"/{bucket}/copy").body == b"content"


@pytest.mark.parametrize(
    "query",
    [
        "x-amz-meta-a=x%0D%0Aforged:%20yes",
        "x-amz-meta-a=%00",
        "x-amz-meta-a%0D%0Aforged=yes",
        "x-amz-meta-a%20b=x",
        "x-amz-meta-%C3%A4=x",
    ],
)
def test_metadata_that_no_header_could_carry(raw: RawClient, bucket: str, query: str) -> None:
    signed = raw.presign("PUT", f"/{bucket}/key", query)
    answer = raw.request("PUT", f"/{bucket}/key", signed, body=b"x", sign=False)
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert raw.request("GET", f"/{bucket}/key").status == 404


def test_a_protection_in_the_query_is_refused(raw: RawClient, bucket: str) -> None:
    query = raw.presign("PUT", f"/{bucket}/key", "X-Amz-Server-Side-Encryption=AES256")
    answer = raw.request("PUT", f"/{bucket}/key", query, body=b"x", sign=False)
    assert (answer.status, answer.code) == (501, "NotImplemented")
