"""Who calls, and may they: what every route of the control API asks first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from storage.control.plane import Plane, plane_of
from storage.control.problems import Problem
from storage.engine.interface import Bucket
from storage.iam.decide import decide
from storage.iam.principal import Principal

_bearer = HTTPBearer(auto_error=False, description="A token from POST /api/v1/login.")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="oversight"'}


class Caller(msgspec.Struct, frozen=True, eq=False):
    """Who is signed in: the access key of the token, its principal, and whence they call."""

    access_key: str
    principal: Principal
    address: str
    expires: int
    plane: Plane

    def allowed(
        self, action: str, resource: str = "", *, owner: str = "", facts: Mapping[str, str] = {}
    ) -> bool:
        """Whether a policy allows ``action`` on ``resource`` (an ARN, "" for the whole store)."""
        context = {"aws:sourceip": self.address, **facts} if self.address else dict(facts)
        return decide(self.principal, action, resource, lambda: context, owner=owner).allowed

    def require(
        self, action: str, resource: str = "", *, owner: str = "", facts: Mapping[str, str] = {}
    ) -> None:
        """Raise a Problem unless ``allowed``."""
        if not self.allowed(action, resource, owner=owner, facts=facts):
            raise Problem(403, "AccessDenied", f"You are not allowed {action} here.")


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
    if found is None:
        raise Problem(
            401, "TokenInvalid", "The token is over or no longer good: sign in again.", _CHALLENGE
        )
    claim, credential = found
    return Caller(claim.access_key, credential.principal, address_of(request), claim.expires, plane)


SignedIn = Annotated[Caller, Depends(signed_in)]


def bucket_arn(bucket: str) -> str:
    """The resource that policies know a bucket by."""
    return f"arn:aws:s3:::{bucket}"


def object_arn(bucket: str, key: str) -> str:
    """The resource that policies know an object by."""
    return f"arn:aws:s3:::{bucket}/{key}"


async def open_bucket(
    caller: Caller, name: str, action: str, key: str = "", facts: Mapping[str, str] = {}
) -> Bucket:
    """The bucket of this name, if the caller may do ``action`` on it (or on its object ``key``).

    Who may not learns nothing: neither whether the bucket exists nor whose it is.
    """
    bucket = await caller.plane.engine.bucket(name)
    resource = object_arn(name, key) if key else bucket_arn(name)
    caller.require(action, resource, owner=bucket.owner if bucket else "", facts=facts)
    if bucket is None:
        raise Problem(404, "NoSuchBucket", "The bucket does not exist.")
    return bucket
