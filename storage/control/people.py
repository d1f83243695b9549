"""Users, access keys and policies.

Administration is allowed by MinIO's admin actions (admin:CreateUser ...). Everyone may look
after their own access keys, unless the key in use is narrowed by a policy of its own: it could
otherwise make itself a wider one.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field, SecretStr

from storage import errors
from storage.control.access import Caller, SignedIn
from storage.control.buckets import timestamp
from storage.control.plane import refuse, taken
from storage.control.problems import Problem
from storage.iam.canned import CANNED
from storage.iam.credentials import (
    check_email,
    check_user_name,
    new_access_key,
    new_canonical_id,
    new_secret,
)
from storage.iam.errors import IdentityError
from storage.iam.policy import parse_policy
from storage.iam.users import (
    KEY,
    POLICY,
    ROOT_ID,
    USER,
    AccessKey,
    Identity,
    NamedPolicy,
    User,
    check_new_key,
    new_key,
)

router = APIRouter(prefix="/api/v1", tags=["people"])

Status = Literal["enabled", "disabled"]
UserName = Annotated[str, Path(description="Name of the user.")]
AccessKeyId = Annotated[str, Path(description="The access key.")]
PolicyName = Annotated[str, Path(description="Name of the policy.")]
PolicyNames = Annotated[list[str], Field(max_length=32)]

_POLICY_NAME_MAX = 128
#: Everyone may make keys for themselves, and every process reads them all. Root may make more.
KEYS_OF_USER_MAX = 256
_STATUS_ACTIONS = {"enabled": "admin:EnableUser", "disabled": "admin:DisableUser"}


class UserView(BaseModel):
    """A user, without secrets."""

    name: str
    id: str = Field(description="Canonical id: it owns the user's buckets and never changes.")
    display_name: str
    email: str
    status: Status
    policies: list[str]
    created: datetime
    keys: list[str] = Field(description="The user's access keys.")


class NewUser(BaseModel):
    """A user to add, with a first access key."""

    name: str
    display_name: str = Field("", max_length=256)
    email: str = Field("", description="Address that ACLs may name the user by.")
    policies: PolicyNames = []
    access_key: str = Field("", description="Made at random where it is left out.")
    secret_key: SecretStr = Field(SecretStr(""), description="Made at random where it is left out.")


class UserChange(BaseModel):
    """What is to change of a user; what is left out stays."""

    display_name: str | None = Field(None, max_length=256)
    email: str | None = Field(None, description="Empty: none.")
    status: Status | None = None
    policies: PolicyNames | None = None


class KeyView(BaseModel):
    """An access key, without its secret."""

    access_key: str
    user: str
    root: bool = Field(description="Whether it is the root user's: only root manages those.")
    status: Status
    created: datetime
    policy: dict[str, Any] | None = Field(description="Narrows what the user may do.")


class NewKey(BaseModel):
    """An access key to make."""

    user: str = Field("", description="Whose key it is; the caller's own where it is left out.")
    access_key: str = Field("", description="Made at random where it is left out.")
    secret_key: SecretStr = Field(SecretStr(""), description="Made at random where it is left out.")
    policy: dict[str, Any] | None = Field(
        None, description="A policy document that narrows what the user may do."
    )


class NewSecret(BaseModel):
    """Credentials that were just made. The secret is shown this once."""

    user: str
    access_key: str
    secret_key: str


class KeyChange(BaseModel):
    """What is to change of an access key."""

    status: Status


class PolicyView(BaseModel):
    """A policy and who has it."""

    name: str
    canned: bool = Field(description="Part of the store: it cannot be changed.")
    users: list[str]
    document: dict[str, Any]


# -- users ----------------------------------------------------------------------------------------


@router.get("/users", summary="List users")
async def list_users(caller: SignedIn) -> list[UserView]:
    """All users but root, which is configured and not kept."""
    caller.require("admin:ListUsers")
    identity = await caller.plane.identity()
    return [_user_view(identity, identity.users[name]) for name in sorted(identity.users)]


@router.post("/users", status_code=201, summary="Add a user with an access key")
async def add_user(caller: SignedIn, new: NewUser) -> NewSecret:
    """Add a user. The answer shows the secret of the first access key, this once."""
    caller.require("admin:CreateUser")
    if new.policies:  # else who may only add users could add one who may do everything
        caller.require("admin:AttachUserOrGroupPolicy")
    identity = await caller.plane.identity()
    if new.name in identity.users or new.name == identity.root.name:
        raise Problem(409, "AlreadyExists", f"The user {new.name} exists already.")
    _require_policies(identity, new.policies)
    user = User(
        name=new.name,
        id=new_canonical_id(),
        display_name=new.display_name,
        email=new.email,
        policies=tuple(dict.fromkeys(new.policies)),
        created=_now(),
    )
    try:
        check_user_name(new.name)
        _check_email(new.email)
        key, secret = _new_key(caller, identity, new.access_key, new.secret_key, user.id)
    except IdentityError as error:
        raise refuse(error) from None
    try:
        await caller.plane.keep(user, expect_seq=0)
        await caller.plane.keep(key, expect_seq=0)
    except errors.Conflict:
        raise taken(f"The user {new.name} or its access key") from None
    return NewSecret(user=user.name, access_key=key.access_key, secret_key=secret)


@router.get("/users/{user}", summary="Look at a user")
async def get_user(caller: SignedIn, user: UserName) -> UserView:
    """A user with the names of policies and keys."""
    if user != caller.principal.name:
        caller.require("admin:GetUser")
    return _user_view(*await _user(caller, user))


@router.patch("/users/{user}", summary="Change a user")
async def change_user(caller: SignedIn, user: UserName, change: UserChange) -> UserView:
    """Enable, disable, rename for display, or give other policies or another address. It counts
    from now on."""
    if change.status is not None:
        caller.require(_STATUS_ACTIONS[change.status])
    if change.display_name is not None or change.email is not None:
        caller.require("admin:CreateUser")
    try:
        _check_email(change.email or "")
    except IdentityError as error:
        raise refuse(error) from None
    if change.policies is not None:
        caller.require("admin:AttachUserOrGroupPolicy")
        _require_policies(await caller.plane.identity(), change.policies)
    record = await caller.plane.record(USER, user)
    if record is None:
        raise _no_user(user)
    changes: dict[str, Any] = change.model_dump(exclude_none=True)
    if "policies" in changes:
        changes["policies"] = tuple(dict.fromkeys(changes["policies"]))
    await caller.plane.keep(msgspec.structs.replace(record[0], **changes), record[1])
    return _user_view(*await _user(caller, user))


@router.delete("/users/{user}", status_code=204, summary="Remove a user and their keys")
async def remove_user(caller: SignedIn, user: UserName) -> Response:
    """Remove a user who owns no bucket; what they stored elsewhere stays."""
    caller.require("admin:DeleteUser")
    identity, found = await _user(caller, user)
    owned = [bucket.name for bucket in await caller.plane.engine.buckets()
             if bucket.owner == found.id]  # fmt: skip
    if owned:
        raise Problem(
            409, "UserOwnsBuckets",
            f"The user owns buckets ({', '.join(owned[:5])}): delete them first, or disable the "
            "user.",
        )  # fmt: skip
    for key in _keys_of(identity, found.id):
        await caller.plane.forget(KEY, key)
    await caller.plane.forget(USER, user)
    return Response(status_code=204)


# -- access keys ------------------------------------------------------------------------------


@router.get("/keys", summary="List access keys")
async def list_keys(caller: SignedIn, user: str = "") -> list[KeyView]:
    """The keys of one user, of all users, or only the caller's where no more is allowed."""
    identity = await caller.plane.identity()
    everyone = caller.allowed("admin:ListServiceAccounts")
    if user and user != caller.principal.name and not everyone:
        caller.require("admin:ListServiceAccounts")
    owner = _account(caller, identity, user) if user or not everyone else ""
    return [
        _key_view(identity, key)
        for name, key in sorted(identity.keys.items())
        if not owner or key.owner == owner
    ]


