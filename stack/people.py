"""`oversight user`, `oversight key` and `oversight policy`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from stack.output import WRONG, AsJson, fail, show, warn
from stack.store import store

users = typer.Typer(help="People and programs that may use the store.", no_args_is_help=True)
keys = typer.Typer(help="Access keys.", no_args_is_help=True)
policies = typer.Typer(help="What users and keys may do.", no_args_is_help=True)

_NEW_SECRET = "OVERSIGHT_NEW_SECRET_KEY"  # noqa: S105 - a variable's name
_SECRET_HELP = f"The secret is made at random unless {_NEW_SECRET} holds one; it is shown once."

UserName = Annotated[str, typer.Argument(metavar="USER", help="Name of the user.")]
AccessKey = Annotated[str, typer.Argument(metavar="ACCESS_KEY", help="The access key.")]
PolicyName = Annotated[str, typer.Argument(metavar="POLICY", help="Name of the policy.")]
Policies = Annotated[
    list[str] | None, typer.Option("--policy", help="Policy that the user gets; repeatable.")
]

_USER_COLUMNS = (
    ("USER", "name"), ("STATUS", "status"), ("POLICIES", "policies"), ("ACCESS KEYS", "keys"),
    ("E-MAIL", "email"), ("CREATED", "created"),
)  # fmt: skip
_KEY_COLUMNS = (
    ("ACCESS KEY", "access_key"), ("USER", "user"), ("STATUS", "status"),
    ("NARROWED", "narrowed"), ("CREATED", "created"),
)  # fmt: skip
_STEP_COLUMNS = (("WHAT HAS A SAY", "source"), ("NAME", "name"), ("SAYS", "says"), ("", "why"))
_POLICY_COLUMNS = (("POLICY", "name"), ("PART OF THE STORE", "canned"), ("USERS", "users"))


# -- users ------------------------------------------------------------------------------------


@users.command("add", help=f"Add a user with an access key.\n\n{_SECRET_HELP}")
def add_user(
    user: UserName,
    policy: Policies = None,
    access_key: Annotated[str, typer.Option(help="Made at random if left out.")] = "",
    email: Annotated[str, typer.Option(help="Address that ACLs may name the user by.")] = "",
    display_name: Annotated[str, typer.Option(help="Name that is shown as owner.")] = "",
    as_json: AsJson = False,
) -> None:
    body = {
        "name": user,
        "policies": policy or [],
        "access_key": access_key,
        "email": email,
        "display_name": display_name,
    }
    made = store().call("POST", "users", body={**body, **_secret()})
    show(made, as_json)
    if not policy:
        warn(f"{user} may do nothing yet: give a policy with `oversight user policy {user} NAME`.")


@users.command("list")
def list_users(as_json: AsJson = False) -> None:
    """List users."""
    show(store().get("users"), as_json, _USER_COLUMNS)


@users.command("show")
def show_user(user: UserName, as_json: AsJson = False) -> None:
    """Show a user, with the canonical id that policies and ACLs name."""
    show(store().get("users", user), as_json)


@users.command("change")
def change_user(
    user: UserName,
    email: Annotated[str | None, typer.Option(help='New address; "" takes it away.')] = None,
    display_name: Annotated[str | None, typer.Option(help="New name to show as owner.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a user another address or name to show."""
    if email is None and display_name is None:
        fail("Give --email or --display-name.", WRONG)
    given = {"email": email, "display_name": display_name}
    body = {name: value for name, value in given.items() if value is not None}
    show(store().call("PATCH", "users", user, body=body), as_json)


@users.command("remove")
def remove_user(user: UserName) -> None:
    """Remove a user and their access keys."""
    store().call("DELETE", "users", user)


@users.command("disable")
def disable_user(user: UserName) -> None:
    """Lock a user out, at once."""
    store().call("PATCH", "users", user, body={"status": "disabled"})


@users.command("enable")
def enable_user(user: UserName) -> None:
    """Let a user in again."""
    store().call("PATCH", "users", user, body={"status": "enabled"})


