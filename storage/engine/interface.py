"""The engine's contract: what exists, and where its bytes lie.

No HTTP, no XML, no IAM in here: plain types, one protocol. Three implementations keep it
honest (``embedded``, ``memory``, later ``cluster``) and one contract suite runs over all of them
(``tests/contract``). Times are milliseconds since the epoch, sizes are bytes, keys are ``str``
and order everywhere by their UTF-8 bytes (S3's order).

Reads are ``async`` because a cluster must await a database. An engine that knows what exists
without asking anybody is ``immediate``, and answers the hottest of them as plain calls as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Protocol

import msgspec

from storage import errors

#: Largest key, in UTF-8 bytes (S3: "Object key names", 1,024 bytes).
KEY_BYTES_MAX = 1024
#: Smallest part except the last (S3: "Amazon S3 multipart upload limits").
PART_BYTES_MIN = 5 * 1024 * 1024
PART_NUMBER_MAX = 10_000
#: Bucket configuration document that the engine itself reads: ``ENABLED`` or ``SUSPENDED``. While
#: a bucket has none, its objects have one version each.
VERSIONING = "versioning"
ENABLED, SUSPENDED = b"Enabled", b"Suspended"
#: Id of the version that was written without versioning. A key has at most one.
NULL_VERSION = "null"


class FileRef(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A file of its own that holds bytes too large for the log.

    ``root`` is the checksum over the file's block checksums; opaque to everyone but the engine.
    """

    name: str
    size: int
    root: int = 0


class Part(msgspec.Struct, array_like=True, frozen=True):
    """One part of a completed multipart object, in the order of the object's bytes."""

    number: int
    size: int
    etag: str
    checksums: dict[str, str] = {}


class Meta(msgspec.Struct, array_like=True, omit_defaults=True):
    """What a version carries besides the columns that listings need. Fields are appended only.

    ``headers``: content-type, cache-control ... by lower-case name, as they are returned.
    ``metadata``: x-amz-meta-* without the prefix, lower-case. ``checksums``: base64 by
    lower-case algorithm (crc32, sha256 ...); ``checksum_type`` FULL_OBJECT or COMPOSITE.
    ``upload_id`` names the multipart upload that made the object, so that a repeated completion
    can be answered.
    """

    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    checksums: dict[str, str] = {}
    checksum_type: str = ""
    tags: dict[str, str] = {}
    parts: list[Part] = []
    upload_id: str = ""
    extra: dict[str, Any] = {}


class Version(msgspec.Struct):
    """One version of an object, as looked up or listed.

    ``etag`` is without quotes (hex MD5, or ``hex-N`` after multipart). ``place`` is the engine's
    own (where inline payload lies) and opaque. ``files`` is empty for inline payload.
    ``version_id`` is ``NULL_VERSION`` for what was written without versioning.
    """

    bucket_id: int
    key: str
    seq: int
    modified: int
    size: int
    etag: str
    owner: str
    storage_class: str
    meta: Meta
    files: tuple[FileRef, ...] = ()
    place: Any = None
    version_id: str = NULL_VERSION
    delete_marker: bool = False


class Entry(msgspec.Struct):
    """One row of a listing: only what ListObjects shows."""

    key: str
    modified: int
    size: int
    etag: str
    owner: str
    storage_class: str
    checksum_algorithm: str = ""
    checksum_type: str = ""


class VersionEntry(msgspec.Struct):
    """One row of a listing of versions. ``latest``: the newest of its key."""

    key: str
    seq: int
    version_id: str
    latest: bool
    delete_marker: bool
    modified: int
    size: int
    etag: str
    owner: str
    storage_class: str
    checksum_algorithm: str = ""
    checksum_type: str = ""


class VersionPage(msgspec.Struct):
    """A page of versions, by key, the newest of each key first.

    The cursor of the next page is (``next_key``, ``next_version``): the last version of this one,
    or a common prefix and ""; (None, None) when the listing is complete.
    """

    entries: list[VersionEntry]
    prefixes: list[str]
    next_key: str | None
    next_version: str | None


