"""`oversight env`: a ``.env`` with secrets of one's own, which locks nobody out of what exists.

What is in the file stays as it is; only what is missing is added. A secret that is baked into a
volume (a database's password, the store's root password, what Langfuse encrypted with) is not
invented anew while that volume exists: the value that it was made with is kept, and how it can
be changed is said.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import string
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stack.installation import Installation
from stack.settings import Stack, text_of

_LETTERS = string.ascii_letters + string.digits
_HEADER = """\
# Written by `oversight env`. Compose reads it for langfuse/ and datahub/; keep it and a copy of it:
# without these secrets the volumes that were made with them can't be opened.
# .env.example explains every variable.
"""


def _password(length: int = 40) -> str:
    """Letters and digits only: it may become part of a URL or of a line of shell."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def _access_key(prefix: str) -> Callable[[], str]:
    return lambda: f"{prefix}-{_password(16)}"


@dataclass(frozen=True)
class Secret:
    """A variable to make up.

    ``volume``: in which its value is baked, "" where containers take any value at their next
    start. ``rotation``: how to change it then. ``exposed``: whether who knows it can use it
    through a published port.
    """

    variable: str
    make: Callable[[], str] = _password
    volume: str = ""
    rotation: str = ""
    exposed: bool = False


SECRETS = (
    Secret(
        "OVERSIGHT_ROOT_PASSWORD", volume="store", exposed=True,
        rotation="run `oversight rekey` against the running store, then put the new password "
        "here and start again",
    ),
    Secret("OVERSIGHT_LANGFUSE_ACCESS_KEY", _access_key("langfuse")),
    Secret("OVERSIGHT_LANGFUSE_SECRET_KEY"),
    Secret("OVERSIGHT_DATAHUB_ACCESS_KEY", _access_key("datahub")),
    Secret("OVERSIGHT_DATAHUB_SECRET_KEY"),
    Secret("NEXTAUTH_SECRET", exposed=True),
    Secret(
        "SALT", volume="postgres",
        rotation="every API key of Langfuse becomes invalid: put a new value here, start again "
        "and make new keys in each project",
    ),
    Secret(
        "ENCRYPTION_KEY", lambda: secrets.token_hex(32), volume="postgres",
        rotation="what Langfuse has encrypted (keys of model providers, integrations) becomes "
        "unreadable: put a new value here, start again and enter those keys anew",
    ),
    Secret(
        "POSTGRES_PASSWORD", volume="postgres",
        rotation="run `docker compose exec postgres psql -U postgres -c '\\password'` in "
        "langfuse/, then put the new password here and start again",
    ),
    Secret("CLICKHOUSE_PASSWORD"),
    Secret("REDIS_AUTH"),
    Secret("DATAHUB_ADMIN_PASSWORD", exposed=True),
    Secret("DATAHUB_SECRET", lambda: secrets.token_hex(32), exposed=True),
    Secret("DATAHUB_SYSTEM_CLIENT_SECRET"),
    Secret("DATAHUB_TOKEN_SERVICE_SIGNING_KEY", lambda: secrets.token_hex(32)),
    Secret("DATAHUB_TOKEN_SERVICE_SALT", lambda: secrets.token_hex(32)),
    Secret(
        "DATAHUB_MYSQL_PASSWORD", volume="mysql",
        rotation="in datahub/, run `docker compose exec mysql mysql -u root -p` and `ALTER USER` "
        "for 'root'@'%', 'root'@'localhost' and 'datahub'@'%', then put the new password here "
        "and start again",
    ),
    Secret(
        "GRAFANA_ADMIN_PASSWORD", volume="grafana", exposed=True,
        rotation="run `docker compose exec grafana grafana cli admin reset-admin-password NEW` in "
        "langfuse/, then put the new password here",
    ),
)  # fmt: skip


@dataclass
class Plan:
    """What to add to the file, in order, and what has to be said."""

    added: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    kept: list[Secret] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wishes:
    """What the caller asked for; "" is nothing."""

    publish: str = ""
    external_endpoint: str = ""
    langfuse_url: str = ""
    datahub_url: str = ""
    init: bool = True


def plan(present: Mapping[str, str], found: Installation, wishes: Wishes) -> Plan:
    """Decide. ``present``: what the file says already. Nothing is written here."""
    made = Plan()
    for secret in SECRETS:
        _plan_secret(made, secret, present, found)
    _plan_wish(made, present, "OVERSIGHT_PUBLISH", wishes.publish)
    _plan_wish(made, present, "OVERSIGHT_EXTERNAL_ENDPOINT", wishes.external_endpoint)
    _plan_wish(made, present, "NEXTAUTH_URL", wishes.langfuse_url)
    _plan_wish(made, present, "DATAHUB_URL", wishes.datahub_url)
    if "METADATA_SERVICE_AUTH_ENABLED" not in present:
        made.added["METADATA_SERVICE_AUTH_ENABLED"] = "true"
    if wishes.init and "postgres" not in found.volumes:
        _plan_project(made, present)
    after = {**present, **made.added}
    Stack.of(after)  # raises SettingsError where a wish or the file is wrong
    _judge_publishing(made, after)
    return made


