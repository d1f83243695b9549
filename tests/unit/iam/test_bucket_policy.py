"""Bucket policies: whom they name, what their parser refuses, and which of them are public."""

from __future__ import annotations

import json
from typing import Any

import pytest

from storage.iam import block
from storage.iam.actions import ACTIONS, has_condition_key, is_condition_key, matching, spelled
from storage.iam.bucket_policy import parse_bucket_policy, stored_policy
from storage.iam.decide import Block, decide
from storage.iam.errors import PolicyError
from storage.iam.policy import Policy, parse_policy
from storage.iam.principal import ANONYMOUS, Principal
from storage.s3.routes import ROUTES

ADA = Principal(name="ada", id="a" * 64)
BOB = Principal(name="bob", id="b" * 64)
ROOT = Principal(name="root", id="0" * 64, root=True)
KEY = "arn:aws:s3:::box/k"


def statement(**elements: Any) -> dict[str, Any]:
    usual = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": KEY}
    return {name: value for name, value in (usual | elements).items() if value is not None}


def policy(*statements: dict[str, Any]) -> Policy:
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return parse_bucket_policy(document, "box")


def named(**elements: Any) -> set[str]:
    """Who of everybody may read, by a policy of one statement."""
    found = policy(statement(**elements))
    return {
        who.name or "anonymous"
        for who in (ADA, BOB, ANONYMOUS)
        if decide(who, "s3:GetObject", KEY, resource_policy=found).allowed
    }


# -- principals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ("*", {"ada", "bob", "anonymous"}),
        ({"AWS": "*"}, {"ada", "bob", "anonymous"}),
        ({"AWS": ["*", ADA.id]}, {"ada", "bob", "anonymous"}),
        ({"CanonicalUser": ADA.id}, {"ada"}),
        ({"AWS": ADA.id}, {"ada"}),
        ({"AWS": [ADA.id, BOB.id]}, {"ada", "bob"}),
        ({"AWS": f"arn:aws:iam::{ADA.id}:root"}, {"ada"}),
        ({"AWS": "arn:aws:iam:::user/ada"}, {"ada"}),
        ({"AWS": f"arn:aws:iam::{ADA.id}:user/ada"}, {"ada"}),
        ({"AWS": f"arn:aws:iam::{BOB.id}:user/ada"}, set()),
        ({"AWS": "arn:aws:iam::s3tenant1:root"}, set()),
        ({"AWS": "123456789012"}, set()),
        ({"Service": "logging.s3.amazonaws.com"}, set()),
        ({"Service": "logging.s3.amazonaws.com", "CanonicalUser": BOB.id}, {"bob"}),
    ],
)
def test_whom_a_principal_names(principal: Any, expected: set[str]) -> None:
    assert named(Principal=principal) == expected


def test_not_principal_is_everybody_else() -> None:
    denied = policy(
        statement(),
        statement(Effect="Deny", Principal=None, NotPrincipal={"AWS": [ADA.id]}),
    )
    allowed = [
        decide(who, "s3:GetObject", KEY, resource_policy=denied).allowed
        for who in (ADA, BOB, ANONYMOUS)
    ]
    assert allowed == [True, False, False]


@pytest.mark.parametrize(
    "elements",
    [
        {"Principal": None},
        {"NotPrincipal": "*"},
        {"Principal": None, "NotPrincipal": "*"},
        *(
            {"Principal": wrong}
            for wrong in (
                "", "ada", [], {}, {"AWS": []}, {"AWS": [1]}, {"AWS": ""}, {"AWS": "ada"},
                {"X": "*"},
                {"AWS": "arn:aws:iam::*:user/ada"}, {"AWS": "arn:aws:iam:::user/*"},
                {"AWS": "arn:aws:iam:::role/x"}, {"AWS": "arn:aws:sts:::user/ada"},
                {"AWS": "arn:aws:iam:::root"}, {"AWS": "arn:aws:iam:::user/a/b"},
                {"AWS": "arn:aws:iam:us-east-1::user/ada"}, {"AWS": "a" * 63},
                {"CanonicalUser": "*"}, {"CanonicalUser": "A" * 64}, {"Federated": "x"},
                {"Service": "*"}, {"Service": "x"},
            )
        ),
    ],
)  # fmt: skip
def test_principals_that_are_refused(elements: Any) -> None:
    with pytest.raises(PolicyError, match="rincipal"):
        policy(statement(**elements))


def test_a_users_policy_has_no_principal() -> None:
    with pytest.raises(PolicyError, match="belongs into bucket policies"):
        parse_policy(json.dumps({"Statement": statement()}))


# -- who is bound ---------------------------------------------------------------------------------


