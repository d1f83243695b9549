"""Request bodies: read within bounds, unframed, verified, and hashed once per algorithm.

Small bodies are taken whole. Large ones go to a file: while the engine writes and a thread hashes
one block of 1 MiB, the next one is received. Nothing is visible before the caller commits, and
whatever goes wrong leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from storage import errors
from storage.engine.interface import Change, Engine, FileRef, FileWriter
from storage.s3 import checksums
from storage.s3.auth import decoded_length
from storage.s3.call import RECEIVE_INTO, Call
from storage.s3.checksums import Hasher
from storage.s3.errors import S3Error
from storage.s3.headers import content_length

BLOCK = 1024 * 1024
#: Pieces of one receipt that are passed on as they are; more are joined.
PIECES_MAX = 64
#: Largest object of one PUT, and largest part (S3: 5 GiB).
OBJECT_BYTES_MAX = 5 * 1024**3
#: Largest XML document. CompleteMultipartUpload of 10,000 parts with SHA-256 takes 2 MB.
DOCUMENT_BYTES_MAX = 4 * 1024 * 1024

#: Hashing releases the interpreter's lock; more threads than cores only cost memory.
_hashing = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="hash")

Pieces = Iterable[bytes | memoryview]

#: Headers that promise something of a body beside the signature.
_PROMISING = frozenset(
    (b"content-md5", b"x-amz-trailer", b"x-amz-sdk-checksum-algorithm", *checksums.HEADER.values())
)


class Integrity:
    """What a request promises about its body, and what is to be kept of it.

    ``algorithm`` is that of the checksum to store ("" for none).
    """

    __slots__ = ("_hashers", "_md5", "_sha256", "_value", "algorithm", "etag", "trailing")

    def __init__(self, algorithm: str = "") -> None:
        """Promises nothing; MD5 and ``algorithm`` are computed."""
        self._sha256 = ""
        self._md5: bytes | None = None
        self._value = ""
        self._hashers: dict[str, Hasher] = {}
        self.algorithm = algorithm
        self.trailing = False
        self.etag = ""

    @classmethod
    def of_call(cls, call: Call, default_algorithm: str = "") -> Integrity:
        """What the headers of ``call`` promise.

        Raises InvalidDigest and InvalidRequest for promises that no body can keep.
        """
        headers = call.headers
        self = cls(default_algorithm)
        self._sha256 = call.auth.sha256
        if _PROMISING.isdisjoint(headers):
            return self
        self._md5 = checksums.content_md5(headers)
        declared = checksums.declared(headers)
        trailer = checksums.trailing(headers)
        if declared is not None:
            self.algorithm, self._value = declared
            if trailer:
                raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header.")
        else:
            self.algorithm = trailer
            self.trailing = bool(trailer)
        named = headers.get(b"x-amz-sdk-checksum-algorithm")
        if named is not None:
            self._check_named(named.decode("latin-1"))
        if not self.algorithm:
            self.algorithm = default_algorithm
        return self

    @classmethod
    def of_document(cls, call: Call) -> Integrity:
        """What is promised of a body whose checksum headers speak of something else."""
        self = cls()
        self._sha256 = call.auth.sha256
        self._md5 = checksums.content_md5(call.headers)
        return self

    @classmethod
    def of_copy(cls, algorithm: str) -> Integrity:
        """Started at once: for bytes that are already here."""
        self = cls(algorithm)
        self.start()
        return self

    def _check_named(self, named: str) -> None:
        algorithm = checksums.parse_algorithm(named, "x-amz-sdk-checksum-algorithm")
        if not self.algorithm:
            raise S3Error(
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* "
                "or x-amz-trailer headers were found.",
            )
        if algorithm != self.algorithm:
            raise S3Error(
                "InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid."
            )

    def start(self) -> None:
        """Make the hashers, each algorithm once, whatever it serves."""
        self._hashers = {"md5": hashlib.md5(usedforsecurity=False)}
        if self._sha256:
            self._hashers["sha256"] = hashlib.sha256()
        if self.algorithm and self.algorithm not in self._hashers:
            self._hashers[self.algorithm] = checksums.new(self.algorithm)

    def update(self, data: bytes | memoryview) -> None:
        for hasher in self._hashers.values():
            hasher.update(data)

    def update_all(self, pieces: list[bytes | memoryview]) -> None:
        """``update`` with each piece; for threads."""
        for hasher in self._hashers.values():
            update = hasher.update
            for piece in pieces:
                update(piece)

    def verify(self, trailers: dict[str, str]) -> dict[str, str]:
        """Check every promise; the checksums to store. Sets ``etag``.

        Raises XAmzContentSHA256Mismatch, BadDigest, InvalidRequest.
        """
        if self._sha256:
            self._check_sha256(self._hashers["sha256"].digest().hex())
        self._check_md5(self._hashers["md5"].digest())
        return self._check_algorithm(trailers) if self.algorithm else {}

    def verify_whole(self, data: bytes, trailers: dict[str, str]) -> dict[str, str]:
        """``start``, ``update`` and ``verify`` for a body in one piece."""
        if self.algorithm:
            self.start()
            self.update(data)
            return self.verify(trailers)
        if self._sha256:
            self._check_sha256(hashlib.sha256(data).hexdigest())
        self._check_md5(hashlib.md5(data, usedforsecurity=False).digest())
        return {}

    def _check_sha256(self, computed: str) -> None:
        if computed != self._sha256:
            raise S3Error(
                "XAmzContentSHA256Mismatch",
                ClientComputedContentSHA256=self._sha256,
                S3ComputedContentSHA256=computed,
            )

    def _check_md5(self, md5: bytes) -> None:
        if self._md5 is not None and self._md5 != md5:
            raise S3Error(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                ExpectedDigest=self._md5.hex(),
                CalculatedDigest=checksums.encode(md5),
            )
        self.etag = md5.hex()

    def _check_algorithm(self, trailers: dict[str, str]) -> dict[str, str]:
        computed = checksums.encode(self._hashers[self.algorithm].digest())
        promised = self._value
        if self.trailing:
            promised = trailers.get(f"x-amz-checksum-{self.algorithm}", "")
            checksums.parse_value(self.algorithm, promised)
        if promised and promised != computed:
            raise checksums.mismatch(self.algorithm)
        return {self.algorithm: computed}


class Body:
    """The body of one request without its framing.

    ``length`` is what it must have in the end; -1 of a plain chunked body, until it was read.
    """

    __slots__ = ("_ahead", "_call", "_decoder", "_most", "_received", "length")

    def __init__(self, call: Call, most: int = OBJECT_BYTES_MAX, *, chunked: bool = False) -> None:
        """``most`` bytes may come; plain chunked bodies only where ``chunked`` allows them.

        Raises MissingContentLength, NotImplemented, EntityTooLarge.
        """
        self._call = call
        self._most = most
        self._received = 0
        self._ahead: tuple[bytes, ...] = ()
        headers = call.headers
        if call.auth.streaming:
            self.length = decoded_length(headers)
            self._decoder = call.auth.decoder(headers)
        else:
            self.length = content_length(headers)
            self._decoder = None
            if self.length < 0:
                if b"transfer-encoding" not in headers:
                    raise S3Error("MissingContentLength")
                if not chunked:
                    raise S3Error("NotImplemented", Header="Transfer-Encoding")
        if self.length > most:
            raise self._too_large()

    def _too_large(self) -> S3Error:
        return S3Error(
            "EntityTooLarge", ProposedSize=str(self.length), MaxSizeAllowed=str(self._most)
        )

    @property
    def trailers(self) -> dict[str, str]:
        """Trailers by lower-case name, once the body was read."""
        return self._decoder.trailers if self._decoder is not None else {}

    async def _receive(self) -> tuple[bytes, bool]:
        """The next bytes as sent, and whether more follow. Raises IncompleteBody."""
        return self._open(await self._call.receive())

    def _open(self, message: Mapping[str, Any]) -> tuple[bytes, bool]:
        if message["type"] != "http.request":
            raise S3Error("IncompleteBody")
        data: bytes = message.get("body", b"")
        self._received += len(data)
        self._call.bytes_in = self._received
        return data, message.get("more_body", False)

    @property
    def fills(self) -> bool:
        """Whether ``receive_into`` can be had: a plain body, over our own HTTP protocol."""
        return (
            self._decoder is None
            and self.length >= 0
            and RECEIVE_INTO in self._call.scope.get("extensions", ())
        )

    async def receive_into(self, view: memoryview) -> None:
        """Fill ``view`` with the next bytes of the body. Raises IncompleteBody."""
        receive_into = self._call.scope["extensions"][RECEIVE_INTO]
        try:
            count = await receive_into(view)
        except ConnectionError:
            raise S3Error("IncompleteBody") from None
        self._received += count
        self._call.bytes_in = self._received
        if count < len(view):
            raise S3Error("IncompleteBody")

    async def look_ahead(self, limit: int) -> None:
        """Find out ``length`` where that takes no more than ``limit`` bytes. (A little more may
        be read; it is not lost.) Raises IncompleteBody."""
        more = True
        while self.length < 0 and more and self._received <= limit:
            data, more = await self._receive()
            self._ahead += (data,)
        if not more:
            self.length = self._received

    async def pieces(self) -> AsyncIterator[Pieces]:
        """The content as it arrives. Raises IncompleteBody, and what the framing gets wrong."""
        if self.length < 0 or self._ahead:
            async for piece in self._unmeasured():
                yield (piece,)
            return
        decoder = self._decoder
        more = True
        while more:
            data, more = await self._receive()
            if decoder is not None:
                pieces = decoder.feed(data)
                # Small chunks would cost hundreds of bytes for each that they carry.
                yield pieces if len(pieces) <= PIECES_MAX else (b"".join(pieces),)
            elif self._received > self.length:
                raise S3Error("IncompleteBody")
            else:
                yield (data,)
        if decoder is not None:
            decoder.finish()
        elif self._received != self.length:
            raise S3Error("IncompleteBody")

    async def _unmeasured(self) -> AsyncIterator[bytes]:
        """The content of a body whose end shows only when it comes. Raises EntityTooLarge."""
        ahead, self._ahead = self._ahead, ()
        for data in ahead:
            yield data
        more = self.length < 0  # else what was read ahead was all
        while more:
            data, more = await self._receive()
            if self._received > self._most:
                self.length = self._received
                raise self._too_large()
            yield data
        self.length = self._received

    async def read(self) -> bytes:
        """The whole content, for bodies whose ``length`` the caller has found small enough."""
        if self._ahead:
            return b"".join(self._ahead)
        joined = bytearray()
        if self._decoder is None:
            data, more = self._open(await self._call.receive())
            if not more and len(data) == self.length:
                return data
            if not more or len(data) > self.length:
                raise S3Error("IncompleteBody")
            joined += data
        async for pieces in self.pieces():
            for piece in pieces:
                joined += piece
        return bytes(joined)


# -- small bodies ---------------------------------------------------------------------------------


def has_body(call: Call) -> bool:
    """Whether the request declares a body that is not empty."""
    length = call.headers.get(b"content-length")
    return b"transfer-encoding" in call.headers or (length is not None and int(length) > 0)


async def read_document(call: Call, *, about_object: bool = False) -> bytes:
    """An XML body, verified. Raises MaxMessageLengthExceeded and what ``Integrity`` finds.

    ``about_object``: the x-amz-checksum-* headers speak of an object, not of this body.
    """
    body = Body(call)
    if body.length > DOCUMENT_BYTES_MAX:
        raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=str(DOCUMENT_BYTES_MAX))
    integrity = Integrity.of_document(call) if about_object else Integrity.of_call(call)
    data = await body.read()
    integrity.verify_whole(data, body.trailers)
    return data


# -- large bodies ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def new_file(engine: Engine, size: int) -> AsyncIterator[FileWriter]:
    """A file of ``size`` bytes, to be written and sealed inside; thrown away if that fails."""
    writer = await engine.create_file(size)
    try:
        yield writer
    except BaseException:
        await writer.abort()
        raise


async def write_file(
    writer: FileWriter, body: Body, integrity: Integrity
) -> tuple[FileRef, dict[str, str]]:
    """(sealed file, checksums to store) of a body that is streamed, verified before the seal."""
    integrity.start()
    pump = Pump(writer, integrity)
    if body.fills:
        await pump.fill(body)
    else:
        async for pieces in body.pieces():
            for piece in pieces:
                await pump.add(piece)
    await pump.settle()
    stored = integrity.verify(body.trailers)
    return await writer.finish(), stored


class Pump:
    """Passes pieces on to a writer, and hashes them in a thread while the next ones arrive.

    At most two blocks of pieces are held: one being hashed, one being gathered.
    """

    __slots__ = ("_gathered", "_hashed", "_integrity", "_loop", "_pieces", "_writer")

    def __init__(self, writer: FileWriter, integrity: Integrity) -> None:
        self._writer = writer
        self._integrity = integrity
        self._pieces: list[bytes | memoryview] = []
        self._gathered = 0
        self._hashed: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    async def add(self, piece: bytes | memoryview) -> None:
        """Take a piece of any size, which must not change before ``settle``."""
        await self._writer.write(piece)
        self._pieces.append(piece)
        self._gathered += len(piece)
        if self._gathered >= BLOCK:
            await self._turn()

    async def fill(self, body: Body) -> None:
        """Receive a body into the writer's own memory, block by block."""
        left = body.length
        while left:
            room = (await self._writer.room())[:left]
            await body.receive_into(room)
            left -= len(room)
            self._pieces.append(room)
            await self._turn()
            await self._writer.fill(len(room))

    async def settle(self) -> None:
        """Wait until everything is hashed."""
        await self._turn()
        if self._hashed is not None:
            await self._hashed

    async def _turn(self) -> None:
        """Begin to hash what was gathered, behind what is being hashed."""
        if self._hashed is not None:
            await self._hashed
        pieces, self._pieces, self._gathered = self._pieces, [], 0
        self._hashed = self._loop.run_in_executor(_hashing, self._integrity.update_all, pieces)


async def commit_file(engine: Engine, writer: FileWriter, change: Change) -> Any:
    """Commit a change that names the file of ``writer``; throw the file away if it failed.

    After Unavailable the outcome is unknown: the file may be an object's, and stays. (The
    engine collects files that nothing names.)
    """
    try:
        return await engine.commit(change)
    except errors.Unavailable:
        raise
    except errors.StoreError:
        await writer.abort()
        raise
