"""What can be wrong with identities, in their own words. Messages are one sentence each."""

from __future__ import annotations

from storage.errors import StoreError


class IdentityError(StoreError):
    """Base of the errors of users, keys, policies and sealed secrets."""


class PolicyError(IdentityError):
    """A policy document is malformed; the message names the element."""


class InvalidCredentials(IdentityError):
    """A name, access key or secret does not fulfil the rules."""


class WrongRootSecret(IdentityError):
    """The root secret is not the one that this store's key was wrapped under."""

    def __init__(self) -> None:
        super().__init__(
            "The root password is not the one this store was last started with: start with the "
            "right one, or give the former one as OVERSIGHT_ROOT_PASSWORD_OLD to change it."
        )


class SealBroken(IdentityError):
    """A sealed secret can't be opened: it was altered, or sealed by another store."""


class TokenInvalid(IdentityError):
    """A session token that this store did not make, for another key, or of a session that ended."""


class TokenExpired(IdentityError):
    """A session token whose time is over."""