class Page(msgspec.Struct):
    """A page of a listing. ``prefixes`` are common prefixes; both lists are sorted.

    ``next_after`` is the last key or common prefix of the page (the cursor of the next one),
    ``None`` when the listing is complete.
    """

    entries: list[Entry]
    prefixes: list[str]
    next_after: str | None


class Bucket(msgspec.Struct, frozen=True):
    """A bucket. ``id`` is never reused: a bucket made again under its name starts empty.

    ``config`` holds configuration documents by name ("cors", "policy", "tagging" ...).
    """

    id: int
    name: str
    owner: str
    created: int
    region: str = ""
    config: dict[str, bytes] = {}


class Upload(msgspec.Struct):
    """A multipart upload in progress. ``meta`` is what the finished object will carry."""

    bucket_id: int
    key: str
    upload_id: str
    initiated: int
    owner: str
    storage_class: str
    meta: Meta
    checksum_algorithm: str = ""
    checksum_type: str = ""


class UploadedPart(msgspec.Struct):
    """A part of an upload in progress."""

    number: int
    size: int
    etag: str
    modified: int
    checksums: dict[str, str]
    file: FileRef


class UploadPage(msgspec.Struct):
    """A page of uploads in progress, by key, then by initiation."""

    uploads: list[Upload]
    prefixes: list[str]
    next_key: str | None
    next_upload: str | None


class Usage(msgspec.Struct, frozen=True):
    """Counters of one bucket, kept in the transaction of each change.

    ``objects`` and ``bytes`` are of what is visible, ``versions`` and ``version_bytes`` of the
    versions behind that, without delete markers, which ``markers`` counts. ``histogram`` counts
    visible objects by size with MinIO's bounds: <1 KiB, <1 MiB, <10 MiB, <64 MiB, <128 MiB,
    <512 MiB, larger.
    """

    objects: int = 0
    bytes: int = 0
    uploads: int = 0
    histogram: tuple[int, ...] = (0, 0, 0, 0, 0, 0, 0)
    versions: int = 0
    version_bytes: int = 0
    markers: int = 0


class Space(msgspec.Struct, frozen=True):
    """Capacity as the drives see it, for health, metrics and the panel."""

    total: int
    free: int
    drives_online: int
    drives_offline: int
    drives: tuple[str, ...] = ()
    inodes_total: int = 0
    inodes_free: int = 0


class Scrub(msgspec.Struct, frozen=True):
    """How the search for rot stands. Times are milliseconds, 0: never; counts are of this pass,
    or of the last one between two."""

    passes: int = 0
    """Finished ones."""
    started: int = 0
    finished: int = 0
    bytes: int = 0
    """Read and verified."""
    compared: int = 0
    """Records of the log compared with the index."""
    damages: int = 0
    """Places where the drive has lost data."""
    mismatches: int = 0
    """Differences of index and log."""
    repairs: int = 0
    """How often the index was made anew for that."""


class Expiry(msgspec.Struct, frozen=True):
    """What lifecycle rules have taken. Times are milliseconds, 0: never; counts grow from one
    start of the store to the next and beyond."""

    runs: int = 0
    """Finished ones."""
    started: int = 0
    finished: int = 0
    duration: int = 0
    """Milliseconds that the last finished run took."""
    objects: int = 0
    versions: int = 0
    """Noncurrent ones that are gone for good."""
    markers: int = 0
    uploads: int = 0
    bytes: int = 0
    """Of objects and versions."""
    backlog: int = 0
    """Things that were due when the latest run looked, and that it has not come to yet."""
    backlog_bytes: int = 0


