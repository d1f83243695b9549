"""One pure function decides what a principal may do.

Order: the root user may do everything; an explicit denial wins over any permission; an access
key's own policy only takes away; then identity policies, the bucket's policy and the access
control list are asked, each only if none before it allows; what nobody allows is denied.
docs/access.md tells it in words.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from storage.iam.actions import has
from storage.iam.conditions import Context
from storage.iam.policy import Decision, Policy
from storage.iam.principal import Principal


class Block(msgspec.Struct, frozen=True):
    """A bucket's public access block: four switches, all off where the bucket has none.

    Source: "Blocking public access to your Amazon S3 storage" in the Amazon S3 user guide.
    """

    block_public_acls: bool = False
    """Requests that bring a public ACL are refused."""
    ignore_public_acls: bool = False
    """What ACLs grant to everybody, or to everybody who signs, does not count."""
    block_public_policy: bool = False
    """A public policy can't be put."""
    restrict_public_buckets: bool = False
    """A policy that is public allows nothing to anyone but the bucket's owner."""


#: Of a bucket that has no public access block.
OPEN = Block()

Acl = Callable[[], Decision | None]
"""Asks the access control list that governs an action: a permission, or None. Lists never deny."""

#: What a bucket's policy can't take from the bucket's owner, who could not repair it otherwise.
OWNERS_OWN = frozenset(("s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"))

_ROOT = Decision(True, "the root user may do everything", "root user")
_NOBODY = Decision(False, "no policy allows it")
_ANONYMOUS = Decision(False, "the request is anonymous and no policy allows it")
_BOUNDARY = Decision(False, "the access key's own policy does not allow it", "key policy")


def no_context() -> Context:
    """The context of a request about which nothing but action and resource is known."""
    return {}


def decide(
    principal: Principal,
    action: str,
    resource: str,
    context: Callable[[], Context] = no_context,
    *,
    owner: str = "",
    resource_policy: Policy | None = None,
    block: Block = OPEN,
    object_owner: str = "",
    acl: Acl | None = None,
    facts_of: FactsOf | None = None,
) -> Decision:
    """Decide whether ``principal`` may do ``action`` on ``resource``.

    ``action`` is like ``s3:GetObject``; ``resource`` an ARN (``arn:aws:s3:::bucket/key``), ""
    where the action concerns the whole store. ``context`` is called at most once, and only if a
    policy asks for it; its keys are lower case.

    ``owner`` is the canonical id of the bucket's owner; policies see it as ``s3:ResourceAccount``.
    ``resource_policy`` is the bucket's policy. ``object_owner`` is given for an object that belongs
    to another account than its bucket: policies see that account, and what the bucket's policy
    allows does not reach the object. ``acl`` is called at most once, and only where nothing else
    has decided. ``facts_of`` makes another kind of RequestFacts.
    """
    boundary = principal.boundary
    if principal.root and boundary is None:
        return _ROOT
    facts = (facts_of or RequestFacts)(principal, object_owner or owner, context, action)
    granted = _ROOT if principal.root else None
    refused = None
    for policy in principal.policies:
        found = evaluate(policy, principal, action, resource, facts)
        if found is not None:
            if not found.allowed:
                return found
            granted = granted or found
    if resource_policy is not None:
        found = evaluate(resource_policy, principal, action, resource, facts)
        if found is not None and not found.allowed:
            if not (action in OWNERS_OWN and principal.id == owner and boundary is None):
                return found
            found = _permission(resource_policy, principal, action, resource, facts)
        if found is not None:
            refused = _withheld(found, principal, owner, resource_policy, block, object_owner)
            if refused is None:
                granted = granted or found
    if boundary is not None:
        found = evaluate(boundary, principal, action, resource, facts)
        if found is None:
            return _BOUNDARY
        if not found.allowed:
            return found
    if granted is None and acl is not None:
        granted = acl()
    return granted or refused or (_ANONYMOUS if principal.anonymous else _NOBODY)


def _withheld(
    found: Decision,
    principal: Principal,
    owner: str,
    policy: Policy,
    block: Block,
    object_owner: str,
) -> Decision | None:
    """Why a permission of the bucket's policy does not count; None if it does."""
    if object_owner:
        reason = "the bucket's policy allows it, but the object belongs to another account"
        return msgspec.structs.replace(found, allowed=False, reason=reason)
    if block.restrict_public_buckets and policy.public and principal.id != owner:
        return Decision(
            False,
            "the bucket's policy allows it, but is public, and RestrictPublicBuckets withholds "
            "from all but the bucket's owner what such a policy allows",
            "public access block",
        )
    return None


def _permission(
    policy: Policy, principal: Principal, action: str, resource: str, facts: RequestFacts
) -> Decision | None:
    """What one policy allows where its denials don't count; None if nothing."""
    for statement in policy.for_action(action):
        named = statement.principals is None or statement.principals.include(principal)
        if statement.allow and named and statement.applies(resource, facts):
            return statement.decision
    return None


def evaluate(
    policy: Policy, principal: Principal, action: str, resource: str, facts: RequestFacts
) -> Decision | None:
    """What one policy says; None if it says nothing. Denials stand first in ``for_action``."""
    for statement in policy.for_action(action):
        if statement.principals is not None and not statement.principals.include(principal):
            continue
        if statement.plain:
            if statement.covers(resource):
                return statement.decision
        elif statement.applies(resource, facts):
            return statement.decision
    return None


def of_clock(key: str) -> str | None:
    """The value of a lower-case condition key that tells the time, where the context has none."""
    if key == "aws:currenttime":
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return str(int(time.time())) if key == "aws:epochtime" else None


class RequestFacts:
    """Condition keys of one request; the context is asked for only when a key needs it.

    ``owner`` is the account that the resource belongs to. A key that ``action`` has not is absent,
    whatever a request brings along.
    """

    __slots__ = ("_action", "_context", "_make", "_owner", "_principal")

    def __init__(
        self, principal: Principal, owner: str, make: Callable[[], Context], action: str
    ) -> None:
        self._principal = principal
        self._owner = owner
        self._make = make
        self._action = action
        self._context: Context | None = None

    def __call__(self, key: str) -> tuple[str, ...] | None:
        own = _OWN.get(key)
        if own is not None:
            value = own(self)
            return (value,) if value else None
        if not has(self._action, key):
            return None
        if self._context is None:
            self._context = self._make()
        found = self._context.get(key)
        if found is None:
            found = of_clock(key)
        return (found,) if isinstance(found, str) else found

    @property
    def name(self) -> str:
        return self._principal.name

    @property
    def account(self) -> str:
        return self._principal.id

    @property
    def owner(self) -> str:
        return self._owner

    @property
    def kind(self) -> str:
        if self._principal.anonymous:
            return "Anonymous"
        return "Account" if self._principal.root else "User"

    @property
    def arn(self) -> str:
        """The principal as bucket policies name it."""
        if self._principal.anonymous:
            return ""
        kind = "root" if self._principal.root else f"user/{self.name}"
        return f"arn:aws:iam::{self.account}:{kind}"


FactsOf = Callable[[Principal, str, Callable[[], Context], str], RequestFacts]

_OWN: dict[str, Callable[[RequestFacts], str]] = {
    "aws:username": lambda facts: facts.name,
    "aws:userid": lambda facts: facts.account,
    "aws:principalaccount": lambda facts: facts.account,
    "aws:principalarn": lambda facts: facts.arn,
    "aws:principaltype": lambda facts: facts.kind,
    "aws:resourceaccount": lambda facts: facts.owner,
    "s3:resourceaccount": lambda facts: facts.owner,
}
