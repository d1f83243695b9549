"""Who calls, and may they: what every route of the control API asks first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from storage.control.plane import Plane, plane_of
from storage.control.problems import Problem
from storage.engine.interface import Bucket, Version
from storage.iam.conditions import Context
from storage.iam.decide import decide
from storage.iam.errors import TokenInvalid
from storage.iam.policy import Decision
from storage.iam.principal import Principal
from storage.iam.resources import EXISTING_TAG, arn, decide_on, tag_values
from storage.iam.sessions import Session

_bearer = HTTPBearer(auto_error=False, description="A token from POST /api/v1/login.")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="oversight"'}


class Caller(msgspec.Struct, frozen=True, eq=False):
    """Who is signed in: the access key of the token, its principal, and whence they call.

    ``session`` is what was begun by signing in. ``facts`` are the values of condition keys that the
    request has, whatever it asks for.
    """

    access_key: str
    principal: Principal
    address: str
    session: Session
    plane: Plane
    facts: Mapping[str, str] = {}

    def context(self) -> Context:
        """What conditions of policies may ask about the request itself."""
        return _Facts(self)

    def allowed(self, action: str, resource: str = "") -> bool:
        """Whether a policy allows ``action`` on ``resource`` (an ARN, "" for the whole store)."""
        return decide(self.principal, action, resource, lambda: _Facts(self)).allowed

    def require(self, action: str, resource: str = "") -> None:
        """Raise a Problem unless ``allowed``."""
        if not self.allowed(action, resource):
            raise _denied(action)

    def require_undenied(self, action: str) -> None:
        """Raise a Problem where a policy denies ``action``, which nothing needs to allow."""
        if self.denied(action):
            raise _denied(action)

    def denied(self, action: str) -> bool:
        """Whether a policy denies ``action``, rather than that none allows it."""
        decision = decide(self.principal, action, "", lambda: _Facts(self))
        return not decision.allowed and bool(decision.source)

    async def renewed(self) -> Caller:
        """The same caller as they are now: anything may have changed while a body came.

        The session's time does not count: what was begun in it may be finished. Raises Problem.
        """
        identity = await self.plane.identity()
        try:
            credential = identity.stand_in(self.session)
        except TokenInvalid:
            raise _over() from None
        if not credential.enabled:
            raise _over()
        return msgspec.structs.replace(self, principal=credential.principal)

    def decide_on(
        self,
        action: str,
        bucket: Bucket,
        key: str = "",
        found: Version | None = None,
        facts: Mapping[str, str] = {},
    ) -> Decision:
        """What is decided about a bucket or an object in it, as on the S3 port. ``found`` is the
        object, None where there is none."""
        context = _Facts(self, facts, found)
        return decide_on(self.principal, action, bucket, key, lambda: context, found)

    def require_on(
        self,
        action: str,
        bucket: Bucket,
        key: str = "",
        found: Version | None = None,
        facts: Mapping[str, str] = {},
    ) -> None:
        """Raise a Problem unless it is allowed."""
        if not self.decide_on(action, bucket, key, found, facts).allowed:
            raise _denied(action)


class _Facts:
    """What conditions of policies may ask about a request to the control plane."""

    def __init__(
        self, caller: Caller, facts: Mapping[str, str] = {}, found: Version | None = None
    ) -> None:
        self._caller = caller
        self._facts = facts
        self._found = found

    def get(self, key: str) -> str | tuple[str, ...] | None:
        """The value of a lower-case condition key."""
        if key == "aws:sourceip":
            return self._caller.address or None
        if key.startswith(EXISTING_TAG):
            return None if self._found is None else tag_values(self._found.meta.tags, key)
        return self._facts.get(key, self._caller.facts.get(key))


def _over() -> Problem:
    return Problem(
        401, "TokenInvalid", "The token is over or no longer good: sign in again.", _CHALLENGE
    )


def _denied(action: str) -> Problem:
    return Problem(403, "AccessDenied", f"You are not allowed {action} here.")


def address_of(request: Request) -> str:
    """The address of the other end of the connection; "" where it has none (a Unix socket)."""
    return request.client.host if request.client else ""


async def signed_in(
    request: Request,
    plane: Annotated[Plane, Depends(plane_of)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    """The caller of a request, by its bearer token."""
    if bearer is None:
        raise Problem(
            401, "Unauthorized", "Sign in with POST /api/v1/login and send its token.", _CHALLENGE
        )
    identity = await plane.identity()
    found = plane.tokens.check(bearer.credentials, identity.keyring)
    if found is None or identity.has_ended(found[0]):
        raise _over()
    session, credential = found
    return Caller(
        session.parent,
        credential.principal,
        address_of(request),
        session,
        plane,
        facts_of(request),
    )


def facts_of(request: Request) -> dict[str, str]:
    """The condition keys that a request to the control plane has by itself."""
    facts = {
        "aws:securetransport": "true" if request.url.scheme == "https" else "false",
        "aws:viaawsservice": "false",
        "aws:principalisawsservice": "false",
    }
    for key, header in (("aws:useragent", "user-agent"), ("aws:referer", "referer")):
        if header in request.headers:
            facts[key] = request.headers[header]
    return facts


SignedIn = Annotated[Caller, Depends(signed_in)]


def bucket_arn(bucket: str) -> str:
    """The resource that policies know a bucket by."""
    return arn(bucket)


def object_arn(bucket: str, key: str) -> str:
    """The resource that policies know an object by."""
    return arn(bucket, key)


async def open_bucket(
    caller: Caller, name: str, action: str, key: str = "", facts: Mapping[str, str] = {}
) -> Bucket:
    """The bucket of this name, if the caller may do ``action`` on it (or on its object ``key``).

    Who may not learns nothing: neither whether the bucket exists nor whose it is.
    """
    return (await open_object(caller, name, action, key, facts))[0]


async def open_object(
    caller: Caller, name: str, action: str, key: str, facts: Mapping[str, str] = {}
) -> tuple[Bucket, Version | None]:
    """The bucket, and the object if a key is given and there is one; see ``open_bucket``."""
    engine = caller.plane.engine
    bucket = await engine.bucket(name)
    if bucket is None:
        caller.require(action, object_arn(name, key) if key else bucket_arn(name))
        raise Problem(404, "NoSuchBucket", "The bucket does not exist.")
    found = await engine.lookup(bucket.id, key) if key else None
    decision = caller.decide_on(action, bucket, key, found, facts)
    if not decision.allowed:
        # Who may list a bucket learns which keys it lacks, as on the S3 port.
        if key and found is None and not decision.source and action in _READING:
            caller.require_on("s3:ListBucket", bucket, facts={"s3:prefix": key})
            raise no_such_key()
        raise _denied(action)
    return bucket, found


_READING = frozenset(("s3:GetObject", "s3:GetObjectTagging"))


def no_such_key() -> Problem:
    """The answer where there is no object under a key."""
    return Problem(404, "NoSuchKey", "The object does not exist.")
