"""What one caller may see of the index of Langfuse's objects, within the work of one request.

Decisions are made object by object, and a request makes at most ``DECISIONS_MAX`` of them: who may
read nothing must not be able to keep the control plane busy with everything there is. Whoever asked
is told where to go on. Those places are sealed: they name what lies there, which the caller may
not be allowed to know.
"""

from __future__ import annotations

import asyncio
import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

import msgspec

from storage.control.access import Caller
from storage.control.problems import Problem
from storage.engine.interface import Bucket
from storage.iam.errors import SealBroken
from storage.iam.resources import EXISTING_TAG, ObjectNeeded, decide_on
from storage.iam.sealing import seal, unseal
from storage.langfuse.index import Event, Reader
from storage.langfuse.keys import Layout

#: Decisions about objects and prefixes that one request makes at most.
DECISIONS_MAX = 2000
#: Decisions after which others get their turn: S3 may be served from the same loop.
_AT_ONCE = 8

#: A name below a prefix that only rules about everything below it match: a "*" is matched by what
#: any text would be, and so many of them by no pattern of single characters ("?").
_ANYTHING = "*" * 64

#: Numbers as SQLite has them.
Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_T = TypeVar("_T")


class Spent(Exception):
    """The request has made as many decisions as one may: answer with what there is."""


class Sight:
    """What one caller may see. Remembers decisions about prefixes for one request."""

    def __init__(self, caller: Caller, reader: Reader, where: Layout) -> None:
        self._caller = caller
        self._reader = reader
        self._layout = where
        self._left = DECISIONS_MAX
        self._buckets: dict[str, Bucket | None] = {}
        self._scopes: dict[tuple[str, str], bool] = {}

    async def ask(self, question: Callable[[Reader], _T]) -> _T:
        """The index's answer, from a thread."""
        return await asyncio.to_thread(question, self._reader)

    async def sees(self, kind: str, project: str) -> bool:
        """Whether everything of a kind and project may be listed and read. Raises Spent."""
        name, prefix = self._layout.scope(kind, project)
        known = self._scopes.get((name, prefix))
        if known is None:
            await self._spend()
            bucket = await self._bucket(name)
            known = (
                bucket is not None
                and self._caller.decide_on(
                    "s3:ListBucket", bucket, facts={"s3:prefix": prefix}
                ).allowed
                and self._caller.decide_on("s3:GetObject", bucket, prefix + _ANYTHING).allowed
            )
            self._scopes[name, prefix] = known
        return known

    async def readable(self, events: Iterable[Event]) -> list[Event]:
        """Those of ``events`` whose objects may be read. Raises Spent."""
        return [event for event in events if await self.reads(event)]

    async def reads(self, event: Event) -> bool:
        """Whether the object of ``event`` may be read. Raises Spent."""
        await self._spend()
        bucket = await self._bucket(event.bucket)
        if bucket is None:
            return False
        caller = self._caller
        try:
            return decide_on(
                caller.principal, "s3:GetObject", bucket, event.key,
                lambda: _Untold(caller), None, looked=False,
            ).allowed  # fmt: skip
        except ObjectNeeded:
            found = await caller.plane.engine.lookup(bucket.id, event.key)
            return caller.decide_on("s3:GetObject", bucket, event.key, found).allowed

    async def _spend(self) -> None:
        if not self._left:
            raise Spent
        self._left -= 1
        if self._left % _AT_ONCE == 0:
            await asyncio.sleep(0)

    async def _bucket(self, name: str) -> Bucket | None:
        if name not in self._buckets:
            self._buckets[name] = await self._caller.plane.engine.bucket(name)
        return self._buckets[name]


class _Untold:
    """The facts of a request, before the object was looked at."""

    def __init__(self, caller: Caller) -> None:
        self._facts = caller.context()

    def get(self, key: str) -> str | tuple[str, ...] | None:
        if key.startswith(EXISTING_TAG):
            raise ObjectNeeded
        return self._facts.get(key)


class Places:
    """Places to go on from, for one caller and one question: nobody else can use or read them."""

    def __init__(self, caller: Caller, question: str) -> None:
        self._key = hmac.digest(caller.plane.store_key, b"oversight langfuse place", "sha256")
        self._name = f"{caller.access_key} {question}"

    def seal(self, *place: str | int) -> str:
        """A place as text."""
        blob = seal(self._key, "place", self._name, msgspec.json.encode(place).decode())
        return urlsafe_b64encode(blob).decode()

    def unseal(self, text: str, form: type[_T]) -> _T | None:
        """The place, None for the beginning. Raises Problem for what is none of this question."""
        if not text:
            return None
        try:
            blob = urlsafe_b64decode(text.encode("ascii"))
            return msgspec.json.decode(unseal(self._key, "place", self._name, blob), type=form)
        except (ValueError, binascii.Error, SealBroken, msgspec.MsgspecError):
            raise Problem(
                400, "InvalidArgument", "after: it is not the next of another page."
            ) from None
