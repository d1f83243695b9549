"""GetObjectAcl, PutObjectAcl, ACLs of new objects, and what an object's ACL lets others do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.s3.forms import Form
from tests.s3.people import Person, refusal
from tests.s3.raw import RawClient
from tests.s3.test_bucket_acl import ALL, CANNED, SIGNED, block, document, grant, user

PART = 5 * 1024 * 1024


def grants_of(client: Any, bucket: str, key: str = "k", **more: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get_object_acl(Bucket=bucket, Key=key, **more)["Grants"]
    return found


def body_of(person: Person, bucket: str, key: str = "k", **more: str) -> bytes:
    body: bytes = person.client.get_object(Bucket=bucket, Key=key, **more)["Body"].read()
    return body


def make_versions(owner: Person, bucket: str, *bodies: bytes) -> list[str]:
    owner.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return [
        owner.client.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"] for body in bodies
    ]


# -- what is set is read --------------------------------------------------------------------------


def test_a_new_object_is_private(owner: Person, bucket: str) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    answer = owner.client.get_object_acl(Bucket=bucket, Key="k")
    assert answer["Owner"] == owner.owner
    assert answer["Grants"] == [grant(owner.grantee, "FULL_CONTROL")]


def put_small(client: Any, bucket: str, **given: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"x", **given)


def put_large(client: Any, bucket: str, **given: str) -> None:
    client.put_object(Bucket=bucket, Key="k", Body=b"x" * 300_000, **given)


def copy(client: Any, bucket: str, **given: str) -> None:
    client.put_object(Bucket=bucket, Key="source", Body=b"x")
    client.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/source", **given)


def in_parts(client: Any, bucket: str, **given: str) -> None:
    upload = client.create_multipart_upload(Bucket=bucket, Key="k", **given)["UploadId"]
    named = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    parts = []
    for number, body in ((1, b"x" * PART), (2, b"y")):
        etag = client.upload_part(PartNumber=number, Body=body, **named)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **named)


Write = Callable[..., None]
WRITES = [put_small, put_large, copy, in_parts]


@pytest.mark.parametrize("write", WRITES)
def test_acls_of_new_objects(owner: Person, other: Person, bucket: str, write: Write) -> None:
    write(owner.client, bucket, ACL="public-read")
    own = grant(owner.grantee, "FULL_CONTROL")
    assert grants_of(owner.client, bucket) == [grant(ALL, "READ"), own]
    write(owner.client, bucket, GrantRead=f"id={other.id}", GrantFullControl=f"id={owner.id}")
    assert grants_of(owner.client, bucket) == [grant(other.grantee, "READ"), own]
    write(owner.client, bucket)
    assert grants_of(owner.client, bucket) == [own]


def test_a_form_has_a_field_for_it(raw: RawClient, owner: Person, bucket: str) -> None:
    form = Form(raw, owner.client, bucket)
    assert form.upload("k", acl="public-read").status == 204
    assert grants_of(owner.client, bucket)[0] == grant(ALL, "READ")
    answer = form.upload("other", acl="public")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_a_presigned_url_may_bring_it_in_its_query(
    raw: RawClient, owner: Person, bucket: str
) -> None:
    query = raw.presign("PUT", f"/{bucket}/k", "x-amz-acl=public-read")
    assert raw.request("PUT", f"/{bucket}/k", query, body=b"x", sign=False).status == 200
    assert grants_of(owner.client, bucket)[0] == grant(ALL, "READ")


@pytest.mark.parametrize("write", WRITES)
def test_what_is_wrong_with_an_acl_is_said_at_once(
    owner: Person, bucket: str, write: Write
) -> None:
    for given, code in (
        ({"ACL": "public"}, "InvalidArgument"),
        ({"ACL": "log-delivery-write"}, "InvalidArgument"),
        ({"GrantRead": "id=_foo"}, "InvalidArgument"),
        ({"GrantRead": "emailAddress=no@example.invalid"}, "UnresolvableGrantByEmailAddress"),
        ({"ACL": "private", "GrantRead": f"id={owner.id}"}, "InvalidRequest"),
    ):
        assert refusal(write, client=owner.client, bucket=bucket, **given) == code
    assert refusal(owner.client.head_object, Bucket=bucket, Key="k") == "404"


@pytest.mark.parametrize(("name", "grants"), [row for row in CANNED if "log" not in row[0]])
def test_canned_acls(owner: Person, bucket: str, name: str, grants: list[dict[str, Any]]) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    owner.client.put_object_acl(Bucket=bucket, Key="k", ACL=name)
    assert grants_of(owner.client, bucket) == [*grants, grant(owner.grantee, "FULL_CONTROL")]
    owner.client.put_object_acl(Bucket=bucket, Key="k", ACL="private")
    assert grants_of(owner.client, bucket) == [grant(owner.grantee, "FULL_CONTROL")]


def test_aws_exec_read_names_amazon(owner: Person, bucket: str) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="aws-exec-read")
    before = owner.client.get_object_acl(Bucket=bucket, Key="k")
    assert {one["Grantee"].get("DisplayName") for one in before["Grants"]} == {
        "za-team",
        owner.display_name,
    }
    policy = {"Owner": before["Owner"], "Grants": before["Grants"]}
    owner.client.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=policy)
    assert grants_of(owner.client, bucket) == before["Grants"]


@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_an_acl_changes_and_nothing_else(owner: Person, bucket: str, size: int) -> None:
    client = owner.client
    client.put_object(Bucket=bucket, Key="k", Body=b"x" * size, Tagging="a=1", Metadata={"m": "1"})
    before = client.head_object(Bucket=bucket, Key="k")
    client.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    after = client.get_object(Bucket=bucket, Key="k")
    assert after["Body"].read() == b"x" * size
    for name in ("LastModified", "ETag", "Metadata", "ContentType"):
        assert after[name] == before[name]
    assert after["TagCount"] == 1
    client.put_object_tagging(
        Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "b", "Value": "2"}]}
    )
    assert grants_of(client, bucket)[0] == grant(ALL, "READ")


def test_a_copy_has_an_acl_of_its_own(owner: Person, stranger: Person, bucket: str) -> None:
    owner.client.put_object(Bucket=bucket, Key="source", Body=b"x", ACL="public-read")
    for directive in ("COPY", "REPLACE"):
        owner.client.copy_object(
            Bucket=bucket, Key="k", CopySource=f"{bucket}/source", MetadataDirective=directive
        )
        assert grants_of(owner.client, bucket) == [grant(owner.grantee, "FULL_CONTROL")]
        assert refusal(stranger.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"


def test_overwriting_forgets_the_acl(owner: Person, bucket: str) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"1", ACL="public-read")
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"2")
    assert grants_of(owner.client, bucket) == [grant(owner.grantee, "FULL_CONTROL")]


# -- versions -------------------------------------------------------------------------------------


def test_each_version_has_its_own(owner: Person, stranger: Person, bucket: str) -> None:
    first, second = make_versions(owner, bucket, b"1", b"2")
    answer = owner.client.put_object_acl(Bucket=bucket, Key="k", VersionId=first, ACL="public-read")
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-version-id"] == first
    private = [grant(owner.grantee, "FULL_CONTROL")]
    assert grants_of(owner.client, bucket) == private
    assert grants_of(owner.client, bucket, VersionId=second) == private
    assert grants_of(owner.client, bucket, VersionId=first) == [grant(ALL, "READ"), *private]
    assert body_of(stranger, bucket, VersionId=first) == b"1"
    assert refusal(stranger.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    owner.client.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    assert body_of(stranger, bucket) == b"2"


def test_a_delete_marker_has_none(owner: Person, bucket: str) -> None:
    make_versions(owner, bucket, b"1")
    marker = owner.client.delete_object(Bucket=bucket, Key="k")["VersionId"]
    named: dict[str, str] = {"Bucket": bucket, "Key": "k", "VersionId": marker}
    assert refusal(owner.client.get_object_acl, **named) == "MethodNotAllowed"
    assert refusal(owner.client.put_object_acl, ACL="public-read", **named) == "MethodNotAllowed"
    assert refusal(owner.client.get_object_acl, Bucket=bucket, Key="k") == "NoSuchKey"
    code = refusal(owner.client.put_object_acl, Bucket=bucket, Key="k", ACL="public-read")
    assert code == "NoSuchKey"


def test_what_is_not_there_has_none(owner: Person, bucket: str) -> None:
    assert refusal(owner.client.get_object_acl, Bucket=bucket, Key="k") == "NoSuchKey"
    (first,) = make_versions(owner, bucket, b"1")
    owner.client.delete_object(Bucket=bucket, Key="k", VersionId=first)
    for version, code in ((first, "NoSuchVersion"), ("x", "InvalidArgument")):
        named = {"Bucket": bucket, "Key": "k", "VersionId": version}
        assert refusal(owner.client.get_object_acl, **named) == code
        assert refusal(owner.client.put_object_acl, ACL="private", **named) == code


# -- what is refused ------------------------------------------------------------------------------


def test_one_way_at_a_time(raw: RawClient, owner: Person, bucket: str) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    body = document(owner.id, (user(owner.id), "READ"))
    canned, granting = {"x-amz-acl": "private"}, {"x-amz-grant-read": f"id={owner.id}"}
    for headers, content, code in (
        (canned | granting, None, "InvalidRequest"),
        (canned, body, "UnexpectedContent"),
        ({}, None, "MissingSecurityHeader"),
        ({}, b"<AccessControlPolicy/>", "MalformedACLError"),
    ):
        answer = raw.request("PUT", f"/{bucket}/k", "acl", headers=headers, body=content)
        assert (answer.status, answer.code) == (400, code)


def test_the_owner_stays(owner: Person, other: Person, bucket: str) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    policy = {"Owner": other.owner, "Grants": [grant(owner.grantee, "READ")]}
    named: dict[str, Any] = {"Bucket": bucket, "Key": "k", "AccessControlPolicy": policy}
    assert refusal(owner.client.put_object_acl, **named) == "AccessDenied"


# -- what it lets others do -----------------------------------------------------------------------


def test_grants_to_a_user(owner: Person, other: Person, stranger: Person, bucket: str) -> None:
    client = other.client
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    tries: dict[str, Callable[[], Any]] = {
        "READ": lambda: client.get_object(Bucket=bucket, Key="k"),
        "READ_ACP": lambda: client.get_object_acl(Bucket=bucket, Key="k"),
        "WRITE_ACP": lambda: client.put_object_acl(
            Bucket=bucket, Key="k", GrantWriteACP=f"id={other.id}"
        ),
    }
    for granted in ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"):
        policy = {"Owner": owner.owner, "Grants": [grant(other.grantee, granted)]}
        owner.client.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=policy)
        for needed, attempt in tries.items():
            if granted in (needed, "FULL_CONTROL"):
                attempt()
            else:
                assert refusal(attempt) == "AccessDenied", (granted, needed)
        assert refusal(client.put_object, Bucket=bucket, Key="k", Body=b"") == "AccessDenied"
        assert refusal(client.delete_object, Bucket=bucket, Key="k") == "AccessDenied"
        assert refusal(stranger.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"


@pytest.mark.parametrize("size", [5, 300_000])
def test_public_objects_in_a_private_bucket(
    owner: Person, other: Person, stranger: Person, bucket: str, size: int
) -> None:
    for key, name in (("all", "public-read"), ("signed", "authenticated-read")):
        owner.client.put_object(Bucket=bucket, Key=key, Body=b"x" * size, ACL=name)
    assert body_of(stranger, bucket, "all") == b"x" * size
    assert body_of(other, bucket, "all", Range="bytes=1-2") == b"xx"
    assert stranger.client.head_object(Bucket=bucket, Key="all")["ContentLength"] == size
    assert body_of(other, bucket, "signed") == b"x" * size
    assert refusal(stranger.client.get_object, Bucket=bucket, Key="signed") == "AccessDenied"
    for person in (other, stranger):
        assert refusal(person.client.list_objects_v2, Bucket=bucket) == "AccessDenied"
        assert refusal(person.client.get_object, Bucket=bucket, Key="none") == "AccessDenied"


def test_what_others_may_read_they_may_copy(owner: Person, other: Person, bucket: str) -> None:
    owner.client.put_object(Bucket=bucket, Key="shared", Body=b"x", GrantRead=f"id={other.id}")
    owner.client.put_object(Bucket=bucket, Key="secret", Body=b"x")
    mine = f"{bucket[:40]}-other"
    other.client.create_bucket(Bucket=mine)
    try:
        other.client.copy_object(Bucket=mine, Key="k", CopySource=f"{bucket}/shared")
        assert body_of(other, mine) == b"x"
        code = refusal(
            other.client.copy_object, Bucket=mine, Key="k", CopySource=f"{bucket}/secret"
        )
        assert code == "AccessDenied"
        other.client.delete_object(Bucket=mine, Key="k")
    finally:
        other.client.delete_bucket(Bucket=mine)


# -- the public access block ----------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITES)
def test_public_acls_can_be_blocked(owner: Person, bucket: str, write: Write) -> None:
    block(owner, bucket, BlockPublicAcls=True)
    for given in (
        {"ACL": "public-read"},
        {"ACL": "authenticated-read"},
        {"GrantReadACP": f"uri={SIGNED['URI']}"},
    ):
        assert refusal(write, client=owner.client, bucket=bucket, **given) == "AccessDenied"
    write(owner.client, bucket, ACL="private")
    code = refusal(owner.client.put_object_acl, Bucket=bucket, Key="k", ACL="public-read")
    assert code == "AccessDenied"


def test_public_grants_can_be_ignored(owner: Person, stranger: Person, bucket: str) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    assert body_of(stranger, bucket) == b"x"
    block(owner, bucket, IgnorePublicAcls=True)
    assert refusal(stranger.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert grants_of(owner.client, bucket)[0] == grant(ALL, "READ")
