"""`mc cp`: files to a store, objects to files, objects between stores.

Bodies up to ``PART`` bytes are one PUT; larger ones are multipart uploads, so that memory stays
bounded and sizes up to S3's 5 TiB work. A file appears under its name only when it is whole.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from stack.mc.aliases import find
from stack.mc.base import McError, Options
from stack.mc.commands import flags_of, place, say
from stack.mc.s3 import Client, S3Error, text

_USAGE = "mc cp [-r] SOURCE ... TARGET"
#: Bytes of one part, and the most parts that S3 takes.
PART = 16 * 2**20
_PARTS_MAX = 10_000
_BLOCK = 2**20

Read = Callable[[int], bytes]


@dataclass(frozen=True)
class Item:
    """Something to copy: a file, or an object of ``client``. ``name`` is below what was named."""

    path: str
    name: str
    client: Client | None = None
    bucket: str = ""


@dataclass(frozen=True)
class Target:
    """Where it goes: a path, or a key of ``client``'s ``bucket``. ``folder``: it holds the rest."""

    path: str
    folder: bool
    client: Client | None = None
    bucket: str = ""

    def of(self, item: Item) -> str:
        """The path or key that ``item`` gets."""
        if not self.folder:
            return self.path
        if self.client is None:
            return _inside(self.path, item.name)
        return f"{self.path.rstrip('/')}/{item.name}" if self.path.strip("/") else item.name


def run(words: list[str], options: Options) -> int:
    """The exit code. Raises McError at the first thing that can't be copied."""
    flags, named = flags_of(words, {"-r": "-r", "--recursive": "-r"}, _USAGE)
    if len(named) < 2:
        raise McError(f"Say `{_USAGE}`.")
    *sources, last = named
    recursive = "-r" in flags
    target = _target(last, options, many=recursive or len(sources) > 1)
    for source in sources:
        count = 0
        for item in _items(source, options, recursive=recursive):
            copied = target.of(item)
            size = _copy(item, target, copied)
            shown = (
                f"{last.partition('/')[0]}/{target.bucket}/{copied}" if target.client else copied
            )
            say(options, f"`{source if not recursive else item.path}` -> `{shown}`",
                source=item.path, target=shown, size=size)  # fmt: skip
            count += 1
        if not count:
            raise McError(f"{source} does not exist, or holds nothing.")
    return 0


# -- from where, to where -------------------------------------------------------------------------


def _store(text: str, options: Options) -> Client | None:
    """The store that a word names, None if it is a path of this machine."""
    name, slash, _ = text.partition("/")
    if not name or name.startswith(".") or (not slash and os.path.lexists(text)):
        return None
    try:
        return Client(find(name, options), options)
    except McError:
        if os.path.lexists(text) or not slash:
            return None
        raise


def _target(text: str, options: Options, *, many: bool) -> Target:
    client = _store(text, options)
    if client is None:
        return Target(text, many or text.endswith("/") or os.path.isdir(text))
    _, bucket, key = place(text)
    if not bucket:
        raise McError(f'"{text}" names no bucket.')
    return Target(key, many or not key or key.endswith("/"), client, bucket)


def _items(source: str, options: Options, *, recursive: bool) -> Iterator[Item]:
    client = _store(source, options)
    if client is None:
        yield from _files(source, recursive=recursive)
        return
    _, bucket, key = place(source)
    if not bucket:
        raise McError(f'"{source}" names no bucket.')
    if not recursive:
        if not key or key.endswith("/"):
            raise McError(f"{source} is a folder: say `mc cp -r`.")
        yield Item(key, key.rpartition("/")[2], client, bucket)
        return
    above = key if not key or key.endswith("/") else key + "/"
    try:
        entries = list(client.list(bucket, above, recursive=True))
    except S3Error as error:
        raise McError(f"{source}: {error}") from None
    for entry in entries:
        if not entry.key.endswith("/"):  # a folder's own mark
            yield Item(entry.key, entry.key[len(above) :], client, bucket)


def _files(source: str, *, recursive: bool) -> Iterator[Item]:
    if not os.path.isdir(source):
        if os.path.lexists(source):
            yield Item(source, os.path.basename(source))
        return
    if not recursive:
        raise McError(f"{source} is a folder: say `mc cp -r`.")
    # As mc (and cp): `folder/` copies what is in it, `folder` copies it with its name.
    above = source if source.endswith("/") else os.path.dirname(os.path.abspath(source))
    for path, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(path, name)
            yield Item(file, os.path.relpath(file, above))


