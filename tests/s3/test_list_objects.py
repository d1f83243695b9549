"""ListObjects (version 1), and what all listings have in common."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.s3.raw import RawClient

KEYS = ["a", "a/", "a/b", "a/b/c", "a0", "b/c", "z", "ä", "\U0001f600"]


@pytest.fixture
def filled(boto_client: Any, bucket: str) -> str:
    for key in KEYS:
        boto_client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return bucket


def test_all_in_the_order_of_utf8(boto_client: Any, filled: str) -> None:
    answer = boto_client.list_objects(Bucket=filled)
    assert [e["Key"] for e in answer["Contents"]] == sorted(KEYS, key=str.encode)
    assert not answer["IsTruncated"]
    assert answer["Contents"][0]["Owner"]["ID"]
    assert answer["Contents"][0]["Size"] == 1
    assert answer["Contents"][0]["StorageClass"] == "STANDARD"


@pytest.mark.parametrize(
    ("prefix", "delimiter", "keys", "prefixes"),
    [
        ("", "/", ["a", "a0", "z", "ä", "\U0001f600"], ["a/", "b/"]),
        ("a/", "/", ["a/", "a/b"], ["a/b/"]),
        ("a", "", ["a", "a/", "a/b", "a/b/c", "a0"], []),
        ("", "b", ["a", "a/", "a0", "z", "ä", "\U0001f600"], ["a/b", "b"]),
        ("", "b/c", ["a", "a/", "a/b", "a0", "z", "ä", "\U0001f600"], ["a/b/c", "b/c"]),
        ("nothing", "/", [], []),
        ("", "\x01", sorted(KEYS, key=str.encode), []),
    ],
)
def test_prefix_and_delimiter(
    boto_client: Any, filled: str, prefix: str, delimiter: str,
    keys: list[str], prefixes: list[str],
) -> None:  # fmt: skip
    answer = boto_client.list_objects(Bucket=filled, Prefix=prefix, Delimiter=delimiter)
    assert [e["Key"] for e in answer.get("Contents", [])] == keys
    assert [e["Prefix"] for e in answer.get("CommonPrefixes", [])] == prefixes


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_pages_join_to_the_whole(boto_client: Any, filled: str, size: int, delimiter: str) -> None:
    whole = boto_client.list_objects(Bucket=filled, Delimiter=delimiter)
    found: list[str] = []
    marker = ""
    while True:
        page = boto_client.list_objects(
            Bucket=filled, Delimiter=delimiter, MaxKeys=size, Marker=marker
        )
        names = [e["Key"] for e in page.get("Contents", [])]
        names += [e["Prefix"] for e in page.get("CommonPrefixes", [])]
        assert len(names) <= size
        found += names
        if not page["IsTruncated"]:
            break
        # NextMarker is S3's only with a delimiter; otherwise the last key continues.
        assert ("NextMarker" in page) == bool(delimiter)
        marker = page.get("NextMarker") or names[-1]
    expected = [e["Key"] for e in whole["Contents"]]
    expected += [e["Prefix"] for e in whole.get("CommonPrefixes", [])]
    assert sorted(found) == sorted(expected)
    assert len(found) == len(set(found))


def test_nothing_asked_nothing_given(boto_client: Any, filled: str) -> None:
    answer = boto_client.list_objects(Bucket=filled, MaxKeys=0)
    assert ("Contents" in answer, answer["IsTruncated"]) == (False, False)


def test_more_than_a_page_is_a_page(raw: RawClient, filled: str) -> None:
    assert raw.request("GET", f"/{filled}", "max-keys=5000").text("MaxKeys") == "1000"


@pytest.mark.parametrize(
    "query",
    ["max-keys=-1", "max-keys=x", "max-keys=1.5", "max-keys=99999999999", "encoding-type=base64",
     "max-keys=%C2%B2"],
)  # fmt: skip
def test_bad_parameters(raw: RawClient, bucket: str, query: str) -> None:
    for version in ("", "list-type=2&", "versions&"):
        answer = raw.request("GET", f"/{bucket}", version + query)
        assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_a_prefix_that_is_no_utf8(raw: RawClient, bucket: str) -> None:
    answer = raw.request("GET", f"/{bucket}", "prefix=%FF")
    assert (answer.status, answer.code) == (400, "InvalidURI")


ODD = ["a&b<c>\"d'", "line\nreturn\rtab\t", "]]>", "ctrl\x01\x08\x1f", "\ufffe", "sp ace+plus%20"]


@pytest.mark.parametrize("key", ODD)
@pytest.mark.parametrize("version", ["", "list-type=2", "versions"])
@pytest.mark.parametrize("encoding", ["", "encoding-type=url"])
def test_every_key_comes_back_in_sound_xml(
    raw: RawClient, boto_client: Any, bucket: str, key: str, version: str, encoding: str
) -> None:
    """A key that XML can't carry makes the page say ``EncodingType`` by itself."""
    from urllib.parse import unquote

    boto_client.put_object(Bucket=bucket, Key=key)
    answer = raw.request("GET", f"/{bucket}", "&".join(filter(None, (version, encoding))))
    assert answer.status == 200
    decode = unquote if answer.text("EncodingType") == "url" else str
    assert [decode(text) for text in answer.texts("Key")] == [key]
    if encoding:
        assert answer.text("EncodingType") == "url"


def test_of_a_bucket_that_is_not_there(raw: RawClient) -> None:
    answer = raw.request("GET", "/test-that-never-was")
    assert (answer.status, answer.code) == (404, "NoSuchBucket")
    assert answer.text("BucketName") == "test-that-never-was"


def test_a_stranger_is_denied(raw: RawClient, bucket: str) -> None:
    assert raw.request("GET", f"/{bucket}", sign=False).status == 403


@pytest.mark.parametrize(
    ("prefix", "shown"),
    [
        ("\n", "\n"),
        ("a b=\u00e9", "a b=\u00e9"),
        ("1+1%", "1%2B1%25"),
        ("\x01", "%01"),
        ("<&", "<&"),
    ],
)
def test_a_prefix_means_the_same_decoded_or_not(
    raw: RawClient, bucket: str, prefix: str, shown: str
) -> None:
    answer = raw.request("GET", f"/{bucket}", f"encoding-type=url&prefix={quote(prefix, safe='')}")
    assert answer.text("Prefix") == shown
    assert unquote(shown) == prefix
