"""Signing in, renewing, signing out, and who one is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field, SecretStr

from storage.control.access import Caller, SignedIn, address_of, bucket_arn, facts_of
from storage.control.buckets import timestamp
from storage.control.plane import Plane, plane_of
from storage.control.problems import Problem
from storage.iam import sessions
from storage.iam.credentials import same_secret

router = APIRouter(prefix="/api/v1", tags=["signing in"])

#: What concerns the store as a whole and not one bucket.
STORE_ACTIONS = (
    "admin:AttachUserOrGroupPolicy",
    "admin:CreatePolicy",
    "admin:CreateServiceAccount",
    "admin:CreateUser",
    "admin:DeletePolicy",
    "admin:DeleteUser",
    "admin:DisableUser",
    "admin:EnableUser",
    "admin:GetPolicy",
    "admin:GetUser",
    "admin:ListServiceAccounts",
    "admin:ListUserPolicies",
    "admin:ListUsers",
    "admin:OBDInfo",
    "admin:RemoveServiceAccount",
    "admin:ServerInfo",
    "admin:ServerTrace",
    "admin:StorageInfo",
    "admin:UpdateServiceAccount",
    "s3:CreateBucket",
    "s3:ListAllMyBuckets",
)

#: What is done with access keys.
KEY_ACTIONS = (
    "admin:CreateServiceAccount",
    "admin:RemoveServiceAccount",
    "admin:UpdateServiceAccount",
)

Duration = Annotated[
    int,
    Field(
        ge=sessions.SECONDS_MIN,
        le=sessions.SECONDS_MAX,
        description="Seconds that the credentials are to last.",
    ),
]


class Credentials(BaseModel):
    """An access key with its secret."""

    access_key: str = Field(max_length=256)
    secret_key: SecretStr = Field(max_length=1024)
    duration: Duration = sessions.SECONDS


class Renewal(BaseModel):
    """For how long."""

    duration: Duration = sessions.SECONDS


class Me(BaseModel):
    """Who the token stands for, and what they may do."""

    user: str
    id: str = Field(description="Canonical id: it owns the user's buckets and never changes.")
    display_name: str
    access_key: str = Field(description="The key that was signed in with.")
    root: bool
    narrowed: bool = Field(description="Whether the access key has a policy of its own.")
    policies: list[str]
    actions: list[str] = Field(
        description="What of the actions that concern the whole store is allowed; those on a "
        "bucket are at /api/v1/buckets/{bucket}/rights."
    )
    own_keys: list[str] = Field(description="What of those is allowed with one's own access keys.")
    expires: datetime


class S3Credentials(BaseModel):
    """Temporary credentials for S3. They may do what the access key may that was signed in with,
    and end with it, with their time and with the sign-out."""

    access_key: str
    secret_key: str
    session_token: str = Field(description="Goes with each request as x-amz-security-token.")
    expires: datetime


class SignedInAs(BaseModel):
    """A bearer token for this API (``Authorization: Bearer TOKEN``), and credentials for S3."""

    token: str
    expires: datetime
    renewable_until: datetime = Field(description="When a new sign-in is needed at last.")
    user: str
    s3: S3Credentials
    me: Me


@router.post("/login", summary="Sign in with an access key")
async def login(
    request: Request, credentials: Credentials, plane: Annotated[Plane, Depends(plane_of)]
) -> SignedInAs:
    """Exchange an access key and its secret for a bearer token and temporary S3 credentials.

    Both last an hour unless another `duration` is asked for.
    """
    address, access_key = address_of(request), credentials.access_key
    wait = plane.brake.wait(address, access_key)
    if wait:
        raise Problem(
            429, "TooManyAttempts", f"Too many attempts: try again in {wait} seconds.",
            {"Retry-After": str(wait)},
        )  # fmt: skip
    credential = (await plane.identity()).keyring(access_key)
    right = same_secret(
        credentials.secret_key.get_secret_value(), credential.secret if credential else ""
    )
    if credential is None or not right:
        plane.brake.failed(address, access_key)
        raise Problem(401, "InvalidCredentials", "The access key or its secret is wrong.")
    if not credential.enabled:
        raise Problem(403, "KeyDisabled", "The access key or its user is disabled.")
    plane.brake.succeeded(address, access_key)
    session = plane.sessions.begin(access_key, credential.secret, credentials.duration)
    caller = Caller(access_key, credential.principal, address, session, plane, facts_of(request))
    return _signed_in(caller, credential.secret)


@router.post("/login/renew", summary="Stay signed in")
async def renew(caller: SignedIn, renewal: Renewal) -> SignedInAs:
    """A new bearer token and session token for the same session; access key and secret stay.

    Twelve hours after signing in there is no more time to be had.
    """
    plane = caller.plane
    credential = (await plane.identity()).keyring(caller.access_key)
    if credential is None:  # it was removed a moment ago
        raise Problem(401, "TokenInvalid", "The token is no longer good: sign in again.")
    renewed = plane.sessions.renew(caller.session, renewal.duration)
    return _signed_in(
        Caller(
            caller.access_key, credential.principal, caller.address, renewed, plane, caller.facts
        ),
        credential.secret,
    )


@router.delete("/login", status_code=204, summary="Sign out")
async def logout(caller: SignedIn) -> Response:
    """End the session at once, everywhere: its tokens, its S3 credentials, and URLs signed with
    them."""
    await caller.plane.end(caller.session)
    return Response(status_code=204)


@router.get("/me", summary="Who am I?")
async def me(caller: SignedIn) -> Me:
    """The user behind the token, what narrows it, and what it allows."""
    return _me(caller)


def _signed_in(caller: Caller, secret: str) -> SignedInAs:
    plane, session = caller.plane, caller.session
    expires = timestamp(session.expires * 1000)
    return SignedInAs(
        token=plane.tokens.issue(session, secret),
        expires=expires,
        renewable_until=timestamp(sessions.latest(session.began) * 1000),
        user=caller.principal.name,
        s3=S3Credentials(
            access_key=session.access_key,
            secret_key=plane.sessions.secret(session.access_key),
            session_token=plane.sessions.token(session),
            expires=expires,
        ),
        me=_me(caller),
    )


def _me(caller: Caller) -> Me:
    principal = caller.principal
    return Me(
        user=principal.name,
        id=principal.id,
        display_name=principal.display_name or principal.name,
        access_key=caller.access_key,
        root=principal.root,
        narrowed=principal.boundary is not None,
        policies=[policy.name for policy in principal.policies],
        actions=[action for action in STORE_ACTIONS if caller.allowed(action, _resource(action))],
        own_keys=[action for action in KEY_ACTIONS if _may_own(caller, action)],
        expires=timestamp(caller.session.expires * 1000),
    )


def _may_own(caller: Caller, action: str) -> bool:
    """Whether an action is allowed with one's own keys (``storage.control.people`` decides)."""
    if caller.principal.boundary is None:
        return not caller.denied(action)
    return caller.allowed(action)


def _resource(action: str) -> str:
    return bucket_arn("*") if action.startswith("s3:") else ""
