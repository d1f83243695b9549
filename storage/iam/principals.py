"""The Principal element of bucket policies: whom a statement is about.

Source: "AWS JSON policy elements: Principal" in the AWS IAM user guide.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Named(Protocol):
    """What is asked of a principal: its user name and its canonical id, both "" if anonymous."""

    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...


class Principals(msgspec.Struct, frozen=True):
    """Whom a statement names: everybody, accounts by canonical id, users by name.

    ``users`` holds (account, name); the account is "" where the ARN leaves it out. ``negated``
    for NotPrincipal: everybody else.
    """

    everybody: bool = False
    accounts: frozenset[str] = frozenset()
    users: frozenset[tuple[str, str]] = frozenset()
    negated: bool = False

    def include(self, principal: Named) -> bool:
        """Whether the statement is about ``principal``."""
        return self._name(principal) != self.negated

    def _name(self, principal: Named) -> bool:
        return (
            self.everybody
            or principal.id in self.accounts
            or ("", principal.name) in self.users
            or (principal.id, principal.name) in self.users
        )
