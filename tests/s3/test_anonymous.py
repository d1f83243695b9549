"""Requests without credentials through the whole data plane: what a policy or an ACL lets them do,
and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import empty_and_delete
from tests.s3.people import Person, refusal

PART = b"p" * (5 * 1024 * 1024)


def allow(owner: Person, bucket: str, *actions: str) -> None:
    """Let everybody do ``actions``, and nothing else; without any, no policy."""
    if not actions:
        owner.client.delete_bucket_policy(Bucket=bucket)
        return
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": list(actions),
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }  # fmt: skip
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    owner.client.put_bucket_policy(Bucket=bucket, Policy=document)


Try = Callable[[Any, str], Any]

#: What a stranger may be allowed: (action, what it lets do).
TRIES: list[tuple[str, Try]] = [
    ("s3:GetObject", lambda c, b: c.get_object(Bucket=b, Key="k")["Body"].read()),
    ("s3:GetObject", lambda c, b: c.get_object(Bucket=b, Key="k", Range="bytes=0-0")),
    ("s3:GetObject", lambda c, b: c.head_object(Bucket=b, Key="k")),
    ("s3:GetObjectTagging", lambda c, b: c.get_object_tagging(Bucket=b, Key="k")),
    ("s3:GetObjectAcl", lambda c, b: c.get_object_acl(Bucket=b, Key="k")),
    ("s3:PutObject", lambda c, b: c.put_object(Bucket=b, Key="n", Body=b"x")),
    ("s3:PutObject", lambda c, b: c.put_object(Bucket=b, Key="n", Body=b"x" * 300_000)),
    ("s3:DeleteObject", lambda c, b: c.delete_object(Bucket=b, Key="n")),
    (
        "s3:PutObjectTagging",
        lambda c, b: c.put_object_tagging(
            Bucket=b, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}
        ),
    ),
    ("s3:ListBucket", lambda c, b: c.list_objects_v2(Bucket=b)),
    ("s3:ListBucket", lambda c, b: c.list_objects(Bucket=b)),
    ("s3:ListBucket", lambda c, b: c.head_bucket(Bucket=b)),
    ("s3:ListBucketVersions", lambda c, b: c.list_object_versions(Bucket=b)),
    ("s3:ListBucketMultipartUploads", lambda c, b: c.list_multipart_uploads(Bucket=b)),
    ("s3:GetBucketLocation", lambda c, b: c.get_bucket_location(Bucket=b)),
    ("s3:GetBucketVersioning", lambda c, b: c.get_bucket_versioning(Bucket=b)),
    ("s3:GetBucketPolicy", lambda c, b: c.get_bucket_policy(Bucket=b)),
    ("s3:GetBucketPolicyStatus", lambda c, b: c.get_bucket_policy_status(Bucket=b)),
    ("s3:GetBucketAcl", lambda c, b: c.get_bucket_acl(Bucket=b)),
]


@pytest.mark.parametrize(("action", "attempt"), TRIES)
def test_a_policy_allows_just_what_it_says(
    owner: Person, stranger: Person, bucket: str, action: str, attempt: Try
) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    refused = ("AccessDenied", "403")
    assert refusal(lambda: attempt(stranger.client, bucket)) in refused
    allow(owner, bucket, action)
    attempt(stranger.client, bucket)
    others = {other for other, _ in TRIES} - {action}
    allow(owner, bucket, *others)
    assert refusal(lambda: attempt(stranger.client, bucket)) in refused


def test_attributes_are_for_those_who_may_read_the_object(
    owner: Person, stranger: Person, bucket: str
) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    attributes = stranger.client.get_object_attributes
    asked = {"Bucket": bucket, "Key": "k", "ObjectAttributes": ["ETag"]}
    for actions in (["s3:GetObjectAttributes"], ["s3:GetObject"], ["s3:GetObjectVersion"]):
        allow(owner, bucket, *actions)
        assert refusal(attributes, **asked) == "AccessDenied"
    allow(owner, bucket, "s3:GetObjectAttributes", "s3:GetObject")
    assert attributes(**asked)["ETag"]
    allow(owner, bucket, "s3:GetObjectVersionAttributes", "s3:GetObject")
    assert refusal(attributes, **asked, VersionId="null") == "AccessDenied"
    allow(owner, bucket, "s3:GetObjectVersionAttributes", "s3:GetObjectVersion")
    assert attributes(**asked, VersionId="null")["ETag"]


def test_what_a_stranger_wrote_is_whole(owner: Person, stranger: Person, bucket: str) -> None:
    allow(owner, bucket, "s3:PutObject")
    stranger.client.put_object(Bucket=bucket, Key="k", Body=b"hello", ContentType="text/plain")
    found = owner.client.get_object(Bucket=bucket, Key="k")
    assert (found["Body"].read(), found["ContentType"]) == (b"hello", "text/plain")


def test_uploads_in_parts(owner: Person, stranger: Person, bucket: str) -> None:
    client = stranger.client
    begin = client.create_multipart_upload
    assert refusal(begin, Bucket=bucket, Key="m") == "AccessDenied"
    allow(owner, bucket, "s3:PutObject")
    place = {"Bucket": bucket, "Key": "m", "UploadId": begin(Bucket=bucket, Key="m")["UploadId"]}
    parts = [
        {"PartNumber": n, "ETag": client.upload_part(**place, PartNumber=n, Body=body)["ETag"]}
        for n, body in ((1, PART), (2, b"end"))
    ]
    assert refusal(client.list_parts, **place) == "AccessDenied"
    assert refusal(client.abort_multipart_upload, **place) == "AccessDenied"
    client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
    assert owner.client.head_object(Bucket=bucket, Key="m")["ContentLength"] == len(PART) + 3


def test_deleting_many_needs_permission_for_each(
    owner: Person, stranger: Person, bucket: str
) -> None:
    for key in ("open/a", "closed/b"):
        owner.client.put_object(Bucket=bucket, Key=key, Body=b"x")
    keys = {"Objects": [{"Key": "open/a"}, {"Key": "closed/b"}]}
    delete = stranger.client.delete_objects
    assert refusal(delete, Bucket=bucket, Delete=keys) == "AccessDenied"
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": "s3:DeleteObject",
        "Resource": f"arn:aws:s3:::{bucket}/open/*",
    }  # fmt: skip
    owner.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": statement}))
    answer = delete(Bucket=bucket, Delete=keys)
    assert [one["Key"] for one in answer["Deleted"]] == ["open/a"]
    assert [(one["Key"], one["Code"]) for one in answer["Errors"]] == [("closed/b", "AccessDenied")]


def test_a_stranger_brings_a_digest_as_everybody_does(
    owner: Person, stranger: Person, bucket: str
) -> None:
    allow(owner, bucket, "s3:PutObject")
    right = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    for digest, status in ((right, 200), (base64.b64encode(b"0" * 16).decode(), 400)):
        answer = stranger.raw.request(
            "PUT", f"/{bucket}/k", body=b"x", headers={"content-md5": digest}, sign=False
        )
        assert answer.status == status


def test_overrides_of_headers_need_a_signature(
    owner: Person, stranger: Person, bucket: str
) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    allow(owner, bucket, "s3:GetObject")
    get = stranger.client.get_object
    assert refusal(get, Bucket=bucket, Key="k", ResponseContentType="x") == "InvalidRequest"


def test_acls_let_strangers_in(owner: Person, stranger: Person, bucket: str) -> None:
    client = owner.client
    client.put_object(Bucket=bucket, Key="open", Body=b"x", ACL="public-read")
    client.put_object(Bucket=bucket, Key="closed", Body=b"x")
    read = stranger.client.get_object
    assert read(Bucket=bucket, Key="open")["Body"].read() == b"x"
    assert refusal(read, Bucket=bucket, Key="closed") == "AccessDenied"
    assert refusal(read, Bucket=bucket, Key="missing") == "AccessDenied"
    assert refusal(stranger.client.list_objects_v2, Bucket=bucket) == "AccessDenied"
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    assert stranger.client.list_objects_v2(Bucket=bucket)["KeyCount"] == 2
    assert refusal(read, Bucket=bucket, Key="missing") == "NoSuchKey"
    assert refusal(read, Bucket=bucket, Key="closed") == "AccessDenied"
    write = stranger.client.put_object
    assert refusal(write, Bucket=bucket, Key="n", Body=b"x") == "AccessDenied"
    client.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    write(Bucket=bucket, Key="n", Body=b"x")
    stranger.client.delete_object(Bucket=bucket, Key="closed")


def test_what_a_stranger_wrote_is_the_bucket_owners_to_manage(
    other: Person, stranger: Person
) -> None:
    bucket = f"test-{uuid.uuid4().hex[:20]}"
    other.client.create_bucket(Bucket=bucket, ACL="public-read-write")
    try:
        stranger.client.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=b")
        assert other.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
        tags = other.client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
        assert tags == [{"Key": "a", "Value": "b"}]
        assert refusal(stranger.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"
        statement = {
            "Effect": "Deny", "Principal": "*", "Action": "s3:PutObjectTagging",
            "Resource": f"arn:aws:s3:::{bucket}/*",
        }  # fmt: skip
        other.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": statement}))
        write = stranger.client.put_object
        assert refusal(write, Bucket=bucket, Key="t", Tagging="a=b") == "AccessDenied"
        write(Bucket=bucket, Key="t")
    finally:
        empty_and_delete(other.client, bucket)


def test_a_denial_beats_an_acl(owner: Person, stranger: Person, bucket: str) -> None:
    client = owner.client
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    client.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    statement = {
        "Effect": "Deny", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }  # fmt: skip
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": statement}))
    assert refusal(stranger.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert refusal(stranger.client.list_objects_v2, Bucket=bucket) == "AccessDenied"


def test_what_needs_an_account_is_refused(stranger: Person) -> None:
    assert refusal(stranger.client.list_buckets) == "AccessDenied"
    assert refusal(stranger.client.create_bucket, Bucket="made-by-nobody") == "AccessDenied"
    assert refusal(stranger.client.list_objects_v2, Bucket="no-such-bucket") == "NoSuchBucket"
