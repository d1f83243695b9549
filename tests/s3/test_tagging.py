"""Get, Put and Delete of ObjectTagging and BucketTagging."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient


def tag_set(tags: dict[str, str]) -> dict[str, Any]:
    return {"TagSet": [{"Key": name, "Value": value} for name, value in tags.items()]}


def tags_of(client: Any, bucket: str, key: str = "k", **more: str) -> dict[str, str]:
    answer = client.get_object_tagging(Bucket=bucket, Key=key, **more)
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def code_of(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_tags_change_and_nothing_else(boto_client: Any, bucket: str, size: int) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"x" * size, Tagging="a=1&b=%2B")
    assert tags_of(boto_client, bucket) == {"a": "1", "b": "+"}
    before = boto_client.head_object(Bucket=bucket, Key="k")
    boto_client.put_object_tagging(Bucket=bucket, Key="k", Tagging=tag_set({"c d": "é = @"}))
    assert tags_of(boto_client, bucket) == {"c d": "é = @"}
    after = boto_client.get_object(Bucket=bucket, Key="k")
    assert after["Body"].read() == b"x" * size
    assert (after["LastModified"], after["ETag"]) == (before["LastModified"], before["ETag"])
    assert after["TagCount"] == 1
    boto_client.delete_object_tagging(Bucket=bucket, Key="k")
    assert tags_of(boto_client, bucket) == {}
    assert "TagCount" not in boto_client.get_object(Bucket=bucket, Key="k")


def test_tags_belong_to_a_version(boto_client: Any, bucket: str) -> None:
    boto_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first, second = (
        boto_client.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"]
        for body in (b"1", b"2")
    )
    answer = boto_client.put_object_tagging(
        Bucket=bucket, Key="k", VersionId=first, Tagging=tag_set({"which": "first"})
    )
    assert answer["VersionId"] == first
    assert tags_of(boto_client, bucket) == {}
    assert tags_of(boto_client, bucket, VersionId=first) == {"which": "first"}
    boto_client.put_object_tagging(Bucket=bucket, Key="k", Tagging=tag_set({"which": "second"}))
    assert tags_of(boto_client, bucket, VersionId=second) == {"which": "second"}
    assert boto_client.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == b"1"
    marker = boto_client.delete_object(Bucket=bucket, Key="k")["VersionId"]
    assert code_of(boto_client.get_object_tagging, Bucket=bucket, Key="k") == "MethodNotAllowed"
    assert (
        code_of(boto_client.get_object_tagging, Bucket=bucket, Key="k", VersionId=marker)
        == "MethodNotAllowed"
    )


def test_a_copy_takes_the_tags_along(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"x")
    boto_client.put_object_tagging(Bucket=bucket, Key="k", Tagging=tag_set({"a": "1"}))
    source = {"Bucket": bucket, "Key": "k"}
    boto_client.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    assert tags_of(boto_client, bucket, "copy") == {"a": "1"}


def test_of_nothing(boto_client: Any, bucket: str) -> None:
    assert code_of(boto_client.get_object_tagging, Bucket=bucket, Key="no") == "NoSuchKey"
    assert (
        code_of(boto_client.put_object_tagging, Bucket=bucket, Key="no", Tagging=tag_set({}))
        == "NoSuchKey"
    )


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({f"k{n}": "v" for n in range(11)}, "InvalidTag"),
        ({"k" * 129: "v"}, "InvalidTag"),
        ({"k": "v" * 257}, "InvalidTag"),
        ({"aws:k": "v"}, "InvalidTag"),
    ],
)
def test_limits(boto_client: Any, bucket: str, tags: dict[str, str], code: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1")
    arguments = {"Bucket": bucket, "Key": "k", "Tagging": tag_set(tags)}
    assert code_of(boto_client.put_object_tagging, **arguments) == code
    assert tags_of(boto_client, bucket) == {"a": "1"}


@pytest.mark.parametrize(
    "body",
    [
        b"<Tagging/>",
        b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value><X/></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Other/></TagSet></Tagging>",
        b"<Tagging><TagSet/><TagSet/></Tagging>",
    ],
)
def test_documents_that_make_no_sense(raw: RawClient, bucket: str, body: bytes) -> None:
    raw.request("PUT", f"/{bucket}/k", body=b"x")
    for target in (f"/{bucket}/k", f"/{bucket}"):
        answer = raw.request("PUT", target, "tagging", body=body)
        assert (answer.status, answer.code) == (400, "MalformedXML")


def test_bucket_tags(boto_client: Any, bucket: str) -> None:
    assert code_of(boto_client.get_bucket_tagging, Bucket=bucket) == "NoSuchTagSet"
    tags = {f"k{n}": f"v {n}" for n in range(50)}
    put = boto_client.put_bucket_tagging(Bucket=bucket, Tagging=tag_set(tags))
    assert put["ResponseMetadata"]["HTTPStatusCode"] == 200, "MinIO's clients take no other"
    answer = boto_client.get_bucket_tagging(Bucket=bucket)
    assert {tag["Key"]: tag["Value"] for tag in answer["TagSet"]} == tags
    too_many = tag_set(tags | {"one": "more"})
    assert code_of(boto_client.put_bucket_tagging, Bucket=bucket, Tagging=too_many) == "InvalidTag"
    boto_client.delete_bucket_tagging(Bucket=bucket)
    assert code_of(boto_client.get_bucket_tagging, Bucket=bucket) == "NoSuchTagSet"


def test_a_bucket_without_tags_has_no_set_of_them(boto_client: Any, bucket: str) -> None:
    some = {"TagSet": [{"Key": "a", "Value": "b"}]}
    boto_client.put_bucket_tagging(Bucket=bucket, Tagging=some)
    boto_client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": []})
    assert code_of(boto_client.get_bucket_tagging, Bucket=bucket) == "NoSuchTagSet"


def test_a_delete_marker_has_no_tags(boto_client: Any, bucket: str) -> None:
    boto_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=b")
    boto_client.delete_object(Bucket=bucket, Key="k")
    some = {"Bucket": bucket, "Key": "k"}
    assert code_of(boto_client.get_object_tagging, **some) == "MethodNotAllowed"
    assert code_of(boto_client.delete_object_tagging, **some) == "MethodNotAllowed"
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    assert code_of(boto_client.put_object_tagging, Tagging=tags, **some) == "MethodNotAllowed"
    some["Key"] = "never"
    assert code_of(boto_client.get_object_tagging, **some) == "NoSuchKey"


@pytest.mark.parametrize("character", ["\x0b", "\x1f", "\ufffe"])
def test_what_xml_cannot_carry_is_no_tag(raw: RawClient, bucket: str, character: str) -> None:
    """It would be stored and never be told again."""
    body = f"<Tagging><TagSet><Tag><Key>a</Key><Value>{character}</Value></Tag></TagSet></Tagging>"
    answer = raw.request("PUT", f"/{bucket}", "tagging=", body=body.encode())
    assert (answer.status, answer.code) == (400, "MalformedXML")
    assert answer.text("Element") == "Value"
