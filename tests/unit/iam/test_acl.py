"""ACLs without HTTP: canned ones, grants as text, what is stored, what a grant allows."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.iam import acl
from storage.iam.acl import ALL_USERS, AUTHENTICATED_USERS, LOG_DELIVERY, Asked, Grant
from storage.iam.principal import ANONYMOUS, Principal

OWNER, OTHER, THIRD = "a" * 64, "b" * 64, "c" * 64
KNOWN = {OWNER, OTHER, THIRD}
ADDRESSES = {"other@example.org": [OTHER], "two@example.org": [OTHER, THIRD]}

owner = Principal(name="owner", id=OWNER)
other = Principal(name="other", id=OTHER)


def resolve(*asked: Asked) -> acl.Acl:
    return acl.resolve(asked, KNOWN.__contains__, lambda address: ADDRESSES.get(address, []))


# -- canned ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "grants"),
    [
        ("private", []),
        ("public-read", [(ALL_USERS, "READ")]),
        ("public-read-write", [(ALL_USERS, "READ"), (ALL_USERS, "WRITE")]),
        ("authenticated-read", [(AUTHENTICATED_USERS, "READ")]),
    ],
)
def test_canned_acls_mean_the_same_for_both(name: str, grants: list[tuple[str, str]]) -> None:
    expected = [*grants, (OWNER, "FULL_CONTROL")]
    for made in (
        acl.canned_for_bucket(name, OWNER),
        acl.canned_for_object(name, OWNER, bucket_owner=OTHER),
    ):
        assert [(one.grantee, one.permission) for one in made] == expected


def test_canned_acls_that_mean_one_thing_alone() -> None:
    assert acl.canned_for_bucket("log-delivery-write", OWNER) == (
        Grant(LOG_DELIVERY, "WRITE"),
        Grant(LOG_DELIVERY, "READ_ACP"),
        Grant(OWNER, "FULL_CONTROL"),
    )
    with pytest.raises(acl.UnknownCanned):
        acl.canned_for_object("log-delivery-write", OWNER, OTHER)
    for name, permission in (
        ("bucket-owner-read", "READ"),
        ("bucket-owner-full-control", "FULL_CONTROL"),
    ):
        made = acl.canned_for_object(name, OWNER, bucket_owner=OTHER)
        assert made[1:] == (Grant(OTHER, permission),)  # type: ignore[arg-type]
        assert acl.canned_for_object(name, OWNER, bucket_owner=OWNER) == acl.private(OWNER)
        assert acl.canned_for_bucket(name, OWNER) == acl.private(OWNER)
    assert Grant(acl.EC2_ID, "READ") in acl.canned_for_object("aws-exec-read", OWNER, OWNER)


@pytest.mark.parametrize("name", ["", "Private", "public", "public-read "])
def test_unknown_canned_acls(name: str) -> None:
    with pytest.raises(acl.UnknownCanned):
        acl.canned_for_bucket(name, OWNER)
    with pytest.raises(acl.UnknownCanned):
        acl.canned_for_object(name, OWNER, OWNER)


# -- grants as text -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"id={OWNER}", [("id", OWNER)]),
        (f'id="{OWNER}"', [("id", OWNER)]),
        (f'ID = "{OWNER}" ,uri={ALL_USERS}', [("id", OWNER), ("uri", ALL_USERS)]),
        ('emailAddress="a b@c", emailaddress=x@y', [("emailAddress", "a b@c"),
                                                    ("emailAddress", "x@y")]),
    ],
)  # fmt: skip
def test_grantees(text: str, expected: list[tuple[str, str]]) -> None:
    found = acl.parse_grantees(text, "READ")
    assert [(one.kind, one.value) for one in found] == expected
    assert {one.permission for one in found} == {"READ"}


@pytest.mark.parametrize(
    "text", ["", " ", "id", "id=", "name=x", "id=x,", "id=x y", 'id="x', "id=x;uri=y", ",id=x"]
)
def test_malformed_grantees(text: str) -> None:
    with pytest.raises(acl.MalformedGrants):
        acl.parse_grantees(text, "READ")


def test_grantees_become_ids() -> None:
    assert resolve(
        Asked("id", OWNER, "READ"),
        Asked("emailAddress", "other@example.org", "WRITE"),
        Asked("uri", ALL_USERS, "READ"),
        Asked("id", OTHER, "WRITE"),
    ) == (Grant(ALL_USERS, "READ"), Grant(OWNER, "READ"), Grant(OTHER, "WRITE"))
    assert resolve(Asked("id", acl.EC2_ID, "READ")) == (Grant(acl.EC2_ID, "READ"),)


def test_grantees_that_are_nobody() -> None:
    for kind, value in (("id", "nobody"), ("uri", "http://example.org/Everyone"), ("uri", OWNER)):
        with pytest.raises(acl.UnknownGrantee) as unknown:
            resolve(Asked(kind, value, "READ"))  # type: ignore[arg-type]
        assert (unknown.value.kind, unknown.value.value) == (kind, value)
    for address, ambiguous in (("who@example.org", False), ("two@example.org", True)):
        with pytest.raises(acl.UnresolvableEmail) as unresolvable:
            resolve(Asked("emailAddress", address, "READ"))
        assert unresolvable.value.ambiguous is ambiguous


def test_an_acl_has_a_hundred_grants_at_most() -> None:
    grants = [Grant(f"{number:064x}", "READ") for number in range(101)]
    assert len(acl.canonical(grants[:100] + grants[:5])) == 100
    with pytest.raises(acl.MalformedGrants):
        acl.canonical(grants)


# -- what is stored -------------------------------------------------------------------------------


def test_the_default_is_stored_as_nothing() -> None:
    assert acl.encode(acl.private(OWNER), OWNER) is None
    assert acl.shown(None, OWNER) == acl.private(OWNER)
    assert acl.encode(acl.private(OTHER), OWNER) is not None
    emptied = acl.encode((), OWNER)
    assert emptied is not None
    assert acl.shown(emptied, OWNER) == ()


_IDS = st.text(string.hexdigits.lower(), min_size=64, max_size=64)
_GRANTS = st.builds(
    Grant, st.one_of(_IDS, st.sampled_from(sorted(acl.GROUPS))), st.sampled_from(acl.PERMISSIONS)
)


@given(st.lists(_GRANTS, max_size=100), _IDS)
def test_what_is_stored_is_read_back(grants: list[Grant], owned_by: str) -> None:
    made = acl.canonical(grants)
    assert acl.shown(acl.encode(made, owned_by), owned_by) == made
    assert acl.canonical(made) == made
    assert set(made) == set(grants)


@given(st.lists(_GRANTS, min_size=1, max_size=100))
def test_grants_are_read_as_they_are_written(grants: list[Grant]) -> None:
    asked: list[Asked] = []
    for permission in acl.PERMISSIONS:
        texts = [
            f'{"uri" if one.grantee in acl.GROUPS else "id"}="{one.grantee}"'
            for one in grants
            if one.permission == permission
        ]
        asked += acl.parse_grantees(", ".join(texts), permission) if texts else []
    found = acl.resolve(asked, lambda _id: True, lambda _address: [])
    assert set(found) == set(grants)


@given(st.text())
def test_any_text_is_grantees_or_refused(text: str) -> None:
    try:
        found = acl.parse_grantees(text, "WRITE")
    except acl.MalformedGrants:
        return
    assert found
    assert all(one.kind in ("id", "uri", "emailAddress") for one in found)


# -- public ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("private", False),
        ("public-read", True),
        ("public-read-write", True),
        ("authenticated-read", True),
        ("log-delivery-write", False),
        ("aws-exec-read", False),
    ],
)
def test_which_acls_are_public(name: str, public: bool) -> None:
    assert acl.is_public(acl.canned_for_bucket(name, OWNER)) is public


# -- what a grant allows --------------------------------------------------------------------------


def allows(
    stored: bytes | None, who: Principal, action: str, *, ignore_public: bool = False
) -> bool:
    found = acl.permits(
        stored,
        action,
        owner=OWNER,
        grantee=who.id,
        signed=not who.anonymous,
        ignore_public=ignore_public,
    )
    assert found is None or found.allowed
    return found is not None


def stored(*grants: Grant) -> bytes:
    document = acl.encode(grants, OWNER)
    assert document is not None
    return document


ACTIONS = {
    "READ": ["ListBucket", "ListBucketVersions", "ListBucketMultipartUploads", "GetObject",
             "GetObjectVersion", "GetObjectTorrent"],
    "WRITE": ["PutObject", "DeleteObject", "ListMultipartUploadParts", "AbortMultipartUpload"],
    "READ_ACP": ["GetBucketAcl", "GetObjectAcl", "GetObjectVersionAcl"],
    "WRITE_ACP": ["PutBucketAcl", "PutObjectAcl", "PutObjectVersionAcl"],
}  # fmt: skip
NEVER = ["DeleteBucket", "PutBucketPolicy", "GetObjectTagging", "DeleteObjectVersion",
         "PutObjectTagging", "GetBucketLocation"]  # fmt: skip


@pytest.mark.parametrize("granted", acl.PERMISSIONS)
def test_a_permission_allows_what_the_mapping_says(granted: acl.Permission) -> None:
    document = stored(Grant(OTHER, granted))
    for permission, actions in ACTIONS.items():
        for action in actions:
            expected = granted in (permission, "FULL_CONTROL")
            assert allows(document, other, f"s3:{action}") is expected, action
    for action in NEVER:
        assert not allows(document, other, f"s3:{action}")


def test_nothing_stored_allows_nothing() -> None:
    for actions in (*ACTIONS.values(), NEVER):
        for action in actions:
            assert not allows(None, owner, f"s3:{action}")


def test_groups_reach_whom_they_should() -> None:
    nobody = Principal(name="third", id=THIRD)
    for group, reached in (
        (ALL_USERS, {"third", ""}),
        (AUTHENTICATED_USERS, {"third"}),
        (LOG_DELIVERY, set()),
    ):
        document = stored(Grant(group, "READ"))
        found = {who.name for who in (nobody, ANONYMOUS) if allows(document, who, "s3:GetObject")}
        assert found == reached
        ignored = [allows(document, who, "s3:GetObject", ignore_public=True) for who in (nobody,
                   ANONYMOUS)]  # fmt: skip
        assert not any(ignored)


def test_ignoring_public_grants_leaves_the_others() -> None:
    document = stored(Grant(ALL_USERS, "READ"), Grant(OTHER, "READ"))
    assert allows(document, other, "s3:GetObject", ignore_public=True)
    assert not allows(document, ANONYMOUS, "s3:GetObject", ignore_public=True)


def test_an_owner_keeps_hold_of_the_acl() -> None:
    document = stored()
    for action in (*ACTIONS["READ_ACP"], *ACTIONS["WRITE_ACP"]):
        assert allows(document, owner, f"s3:{action}")
        assert not allows(document, other, f"s3:{action}")
    assert not allows(document, owner, "s3:GetObject")
    assert not allows(document, ANONYMOUS, "s3:PutObjectAcl")


def test_a_decision_says_why() -> None:
    document = stored(Grant(ALL_USERS, "READ"))
    for action, kind in (("s3:GetObject", "object"), ("s3:ListBucket", "bucket")):
        found = acl.permits(
            document, action, owner=OWNER, grantee="", signed=False, ignore_public=False
        )
        assert found is not None
        assert found.reason == f"allowed by the {kind}'s ACL: READ for AllUsers"
        assert found.source == f"{kind} ACL"
