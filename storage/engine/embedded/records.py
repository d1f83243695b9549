"""What the log says: one body per kind of record (docs/format.md, "Bodies").

Bodies hold *resolved effects*, applied unconditionally: which version goes, which parts make the
object. Nothing here decides anything. Fields are appended only.
"""

from __future__ import annotations

from typing import Any

import msgspec

from storage.engine import interface
from storage.engine.interface import FileRef

PUT = 1
DELETE = 2
BUCKET = 3
BUCKET_DELETE = 4
BUCKET_CONFIG = 5
UPLOAD = 6
PART = 7
ABORT = 8
SYSTEM = 9
CURSOR = 10
RELOCATION = 11
EPOCH = 12
AMENDMENT = 13

#: Flags of puts and deletions (docs/decisions/0004-versions.md). The version has an id of its own;
#: without this flag it is the null version of its key.
OWN_ID = 1
#: A delete marker: a version without bytes that hides the others.
MARKER = 2


class Put(msgspec.Struct, array_like=True, gc=False):
    """An object's new newest version. ``upload`` is the seq of the upload that it completes."""

    bucket: int
    key: str
    modified: int
    size: int
    etag: str
    owner: str
    storage_class: str
    meta: bytes
    files: tuple[FileRef, ...]
    floor: int
    upload: int = 0
    upload_floor: int = 0
    flags: int = 0


class Delete(msgspec.Struct, array_like=True, gc=False):
    """The version ``victim`` goes: with ``OWN_ID`` that one, else whatever is the null version.

    What it was, and when it went, is for the feed.
    """

    bucket: int
    key: str
    victim: int
    floor: int
    size: int = 0
    etag: str = ""
    owner: str = ""
    time: int = 0
    flags: int = 0


class MakeBucket(msgspec.Struct, array_like=True, gc=False):
    """A bucket, whose id is the record's commit sequence number."""

    name: str
    owner: str
    created: int
    region: str
    config: dict[str, bytes]


class DropBucket(msgspec.Struct, array_like=True, gc=False):
    """A bucket goes, and its uploads in progress with it. ``owner`` is for the feed."""

    bucket: int
    name: str
    floor: int
    owner: str = ""


class Config(msgspec.Struct, array_like=True, gc=False):
    """A configuration document of a bucket; ``value`` None removes it."""

    bucket: int
    document: str
    value: bytes | None
    floor: int


class Upload(msgspec.Struct, array_like=True, gc=False):
    """A multipart upload begins; elsewhere it is named by this record's sequence number."""

    bucket: int
    key: str
    upload_id: str
    initiated: int
    owner: str
    storage_class: str
    meta: bytes
    algorithm: str
    checksum_type: str


class PutPart(msgspec.Struct, array_like=True, gc=False):
    """A part of an upload; one of the same number is replaced."""

    upload: int
    number: int
    modified: int
    size: int
    etag: str
    checksums: dict[str, str]
    file: FileRef
    floor: int


class Abort(msgspec.Struct, array_like=True, gc=False):
    """An upload goes with its parts."""

    upload: int
    floor: int


class System(msgspec.Struct, array_like=True, gc=False):
    """A system record; ``value`` None removes it."""

    kind: str
    name: str
    value: bytes | None
    floor: int


class Cursor(msgspec.Struct, array_like=True, gc=False):
    """A consumer of the feed has dealt with everything up to ``position``."""

    consumer: str
    position: int
    floor: int


class Relocation(msgspec.Struct, array_like=True, gc=False):
    """Another place for a record: its type, commit sequence number, first segment and body."""

    type: int
    seq: int
    origin: int
    body: bytes


class Amendment(Relocation, array_like=True, gc=False):
    """Another place and another body for a put: metadata of a version changed."""


class Epoch(msgspec.Struct, array_like=True, gc=False):
    """The first record of every committer. ``time`` is the believed one (``clock.Clock``), ms."""

    epoch: int
    host: str
    pid: int
    time: int = 0


Body = (
    Put
    | Delete
    | MakeBucket
    | DropBucket
    | Config
    | Upload
    | PutPart
    | Abort
    | System
    | Cursor
    | Relocation
    | Amendment
    | Epoch
)

CLASSES: dict[int, type[Any]] = {
    PUT: Put,
    DELETE: Delete,
    BUCKET: MakeBucket,
    BUCKET_DELETE: DropBucket,
    BUCKET_CONFIG: Config,
    UPLOAD: Upload,
    PART: PutPart,
    ABORT: Abort,
    SYSTEM: System,
    CURSOR: Cursor,
    RELOCATION: Relocation,
    EPOCH: Epoch,
    AMENDMENT: Amendment,
}
_decoders = {kind: msgspec.msgpack.Decoder(cls).decode for kind, cls in CLASSES.items()}

encode = msgspec.msgpack.Encoder().encode
"""Encode a body."""


def decode(kind: int, body: bytes | memoryview) -> Any:
    """Decode the body of a record of type ``kind``. Raises ``msgspec.MsgspecError``."""
    return _decoders[kind](body)


def version_id(seq: int, flags: int) -> str:
    """The id of the version that was committed under ``seq`` with these flags."""
    return interface.version_id(seq) if flags & OWN_ID else interface.NULL_VERSION


def unwrap(kind: int, seq: int, body: bytes) -> tuple[int, int, int, bytes]:
    """(type, commit sequence number, first segment or 0, body) of a record or what it moves."""
    if kind not in (RELOCATION, AMENDMENT):
        return kind, seq, 0, body
    moved = _decoders[kind](body)
    return moved.type, moved.seq, moved.origin, moved.body


def hides(kind: int, body: Any) -> int | None:
    """The floor of a tombstone; None if a record of this kind hides nothing.

    For a put that is no longer visible but had completed an upload, the floor of that upload
    (it then stands for an ``Abort``, see ``as_tombstone``).
    """
    if kind in (DELETE, BUCKET_DELETE, ABORT):
        return int(body.floor)
    if kind == SYSTEM:
        return int(body.floor) if body.value is None else None
    if kind == PUT and body.upload:
        return int(body.upload_floor)
    return None


def as_tombstone(kind: int, body: Any) -> tuple[int, Any]:
    """What remains of a dead record that still hides older ones."""
    if kind == PUT:
        return ABORT, Abort(body.upload, body.upload_floor)
    return kind, body
