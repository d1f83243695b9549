"""All objects below a prefix as one zip, made while it is sent: neither memory nor disk grow."""

from __future__ import annotations

import asyncio
import io
import time
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from urllib.parse import quote, unquote_plus
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import fromstring

from storage.console.answers import CONTENT_POLICY, guarded, problem
from storage.console.entries import Entries
from storage.console.request import Request
from storage.console.sessions import Session
from storage.console.upstream import Upstream, read

_PAGE_BYTES_MAX = 16 * 1024 * 1024
#: Objects of one archive at most; more is what SDKs and `mc mirror` are for.
ENTRIES_MAX = 100_000
#: Bytes of memory that the names of all archives under way may take: a key may have five hundred
#: folders, each of them another name.
NAMES_BYTES_MAX = 72 * 1024 * 1024
_under_way: set[Entries] = set()
_EARLIEST = (1980, 1, 1, 0, 0, 0)


class _Pipe(io.RawIOBase):
    """What the zip's writer writes to: bytes wait here until they are sent."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self._held += view
        return view.nbytes

    def take(self) -> bytes:
        """What was written since the last call."""
        data = bytes(self._held)
        self._held.clear()
        return data


async def send_zip(
    request: Request, upstream: Upstream, session: Session, bucket: str, prefix: str
) -> None:
    """Answer with a zip. An object that can't be read is named in a text at its end."""
    pages = _keys(upstream, session, bucket, prefix)
    try:
        first = await anext(pages)
    except StopAsyncIteration:
        await problem(request.send, 404, "NoSuchKey", "There is nothing to download here.")
        return
    except _Listing as error:
        await problem(request.send, error.status, "NotListed", "You may not list this folder.")
        return
    name = (prefix.rstrip("/").rpartition("/")[2] or bucket) + ".zip"
    headers = [(b"content-type", b"application/zip"), (b"content-disposition", attachment(name))]
    await request.send(
        {"type": "http.response.start", "status": 200,
         "headers": guarded(headers, CONTENT_POLICY)}
    )  # fmt: skip
    base = prefix[: prefix.rfind("/") + 1]
    async with aclosing(_zipped(upstream, session, bucket, base, _chain(first, pages))) as pieces:
        async for data in pieces:
            await request.send({"type": "http.response.body", "body": data, "more_body": True})
    await request.send({"type": "http.response.body", "body": b""})


async def _zipped(
    upstream: Upstream,
    session: Session,
    bucket: str,
    base: str,
    keys: AsyncIterator[tuple[str, str]],
) -> AsyncGenerator[bytes, None]:
    names = Entries()
    _under_way.add(names)
    try:
        written = _written(upstream, session, bucket, base, keys, names)
        async with aclosing(written) as pieces:
            async for data in pieces:
                yield data
    finally:
        _under_way.discard(names)


async def _written(
    upstream: Upstream,
    session: Session,
    bucket: str,
    base: str,
    keys: AsyncIterator[tuple[str, str]],
    names: Entries,
) -> AsyncGenerator[bytes, None]:
    pipe = _Pipe()
    missing: list[str] = []
    # Stored, not deflated: media does not shrink, and a stream should cost little.
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        async for key, modified in keys:
            if key.endswith("/"):
                continue
            if len(names) >= ENTRIES_MAX:
                missing.append(f"everything from {key} on: an archive has {ENTRIES_MAX} objects")
                break
            if sum(each.weight for each in _under_way) >= NAMES_BYTES_MAX:
                missing.append(f"everything from {key} on: no memory is left for its names")
                break
            async with upstream.s3("GET", bucket, key, [], session) as response:
                if response.status != 200:
                    missing.append(f"{key}: {response.status}")
                    continue
                info = zipfile.ZipInfo(names.add(key[len(base) :]), _moment(modified))
                with archive.open(info, "w", force_zip64=True) as entry:
                    async for piece in response.aiter_stream():
                        entry.write(piece)
                        yield pipe.take()
            yield pipe.take()
            await asyncio.sleep(0)
        if missing:
            archive.writestr(names.add("MISSING.txt"), "\n".join(missing))
    yield pipe.take()


class _Listing(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


async def _keys(
    upstream: Upstream, session: Session, bucket: str, prefix: str
) -> AsyncIterator[tuple[str, str]]:
    """(key, time of change) of all objects below ``prefix``. Raises _Listing."""
    after = ""
    while True:
        query = [("list-type", "2"), ("encoding-type", "url"), ("prefix", prefix)]
        if after:
            query.append(("continuation-token", after))
        async with upstream.s3("GET", bucket, "", query, session) as response:
            content = await read(response, _PAGE_BYTES_MAX)
        if response.status != 200:
            raise _Listing(response.status)
        root: Element = fromstring(content)
        space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
        for each in root.iter(f"{space}Contents"):
            yield (
                unquote_plus(each.findtext(f"{space}Key") or ""),
                each.findtext(f"{space}LastModified") or "",
            )
        after = root.findtext(f"{space}NextContinuationToken") or ""
        if not after:
            return


async def _chain(
    first: tuple[str, str], rest: AsyncIterator[tuple[str, str]]
) -> AsyncIterator[tuple[str, str]]:
    yield first
    async for each in rest:
        yield each


def _moment(text: str) -> tuple[int, int, int, int, int, int]:
    try:
        moment = datetime.fromisoformat(text).utctimetuple()
    except ValueError:
        moment = time.gmtime()
    return max(_EARLIEST, moment[:6])


def attachment(name: str) -> bytes:
    """Content-Disposition of a download under ``name``."""
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}".encode()