def _inside(folder: str, name: str) -> str:
    """``folder/name``, where keys like ``../x`` must not lead out of the folder. Raises McError."""
    path = os.path.normpath(os.path.join(folder, name))
    top = os.path.normpath(folder)
    if os.path.isabs(name) or os.path.commonpath([os.path.abspath(path), os.path.abspath(top)]) != (
        os.path.abspath(top)
    ):
        raise McError(f'The key "{name}" leads out of {folder}: copy it alone, to a name of yours.')
    return path


# -- copying one thing ----------------------------------------------------------------------------


def _copy(item: Item, target: Target, name: str) -> int:
    """Copy one item; its size in bytes. Raises McError."""
    try:
        if item.client is not None and target.client is not None:
            return _between(item, target.client, target.bucket, name)
        if target.client is not None:
            with open(item.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                kind = mimetypes.guess_type(item.path)[0] or "application/octet-stream"
                upload(target.client, target.bucket, name, file.read, size, kind)
            return size
        if item.client is not None:
            return _download(item, name)
        raise McError("Neither side is a store: use `cp`.")
    except S3Error as error:
        raise McError(f"{item.path} -> {name}: {error}") from None
    except OSError as error:
        raise McError(f"{error.filename or item.path}: {error.strerror}.") from None


def _between(item: Item, client: Client, bucket: str, key: str) -> int:
    """Within a store the store copies; else the bytes pass through here."""
    assert item.client is not None
    if item.client.alias.url == client.alias.url:
        size = item.client.size_of(item.bucket, item.path)
        if size is None:
            raise McError(f"{item.path} does not exist in {item.bucket}.")
        if size <= 5 * 2**30:  # the most that one CopyObject copies
            source = quote(f"/{item.bucket}/{item.path}", safe="/-_.~")
            client.call("PUT", f"/{bucket}/{key}", headers={"x-amz-copy-source": source}).body()
            return size
    answer = item.client.call("GET", f"/{item.bucket}/{item.path}")
    size = int(answer.header("Content-Length", "0"))
    kind = answer.header("Content-Type", "application/octet-stream")
    upload(client, bucket, key, answer.response.read, size, kind)
    return size


def _download(item: Item, path: str) -> int:
    assert item.client is not None
    answer = item.client.call("GET", f"/{item.bucket}/{item.path}")
    size = int(answer.header("Content-Length", "0"))
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    fd, staged = tempfile.mkstemp(dir=folder, prefix=".mc-")
    try:
        with os.fdopen(fd, "wb") as file:
            left = size
            while left and (block := answer.response.read(min(_BLOCK, left))):
                file.write(block)
                left -= len(block)
        if left:
            raise McError(f"{item.path}: the connection ended {left} bytes early. Try again.")
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(staged, 0o666 & ~umask)
        os.replace(staged, path)
    except BaseException:
        os.unlink(staged)
        raise
    return size


def upload(client: Client, bucket: str, key: str, read: Read, size: int, kind: str) -> None:
    """Store ``size`` bytes of ``read``. Raises McError if there are fewer."""
    headers = {"Content-Type": kind}
    if size <= PART:
        body = _exactly(read, size)
        client.call("PUT", f"/{bucket}/{key}", body=body, headers=headers | _digest(body)).body()
        return
    part = max(PART, -(-size // _PARTS_MAX))
    path = f"/{bucket}/{key}"
    started = client.call("POST", path, {"uploads": ""}, headers=headers).body()
    upload_id = text(ET.fromstring(started), "UploadId")  # noqa: S314 - the user's own store
    try:
        etags = list(_parts(client, path, upload_id, read, size, part))
        document = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{document}</CompleteMultipartUpload>".encode()
        client.call("POST", path, {"uploadId": upload_id}, body=body).body()
    except BaseException:
        client.call("DELETE", path, {"uploadId": upload_id}).body()
        raise


def _parts(
    client: Client, path: str, upload_id: str, read: Read, size: int, part: int
) -> Iterator[str]:
    """Upload all parts; their ETags."""
    for number, offset in enumerate(range(0, size, part), 1):
        body = _exactly(read, min(part, size - offset))
        query = {"partNumber": str(number), "uploadId": upload_id}
        answer = client.call("PUT", path, query, body=body, headers=_digest(body))
        answer.body()
        yield answer.header("ETag").strip('"')


def _digest(body: bytes) -> dict[str, str]:
    """Content-MD5, so that the bytes are checked on an unsigned connection as well."""
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return {"Content-MD5": base64.b64encode(digest).decode()}


def _exactly(read: Read, size: int) -> bytes:
    blocks, left = [], size
    while left:
        block = read(min(_BLOCK, left))
        if not block:
            raise McError("The source became shorter while it was copied. Try again.")
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)
