"""What policies allow and deny, and why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.iam.canned import CANNED, scoped_policy
from storage.iam.conditions import Context, Doubtful
from storage.iam.decide import decide
from storage.iam.errors import PolicyError
from storage.iam.policy import Decision, Policy, parse_policy
from storage.iam.principal import ANONYMOUS, Principal

OBJECT = "arn:aws:s3:::langfuse/events/x.json"
BUCKET = "arn:aws:s3:::langfuse"


def statement(effect: str = "Allow", action: Any = "s3:*", **elements: Any) -> dict[str, Any]:
    if "NotResource" not in elements:
        elements.setdefault("Resource", "*")
    return {"Effect": effect, "Action": action, **elements}


def policy(*statements: dict[str, Any], name: str = "p", version: str = "2012-10-17") -> Policy:
    return parse_policy(json.dumps({"Version": version, "Statement": list(statements)}), name)


def user(*policies: Policy, **fields: Any) -> Principal:
    return Principal(name="alice", id="a" * 64, policies=policies, **fields)


def asked(who: Principal, action: str, resource: str, **context: Any) -> Decision:
    facts = {key.replace("__", ":").lower(): value for key, value in context.items()}
    return decide(who, action, resource, lambda: facts)


# -- order --------------------------------------------------------------------------------------


def test_root_may_everything_and_nobody_else_anything() -> None:
    root = Principal(name="minio", id="r", root=True)
    assert decide(root, "s3:DeleteBucket", BUCKET).allowed
    assert decide(root, "admin:CreateUser", "").allowed
    assert not decide(user(), "s3:GetObject", OBJECT).allowed
    assert "no policy allows" in decide(user(), "s3:GetObject", OBJECT).reason
    assert "anonymous" in decide(ANONYMOUS, "s3:GetObject", OBJECT).reason


def test_denial_wins_wherever_it_stands() -> None:
    allow = policy(statement(), name="all")
    deny = policy(statement("Deny", "s3:Delete*", Sid="keep"), name="careful")
    both = policy(statement(), statement("Deny", "s3:DeleteObject"), name="both")
    for who in (user(allow, deny), user(deny, allow), user(both)):
        assert not asked(who, "s3:DeleteObject", OBJECT).allowed
        assert asked(who, "s3:GetObject", OBJECT).allowed
    decision = asked(user(allow, deny), "s3:DeleteObject", OBJECT)
    assert decision.reason == "denied by statement keep of policy careful"
    assert asked(user(allow), "s3:GetObject", OBJECT).reason == (
        "allowed by statement 1 of policy all"
    )


def test_boundary_only_takes_away() -> None:
    narrow = policy(statement(action="s3:GetObject"), name="narrow")
    who = user(CANNED["readwrite"], boundary=narrow)
    assert asked(who, "s3:GetObject", OBJECT).allowed
    assert not asked(who, "s3:PutObject", OBJECT).allowed
    assert not asked(user(boundary=narrow), "s3:GetObject", OBJECT).allowed
    root = Principal(name="minio", id="r", root=True, boundary=narrow)
    assert asked(root, "s3:GetObject", OBJECT).allowed
    assert not asked(root, "s3:PutObject", OBJECT).allowed
    denying = policy(statement(), statement("Deny", "s3:GetObject"))
    assert not asked(
        Principal(name="m", id="r", root=True, boundary=denying), "s3:GetObject", "x"
    ).allowed


def test_resource_policy_joins() -> None:
    public = policy(statement(action="s3:GetObject"), name="bucket policy")
    closed = policy(statement("Deny"), name="bucket policy")
    assert decide(ANONYMOUS, "s3:GetObject", OBJECT, resource_policy=public).allowed
    assert not decide(ANONYMOUS, "s3:PutObject", OBJECT, resource_policy=public).allowed
    who = user(CANNED["readwrite"])
    assert not decide(who, "s3:GetObject", OBJECT, resource_policy=closed).allowed


def test_context_is_asked_for_only_when_needed() -> None:
    calls = []

    def context() -> Context:
        calls.append(1)
        return {"s3:prefix": "a"}

    assert decide(user(CANNED["readwrite"]), "s3:GetObject", OBJECT, context).allowed
    assert calls == []
    either = policy(
        statement(Condition={"StringEquals": {"s3:prefix": "b"}}),
        statement(Condition={"StringEquals": {"s3:prefix": "a"}}),
    )
    assert decide(user(either), "s3:ListBucket", BUCKET, context).allowed
    assert calls == [1]


# -- actions and resources ------------------------------------------------------------------------


def test_actions_ignore_case_and_resources_do_not() -> None:
    who = user(policy(statement(action="S3:getobject", Resource=OBJECT)))
    assert asked(who, "s3:GetObject", OBJECT).allowed
    assert not asked(who, "s3:GetObject", OBJECT.upper()).allowed
    assert not asked(who, "s3:GetObjectTagging", OBJECT).allowed


def test_not_action_and_not_resource() -> None:
    made = parse_policy(
        json.dumps(
            {
                "Statement": [
                    {
                        "Effect": "Allow",
                        "NotAction": "s3:Delete*",
                        "NotResource": f"{BUCKET}/media/*",
                    }
                ]
            }
        )
    )
    who = user(made)
    assert asked(who, "s3:GetObject", OBJECT).allowed
    assert not asked(who, "s3:DeleteObject", OBJECT).allowed
    assert not asked(who, "s3:GetObject", f"{BUCKET}/media/a").allowed


def test_variables_in_resources() -> None:
    own = statement(Resource="arn:aws:s3:::home/${aws:username}/*")
    who = user(policy(own))
    assert asked(who, "s3:GetObject", "arn:aws:s3:::home/alice/x").allowed
    assert not asked(who, "s3:GetObject", "arn:aws:s3:::home/bob/x").allowed
    # Before 2012-10-17 it is no variable.
    old = user(policy(own, version="2008-10-17"))
    assert not asked(old, "s3:GetObject", "arn:aws:s3:::home/alice/x").allowed
    assert asked(old, "s3:GetObject", "arn:aws:s3:::home/${aws:username}/x").allowed


def test_variable_values_are_no_wildcards() -> None:
    star = Principal(
        name="*",
        id="s",
        policies=(policy(statement(Resource="arn:aws:s3:::home/${aws:username}/*")),),
    )
    assert not asked(star, "s3:GetObject", "arn:aws:s3:::home/bob/x").allowed
    assert asked(star, "s3:GetObject", "arn:aws:s3:::home/*/x").allowed


def test_variable_without_value_and_with_default() -> None:
    without = user(policy(statement(Resource="arn:aws:s3:::b/${aws:nothing}*")))
    assert not asked(without, "s3:GetObject", "arn:aws:s3:::b/x").allowed
    default = user(policy(statement(Resource="arn:aws:s3:::b/${aws:nothing, 'team'}/*")))
    assert asked(default, "s3:GetObject", "arn:aws:s3:::b/team/x").allowed
    assert asked(default, "s3:GetObject", "arn:aws:s3:::b/red/x", aws__nothing="red").allowed


def test_a_variable_without_value_leaves_the_other_resources() -> None:
    resources = [f"{BUCKET}/plain/*", f"{BUCKET}/${{aws:nothing}}/*"]
    for effect, plain, rest in (("Allow", True, False), ("Deny", False, True)):
        rows = [statement(effect, Resource=resources)]
        rows += [statement()] if effect == "Deny" else []
        who = user(policy(*rows))
        assert asked(who, "s3:GetObject", f"{BUCKET}/plain/x").allowed is plain
        assert asked(who, "s3:GetObject", f"{BUCKET}/other/x").allowed is rest
        red = asked(who, "s3:GetObject", f"{BUCKET}/red/x", aws__nothing="red")
        assert red.allowed is plain


def test_a_variable_without_value_in_not_resource_denies() -> None:
    excepted = [f"{BUCKET}/plain/*", f"{BUCKET}/${{aws:nothing}}/*"]
    denied = user(policy(statement(), statement("Deny", NotResource=excepted)))
    allowed = user(policy(statement(NotResource=excepted)))
    for name, by_denial, by_allowance in (("plain", True, False), ("other", False, False)):
        resource = f"{BUCKET}/{name}/x"
        assert asked(denied, "s3:GetObject", resource).allowed is by_denial
        assert asked(allowed, "s3:GetObject", resource).allowed is by_allowance
    red = f"{BUCKET}/red/x"
    assert asked(denied, "s3:GetObject", red, aws__nothing="red").allowed
    assert asked(allowed, "s3:GetObject", f"{BUCKET}/other/x", aws__nothing="red").allowed


# -- conditions -----------------------------------------------------------------------------------


def holds(condition: dict[str, Any], **context: Any) -> bool:
    who = user(policy(statement(Condition=condition)))
    return asked(who, "s3:ListBucket", "r", **context).allowed


@pytest.mark.parametrize(
    ("operator", "wanted", "given", "expected"),
    [
        ("StringEquals", "a", "a", True),
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", "a*", "ab", False),
        ("StringEquals", "a*", "a*", True),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", ["a", "b"], "c", True),
        ("StringEqualsIgnoreCase", "ABC", "abc", True),
        ("StringNotEqualsIgnoreCase", "ABC", "abc", False),
        ("StringLike", "events/*", "events/otel/", True),
        ("StringLike", "events/?", "events/", False),
        ("StringNotLike", "events/*", "media/", True),
        ("NumericEquals", 100, "100", True),
        ("NumericEquals", "100", "1e2", True),
        ("NumericEquals", "100", "many", False),
        ("NumericNotEquals", "100", "99", True),
        ("NumericLessThan", "100", "99", True),
        ("NumericLessThan", "100", "100", False),
        ("NumericLessThanEquals", "100", "100", True),
        ("NumericGreaterThan", "100", "101", True),
        ("NumericGreaterThanEquals", "100", "99", False),
        ("DateLessThan", "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", True),
        ("DateGreaterThan", "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", False),
        ("DateEquals", "2026-01-01T00:00:00Z", "1767225600", True),
        ("DateNotEquals", "2026-01-01", "2026-01-01T00:00:00Z", False),
        ("Bool", "true", "true", True),
        ("Bool", True, "false", False),
        ("BinaryEquals", "aGVsbG8=", "hello", True),
        ("BinaryEquals", ["eA==", "aGVsbG8="], "Hello", False),
        ("IpAddress", "10.0.0.0/8", "10.1.2.3", True),
        ("IpAddress", "10.0.0.0/8", "11.1.2.3", False),
        ("IpAddress", ["10.0.0.0/8", "::1"], "::1", True),
        ("IpAddress", "10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("IpAddress", "10.0.0.0/8", "nonsense", False),
        ("NotIpAddress", "10.0.0.0/8", "11.1.2.3", True),
        ("NotIpAddress", ["10.0.0.0/8", "11.0.0.0/8"], "11.1.2.3", False),
        ("ArnLike", "arn:aws:s3:*:*:b*", "arn:aws:s3:::bucket", True),
        ("ArnLike", "arn:*:bucket", "arn:aws:s3:::bucket", False),
        ("ArnNotEquals", "arn:aws:s3:::a", "arn:aws:s3:::b", True),
    ],
)
def test_operators(operator: str, wanted: Any, given: str, expected: bool) -> None:
    assert holds({operator: {"x:Key": wanted}}, x__key=given) is expected


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("StringEquals", False),
        ("StringEqualsIfExists", True),
        ("StringNotEquals", True),
        ("StringNotLike", True),
        ("ForAnyValue:StringEquals", False),
        ("ForAnyValue:StringNotEquals", False),
        ("ForAllValues:StringEquals", True),
        ("ForAnyValue:StringEqualsIfExists", True),
    ],
)
def test_absent_key(operator: str, expected: bool) -> None:
    assert holds({operator: {"x:key": "a"}}) is expected
    assert holds({operator.replace("String", "String"): {"unknown:key": "a"}}) is expected


@pytest.mark.parametrize(
    ("operator", "given", "expected"),
    [
        ("ForAnyValue:StringEquals", ("a", "z"), True),
        ("ForAnyValue:StringEquals", ("y", "z"), False),
        ("ForAllValues:StringEquals", ("a", "b"), True),
        ("ForAllValues:StringEquals", ("a", "z"), False),
        ("ForAnyValue:StringNotEquals", ("a", "z"), True),
        ("ForAnyValue:StringNotEquals", ("a", "b"), False),
        ("ForAllValues:StringNotEquals", ("y", "z"), True),
        ("StringNotEquals", ("a", "z"), False),
        ("StringEquals", ("a", "z"), True),
        ("ForAllValues:StringEquals", (), True),
        ("ForAnyValue:StringEquals", (), False),
    ],
)
def test_sets(operator: str, given: tuple[str, ...], expected: bool) -> None:
    assert holds({operator: {"x:key": ["a", "b"]}}, x__key=given) is expected


def test_null() -> None:
    assert holds({"Null": {"x:key": "true"}})
    assert not holds({"Null": {"x:key": True}}, x__key="a")
    assert holds({"Null": {"x:key": "false"}}, x__key="a")
    for either in (["true", "false"], ["false", "true"]):
        assert holds({"Null": {"x:key": either}})
        assert holds({"Null": {"x:key": either}}, x__key="a")


def test_all_keys_and_operators_must_hold() -> None:
    both = {"StringEquals": {"x:a": "1", "x:b": "2"}, "Bool": {"aws:SecureTransport": "true"}}
    assert holds(both, x__a="1", x__b="2", aws__securetransport="true")
    assert not holds(both, x__a="1", x__b="3", aws__securetransport="true")
    assert not holds(both, x__a="1", x__b="2", aws__securetransport="false")


@pytest.mark.parametrize(
    ("operator", "values", "allows", "denies"),
    [
        ("StringEquals", ("public", "secret"), False, True),
        ("StringEquals", ("secret", "public"), False, True),
        ("StringEquals", ("public", "public"), True, True),
        ("StringEquals", ("secret", "secret"), False, False),
        ("StringNotEquals", ("secret", "public"), False, True),
        ("ForAnyValue:StringLike", ("public", "secret"), False, True),
        ("ForAllValues:StringLike", ("public", "secret"), False, True),
        ("StringEqualsIfExists", ("public", "secret"), False, True),
    ],
)
def test_a_tag_in_two_cases_neither_lets_in_nor_escapes(
    operator: str, values: tuple[str, str], allows: bool, denies: bool
) -> None:
    """Whoever may add a tag may not choose by its case which of two values counts."""
    condition = {operator: {"s3:ExistingObjectTag/class": "public"}}
    context = {"s3__ExistingObjectTag/class": Doubtful(values)}
    permission = policy(statement(Condition=condition))
    assert asked(user(permission), "s3:GetObject", OBJECT, **context).allowed is allows
    denial = policy(statement(), statement("Deny", Condition=condition))
    assert asked(user(denial), "s3:GetObject", OBJECT, **context).allowed is not denies


def test_the_time_is_known_without_being_told() -> None:
    for operator, key, value in (
        ("DateGreaterThan", "aws:CurrentTime", "2020-01-01T00:00:00Z"),
        ("NumericGreaterThan", "aws:EpochTime", "1577836800"),
    ):
        late = policy(statement(Condition={operator: {key: value}}))
        assert asked(user(late), "s3:GetObject", OBJECT).allowed
        before = {"aws__CurrentTime": "2019-12-31T23:59:59Z", "aws__EpochTime": "1577836799"}
        assert not asked(user(late), "s3:GetObject", OBJECT, **before).allowed


def test_variables_in_conditions() -> None:
    condition = {"StringLike": {"s3:prefix": ["", "home/${aws:username}/*"]}}
    assert holds(condition, s3__prefix="home/alice/x")
    assert holds(condition, s3__prefix="")
    assert not holds(condition, s3__prefix="home/bob/")


@pytest.mark.parametrize("operator", ["StringNotEquals", "ForAnyValue:StringNotLike"])
def test_a_variable_without_value_in_a_negated_condition_permits_nothing(operator: str) -> None:
    condition = {operator: {"s3:prefix": ["plain", "${aws:nothing}"]}}
    assert not holds(condition, s3__prefix="other")
    assert holds(condition, s3__prefix="other", aws__nothing="red")
    assert not holds(condition, s3__prefix="red", aws__nothing="red")
    denied = user(policy(statement(), statement("Deny", Condition=condition)))
    assert not asked(denied, "s3:ListBucket", "r", s3__prefix="other").allowed
    assert asked(denied, "s3:ListBucket", "r", s3__prefix="plain").allowed


def test_client_can_not_say_who_it_is() -> None:
    """What the principal knows of itself outweighs the request's context."""
    condition = {"StringEquals": {"aws:username": "root"}}
    assert not holds(condition, aws__username="root")


