"""CreateBucket: names, location constraints, repetition, bad documents."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient, error_code, error_status

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
    b"<CreateBucketConfiguration><LocationConstraint>&b;</LocationConstraint>"
    b"</CreateBucketConfiguration>"
)
EXTERNAL = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b"<CreateBucketConfiguration><LocationConstraint>&x;</LocationConstraint>"
    b"</CreateBucketConfiguration>"
)


def new_name() -> str:
    return f"test-{uuid.uuid4().hex[:20]}"


def test_a_new_bucket_is_there_and_empty(boto_client: Any) -> None:
    name = new_name()
    answer = boto_client.create_bucket(Bucket=name)
    assert answer["Location"] == f"/{name}"
    assert boto_client.list_objects_v2(Bucket=name)["KeyCount"] == 0
    boto_client.delete_bucket(Bucket=name)


def test_the_owner_may_repeat_it_and_loses_nothing(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="kept", Body=b"x")
    boto_client.create_bucket(Bucket=bucket)
    assert boto_client.get_object(Bucket=bucket, Key="kept")["Body"].read() == b"x"


@pytest.mark.parametrize(
    "name",
    ["ab", "a" * 64, "Upper", "under_score", "-dash", "dash-", "two..dots", "a.-b", "10.0.0.1",
     "xn--name", "name-s3alias", "sp%20ace", "%C3%A4%C3%A4%C3%A4"],
)  # fmt: skip
def test_bad_names_are_refused(raw: RawClient, name: str) -> None:
    answer = raw.request("PUT", f"/{name}", body=b"")
    assert (answer.status, answer.code) == (400, "InvalidBucketName")


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        EXTERNAL,
        b"<Create",
        b"junk",
        b"<Other/>",
        b"<CreateBucketConfiguration><No/></CreateBucketConfiguration>",
    ],
)
def test_bad_documents_make_no_bucket(raw: RawClient, boto_client: Any, body: bytes) -> None:
    name = new_name()
    answer = raw.request("PUT", f"/{name}", body=body)
    assert (answer.status, answer.code) == (400, "MalformedXML")
    with pytest.raises(ClientError) as error:
        boto_client.head_bucket(Bucket=name)
    assert error_status(error) == 404


def test_an_endless_document_is_refused(raw: RawClient) -> None:
    answer = raw.request("PUT", f"/{new_name()}", body=b" " * (5 << 20))
    assert (answer.status, answer.code) == (400, "MaxMessageLengthExceeded")


def test_deep_nesting_is_refused(raw: RawClient) -> None:
    body = b"<CreateBucketConfiguration>" + b"<a>" * 5000
    answer = raw.request("PUT", f"/{new_name()}", body=body)
    assert (answer.status, answer.code) == (400, "MalformedXML")


def test_object_lock_is_refused_not_ignored(boto_client: Any) -> None:
    name = new_name()
    with pytest.raises(ClientError) as error:
        boto_client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    assert (error_status(error), error_code(error)) == (501, "NotImplemented")
    with pytest.raises(ClientError):
        boto_client.head_bucket(Bucket=name)


def test_private_is_what_it_is_anyway(boto_client: Any) -> None:
    name = new_name()
    boto_client.create_bucket(Bucket=name, ACL="private")
    boto_client.delete_bucket(Bucket=name)


def test_a_wrong_checksum_makes_no_bucket(raw: RawClient, boto_client: Any) -> None:
    name = new_name()
    body = b"<CreateBucketConfiguration/>"
    answer = raw.request(
        "PUT", f"/{name}", body=body, headers={"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    )
    assert (answer.status, answer.code) == (400, "BadDigest")


def test_tags_from_the_start(boto_client: Any) -> None:
    name = new_name()
    tags = [{"Key": "b", "Value": "1"}, {"Key": "a", "Value": ""}]
    wanted = {"Bucket": name, "CreateBucketConfiguration": {"Tags": tags}}
    answer = boto_client.create_bucket(**wanted)
    assert (answer["Location"], answer["BucketArn"]) == (f"/{name}", f"arn:aws:s3:::{name}")
    try:
        assert boto_client.get_bucket_tagging(Bucket=name)["TagSet"] == tags
        with pytest.raises(ClientError) as error:
            boto_client.create_bucket(**wanted)
        assert (error_status(error), error_code(error)) == (409, "BucketAlreadyOwnedByYou")
        boto_client.create_bucket(Bucket=name, CreateBucketConfiguration={"Tags": []})
        assert boto_client.get_bucket_tagging(Bucket=name)["TagSet"] == tags
    finally:
        boto_client.delete_bucket(Bucket=name)


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ("<Tag><Key>a</Key></Tag>", "MalformedXML"),
        ("<Other/>", "MalformedXML"),
        ("<Tag><Key>aws:a</Key><Value/></Tag>", "InvalidTag"),
        ("<Tag><Key>a</Key><Value/></Tag>" * 2, "InvalidTag"),
        ("".join(f"<Tag><Key>{n}</Key><Value/></Tag>" for n in range(51)), "InvalidTag"),
    ],
)
def test_bad_tags_make_no_bucket(raw: RawClient, tags: str, code: str) -> None:
    name = new_name()
    body = f"<CreateBucketConfiguration><Tags>{tags}</Tags></CreateBucketConfiguration>".encode()
    answer = raw.request("PUT", f"/{name}", body=body)
    assert (answer.status, answer.code) == (400, code)
    assert raw.request("HEAD", f"/{name}").status == 404