class Following(msgspec.Struct, frozen=True):
    """How far an index is that a consumer of the feed keeps."""

    state: int = 0
    """0: there is none, 1: it still takes stock of what there was, 2: it follows the feed."""
    position: int = 0
    """It has dealt with the feed up to this seq."""
    done: int = 0
    """Objects that the stocktaking has looked at."""
    total: int = 0
    """As many as there may have been to look at."""
    objects: int = 0
    """In the index."""
    flawed: int = 0
    """Those of them that could not be read whole: damaged, or too large."""
    heard: int = 0
    """Up to when it has dealt with everything, milliseconds; 0: not known."""
    behind: int = 0
    """At most so many changes of the store it has not dealt with yet."""
    share: int = 0
    """Thousandths of the time that it may work at the moment."""

    def lag(self, now: float) -> float:
        """Seconds that it is behind; 0 where that is not known. ``now`` is seconds since 1970."""
        return max(0.0, now - self.heard / 1000) if self.heard else 0.0


class Health(msgspec.Struct, frozen=True):
    """What a store knows of its own soundness."""

    damages: int = 0
    """Damaged ranges of the log that were met since the committer started."""
    last_record: int = 0
    """Time of the last change, ms, as far as the clock could be believed; 0: not known."""
    clock_suspect: bool = False
    """The clock is more than a day off that: nothing may be done because of its time alone."""
    scrub: Scrub = Scrub()
    expiry: Expiry = Expiry()
    langfuse: Following = Following()
    """The index of Langfuse's objects."""


# -- versions -----------------------------------------------------------------------------------


def version_id(seq: int) -> str:
    """The id of the version that was committed under ``seq``."""
    return f"{seq:016x}"


def parse_version_id(text: str) -> int:
    """The number behind an id; 0 for the null version, -1 for what no version can have."""
    if text == NULL_VERSION:
        return 0
    if len(text) != 16 or not _HEXADECIMAL.issuperset(text):
        return -1
    seq = int(text, 16)
    return seq if 0 < seq < 1 << 63 else -1


_HEXADECIMAL = frozenset("0123456789abcdef")


# -- conditions ---------------------------------------------------------------------------------


class Conditions(msgspec.Struct, array_like=True, frozen=True):
    """Preconditions of RFC 9110 as S3 uses them. ``()`` and ``0`` mean "not given".

    ETags are without quotes; ``"*"`` matches any existing object. Times are milliseconds; S3
    compares whole seconds.
    """

    if_match: tuple[str, ...] = ()
    if_none_match: tuple[str, ...] = ()
    if_modified_since: int = 0
    if_unmodified_since: int = 0


def check_write(conditions: Conditions, etag: str | None) -> None:
    """Raise unless a write may replace the visible object (its ETag, or None if there is none).

    ``NoSuchKey`` where If-Match names an object that does not exist (S3 answers 404 then),
    otherwise ``PreconditionFailed``.
    """
    if conditions.if_match:
        if etag is None:
            raise errors.NoSuchKey
        if "*" not in conditions.if_match and etag not in conditions.if_match:
            raise errors.PreconditionFailed("If-Match")
    refused = conditions.if_none_match
    if refused and etag is not None and ("*" in refused or etag in refused):
        raise errors.PreconditionFailed("If-None-Match")


# -- changes --------------------------------------------------------------------------------------
# What a caller asks the engine to make true. The engine resolves each against what exists
# (preconditions, which version goes, which parts make the object) in one order for all processes.


class CreateBucket(msgspec.Struct, array_like=True, tag="cb"):
    """-> Bucket. Raises BucketExists."""

    name: str
    owner: str
    created: int
    region: str = ""
    config: dict[str, bytes] = {}


class DeleteBucket(msgspec.Struct, array_like=True, tag="db"):
    """-> None. Raises NoSuchBucket, BucketNotEmpty. Uploads in progress are aborted with it."""

    name: str
    bucket_id: int = 0
    """If not 0: a bucket of this name that is another one counts as none."""


class SetBucketConfig(msgspec.Struct, array_like=True, tag="bc"):
    """-> None. ``value`` None removes the document. Raises NoSuchBucket, Conflict."""

    name: str
    document: str
    value: bytes | None
    bucket_id: int = 0
    """If not 0: a bucket of this name that is another one counts as none."""
    expect: dict[str, bytes | None] = {}
    """Documents of the bucket that must be these (None: absent), else Conflict: whoever asked
    for the change was let in because of them."""


