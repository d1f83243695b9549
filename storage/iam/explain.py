"""Why a request is allowed or denied: the decision, and what each part that has a say said."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from storage.iam import block
from storage.iam.conditions import Context
from storage.iam.decide import RequestFacts, decide, evaluate, of_clock
from storage.iam.policy import Decision, Policy
from storage.iam.principal import Principal
from storage.iam.resources import (
    BLOCK,
    Bucket,
    Object,
    acls_disabled,
    arn,
    ask_acl,
    decide_on,
    foreign_owner,
    is_of_object,
    policy_of,
)

NOTHING = "nothing"


class Step(msgspec.Struct, frozen=True):
    """One part and what it says by itself: "allows", "denies" or "nothing", and why."""

    source: str
    name: str
    says: str
    why: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """``asked`` are the condition keys that policies looked at, as far as the action has them, with
    the values they found."""

    decision: Decision
    steps: tuple[Step, ...]
    asked: dict[str, tuple[str, ...] | None]


def explain(
    principal: Principal,
    action: str,
    bucket: Bucket | None,
    key: str,
    context: Mapping[str, str | tuple[str, ...]],
    found: Object | None,
) -> Explanation:
    """Decide as the store would, and tell what every part says, whatever decided in the end.

    ``bucket`` None: the action concerns the whole store, or a bucket that is yet to be made; then
    ``key`` is its name, or "". ``found`` is the object, None where there is none.
    """
    notes = _Notes(context)
    if bucket is None:
        decision = decide(principal, action, arn(key), lambda: notes)
    else:
        decision = decide_on(principal, action, bucket, key, lambda: notes, found)
    steps = _steps(principal, action, bucket, key, notes, found)
    return Explanation(decision, tuple(steps), notes.asked)


class _Notes:
    """A context that notes what is asked of it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.asked: dict[str, tuple[str, ...] | None] = {}

    def get(self, key: str) -> str | tuple[str, ...] | None:
        value = self._context.get(key) or of_clock(key)
        self.asked[key] = (value,) if isinstance(value, str) else value
        return value


def _steps(
    principal: Principal,
    action: str,
    bucket: Bucket | None,
    key: str,
    notes: Context,
    found: Object | None,
) -> list[Step]:
    owner = "" if bucket is None else bucket.owner
    found = found if is_of_object(action) else None
    if bucket is not None and found is not None:
        owner = foreign_owner(bucket, found) or owner
    resource = arn(key) if bucket is None else arn(bucket.name, key)
    facts = RequestFacts(principal, owner, lambda: notes, action)

    def ask(source: str, name: str, policy: Policy) -> Step:
        return _step(source, name, evaluate(policy, principal, action, resource, facts))

    steps = []
    if principal.root:
        steps.append(Step("root user", principal.name, "allows"))
    steps += [ask("identity policy", policy.name, policy) for policy in principal.policies]
    if bucket is not None:
        steps += _of_bucket(principal, action, bucket, found, ask)
    if principal.boundary is not None:
        steps.append(ask("key policy", principal.boundary.name, principal.boundary))
    return steps


def _of_bucket(
    principal: Principal,
    action: str,
    bucket: Bucket,
    found: Object | None,
    ask: Callable[[str, str, Policy], Step],
) -> list[Step]:
    steps = []
    policy = policy_of(bucket)
    if policy is not None:
        steps.append(ask("bucket policy", bucket.name, policy))
    closure = block.of(bucket.config.get(BLOCK))
    for switch in ("ignore_public_acls", "restrict_public_buckets"):
        if getattr(closure, switch):
            steps.append(Step("public access block", bucket.name, NOTHING, f"{switch} is on"))
    if acls_disabled(bucket):
        steps.append(Step("ACL", bucket.name, NOTHING, "ACLs are disabled: BucketOwnerEnforced"))
    else:
        granted = ask_acl(principal, action, bucket, found, looked=True)
        steps.append(_step("ACL", bucket.name, granted))
    if found is not None and foreign_owner(bucket, found):
        why = f"the object belongs to {found.owner}"
        steps.append(Step("object ownership", bucket.name, NOTHING, why))
    return steps


def _step(source: str, name: str, said: Decision | None) -> Step:
    if said is None:
        return Step(source, name, NOTHING)
    return Step(source, name, "allows" if said.allowed else "denies", said.reason)
