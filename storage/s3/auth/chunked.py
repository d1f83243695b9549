"""Bodies in aws-chunked framing: signed chunks, unsigned chunks, trailers.

::

    body    = *chunk last [trailers] CRLF
    chunk   = size [";chunk-signature=" signature] CRLF data CRLF
    last    = "0" [";chunk-signature=" signature] CRLF
    size    = 1*16 hex digits

Source: "Signature Calculations for the Authorization Header: Transferring Payload in Multiple
Chunks (Chunked Upload)" and "... (Including Trailing Headers)" in the Amazon S3 API reference.
"""

from __future__ import annotations

import re
from hashlib import sha256

from storage.s3.auth.signing import EMPTY_SHA256, SigningKey, matches
from storage.s3.errors import S3Error

#: Longest line that frames a chunk: 16 digits, the signature, CRLF.
LINE_MAX = 16 + len(";chunk-signature=") + 64 + 2
#: Most bytes of trailers, their line ends included.
TRAILERS_MAX = 8 * 1024

_SIGNED_LINE = re.compile(rb"([0-9a-fA-F]{1,16});chunk-signature=([0-9a-f]{64})\r\n").fullmatch
_PLAIN_LINE = re.compile(rb"([0-9a-fA-F]{1,16})\r\n").fullmatch
_TRAILER_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+\-.^_`|~]+").fullmatch
_TRAILER_SIGNATURE = "x-amz-trailer-signature"

Buffer = bytes | bytearray | memoryview

_HEADER, _DATA, _DATA_END, _TRAILERS, _LAST_END, _DONE = range(6)


class ChunkSigner:
    """The chain of chunk signatures: each covers the one before it, the first the request's."""

    __slots__ = ("_key", "_previous", "_stamp")

    def __init__(self, key: SigningKey, timestamp: bytes, scope: bytes, seed: bytes) -> None:
        self._key = key
        self._stamp = b"%b\n%b\n" % (timestamp, scope)
        self._previous = seed

    def verify_chunk(self, digest: bytes, signature: bytes) -> None:
        """Check a chunk by the hex SHA-256 of its data. Raises SignatureDoesNotMatch."""
        expected = self._key.sign(
            b"AWS4-HMAC-SHA256-PAYLOAD\n%b%b\n%b\n%b"
            % (self._stamp, self._previous, EMPTY_SHA256, digest)
        )
        if not matches(expected, signature):
            raise _chunk_mismatch()
        self._previous = expected

    def verify_trailers(self, lines: list[bytes], signature: bytes) -> None:
        """Check the trailers, each ``name:value``. Raises SignatureDoesNotMatch.

        Clients sign them in the order of sending or sorted by name; both bind all of them.
        """
        for candidate in (lines, sorted(lines)):
            text = b"".join([line + b"\n" for line in candidate])
            expected = self._key.sign(
                b"AWS4-HMAC-SHA256-TRAILER\n%b%b\n%b"
                % (self._stamp, self._previous, sha256(text).hexdigest().encode())
            )
            if matches(expected, signature):
                return
        raise _chunk_mismatch()


class ChunkDecoder:
    """Takes the frames off a body as it arrives, in pieces of any size.

    What ``feed`` returns is data of chunks whose signature is checked only at their end: nothing
    may become visible before ``finish`` has returned. Memory is bounded by the pieces fed.
    """

    __slots__ = (
        "_announced",
        "_expected",
        "_hash",
        "_line",
        "_remaining",
        "_signature",
        "_signer",
        "_state",
        "length",
        "trailers",
    )

    def __init__(
        self,
        expected: int,
        *,
        signer: ChunkSigner | None = None,
        trailers: frozenset[str] | None = None,
    ) -> None:
        """``expected`` bytes of data; ``trailers``: names announced, None where none may come."""
        self._expected = expected
        self._signer = signer
        self._announced = trailers
        self._state = _HEADER
        self._line = bytearray()
        self._remaining = 0
        self._signature = b""
        self._hash = sha256()
        self.length = 0
        """Bytes of data so far."""
        self.trailers: dict[str, str] = {}
        """Trailers by lower-case name, complete after ``finish``."""

    def feed(self, data: Buffer) -> list[memoryview]:
        """Decode the next piece of the body; the views point into ``data``.

        Raises SignatureDoesNotMatch, IncompleteBody (more data than announced, frames that are
        none) and MalformedTrailerError. After an error the decoder is spent.
        """
        view = memoryview(data)
        pieces: list[memoryview] = []
        position, end = 0, len(view)
        while position < end:
            state = self._state
            if state == _DATA:
                piece = view[position : position + self._remaining]
                pieces.append(piece)
                position += len(piece)
                self._take(piece)
            elif state == _TRAILERS:
                self._collect_trailers(view[position:])
                position = end
            elif state == _DONE:
                raise _malformed("Data follows the last chunk.")
            else:
                position = self._frame(view, position)
        return pieces

    def finish(self) -> None:
        """The body has ended: check that it is whole, and its trailers.

        Raises IncompleteBody, MalformedTrailerError and SignatureDoesNotMatch.
        """
        if self._state == _TRAILERS:
            self._read_trailers()
            self._state = _DONE
        if self._state != _DONE or self.length != self._expected:
            raise S3Error("IncompleteBody", "The request body terminated unexpectedly")

    # -- frames ---------------------------------------------------------------------------------

    def _frame(self, view: memoryview, position: int) -> int:
        """Read on in a line of the framing; the position behind what was read."""
        limit = LINE_MAX if self._state == _HEADER else 2
        part = bytes(view[position : position + limit - len(self._line)])
        newline = part.find(b"\n")
        if newline < 0:
            self._line += part
            if len(self._line) >= limit:
                raise _malformed("A line of the chunk framing is too long.")
            return position + len(part)
        line = bytes(self._line) + part[: newline + 1]
        self._line.clear()
        if self._state == _HEADER:
            self._open_chunk(line)
        elif line != b"\r\n":
            raise _malformed("A chunk does not end where its size says.")
        else:
            self._state = _HEADER if self._state == _DATA_END else _DONE
        return position + newline + 1

    def _open_chunk(self, line: bytes) -> None:
        match = _PLAIN_LINE(line) if self._signer is None else _SIGNED_LINE(line)
        if match is None:
            raise _malformed("The header of a chunk is malformed.")
        size = int(match[1], 16)
        if self.length + size > self._expected:
            raise S3Error(
                "IncompleteBody", "The chunks hold more than x-amz-decoded-content-length says."
            )
        if self._signer is not None:
            self._signature = match[2]
        if size:
            self._remaining = size
            self._state = _DATA
        else:
            self._close_chunk()
            self._state = _LAST_END if self._announced is None else _TRAILERS

    def _take(self, piece: memoryview) -> None:
        size = len(piece)
        self.length += size
        self._remaining -= size
        if self._signer is not None:
            self._hash.update(piece)
        if not self._remaining:
            self._close_chunk()
            self._state = _DATA_END

    def _close_chunk(self) -> None:
        if self._signer is not None:
            self._signer.verify_chunk(self._hash.hexdigest().encode(), self._signature)
            self._hash = sha256()

    # -- trailers -------------------------------------------------------------------------------

    def _collect_trailers(self, view: memoryview) -> None:
        if len(self._line) + len(view) > TRAILERS_MAX:
            raise S3Error("MalformedTrailerError")
        self._line += view

    def _read_trailers(self) -> None:
        """Parse what came behind the last chunk.

        Lines may end in LF alone and be followed by an empty one before the signature: MinIO's
        own clients send them so.
        """
        section = bytes(self._line)
        if section != b"\r\n" and not section.endswith(b"\n\r\n"):
            raise S3Error("IncompleteBody", "The request body terminated unexpectedly")
        lines: list[bytes] = []
        signature = b""
        for raw in section.split(b"\n"):
            line = raw.removesuffix(b"\r")
            if not line:
                continue
            name, colon, value = line.partition(b":")
            if not colon or _TRAILER_NAME(name) is None or signature:
                raise S3Error("MalformedTrailerError")
            self._add_trailer(name.decode().lower(), value.strip(b" \t"), lines)
            signature = self.trailers.pop(_TRAILER_SIGNATURE, "").encode("latin-1")
        if self._announced != self.trailers.keys():
            raise S3Error("MalformedTrailerError")
        if self._signer is not None:
            self._signer.verify_trailers(lines, signature)
        elif signature:
            raise S3Error("MalformedTrailerError")

    def _add_trailer(self, name: str, value: bytes, lines: list[bytes]) -> None:
        if name in self.trailers:
            raise S3Error("MalformedTrailerError")
        self.trailers[name] = value.decode("latin-1")
        if name != _TRAILER_SIGNATURE:
            lines.append(name.encode() + b":" + value)


def _malformed(what: str) -> S3Error:
    """S3 has one answer to whatever is wrong with the framing; ours says what it is, too."""
    return S3Error("IncompleteBody", f"The request body terminated unexpectedly. {what}")


def _chunk_mismatch() -> S3Error:
    return S3Error("SignatureDoesNotMatch")