@users.command("policy")
def user_policies(
    user: UserName,
    policy: Annotated[
        list[str] | None, typer.Argument(metavar="[POLICY]...", help="The policies from now on.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Take all policies away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a user's policies, or give other ones in their place."""
    if policy and none:
        fail("Name policies or give --none, not both.", WRONG)
    control = store()
    if policy or none:
        found = control.call("PATCH", "users", user, body={"policies": policy or []})
    else:
        found = control.get("users", user)
    show([found] if not as_json else found, as_json, _USER_COLUMNS)


# -- keys -------------------------------------------------------------------------------------


@keys.command("create", help=f"Make an access key.\n\n{_SECRET_HELP}")
def create_key(
    user: Annotated[str, typer.Option(help="Whose key; your own if left out.")] = "",
    access_key: Annotated[str, typer.Option(help="Made at random if left out.")] = "",
    policy_file: Annotated[
        Path | None, typer.Option(help="Policy document that narrows what the key may do.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    body = {"user": user, "access_key": access_key, **_secret()}
    if policy_file is not None:
        body["policy"] = _document(policy_file)
    show(store().call("POST", "keys", body=body), as_json)


@keys.command("list")
def list_keys(
    user: Annotated[str, typer.Option(help="Only this user's keys.")] = "", as_json: AsJson = False
) -> None:
    """List access keys."""
    found = store().get("keys", user=user)
    if not as_json:
        found = [{**key, "narrowed": key["policy"] is not None} for key in found]
    show(found, as_json, _KEY_COLUMNS)


@keys.command("remove")
def remove_key(access_key: AccessKey) -> None:
    """Remove an access key for good."""
    store().call("DELETE", "keys", access_key)


@keys.command("disable")
def disable_key(access_key: AccessKey) -> None:
    """Make an access key useless, at once."""
    store().call("PATCH", "keys", access_key, body={"status": "disabled"})


@keys.command("enable")
def enable_key(access_key: AccessKey) -> None:
    """Make a disabled access key useful again."""
    store().call("PATCH", "keys", access_key, body={"status": "enabled"})


# -- policies ---------------------------------------------------------------------------------


@policies.command("list")
def list_policies(as_json: AsJson = False) -> None:
    """List policies."""
    show(store().get("policies"), as_json, _POLICY_COLUMNS)


@policies.command("show")
def show_policy(policy: PolicyName) -> None:
    """Print a policy's document."""
    show(store().get("policies", policy)["document"], as_json=True)


@policies.command("put")
def put_policy(
    policy: PolicyName,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The document, as JSON.")
    ] = None,
    bucket: Annotated[str, typer.Option(help="Write the document for this bucket.")] = "",
    prefix: Annotated[str, typer.Option(help="Only keys that start so.")] = "",
    access: Annotated[str, typer.Option(help="readwrite, readonly or writeonly.")] = "readwrite",
) -> None:
    """Make or replace a policy: from a file, or for one bucket with --bucket."""
    if (file is None) == (not bucket):
        fail("Give either a FILE or --bucket.", WRONG)
    document = _document(file) if file is not None else _scoped(bucket, prefix, access)
    store().call("PUT", "policies", policy, body=document)


@policies.command("explain")
def explain(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="As in GetObject.")],
    place: Annotated[str, typer.Argument(metavar="[BUCKET[/KEY]]", help="What it is about.")] = "",
    user: Annotated[str, typer.Option(help="Who asks: a user.")] = "",
    access_key: Annotated[str, typer.Option(help="Who asks: a key, which may be narrowed.")] = "",
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Who asks: somebody without credentials.")
    ] = False,
    version_id: Annotated[str, typer.Option(help="A version of the object.")] = "",
    context: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Value of a condition key; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether a request would be allowed, and why."""
    if sum(map(bool, (user, access_key, anonymous))) != 1:
        fail("Say who asks: --user NAME, --access-key KEY or --anonymous.", WRONG)
    bucket, _, key = place.removeprefix("s3://").partition("/")
    body = {
        "action": action,
        "user": user,
        "access_key": access_key,
        "anonymous": anonymous,
        "bucket": bucket,
        "key": key,
        "version_id": version_id,
        "context": _context(context or []),
    }
    told = store().call("POST", "explain", body=body)
    if as_json:
        show(told, as_json)
        return
    verdict = "allowed" if told["allowed"] else "denied"
    typer.echo(f"{told['who']}, {told['action']} on {told['resource']}: {verdict}")
    typer.echo(f"because {told['reason']}.")
    show(told["steps"], as_json, _STEP_COLUMNS)
    missing = [name for name, value in told["asked"].items() if value is None]
    if missing:
        typer.echo(f"Not known, --context KEY=VALUE gives it: {', '.join(sorted(missing))}.")


def _context(given: list[str]) -> dict[str, Any]:
    """Condition keys and values; a key that is given again has several."""
    found: dict[str, list[str]] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or ":" not in key:
            fail(f"--context {each} is not of the form s3:prefix=events/.", WRONG)
        found.setdefault(key, []).append(value)
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}


@policies.command("remove")
def remove_policy(policy: PolicyName) -> None:
    """Remove a policy that nobody has."""
    store().call("DELETE", "policies", policy)


def _secret() -> dict[str, Any]:
    given = os.environ.get(_NEW_SECRET, "")
    return {"secret_key": given} if given else {}


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}.", WRONG)
    except ValueError:
        fail(f"{path} does not hold JSON.", WRONG)


def _scoped(bucket: str, prefix: str, access: str) -> Any:
    from storage.iam.canned import scoped_policy
    from storage.iam.errors import PolicyError

    try:
        return json.loads(scoped_policy(bucket, prefix, access))
    except PolicyError as error:
        fail(str(error), WRONG)
