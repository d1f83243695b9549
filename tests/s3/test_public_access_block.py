"""Get, Put and Delete of PublicAccessBlock, and what each of its four switches does."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tests.s3.people import Person, refusal
from tests.s3.raw import RawClient

SWITCHES = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
NONE = "NoSuchPublicAccessBlockConfiguration"


def put(person: Person, bucket: str, *on: str) -> None:
    person.client.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration={name: name in on for name in SWITCHES}
    )


def policy(bucket: str, **elements: Any) -> str:
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"], **elements,
    }  # fmt: skip
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


# -- what is put is read --------------------------------------------------------------------------


def test_from_beginning_to_end(raw: RawClient, boto_client: Any, bucket: str) -> None:
    get = boto_client.get_public_access_block
    assert refusal(get, Bucket=bucket) == NONE
    for values in itertools.product((False, True), repeat=4):
        given = dict(zip(SWITCHES, values, strict=True))
        boto_client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=given)
        assert get(Bucket=bucket)["PublicAccessBlockConfiguration"] == given
    for _ in range(2):
        assert raw.request("DELETE", f"/{bucket}", "publicAccessBlock").status == 204
    assert refusal(get, Bucket=bucket) == NONE


def test_what_is_left_out_is_off(raw: RawClient, boto_client: Any, bucket: str) -> None:
    body = (
        b"<PublicAccessBlockConfiguration><IgnorePublicAcls>TRUE</IgnorePublicAcls>"
        b"</PublicAccessBlockConfiguration>"
    )
    assert raw.request("PUT", f"/{bucket}", "publicAccessBlock", body=body).status == 200
    found = boto_client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert found == {name: name == "IgnorePublicAcls" for name in SWITCHES}


@pytest.mark.parametrize(
    "content",
    [
        b"<BlockPublicAcls>perhaps</BlockPublicAcls>",
        b"<BlockPublicAcls/>",
        b"<BlockPublicAcls>true</BlockPublicAcls><BlockPublicAcls>true</BlockPublicAcls>",
        b"<BlockEverything>true</BlockEverything>",
        b"<BlockPublicAcls><X>true</X></BlockPublicAcls>",
        b"junk",
    ],
)
def test_bad_documents_change_nothing(
    raw: RawClient, owner: Person, bucket: str, content: bytes
) -> None:
    put(owner, bucket, "BlockPublicAcls")
    body = (
        b"<PublicAccessBlockConfiguration>" + content + b"</PublicAccessBlockConfiguration>"
        if content != b"junk"
        else content
    )
    answer = raw.request("PUT", f"/{bucket}", "publicAccessBlock", body=body)
    assert (answer.status, answer.code) == (400, "MalformedXML")
    found = owner.client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert found["BlockPublicAcls"]


# -- what the switches do -------------------------------------------------------------------------


def test_block_public_acls_refuses_them(owner: Person, bucket: str) -> None:
    client = owner.client
    client.put_object(Bucket=bucket, Key="k", Body=b"x")
    others = [name for name in SWITCHES if name != "BlockPublicAcls"]
    put(owner, bucket, *others)
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    client.put_bucket_acl(Bucket=bucket, ACL="private")
    put(owner, bucket, "BlockPublicAcls")
    for canned in ("public-read", "public-read-write", "authenticated-read"):
        assert refusal(client.put_bucket_acl, Bucket=bucket, ACL=canned) == "AccessDenied"
        assert refusal(client.put_object_acl, Bucket=bucket, Key="k", ACL=canned) == "AccessDenied"
        assert refusal(client.put_object, Bucket=bucket, Key="n", ACL=canned) == "AccessDenied"
    client.put_bucket_acl(Bucket=bucket, ACL="private")
    client.put_object(Bucket=bucket, Key="n", Body=b"x", ACL="bucket-owner-full-control")


def test_ignore_public_acls_takes_them_back(
    owner: Person, other: Person, stranger: Person, bucket: str
) -> None:
    client = owner.client
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    client.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    grant = f"id={other.id}"
    client.put_object(Bucket=bucket, Key="named", Body=b"x", GrantRead=grant)
    everybody = (other, stranger)
    for person in everybody:
        assert person.client.list_objects_v2(Bucket=bucket)["KeyCount"] == 2
        assert person.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    put(owner, bucket, "IgnorePublicAcls")
    for person in everybody:
        assert refusal(person.client.list_objects_v2, Bucket=bucket) == "AccessDenied"
        assert refusal(person.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert other.client.get_object(Bucket=bucket, Key="named")["Body"].read() == b"x"
    put(owner, bucket, *(name for name in SWITCHES if name != "IgnorePublicAcls"))
    for person in everybody:
        assert person.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_block_public_policy_refuses_them(owner: Person, other: Person, bucket: str) -> None:
    put_policy = owner.client.put_bucket_policy
    put(owner, bucket, *(name for name in SWITCHES if name != "BlockPublicPolicy"))
    put_policy(Bucket=bucket, Policy=policy(bucket))
    put(owner, bucket, "BlockPublicPolicy")
    assert refusal(put_policy, Bucket=bucket, Policy=policy(bucket)) == "AccessDenied"
    for narrow in (
        {"Principal": {"AWS": other.id}},
        {"Condition": {"IpAddress": {"aws:SourceIp": "192.168.0.0/16"}}},
        {"Effect": "Deny"},
    ):
        put_policy(Bucket=bucket, Policy=policy(bucket, **narrow))


def test_restrict_public_buckets_keeps_a_public_policy_from_all_but_the_owner(
    owner: Person, other: Person, stranger: Person, bucket: str
) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    owner.client.put_bucket_policy(Bucket=bucket, Policy=policy(bucket))
    put(owner, bucket, *(name for name in SWITCHES if name != "RestrictPublicBuckets"))
    for person in (owner, other, stranger):
        assert person.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    put(owner, bucket, "RestrictPublicBuckets")
    for person in (other, stranger):
        assert refusal(person.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"
        assert refusal(person.client.list_objects_v2, Bucket=bucket) == "AccessDenied"
    assert owner.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert not owner.client.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]
    # A policy that names its callers is none that it withholds.
    named = policy(bucket, Principal={"AWS": other.id})
    owner.client.put_bucket_policy(Bucket=bucket, Policy=named)
    assert other.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_only_who_may_changes_it(other: Person, stranger: Person, bucket: str) -> None:
    for person in (other, stranger):
        client = person.client
        assert refusal(client.get_public_access_block, Bucket=bucket) == "AccessDenied"
        assert refusal(client.delete_public_access_block, Bucket=bucket) == "AccessDenied"
        with pytest.raises(client.exceptions.ClientError):
            put(person, bucket)
