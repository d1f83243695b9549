"""Brings about what is wanted. Every step looks first, and a second run changes nothing."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from stack.bootstrap.wanted import Account, Grant, Wanted
from stack.client import Control, Starting, Unreachable
from stack.s3 import transport
from stack.s3.client import S3, md5
from stack.s3.errors import S3Error
from stack.s3.signing import EMPTY_SHA256
from stack.store import CommandError

Outcome = Literal["made", "found", "differs", "not applicable"]

_CORS = (
    "<CORSConfiguration><CORSRule><AllowedOrigin>{origin}</AllowedOrigin>"
    "<AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>"
    "<AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>"
    "<MaxAgeSeconds>3600</MaxAgeSeconds></CORSRule></CORSConfiguration>"
)
_ENFORCED = (
    b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>"
    b"</OwnershipControls>"
)
_CLOSED = (
    b"<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls>"
    b"<IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy>"
    b"<RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>"
)
#: What a public access block consists of.
_SWITCHES = 4
_UNSUPPORTED = ("NotImplemented", "MethodNotAllowed")


@dataclass(frozen=True)
class Step:
    """One thing that should be there, and how it is. ``detail`` is a sentence, with a cure."""

    what: str
    name: str
    outcome: Outcome
    detail: str = ""


class NoControl(Exception):
    """The store is none of Oversight, or its control API was not found."""


def wait_for_store(s3: S3, seconds: float) -> None:
    """Return when the store answers the root user. Raises CommandError with what is wrong."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            s3.buckets()
            return
        except transport.Unreachable as error:
            problem = f"The store does not answer at {s3.endpoint}: {error.detail}."
        except S3Error as error:
            if error.status < 500:
                raise CommandError(_refused(s3, error)) from None
            problem = f"The store at {s3.endpoint} is not ready: {error.message or error.status}"
        if time.monotonic() >= deadline:
            raise CommandError(f"{problem} Waited {seconds:g} s; --wait SECONDS waits longer.")
        time.sleep(0.25)


def _refused(s3: S3, error: S3Error) -> str:
    if error.code in ("SignatureDoesNotMatch", "InvalidAccessKeyId"):
        return (
            f"The store at {s3.endpoint} refuses the root user of the settings ({error.code}): "
            "set OVERSIGHT_ROOT_USER and OVERSIGHT_ROOT_PASSWORD to those that it was started with."
        )
    if error.code == "AuthorizationHeaderMalformed" and error.fields.get("Region"):
        return f"The store wants another region: set OVERSIGHT_REGION={error.fields['Region']}."
    return f"The store at {s3.endpoint} refuses to list buckets: {error}."


