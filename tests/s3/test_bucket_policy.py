"""Get, Put and Delete of BucketPolicy, GetBucketPolicyStatus, and what a policy lets others do:
principals, conditions, denials, objects of other accounts, 403 or 404."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import empty_and_delete
from tests.s3.people import Person, refusal
from tests.s3.raw import RawClient

EVERYBODY = {"AWS": "*"}


def statement(action: Any, *resources: str, **elements: Any) -> dict[str, Any]:
    found = {"Effect": "Allow", "Principal": EVERYBODY, "Action": action, **elements}
    found["Resource"] = [f"arn:aws:s3:::{resource}" for resource in resources]
    return found


def put(person: Person, bucket: str, *statements: dict[str, Any]) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    person.client.put_bucket_policy(Bucket=bucket, Policy=document)


@pytest.fixture
def others_bucket(other: Person) -> Iterator[str]:
    """A bucket of an ordinary user, whom policies bind, with the object ``a``."""
    name = f"test-{uuid.uuid4().hex[:20]}"
    other.client.create_bucket(Bucket=name)
    other.client.put_object(Bucket=name, Key="a", Body=b"a")
    yield name
    other.client.delete_bucket_policy(Bucket=name)
    for page in other.client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for entry in page.get("Contents", ()):
            other.client.delete_object(Bucket=name, Key=entry["Key"])
    empty_and_delete(other.client, name)


# -- what is put is read --------------------------------------------------------------------------


def test_from_beginning_to_end(raw: RawClient, boto_client: Any, bucket: str) -> None:
    assert refusal(boto_client.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"
    document = (
        b'{ "Statement" : [{"Resource":"arn:aws:s3:::%b/*",\n"Principal":"*","Effect":"Allow",'
        b'"Action":"s3:GetObject", "Sid": "\xc3\xa9"}]}  ' % bucket.encode()
    )
    assert raw.request("PUT", f"/{bucket}", "policy", body=document).status == 204
    answer = raw.request("GET", f"/{bucket}", "policy")
    assert (answer.status, answer.body) == (200, document)
    assert answer.headers["content-type"] == "application/json"
    for _ in range(2):
        assert raw.request("DELETE", f"/{bucket}", "policy").status == 204
    assert refusal(boto_client.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ("", "JSON"),
        ("[]", "object"),
        ('{"Statement": []}', "Statement"),
        ('{"Statement": [NaN]}', "NaN"),
        ('{"Version": "2020-01-01", "Statement": [{}]}', "Version"),
        ({"Effect": "Permit"}, "Effect"),
        ({"Principal": None}, "principal"),
        ({"Principal": {}}, "principal"),
        ({"Principal": {"AWS": "ada"}}, "ada"),
        ({"Principal": {"AWS": "arn:aws:iam:::user/a*"}}, "a*"),
        ({"Principal": {"AWS": "arn:aws:iam:::root"}}, "root"),
        ({"Principal": {"Federated": "x"}}, "Federated"),
        ({"Principal": {"CanonicalUser": "x"}}, "CanonicalUser"),
        ({"NotPrincipal": "*"}, "Principal"),
        ({"Action": "s3:GetObjekt"}, "s3:GetObjekt"),
        ({"Action": "s3:Foo*"}, "s3:Foo*"),
        ({"Action": "iam:GetUser"}, "iam:GetUser"),
        ({"Action": []}, "Action"),
        ({"Resource": "arn:aws:s3:::another/*"}, "another"),
        ({"Resource": "bucket/*"}, "bucket/*"),
        ({"Resource": "arn:aws:sqs:::x"}, "sqs"),
        ({"Condition": {"StringIs": {"aws:Referer": "x"}}}, "StringIs"),
        ({"Condition": {"StringEquals": {"s3:nothing": "x"}}}, "s3:nothing"),
        ({"Condition": {"StringEquals": {"jwt:sub": "x"}}}, "jwt:sub"),
        ({"Condition": {"StringEquals": {"s3:prefix": "x"}}}, "s3:prefix"),
        ({"Condition": {"NumericEquals": {"s3:signatureAge": "x"}}}, "NumericEquals"),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}}, "IpAddress"),
        ({"Condition": {"Bool": {"aws:SecureTransport": "perhaps"}}}, "Bool"),
        ({"Else": 1}, "Else"),
        ({"Sid": "x" * 20_480}, "20480"),
    ],
)
def test_what_is_wrong_is_named(raw: RawClient, bucket: str, document: Any, named: str) -> None:
    if isinstance(document, dict):
        one = statement("s3:GetObject", f"{bucket}/*") | document
        document = json.dumps({"Statement": [one]})
    answer = raw.request("PUT", f"/{bucket}", "policy", body=document.encode())
    assert (answer.status, answer.code) == (400, "MalformedPolicy")
    assert named in (answer.text("Message") or "")
    assert raw.request("GET", f"/{bucket}", "policy").code == "NoSuchBucketPolicy"


def test_an_allowance_to_all_but_somebody_is_refused(owner: Person, bucket: str) -> None:
    one = statement("s3:GetObject", f"{bucket}/*", NotPrincipal=EVERYBODY)
    del one["Principal"]
    document = json.dumps({"Statement": one})
    call = owner.client.put_bucket_policy
    assert refusal(call, Bucket=bucket, Policy=document) == "MalformedPolicy"


@pytest.mark.parametrize(
    "resource",
    [
        "*",
        "arn:aws:s3:::*",
        "arn:aws:s3:::*/*",
        "arn:aws:s3:::{}",
        "arn:aws:s3:::{}/${{aws:username}}/*",
    ],
)
def test_resources_that_can_be_in_the_bucket(owner: Person, bucket: str, resource: str) -> None:
    one = statement("s3:GetObject") | {"Resource": resource.format(bucket)}
    put(owner, bucket, one)


# -- principals -----------------------------------------------------------------------------------


def test_principals_name_somebody(
    owner: Person, other: Person, stranger: Person, bucket: str
) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    named = [
        {"AWS": other.id}, {"CanonicalUser": other.id}, {"AWS": [f"arn:aws:iam::{other.id}:root"]},
        {"AWS": "arn:aws:iam:::user/other"}, {"AWS": f"arn:aws:iam::{other.id}:user/other"},
    ]  # fmt: skip
    for principal in named:
        put(owner, bucket, statement("s3:GetObject", f"{bucket}/*", Principal=principal))
        assert other.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
        assert refusal(stranger.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    nobody = [
        {"AWS": "123456789012"}, {"AWS": "arn:aws:iam::123456789012:user/other"},
        {"AWS": "arn:aws:iam:::user/others"}, {"Service": "logging.s3.amazonaws.com"},
        {"CanonicalUser": "0" * 64},
    ]  # fmt: skip
    for principal in nobody:
        put(owner, bucket, statement("s3:GetObject", f"{bucket}/*", Principal=principal))
        assert refusal(other.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"


def test_a_denial_to_all_but_somebody(
    owner: Person, other: Person, stranger: Person, bucket: str
) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    denial = statement("s3:*", f"{bucket}/*", Effect="Deny", NotPrincipal={"AWS": other.id})
    del denial["Principal"]
    put(owner, bucket, statement("s3:GetObject", f"{bucket}/*"), denial)
    assert other.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert refusal(stranger.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"


# -- whom denials bind ----------------------------------------------------------------------------


def test_a_denial_binds_the_owner_but_not_root(
    owner: Person, other: Person, others_bucket: str
) -> None:
    bucket = others_bucket
    put(other, bucket, statement("s3:*", bucket, f"{bucket}/*", Effect="Deny", Principal="*"))
    assert refusal(other.client.get_object, Bucket=bucket, Key="a") == "AccessDenied"
    assert refusal(other.client.list_objects_v2, Bucket=bucket) == "AccessDenied"
    assert refusal(other.client.delete_bucket, Bucket=bucket) == "AccessDenied"
    assert owner.client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"a"
    # The owner can always repair the policy.
    assert "Deny" in other.client.get_bucket_policy(Bucket=bucket)["Policy"]
    put(other, bucket, statement("s3:GetObject", f"{bucket}/x"))
    assert other.client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"a"


def test_only_the_owner_is_exempt(owner: Person, other: Person, bucket: str) -> None:
    all_of_it = (bucket, f"{bucket}/*")
    put(owner, bucket, statement("s3:*", *all_of_it, Principal={"AWS": other.id}))
    assert other.client.get_bucket_policy(Bucket=bucket)
    policies = ["s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"]
    put(
        owner, bucket, statement("s3:*", *all_of_it, Principal={"AWS": other.id}),
        statement(policies, bucket, Effect="Deny"),
    )  # fmt: skip
    assert refusal(other.client.get_bucket_policy, Bucket=bucket) == "AccessDenied"
    assert refusal(other.client.delete_bucket_policy, Bucket=bucket) == "AccessDenied"
    assert other.client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


# -- conditions -----------------------------------------------------------------------------------


def test_listings_by_prefix_delimiter_and_size(
    owner: Person, other: Person, stranger: Person, bucket: str
) -> None:
    condition = {
        "StringLike": {"s3:prefix": ["public/*", ""]},
        "StringEqualsIfExists": {"s3:delimiter": "/"},
        "NumericLessThanEquals": {"s3:max-keys": "10"},
    }
    put(owner, bucket, statement("s3:ListBucket", bucket, Condition=condition))
    for person in (other, stranger):
        listing = person.client.list_objects_v2
        assert listing(Bucket=bucket, Prefix="public/a", MaxKeys=10)["KeyCount"] == 0
        assert listing(Bucket=bucket, Prefix="", Delimiter="/", MaxKeys=1)["KeyCount"] == 0
        for wrong in (
            {"Prefix": "private/", "MaxKeys": 1}, {"Prefix": "public/a", "MaxKeys": 11},
            {"Prefix": "public/a"}, {"MaxKeys": 1},
            {"Prefix": "public/a", "Delimiter": "-", "MaxKeys": 1},
        ):  # fmt: skip
            assert refusal(listing, Bucket=bucket, **wrong) == "AccessDenied"


def test_tags_that_an_object_has(
    owner: Person, other: Person, stranger: Person, bucket: str
) -> None:
    for level in ("public", "secret"):
        owner.client.put_object(Bucket=bucket, Key=level, Body=b"x", Tagging=f"Level={level}")
    owner.client.put_object(Bucket=bucket, Key="none", Body=b"x")
    condition = {"StringEquals": {"s3:ExistingObjectTag/Level": "public"}}
    actions = ["s3:GetObject", "s3:GetObjectTagging", "s3:PutObjectTagging"]
    put(owner, bucket, statement(actions, f"{bucket}/*", Condition=condition))
    for person in (other, stranger):
        assert person.client.get_object(Bucket=bucket, Key="public")["Body"].read() == b"x"
        assert person.client.head_object(Bucket=bucket, Key="public")["ContentLength"] == 1
        assert person.client.get_object_tagging(Bucket=bucket, Key="public")["TagSet"]
        for key in ("secret", "none", "missing"):
            assert refusal(person.client.get_object, Bucket=bucket, Key=key) == "AccessDenied"
            assert (
                refusal(person.client.get_object_tagging, Bucket=bucket, Key=key) == "AccessDenied"
            )
    # Copies read by the same rule.
    source = {"Bucket": bucket, "Key": "secret"}
    mine = f"test-{uuid.uuid4().hex[:20]}"
    other.client.create_bucket(Bucket=mine)
    try:
        copy = other.client.copy_object
        assert refusal(copy, Bucket=mine, Key="c", CopySource=source) == "AccessDenied"
        copy(Bucket=mine, Key="c", CopySource=source | {"Key": "public"})
    finally:
        empty_and_delete(other.client, mine)
    # Who may change the tags changes what the next request finds.
    secret = {"TagSet": [{"Key": "Level", "Value": "secret"}]}
    other.client.put_object_tagging(Bucket=bucket, Key="public", Tagging=secret)
    assert refusal(other.client.get_object, Bucket=bucket, Key="public") == "AccessDenied"


def test_only_who_may_read_tags_is_told_their_number(
    owner: Person, other: Person, bucket: str
) -> None:
    owner.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put_tagged = owner.client.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1&b=2")
    version = {"VersionId": put_tagged["VersionId"]}
    reading = ["s3:GetObject", "s3:GetObjectVersion"]
    put(owner, bucket, statement(reading, f"{bucket}/*"))
    for named in ({}, version):
        for read in (other.client.get_object, other.client.head_object):
            assert "TagCount" not in read(Bucket=bucket, Key="k", **named)
    assert owner.client.head_object(Bucket=bucket, Key="k")["TagCount"] == 2
    put(owner, bucket, statement([*reading, "s3:GetObjectTagging"], f"{bucket}/*"))
    assert other.client.get_object(Bucket=bucket, Key="k")["TagCount"] == 2
    assert "TagCount" not in other.client.get_object(Bucket=bucket, Key="k", **version)
    by_tag = {"StringEquals": {"s3:ExistingObjectTag/a": "1"}}
    allowed = statement("s3:GetObjectVersionTagging", f"{bucket}/*", Condition=by_tag)
    put(owner, bucket, statement(reading, f"{bucket}/*"), allowed)
    assert other.client.head_object(Bucket=bucket, Key="k", **version)["TagCount"] == 2


def test_a_denial_by_tag_holds_for_who_is_otherwise_allowed(
    other: Person, others_bucket: str
) -> None:
    bucket = others_bucket
    other.client.put_object(Bucket=bucket, Key="s", Body=b"x", Tagging="Level=secret")
    condition = {"StringEquals": {"s3:ExistingObjectTag/level": "secret"}}
    put(other, bucket, statement("s3:GetObject", f"{bucket}/*", Effect="Deny", Condition=condition))
    assert refusal(other.client.get_object, Bucket=bucket, Key="s") == "AccessDenied"
    assert other.client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"a"
    assert refusal(other.client.get_object, Bucket=bucket, Key="gone") == "NoSuchKey"


def test_tags_that_a_request_brings(owner: Person, other: Person, bucket: str) -> None:
    condition = {
        "StringEquals": {"s3:RequestObjectTag/team": "a"},
        "ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["team", "level"]},
    }
    actions = ["s3:PutObject", "s3:PutObjectTagging"]
    put(owner, bucket, statement(actions, f"{bucket}/*", Condition=condition))
    write = other.client.put_object
    write(Bucket=bucket, Key="k", Body=b"x", Tagging="team=a&level=1")
    for wrong in ("team=b", "level=1", "team=a&more=1"):
        assert refusal(write, Bucket=bucket, Key="k", Body=b"x", Tagging=wrong) == "AccessDenied"
    assert refusal(write, Bucket=bucket, Key="k", Body=b"x") == "AccessDenied"
    tagging = other.client.put_object_tagging
    tags = [{"Key": "team", "Value": "a"}]
    owner.client.put_object(Bucket=bucket, Key="mine", Body=b"x")
    tagging(Bucket=bucket, Key="mine", Tagging={"TagSet": tags})
    assert owner.client.get_object_tagging(Bucket=bucket, Key="mine")["TagSet"] == tags
    tags = [{"Key": "team", "Value": "b"}]
    assert refusal(tagging, Bucket=bucket, Key="mine", Tagging={"TagSet": tags}) == "AccessDenied"


def test_what_a_copy_asks_for(owner: Person, other: Person, bucket: str) -> None:
    for key in ("public/a b", "private/a"):
        owner.client.put_object(Bucket=bucket, Key=key, Body=b"x")
    condition = {
        "StringLike": {"s3:x-amz-copy-source": f"{bucket}/public/*"},
        "StringEquals": {"s3:x-amz-metadata-directive": "COPY"},
    }
    put(
        owner, bucket, statement("s3:GetObject", f"{bucket}/*"),
        statement("s3:PutObject", f"{bucket}/copies/*", Condition=condition),
    )  # fmt: skip
    copy = other.client.copy_object
    target = {"Bucket": bucket, "Key": "copies/c"}
    source = {"Bucket": bucket, "Key": "public/a b"}
    copy(**target, CopySource=source, MetadataDirective="COPY")
    copy(**target, CopySource=f"/{bucket}/public/a b", MetadataDirective="COPY")
    assert refusal(copy, **target, CopySource=source) == "AccessDenied"
    assert refusal(copy, **target, CopySource=source, MetadataDirective="REPLACE") == "AccessDenied"
    private = source | {"Key": "private/a"}
    assert refusal(copy, **target, CopySource=private, MetadataDirective="COPY") == "AccessDenied"


@pytest.mark.parametrize(
    ("condition", "right", "wrong"),
    [
        ({"StringLike": {"aws:Referer": "http://a.example/*"}},
         {"referer": "http://a.example/x"}, {"referer": "http://b.example/x"}),
        ({"StringEquals": {"aws:UserAgent": "curl/8"}},
         {"user-agent": "curl/8"}, {"user-agent": "curl/7"}),
        ({"IpAddress": {"aws:SourceIp": ["127.0.0.0/8", "::1"]}}, {}, None),
        ({"NotIpAddress": {"aws:SourceIp": "127.0.0.1"}}, None, {}),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.1"}}, None, {"x-forwarded-for": "10.0.0.1"}),
        ({"Bool": {"aws:SecureTransport": "true"}}, None, {"x-forwarded-proto": "https"}),
        ({"DateLessThan": {"aws:CurrentTime": "2999-01-01T00:00:00Z"}}, {}, None),
        ({"DateGreaterThan": {"aws:CurrentTime": "2999-01-01T00:00:00Z"}}, None, {}),
        ({"NumericGreaterThan": {"aws:EpochTime": "1600000000"}}, {}, None),
        ({"Null": {"s3:authType": "true"}}, {}, None),
        ({"Null": {"s3:signatureAge": "false"}}, None, {}),
        ({"StringEquals": {"aws:PrincipalType": "Anonymous"}}, {}, None),
        ({"StringLike": {"aws:username": "*"}}, None, {}),
        ({"Null": {"s3:DataAccessPointAccount": "true"}}, {}, None),
        ({"Bool": {"aws:ViaAWSService": "false"}}, {}, None),
    ],
)  # fmt: skip
def test_facts_of_a_request(
    owner: Person, stranger: Person, bucket: str, condition: Any, right: Any, wrong: Any
) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    put(owner, bucket, statement("s3:GetObject", f"{bucket}/*", Condition=condition))
    for headers, status in ((right, 200), (wrong, 403)):
        if headers is not None:
            answer = stranger.raw.request("GET", f"/{bucket}/k", headers=headers, sign=False)
            assert answer.status == status


def test_facts_of_a_signature(owner: Person, other: Person, bucket: str) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    condition = {
        "StringEquals": {
            "s3:authType": "REST-HEADER", "s3:signatureversion": "AWS4-HMAC-SHA256",
            "aws:username": "other", "aws:userid": other.id,
            "aws:PrincipalArn": f"arn:aws:iam::{other.id}:user/other",
        },
        "NumericLessThan": {"s3:signatureAge": "600000"},
    }  # fmt: skip
    put(owner, bucket, statement("s3:GetObject", f"{bucket}/*", Condition=condition))
    assert other.raw.request("GET", f"/{bucket}/k").status == 200
    url = other.client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    path, _, query = url.partition("?")
    path = "/" + path.split("/", 3)[3]
    assert other.raw.request("GET", path, query, sign=False).status == 403


def test_versions(owner: Person, other: Person, bucket: str) -> None:
    client = owner.client
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first, second = (
        client.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"] for body in (b"1", b"2")
    )
    condition = {"StringEquals": {"s3:VersionId": first}}
    put(owner, bucket, statement("s3:GetObjectVersion", f"{bucket}/*", Condition=condition))
    read = other.client.get_object
    assert read(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == b"1"
    assert refusal(read, Bucket=bucket, Key="k", VersionId=second) == "AccessDenied"
    assert refusal(read, Bucket=bucket, Key="k") == "AccessDenied"


def test_the_header_of_an_acl(owner: Person, other: Person, bucket: str) -> None:
    condition = {"StringLike": {"s3:x-amz-acl": "public*"}}
    put(
        owner, bucket, statement(["s3:PutObject", "s3:PutObjectAcl"], f"{bucket}/*"),
        statement("s3:PutObject", f"{bucket}/*", Effect="Deny", Condition=condition),
    )  # fmt: skip
    write = other.client.put_object
    write(Bucket=bucket, Key="k", Body=b"x")
    write(Bucket=bucket, Key="k", Body=b"x", ACL="bucket-owner-read")
    assert refusal(write, Bucket=bucket, Key="k", ACL="public-read") == "AccessDenied"


def test_full_control_for_the_owner_may_be_demanded(
    owner: Person, other: Person, bucket: str
) -> None:
    grant = f"id={owner.id}"
    condition = {"StringEquals": {"s3:x-amz-grant-full-control": grant}}
    put(owner, bucket, statement("s3:PutObject", f"{bucket}/*", Condition=condition))
    write = other.client.put_object
    write(Bucket=bucket, Key="k", Body=b"x", GrantFullControl=grant)
    assert refusal(write, Bucket=bucket, Key="k", Body=b"x") == "AccessDenied"


# -- objects of other accounts --------------------------------------------------------------------


def test_a_policy_reaches_the_bucket_owners_objects_alone(
    store: Any, owner: Person, other: Person, stranger: Person, others_bucket: str
) -> None:
    """An object that root wrote into a user's bucket is root's: neither the user's own policies,
    which are about what is theirs, nor the bucket's policy reach it."""
    bucket = others_bucket
    put(other, bucket, statement("s3:GetObject", f"{bucket}/*"))
    owner.client.put_object(Bucket=bucket, Key="roots", Body=b"x")
    for person in (other, stranger):
        assert person.client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"a"
        for call in (person.client.get_object, person.client.get_object_tagging):
            assert refusal(call, Bucket=bucket, Key="roots") == "AccessDenied"
    other.client.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    for person in (other, stranger):
        assert person.client.get_object(Bucket=bucket, Key="roots")["Body"].read() == b"x"


