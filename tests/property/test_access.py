"""The decision about buckets and objects against a slow model of docs/access.md.

The model reads the documents as JSON and knows nothing of how the store compiles, caches or orders
them: it asks each question of the page in the page's order.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.iam import acl, block
from storage.iam.acl import ALL_USERS, ANONYMOUS_ID, AUTHENTICATED_USERS, Grant
from storage.iam.decide import Block
from storage.iam.policy import parse_policy
from storage.iam.principal import ANONYMOUS, Principal
from storage.iam.resources import ACL, BLOCK, OWNERSHIP, POLICY, decide_on
from storage.iam.users import ROOT_ID

ADA, BOB, EVE = "a" * 64, "b" * 64, "e" * 64
NAMES = {ROOT_ID: "root", ADA: "ada", BOB: "bob", EVE: "eve"}
#: Actions on the bucket, and on the object ``k``; the last two are asked of nobody's ACL.
ACTIONS = {
    "s3:ListBucket": "", "s3:PutBucketAcl": "", "s3:GetBucketPolicy": "", "s3:PutObject": "k",
    "s3:GetObject": "k", "s3:GetObjectAcl": "k", "s3:DeleteObject": "k", "s3:PutObjectTagging": "k",
    "s3:PutBucketTagging": "",
}  # fmt: skip
RESOURCES = ("arn:aws:s3:::box", "arn:aws:s3:::box/k", "arn:aws:s3:::box/*", "*")
CONDITIONS: tuple[dict[str, Any], ...] = (
    {},
    {"StringEquals": {"s3:ResourceAccount": "${aws:PrincipalAccount}"}},
    {"StringEquals": {"aws:Referer": "here"}},
    {"StringNotEquals": {"aws:Referer": "here"}},
    {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
    {"Null": {"aws:username": "true"}},
)
TRUSTED = {"IpAddress"}


class Bucket(msgspec.Struct):
    name: str
    owner: str
    config: dict[str, bytes]


class Meta(msgspec.Struct):
    extra: dict[str, Any]


class Object(msgspec.Struct):
    owner: str
    meta: Meta


class Case(msgspec.Struct):
    """Everything that a decision depends on, as documents."""

    caller: str
    """Canonical id; "" for strangers."""
    identity: list[dict[str, Any]]
    boundary: list[dict[str, Any]] | None
    owner: str
    policy: list[dict[str, Any]] | None
    block: Block | None
    ownership: str
    bucket_acl: list[tuple[str, str]] | None
    object_owner: str
    """"" where there is no object."""
    object_acl: list[tuple[str, str]] | None
    action: str
    referer: str
    address: str


# -- the model ------------------------------------------------------------------------------------


def allows(case: Case) -> bool:
    root = case.caller == ROOT_ID
    if root and case.boundary is None:
        return True
    own = [one for one in case.identity if applies(one, case)]
    of_bucket = [one for one in case.policy or () if applies(one, case) and names(one, case)]
    own_key = [one for one in case.boundary or () if applies(one, case)]
    denials = [one for one in own + own_key if one["Effect"] == "Deny"]
    exempt = case.action == "s3:GetBucketPolicy" and case.caller == case.owner
    if not exempt or case.boundary is not None:
        denials += [one for one in of_bucket if one["Effect"] == "Deny"]
    if denials:
        return False
    if case.boundary is not None and not own_key:
        return False
    if root or own:
        return True
    if any(one["Effect"] == "Allow" for one in of_bucket) and not is_withheld(case):
        return True
    return acl_allows(case)


def applies(statement: dict[str, Any], case: Case) -> bool:
    resource = "arn:aws:s3:::box" + ("/k" if ACTIONS[case.action] else "")
    return (
        fnmatchcase(case.action, statement["Action"])
        and fnmatchcase(resource, statement["Resource"])
        and condition_holds(statement.get("Condition", {}), case)
    )


def condition_holds(condition: dict[str, Any], case: Case) -> bool:
    account = foreign_owner(case) or case.owner
    if condition == CONDITIONS[1]:
        return case.caller != "" and account == case.caller
    if condition == CONDITIONS[2]:
        return case.referer == "here"
    if condition == CONDITIONS[3]:
        return case.referer != "here"
    if condition == CONDITIONS[4]:
        return case.address.startswith("10.")
    if condition == CONDITIONS[5]:
        return case.caller == ""
    return True


def names(statement: dict[str, Any], case: Case) -> bool:
    listed = statement.get("Principal", statement.get("NotPrincipal"))
    found = listed == "*"
    if isinstance(listed, dict):
        user = f"arn:aws:iam:::user/{NAMES.get(case.caller, '')}"
        found = case.caller != "" and (
            listed.get("CanonicalUser") == case.caller or listed.get("AWS") == user
        )
    return found != ("NotPrincipal" in statement)


def foreign_owner(case: Case) -> str:
    if case.action in ("s3:PutObject", "s3:DeleteObject"):
        return ""
    if not ACTIONS[case.action] or case.object_owner in ("", case.owner, ANONYMOUS_ID):
        return ""
    if case.owner == ROOT_ID or case.ownership == "BucketOwnerEnforced":
        return ""
    return case.object_owner


def is_withheld(case: Case) -> bool:
    if foreign_owner(case):
        return True
    restricted = case.block is not None and case.block.restrict_public_buckets
    return restricted and case.caller != case.owner and is_public(case.policy or [])


def is_public(statements: list[dict[str, Any]]) -> bool:
    return any(
        one["Effect"] == "Allow"
        and one.get("Principal", "*") == "*"
        and not TRUSTED & set(one.get("Condition", {}))
        for one in statements
    )


def acl_allows(case: Case) -> bool:
    if case.ownership == "BucketOwnerEnforced":
        return False
    on_object = {"s3:GetObject": "READ", "s3:GetObjectAcl": "READ_ACP"}
    on_bucket = {
        "s3:ListBucket": "READ", "s3:PutBucketAcl": "WRITE_ACP", "s3:PutObject": "WRITE",
        "s3:DeleteObject": "WRITE",
    }  # fmt: skip
    if case.action in on_object:
        if not case.object_owner:
            return False
        grants, owner, needed = case.object_acl, case.object_owner, on_object[case.action]
    elif case.action in on_bucket:
        grants, owner, needed = case.bucket_acl, case.owner, on_bucket[case.action]
    else:
        return False
    if grants is None:
        return False
    me = "" if case.caller == case.owner == owner else case.caller
    if me and me == owner and needed.endswith("_ACP"):
        return True
    ignore = case.block is not None and case.block.ignore_public_acls
    for grantee, permission in grants:
        if permission not in (needed, "FULL_CONTROL"):
            continue
        if grantee == me:
            return True
        if not ignore and (
            grantee == ALL_USERS or (grantee == AUTHENTICATED_USERS and case.caller)
        ):
            return True
    return False


# -- the store ------------------------------------------------------------------------------------


def decided(case: Case) -> bool:
    config: dict[str, bytes] = {}
    if case.policy is not None:
        config[POLICY] = document(case.policy)
    if case.block is not None:
        config[BLOCK] = block.encode(case.block)
    if case.ownership:
        config[OWNERSHIP] = case.ownership.encode()
    if case.bucket_acl is not None:
        config[ACL] = spelled(case.bucket_acl)
    key = ACTIONS[case.action]
    found = None
    if key and case.object_owner:
        extra = {} if case.object_acl is None else {ACL: spelled(case.object_acl)}
        found = Object(case.object_owner, Meta(extra))
    facts = {"aws:sourceip": case.address}
    if case.referer:
        facts["aws:referer"] = case.referer
    bucket = Bucket("box", case.owner, config)
    return decide_on(principal(case), case.action, bucket, key, lambda: facts, found).allowed


def principal(case: Case) -> Principal:
    if not case.caller:
        return ANONYMOUS
    return Principal(
        name=NAMES[case.caller],
        id=case.caller,
        root=case.caller == ROOT_ID,
        policies=tuple(parse_policy(document([one]), "p") for one in case.identity),
        boundary=None if case.boundary is None else parse_policy(document(case.boundary), "key"),
    )


def document(statements: list[dict[str, Any]]) -> bytes:
    return json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()


def spelled(grants: list[tuple[str, str]]) -> bytes:
    return acl.spell(tuple(Grant(who, what) for who, what in grants))  # type: ignore[arg-type]


# -- cases ----------------------------------------------------------------------------------------

ACCOUNTS = (ROOT_ID, ADA, BOB)
PERMISSIONS = ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL")
grants = st.none() | st.lists(
    st.tuples(st.sampled_from((ADA, BOB, ALL_USERS, AUTHENTICATED_USERS)),
              st.sampled_from(PERMISSIONS)),
    min_size=1, max_size=3,
)  # fmt: skip


@st.composite
def statements(draw: st.DrawFn, *, of_bucket: bool) -> dict[str, Any]:
    action = draw(st.sampled_from((*["s3:*"] * 6, "s3:Get*", "s3:*Object", *ACTIONS)))
    found: dict[str, Any] = {
        "Effect": draw(st.sampled_from((*["Allow"] * 4, "Deny"))),
        "Action": action,
        "Resource": draw(st.sampled_from((*RESOURCES, "*", "*"))),
    }
    condition = draw(st.sampled_from((*[CONDITIONS[0]] * 5, *CONDITIONS[1:])))
    if condition:
        found["Condition"] = condition
    if of_bucket:
        negated = found["Effect"] == "Deny" and draw(st.booleans())
        found["NotPrincipal" if negated else "Principal"] = draw(
            st.sampled_from(
                ("*", "*", "*", {"CanonicalUser": ADA}, {"AWS": "arn:aws:iam:::user/bob"},
                 {"AWS": "123456789012"})
            )
        )  # fmt: skip
    return found


@st.composite
def cases(draw: st.DrawFn) -> Case:
    caller = draw(st.sampled_from((*ACCOUNTS, EVE, "")))
    own = st.lists(statements(of_bucket=False), max_size=2)
    return Case(
        caller=caller,
        identity=draw(own) if caller not in ("", ROOT_ID) else [],
        boundary=draw(st.lists(statements(of_bucket=False), min_size=1, max_size=2))
        if caller and draw(st.integers(0, 3)) == 0
        else None,
        owner=draw(st.sampled_from(ACCOUNTS)),
        policy=draw(st.none() | st.lists(statements(of_bucket=True), min_size=1, max_size=3)),
        block=draw(st.none() | st.builds(Block, *[st.booleans()] * 4)),
        ownership=draw(
            st.sampled_from(("", "", "ObjectWriter", "BucketOwnerPreferred", "BucketOwnerEnforced"))
        ),
        bucket_acl=draw(grants),
        object_owner=draw(st.sampled_from((*ACCOUNTS, ANONYMOUS_ID, ""))),
        object_acl=draw(grants),
        action=draw(st.sampled_from((*ACTIONS, *["s3:GetObject"] * 4))),
        referer=draw(st.sampled_from(("here", "there", ""))),
        address=draw(st.sampled_from(("10.1.2.3", "8.8.8.8"))),
    )


@settings(max_examples=1500)
@given(cases())
def test_the_decision_is_what_the_page_says(case: Case) -> None:
    assert decided(case) == allows(case)
