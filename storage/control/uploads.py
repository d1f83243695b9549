"""From a stream of bytes to a committed object, in bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from storage import errors
from storage.control.problems import Problem
from storage.engine.interface import (
    KEY_BYTES_MAX,
    Bucket,
    Committed,
    Conditions,
    Engine,
    FileRef,
    FileWriter,
    Meta,
    PutObject,
    encode_meta,
)

#: Largest object of one upload, in bytes (S3's limit for one PUT).
OBJECT_BYTES_MAX = 5 * 1024**3
#: Most bytes of user metadata, names and values together (S3's limit).
METADATA_BYTES_MAX = 2048
METADATA_PREFIX = "x-amz-meta-"
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")

#: Headers that are kept with an object and returned with it.
_KEPT = (
    "content-type", "content-disposition", "content-encoding", "content-language",
    "cache-control", "expires",
)  # fmt: skip


def check_key(key: str) -> None:
    """Raise Problem unless ``key`` may name an object. ``..`` and control characters may."""
    if not key:
        raise Problem(400, "InvalidArgument", "The object needs a key behind /objects/.")
    if len(key.encode()) > KEY_BYTES_MAX:
        raise Problem(400, "KeyTooLongError", f"The key is longer than {KEY_BYTES_MAX} bytes.")


def describe(headers: Mapping[str, str]) -> Meta:
    """What an object keeps of the request that brought it. Raises Problem."""
    metadata = {
        name.removeprefix(METADATA_PREFIX): value
        for name, value in headers.items()
        if name.startswith(METADATA_PREFIX)
    }
    if sum(len(name) + len(value.encode()) for name, value in metadata.items()) > (
        METADATA_BYTES_MAX
    ):
        raise Problem(
            400, "MetadataTooLarge", f"The metadata is larger than {METADATA_BYTES_MAX} bytes."
        )
    kept = {name: headers[name] for name in _KEPT if headers.get(name)}
    if any(_CONTROL.search(value) for value in (*kept.values(), *metadata.values())):
        # A form's parts may hold what no header does; given back, it would forge headers.
        raise Problem(400, "InvalidArgument", "A header holds control characters.")
    kept.setdefault("content-type", "application/octet-stream")
    return Meta(headers=kept, metadata=metadata)


class Upload:
    """One object on its way in: small ones in memory, larger ones in a file of the engine."""

    def __init__(self, engine: Engine, key: str) -> None:
        check_key(key)
        self._engine, self._key = engine, key
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._inline = bytearray()
        self._writer: FileWriter | None = None
        self.size = 0
        self.modified = 0
        self.etag = ""

    async def receive(self, stream: AsyncIterator[bytes], length: int, md5: str = "") -> None:
        """Take all bytes; ``length`` -1 where it is not known, ``md5`` base64 or not promised.

        Raises Problem and what the engine raises; nothing is left behind then.
        """
        try:
            async for data in stream:
                await self._take(data, max(length, 0))
            if length >= 0 and self.size != length:
                raise Problem(400, "IncompleteBody", "The body is shorter than it announced.")
            if md5 and md5 != b64encode(self._md5.digest()).decode():
                raise Problem(400, "BadDigest", "The body does not match its Content-MD5.")
        except BaseException:
            await self._discard()
            raise
        self.etag = self._md5.hexdigest()

    async def _take(self, data: bytes, expected: int) -> None:
        self.size += len(data)
        if self.size > OBJECT_BYTES_MAX:
            raise Problem(
                413, "EntityTooLarge", f"The object is larger than {OBJECT_BYTES_MAX} bytes."
            )
        self._md5.update(data)
        if self._writer is None and self.size <= self._engine.inline_limit():
            self._inline += data
            return
        if self._writer is None:
            self._writer = await self._engine.create_file(expected)
            await self._writer.write(self._inline)
            self._inline = bytearray()
        await self._writer.write(data)

    async def commit(
        self,
        meta: Meta,
        admit: Callable[[], Awaitable[tuple[Bucket, str]]],
        conditions: Conditions | None = None,
    ) -> Committed:
        """Make the object visible and durable.

        ``admit`` decides, now that all bytes have come: (the bucket, whose the object will be). It
        may add to ``meta``. What it raises leaves nothing behind.
        """
        files: tuple[FileRef, ...] = ()
        try:
            bucket, owner = await admit()
            if self._writer is not None:
                files = (await self._writer.finish(),)
        except BaseException:
            await self._discard()
            raise
        self.modified = time.time_ns() // 1_000_000
        change = PutObject(
            bucket_id=bucket.id,
            key=self._key,
            modified=self.modified,
            size=self.size,
            etag=self.etag,
            owner=owner,
            storage_class="STANDARD",
            meta=encode_meta(meta),
            payload=bytes(self._inline),
            files=files,
            conditions=conditions,
        )
        try:
            committed: Committed = await self._engine.commit(change)
        except (errors.Unavailable, asyncio.CancelledError):
            # The outcome is unknown: the file may be somebody's object by now. If it is not, it
            # is garbage, which the engine finds and collects.
            raise
        except errors.StoreError:
            await self._discard()
            raise
        return committed

    async def _discard(self) -> None:
        if self._writer is not None:
            await self._writer.abort()
