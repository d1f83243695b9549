"""Doors: the endpoints with their credentials and buckets that checks go through, each once."""

from __future__ import annotations

import contextlib
import ipaddress
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from stack.doctor.uses import Use
from stack.s3.client import S3
from stack.s3.errors import S3Error
from stack.s3.transport import Answer, Unreachable
from stack.store import CommandError

_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
#: The page whose browser uploads, where Langfuse's own address is not known.
DEFAULT_PAGE = "http://localhost:3000"


@dataclass(frozen=True)
class Place:
    """Where the doctor stands: inside a stack's container, host names mean something else."""

    container: bool

    @classmethod
    def here(cls, inside: bool) -> Place:
        """``inside``: whether variables or names say that this belongs to a stack."""
        return cls(inside and any(Path(mark).exists() for mark in _CONTAINER_MARKS))


@dataclass
class Door:
    """An endpoint as one or more uses see it.

    ``written`` are the keys of this run's objects, ``siblings`` the hosts of the other doors.
    """

    uses: tuple[Use, ...]
    place: Place
    timeout: float
    clock: Callable[[], float] = time.time
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    written: set[str] = field(default_factory=set)
    siblings: frozenset[str] = frozenset()
    _greeting: Answer | None = None

    def __post_init__(self) -> None:
        self.use = self.uses[0]
        self.s3 = S3(
            self.use.endpoint, self.use.credentials, self.use.region,
            timeout=self.timeout, attempts=1, clock=self.clock,
        )  # fmt: skip

    @property
    def endpoint(self) -> str:
        return self.use.endpoint

    @property
    def browser(self) -> bool:
        """Whether browsers and SDKs come through it."""
        return any(use.browser for use in self.uses)

    @property
    def services(self) -> bool:
        """Whether services come through it."""
        return any(not use.browser for use in self.uses)

    @property
    def name(self) -> str:
        """What it is called in tables."""
        if self.services and self.browser:
            return "both"
        return "internal" if self.services else "external"

    @property
    def page(self) -> str:
        """Origin of Langfuse's pages."""
        for use in self.uses:
            parts = urlsplit(use.page)
            if parts.hostname:
                return f"{parts.scheme}://{parts.netloc}"
        return DEFAULT_PAGE

    @property
    def folder(self) -> str:
        """Below it lies what any run of the doctor writes."""
        return f"{self.use.prefix}.oversight-doctor/"

    def greet(self) -> Answer:
        """The answer to an unsigned request for the bucket, asked for once. Raises Unreachable."""
        if self._greeting is None:
            self._greeting = self.s3.transport.send("GET", f"/{self.use.bucket}?max-keys=0", {})
            self._greeting.body  # noqa: B018 - read it, so that the connection is free again
        return self._greeting

    def abandon(self, key: str, upload: str) -> None:
        """Drop an upload that came to nothing, if that is possible."""
        with contextlib.suppress(S3Error, Unreachable):
            self.s3.abort_upload(self.use.bucket, key, upload)

    def probe(self, name: str) -> str:
        """A key of this run, which is removed at its end."""
        key = f"{self.folder}{self.run}/{name}"
        self.written.add(key)
        return key


def doors_of(
    uses: Iterable[Use], place: Place, timeout: float, clock: Callable[[], float] = time.time
) -> list[Door]:
    """One door for all uses that only differ in their purpose.

    Raises CommandError for an endpoint that no request can be sent to.
    """
    groups: dict[tuple[object, ...], list[Use]] = {}
    for use in uses:
        key = (use.endpoint, use.bucket, use.region, use.credentials)
        groups.setdefault(key, []).append(use)
    doors = []
    for group in groups.values():
        try:
            doors.append(Door(tuple(group), place, timeout, clock))
        except ValueError as error:
            named = f"{group[0].service}'s {group[0].variable('ENDPOINT')}"
            raise CommandError(f"{named}: {error}.") from None
    for door in doors:
        door.siblings = frozenset(other.s3.transport.host for other in doors if other is not door)
    return doors


def is_loopback(host: str) -> bool:
    """Whether a host means the very machine that asks."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private_name(host: str) -> bool:
    """Whether only a container network knows the name: one word, or one that Docker makes."""
    if host == "localhost":
        return False
    return ("." not in host and ":" not in host) or host.endswith(".docker.internal")
