"""Why a request would be allowed or denied."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from storage.control.access import SignedIn
from storage.control.problems import Problem
from storage.engine.interface import NULL_VERSION, Bucket, Version, parse_version_id
from storage.iam import actions
from storage.iam.explain import explain
from storage.iam.principal import ANONYMOUS, Principal
from storage.iam.resources import EXISTING_TAG, tag_values
from storage.iam.users import Identity

router = APIRouter(prefix="/api/v1", tags=["people"])

Values = Annotated[dict[str, str | list[str]], Field(max_length=64)]


class Question(BaseModel):
    """A request that somebody might make. One of user, access_key and anonymous says who."""

    action: str = Field(description="As in s3:GetObject; the service may be left out for S3's.")
    user: str = ""
    access_key: str = Field("", description="What this key may do: it may be narrowed.")
    anonymous: bool = False
    bucket: str = ""
    key: str = ""
    version_id: str = Field(
        "", description="Makes s3:GetObject s3:GetObjectVersion, and its like, as in a request."
    )
    context: Values = Field(
        {}, description="Values of condition keys, as in s3:prefix or aws:SourceIp."
    )


class StepView(BaseModel):
    """One part that has a say, and what it says by itself."""

    source: str
    name: str
    says: Literal["allows", "denies", "nothing"]
    why: str


class Answer(BaseModel):
    """What is decided, what decided it, and what everything else says."""

    allowed: bool
    reason: str
    source: str = Field(description="What decided; empty where nothing allows it.")
    policy: str
    statement: str
    who: str
    action: str
    resource: str
    steps: list[StepView]
    asked: dict[str, list[str] | None] = Field(
        description="Condition keys that policies looked at, as far as the action has them; null "
        "where the request has none."
    )


@router.post("/explain", summary="Explain a decision")
async def explain_decision(caller: SignedIn, question: Question) -> Answer:
    """Decide about a request without making it, and tell what has a say in it."""
    caller.require("admin:GetPolicy")
    identity = await caller.plane.identity()
    principal, who, locked = _principal(identity, question)
    action = _action(question.action)
    if question.version_id:
        action = actions.of_version(action)
    bucket, found = await _found(caller, question)
    context = _context(question, found)
    target = question.key if bucket is not None else question.bucket
    told = explain(principal, action, bucket, target, context, found)
    decision = told.decision
    allowed = decision.allowed and not locked
    return Answer(
        allowed=allowed,
        reason=locked or decision.reason,
        source="status" if locked else decision.source,
        policy=decision.policy,
        statement=decision.statement,
        who=who,
        action=action,
        resource=f"{question.bucket}/{question.key}" if question.key else question.bucket or "*",
        steps=[
            StepView(source=s.source, name=s.name, says=s.says, why=s.why)  # type: ignore[arg-type]
            for s in told.steps
        ],
        asked={key: None if value is None else list(value) for key, value in told.asked.items()},
    )


def _principal(identity: Identity, question: Question) -> tuple[Principal, str, str]:
    """(who asks, their name to show, why they are locked out or "")."""
    if sum(map(bool, (question.user, question.access_key, question.anonymous))) != 1:
        raise Problem(400, "InvalidArgument", "Say who: a user, an access key, or anonymous.")
    if question.anonymous:
        return ANONYMOUS, "anonymous", ""
    if question.access_key:
        return _of_key(identity, question.access_key)
    if question.user == identity.root.name:
        return identity.root, question.user, ""
    user = identity.users.get(question.user)
    principal = None if user is None else identity.principal(user.id)
    if user is None or principal is None:
        raise Problem(404, "NoSuchUser", f"The user {question.user} does not exist.")
    locked = "" if user.status == "enabled" else f"the user {user.name} is disabled"
    return principal, user.name, locked


def _of_key(identity: Identity, access_key: str) -> tuple[Principal, str, str]:
    credential = identity.keyring(access_key)
    if credential is None:
        raise Problem(404, "NoSuchKeyId", "The access key does not exist.")
    locked = "" if credential.enabled else f"the access key {access_key} or its user is disabled"
    return credential.principal, f"{credential.principal.name} with {access_key}", locked


def _action(text: str) -> str:
    """The action as routes and policies know it. Raises Problem for what S3 does not have."""
    action = text if ":" in text else f"s3:{text}"
    if not action.lower().startswith("s3:"):
        return action
    spelled = actions.spelled(action)
    if not spelled:
        raise Problem(400, "InvalidArgument", f"S3 has no action {action}.")
    return spelled


async def _found(caller: SignedIn, question: Question) -> tuple[Bucket | None, Version | None]:
    """The bucket and the object, as far as they exist."""
    engine = caller.plane.engine
    bucket = await engine.bucket(question.bucket) if question.bucket else None
    if bucket is None:
        if question.key:
            raise Problem(404, "NoSuchBucket", "The bucket does not exist.")
        return None, None
    if not question.key:
        return bucket, None
    if not question.version_id:
        return bucket, await engine.lookup(bucket.id, question.key)
    if question.version_id != NULL_VERSION and parse_version_id(question.version_id) < 0:
        raise Problem(400, "InvalidArgument", "No version can have this id.")
    return bucket, await engine.version(bucket.id, question.key, question.version_id)


def _context(question: Question, found: Version | None) -> dict[str, str | tuple[str, ...]]:
    """What is given, and what the store knows by itself: the object's tags."""
    context: dict[str, str | tuple[str, ...]] = {}
    if found is not None:
        for tag in found.meta.tags:
            key = EXISTING_TAG + tag.lower()
            context[key] = tag_values(found.meta.tags, key) or ()
    if question.version_id:
        context["s3:versionid"] = question.version_id
    for key, given in question.context.items():
        context[key.lower()] = given if isinstance(given, str) else tuple(given)
    return context