@router.post("/keys", status_code=201, summary="Make an access key")
async def create_key(caller: SignedIn, new: NewKey) -> NewSecret:
    """Make an access key for the caller or for a user. The secret is shown this once."""
    identity = await caller.plane.identity()
    owner = _account(caller, identity, new.user)
    _require_own(caller, owner, "admin:CreateServiceAccount")
    if len(_keys_of(identity, owner)) >= KEYS_OF_USER_MAX and not caller.principal.root:
        raise Problem(
            409, "TooManyKeys", f"A user has at most {KEYS_OF_USER_MAX} access keys: remove those "
            "that are not used.",
        )  # fmt: skip
    document = "" if new.policy is None else json.dumps(new.policy)
    try:
        key, secret = _new_key(
            caller, identity, new.access_key, new.secret_key, owner, policy=document
        )
        await caller.plane.keep(key, expect_seq=0)
    except IdentityError as error:
        raise refuse(error) from None
    except errors.Conflict:
        raise taken(f"The access key {new.access_key}") from None
    return NewSecret(user=_name_of(identity, owner), access_key=key.access_key, secret_key=secret)


@router.patch("/keys/{access_key:path}", summary="Enable or disable an access key")
async def change_key(caller: SignedIn, access_key: AccessKeyId, change: KeyChange) -> KeyView:
    """A disabled key signs nothing from now on; its tokens end."""
    key, seq = await _key(caller, access_key, "admin:UpdateServiceAccount")
    await caller.plane.keep(msgspec.structs.replace(key, status=change.status), seq)
    identity = await caller.plane.identity()
    return _key_view(identity, identity.keys[access_key])


