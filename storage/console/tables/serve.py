"""The console's side of a table's preview: a reader of its own for each, fed with ranges."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import socket
import sys
import weakref
from collections.abc import AsyncIterator

from storage.console.answers import answer, problem
from storage.console.request import Request
from storage.console.sessions import Session
from storage.console.tables.ranges import ERROR, FRAME, READ, TABLE
from storage.console.upstream import Upstream, header
from storage.serving.children import environment

#: Readers at once, and seconds that a preview waits for its turn and may last.
READERS_MAX = 2
PATIENCE, SECONDS_MAX = 20.0, 20.0
#: Bytes of the object that one preview may read, and of its answer.
BYTES_MAX = 256 * 1024 * 1024
_ANSWER_BYTES_MAX = 16 * 1024 * 1024
_NEEDED = ("duckdb", "fsspec")


class Failed(Exception):
    """Why there is no table: a status of HTTP, a code for the page, and a sentence."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


_SLOW = Failed(504, "TableTooSlow", f"The table was not read within {SECONDS_MAX:.0f} seconds.")
_LARGE = Failed(413, "TableTooLarge", "A preview of this table would need too much memory.")
_BUSY = Failed(503, "TablesBusy", "Other tables are being read. Please try again.")
_CHANGED = Failed(409, "TableChanged", "The object was changed while it was read.")
_ABSENT = Failed(501, "TablesNotInstalled", "Tables need the extra 'tables' of oversight-store.")


class Tables:
    """Previews of tables, few at once, and one at a time for each user."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._turns = asyncio.Semaphore(READERS_MAX)
        self._users: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def send(
        self, request: Request, session: Session, bucket: str, key: str, version: str
    ) -> None:
        """Answer with the beginning of the table in an object, or with why there is none."""
        try:
            if not all(map(importlib.util.find_spec, _NEEDED)):
                raise _ABSENT
            async with self._turn(session.user):
                source = _Source(self._upstream, session, bucket, key, version)
                table = await _read(source)
        except Failed as failed:
            await problem(request.send, failed.status, failed.code, failed.detail)
            return
        await answer(request.send, 200, table, [(b"content-type", b"application/json")])

    @contextlib.asynccontextmanager
    async def _turn(self, user: str) -> AsyncIterator[None]:
        own = self._users.setdefault(user, asyncio.Lock())
        try:
            async with asyncio.timeout(PATIENCE):
                await own.acquire()
                try:
                    await self._turns.acquire()
                except BaseException:
                    own.release()
                    raise
        except TimeoutError:
            raise _BUSY from None
        try:
            yield
        finally:
            self._turns.release()
            own.release()


class _Source:
    """One version of one object, read with its reader's own rights."""

    def __init__(
        self, upstream: Upstream, session: Session, bucket: str, key: str, version: str
    ) -> None:
        self._upstream, self._session = upstream, session
        self._bucket, self._key = bucket, key
        self._query = [("versionId", version)] if version else []
        self._etag = ""
        self._left = BYTES_MAX

    async def size(self) -> int:
        """Its bytes. Raises Failed."""
        async with self._upstream.s3(
            "HEAD", self._bucket, self._key, self._query, self._session
        ) as response:
            if response.status != 200:
                raise Failed(response.status, "TableNotRead", "You can't read this object.")
            self._etag = header(response, b"etag")
            return int(header(response, b"content-length"))

    async def copy(self, at: int, count: int, out: asyncio.StreamWriter) -> None:
        """Write ``count`` bytes from ``at`` on to ``out``. Raises Failed."""
        self._left -= count
        if self._left < 0 or count == 0:
            raise _LARGE
        headers = {"range": f"bytes={at}-{at + count - 1}", "if-match": self._etag}
        async with self._upstream.s3(
            "GET", self._bucket, self._key, self._query, self._session, headers
        ) as response:
            if response.status != 206:
                raise _CHANGED if response.status in (404, 412, 416) else Failed(
                    response.status, "TableNotRead", "You can't read this object (any more)."
                )  # fmt: skip
            async for piece in response.aiter_stream():
                count -= len(piece)
                out.write(piece)
                await out.drain()
        if count:
            raise _CHANGED


async def _read(source: _Source) -> bytes:
    """The table as the reader tells it, in JSON. Raises Failed."""
    size = await source.size()
    ours, theirs = socket.socketpair()
    with theirs:
        child = await asyncio.create_subprocess_exec(
            # -P: a folder named "storage" in the working directory must not be imported.
            sys.executable, "-P", "-m", "storage.console.tables.reader",
            str(theirs.fileno()), str(size),
            pass_fds=[theirs.fileno()], env=environment(os.environ),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    incoming, outgoing = await asyncio.open_connection(sock=ours)
    try:
        async with asyncio.timeout(SECONDS_MAX):
            return await _feed(source, incoming, outgoing)
    except TimeoutError:
        raise _SLOW from None
    except (asyncio.IncompleteReadError, ConnectionError):
        # It has no other way out than its limits and what the library does at their edge.
        raise _LARGE from None
    finally:
        outgoing.close()
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _feed(
    source: _Source, incoming: asyncio.StreamReader, outgoing: asyncio.StreamWriter
) -> bytes:
    while True:
        kind, at, count = FRAME.unpack(await incoming.readexactly(FRAME.size))
        if kind == READ:
            await source.copy(at, count, outgoing)
        elif kind in (TABLE, ERROR) and count <= _ANSWER_BYTES_MAX:
            content = await incoming.readexactly(count)
            if kind == TABLE:
                return content
            raise _failure(**json.loads(content))
        else:
            raise _LARGE


def _failure(error: str, detail: str) -> Failed:
    if error == "memory":
        return _LARGE
    if error == "sealing":
        return Failed(501, "TablesNotSealed", f"The reader can't be shut in: {detail}.")
    return Failed(422, "TableBroken", detail)
