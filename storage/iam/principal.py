"""Who speaks: the principal that a verified credential stands for."""

from __future__ import annotations

import msgspec

from storage.iam.policy import Policy
from storage.iam.sessions import Session


class Principal(msgspec.Struct, frozen=True, eq=False):
    """An account as the decision function sees it.

    ``id`` is the canonical id (64 lower-case hex digits): it owns buckets and objects and never
    changes, while ``name`` is what people type and what ``${aws:username}`` stands for.
    ``boundary`` is the policy of the access key that was used, if the key is scoped: it can only
    take away from what ``policies`` allow.
    """

    name: str
    id: str
    display_name: str = ""
    root: bool = False
    anonymous: bool = False
    policies: tuple[Policy, ...] = ()
    boundary: Policy | None = None

    def __repr__(self) -> str:
        return f"Principal({self.name!r})"


#: Who sends no credentials at all. Nothing is allowed to it unless a resource policy says so.
ANONYMOUS = Principal(name="", id="", anonymous=True)


class Credential(msgspec.Struct, frozen=True, eq=False):
    """An access key with its secret, ready to verify signatures with.

    A key that exists but must not be used (disabled, or its user is) has ``enabled`` False, so
    that the answer can say so. The secret never appears in ``repr``. ``session`` is the session
    whose key it is, None of a lasting one.
    """

    access_key: str
    secret: str
    principal: Principal
    enabled: bool = True
    session: Session | None = None

    def __repr__(self) -> str:
        return f"Credential({self.access_key!r}, {self.principal!r})"