# -- canned policies ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "allowed", "denied"),
    [
        ("readwrite", ["s3:GetObject", "s3:ListBucket", "s3:CreateBucket"], ["admin:ListUsers"]),
        ("readonly", ["s3:GetObject", "s3:GetBucketLocation"], ["s3:ListBucket", "s3:PutObject"]),
        ("writeonly", ["s3:PutObject"], ["s3:GetObject", "s3:ListBucket", "s3:DeleteObject"]),
        ("consoleAdmin", ["s3:GetObject", "admin:CreateUser", "kms:Status"], []),
    ],
)
def test_canned(name: str, allowed: list[str], denied: list[str]) -> None:
    who = user(CANNED[name])
    for action in allowed:
        assert asked(who, action, OBJECT).allowed, action
    for action in denied:
        assert not asked(who, action, OBJECT).allowed, action


def test_own_buckets() -> None:
    who = user(CANNED["ownbuckets"])
    assert decide(who, "s3:CreateBucket", "arn:aws:s3:::new").allowed
    assert decide(who, "s3:PutObject", OBJECT, owner=who.id).allowed
    assert not decide(who, "s3:PutObject", OBJECT, owner="b" * 64).allowed
    assert not decide(who, "s3:PutObject", OBJECT).allowed


def test_scoped_to_a_prefix() -> None:
    who = user(parse_policy(scoped_policy("langfuse", "events/")))
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"):
        assert asked(who, action, OBJECT).allowed
        assert not asked(who, action, f"{BUCKET}/media/x").allowed
        assert not asked(who, action, "arn:aws:s3:::other/events/x").allowed
    assert asked(who, "s3:ListBucket", BUCKET, s3__prefix="events/otel/").allowed
    assert asked(who, "s3:ListBucket", BUCKET, s3__prefix="events/").allowed
    assert not asked(who, "s3:ListBucket", BUCKET, s3__prefix="").allowed
    assert not asked(who, "s3:ListBucket", BUCKET).allowed
    assert asked(who, "s3:GetBucketLocation", BUCKET).allowed
    assert not asked(who, "s3:DeleteBucket", BUCKET).allowed
    assert not asked(who, "s3:CreateBucket", BUCKET).allowed


