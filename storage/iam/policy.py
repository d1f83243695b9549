"""IAM policy documents: a strict parser, and statements compiled once.

Source: "IAM JSON policy reference" in the AWS IAM user guide. What this store does not know is
an error that names it, never ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from storage.iam import patterns
from storage.iam.conditions import Condition, Facts, parse_conditions
from storage.iam.errors import PolicyError
from storage.iam.principals import Principals

VERSIONS = ("2012-10-17", "2008-10-17")
#: Longest document, bytes (AWS's limit for bucket policies).
DOCUMENT_MAX = 20 * 1024
#: Services whose actions a policy may name: S3's, and MinIO's for administration.
SERVICES = frozenset({"s3", "admin", "kms", "sts"})

_ACTIONS_CACHED = 512
_DOCUMENT_ELEMENTS = {"Version", "Id", "Statement"}
_STATEMENT_ELEMENTS = {
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
}
_PRINCIPALS = {"Principal", "NotPrincipal"}
#: Halves of characters, which JSON can escape and UTF-8 can't carry.
_SURROGATE = re.compile("[\ud800-\udfff]")


class Decision(msgspec.Struct, frozen=True):
    """Whether a request is allowed, and why: one sentence for logs and explanations.

    ``source`` is what decided ("identity policy", "bucket policy", "bucket ACL" ...), "" where
    nothing did; ``policy`` and ``statement`` name the policy and its statement, where one did.
    """

    allowed: bool
    reason: str
    source: str = ""
    policy: str = ""
    statement: str = ""


class Statement(msgspec.Struct, frozen=True, eq=False):
    """A compiled statement. ``decision`` is what it leads to where it applies.

    ``templates`` are resource patterns that hold variables, expanded for each request.
    """

    allow: bool
    decision: Decision
    actions: tuple[patterns.Match, ...]
    not_action: bool
    resources: tuple[patterns.Match, ...]
    templates: tuple[str, ...]
    not_resource: bool
    conditions: tuple[Condition, ...]
    plain: bool
    """Depends on action and resource (and principal) alone."""
    principals: Principals | None = None
    """Whom a statement of a bucket's policy is about; None: who has the policy."""

    def covers_action(self, action: str) -> bool:
        """Whether the statement speaks about ``action`` (lower case)."""
        return any(match(action) for match in self.actions) != self.not_action

    def covers(self, resource: str) -> bool:
        """Whether a plain statement speaks about ``resource``."""
        for match in self.resources:
            if match(resource):
                return not self.not_resource
        return self.not_resource

    def applies(self, resource: str, facts: Facts) -> bool:
        """Whether the statement speaks about ``resource`` and its conditions hold."""
        if not (self._covers_with(resource, facts) if self.templates else self.covers(resource)):
            return False
        for condition in self.conditions:  # noqa: SIM110 - a generator would cost more than they do
            if not condition.holds(facts, allow=self.allow):
                return False
        return True

    def _covers_with(self, resource: str, facts: Facts) -> bool:
        def lookup(key: str) -> str | None:
            values = facts(key)
            return values[0] if values else None

        matched = any(match(resource) for match in self.resources)
        for template in self.templates:
            pattern = patterns.expand(template, lookup)
            if pattern is not None:
                matched = matched or patterns.compile_pattern(pattern)(resource)
            elif self.not_resource and self.allow:
                return False  # a variable without a value: nobody knows what is excepted
        return matched != self.not_resource


class Policy:
    """A compiled policy document.

    ``name`` stands in reasons. ``document`` is the JSON text it was parsed from. ``public``:
    a bucket's policy that allows something to everybody, as S3 defines it.
    """

    __slots__ = ("_by_action", "document", "name", "public", "statements")

    def __init__(
        self, name: str, document: str, statements: tuple[Statement, ...], *, public: bool = False
    ) -> None:
        self.name = name
        self.document = document
        self.statements = statements
        self.public = public
        self._by_action: dict[str, tuple[Statement, ...]] = {}

    def __repr__(self) -> str:
        return f"Policy({self.name!r})"

    def for_action(self, action: str) -> tuple[Statement, ...]:
        """The statements that speak about ``action``, denials first."""
        known = self._by_action.get(action)
        if known is not None:
            return known
        lower = action.lower()
        found = [one for one in self.statements if one.covers_action(lower)]
        statements = tuple(sorted(found, key=lambda one: one.allow))
        if len(self._by_action) >= _ACTIONS_CACHED:
            self._by_action.clear()
        self._by_action[action] = statements
        return statements


def parse_policy(document: str | bytes, name: str = "") -> Policy:
    """Parse and compile an identity policy. Raises PolicyError naming the element at fault."""
    return compile_document(document, name)


#: Reads what only bucket policies have, from (statement, its number): whom it is about.
Refine = Callable[[dict[str, Any], int], Principals]


def compile_document(
    document: str | bytes,
    name: str,
    *,
    refine: Refine | None = None,
    public: Callable[[list[dict[str, Any]]], bool] | None = None,
) -> Policy:
    """Compile an identity policy, or with ``refine`` a bucket's. Raises PolicyError."""
    if len(document) > DOCUMENT_MAX:
        raise PolicyError(f"The policy is longer than {DOCUMENT_MAX} bytes.")
    text = _decode(document)
    try:
        root = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise PolicyError("The policy is not valid JSON.") from None
    if not isinstance(root, dict):
        raise PolicyError("The policy must be a JSON object.")
    _refuse_unknown(root, _DOCUMENT_ELEMENTS, "The policy")
    version = root.get("Version", "2008-10-17")
    if version not in VERSIONS:
        raise PolicyError(f"Version must be {' or '.join(VERSIONS)}.")
    if not isinstance(root.get("Id", ""), str):
        raise PolicyError("Id must be a text.")
    statements = root.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise PolicyError("Statement must be an object or a list of objects.")
    compiled = tuple(
        _compile(one, number, name, version == "2012-10-17", refine)
        for number, one in enumerate(statements, 1)
    )
    _check_sids(statements)
    return Policy(name, text, compiled, public=public is not None and public(statements))


