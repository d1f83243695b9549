"""Signing in, and who one is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, SecretStr

from storage.control.access import SignedIn, address_of
from storage.control.buckets import timestamp
from storage.control.plane import Plane, plane_of
from storage.control.problems import Problem
from storage.iam.credentials import same_secret

router = APIRouter(prefix="/api/v1", tags=["signing in"])


class Credentials(BaseModel):
    """An access key with its secret."""

    access_key: str = Field(max_length=256)
    secret_key: SecretStr = Field(max_length=1024)


class Token(BaseModel):
    """A bearer token: send it as ``Authorization: Bearer TOKEN``."""

    token: str
    expires: datetime
    user: str


class Me(BaseModel):
    """Who the token stands for."""

    user: str
    access_key: str
    root: bool
    narrowed: bool = Field(description="Whether the access key has a policy of its own.")
    policies: list[str]
    expires: datetime


@router.post("/login", summary="Sign in with an access key")
async def login(
    request: Request, credentials: Credentials, plane: Annotated[Plane, Depends(plane_of)]
) -> Token:
    """Exchange an access key and its secret for a token that lasts an hour."""
    address, access_key = address_of(request), credentials.access_key
    wait = plane.brake.wait(address, access_key)
    if wait:
        raise Problem(
            429, "TooManyAttempts", f"Too many failed attempts: try again in {wait} seconds.",
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
    token, expires = plane.tokens.issue(access_key, credential.secret)
    return Token(token=token, expires=timestamp(expires * 1000), user=credential.principal.name)


@router.get("/me", summary="Who am I?")
async def me(caller: SignedIn) -> Me:
    """The user behind the token, and what narrows it."""
    principal = caller.principal
    return Me(
        user=principal.name,
        access_key=caller.access_key,
        root=principal.root,
        narrowed=principal.boundary is not None,
        policies=[policy.name for policy in principal.policies],
        expires=timestamp(caller.expires * 1000),
    )