class PutObject(msgspec.Struct, array_like=True, tag="po"):
    """-> Committed. ``payload`` for inline bytes, else ``files`` made by ``Engine.create_file``.

    ``meta`` is an encoded Meta (``encode_meta``): workers encode, so that the committer need not.
    Raises NoSuchBucket, PreconditionFailed, NoSuchKey, StorageFull, ReadOnly, Unavailable.
    """

    bucket_id: int
    key: str
    modified: int
    size: int
    etag: str
    owner: str
    storage_class: str
    meta: bytes
    payload: bytes = b""
    files: tuple[FileRef, ...] = ()
    conditions: Conditions | None = None
    expect_seq: int = 0
    """If not 0: the visible version must have this seq, else Conflict (metadata-only copies)."""


class DeleteObject(msgspec.Struct, array_like=True, tag="do"):
    """-> Committed with ``existed``. Deleting what does not exist is no error (S3).

    Without ``version_id`` and with versioning a delete marker becomes the newest version, of
    which ``modified`` and ``owner`` tell (``modified`` 0: now). Its id is ``Committed.version_id``;
    where a version was named, that one's. ``Committed.delete_marker``: a marker was made, or was
    what went.
    """

    bucket_id: int
    key: str
    conditions: Conditions | None = None
    expect_seq: int = 0
    """If not 0: only while the newest version has this seq; otherwise nothing happens."""
    version_id: str = ""
    modified: int = 0
    owner: str = ""


class AmendObject(msgspec.Struct, array_like=True, tag="ao"):
    """-> Committed. Metadata of an existing version changes; its bytes, time and id don't.

    ``tags`` replaces the tags (None: stay). ``extra`` is merged into ``Meta.extra``, None removing
    a name. Raises NoSuchBucket, NoSuchVersion (also for delete markers), Conflict, StorageFull,
    ReadOnly.
    """

    bucket_id: int
    key: str
    seq: int
    tags: dict[str, str] | None = None
    extra: dict[str, Any] = {}
    expect: bytes = b""
    """If given: the version's Meta (encoded) must be this one, else Conflict."""


class CreateUpload(msgspec.Struct, array_like=True, tag="cu"):
    """-> None. The caller makes ``upload_id`` (random, url-safe)."""

    bucket_id: int
    key: str
    upload_id: str
    initiated: int
    owner: str
    storage_class: str
    meta: bytes
    checksum_algorithm: str = ""
    checksum_type: str = ""


class PutPart(msgspec.Struct, array_like=True, tag="pp"):
    """-> None. A part of the same number is replaced. Raises NoSuchUpload."""

    bucket_id: int
    key: str
    upload_id: str
    number: int
    modified: int
    size: int
    etag: str
    checksums: dict[str, str]
    file: FileRef


class CompletePart(msgspec.Struct, array_like=True, frozen=True):
    """What the client says of a part. ``etag`` "" and missing checksums are not compared."""

    number: int
    etag: str
    checksums: dict[str, str] = {}


class CompleteUpload(msgspec.Struct, array_like=True, tag="xu"):
    """-> Committed. The engine picks the parts, so that nothing can change in between.

    Raises NoSuchUpload, InvalidPart, PartTooSmall, PreconditionFailed, NoSuchKey. Repeating a
    completion of the upload that made the visible object returns the first answer. ``etag``,
    ``size`` and ``checksums`` are computed by the caller from the parts that it read, whose ETags
    ``parts`` therefore repeats: one that was replaced meanwhile is InvalidPart.
    """

    bucket_id: int
    key: str
    upload_id: str
    parts: list[CompletePart]
    modified: int
    etag: str
    size: int
    checksums: dict[str, str]
    checksum_type: str = ""
    conditions: Conditions | None = None