def connect(make: Callable[[], Control], seconds: float) -> Control:
    """The control API, signed in. Raises NoControl if there is none, CommandError if it refuses."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            control = make()
            control.get("me")
            return control
        except Starting:
            if time.monotonic() >= deadline:
                raise
        except Unreachable as error:
            raise NoControl(str(error)) from None
        time.sleep(0.25)


def make_all(
    want: Wanted, s3: S3, control: Callable[[], Control], seconds: float
) -> Iterator[Step]:
    """Do everything, telling each step. Raises CommandError where going on makes no sense."""
    with _told(s3):
        for bucket in want.buckets:
            yield ensure_bucket(s3, bucket)
        for bucket in want.closed:
            yield ensure_closed(s3, bucket)
        for bucket, prefix in want.prefixes:
            yield ensure_prefix(s3, bucket, prefix)
        for bucket, origin in want.origins:
            yield ensure_cors(s3, bucket, origin)
        if not want.accounts:
            yield Step("key", want.root.access_key, "found", "Langfuse uses the root user's key.")
            return
        try:
            api = connect(control, seconds)
        except NoControl as error:
            yield from (without_control(account, s3, str(error)) for account in want.accounts)
            return
        for account in want.accounts:
            yield from ensure_account(api, s3, account)


# -- buckets --------------------------------------------------------------------------------------


def ensure_bucket(s3: S3, bucket: str) -> Step:
    """The bucket exists."""
    if s3.has_bucket(bucket):
        return Step("bucket", bucket, "found")
    try:
        s3.create_bucket(bucket)
    except S3Error as error:
        if error.code != "BucketAlreadyOwnedByYou":  # somebody made it at the same moment
            raise
        return Step("bucket", bucket, "found")
    return Step("bucket", bucket, "made")


def ensure_closed(s3: S3, bucket: str) -> Step:
    """Nobody gets into the bucket by accident: ACLs don't count, and public access is blocked.

    Whoever decided otherwise (a public access block, a policy, an ownership or an ACL of the
    bucket's own) is not overruled.
    """
    try:
        block = _document(s3, bucket, "publicAccessBlock")
        if block is not None:
            closed = block.count(b">true<") == _SWITCHES
            note = "" if closed else "Its public access block was changed, and is left so."
            return Step("access", bucket, "found", note)
        for query, what in (("policy", "policy"), ("ownershipControls", "object ownership")):
            if _document(s3, bucket, query) is not None:
                return Step(
                    "access", bucket, "found", f"It has a {what} of its own, left as it is."
                )
        _put_document(s3, bucket, "ownershipControls", _ENFORCED)
        _put_document(s3, bucket, "publicAccessBlock", _CLOSED)
    except S3Error as error:
        if error.code in _UNSUPPORTED:
            return Step("access", bucket, "not applicable", "The store has no public access block.")
        if error.code == "InvalidBucketAclWithObjectOwnership":
            return Step("access", bucket, "found", "Its ACL lets others in, and is left as it is.")
        raise
    return Step("access", bucket, "made", "No ACLs, no public access.")


def _document(s3: S3, bucket: str, query: str) -> bytes | None:
    """A configuration document of the bucket; None where it has none. Raises S3Error."""
    try:
        return s3.request("GET", bucket, query=[(query, "")]).body
    except S3Error as error:
        if error.status == 404 and error.code != "NoSuchBucket":
            return None
        raise


def _put_document(s3: S3, bucket: str, query: str, document: bytes) -> None:
    headers = {"content-md5": md5(document)}
    s3.request("PUT", bucket, query=[(query, "")], headers=headers, body=document)


def ensure_prefix(s3: S3, bucket: str, prefix: str) -> Step:
    """The prefix is visible in consoles, as an empty object."""
    name = f"{bucket}/{prefix}"
    if s3.head(bucket, prefix) is not None:
        return Step("prefix", name, "found")
    s3.put(bucket, prefix, b"", {"content-type": "application/x-directory"})
    return Step("prefix", name, "made")


def ensure_cors(s3: S3, bucket: str, origin: str) -> Step:
    """Pages of ``origin`` may upload to the bucket, by the store's own rule or the bucket's.

    Rules that somebody gave the bucket are not replaced, and none are left that do not help.
    """
    name = f"{bucket} from {origin}"
    if _may_upload(s3, bucket, origin):
        return Step("CORS", name, "found")
    differs = Step("CORS", name, "differs", _ORIGINS.format(origin=origin))
    try:
        if _document(s3, bucket, "cors") is not None:
            return Step("CORS", name, "differs", _OWN_RULES.format(origin=origin))
        _put_document(s3, bucket, "cors", _CORS.format(origin=origin).encode())
    except S3Error as error:
        if error.code not in _UNSUPPORTED:
            raise
        return differs
    if _may_upload(s3, bucket, origin):
        return Step("CORS", name, "made")
    s3.request("DELETE", bucket, query=[("cors", "")])
    return differs


_ORIGINS = (
    "Browsers there may not upload: set OVERSIGHT_CORS_ALLOW_ORIGIN of the store to {origin} or *."
)
_OWN_RULES = (
    "Browsers there may not upload: the bucket has CORS rules of its own, left as they are. "
    "Add one for {origin}, or remove them."
)


def _may_upload(s3: S3, bucket: str, origin: str) -> bool:
    from stack.doctor.langfuse import preflight

    answer = preflight(s3, f"/{bucket}/upload", origin)
    answer.body  # noqa: B018 - read it, so that the connection is free again
    allowed = answer.headers.get("access-control-allow-origin")
    return answer.status in (200, 204) and allowed in ("*", origin)


# -- users and keys -------------------------------------------------------------------------------


def ensure_account(api: Control, s3: S3, account: Account) -> Iterator[Step]:
    """The user, their policies and their key exist, and the key works."""
    for grant in account.grants:
        yield ensure_policy(api, grant)
    policies = [grant.policy for grant in account.grants]
    users = {user["name"]: user for user in api.get("users")}
    owners = {key["access_key"]: key for key in api.get("keys")}
    key = owners.get(account.credentials.access_key)
    owner = account.user if key is None else key["user"]
    if owner == account.user:
        if account.user not in users:
            yield _add_user(api, account, policies)
        else:
            yield _ensure_rights(api, users[account.user], policies)
            if key is None:
                yield _add_key(api, account)
    problem = key_problem(s3, account)
    note = problem or ("" if owner == account.user else f"It is {owner}'s.")
    name = account.credentials.access_key
    if problem or key is not None:
        yield Step("key", name, "differs" if problem else "found", note)


def ensure_policy(api: Control, grant: Grant) -> Step:
    """A policy for the grant exists. One that was changed by hand is left as it is."""
    from storage.iam.canned import scoped_policy

    document = json.loads(scoped_policy(grant.bucket, grant.prefix, grant.access))
    found = {policy["name"]: policy for policy in api.get("policies")}.get(grant.policy)
    if found is None:
        api.call("PUT", "policies", grant.policy, body=document)
        return Step("policy", grant.policy, "made")
    note = "" if found["document"] == document else "It was changed, and is left so."
    return Step("policy", grant.policy, "found", note)


def _add_user(api: Control, account: Account, policies: list[str]) -> Step:
    body = {
        "name": account.user,
        "policies": policies,
        "access_key": account.credentials.access_key,
        "secret_key": account.credentials.secret_key,
    }
    try:
        api.call("POST", "users", body=body)
    except CommandError:
        # The other stack's bootstrap may have made it since we looked.
        if all(user["name"] != account.user for user in api.get("users")):
            raise
        return Step("user", account.user, "found")
    return Step("user", account.user, "made", f"With the key {account.credentials.access_key}.")


def _ensure_rights(api: Control, user: dict[str, Any], policies: list[str]) -> Step:
    missing = [policy for policy in policies if policy not in user["policies"]]
    if not missing:
        return Step("user", user["name"], "found")
    body = {"policies": [*user["policies"], *missing]}
    api.call("PATCH", "users", user["name"], body=body)
    return Step("user", user["name"], "made", f"Given {', '.join(missing)}.")


def _add_key(api: Control, account: Account) -> Step:
    body = {
        "user": account.user,
        "access_key": account.credentials.access_key,
        "secret_key": account.credentials.secret_key,
    }
    api.call("POST", "keys", body=body)
    return Step("key", account.credentials.access_key, "made")


def key_problem(s3: S3, account: Account) -> str:
    """Why the account's key does not work as it stands in the settings; "" if it does."""
    grant, key = account.grants[0], account.credentials.access_key
    theirs = S3(s3.endpoint, account.credentials, s3.region, timeout=s3.transport.timeout)
    try:
        query = [("list-type", "2"), ("max-keys", "1"), ("prefix", grant.prefix)]
        theirs.request("GET", grant.bucket, query=query, payload_hash=EMPTY_SHA256)
    except S3Error as error:
        if error.code == "SignatureDoesNotMatch":
            return (
                f"{key} has another secret in the store. Put that one into {account.variables}; "
                f"or, to use the new one, `oversight key remove {key}` and run this again."
            )
        if error.code == "InvalidAccessKeyId":
            return f"The store does not accept {key}: `oversight key enable {key}` if it is locked."
        if error.code == "AccessDenied":
            return f"{key} may not list {grant.bucket}: see `oversight user policy {account.user}`."
        return f"{key} does not work: {error}."
    return ""


def without_control(account: Account, s3: S3, why: str) -> Step:
    """A key of a store whose users nobody can make from here: it works or it does not."""
    key = account.credentials.access_key
    if key_problem(s3, account):
        return Step(
            "key", key, "differs",
            f"It does not work, and users can be made only by the control API of an Oversight "
            f"store ({why}) Elsewhere make the user by hand.",
        )  # fmt: skip
    return Step("key", key, "found", "It works; users of this store are not managed from here.")


@contextlib.contextmanager
def _told(s3: S3) -> Iterator[None]:
    """Trouble in the middle as one sentence."""
    try:
        yield
    except S3Error as error:
        raise CommandError(f"The store at {s3.endpoint} refused: {error}.") from None
    except transport.Unreachable as error:
        raise CommandError(f"{s3.endpoint} was lost: {error.detail}.") from None
