"""ListMultipartUploads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.s3.raw import RawClient

KEYS = ["a/1", "a/2", "b", "b", "c\x01"]


@pytest.fixture
def uploads(boto_client: Any, bucket: str) -> Iterator[list[tuple[str, str]]]:
    made = [
        (key, boto_client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"])
        for key in KEYS
    ]
    yield made
    for key, upload in made:
        boto_client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)


def listed(answer: Any) -> list[tuple[str, str]]:
    return [(upload["Key"], upload["UploadId"]) for upload in answer.get("Uploads", [])]


def test_all(boto_client: Any, bucket: str, uploads: list[tuple[str, str]]) -> None:
    answer = boto_client.list_multipart_uploads(Bucket=bucket, EncodingType="url")
    found = [(key.replace("%01", "\x01"), upload) for key, upload in listed(answer)]
    assert sorted(found) == sorted(uploads)
    assert answer["Uploads"][0]["Initiator"]["ID"]
    assert (answer["NextKeyMarker"], answer["NextUploadIdMarker"]) == (
        answer["Uploads"][-1]["Key"],
        answer["Uploads"][-1]["UploadId"],
    )


def test_pages(boto_client: Any, bucket: str, uploads: list[tuple[str, str]]) -> None:
    found: list[tuple[str, str]] = []
    more: dict[str, str] = {}
    while True:
        page = boto_client.list_multipart_uploads(Bucket=bucket, MaxUploads=1, Prefix="b", **more)
        found += listed(page)
        if not page["IsTruncated"]:
            break
        more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert sorted(found) == sorted(upload for upload in uploads if upload[0] == "b")


def test_prefix_and_delimiter(
    boto_client: Any, bucket: str, uploads: list[tuple[str, str]]
) -> None:
    answer = boto_client.list_multipart_uploads(Bucket=bucket, Delimiter="/", Prefix="a")
    assert [p["Prefix"] for p in answer["CommonPrefixes"]] == ["a/"]
    assert "Uploads" not in answer


def test_keys_that_xml_cannot_carry(
    raw: RawClient, bucket: str, uploads: list[tuple[str, str]]
) -> None:
    answer = raw.request("GET", f"/{bucket}", "uploads")
    assert answer.text("EncodingType") == "url"
    assert "c%01" in answer.texts("Key")


@pytest.mark.parametrize(
    "query", ["max-uploads=-1", "max-uploads=x", "encoding-type=x", "encoding-type="]
)
def test_bad_parameters(raw: RawClient, bucket: str, query: str) -> None:
    answer = raw.request("GET", f"/{bucket}", f"uploads&{query}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")
