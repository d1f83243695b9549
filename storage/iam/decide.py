"""One pure function decides what a principal may do.

Order: the root user may do everything; an explicit denial wins over any permission; an access
key's own policy only takes away; what nobody allows is denied.
"""

from __future__ import annotations

from collections.abc import Callable

from storage.iam.conditions import Context
from storage.iam.policy import Decision, Policy
from storage.iam.principal import Principal

_ROOT = Decision(True, "the root user may do everything")
_NOBODY = Decision(False, "no policy allows it")
_ANONYMOUS = Decision(False, "the request is anonymous and no policy allows it")
_BOUNDARY = Decision(False, "the access key's own policy does not allow it")


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
) -> Decision:
    """Decide whether ``principal`` may do ``action`` on ``resource``.

    ``action`` is like ``s3:GetObject``; ``resource`` an ARN (``arn:aws:s3:::bucket/key``), ""
    where the action concerns the whole store. ``context`` is called at most once, and only if a
    policy asks for it; its keys are lower case. ``owner`` is the canonical id of the bucket's
    owner; policies see it as ``s3:ResourceAccount``. ``resource_policy`` holds the statements of
    a bucket's policy that name this principal.
    """
    boundary = principal.boundary
    if principal.root and boundary is None:
        return _ROOT
    facts = _Facts(principal, owner, context)
    granted = _ROOT if principal.root else None
    for policy in principal.policies:
        found = _evaluate(policy, action, resource, facts)
        if found is not None:
            if not found.allowed:
                return found
            granted = granted or found
    if resource_policy is not None:
        found = _evaluate(resource_policy, action, resource, facts)
        if found is not None:
            if not found.allowed:
                return found
            granted = granted or found
    if boundary is not None:
        found = _evaluate(boundary, action, resource, facts)
        if found is None:
            return _BOUNDARY
        if not found.allowed:
            return found
    return granted or (_ANONYMOUS if principal.anonymous else _NOBODY)


def _evaluate(policy: Policy, action: str, resource: str, facts: _Facts) -> Decision | None:
    """What one policy says; None if it says nothing. Denials stand first in ``for_action``."""
    for statement in policy.for_action(action):
        if statement.plain:
            if statement.covers(resource):
                return statement.decision
        elif statement.applies(resource, facts):
            return statement.decision
    return None


class _Facts:
    """Condition keys of one request; the context is asked for only when a key needs it."""

    __slots__ = ("_context", "_make", "_owner", "_principal")

    def __init__(self, principal: Principal, owner: str, make: Callable[[], Context]) -> None:
        self._principal = principal
        self._owner = owner
        self._make = make
        self._context: Context | None = None

    def __call__(self, key: str) -> tuple[str, ...] | None:
        own = _OWN.get(key)
        if own is not None:
            value = own(self)
            return (value,) if value else None
        if self._context is None:
            self._context = self._make()
        found = self._context.get(key)
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


_OWN: dict[str, Callable[[_Facts], str]] = {
    "aws:username": lambda facts: facts.name,
    "aws:userid": lambda facts: facts.account,
    "aws:principalaccount": lambda facts: facts.account,
    "aws:principaltype": lambda facts: facts.kind,
    "aws:resourceaccount": lambda facts: facts.owner,
    "s3:resourceaccount": lambda facts: facts.owner,
}