def test_a_delete_marker_is_shown_whoever_set_it(owner: Person, other: Person) -> None:
    bucket = f"test-{uuid.uuid4().hex[:20]}"
    client = other.client
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    try:
        client.put_object(Bucket=bucket, Key="k", Body=b"x")
        marker = owner.client.delete_object(Bucket=bucket, Key="k")["VersionId"]
        read = client.get_object
        assert refusal(read, Bucket=bucket, Key="k", VersionId=marker) == "MethodNotAllowed"
        assert refusal(read, Bucket=bucket, Key="k") == "NoSuchKey"
    finally:
        empty_and_delete(client, bucket)


def test_in_roots_bucket_a_policy_reaches_everything(
    owner: Person, other: Person, stranger: Person, bucket: str
) -> None:
    put(owner, bucket, statement("s3:PutObject", f"{bucket}/*", Principal={"AWS": other.id}))
    other.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert other.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x", "it is theirs"
    assert refusal(stranger.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    put(owner, bucket, statement("s3:GetObject", f"{bucket}/*"))
    assert stranger.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


# -- 403 or 404 -----------------------------------------------------------------------------------


def test_only_who_may_list_learns_what_is_missing(
    owner: Person, other: Person, stranger: Person, bucket: str
) -> None:
    put(owner, bucket, statement("s3:GetObject", f"{bucket}/*"))
    for person in (other, stranger):
        assert refusal(person.client.get_object, Bucket=bucket, Key="public/x") == "AccessDenied"
    condition = {"StringLike": {"s3:prefix": "public/*"}}
    listing = statement("s3:ListBucket", bucket, Condition=condition)
    for statements in ((listing,), (listing, statement("s3:GetObject", f"{bucket}/*"))):
        put(owner, bucket, *statements)
        for person in (other, stranger):
            read = person.client.get_object
            assert refusal(read, Bucket=bucket, Key="public/x") == "NoSuchKey"
            assert refusal(read, Bucket=bucket, Key="private/x") == "AccessDenied"
            assert refusal(person.client.head_object, Bucket=bucket, Key="public/x") == "404"
            assert refusal(person.client.head_object, Bucket=bucket, Key="private/x") == "403"
    put(owner, bucket, listing, statement("s3:GetObject", f"{bucket}/*", Effect="Deny"))
    assert refusal(stranger.client.get_object, Bucket=bucket, Key="public/x") == "AccessDenied"


# -- the status -----------------------------------------------------------------------------------


def test_the_status_tells_whether_everybody_is_let_in(owner: Person, bucket: str) -> None:
    def is_public() -> bool:
        answer = owner.client.get_bucket_policy_status(Bucket=bucket)
        public: bool = answer["PolicyStatus"]["IsPublic"]
        return public

    assert not is_public()
    put(owner, bucket, statement("s3:GetObject", f"{bucket}/*"))
    assert is_public()
    condition = {"IpAddress": {"aws:SourceIp": "10.0.0.0/16"}}
    put(owner, bucket, statement("s3:GetObject", f"{bucket}/*", Condition=condition))
    assert not is_public()
    owner.client.put_bucket_acl(Bucket=bucket, ACL="authenticated-read")
    assert is_public()


@pytest.mark.parametrize(
    ("referer", "status"), [("http://www.example.com/a", 200), ("http://x.example", 403), ("", 200)]
)
def test_an_allow_that_does_not_apply_takes_nothing_from_the_owner(
    other: Person, others_bucket: str, raw: RawClient, referer: str, status: int
) -> None:
    """And ``IfExists`` holds of a request that does not have the key."""
    pages = {"StringLikeIfExists": {"aws:Referer": "http://www.example.com/*"}}
    put(other, others_bucket, statement("s3:GetObject", f"{others_bucket}/*", Condition=pages))
    lines = {"referer": referer} if referer else {}
    path = f"/{others_bucket}/a"
    assert raw.request("GET", path, headers=lines, sign=False).status == status
    assert other.raw.request("GET", path, headers=lines).status == 200