def _decode(document: str | bytes) -> str:
    if isinstance(document, str):
        return document
    try:
        return document.decode()
    except UnicodeDecodeError:
        raise PolicyError("The policy is not valid UTF-8.") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise PolicyError(f"{name} is given more than once.")
        result[name] = value
    return result


def _no_number(text: str) -> Any:
    raise PolicyError(f"{text} is not valid JSON.")


def _refuse_unknown(element: dict[str, Any], known: set[str], where: str) -> None:
    for name in element:
        if name in known:
            continue
        if name in _PRINCIPALS:
            raise PolicyError(f"{name} belongs into bucket policies, not into a user's policy.")
        raise PolicyError(f"{where} has an unknown element {name}.")


def _check_sids(statements: list[dict[str, Any]]) -> None:
    sids = [one["Sid"] for one in statements if one.get("Sid")]
    for sid in sids:
        if sids.count(sid) > 1:
            raise PolicyError(f"Sid {sid} is used more than once.")


def _compile(
    element: Any, number: int, policy: str, with_variables: bool, refine: Refine | None
) -> Statement:
    if not isinstance(element, dict):
        raise PolicyError(f"Statement {number} must be an object.")
    known = _STATEMENT_ELEMENTS if refine is None else _STATEMENT_ELEMENTS | _PRINCIPALS
    _refuse_unknown(element, known, f"Statement {number}")
    sid = element.get("Sid", "")
    if not isinstance(sid, str) or _SURROGATE.search(sid):  # it is shown in explanations
        raise PolicyError(f"Sid of statement {number} must be a text.")
    effect = element.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise PolicyError(f"Effect of statement {number} must be Allow or Deny.")
    actions, not_action = _one_of(element, "Action", number)
    for action in actions:
        _check_action(action)
    resources, not_resource = _resources(element, number, actions)
    plain, templates = _split_templates(resources, with_variables)
    conditions: tuple[Condition, ...] = ()
    if "Condition" in element:
        conditions = parse_conditions(element["Condition"], with_variables=with_variables)
    principals = None if refine is None else refine(element, number)
    verb = "allowed" if effect == "Allow" else "denied"
    kind = "identity policy" if refine is None else "bucket policy"
    label = f"statement {sid or number} of "
    label += f"policy {policy or '(unnamed)'}" if refine is None else "the bucket's policy"
    return Statement(
        allow=effect == "Allow",
        decision=Decision(
            effect == "Allow", f"{verb} by {label}", kind, policy, str(sid or number)
        ),
        actions=tuple(patterns.compile_pattern(action.lower()) for action in actions),
        not_action=not_action,
        resources=plain,
        templates=templates,
        not_resource=not_resource,
        conditions=conditions,
        plain=not conditions and not templates,
        principals=principals,
    )


def _one_of(element: dict[str, Any], name: str, number: int) -> tuple[list[str], bool]:
    """The texts of element ``name`` or ``Not<name>``, and whether it was the latter."""
    negation = f"Not{name}"
    if (name in element) == (negation in element):
        raise PolicyError(f"Statement {number} needs either {name} or {negation}.")
    chosen = name if name in element else negation
    value = element[chosen]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise PolicyError(f"{chosen} of statement {number} must be a text or a list of texts.")
    return texts, chosen == negation


def _check_action(action: str) -> None:
    if action == "*":
        return
    service, colon, operation = action.partition(":")
    if not colon or service.lower() not in SERVICES:
        raise PolicyError(f"Action {action} is of no service that this store knows.")
    if not operation or not all(c.isascii() and (c.isalnum() or c in "*?") for c in operation):
        raise PolicyError(f"Action {action} is malformed.")


def _resources(element: dict[str, Any], number: int, actions: list[str]) -> tuple[list[str], bool]:
    administrative = all(
        action.lower().startswith(("admin:", "sts:", "kms:")) for action in actions
    )
    if administrative and "Resource" not in element and "NotResource" not in element:
        return ["*"], False
    resources, negated = _one_of(element, "Resource", number)
    for resource in resources:
        if resource != "*" and not (resource.startswith("arn:") and resource.count(":") >= 5):
            raise PolicyError(f"Resource {resource} is neither * nor an ARN.")
    return resources, negated


def _split_templates(
    resources: list[str], with_variables: bool
) -> tuple[tuple[patterns.Match, ...], tuple[str, ...]]:
    """Patterns compiled now, and those that wait for the values of their variables."""
    plain, templates = [], []
    for resource in resources:
        if not with_variables:
            plain.append(patterns.compile_pattern(resource.replace("$", "${$}")))
            continue
        try:
            names = patterns.variables(resource)
        except ValueError as error:
            raise PolicyError(f"Resource {resource}: {error}.") from None
        if names:
            templates.append(resource)
        else:
            plain.append(patterns.compile_pattern(resource))
    return tuple(plain), tuple(templates)