def test_scoped_to_a_bucket() -> None:
    who = user(parse_policy(scoped_policy("langfuse", access="readonly")))
    assert asked(who, "s3:GetObject", OBJECT).allowed
    assert not asked(who, "s3:PutObject", OBJECT).allowed
    assert asked(who, "s3:ListBucket", BUCKET).allowed
    assert not asked(who, "s3:ListBucket", "arn:aws:s3:::langfuse2").allowed
    writer = user(parse_policy(scoped_policy("langfuse", access="writeonly")))
    assert asked(writer, "s3:PutObject", OBJECT).allowed
    assert not asked(writer, "s3:ListBucket", BUCKET).allowed
    with pytest.raises(PolicyError):
        scoped_policy("langfuse", access="everything")


@settings(max_examples=150, deadline=None)
@given(prefix=st.text(max_size=20), key=st.text(max_size=30))
def test_scope_is_exactly_the_prefix(prefix: str, key: str) -> None:
    who = user(parse_policy(scoped_policy("b", prefix)))
    assert asked(who, "s3:GetObject", f"arn:aws:s3:::b/{prefix}{key}").allowed
    assert asked(who, "s3:GetObject", f"arn:aws:s3:::b/{key}").allowed is key.startswith(prefix)
    assert asked(who, "s3:ListBucket", "arn:aws:s3:::b", s3__prefix=key).allowed is (
        key.startswith(prefix)
    )


@settings(max_examples=100, deadline=None)
@given(
    order=st.permutations(range(4)),
    action=st.sampled_from(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]),
)
def test_order_of_policies_changes_nothing(order: list[int], action: str) -> None:
    made = [
        CANNED["readonly"],
        CANNED["writeonly"],
        policy(statement("Deny", "s3:PutObject", Resource=f"{BUCKET}/events/*")),
        policy(statement(action="s3:DeleteObject", Resource=f"{BUCKET}/media/*")),
    ]
    who = user(*(made[i] for i in order))
    assert asked(who, action, OBJECT).allowed is (action == "s3:GetObject")
