"""ListObjectsV2 beyond what test_list_objects.py covers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.s3.raw import RawClient


@pytest.fixture
def filled(boto_client: Any, bucket: str) -> str:
    for number in range(7):
        boto_client.put_object(Bucket=bucket, Key=f"d{number}/k ü", Body=b"x")
    return bucket


def test_tokens_lead_through_all(boto_client: Any, filled: str) -> None:
    found: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = boto_client.list_objects_v2(Bucket=filled, Delimiter="/", MaxKeys=3, **more)
        prefixes = [e["Prefix"] for e in page.get("CommonPrefixes", [])]
        assert page["KeyCount"] == len(prefixes) <= 3
        found += prefixes
        if not page["IsTruncated"]:
            break
        more = {"ContinuationToken": page["NextContinuationToken"]}
    assert found == [f"d{number}/" for number in range(7)]


def test_a_token_stands_whatever_happens_to_its_key(boto_client: Any, filled: str) -> None:
    page = boto_client.list_objects_v2(Bucket=filled, MaxKeys=2)
    boto_client.delete_object(Bucket=filled, Key="d1/k ü")
    rest = boto_client.list_objects_v2(
        Bucket=filled, ContinuationToken=page["NextContinuationToken"]
    )
    assert [e["Key"] for e in rest["Contents"]] == [f"d{n}/k ü" for n in range(2, 7)]


def test_start_after(boto_client: Any, filled: str) -> None:
    answer = boto_client.list_objects_v2(Bucket=filled, StartAfter="d5/k ü")
    assert [e["Key"] for e in answer["Contents"]] == ["d6/k ü"]
    assert answer["StartAfter"] == "d5/k ü"


def test_owners_only_if_asked_for(boto_client: Any, filled: str) -> None:
    plain = boto_client.list_objects_v2(Bucket=filled)["Contents"][0]
    assert "Owner" not in plain
    asked = boto_client.list_objects_v2(Bucket=filled, FetchOwner=True)["Contents"][0]
    assert asked["Owner"]["ID"]


def test_checksum_algorithms_show(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"x", ChecksumAlgorithm="SHA256")
    entry = boto_client.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert (entry["ChecksumAlgorithm"], entry["ChecksumType"]) == (["SHA256"], "FULL_OBJECT")


@pytest.mark.parametrize("token", ["rubbish", "%20", "AAAA", "gICA", "MYA%3D"])
def test_a_token_that_is_none(raw: RawClient, bucket: str, token: str) -> None:
    answer = raw.request("GET", f"/{bucket}", f"list-type=2&continuation-token={token}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_a_token_counts_more_than_a_start(raw: RawClient, boto_client: Any, bucket: str) -> None:
    for key in "abcd":
        boto_client.put_object(Bucket=bucket, Key=key, Body=b"")
    first = boto_client.list_objects_v2(Bucket=bucket, StartAfter="a", MaxKeys=1)
    assert (first["StartAfter"], first["Contents"][0]["Key"]) == ("a", "b")
    rest = boto_client.list_objects_v2(
        Bucket=bucket, StartAfter="a", ContinuationToken=first["NextContinuationToken"]
    )
    assert [entry["Key"] for entry in rest["Contents"]] == ["c", "d"]
    assert rest["StartAfter"] == "a"  # told as it was sent, as the API Reference has it


def test_a_start_that_a_token_overrules_is_told_as_text(
    raw: RawClient, boto_client: Any, bucket: str
) -> None:
    for key in ("a", "b"):
        boto_client.put_object(Bucket=bucket, Key=key)
    first = boto_client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    query = f"list-type=2&continuation-token={quote(first['NextContinuationToken'], safe='')}"
    for start in ("<Contents><Key>x</Key></Contents>", "a&b", "\x01"):
        answer = raw.request("GET", f"/{bucket}", f"{query}&start-after={quote(start, safe='')}")
        told = answer.text("StartAfter") or ""
        assert (unquote(told) if answer.text("EncodingType") else told) == start
        assert answer.texts("Key") == ["b"]