def test_denials_bind_the_owner_but_for_the_policy_itself() -> None:
    denial = policy(statement(Effect="Deny", Action="s3:*", Resource=["arn:aws:s3:::box", KEY]))
    free = Principal(
        name="ada", id=ADA.id,
        policies=(parse_policy('{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'),),
    )  # fmt: skip
    narrowed = Principal(name="ada", id=ADA.id, policies=free.policies, boundary=free.policies[0])

    def allowed(who: Principal, action: str, owner: str) -> bool:
        return decide(who, action, "arn:aws:s3:::box", owner=owner, resource_policy=denial).allowed

    for action in ("s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"):
        assert allowed(free, action, ADA.id)
        assert not allowed(free, action, BOB.id)
        assert not allowed(narrowed, action, ADA.id)
    assert not allowed(free, "s3:PutBucketAcl", ADA.id)
    assert allowed(ROOT, "s3:PutBucketAcl", ADA.id)
    assert not allowed(
        Principal(name="root", id=ROOT.id, root=True, boundary=free.policies[0]),
        "s3:PutBucketAcl",
        ROOT.id,
    )


def test_a_denial_that_does_not_bind_the_owner_hides_no_permission() -> None:
    on = "arn:aws:s3:::box"
    allow = statement(Action="s3:*", Resource=on)
    both = policy(allow, statement(Effect="Deny", Action="s3:*", Resource=on))
    for action, allowed in (("s3:PutBucketPolicy", True), ("s3:PutBucketAcl", False)):
        found = decide(ADA, action, on, owner=ADA.id, resource_policy=both)
        assert found.allowed is allowed


def test_objects_of_other_accounts_are_not_given_away() -> None:
    open_policy = policy(statement(), statement(Effect="Deny", Action="s3:PutObjectTagging"))
    found = decide(BOB, "s3:GetObject", KEY, owner=ADA.id, resource_policy=open_policy,
                   object_owner="c" * 64)  # fmt: skip
    assert (found.allowed, found.source) == (False, "bucket policy")
    assert "another account" in found.reason
    found = decide(BOB, "s3:PutObjectTagging", KEY, owner=ADA.id, resource_policy=open_policy,
                   object_owner="c" * 64)  # fmt: skip
    assert found.reason.startswith("denied by statement 2")


def test_a_public_policy_that_is_restricted() -> None:
    restrict = Block(restrict_public_buckets=True)
    public = policy(statement(), statement(Principal={"AWS": BOB.id}))
    private = policy(statement(Principal={"AWS": BOB.id}))
    for who, found, expected in (
        (BOB, public, False), (ANONYMOUS, public, False), (ADA, public, True), (BOB, private, True),
    ):  # fmt: skip
        told = decide(who, "s3:GetObject", KEY, owner=ADA.id, resource_policy=found, block=restrict)
        assert told.allowed is expected


# -- strictness -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "word"),
    [
        ({"Action": "s3:GetObject2"}, "GetObject2"),
        ({"Action": ["s3:GetObject", "s3:Nothing*"]}, "Nothing"),
        ({"Action": "s3:"}, "s3:"),
        ({"Action": None, "NotAction": "s3:Nothing"}, "Nothing"),
        ({"Resource": "arn:aws:s3:::boxes/*"}, "boxes"),
        ({"Resource": "arn:aws:s3:::bo?es/*"}, "bo"),
        ({"Resource": "arn:aws:s3:::other-${aws:username}/*"}, "other"),
        ({"Resource": "arn:aws:s3:eu:1:box/*"}, "eu"),
        ({"Resource": None, "NotResource": "box"}, "box"),
        ({"Condition": {"StringEquals": {"aws:Nothing": "x"}}}, "aws:Nothing"),
        ({"Condition": {"StringEquals": {"s3:ExistingObjectTag": "x"}}}, "ExistingObjectTag"),
        ({"Condition": {"StringEquals": {"s3:ExistingObjectTag/": "x"}}}, "ExistingObjectTag/"),
        ({"Condition": {"StringEquals": {"s3:max-keys": "x"}}}, "max-keys"),
        ({"Condition": {"BinaryEquals": {"aws:Referer": "%"}}}, "BinaryEquals"),
        ({"Condition": {"StringSomething": {"aws:Referer": "x"}}}, "StringSomething"),
        ({"Condition": {"StringEquals": []}}, "StringEquals"),
        ({"Condition": []}, "Condition"),
        ({"Sid": ["x"]}, "Sid"),
        ({"Sid": "\ud800"}, "Sid"),
    ],
)
def test_what_is_refused_is_named(elements: Any, word: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(statement(**elements))
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "elements",
    [
        {"Resource": "*"},
        {"Resource": "arn:aws:s3:::*"},
        {"Resource": "arn:aws:s3:::b?x/*"},
        {"Resource": "arn:aws:s3:::${aws:username}/*"},
        {"Resource": ["arn:aws:s3:::box", "arn:aws:s3:::box/${aws:username, 'none'}/*"]},
        {"Resource": None, "NotResource": "arn:aws:s3:::another/*"},
        {"Action": "*"},
        {"Action": "S3:getobject"},
        {"Action": ["s3:List*", "s3:GetObject"], "Condition": {"StringLike": {"s3:Prefix": "a*"}}},
        {"Action": None, "NotAction": "s3:PutObject"},
        {"Condition": {"StringEqualsIfExists": {"S3:existingobjecttag/Any Name/x": ["a", "b"]}}},
        {"Condition": {"ForAnyValue:StringLike": {"aws:CalledVia": "x"}}},
        {"Condition": {"Null": {"s3:DataAccessPointAccount": True}}},
        {"Condition": {"NumericLessThan": {"s3:signatureAge": 600000}}},
    ],
)
def test_what_is_accepted(elements: Any) -> None:
    policy(statement(**elements))


