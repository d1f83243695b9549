"""What a store of the stacks should hold, derived from their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from stack.s3.signing import Credentials
from stack.settings import Stack

Access = Literal["readwrite", "readonly"]


@dataclass(frozen=True)
class Grant:
    """A right to a bucket, or to what lies below a prefix of it."""

    bucket: str
    prefix: str
    access: Access

    @property
    def policy(self) -> str:
        """Name of the policy that grants it."""
        place = self.prefix.strip("/").replace("/", "-")
        return "-".join(filter(None, (self.access, self.bucket, place)))


@dataclass(frozen=True)
class Account:
    """A user of the store with one key. ``variables`` name where the key is set."""

    user: str
    credentials: Credentials
    grants: tuple[Grant, ...]
    variables: str


@dataclass(frozen=True)
class Wanted:
    """Everything that should be there."""

    buckets: tuple[str, ...]
    closed: tuple[str, ...]
    """Buckets that nobody shall open by accident: no ACLs, no public access."""
    prefixes: tuple[tuple[str, str], ...]
    accounts: tuple[Account, ...]
    origins: tuple[tuple[str, str], ...]
    root: Credentials


def wanted(stack: Stack) -> Wanted:
    """What the settings ask for. Accounts that use the root user's key are left out."""
    uses = (
        (stack.event_bucket, stack.event_prefix),
        (stack.media_bucket, stack.media_prefix),
        (stack.export_bucket, stack.export_prefix),
    )
    ours = tuple(dict.fromkeys(bucket for bucket, _ in uses))
    langfuse = Account(
        "langfuse",
        Credentials(stack.langfuse_access_key, stack.langfuse_secret_key),
        tuple(Grant(bucket, "", "readwrite") for bucket in ours),
        "OVERSIGHT_LANGFUSE_ACCESS_KEY and OVERSIGHT_LANGFUSE_SECRET_KEY",
    )
    datahub = Account(
        "datahub",
        Credentials(stack.datahub_access_key, stack.datahub_secret_key),
        (
            Grant(stack.datahub_bucket, "", "readwrite"),
            Grant(stack.artifacts_bucket, "", "readonly"),
            Grant(stack.export_bucket, stack.export_prefix, "readonly"),
        ),
        "OVERSIGHT_DATAHUB_ACCESS_KEY and OVERSIGHT_DATAHUB_SECRET_KEY",
    )
    return Wanted(
        buckets=tuple(dict.fromkeys((*ours, stack.datahub_bucket, stack.artifacts_bucket))),
        closed=ours,
        prefixes=tuple((bucket, prefix) for bucket, prefix in uses if prefix),
        accounts=tuple(
            account
            for account in (langfuse, datahub)
            if account.credentials.access_key != stack.root_user
        ),
        origins=(
            (stack.media_bucket, _origin(stack.nextauth_url)),
            (stack.datahub_bucket, _origin(stack.datahub_url)),
        ),
        root=Credentials(stack.root_user, stack.root_password),
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
