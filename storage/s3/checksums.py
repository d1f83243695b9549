"""Checksums that clients send and ask for: ten algorithms, one shape.

Values are base64 of big-endian digests ("Checking object integrity", Amazon S3 User Guide).
CRCs of parts combine into the CRC of the whole without reading a byte again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from typing import Protocol

import xxhash
from awscrt import checksums as crt  # type: ignore[import-untyped]

from storage.s3.errors import S3Error

#: Digests by algorithm, in bytes.
_DIGEST_BYTES = {
    "crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32, "sha512": 64, "md5": 16,
    "xxhash64": 8, "xxhash3": 8, "xxhash128": 16,
}  # fmt: skip
ALGORITHMS = tuple(_DIGEST_BYTES)
HEADER = {name: b"x-amz-checksum-" + name.encode() for name in ALGORITHMS}
_BY_HEADER = {header: name for name, header in HEADER.items()}
_HEADERS = frozenset(_BY_HEADER)
#: How XML and x-amz-checksum-algorithm spell them.
SPELLED = {name: name.upper() for name in ALGORITHMS}
_ELEMENT = {name: f"Checksum{spelled}" for name, spelled in SPELLED.items()}
ALGORITHM_OF_ELEMENT = {element: name for name, element in _ELEMENT.items()}

FULL_OBJECT = "FULL_OBJECT"
COMPOSITE = "COMPOSITE"
#: Algorithms that a checksum type of a multipart upload excludes: only CRCs can be combined.
_IMPOSSIBLE = {
    FULL_OBJECT: tuple(name for name in ALGORITHMS if not name.startswith("crc")),
    COMPOSITE: ("crc64nvme",),
}

Buffer = bytes | bytearray | memoryview


class Hasher(Protocol):
    """What hashlib's objects and ``Crc`` have in common."""

    def update(self, data: Buffer, /) -> None: ...
    def digest(self) -> bytes: ...


class Crc:
    """A CRC with hashlib's shape."""

    __slots__ = ("_compute", "_size", "_value")

    def __init__(self, compute: Callable[[Buffer, int], int], size: int) -> None:
        self._compute = compute
        self._size = size
        self._value = 0

    def update(self, data: Buffer) -> None:
        self._value = self._compute(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


#: XXHASH3 is the one of 64 bits.
_HASHERS: dict[str, Callable[[], Hasher]] = {
    "crc32": lambda: Crc(crt.crc32, 4),
    "crc32c": lambda: Crc(crt.crc32c, 4),
    "crc64nvme": lambda: Crc(crt.crc64nvme, 8),
    "xxhash64": xxhash.xxh64,
    "xxhash3": xxhash.xxh3_64,
    "xxhash128": xxhash.xxh3_128,
}


def new(algorithm: str) -> Hasher:
    """A hasher of one of ``ALGORITHMS``."""
    hasher = _HASHERS.get(algorithm)
    return hashlib.new(algorithm, usedforsecurity=False) if hasher is None else hasher()


def encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def parse_value(algorithm: str, value: str) -> str:
    """A checksum as sent by a client. Raises BadDigest unless it is base64 of its length."""
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != _DIGEST_BYTES[algorithm]:
        raise S3Error("BadDigest", f"Value for x-amz-checksum-{algorithm} header is invalid.")
    return value


def parse_algorithm(value: str, header: str) -> str:
    """An algorithm's name as headers spell it, lower-case. Raises InvalidRequest."""
    name = value.lower()
    if name not in HEADER:
        if header == "x-amz-checksum-algorithm":
            raise S3Error(
                "InvalidRequest",
                "Checksum algorithm provided is unsupported. Please try again with any of the "
                f"valid types: [{', '.join(SPELLED.values())}]",
            )
        raise S3Error("InvalidRequest", f"Value for {header} header is invalid.")
    return name


def declared(headers: Mapping[bytes, bytes]) -> tuple[str, str] | None:
    """(algorithm, base64) of the x-amz-checksum-* header, or None.

    Raises InvalidRequest where there are several, BadDigest where the value cannot be one.
    """
    if _HEADERS.isdisjoint(headers):
        return None
    found = [(name, value) for header, name in _BY_HEADER.items() if (value := headers.get(header))]
    if not found:
        return None
    if len(found) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    name, value = found[0]
    return name, parse_value(name, value.decode("latin-1"))


def trailing(headers: Mapping[bytes, bytes]) -> str:
    """The algorithm whose checksum x-amz-trailer announces, or "". Raises InvalidRequest."""
    value = headers.get(b"x-amz-trailer")
    if value is None:
        return ""
    name = _BY_HEADER.get(value.strip().lower())
    if name is None:
        raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not "
                      "supported")  # fmt: skip
    return name


def mismatch(algorithm: str) -> S3Error:
    """The error for content that is not what its checksum says."""
    return S3Error(
        "BadDigest",
        f"The {SPELLED[algorithm]} you specified did not match the calculated checksum.",
    )


def content_md5(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The digest of Content-MD5, or None. Raises InvalidDigest."""
    value = headers.get(b"content-md5")
    if value is None:
        return None
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise S3Error("InvalidDigest")
    return digest


def compute(algorithm: str, data: Buffer) -> str:
    """The checksum of ``data``, base64."""
    hasher = new(algorithm)
    hasher.update(data)
    return encode(hasher.digest())


_COMBINE: dict[str, tuple[Callable[[int, int, int], int], int]] = {
    "crc32": (crt.combine_crc32, 4),
    "crc32c": (crt.combine_crc32c, 4),
    "crc64nvme": (crt.combine_crc64nvme, 8),
}


def combine(algorithm: str, parts: list[tuple[str, int]]) -> str:
    """FULL_OBJECT checksum from (base64, size) of the parts in order; CRCs only."""
    function, size = _COMBINE[algorithm]
    value = 0
    for text, length in parts:
        value = function(value, int.from_bytes(base64.b64decode(text), "big"), length)
    return encode(value.to_bytes(size, "big"))


def composite(algorithm: str, parts: list[str]) -> str:
    """COMPOSITE checksum: the checksum of the parts' digests, ``-`` and their number."""
    return f"{compute(algorithm, b''.join(map(base64.b64decode, parts)))}-{len(parts)}"


def upload_type(algorithm: str, requested: str) -> str:
    """The checksum type of a multipart upload. Raises InvalidRequest for pairs S3 doesn't know."""
    if not algorithm:
        if requested:
            raise S3Error(
                "InvalidRequest",
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm "
                "header.",
            )
        return ""
    if not requested:
        return FULL_OBJECT if algorithm == "crc64nvme" else COMPOSITE
    kind = requested.upper()
    if kind not in (FULL_OBJECT, COMPOSITE):
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    if algorithm in _IMPOSSIBLE[kind]:
        raise S3Error(
            "InvalidRequest",
            f"The {kind} checksum type cannot be used with the {algorithm} checksum algorithm.",
        )
    return kind


def response_headers(values: Mapping[str, str], kind: str) -> list[tuple[bytes, bytes]]:
    """x-amz-checksum-* and x-amz-checksum-type of an answer."""
    result = [(HEADER[name], value.encode()) for name, value in values.items() if name in HEADER]
    if result and kind:
        result.append((b"x-amz-checksum-type", kind.encode()))
    return result


def elements(values: Mapping[str, str], kind: str = "") -> str:
    """The same as XML elements."""
    text = "".join(f"<{_ELEMENT[n]}>{v}</{_ELEMENT[n]}>" for n, v in values.items() if n in HEADER)
    return f"{text}<ChecksumType>{kind}</ChecksumType>" if text and kind else text
