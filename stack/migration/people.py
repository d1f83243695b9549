"""Policies, users and access keys of a MinIO, brought over the control API of the target.

MinIO tells nobody the secrets of its users, and a user without the secret that its applications
have is of no use: users and keys are made only where a file gives their secrets. Groups do not
exist in the target: their policies go to their members.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stack.client import Control
from stack.migration.admin import Admin
from stack.migration.settings import (
    CARRIED,
    EQUAL,
    KEPT,
    LEFT,
    REFUSED,
    WOULD,
    Setting,
    unordered,
)
from stack.store import CommandError

#: Part of MinIO, and not a user's work. Those of the same name in the target are its own.
_BUILT_IN = frozenset(("consoleAdmin", "diagnostics", "readonly", "readwrite", "writeonly"))
_DISABLED = "disabled"
#: How MinIO writes the end of what does not end: Go's zero time, or the Unix epoch.
_NEVER = ("0001-01-01", "1970-01-01")


def read_secrets(path: Path) -> dict[str, str]:
    """Secrets by access key, from a file with ``ACCESS_KEY SECRET`` a line. Raises CommandError."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"{path} can't be read as text.") from None
    found = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and len(words) != 2:
            raise CommandError(f"{path}, line {number}: it must be an access key and its secret.")
        if words:
            found[words[0]] = words[1]
    return found


class People:
    """Brings what ``admin`` tells to ``control``. ``dry``: only tell what would be done."""

    def __init__(
        self, admin: Admin, control: Control, secrets: Mapping[str, str], *, dry: bool
    ) -> None:
        self._admin, self._control, self._secrets, self._dry = admin, control, secrets, dry

    def carry(self) -> list[Setting]:
        """Policies, then users, then further keys.

        Raises S3Error, Unreachable, Unreadable for the source, CommandError for the target.
        """
        policies, users = self._admin.policies(), self._admin.users()
        groups, keys = self._admin.groups(), self._admin.access_keys()
        here = {each["name"]: each for each in self._control.get("policies")}
        found = [
            self._policy(name, document, here.get(name))
            for name, document in sorted(policies.items())
            if name not in _BUILT_IN
        ]
        present = {each["name"]: each for each in self._control.get("users")}
        for name, user in sorted(users.items()):
            found += self._user(name, user, _policies(user, groups), present.get(name))
        there = {each["access_key"] for each in self._control.get("keys")}
        for owner, names in sorted(keys.items()):
            parent = owner if owner in users else ""
            found += [self._key(name, parent, name in there) for name in sorted(names)]
        return found

    def _policy(self, name: str, document: Any, here: Any) -> Setting:
        what = f"policy {name}"
        if here is not None and unordered(here["document"]) == unordered(document):
            return Setting(what, EQUAL)
        if here is not None:
            return Setting(what, KEPT, "the target has another of this name, and keeps it")
        return self._do(what, "PUT", "policies", name, body=document)

    def _user(self, name: str, user: Any, policies: list[str], here: Any) -> Iterable[Setting]:
        what = f"user {name}"
        disabled = user.get("status") == _DISABLED
        if here is not None:
            same = sorted(here["policies"]) == policies
            if same and (here["status"] == _DISABLED) == disabled:
                return [Setting(what, EQUAL)]
            why = f"it has other policies or another status than {_named(policies)} in the source"
            return [Setting(what, KEPT, why)]
        secret = self._secrets.get(name)
        if secret is None:
            options = "".join(f" --policy {each}" for each in policies)
            command = f"oversight user add {name}{options} --access-key {name}"
            return [Setting(what, LEFT, f"MinIO does not tell its secret: give it to `{command}`")]
        body = {
            "name": name, "policies": policies, "access_key": name, "secret_key": secret,
        }  # fmt: skip
        made = self._do(what, "POST", "users", body=body)
        if disabled and made.state == CARRIED:
            self._do(what, "PATCH", "users", name, body={"status": _DISABLED})
        return [made]

    def _key(self, name: str, owner: str, present: bool) -> Setting:
        what = f"access key {name}"
        if present:
            return Setting(what, EQUAL)
        secret = self._secrets.get(name)
        if secret is None:
            option = f" --user {owner}" if owner else ""
            command = f"oversight key create{option} --access-key {name}"
            return Setting(what, LEFT, f"MinIO does not tell its secret: give it to `{command}`")
        told = self._admin.access_key(name)
        if not (told.get("expiration") or _NEVER[0]).startswith(_NEVER):
            return Setting(what, LEFT, f"it expires at {told['expiration']}; keys here do not")
        narrowed = None if told.get("impliedPolicy") else json.loads(told.get("policy") or "{}")
        body = {"user": owner, "access_key": name, "secret_key": secret, "policy": narrowed}
        return self._do(what, "POST", "keys", body=body)

    def _do(self, what: str, method: str, *path: str, body: Any) -> Setting:
        if self._dry:
            return Setting(what, WOULD)
        try:
            self._control.call(method, *path, body=body)
        except CommandError as refusal:
            return Setting(what, REFUSED, str(refusal).rstrip("."))
        return Setting(what, CARRIED)


def _policies(user: Mapping[str, Any], groups: Mapping[str, Any]) -> list[str]:
    """Names of the policies that a user has: its own and those of its groups in force."""
    names = _split(user.get("policyName"))
    for group in user.get("memberOf") or ():
        found = groups.get(group, {})
        if found.get("status") != _DISABLED:
            names |= _split(found.get("policy"))
    return sorted(names)


def _split(names: str | None) -> set[str]:
    return {name for name in (names or "").split(",") if name}


def _named(policies: list[str]) -> str:
    return ", ".join(policies) or "none"