def test_every_operation_has_an_action_that_policies_may_name() -> None:
    named_by_routes = {route.action for route in ROUTES if route.action.startswith("s3:")}
    assert {action for action in named_by_routes if spelled(action) != action} == set()


def test_actions_and_their_keys() -> None:
    assert len(matching("*")) == len(ACTIONS)
    assert matching("s3:GETobject") == ["s3:getobject"]
    assert set(matching("s3:*Policy")) == {
        "s3:getbucketpolicy", "s3:putbucketpolicy", "s3:deletebucketpolicy"
    }  # fmt: skip
    assert is_condition_key("s3:requestobjecttag/x")
    assert not is_condition_key("s3:requestobjecttag")
    assert has_condition_key(["s3:listbucket"], "s3:prefix")
    assert not has_condition_key(["s3:getobject"], "s3:prefix")
    assert has_condition_key(["s3:getobject"], "s3:authtype")
    assert spelled("s3:frob") == ""


def test_what_is_stored_is_compiled_once() -> None:
    document = json.dumps({"Statement": statement()}).encode()
    assert stored_policy(document) is stored_policy(bytes(document))
    with pytest.raises(PolicyError):
        stored_policy(b"{}")


# -- public ---------------------------------------------------------------------------------------


def condition(operator: str, key: str, *values: str) -> dict[str, Any]:
    return {"Condition": {operator: {key: list(values)}}}


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"Principal": {"AWS": "*"}},
        {"Principal": {"AWS": [ADA.id, "*"]}},
        {"Action": "s3:PutObject"},
        condition("IpAddress", "aws:SourceIp", "0.0.0.0/0"),
        condition("IpAddress", "aws:SourceIp", "8.0.0.0/7"),
        condition("IpAddress", "aws:SourceIp", "8.8.8.8", "0.0.0.0/1"),
        condition("IpAddress", "aws:SourceIp", "2001::/16"),
        condition("IpAddressIfExists", "aws:SourceIp", "8.8.8.8"),
        condition("NotIpAddress", "aws:SourceIp", "8.8.8.8"),
        condition("StringLike", "aws:Referer", "http://here/*"),
        condition("StringEquals", "aws:Referer", "http://here/"),
        condition("StringNotEquals", "aws:userid", "x"),
        condition("StringLike", "aws:userid", "x*"),
        condition("StringEquals", "aws:userid", "${aws:userid}"),
        condition("StringEqualsIfExists", "aws:userid", "x"),
        condition("ForAllValues:StringEquals", "aws:userid", "x"),
        condition("Bool", "aws:SecureTransport", "true"),
    ],
)
def test_public_policies(elements: Any) -> None:
    assert policy(statement(**elements)).public


@pytest.mark.parametrize(
    "elements",
    [
        {"Effect": "Deny"},
        {"Principal": {"AWS": ADA.id}},
        {"Principal": {"CanonicalUser": ADA.id}},
        {"Principal": {"Service": "logging.s3.amazonaws.com"}},
        condition("IpAddress", "aws:SourceIp", "8.8.8.8", "8.0.0.0/8"),
        condition("IpAddress", "aws:SourceIp", "172.16.0.0/12", "192.168.0.0/16"),
        condition("IpAddress", "aws:SourceIp", "2001:db8::/32"),
        condition("StringEquals", "aws:userid", ADA.id),
        condition("StringLike", "aws:SourceVpc", "vpc-1"),
        condition("ForAnyValue:StringEquals", "aws:PrincipalOrgID", "o-1"),
        condition("ArnLike", "s3:DataAccessPointArn", "arn:aws:s3:eu:123456789012:accesspoint/*"),
    ],
)
def test_policies_that_are_not_public(elements: Any) -> None:
    assert not policy(statement(**elements)).public


def test_one_public_statement_makes_a_public_policy() -> None:
    assert policy(statement(Principal={"AWS": ADA.id}), statement()).public


# -- the public access block as it is kept --------------------------------------------------------


def test_a_block_is_kept_and_read() -> None:
    for one in (Block(), block.CLOSED, Block(ignore_public_acls=True)):
        assert block.of(block.encode(one)) == one
    assert block.of(None) == Block()
    assert block.encode(block.CLOSED) == b"aipr"
