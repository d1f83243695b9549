"""Decisions about buckets and objects: everything that has a say about them, put together.

``decide`` is pure and knows no bucket. Here a bucket's documents (policy, public access block,
object ownership, ACL) and an object's own ACL are read and handed to it, for every door of the
store alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from storage.iam import acl, block, ownership
from storage.iam.bucket_policy import stored_policy
from storage.iam.conditions import Context, Doubtful
from storage.iam.decide import OPEN, RequestFacts, decide
from storage.iam.policy import Decision, Policy
from storage.iam.principal import Principal
from storage.iam.users import ROOT_ID

ARN = "arn:aws:s3:::"
#: Documents of a bucket that decide about access.
POLICY, BLOCK, ACL, OWNERSHIP = "policy", "public-access-block", acl.DOCUMENT, ownership.DOCUMENT
#: What a condition key about a tag of the object begins with (lower case).
EXISTING_TAG = "s3:existingobjecttag/"


class Bucket(Protocol):
    """What is asked of a bucket. ``config`` holds its documents by name."""

    @property
    def name(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def config(self) -> Mapping[str, bytes]: ...


class _Meta(Protocol):
    @property
    def extra(self) -> Mapping[str, Any]: ...


class Object(Protocol):
    """What is asked of an object; ``meta.extra`` may hold its ACL."""

    @property
    def owner(self) -> str: ...
    @property
    def meta(self) -> _Meta: ...


class ObjectNeeded(Exception):
    """The decision depends on something not yet known: the object, or the body of the request."""


def first_documents(defaults: str) -> dict[str, bytes]:
    """The documents that a new bucket begins with: none, or with "aws" the strict form that AWS
    gives every new bucket, closed to everybody and without ACLs."""
    if defaults != "aws":
        return {}
    return {OWNERSHIP: ownership.ENFORCED.encode(), BLOCK: block.encode(block.CLOSED)}


def tag_values(tags: Mapping[str, str], key: str) -> tuple[str, ...] | None:
    """The value of the tag that a condition key (``.../name``, in lower case) names.

    Condition keys ignore case and tags' names don't: where several differ in case alone, it is
    doubtful which is meant.
    """
    name = key.partition("/")[2]
    values = tuple(value for tag, value in tags.items() if tag.lower() == name)
    return Doubtful(values) if len(values) > 1 else values or None


def arn(bucket: str, key: str = "") -> str:
    """The resource that policies know a bucket or an object by."""
    return f"{ARN}{bucket}/{key}" if key else ARN + bucket


#: What concerns an object that may exist, and yet is the bucket's matter: whether it may be
#: replaced or removed does not depend on whose it is.
_OF_BUCKET = frozenset(
    ("s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", *acl.OF_INITIATORS)
)


def is_of_object(action: str) -> bool:
    """Whether the object that an action is about has a say in it."""
    return action not in _OF_BUCKET


def decide_on(
    principal: Principal,
    action: str,
    bucket: Bucket,
    key: str,
    context: Callable[[], Context],
    found: Object | None = None,
    *,
    looked: bool = True,
) -> Decision:
    """Decide whether ``principal`` may do ``action`` on a bucket, or on the object ``key`` in it.

    ``found`` is the object as it exists, None where there is none; with ``looked`` False nobody has
    looked yet, and ObjectNeeded is raised where it matters. (Where the bucket's owner is let in for
    owning it, it is not: who uses an object of another account decides once more.)
    """
    policy, closure = None, OPEN
    if found is not None and not is_of_object(action):
        found = None
    if bucket.config:
        policy = policy_of(bucket)
        closure = block.of(bucket.config.get(BLOCK))
    decision = decide(
        principal,
        action,
        arn(bucket.name, key),
        context,
        owner=bucket.owner,
        resource_policy=policy,
        block=closure,
        object_owner="" if found is None else foreign_owner(bucket, found),
        acl=lambda: ask_acl(principal, action, bucket, found, looked=looked),
    )
    if decision.allowed or looked:
        return decision
    if key and is_of_object(action) and _may_hold_others(bucket):
        # Does the refusal rest on whose the object is? Then somebody has to look.
        decide(
            principal,
            action,
            arn(bucket.name, key),
            context,
            owner=bucket.owner,
            resource_policy=policy,
            block=closure,
            facts_of=_OwnerUnknown,
        )
    return decision


class _OwnerUnknown(RequestFacts):
    """Facts about an object of which nobody knows whose it is."""

    __slots__ = ()

    @property
    def owner(self) -> str:
        raise ObjectNeeded


def policy_of(bucket: Bucket) -> Policy | None:
    """The bucket's policy, compiled once for each document."""
    document = bucket.config.get(POLICY)
    return None if document is None else stored_policy(document)


def foreign_owner(bucket: Bucket, found: Object) -> str:
    """The account that an object belongs to where it is another than the bucket's, else "".

    The root user's buckets are the store's: their policies speak for every object in them. What a
    stranger wrote is nobody's else, and left to the bucket's policies too.
    """
    owner = found.owner
    if owner in ("", bucket.owner, acl.ANONYMOUS_ID):
        return ""
    return owner if _may_hold_others(bucket) else ""


def _may_hold_others(bucket: Bucket) -> bool:
    """Whether objects in the bucket may belong to other accounts, as ``foreign_owner`` says."""
    return bucket.owner != ROOT_ID and not acls_disabled(bucket)


def acls_disabled(bucket: Bucket) -> bool:
    """Whether the bucket's owner owns everything in it, and ACLs don't count."""
    return ownership.of(bucket.config.get(OWNERSHIP)) == ownership.ENFORCED


def is_public(bucket: Bucket) -> bool:
    """Whether the bucket lets in everybody, by its policy or its ACL, as it stands: what its public
    access block takes back does not count."""
    closure = block.of(bucket.config.get(BLOCK))
    policy = policy_of(bucket)
    if policy is not None and policy.public and not closure.restrict_public_buckets:
        return True
    document = bucket.config.get(ACL)
    if document is None or closure.ignore_public_acls or acls_disabled(bucket):
        return False
    return acl.is_public(acl.decode(document))


def ask_acl(
    principal: Principal, action: str, bucket: Bucket, found: Object | None, *, looked: bool
) -> Decision | None:
    """What the list that governs ``action`` permits; None: nothing. Raises ObjectNeeded."""
    if acls_disabled(bucket):
        return None
    if action in acl.BUCKET_ACTIONS:
        document, owner = bucket.config.get(ACL), bucket.owner
    elif action in acl.OBJECT_ACTIONS:
        if not looked:
            raise ObjectNeeded
        if found is None:
            return None
        document, owner = found.meta.extra.get(ACL), found.owner or bucket.owner
    else:
        return None
    # In one's own bucket one's rights are what policies say, not what one grants oneself.
    own = principal.id == bucket.owner == owner
    return acl.permits(
        document,
        action,
        owner=owner,
        grantee="" if own else principal.id,
        signed=not principal.anonymous,
        ignore_public=block.of(bucket.config.get(BLOCK)).ignore_public_acls,
    )