@router.delete("/keys/{access_key:path}", status_code=204, summary="Remove an access key")
async def remove_key(caller: SignedIn, access_key: AccessKeyId) -> Response:
    """Remove an access key for good."""
    await _key(caller, access_key, "admin:RemoveServiceAccount")
    await caller.plane.forget(KEY, access_key)
    return Response(status_code=204)


# -- policies ---------------------------------------------------------------------------------


@router.get("/policies", summary="List policies")
async def list_policies(caller: SignedIn) -> list[PolicyView]:
    """Policies that belong to the store, and those that were put."""
    caller.require("admin:ListUserPolicies")
    identity = await caller.plane.identity()
    return [_policy_view(identity, name) for name in sorted(identity.policies)]


@router.get("/policies/{policy}", summary="Look at a policy")
async def get_policy(caller: SignedIn, policy: PolicyName) -> PolicyView:
    """A policy's document and who has it."""
    caller.require("admin:GetPolicy")
    return _policy_view(await caller.plane.identity(), policy)


@router.put("/policies/{policy}", summary="Put a policy")
async def put_policy(caller: SignedIn, policy: PolicyName, document: dict[str, Any]) -> PolicyView:
    """Make or replace a policy. It counts at once for everyone who has it."""
    caller.require("admin:CreatePolicy")
    _refuse_canned(policy)
    if len(policy) > _POLICY_NAME_MAX or not policy.isprintable():
        raise Problem(
            400, "InvalidArgument", f"A policy's name has at most {_POLICY_NAME_MAX} characters."
        )
    text = json.dumps(document, ensure_ascii=False)
    try:
        parse_policy(text, policy)
    except IdentityError as error:
        raise refuse(error) from None
    named = NamedPolicy(name=policy, document=text, created=_now())
    await caller.plane.keep(named, expect_seq=None)
    return _policy_view(await caller.plane.identity(), policy)


@router.delete("/policies/{policy}", status_code=204, summary="Remove a policy")
async def remove_policy(caller: SignedIn, policy: PolicyName) -> Response:
    """Remove a policy that nobody has."""
    caller.require("admin:DeletePolicy")
    _refuse_canned(policy)
    having = _policy_view(await caller.plane.identity(), policy).users
    if having:
        raise Problem(
            409, "PolicyInUse", f"Users have this policy ({', '.join(having[:5])}): take it away "
            "from them first.",
        )  # fmt: skip
    await caller.plane.forget(POLICY, policy)
    return Response(status_code=204)