class AbortUpload(msgspec.Struct, array_like=True, tag="au"):
    """-> None. Raises NoSuchUpload."""

    bucket_id: int
    key: str
    upload_id: str


class PutSystem(msgspec.Struct, array_like=True, tag="ps"):
    """-> Committed. A system record (user, key, policy, setting ...); ``value`` None removes it.

    ``expect_seq``: None accepts any state; 0 means "must not exist"; else the record's seq.
    Raises Conflict. System records never reach consumers of the change feed.
    """

    kind: str
    name: str
    value: bytes | None
    expect_seq: int | None = None


class SetCursor(msgspec.Struct, array_like=True, tag="sc"):
    """-> None. A consumer of the feed has dealt with everything up to ``seq``."""

    consumer: str
    seq: int


Change = (
    CreateBucket
    | DeleteBucket
    | SetBucketConfig
    | PutObject
    | DeleteObject
    | AmendObject
    | CreateUpload
    | PutPart
    | CompleteUpload
    | AbortUpload
    | PutSystem
    | SetCursor
)


class Committed(msgspec.Struct, array_like=True):
    """What became of a change. For CompleteUpload ``etag`` etc. are those of the object.

    ``version_id`` is "" in a bucket that never had versioning.
    """

    seq: int = 0
    existed: bool = False
    etag: str = ""
    version_id: str = ""
    modified: int = 0
    delete_marker: bool = False


class FeedEvent(msgspec.Struct):
    """One change as consumers of the feed see it, in commit order, at least once.

    ``kind``: "put", "amend" (its metadata), "marker" (a delete marker was made), "delete" (a
    version went, ``version_id`` tells which), "bucket-create", "bucket-delete", "bucket-config". Of
    a delete, ``size``, ``etag`` and ``owner`` are those of the version ``victim`` that went, and
    ``modified`` is when it went; deletes from before this was recorded have none of them.
    """

    seq: int
    kind: str
    bucket: str
    bucket_id: int
    key: str = ""
    size: int = 0
    etag: str = ""
    modified: int = 0
    owner: str = ""
    version_id: str = NULL_VERSION
    victim: int = 0
    """Of a delete: seq of the put that it takes back."""
    multipart: bool = False
    """Of a put: it completed a multipart upload."""
    document: str = ""
    """Of a bucket-config: which document was set or removed."""


class SystemRecord(msgspec.Struct, frozen=True):
    """A system record. ``seq`` is for ``PutSystem.expect_seq``."""

    kind: str
    name: str
    value: bytes
    seq: int


class FileWriter(Protocol):
    """Bytes on their way to a file of their own. Nothing is visible before a commit names it."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. The buffer may be reused once this returns. Raises StorageFull."""

    async def room(self) -> memoryview:
        """Memory of the writer's own, never empty, for bytes that ``fill`` appends: no copy."""

    async def fill(self, count: int) -> None:
        """Append the first ``count`` bytes of ``room``, where only readers may look then."""

    async def finish(self) -> FileRef:
        """Seal and sync file and directory; what comes back may be committed."""

    async def abort(self) -> None:
        """Throw it away; repeatable, also after ``finish`` as long as nothing was committed."""


