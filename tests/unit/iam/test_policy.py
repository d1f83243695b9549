"""Policy documents: what is accepted, what is refused by name, what matches."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.iam import patterns
from storage.iam.errors import PolicyError
from storage.iam.policy import DOCUMENT_MAX, parse_policy


def document(version: str | None = "2012-10-17", **statement: Any) -> str:
    made = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **statement}
    made = {name: value for name, value in made.items() if value is not None}
    head = {"Version": version} if version else {}
    return json.dumps({**head, "Statement": [made]})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("[" * 10_000, "not valid JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "Statement must be"),
        ('{"Statement": []}', "Statement must be"),
        ('{"Statement": [1]}', "Statement 1 must be an object"),
        ('{"Version": "2020-01-01", "Statement": []}', "Version must be"),
        ('{"Version": ["2012-10-17"], "Statement": []}', "Version must be"),
        ('{"Statment": []}', "unknown element Statment"),
        ('{"Id": 1, "Statement": []}', "Id must be a text"),
        ('{"Statement": {}, "Statement": {}}', "Statement is given more than once"),
        (document(Effect="allow"), "Effect of statement 1"),
        (document(Effect=None), "Effect of statement 1"),
        (document(Effects="Allow"), "unknown element Effects"),
        (document(Principal="*"), "Principal belongs into bucket policies"),
        (document(Action=None), "either Action or NotAction"),
        (document(NotAction="s3:*"), "either Action or NotAction"),
        (document(Action=[]), "Action of statement 1"),
        (document(Action=[1]), "Action of statement 1"),
        (document(Action="GetObject"), "Action GetObject"),
        (document(Action="ec2:Start"), "Action ec2:Start"),
        (document(Action="s3:"), "Action s3: is malformed"),
        (document(Action="s3:Get Object"), "is malformed"),
        (document(Resource=None), "either Resource or NotResource"),
        (document(Resource="bucket"), "Resource bucket is neither"),
        (document(Resource="arn:aws:s3"), "neither * nor an ARN"),
        (document(Resource="arn:aws:s3:::${user}"), "not a policy variable"),
        (document(Sid=1), "Sid of statement 1"),
        (document(Condition=[]), "Condition must be an object"),
        (document(Condition={"StringEquals": []}), "Condition StringEquals"),
        (document(Condition={"StringEqual": {"a:b": "c"}}), "operator StringEqual is not"),
        (document(Condition={"BinaryLike": {"a:b": "c"}}), "operator BinaryLike is not"),
        (document(Condition={"ForSomeValues:StringLike": {"a:b": "c"}}), "is not supported"),
        (document(Condition={"StringEquals": {"prefix": "c"}}), "has no service prefix"),
        (document(Condition={"StringEquals": {"a:b": []}}), "has no values"),
        (document(Condition={"StringEquals": {"a:b": {}}}), "no text or number"),
        (document(Condition={"NumericEquals": {"a:b": "x"}}), "wrong kind"),
        (document(Condition={"NumericEquals": {"a:b": "nan"}}), "wrong kind"),
        (document(Condition={"IpAddress": {"a:b": "300.0.0.1"}}), "wrong kind"),
        (document(Condition={"DateLessThan": {"a:b": "soon"}}), "wrong kind"),
        (document(Condition={"Bool": {"a:b": "yes"}}), "wrong kind"),
        (document(Condition={"Null": {"a:b": "yes"}}), "must be true or false"),
        (document(Sid="x" * DOCUMENT_MAX), "longer than"),
    ],
)
def test_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(words)):
        parse_policy(text)


def test_sids_are_unique() -> None:
    statement = {"Sid": "a", "Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    with pytest.raises(PolicyError, match="Sid a is used more than once"):
        parse_policy(json.dumps({"Statement": [statement, statement]}))


def test_not_utf8() -> None:
    with pytest.raises(PolicyError, match="UTF-8"):
        parse_policy(b'{"Version": "\xff"}')


def test_administration_needs_no_resource() -> None:
    policy = parse_policy(document(Action=["admin:*"], Resource=None))
    assert policy.for_action("admin:CreateUser")[0].covers("")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
elements = st.sampled_from(
    ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Principal"]
)
OPERATORS = ["StringLike", "NumericLessThan", "DateEquals", "Bool", "IpAddress", "Null", "ArnLike"]
OPERATORS += ["ForAnyValue:StringEquals", "ForAllValues:StringNotLike", "StringEqualsIfExists"]
operators = st.sampled_from(OPERATORS)
conditions = st.dictionaries(
    operators, st.dictionaries(st.text(max_size=6) | st.just("s3:prefix"), json_values)
)
statements = st.dictionaries(
    elements, json_values | st.sampled_from(["Allow", "s3:*", "*"]) | conditions
)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.binary(max_size=60),
        json_values.map(json.dumps),
        st.fixed_dictionaries({"Statement": st.lists(statements, max_size=3) | json_values}).map(
            json.dumps
        ),
    )
)
def test_any_document_is_a_policy_or_a_policy_error(text: str | bytes) -> None:
    try:
        policy = parse_policy(text)
    except PolicyError:
        return
    for statement in policy.for_action("s3:GetObject"):
        statement.applies("arn:aws:s3:::b/k", lambda key: ("1",))


# -- wildcards ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*", "", True),
        ("*", "a/b:c\n", True),
        ("a", "a", True),
        ("a", "A", False),
        ("a*", "a", True),
        ("a*", "ba", False),
        ("*a", "bca", True),
        ("*a", "bcab", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("a?c", "a/c", True),
        ("a*b*c", "aXbYc", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "acb", False),
        ("*ab", "aab", True),
        ("a*a", "a", False),
        ("a**b", "aXb", True),
        ("?*", "", False),
        ("*b?d*", "abbcbxd", True),
        ("a.c", "abc", False),
        ("${*}", "*", True),
        ("${*}", "x", False),
        ("${?}a${$}", "?a$", True),
        ("[a]*", "[a]b", True),
    ],
)
def test_wildcards(pattern: str, text: str, expected: bool) -> None:
    assert patterns.compile_pattern(pattern)(text) is expected


def reference(pattern: str, text: str) -> bool:
    """Wildcards by dynamic programming, the slow and plain way."""
    row = [True] + [False] * len(text)
    for token in pattern:
        new = [row[0] and token == "*"]
        for i, char in enumerate(text):
            if token == "*":
                new.append(row[i + 1] or new[i])
            else:
                new.append(row[i] and token in ("?", char))
        row = new
    return row[-1]


@settings(max_examples=500, deadline=None)
@given(st.text("ab*?", max_size=10), st.text("ab", max_size=12))
def test_wildcards_match_the_reference(pattern: str, text: str) -> None:
    assert patterns.compile_pattern(pattern)(text) is reference(pattern, text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_escaped_text_matches_itself_alone(text: str, other: str) -> None:
    match = patterns.compile_pattern(patterns.escape(text))
    assert match(text)
    assert match(other) is (text == other)


def test_no_pattern_is_slow() -> None:
    """Backtracking over thirty stars would take longer than the universe has lasted."""
    match = patterns.compile_pattern("*a" * 30 + "b")
    started = time.process_time()
    assert not match("a" * 1024)
    assert time.process_time() - started < 5
