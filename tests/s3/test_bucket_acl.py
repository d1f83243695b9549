"""GetBucketAcl, PutBucketAcl, ACLs of CreateBucket, and what a bucket's ACL lets others do."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import empty_and_delete
from tests.s3.people import Person, refusal
from tests.s3.raw import RawClient

ALL = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"}
SIGNED = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"}
LOGS = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/s3/LogDelivery"}
INSTANCE = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


@pytest.fixture
def new_bucket(boto_client: Any) -> Iterator[str]:
    """The name of a bucket that the test makes."""
    name = f"test-{uuid.uuid4().hex[:20]}"
    yield name
    empty_and_delete(boto_client, name)


def grant(grantee: dict[str, str], permission: str) -> dict[str, Any]:
    return {"Grantee": grantee, "Permission": permission}


def grants_of(client: Any, bucket: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get_bucket_acl(Bucket=bucket)["Grants"]
    return found


def put(owner: Person, bucket: str, *grants: dict[str, Any]) -> None:
    policy = {"Owner": owner.owner, "Grants": list(grants)}
    owner.client.put_bucket_acl(Bucket=bucket, AccessControlPolicy=policy)


def document(owner: str, *grants: tuple[str, str]) -> bytes:
    """An AccessControlPolicy of (grantee as XML, permission)."""
    rows = "".join(
        f"<Grant>{grantee}<Permission>{permission}</Permission></Grant>"
        for grantee, permission in grants
    )
    return (
        f"<AccessControlPolicy><Owner><ID>{owner}</ID></Owner>"
        f"<AccessControlList>{rows}</AccessControlList></AccessControlPolicy>"
    ).encode()


def user(canonical_id: str) -> str:
    return f'<Grantee {INSTANCE} xsi:type="CanonicalUser"><ID>{canonical_id}</ID></Grantee>'


# -- what is set is read --------------------------------------------------------------------------


def test_a_new_bucket_is_private(owner: Person, bucket: str) -> None:
    answer = owner.client.get_bucket_acl(Bucket=bucket)
    assert answer["Owner"] == owner.owner
    assert answer["Grants"] == [grant(owner.grantee, "FULL_CONTROL")]


def test_the_document_is_s3s_own(raw: RawClient, owner: Person, bucket: str) -> None:
    answer = raw.request("GET", f"/{bucket}", "acl")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/xml")
    assert answer.body.decode().partition("\n")[2] == (
        '<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Owner><ID>{owner.id}</ID><DisplayName>{owner.display_name}</DisplayName></Owner>"
        f'<AccessControlList><Grant><Grantee {INSTANCE} xsi:type="CanonicalUser">'
        f"<ID>{owner.id}</ID><DisplayName>{owner.display_name}</DisplayName></Grantee>"
        "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"
    )


CANNED = [
    ("private", []),
    ("public-read", [grant(ALL, "READ")]),
    ("public-read-write", [grant(ALL, "READ"), grant(ALL, "WRITE")]),
    ("authenticated-read", [grant(SIGNED, "READ")]),
    ("log-delivery-write", [grant(LOGS, "WRITE"), grant(LOGS, "READ_ACP")]),
    ("bucket-owner-full-control", []),
]


@pytest.mark.parametrize(("name", "grants"), CANNED)
def test_canned_acls(
    raw: RawClient, owner: Person, bucket: str, name: str, grants: list[dict[str, Any]]
) -> None:
    answer = raw.request("PUT", f"/{bucket}", "acl", headers={"x-amz-acl": name})
    assert (answer.status, answer.body) == (200, b"")
    assert grants_of(owner.client, bucket) == [*grants, grant(owner.grantee, "FULL_CONTROL")]


@pytest.mark.parametrize(("name", "grants"), CANNED[:4])
def test_canned_acls_of_new_buckets(
    owner: Person, new_bucket: str, name: str, grants: list[dict[str, Any]]
) -> None:
    owner.client.create_bucket(Bucket=new_bucket, ACL=name)
    assert grants_of(owner.client, new_bucket) == [*grants, grant(owner.grantee, "FULL_CONTROL")]


def test_grants_in_a_document(owner: Person, other: Person, bucket: str) -> None:
    put(
        owner,
        bucket,
        grant(owner.grantee, "FULL_CONTROL"),
        grant(other.grantee, "READ"),
        grant(SIGNED, "READ_ACP"),
        grant(other.grantee, "WRITE"),
        grant(other.grantee, "READ"),
    )
    assert grants_of(owner.client, bucket) == [
        grant(SIGNED, "READ_ACP"),
        grant(owner.grantee, "FULL_CONTROL"),
        grant(other.grantee, "READ"),
        grant(other.grantee, "WRITE"),
    ]


def test_what_is_read_can_be_put_again(owner: Person, other: Person, bucket: str) -> None:
    put(owner, bucket, grant(ALL, "READ"), grant(other.grantee, "WRITE_ACP"))
    before = owner.client.get_bucket_acl(Bucket=bucket)
    policy = {"Owner": before["Owner"], "Grants": before["Grants"]}
    owner.client.put_bucket_acl(Bucket=bucket, AccessControlPolicy=policy)
    assert grants_of(owner.client, bucket) == before["Grants"]


def test_grants_in_headers(owner: Person, other: Person, bucket: str, new_bucket: str) -> None:
    given = {
        "GrantRead": f'id="{other.id}", uri="{ALL["URI"]}"',
        "GrantWriteACP": f"id={other.id}",
    }
    owner.client.put_bucket_acl(Bucket=bucket, **given)
    owner.client.create_bucket(Bucket=new_bucket, **given)
    for name in (bucket, new_bucket):
        assert grants_of(owner.client, name) == [
            grant(ALL, "READ"),
            grant(other.grantee, "READ"),
            grant(other.grantee, "WRITE_ACP"),
        ]


def test_an_email_address_becomes_an_id(owner: Person, other: Person, bucket: str) -> None:
    by_email = {"Type": "AmazonCustomerByEmail", "EmailAddress": other.email}
    put(owner, bucket, grant(by_email, "READ"))
    assert grants_of(owner.client, bucket) == [grant(other.grantee, "READ")]
    owner.client.put_bucket_acl(Bucket=bucket, GrantWrite=f"emailAddress={other.email}")
    assert grants_of(owner.client, bucket) == [grant(other.grantee, "WRITE")]


def test_nobody_need_be_granted_anything(owner: Person, bucket: str) -> None:
    put(owner, bucket)
    assert grants_of(owner.client, bucket) == []
    owner.client.put_bucket_acl(Bucket=bucket, ACL="private")
    assert grants_of(owner.client, bucket) == [grant(owner.grantee, "FULL_CONTROL")]


# -- what is refused ------------------------------------------------------------------------------


def test_unknown_canned_acls(raw: RawClient, bucket: str, new_bucket: str) -> None:
    for path, query in ((f"/{bucket}", "acl"), (f"/{new_bucket}", "")):
        answer = raw.request("PUT", path, query, headers={"x-amz-acl": "public"})
        assert (answer.status, answer.code) == (400, "InvalidArgument")
        assert (answer.text("ArgumentName"), answer.text("ArgumentValue")) == (
            "x-amz-acl",
            "public",
        )


def test_one_way_at_a_time(raw: RawClient, owner: Person, bucket: str) -> None:
    body = document(owner.id, (user(owner.id), "READ"))
    canned, granting = {"x-amz-acl": "private"}, {"x-amz-grant-read": f"id={owner.id}"}
    for headers, content, code in (
        (canned | granting, None, "InvalidRequest"),
        (canned, body, "UnexpectedContent"),
        (granting, body, "UnexpectedContent"),
        ({}, None, "MissingSecurityHeader"),
        ({}, b"", "MissingSecurityHeader"),
    ):
        answer = raw.request("PUT", f"/{bucket}", "acl", headers=headers, body=content)
        assert (answer.status, answer.code) == (400, code)
    assert grants_of(owner.client, bucket) == [grant(owner.grantee, "FULL_CONTROL")]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "InvalidArgument"),
        ("somebody", "InvalidArgument"),
        ("id=_foo", "InvalidArgument"),
        ("uri=http://acs.amazonaws.com/groups/global/Nobody", "InvalidArgument"),
        ("emailAddress=nobody@example.invalid", "UnresolvableGrantByEmailAddress"),
    ],
)
def test_grantees_in_headers_that_are_nobody(
    raw: RawClient, bucket: str, value: str, code: str
) -> None:
    answer = raw.request("PUT", f"/{bucket}", "acl", headers={"x-amz-grant-write": value})
    assert (answer.status, answer.code) == (400, code)


GRANTEES = [
    (user("_foo"), "InvalidArgument"),
    (f'<Grantee {INSTANCE} xsi:type="Group"><URI>http://example.org/x</URI></Grantee>',
     "InvalidArgument"),
    (f'<Grantee {INSTANCE} xsi:type="AmazonCustomerByEmail">'
     "<EmailAddress>nobody@example.invalid</EmailAddress></Grantee>",
     "UnresolvableGrantByEmailAddress"),
    (f'<Grantee {INSTANCE} xsi:type="Group"><ID>x</ID></Grantee>', "MalformedACLError"),
    (f'<Grantee {INSTANCE} xsi:type="Everybody"><ID>x</ID></Grantee>', "MalformedACLError"),
    (f'<Grantee {INSTANCE} xsi:type="CanonicalUser"/>', "MalformedACLError"),
    ("<Grantee><ID>x</ID></Grantee>", "MalformedACLError"),
    ("<ID>x</ID>", "MalformedACLError"),
    ("", "MalformedACLError"),
]  # fmt: skip


@pytest.mark.parametrize(("grantee", "code"), GRANTEES)
def test_grantees_that_are_nobody(
    raw: RawClient, owner: Person, bucket: str, grantee: str, code: str
) -> None:
    answer = raw.request("PUT", f"/{bucket}", "acl", body=document(owner.id, (grantee, "READ")))
    assert (answer.status, answer.code) == (400, code)


def test_documents_that_are_none(raw: RawClient, owner: Person, bucket: str) -> None:
    sound = document(owner.id, (user(owner.id), "READ")).decode()
    for body in (
        "<",
        "<AccessControlList/>",
        "<AccessControlPolicy/>",
        sound.replace("READ", "read"),
        sound.replace("READ", ""),
        sound.replace("READ", "<READ/>"),
        sound.replace("<Owner>", "<Owner><Name>x</Name>"),
        sound.replace("</Owner>", "</Owner><Owner><ID>x</ID></Owner>"),
        sound.replace("<Grant>", "<Grant><Extra/>"),
        sound.replace("<Grant>", "<Given>").replace("</Grant>", "</Given>"),
        sound.replace(f"<Owner><ID>{owner.id}</ID></Owner>", ""),
        sound.replace("<AccessControlList>", "<AccessControlList/><AccessControlList>"),
    ):
        answer = raw.request("PUT", f"/{bucket}", "acl", body=body.encode())
        assert (answer.status, answer.code) == (400, "MalformedACLError"), body
    assert raw.request("PUT", f"/{bucket}", "acl", body=sound.encode()).status == 200


def test_a_grant_that_is_repeated_counts_once(
    raw: RawClient, owner: Person, other: Person, bucket: str
) -> None:
    ids = [user(owner.id), user(other.id)]
    rows = [
        (grantee, permission)
        for grantee in ids
        for permission in ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL")
    ]
    body = document(owner.id, *(rows * 15))  # 150, of which 10 differ
    assert raw.request("PUT", f"/{bucket}", "acl", body=body).status == 200
    assert len(grants_of(owner.client, bucket)) == 10


def test_the_owner_stays(owner: Person, other: Person, bucket: str) -> None:
    policy = {"Owner": other.owner, "Grants": [grant(owner.grantee, "FULL_CONTROL")]}
    code = refusal(owner.client.put_bucket_acl, Bucket=bucket, AccessControlPolicy=policy)
    assert code == "AccessDenied"


def test_a_damaged_document_changes_nothing(raw: RawClient, owner: Person, bucket: str) -> None:
    body = document(owner.id)
    headers = {"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    answer = raw.request("PUT", f"/{bucket}", "acl", body=body, headers=headers)
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert grants_of(owner.client, bucket) == [grant(owner.grantee, "FULL_CONTROL")]


# -- a bucket made again --------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("public-read", None), (None, "public-read")])
def test_a_bucket_made_again_keeps_its_acl(
    owner: Person, new_bucket: str, first: str | None, second: str | None
) -> None:
    owner.client.create_bucket(Bucket=new_bucket, **({"ACL": first} if first else {}))
    before = grants_of(owner.client, new_bucket)
    again = {"ACL": second} if second else {}
    code = refusal(owner.client.create_bucket, Bucket=new_bucket, **again)
    assert code == "BucketAlreadyExists"
    assert grants_of(owner.client, new_bucket) == before
    owner.client.create_bucket(Bucket=new_bucket, **({"ACL": first} if first else {}))


# -- what it lets others do -----------------------------------------------------------------------


def may(person: Person, bucket: str) -> set[str]:
    """What ``person`` may do with a bucket that holds an object ``k``."""
    client = person.client
    tries: dict[str, Callable[[], Any]] = {
        "head": lambda: client.head_bucket(Bucket=bucket),
        "list": lambda: client.list_objects_v2(Bucket=bucket),
        "versions": lambda: client.list_object_versions(Bucket=bucket),
        "uploads": lambda: client.list_multipart_uploads(Bucket=bucket),
        "put": lambda: client.put_object(Bucket=bucket, Key="new", Body=b"x"),
        "delete": lambda: client.delete_object(Bucket=bucket, Key="new"),
        "read acl": lambda: client.get_bucket_acl(Bucket=bucket),
        "get": lambda: client.get_object(Bucket=bucket, Key="k"),
        "overwrite": lambda: client.put_object(Bucket=bucket, Key="k", Body=b"y"),
        "location": lambda: client.get_bucket_location(Bucket=bucket),
        "tagging": lambda: client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": []}),
    }
    return {name for name, attempt in tries.items() if is_allowed(attempt)}


def is_allowed(attempt: Callable[[], Any]) -> bool:
    """False where the answer is 403; any other refusal is raised."""
    try:
        attempt()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
            raise
        return False
    return True


READ, WRITE = {"head", "list", "versions", "uploads"}, {"put", "delete", "overwrite"}


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        ("READ", READ),
        ("WRITE", WRITE),
        ("READ_ACP", {"read acp"}),
        ("WRITE_ACP", set()),
        ("FULL_CONTROL", READ | WRITE | {"read acp"}),
    ],
)
def test_grants_to_a_user(
    owner: Person,
    other: Person,
    stranger: Person,
    bucket: str,
    permission: str,
    allowed: set[str],
) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    put(owner, bucket, grant(other.grantee, permission))
    expected = {name.replace("acp", "acl") for name in allowed}
    assert may(other, bucket) == expected
    assert may(stranger, bucket) == set()
    changed = {"Bucket": bucket, "GrantRead": f"id={other.id}"}
    if permission in ("WRITE_ACP", "FULL_CONTROL"):
        other.client.put_bucket_acl(**changed)
        assert grants_of(owner.client, bucket) == [grant(other.grantee, "READ")]
    else:
        assert refusal(other.client.put_bucket_acl, **changed) == "AccessDenied"


@pytest.mark.parametrize(
    ("name", "to_others", "to_strangers"),
    [
        ("private", set(), set()),
        ("authenticated-read", READ, set()),
        ("public-read", READ, READ),
        ("public-read-write", READ | WRITE, READ | WRITE),
        ("log-delivery-write", set(), set()),
    ],
)
def test_canned_acls_reach_whom_they_name(
    raw: RawClient,
    owner: Person,
    other: Person,
    stranger: Person,
    bucket: str,
    name: str,
    to_others: set[str],
    to_strangers: set[str],
) -> None:
    owner.client.put_object(Bucket=bucket, Key="k", Body=b"x")
    raw.request("PUT", f"/{bucket}", "acl", headers={"x-amz-acl": name})
    assert may(other, bucket) == to_others
    assert may(stranger, bucket) == to_strangers


def test_whoever_may_not_read_an_acl_may_not_write_it_either(
    other: Person, stranger: Person, bucket: str
) -> None:
    for person in (other, stranger):
        assert refusal(person.client.get_bucket_acl, Bucket=bucket) == "AccessDenied"
        code = refusal(person.client.put_bucket_acl, Bucket=bucket, ACL="public-read")
        assert code == "AccessDenied"


def test_a_user_gives_a_bucket_of_his_own_an_acl(
    other: Person, stranger: Person, owner: Person, new_bucket: str
) -> None:
    other.client.create_bucket(Bucket=new_bucket, ACL="public-read")
    assert grants_of(other.client, new_bucket)[-1] == grant(other.grantee, "FULL_CONTROL")
    stranger.client.list_objects_v2(Bucket=new_bucket)
    other.client.put_bucket_acl(Bucket=new_bucket, ACL="private")
    assert refusal(stranger.client.list_objects_v2, Bucket=new_bucket) == "AccessDenied"


# -- the public access block ----------------------------------------------------------------------


def block(owner: Person, bucket: str, **switches: bool) -> None:
    owner.client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=switches)


def test_public_acls_can_be_blocked(owner: Person, other: Person, bucket: str) -> None:
    block(owner, bucket, BlockPublicAcls=True)
    for name in ("public-read", "public-read-write", "authenticated-read"):
        assert refusal(owner.client.put_bucket_acl, Bucket=bucket, ACL=name) == "AccessDenied"
    code = refusal(owner.client.put_bucket_acl, Bucket=bucket, GrantRead=f"uri={ALL['URI']}")
    assert code == "AccessDenied"
    owner.client.put_bucket_acl(Bucket=bucket, GrantRead=f"id={other.id}")


def test_public_grants_can_be_ignored(
    owner: Person, other: Person, stranger: Person, bucket: str
) -> None:
    owner.client.put_bucket_acl(
        Bucket=bucket, GrantRead=f"uri={ALL['URI']},id={other.id}", GrantWrite=f"uri={ALL['URI']}"
    )
    block(owner, bucket, IgnorePublicAcls=True)
    assert refusal(stranger.client.list_objects_v2, Bucket=bucket) == "AccessDenied"
    other.client.list_objects_v2(Bucket=bucket)
    assert refusal(other.client.put_object, Bucket=bucket, Key="k", Body=b"") == "AccessDenied"
    owner.client.delete_public_access_block(Bucket=bucket)
    stranger.client.list_objects_v2(Bucket=bucket)