class Engine(Protocol):
    """What a store must know and do. Every method may raise Unavailable."""

    def commit(self, change: Change) -> Awaitable[Any]:
        """Make ``change`` true and durable; awaited, its outcome (see each change)."""

    def generation(self) -> int:
        """A number that grows with every change of buckets or system records (for caches)."""

    # what exists
    async def bucket(self, name: str) -> Bucket | None: ...
    async def buckets(self) -> list[Bucket]: ...
    async def usage(self, bucket_id: int) -> Usage: ...
    async def lookup(self, bucket_id: int, key: str) -> Version | None:
        """The visible version of ``key``."""

    @property
    def immediate(self) -> bool:
        """Whether ``lookup_at_once`` and ``read_at_once`` may be called."""

    def lookup_at_once(self, bucket_id: int, key: str) -> Version | None:
        """``lookup`` without waiting."""

    def read_at_once(self, version: Version) -> bytes | bytearray | None:
        """``read_inline`` where the payload is in memory; None if it has to be waited for."""

    async def version(self, bucket_id: int, key: str, version_id: str = "") -> Version | None:
        """The version of this id, or the newest one; also if it is a delete marker."""

    async def list_objects(
        self,
        bucket_id: int,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> Page:
        """Visible objects in S3's order, strictly after ``after`` (a key or a common prefix).

        At most ``limit`` entries and prefixes together. A common prefix is skipped as a whole
        when ``after`` starts with it. ``delimiter`` may be any string. ``limit`` 0: empty page.
        """

    async def list_versions(
        self,
        bucket_id: int,
        *,
        prefix: str = "",
        delimiter: str = "",
        after_key: str = "",
        after_version: str = "",
        limit: int = 1000,
    ) -> VersionPage:
        """All versions and delete markers, after those of ``after_key``.

        With ``after_version`` the older versions of ``after_key`` come first. Otherwise as
        ``list_objects``.
        """

    async def upload(self, bucket_id: int, key: str, upload_id: str) -> Upload | None: ...
    async def parts(
        self, bucket_id: int, key: str, upload_id: str, *, after: int = 0, limit: int = 10_000
    ) -> list[UploadedPart]:
        """Parts of an upload by number, after ``after``. Raises NoSuchUpload."""

    async def list_uploads(
        self,
        bucket_id: int,
        *,
        prefix: str = "",
        delimiter: str = "",
        after_key: str = "",
        after_upload: str = "",
        limit: int = 1000,
    ) -> UploadPage: ...
    async def system(self, kind: str) -> list[SystemRecord]: ...
    async def system_record(self, kind: str, name: str) -> SystemRecord | None: ...

    # bytes
    async def read_inline(self, version: Version) -> bytes:
        """The whole payload of a version without files, checksum verified.

        Raises DataCorrupt. A version that was moved or replaced meanwhile is looked up once more.
        """

    def read(self, version: Version, start: int, stop: int) -> AsyncIterator[memoryview | bytes]:
        """Bytes [start, stop) in blocks of at most 1 MiB, each verified before it is yielded.

        A block is valid until the next one is asked for. Closing the iterator frees everything.
        """

    async def create_file(self, size_hint: int = 0) -> FileWriter: ...

    # feed and operation
    async def changes(self, after: int, limit: int = 1000) -> Sequence[FeedEvent]:
        """Events with seq > ``after`` in order, up to what is applied; empty when caught up."""

    async def cursors(self) -> dict[str, int]:
        """Position of each consumer of the feed (``SetCursor``) by its name."""

    async def space(self) -> Space: ...
    async def health(self) -> Health: ...
    def inline_limit(self) -> int:
        """Largest payload that belongs into ``PutObject.payload`` (default 128 KiB)."""

    async def close(self) -> None: ...


_encoder = msgspec.msgpack.Encoder()
_meta_decoder = msgspec.msgpack.Decoder(Meta)
EMPTY_META = _encoder.encode(Meta())


def encode_meta(meta: Meta) -> bytes:
    """Encode for ``PutObject.meta`` (msgpack; the layout is in docs/format.md)."""
    return _encoder.encode(meta)


def decode_meta(data: bytes) -> Meta:
    """The inverse of ``encode_meta``; older layouts have fewer fields."""
    return _meta_decoder.decode(data)


def amended(meta: Meta, change: AmendObject) -> Meta:
    """``meta`` as ``change`` leaves it. Raises Conflict where it is not what is expected."""
    if change.expect and decode_meta(change.expect) != meta:
        raise errors.Conflict
    extra = {name: value for name, value in meta.extra.items() if name not in change.extra}
    extra |= {name: value for name, value in change.extra.items() if value is not None}
    tags = meta.tags if change.tags is None else change.tags
    return msgspec.structs.replace(meta, tags=tags, extra=extra)
