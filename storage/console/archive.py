"""All objects below a prefix as one zip, made while it is sent: neither memory nor disk grow."""

from __future__ import annotations

import asyncio
import io
import time
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from urllib.parse import quote, unquote_plus
from xml.etree.ElementTree import Element, ParseError

import httpcore
from defusedxml.ElementTree import fromstring

from storage.console.answers import CONTENT_POLICY, guarded, problem
from storage.console.entries import Entries
from storage.console.request import Request
from storage.console.sessions import Session
from storage.console.upstream import Upstream, header, read

_PAGE_BYTES_MAX = 16 * 1024 * 1024
#: Objects of one archive at most; more is what SDKs and `mc mirror` are for.
ENTRIES_MAX = 100_000
#: Bytes of memory that the names of all archives under way may take: a key may have five hundred
#: folders, each of them another name.
NAMES_BYTES_MAX = 72 * 1024 * 1024
#: Bytes that are sent at once: small objects are not each worth a packet.
_PIECE_BYTES = 64 * 1024
#: Objects that could not be read and are named; of further ones only how many they are is told.
_NAMED_MAX = 1000
#: Answers that are not about one object: those after it would get the same.
_OF_ALL = frozenset(
    ("ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "NoSuchBucket", "SignatureDoesNotMatch")
)
_ERROR_BYTES_MAX = 64 * 1024
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

    def __len__(self) -> int:
        return len(self._held)


class _Missing:
    """What an archive lacks, as a text in it."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._others = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, line: str) -> None:
        if len(self._lines) < _NAMED_MAX:
            self._lines.append(line)
        else:
            self._others += 1

    def text(self) -> str:
        others = [f"and {self._others} others"] if self._others else []
        return "\n".join((*self._lines, *others))


class BrokenOff(ConnectionError):
    """The rest of an archive can't be had: what is sent of it must not look whole."""


#: The session as it is now, for another request to the store. It raises BrokenOff.
Lease = Callable[[], Awaitable[Session]]


async def send_zip(
    request: Request, upstream: Upstream, lease: Lease, bucket: str, prefix: str
) -> None:
    """Answer with a zip. An object that is gone or denied is named in a text at its end; where the
    session ends or the store fails, the answer is broken off. Raises BrokenOff."""
    pages = _keys(upstream, lease, bucket, prefix)
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
    async with aclosing(_zipped(upstream, lease, bucket, base, _chain(first, pages))) as pieces:
        async for data in pieces:
            await request.send({"type": "http.response.body", "body": data, "more_body": True})
    await request.send({"type": "http.response.body", "body": b""})


async def _zipped(
    upstream: Upstream,
    lease: Lease,
    bucket: str,
    base: str,
    keys: AsyncIterator[tuple[str, str]],
) -> AsyncGenerator[bytes, None]:
    names = Entries()
    _under_way.add(names)
    try:
        written = _written(upstream, lease, bucket, base, keys, names)
        async with aclosing(written) as pieces:
            async for data in pieces:
                yield data
    finally:
        _under_way.discard(names)


async def _written(
    upstream: Upstream,
    lease: Lease,
    bucket: str,
    base: str,
    keys: AsyncIterator[tuple[str, str]],
    names: Entries,
) -> AsyncGenerator[bytes, None]:
    pipe = _Pipe()
    missing = _Missing()
    tried = due = 0
    # Stored, not deflated: media does not shrink, and a stream should cost little.
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        async for key, modified in keys:
            if key.endswith("/"):
                continue
            if tried >= ENTRIES_MAX:
                missing.add(f"everything from {key} on: an archive has {ENTRIES_MAX} objects")
                break
            if sum(each.weight for each in _under_way) >= NAMES_BYTES_MAX:
                missing.add(f"everything from {key} on: no memory is left for its names")
                break
            tried += 1
            async with upstream.s3("GET", bucket, key, [], await lease()) as response:
                if response.status != 200:
                    missing.add(f"{key}: {await _refusal(response)}")
                    continue
                info = zipfile.ZipInfo(names.add(key[len(base) :]), _moment(modified))
                # Whether its size needs Zip64; what is counted when all is there stands in the end.
                info.file_size = int(header(response, b"content-length") or 0)
                with archive.open(info, "w") as entry:
                    async for piece in response.aiter_stream():
                        entry.write(piece)
                        if len(pipe) > due:
                            yield pipe.take()
                            due = _PIECE_BYTES
                            await lease()
            await asyncio.sleep(0)
        if missing:
            archive.writestr(names.add("MISSING.txt"), missing.text())
    yield pipe.take()


async def _refusal(response: httpcore.Response) -> str:
    """Why an object can't be read, if that is about the object. Raises BrokenOff."""
    content = await read(response, _ERROR_BYTES_MAX)
    try:
        code = fromstring(content).findtext("Code") or ""
    except ParseError:
        code = ""
    if code in _OF_ALL:
        raise BrokenOff(code)
    return f"{response.status} {code}"


class _Listing(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


async def _keys(
    upstream: Upstream, lease: Lease, bucket: str, prefix: str
) -> AsyncIterator[tuple[str, str]]:
    """(key, time of change) of all objects below ``prefix``. Raises _Listing."""
    after = ""
    while True:
        query = [("list-type", "2"), ("encoding-type", "url"), ("prefix", prefix)]
        if after:
            query.append(("continuation-token", after))
        async with upstream.s3("GET", bucket, "", query, await lease()) as response:
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