def _plan_secret(
    made: Plan, secret: Secret, present: Mapping[str, str], found: Installation
) -> None:
    aliases = {"OVERSIGHT_ROOT_PASSWORD": "MINIO_ROOT_PASSWORD"}
    given = {secret.variable, aliases.get(secret.variable, secret.variable)}
    if any(present.get(each) for each in given):
        made.present.append(secret.variable)
    elif secret.volume and secret.volume in found.volumes:
        made.added[secret.variable] = found.values.get(secret.variable) or text_of(
            secret.variable, present
        )
        made.kept.append(secret)
    else:
        made.added[secret.variable] = secret.make()
        made.made.append(secret.variable)


def _plan_wish(made: Plan, present: Mapping[str, str], variable: str, wish: str) -> None:
    if not wish or present.get(variable) == wish:
        return
    if present.get(variable):
        made.problems.append(
            f"{variable} is {present[variable]} in the file, which is never changed here: edit it."
        )
    else:
        made.added[variable] = wish


def _plan_project(made: Plan, present: Mapping[str, str]) -> None:
    """A project that is ready at the first start, with keys of its own."""
    if any(name.startswith("LANGFUSE_INIT_") and text for name, text in present.items()):
        return
    made.added |= {
        "LANGFUSE_INIT_ORG_ID": "oversight",
        "LANGFUSE_INIT_ORG_NAME": "Oversight",
        "LANGFUSE_INIT_PROJECT_ID": "oversight",
        "LANGFUSE_INIT_PROJECT_NAME": "Oversight",
        "LANGFUSE_INIT_PROJECT_PUBLIC_KEY": f"pk-lf-{uuid.uuid4()}",
        "LANGFUSE_INIT_PROJECT_SECRET_KEY": f"sk-lf-{uuid.uuid4()}",
        "LANGFUSE_INIT_USER_EMAIL": "admin@example.com",
        "LANGFUSE_INIT_USER_NAME": "admin",
        "LANGFUSE_INIT_USER_PASSWORD": _password(24),
    }
    made.made += ["LANGFUSE_INIT_PROJECT_SECRET_KEY", "LANGFUSE_INIT_USER_PASSWORD"]


def _judge_publishing(made: Plan, after: Mapping[str, str]) -> None:
    publish = text_of("OVERSIGHT_PUBLISH", after)
    if ipaddress.ip_address(publish).is_loopback:
        return
    known = [
        secret for secret in SECRETS
        if secret.exposed and text_of(secret.variable, after) == text_of(secret.variable, {})
    ]  # fmt: skip
    made.problems += [
        f"{secret.variable} still has its published default, so ports can't be opened to "
        f"{publish}: {secret.rotation or 'set it to a secret of your own'}."
        for secret in known
    ]
    if "localhost" in text_of("OVERSIGHT_EXTERNAL_ENDPOINT", after):
        made.advice.append(
            "Other machines can't open the URLs that Langfuse signs for localhost: give "
            "--external-endpoint https://..., the address at which they reach the store."
        )
    if "localhost" in text_of("NEXTAUTH_URL", after):
        made.advice.append(
            "Sign-in works from this machine only: give --langfuse-url https://..., the address "
            "at which browsers reach Langfuse."
        )


def write(file: Path, made: Plan, before: str) -> None:
    """Add what was planned to ``file``, which then only its owner can read.

    A new file is made; of an existing one every byte stays. Either all is written or nothing.
    Raises FileExistsError if a file appeared meanwhile, OSError.
    """
    lines = "".join(f"{name}={value}\n" for name, value in made.added.items())
    head = _HEADER if not before else before.rstrip("\n") + "\n\n# Added by `oversight env`.\n"
    fresh = file.with_name(f"{file.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(head + lines)
            out.flush()
            os.fsync(out.fileno())
        if before:
            os.replace(fresh, file.resolve())
        else:
            os.link(fresh, file)  # unlike a rename, it never takes another file's place
    finally:
        fresh.unlink(missing_ok=True)


def sentences(file: Path, made: Plan, found: Installation) -> Sequence[str]:
    """What the caller should know and do now. No secret is in it."""
    said = [f"{file} now has {len(made.made)} secrets of its own: {', '.join(made.made)}."]
    if not made.made:
        said = [f"{file} needed no new secret."]
    if made.present:
        said.append(f"Left as they were in it: {', '.join(made.present)}.")
    for secret in made.kept:
        said.append(
            f"Kept: {secret.variable}, because {found.where(secret.volume)} was made with it. "
            f"To change it, {secret.rotation}."
        )
    return [*said, *made.advice]
