"""BucketOwnershipControls, x-amz-object-ownership, and whose the objects are that others write."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import empty_and_delete
from tests.s3.people import Person, refusal
from tests.s3.raw import RawClient
from tests.s3.test_bucket_acl import ALL, grant

ENFORCED, PREFERRED, WRITER = "BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"
GIVING = {"ACL": "bucket-owner-full-control"}


@pytest.fixture
def make(owner: Person) -> Iterator[Callable[..., str]]:
    """Makes buckets of the owner that go away with the test."""
    made: list[str] = []

    def make_one(ownership: str = "", **given: str) -> str:
        name = f"test-{uuid.uuid4().hex[:20]}"
        if ownership:
            given["ObjectOwnership"] = ownership
        owner.client.create_bucket(Bucket=name, **given)
        made.append(name)
        return name

    yield make_one
    for name in made:
        empty_and_delete(owner.client, name)


def open_to_all(owner: Person, bucket: str) -> None:
    """Let everybody do everything in ``bucket``, by its policy."""
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": resources}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    owner.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def set_ownership(person: Person, bucket: str, state: str) -> None:
    controls = {"Rules": [{"ObjectOwnership": state}]}
    person.client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=controls)


def ownership_of(person: Person, bucket: str) -> str:
    answer = person.client.get_bucket_ownership_controls(Bucket=bucket)
    (rule,) = answer["OwnershipControls"]["Rules"]
    return str(rule["ObjectOwnership"])


def owner_of(person: Person, bucket: str, key: str = "k") -> dict[str, str]:
    found: dict[str, str] = person.client.get_object_acl(Bucket=bucket, Key=key)["Owner"]
    return found


# -- the setting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [ENFORCED, PREFERRED, WRITER])
def test_the_setting_is_read_back(owner: Person, make: Callable[..., str], state: str) -> None:
    assert ownership_of(owner, make(state)) == state
    bucket = make()
    set_ownership(owner, bucket, state)
    assert ownership_of(owner, bucket) == state


def test_a_bucket_has_none_at_first(owner: Person, make: Callable[..., str]) -> None:
    bucket = make()
    for _ in range(2):
        code = refusal(owner.client.get_bucket_ownership_controls, Bucket=bucket)
        assert code == "OwnershipControlsNotFoundError"
        owner.client.delete_bucket_ownership_controls(Bucket=bucket)
    set_ownership(owner, bucket, ENFORCED)
    owner.client.delete_bucket_ownership_controls(Bucket=bucket)
    code = refusal(owner.client.get_bucket_ownership_controls, Bucket=bucket)
    assert code == "OwnershipControlsNotFoundError"


@pytest.mark.parametrize(
    "body",
    [
        b"<OwnershipControls/>",
        b"<OwnershipControls><Rule/></OwnershipControls>",
        b"<OwnershipControls><Rule><ObjectOwnership>Mine</ObjectOwnership></Rule>"
        b"</OwnershipControls>",
        b"<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>"
        b"<Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
        b"<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership><Id>1</Id></Rule>"
        b"</OwnershipControls>",
        b"<Ownership/>",
    ],
)
def test_settings_that_are_none(
    raw: RawClient, owner: Person, make: Callable[..., str], body: bytes
) -> None:
    bucket = make()
    answer = raw.request("PUT", f"/{bucket}", "ownershipControls", body=body)
    assert (answer.status, answer.code) == (400, "MalformedXML")
    code = refusal(owner.client.get_bucket_ownership_controls, Bucket=bucket)
    assert code == "OwnershipControlsNotFoundError"


def test_a_header_that_is_none(raw: RawClient, owner: Person) -> None:
    name = f"test-{uuid.uuid4().hex[:20]}"
    headers = {"x-amz-object-ownership": "Mine"}
    answer = raw.request("PUT", f"/{name}", headers=headers)
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert refusal(owner.client.head_bucket, Bucket=name) == "404"


def test_only_who_may_sets_it(other: Person, make: Callable[..., str]) -> None:
    bucket = make()
    assert refusal(set_ownership, person=other, bucket=bucket, state=WRITER) == "AccessDenied"
    code = refusal(other.client.delete_bucket_ownership_controls, Bucket=bucket)
    assert code == "AccessDenied"


def test_a_bucket_made_again_keeps_its_setting(owner: Person, make: Callable[..., str]) -> None:
    bucket = make(PREFERRED)
    owner.client.create_bucket(Bucket=bucket, ObjectOwnership=PREFERRED)
    owner.client.create_bucket(Bucket=bucket)
    code = refusal(owner.client.create_bucket, Bucket=bucket, ObjectOwnership=WRITER)
    assert code == "BucketAlreadyExists"
    assert ownership_of(owner, bucket) == PREFERRED


# -- the bucket owner's enforced ------------------------------------------------------------------


@pytest.mark.parametrize("given", [{"ACL": "public-read"}, {"GrantRead": f"uri={ALL['URI']}"}])
def test_no_bucket_is_made_with_acls_that_would_not_count(
    owner: Person, make: Callable[..., str], given: dict[str, str]
) -> None:
    code = refusal(make, ownership=ENFORCED, **given)
    assert code == "InvalidBucketAclWithObjectOwnership"
    assert ownership_of(owner, make(ENFORCED, ACL="private")) == ENFORCED


def test_acls_go_before_they_are_disabled(owner: Person, make: Callable[..., str]) -> None:
    bucket = make(ACL="public-read")
    code = refusal(set_ownership, person=owner, bucket=bucket, state=ENFORCED)
    assert code == "InvalidBucketAclWithObjectOwnership"
    owner.client.put_bucket_acl(Bucket=bucket, ACL="private")
    set_ownership(owner, bucket, ENFORCED)
    assert ownership_of(owner, bucket) == ENFORCED


def write_small(person: Person, bucket: str, key: str = "k", **given: str) -> None:
    person.client.put_object(Bucket=bucket, Key=key, Body=b"x", **given)


def write_in_parts(person: Person, bucket: str, key: str = "k", **given: str) -> None:
    client = person.client
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, **given)["UploadId"]
    named = {"Bucket": bucket, "Key": key, "UploadId": upload}
    etag = client.upload_part(PartNumber=1, Body=b"x", **named)["ETag"]
    parts = [{"PartNumber": 1, "ETag": etag}]
    client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **named)


def copy(person: Person, bucket: str, key: str = "k", **given: str) -> None:
    write_small(person, bucket, "source")
    source = f"{bucket}/source"
    person.client.copy_object(Bucket=bucket, Key=key, CopySource=source, **given)


Write = Callable[..., None]
WRITES = [write_small, write_in_parts, copy]


@pytest.mark.parametrize("write", WRITES)
def test_everything_is_the_bucket_owners(
    owner: Person, other: Person, make: Callable[..., str], write: Write
) -> None:
    bucket = make(ENFORCED)
    open_to_all(owner, bucket)
    for given in ({}, GIVING, {"GrantFullControl": f"id={owner.id}"}):
        write(other, bucket, **given)
        answer = other.client.get_object_acl(Bucket=bucket, Key="k")
        assert answer["Owner"] == owner.owner
        assert answer["Grants"] == [grant(owner.grantee, "FULL_CONTROL")]
    for given in (
        {"ACL": "private"},
        {"ACL": "public-read"},
        {"GrantRead": f"id={owner.id}"},
        {"GrantFullControl": f"id={other.id}"},
    ):
        code = refusal(write, person=other, bucket=bucket, **given)
        assert code == "AccessControlListNotSupported"


def test_acls_cannot_be_set(owner: Person, make: Callable[..., str]) -> None:
    bucket = make(ENFORCED)
    write_small(owner, bucket)
    for name in ("private", "public-read", "bucket-owner-full-control"):
        for call, more in (
            (owner.client.put_bucket_acl, {}),
            (owner.client.put_object_acl, {"Key": "k"}),
        ):
            code = refusal(call, Bucket=bucket, ACL=name, **more)
            assert code == "AccessControlListNotSupported"
    assert owner.client.get_bucket_acl(Bucket=bucket)["Grants"] == [
        grant(owner.grantee, "FULL_CONTROL")
    ]


def test_acls_that_are_there_sleep(
    owner: Person, other: Person, stranger: Person, make: Callable[..., str]
) -> None:
    bucket = make(ACL="public-read-write")
    write_small(owner, bucket, "public", ACL="public-read")
    write_small(other, bucket, "others")
    owner.client.put_bucket_acl(Bucket=bucket, ACL="private")
    set_ownership(owner, bucket, ENFORCED)
    assert refusal(stranger.client.get_object, Bucket=bucket, Key="public") == "AccessDenied"
    assert refusal(other.client.get_object, Bucket=bucket, Key="others") == "AccessDenied"
    assert owner_of(owner, bucket, "others") == owner.owner
    for listed in (
        owner.client.list_objects(Bucket=bucket)["Contents"],
        owner.client.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"],
        owner.client.list_object_versions(Bucket=bucket)["Versions"],
    ):
        assert [entry["Owner"] for entry in listed] == [owner.owner, owner.owner]
    set_ownership(owner, bucket, WRITER)
    assert stranger.client.get_object(Bucket=bucket, Key="public")["Body"].read() == b"x"
    assert other.client.get_object(Bucket=bucket, Key="others")["Body"].read() == b"x"
    assert owner_of(owner, bucket, "others") == other.owner


# -- the writer's ---------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(("state", "given_away"), [("", False), (WRITER, False), (PREFERRED, True)])
def test_whose_it_is_that_others_write(
    owner: Person,
    other: Person,
    make: Callable[..., str],
    write: Write,
    state: str,
    given_away: bool,
) -> None:
    bucket = make(state, ACL="public-read-write")
    for given in ({}, {"ACL": "private"}, {"ACL": "bucket-owner-read"}):
        write(other, bucket, **given)
        assert owner_of(other, bucket) == other.owner
    write(other, bucket, **GIVING)
    grants = owner.client.get_object_acl(Bucket=bucket, Key="k")["Grants"]
    if given_away:
        assert owner_of(owner, bucket) == owner.owner
        assert grants == [grant(owner.grantee, "FULL_CONTROL")]
        assert refusal(other.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    else:
        assert owner_of(owner, bucket) == other.owner
        assert grants == [
            grant(other.grantee, "FULL_CONTROL"),
            grant(owner.grantee, "FULL_CONTROL"),
        ]


@pytest.mark.parametrize("by_policy", [False, True])
def test_whoever_was_let_in_keeps_hold_of_what_he_writes(
    owner: Person, other: Person, stranger: Person, make: Callable[..., str], by_policy: bool
) -> None:
    bucket = make()
    if by_policy:
        open_to_all(owner, bucket)
    else:
        owner.client.put_bucket_acl(Bucket=bucket, GrantWrite=f"id={other.id}")
    write_small(other, bucket)
    if by_policy:
        owner.client.delete_bucket_policy(Bucket=bucket)
    client = other.client
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    client.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    assert stranger.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    # His own grants may go; the ACL itself stays in his hands.
    policy = {"Owner": other.owner, "Grants": []}
    client.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=policy)
    assert refusal(client.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    client.put_object_acl(Bucket=bucket, Key="k", ACL="private")
    assert client.get_object_acl(Bucket=bucket, Key="k")["Owner"] == other.owner


def test_a_policy_to_write_is_none_to_set_acls(
    owner: Person, other: Person, make: Callable[..., str]
) -> None:
    bucket = make()
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": other.id},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    owner.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    write_small(other, bucket)
    write_small(other, bucket, ACL="private")
    write_small(other, bucket, **GIVING)
    assert owner_of(owner, bucket) == other.owner
    public = {"ACL": "public-read"}
    assert refusal(write_small, person=other, bucket=bucket, **public) == "AccessDenied"
    statement["Action"] = ["s3:PutObject", "s3:PutObjectAcl"]
    owner.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    write_small(other, bucket, **public)


def test_no_acl_widens_what_policies_allow(
    writer: Person, owner: Person, make: Callable[..., str]
) -> None:
    """Whoever may write, and nothing else, gets no hold of what he wrote."""
    bucket = make()
    for given in ({}, {"ACL": "private"}):
        write_small(writer, bucket, **given)
        assert owner_of(owner, bucket) == writer.owner
        for call in (
            writer.client.get_object,
            writer.client.get_object_acl,
            writer.client.delete_object,
        ):
            assert refusal(call, Bucket=bucket, Key="k") == "AccessDenied"
        code = refusal(writer.client.put_object_acl, Bucket=bucket, Key="k", ACL="public-read")
        assert code == "AccessDenied"
    for given in (GIVING, {"ACL": "public-read"}, {"GrantRead": f"id={writer.id}"}):
        assert refusal(write_small, person=writer, bucket=bucket, **given) == "AccessDenied"
    preferred = make(PREFERRED)
    write_small(writer, preferred, **GIVING)
    assert owner_of(owner, preferred) == owner.owner


def test_a_denial_of_acls_holds_for_who_was_let_in_too(
    owner: Person, other: Person, make: Callable[..., str]
) -> None:
    bucket = make(ACL="public-read-write")
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObjectAcl",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    owner.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    write_small(other, bucket)
    code = refusal(write_small, person=other, bucket=bucket, ACL="public-read")
    assert code == "AccessDenied"


def test_listings_name_the_owners(owner: Person, other: Person, make: Callable[..., str]) -> None:
    bucket = make(ACL="public-read-write")
    write_small(owner, bucket, "1")
    write_small(other, bucket, "2")
    uploads = [
        person.client.create_multipart_upload(Bucket=bucket, Key="u")["UploadId"]
        for person in (owner, other)
    ]
    for listed in (
        owner.client.list_objects(Bucket=bucket)["Contents"],
        owner.client.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"],
        owner.client.list_object_versions(Bucket=bucket)["Versions"],
    ):
        assert [entry["Owner"] for entry in listed] == [owner.owner, other.owner]
    found = {
        one["UploadId"]: one
        for one in owner.client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    }
    for upload, person in zip(uploads, (owner, other), strict=True):
        assert found[upload]["Owner"] == found[upload]["Initiator"] == person.owner


def test_uploads_of_others(owner: Person, other: Person, make: Callable[..., str]) -> None:
    """Who was let in by the ACL lists and aborts what is his own."""
    bucket = make(ACL="public-read-write")
    uploads = [
        person.client.create_multipart_upload(Bucket=bucket, Key="u")["UploadId"]
        for person in (owner, other)
    ]
    theirs, own = ({"Bucket": bucket, "Key": "u", "UploadId": upload} for upload in uploads)
    assert refusal(other.client.list_parts, **theirs) == "AccessDenied"
    assert refusal(other.client.abort_multipart_upload, **theirs) == "AccessDenied"
    assert other.client.list_parts(**own)["Owner"] == other.owner
    other.client.abort_multipart_upload(**own)
    owner.client.abort_multipart_upload(**theirs)


def test_an_upload_tells_who_began_it_and_whose_it_will_be(
    owner: Person, other: Person, make: Callable[..., str]
) -> None:
    bucket = make(ENFORCED)
    open_to_all(owner, bucket)
    upload = other.client.create_multipart_upload(Bucket=bucket, Key="u")["UploadId"]
    answer = other.client.list_parts(Bucket=bucket, Key="u", UploadId=upload)
    assert (answer["Initiator"], answer["Owner"]) == (other.owner, owner.owner)
    (shown,) = owner.client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert (shown["Initiator"], shown["Owner"]) == (other.owner, owner.owner)


def test_what_strangers_write(owner: Person, stranger: Person, make: Callable[..., str]) -> None:
    bucket = make(ACL="public-read-write")
    write_small(stranger, bucket)
    shown = owner_of(owner, bucket)
    assert shown == {"ID": "65a011a29cdf8ec533ec3d1ccaae921c", "DisplayName": "anonymous"}
    (listed,) = owner.client.list_objects(Bucket=bucket)["Contents"]
    assert listed["Owner"] == shown
    # Being nobody is no way to have something: the next stranger can't read it.
    assert refusal(stranger.client.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert refusal(stranger.client.get_object_acl, Bucket=bucket, Key="k") == "AccessDenied"
    assert owner.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    write_small(stranger, bucket, ACL="public-read")
    enabled = {"Status": "Enabled"}
    owner.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    stranger.client.delete_object(Bucket=bucket, Key="gone")
    (marker,) = owner.client.list_object_versions(Bucket=bucket)["DeleteMarkers"]
    assert marker["Owner"] == shown
    assert stranger.client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