# -- what they share --------------------------------------------------------------------------


def _now() -> int:
    return time.time_ns() // 1_000_000


def _require_own(caller: Caller, owner: str, action: str) -> None:
    """Everyone's own keys are theirs unless a policy denies it; root's are root's; for all others
    an admin action."""
    if owner == caller.principal.id and caller.principal.boundary is None:
        caller.require_undenied(action)
        return
    caller.require(action)
    if owner == ROOT_ID and not caller.principal.root:
        raise Problem(403, "AccessDenied", "Only the root user manages the root user's keys.")


def _account(caller: Caller, identity: Identity, user: str) -> str:
    """The canonical id of a user by name; "" means the caller."""
    if user in ("", caller.principal.name):
        return caller.principal.id
    if user == identity.root.name:
        return ROOT_ID
    if user not in identity.users:
        raise _no_user(user)
    return identity.users[user].id


def _new_key(
    caller: Caller, identity: Identity, access_key: str, secret: SecretStr, owner: str,
    policy: str = "",
) -> tuple[AccessKey, str]:  # fmt: skip
    """A key to keep, and its secret. Raises IdentityError."""
    access_key = access_key or new_access_key()
    plain = secret.get_secret_value() or new_secret()
    check_new_key(identity, access_key)
    key = new_key(caller.plane.store_key, access_key, plain, owner, created=_now(), policy=policy)
    return key, plain


async def _user(caller: Caller, name: str) -> tuple[Identity, User]:
    identity = await caller.plane.identity()
    if name not in identity.users:
        raise _no_user(name)
    return identity, identity.users[name]


async def _key(caller: Caller, access_key: str, action: str) -> tuple[AccessKey, int]:
    record = await caller.plane.record(KEY, access_key)
    if record is None or record[0].owner != caller.principal.id:
        # Who may not manage others' keys does not learn which exist.
        caller.require(action)
    if record is None:
        raise Problem(404, "NoSuchKeyId", "The access key does not exist.")
    _require_own(caller, record[0].owner, action)
    key: AccessKey = record[0]
    return key, record[1]


def _check_email(email: str) -> None:
    """Raise InvalidCredentials unless there is no address, or one of the right form."""
    if email:
        check_email(email)


def _keys_of(identity: Identity, owner: str) -> list[str]:
    return sorted(name for name, key in identity.keys.items() if key.owner == owner)


def _name_of(identity: Identity, owner: str) -> str:
    principal = identity.principal(owner)
    return principal.name if principal else owner


def _no_user(name: str) -> Problem:
    return Problem(404, "NoSuchUser", f"The user {name} does not exist.")


def _require_policies(identity: Identity, names: list[str]) -> None:
    for name in names:
        if name not in identity.policies:
            raise Problem(400, "NoSuchPolicy", f"The policy {name} does not exist.")


def _refuse_canned(name: str) -> None:
    if name in CANNED:
        raise Problem(
            409, "PolicyIsCanned", f"The policy {name} is part of the store: choose another name."
        )


def _user_view(identity: Identity, user: User) -> UserView:
    return UserView(
        name=user.name,
        id=user.id,
        display_name=user.display_name,
        email=user.email,
        status=user.status,
        policies=list(user.policies),
        created=timestamp(user.created),
        keys=_keys_of(identity, user.id),
    )


def _key_view(identity: Identity, key: AccessKey) -> KeyView:
    return KeyView(
        access_key=key.access_key,
        user=_name_of(identity, key.owner),
        root=key.owner == ROOT_ID,
        status=key.status,
        created=timestamp(key.created),
        policy=json.loads(key.policy) if key.policy else None,
    )


def _policy_view(identity: Identity, name: str) -> PolicyView:
    if name not in identity.policies:
        raise Problem(404, "NoSuchPolicy", f"The policy {name} does not exist.")
    return PolicyView(
        name=name,
        canned=name in CANNED,
        users=sorted(user.name for user in identity.users.values() if name in user.policies),
        document=json.loads(identity.policies[name].document),
    )
