"""The index: what exists and where it lies, in SQLite. Derived from the log, disposable.

``Writer`` is the committer's: it holds one transaction per batch open from the first
precondition to after the log's sync, so that preconditions see the batch's own changes, and
``apply`` makes a record true in it. Commit, replay and rebuild all use this one ``apply``.
Everyone else reads through ``reader.Reader``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import apsw
import apsw.sqlite_extra
import msgspec

from storage import errors
from storage.engine import interface
from storage.engine.embedded import io, records
from storage.engine.embedded.log import Applied
from storage.engine.embedded.segment import Place, Record
from storage.engine.interface import FileRef

SCHEMA_VERSION = 2
SQLITE_MIN = 3_051_003
"""Older releases can corrupt a WAL that several connections reset."""
FILE = "index.db"
PAGE_BYTES = 4096
HISTOGRAM_BOUNDS = (1 << 10, 1 << 20, 10 << 20, 64 << 20, 128 << 20, 512 << 20)
ALGORITHMS = (
    "", "crc32", "crc32c", "crc64nvme", "sha1", "sha256", "sha512", "md5", "xxhash64", "xxhash3",
    "xxhash128",
)  # fmt: skip
CHECKSUM_TYPES = ("", "FULL_OBJECT", "COMPOSITE")
STANDARD = "STANDARD"
_OBJECT_COLUMNS = """
    bucket   INTEGER NOT NULL,   -- commit seq of the bucket's record
    key      BLOB NOT NULL,      -- UTF-8
    seq      INTEGER NOT NULL,   -- commit seq
    modified INTEGER NOT NULL,   -- ms
    size     INTEGER NOT NULL,
    etag     ANY NOT NULL,       -- 16 bytes for a plain MD5, else text
    class    TEXT,               -- NULL: STANDARD
    owner    TEXT,               -- NULL: the bucket's owner
    checks   INTEGER NOT NULL,   -- checksum algorithm | type << 4, for listings
    segment  INTEGER NOT NULL,   -- where the record lies
    offset   INTEGER NOT NULL,   -- of the payload
    crc      INTEGER NOT NULL,   -- 63-bit checksum of the payload
    weight   INTEGER NOT NULL,   -- bytes of the record in the segment
    floor    INTEGER NOT NULL,   -- lowest segment that may hold an older record of this thing
    flags    INTEGER NOT NULL,   -- 1: has an id of its own, else the null version; 2: delete marker
    record   INTEGER,            -- seq of the record itself, if it was moved or amended
    files    BLOB,               -- NULL: inline; else MessagePack [[name, size, root] ...]
    meta     BLOB NOT NULL,      -- interface.Meta, as the worker encoded it
"""
SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE buckets (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
    created INTEGER NOT NULL, region TEXT NOT NULL, config BLOB NOT NULL, -- as created
    segment INTEGER NOT NULL, weight INTEGER NOT NULL, floor INTEGER NOT NULL
) STRICT;
CREATE TABLE bucket_config (
    bucket INTEGER NOT NULL, document TEXT NOT NULL, seq INTEGER NOT NULL,
    value BLOB,                  -- NULL: removed, though the bucket was created with it
    segment INTEGER NOT NULL, weight INTEGER NOT NULL, floor INTEGER NOT NULL,
    PRIMARY KEY (bucket, document)
) STRICT, WITHOUT ROWID;
CREATE TABLE bucket_names (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT; -- gone ones, too
CREATE TABLE usage (
    bucket INTEGER PRIMARY KEY, objects INTEGER NOT NULL, bytes INTEGER NOT NULL,
    uploads INTEGER NOT NULL, h0 INTEGER NOT NULL, h1 INTEGER NOT NULL, h2 INTEGER NOT NULL,
    h3 INTEGER NOT NULL, h4 INTEGER NOT NULL, h5 INTEGER NOT NULL, h6 INTEGER NOT NULL,
    versions INTEGER NOT NULL,   -- behind the visible ones, without delete markers
    version_bytes INTEGER NOT NULL, markers INTEGER NOT NULL
) STRICT;
CREATE TABLE current ({_OBJECT_COLUMNS} PRIMARY KEY (bucket, key)) STRICT, WITHOUT ROWID;
CREATE TABLE versions ({_OBJECT_COLUMNS} PRIMARY KEY (bucket, key, seq DESC)) STRICT, WITHOUT ROWID;
CREATE INDEX null_versions ON versions (bucket, key) WHERE flags & {records.OWN_ID} = 0;
CREATE TABLE uploads (
    bucket INTEGER NOT NULL, key BLOB NOT NULL, initiated INTEGER NOT NULL, upload_id TEXT NOT NULL,
    seq INTEGER NOT NULL UNIQUE, owner TEXT NOT NULL, class TEXT NOT NULL, algorithm TEXT NOT NULL,
    type TEXT NOT NULL, segment INTEGER NOT NULL, weight INTEGER NOT NULL, floor INTEGER NOT NULL,
    meta BLOB NOT NULL,
    PRIMARY KEY (bucket, key, initiated, upload_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE parts (
    upload INTEGER NOT NULL, number INTEGER NOT NULL, seq INTEGER NOT NULL, size INTEGER NOT NULL,
    etag TEXT NOT NULL, modified INTEGER NOT NULL, checksums BLOB NOT NULL, file BLOB NOT NULL,
    segment INTEGER NOT NULL, weight INTEGER NOT NULL, floor INTEGER NOT NULL,
    PRIMARY KEY (upload, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE system (
    kind TEXT NOT NULL, name TEXT NOT NULL, seq INTEGER NOT NULL, value BLOB NOT NULL,
    segment INTEGER NOT NULL, weight INTEGER NOT NULL, floor INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE cursors (
    consumer TEXT PRIMARY KEY, position INTEGER NOT NULL, seq INTEGER NOT NULL,
    segment INTEGER NOT NULL, weight INTEGER NOT NULL, floor INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE segments (
    id INTEGER PRIMARY KEY,
    length INTEGER NOT NULL,     -- sealed length; 0: still written
    records INTEGER NOT NULL,    -- all ever written to it
    bytes INTEGER NOT NULL,      -- weight of all records ever written to it
    live INTEGER NOT NULL,       -- records that the index names
    live_bytes INTEGER NOT NULL, -- their weight
    min_seq INTEGER NOT NULL, max_seq INTEGER NOT NULL
) STRICT;
CREATE TABLE garbage (
    file TEXT PRIMARY KEY, size INTEGER NOT NULL,
    seq INTEGER NOT NULL         -- commit that let go of it
) STRICT, WITHOUT ROWID;
"""


class Old(NamedTuple):
    """What a change must know of a version that it replaces."""

    seq: int
    size: int
    etag: bytes | str
    segment: int
    offset: int
    weight: int
    floor: int
    flags: int
    files: bytes | None


class Found(NamedTuple):
    """A version, and the table it is in: what is visible, or the rest."""

    old: Old
    table: str


class ObjectRow(NamedTuple):
    """A whole row of ``current`` or ``versions``."""

    bucket: int
    key: bytes
    seq: int
    modified: int
    size: int
    etag: bytes | str
    storage_class: str | None
    owner: str | None
    checks: int
    segment: int
    offset: int
    crc: int
    weight: int
    floor: int
    flags: int
    record: int | None
    files: bytes | None
    meta: bytes


class Held(NamedTuple):
    """Commit seq and place of a record that the index names."""

    seq: int
    segment: int
    weight: int
    floor: int


class UploadRow(NamedTuple):
    """An upload in progress."""

    seq: int
    bucket: int
    key: bytes
    initiated: int
    upload_id: str
    owner: str
    storage_class: str
    algorithm: str
    type: str
    segment: int
    weight: int
    floor: int
    meta: bytes


class PartRow(NamedTuple):
    """A part of an upload in progress. ``checksums`` and ``file`` are encoded."""

    number: int
    seq: int
    size: int
    etag: str
    modified: int
    checksums: bytes
    file: bytes
    segment: int
    weight: int
    floor: int


class SegmentRow(NamedTuple):
    """What the index counts of a segment; ``length`` 0: still written."""

    id: int
    length: int
    records: int
    bytes: int
    live: int
    live_bytes: int
    min_seq: int
    max_seq: int


class _Checks(msgspec.Struct, array_like=True, gc=False):
    """The first fields of ``interface.Meta``: what listings show of checksums."""

    headers: msgspec.Raw = msgspec.Raw()
    metadata: msgspec.Raw = msgspec.Raw()
    checksums: dict[str, str] = {}
    checksum_type: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode_checks = msgspec.msgpack.Decoder(_Checks).decode
decode_files = msgspec.msgpack.Decoder(tuple[FileRef, ...]).decode
decode_file = msgspec.msgpack.Decoder(FileRef).decode
decode_checksums = msgspec.msgpack.Decoder(dict[str, str]).decode
decode_config = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def pack_etag(etag: str) -> bytes | str:
    """A plain MD5 as 16 bytes, anything else as it is."""
    if len(etag) == 32:
        try:
            packed = bytes.fromhex(etag)
        except ValueError:
            return etag
        if packed.hex() == etag:
            return packed
    return etag


def unpack_etag(etag: bytes | str) -> str:
    """The inverse of ``pack_etag``."""
    return etag if isinstance(etag, str) else etag.hex()


def pack_checks(meta: bytes) -> int:
    """Checksum algorithm and type of an encoded Meta as one small number."""
    if meta == interface.EMPTY_META:
        return 0
    checks = _decode_checks(meta)
    if not checks.checksums:
        return 0
    name = next(iter(checks.checksums))
    kind = checks.checksum_type
    algorithm = ALGORITHMS.index(name) if name in ALGORITHMS else 0
    return algorithm | (CHECKSUM_TYPES.index(kind) if kind in CHECKSUM_TYPES else 0) << 4


def size_class(size: int) -> int:
    """Which bar of the histogram an object of ``size`` bytes belongs to."""
    for index, bound in enumerate(HISTOGRAM_BOUNDS):
        if size < bound:
            return index
    return len(HISTOGRAM_BOUNDS)


def check_sqlite() -> None:
    """Raise ``DriveRefused`` where SQLite is too old to be trusted with several connections."""
    if apsw.SQLITE_VERSION_NUMBER < SQLITE_MIN:
        raise errors.DriveRefused(
            f"SQLite {apsw.sqlite_lib_version()} is too old for several processes: "
            "install apsw 3.51.3 or later."
        )


def _checksum_vfs() -> str | None:
    """Name of SQLite's VFS that keeps a checksum in each page; None if apsw came without it.

    It verifies pages as they are read (https://sqlite.org/cksumvfs.html): a rotten one is an
    ``apsw.IOError`` instead of a wrong answer.
    """
    if _CHECKSUM_VFS not in apsw.vfs_names():
        try:
            apsw.sqlite_extra.load(apsw.Connection(":memory:"), "cksumvfs")
        except (apsw.Error, apsw.sqlite_extra.NotAvailable, OSError) as error:
            logging.getLogger("oversight.index").warning("the index has no checksums: %s", error)
            return None
    return _CHECKSUM_VFS


_CHECKSUM_VFS = "cksmvfs"
_CHECKSUM_BYTES = 8
_vfs = _checksum_vfs()


def connect(path: str, *, write: bool = False, create: bool = False) -> apsw.Connection:
    """A connection with our settings; for readers nothing can be changed through it."""
    flags = apsw.SQLITE_OPEN_READWRITE if write else apsw.SQLITE_OPEN_READONLY
    if create:
        flags |= apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(path, flags=flags, vfs=_vfs, statementcachesize=200)
    connection.set_busy_timeout(_BUSY_WAIT)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    # A WAL that a burst has blown up is cut back when it starts anew, not kept for good.
    connection.execute("PRAGMA journal_size_limit=33554432")
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA cache_size=-32768")
    return connection


def holders(folder: str) -> list[int]:
    """Other processes that read a state of the index at this moment; empty if that is not known.

    SQLite's readers lock one of the bytes 123 to 127 of the ``-shm`` file ("WAL-mode File Format",
    2.3). Opening that file here would be wrong: closing it gives all of our own locks on it back.
    """
    try:
        inode = os.stat(os.path.join(folder, FILE + "-shm")).st_ino
        with open("/proc/locks") as file:
            rows = [line.split() for line in file]
    except OSError:
        return []
    found = set()
    for row in rows:
        if len(row) == 8 and row[5].endswith(f":{inode}") and 123 <= int(row[6]) <= 127:
            found.add(int(row[4]))
    return sorted(found - {os.getpid(), 0, -1})


def remove(folder: str) -> None:
    """Delete the index's files. Nobody may have them open for writing."""
    for suffix in ("-wal", "-shm", ""):
        path = os.path.join(folder, FILE + suffix)
        if os.path.exists(path):
            io.unlink(path)


def last_applied(folder: str, store_id: str) -> Applied | None:
    """What an index that is to be made anew says it has followed; None if it can't tell."""
    try:
        connection = connect(os.path.join(folder, FILE))
    except apsw.Error:
        return None
    try:
        rows: list[Any] = connection.execute("SELECT name, value FROM meta").fetchall()
        found = dict(rows)
        if found.get("store") != store_id:
            return None
        return msgspec.msgpack.decode(found["applied"], type=Applied)
    except (apsw.Error, msgspec.MsgspecError, LookupError, TypeError):
        return None
    finally:
        connection.close()


_COUNTERS = 13
_BUSY_WAIT = 10_000
_CHECKPOINT_WAIT = 20
"""Milliseconds that a lock of SQLite's is waited for."""
_OLD_COLUMNS = "seq, size, etag, segment, offset, weight, floor, flags, files"
_OLD = f"SELECT {_OLD_COLUMNS} FROM current WHERE bucket=? AND key=?"  # noqa: S608
CURRENT, VERSIONS = "current", "versions"
_PUT_INTO = {
    table: f"REPLACE INTO {table} VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608
    for table in (CURRENT, VERSIONS)
}
_PUT = _PUT_INTO[CURRENT]
_PUT_NEW = """INSERT INTO current VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (bucket, key) DO NOTHING"""
_NOBODY: Any = object()
UPLOAD_COLUMNS = (
    "seq, bucket, key, initiated, upload_id, owner, class, algorithm, type, segment, weight, "
    "floor, meta"
)
PART_COLUMNS = "number, seq, size, etag, modified, checksums, file, segment, weight, floor"


class Writer:
    """The committer's connection. ``begin``, then reads and ``apply``, then ``commit``."""

    def __init__(self, folder: str, store_id: str) -> None:
        """Open or create. Raises ``apsw.Error`` on damage, ``Foreign`` if it is another store's."""
        check_sqlite()
        self.path = os.path.join(folder, FILE)
        if not os.path.exists(self.path):
            remove(folder)  # a WAL without its database is another one's
        self.connection = connect(self.path, write=True, create=True)
        self._execute = self.connection.cursor().execute
        self._changes = self.connection.changes
        self.wal_pages = 0
        """Pages in the WAL since it was last begun anew (the file itself never shrinks)."""
        self.connection.set_wal_hook(self._note_wal)
        self._owners: dict[int, str | None] = {}
        self._versioning: dict[int, bytes | None] = {}
        self._usage: dict[int, list[int]] = {}
        self._live: dict[int, list[int]] = {}
        self._written: dict[int, list[int]] = {}
        self._prepare(store_id)

    def _prepare(self, store_id: str) -> None:
        version = self.one("PRAGMA user_version")[0]
        if version == 0:
            self._execute(f"PRAGMA page_size={PAGE_BYTES}")
            if _vfs is not None:
                self.connection.reserve_bytes(reserve=_CHECKSUM_BYTES)
            self._execute("PRAGMA journal_mode=WAL")
            self._execute("BEGIN IMMEDIATE")
            self._execute(SCHEMA)
            self.set_meta("store", store_id)
            self._execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self._execute("COMMIT")
        elif version != SCHEMA_VERSION or self.get_meta("store") != store_id:
            self.connection.close()
            raise Foreign(f"schema {version}")

    # -- plain access

    def one(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The first row of a query that has one."""
        return self._execute(sql, values).fetchall()[0]

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""
        return list(self._execute(sql, values).fetchall())

    def has_garbage_of(self, generation: int) -> bool:
        """Whether files of a generation wait to be unlinked (``files.file_name``)."""
        prefix = f"{generation:08x}-"
        return bool(
            self.rows(
                "SELECT 1 FROM garbage WHERE file > ? AND file < ? LIMIT 1",
                (prefix, prefix + "g"),
            )
        )

    def get_meta(self, name: str) -> Any:
        found = self.rows("SELECT value FROM meta WHERE name=?", (name,))
        return found[0][0] if found else None

    def set_meta(self, name: str, value: Any) -> None:
        self._execute("REPLACE INTO meta VALUES (?,?)", (name, value))

    @property
    def epoch(self) -> int:
        """The highest epoch whose record was applied; 0: none."""
        return int(self.get_meta("epoch") or 0)

    def applied(self) -> Applied | None:
        """How far this index has followed the log; None if it is empty."""
        raw = self.get_meta("applied")
        return None if raw is None else msgspec.msgpack.decode(raw, type=Applied)

    # -- transactions

    def begin(self) -> None:
        self._execute("BEGIN IMMEDIATE")

    def commit(self, applied: Applied) -> None:
        """Write the counters and ``applied``, and make the transaction visible."""
        self._write_counters()
        self._execute("REPLACE INTO meta VALUES ('applied', ?)", (_encode(applied),))
        self._execute("COMMIT")
        self._forget_counters()

    def commit_bookkeeping(self) -> None:
        """Commit a transaction that followed no batch (segments dropped, garbage collected)."""
        self._write_counters()
        self._execute("COMMIT")
        self._forget_counters()

    def rollback(self) -> None:
        """Undo the transaction, if one is open."""
        if self.connection.in_transaction:
            self._execute("ROLLBACK")
        self._forget_counters()
        self._owners.clear()
        self._versioning.clear()

    def _forget_counters(self) -> None:
        self._usage.clear()
        self._live.clear()
        self._written.clear()

    def _write_counters(self) -> None:
        for bucket, delta in self._usage.items():
            self._execute(
                "UPDATE usage SET objects=objects+?, bytes=bytes+?, uploads=uploads+?, h0=h0+?, "
                "h1=h1+?, h2=h2+?, h3=h3+?, h4=h4+?, h5=h5+?, h6=h6+?, versions=versions+?, "
                "version_bytes=version_bytes+?, markers=markers+? WHERE bucket=?",
                (*delta, bucket),
            )
        for segment, (count, weight, low, high) in self._written.items():
            live, live_bytes = self._live.pop(segment, (0, 0))
            self._execute(
                "INSERT INTO segments VALUES (?,0,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET "
                "records=records+excluded.records, bytes=bytes+excluded.bytes, "
                "live=live+excluded.live, live_bytes=live_bytes+excluded.live_bytes, "
                "min_seq=min(iif(min_seq, min_seq, excluded.min_seq), excluded.min_seq), "
                "max_seq=max(max_seq, excluded.max_seq)",
                (segment, count, weight, live, live_bytes, low, high),
            )
        for segment, (live, live_bytes) in self._live.items():
            self._execute(
                "UPDATE segments SET live=live+?, live_bytes=live_bytes+? WHERE id=?",
                (live, live_bytes, segment),
            )

    def _note_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK

    def checkpoint(self, mode: int = apsw.SQLITE_CHECKPOINT_PASSIVE) -> tuple[int, int]:
        """Move the WAL into the database; (frames in the WAL, frames moved).

        Waits for readers a moment at most, for commits wait meanwhile. Raises ``apsw.BusyError``.
        """
        self.connection.set_busy_timeout(_CHECKPOINT_WAIT)
        try:
            frames, moved = self.connection.wal_checkpoint(mode=mode)
        finally:
            self.connection.set_busy_timeout(_BUSY_WAIT)
        if mode != apsw.SQLITE_CHECKPOINT_PASSIVE:
            self.wal_pages = 0  # the next transaction begins it anew
        return frames, moved

    def close(self) -> None:
        self.rollback()
        self.connection.close()

    # -- counters

    def _count(self, bucket: int, size: int, sign: int) -> None:
        delta = self._usage.get(bucket)
        if delta is None:
            delta = self._usage[bucket] = [0] * _COUNTERS
        delta[0] += sign
        delta[1] += sign * size
        delta[3 + size_class(size)] += sign

    def _count_hidden(self, bucket: int, old: Old, sign: int) -> None:
        delta = self._usage.setdefault(bucket, [0] * _COUNTERS)
        if old.flags & records.MARKER:
            delta[12] += sign
        else:
            delta[10] += sign
            delta[11] += sign * old.size

    def _count_upload(self, bucket: int, sign: int) -> None:
        self._usage.setdefault(bucket, [0] * _COUNTERS)[2] += sign

    def _born(self, segment: int, weight: int) -> None:
        delta = self._live.get(segment)
        if delta is None:
            delta = self._live[segment] = [0, 0]
        delta[0] += 1
        delta[1] += weight

    def _died(self, segment: int, weight: int) -> None:
        delta = self._live.get(segment)
        if delta is None:
            delta = self._live[segment] = [0, 0]
        delta[0] -= 1
        delta[1] -= weight

    def wrote(self, segment: int, first_seq: int, count: int, weight: int) -> None:
        """A batch of ``count`` records went into ``segment``."""
        last = first_seq + count - 1
        delta = self._written.get(segment)
        if delta is None:
            self._written[segment] = [count, weight, first_seq, last]
        else:
            delta[0] += count
            delta[1] += weight
            delta[2] = min(delta[2], first_seq)
            delta[3] = max(delta[3], last)

    def sealed(self, segment: int, length: int) -> None:
        """A segment was closed at ``length``."""
        self._execute("UPDATE segments SET length=? WHERE id=?", (length, segment))

    # -- reading inside the transaction

    def owner(self, bucket: int) -> str:
        """The owner of a bucket. Raises NoSuchBucket."""
        found = self._owners.get(bucket)
        if found is None:
            rows = self.rows("SELECT owner FROM buckets WHERE id=?", (bucket,))
            if not rows:
                raise errors.NoSuchBucket
            found = self._owners[bucket] = rows[0][0]
        return str(found)

    def bucket_named(self, name: str) -> tuple[int, str, int] | None:
        """(id, owner, floor) of a bucket."""
        found = self.rows("SELECT id, owner, floor FROM buckets WHERE name=?", (name,))
        return found[0] if found else None

    def owner_of(self, bucket: int, key: bytes, found: Found) -> str:
        """The owner of a version that was found."""
        sql = f"SELECT owner FROM {found.table} WHERE bucket=? AND key=? AND seq=?"  # noqa: S608
        owner = self.one(sql, (bucket, key, found.old.seq))[0]
        return self.owner(bucket) if owner is None else str(owner)

    def old(self, bucket: int, key: bytes) -> Old | None:
        """What is visible under a key."""
        found: list[Any] = self._execute(_OLD, (bucket, key)).fetchall()
        return Old(*found[0]) if found else None

    def versioning(self, bucket: int) -> bytes | None:
        """The bucket's document ``interface.VERSIONING``; None if it never had one."""
        state = self._versioning.get(bucket, _NOBODY)
        if state is _NOBODY:
            state = self._versioning[bucket] = self._read_versioning(bucket)
        return state  # type: ignore[no-any-return]

    def _read_versioning(self, bucket: int) -> bytes | None:
        sql = "SELECT value FROM bucket_config WHERE bucket=? AND document=?"
        found = self._first(sql, (bucket, interface.VERSIONING))
        if found is not None:
            return found[0] or b""
        return self._made_with(bucket, interface.VERSIONING)

    def document(self, bucket: int, name: str) -> bytes | None:
        """The value of a bucket's configuration document, None where it has none."""
        sql = "SELECT value FROM bucket_config WHERE bucket=? AND document=?"
        found = self._first(sql, (bucket, name))
        return self._made_with(bucket, name) if found is None else found[0]

    def _made_with(self, bucket: int, document: str) -> bytes | None:
        """The value that a document had when the bucket was made."""
        made = self._first("SELECT config FROM buckets WHERE id=?", (bucket,))
        return decode_config(made[0]).get(document) if made else None

    def find(self, bucket: int, key: bytes, seq: int) -> Found | None:
        """The version of a key that was committed as ``seq``."""
        old = self.old(bucket, key)
        if old is not None and old.seq == seq:
            return Found(old, CURRENT)
        sql = f"SELECT {_OLD_COLUMNS} FROM versions WHERE bucket=? AND key=? AND seq=?"  # noqa: S608
        row = self._first(sql, (bucket, key, seq))
        return Found(Old(*row), VERSIONS) if row else None

    def find_null(self, bucket: int, key: bytes) -> Found | None:
        """The null version of a key."""
        old = self.old(bucket, key)
        if old is not None and not old.flags & records.OWN_ID:
            return Found(old, CURRENT)
        row = self._first(
            f"SELECT {_OLD_COLUMNS} FROM versions INDEXED BY null_versions "  # noqa: S608
            f"WHERE bucket=? AND key=? AND flags & {records.OWN_ID} = 0",
            (bucket, key),
        )
        return Found(Old(*row), VERSIONS) if row else None

    def newest(self, bucket: int, key: bytes) -> Found | None:
        """The newest version of a key; also a delete marker."""
        old = self.old(bucket, key)
        if old is not None:
            return Found(old, CURRENT)
        row = self._first(
            f"SELECT {_OLD_COLUMNS} FROM versions WHERE bucket=? AND key=? "  # noqa: S608
            "ORDER BY seq DESC LIMIT 1",
            (bucket, key),
        )
        return Found(Old(*row), VERSIONS) if row else None

    def whole(self, bucket: int, key: bytes, found: Found) -> ObjectRow:
        """All columns of a version that was found."""
        sql = f"SELECT * FROM {found.table} WHERE bucket=? AND key=? AND seq=?"  # noqa: S608
        return ObjectRow._make(self.one(sql, (bucket, key, found.old.seq)))

    def meta_of(self, bucket: int, key: bytes) -> tuple[int, bytes]:
        """(modified, encoded meta) of the visible version of a key that has one."""
        sql = "SELECT modified, meta FROM current WHERE bucket=? AND key=?"
        modified, meta = self.one(sql, (bucket, key))
        return modified, meta

    def is_empty(self, bucket: int) -> bool:
        return not any(
            self.rows(f"SELECT 1 FROM {table} WHERE bucket=? LIMIT 1", (bucket,))  # noqa: S608
            for table in (CURRENT, VERSIONS)
        )

    def find_upload(self, bucket: int, key: bytes, upload_id: str) -> UploadRow | None:
        found = self.rows(
            f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket=? AND key=? AND upload_id=?",  # noqa: S608
            (bucket, key, upload_id),
        )
        return UploadRow(*found[0]) if found else None

    def upload(self, seq: int) -> UploadRow | None:
        found = self.rows(
            f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE seq=?",  # noqa: S608
            (seq,),
        )
        return UploadRow(*found[0]) if found else None

    def uploads_of(self, bucket: int) -> list[int]:
        return [row[0] for row in self.rows("SELECT seq FROM uploads WHERE bucket=?", (bucket,))]

    def parts(self, upload: int) -> list[PartRow]:
        return [
            PartRow(*row)
            for row in self.rows(
                f"SELECT {PART_COLUMNS} FROM parts WHERE upload=? ORDER BY number",  # noqa: S608
                (upload,),
            )
        ]

    def part(self, upload: int, number: int) -> PartRow | None:
        found = self.rows(
            f"SELECT {PART_COLUMNS} FROM parts WHERE upload=? AND number=?",  # noqa: S608
            (upload, number),
        )
        return PartRow(*found[0]) if found else None

    def system(self, kind: str, name: str) -> Held | None:
        """A system record."""
        return self._held(
            "SELECT seq, segment, weight, floor FROM system WHERE kind=? AND name=?", (kind, name)
        )

    def config(self, bucket: int, document: str) -> Held | None:
        """A bucket's configuration document."""
        return self._held(
            "SELECT seq, segment, weight, floor FROM bucket_config WHERE bucket=? AND document=?",
            (bucket, document),
        )

    def cursor(self, consumer: str) -> Held | None:
        """A consumer's cursor."""
        return self._held(
            "SELECT seq, segment, weight, floor FROM cursors WHERE consumer=?", (consumer,)
        )

    def _held(self, sql: str, values: Sequence[Any]) -> Held | None:
        found = self._first(sql, values)
        return Held(*found) if found else None

    def _first(self, sql: str, values: Sequence[Any]) -> Any:
        found = self._execute(sql, values).fetchall()
        return found[0] if found else None

    def segments(self) -> list[SegmentRow]:
        return [SegmentRow(*row) for row in self.rows("SELECT * FROM segments ORDER BY id")]

    def know_segment(
        self, segment: int, count: int = 0, weight: int = 0, low: int = 0, high: int = 0
    ) -> None:
        """Make a row for a segment that has none: it is empty, or was forgotten."""
        self._execute(
            "INSERT OR IGNORE INTO segments VALUES (?,0,?,?,0,0,?,?)",
            (segment, count, weight, low, high),
        )

    def drop_segment(self, segment: int) -> None:
        self._execute("DELETE FROM segments WHERE id=?", (segment,))

    def drop_garbage(self, names: Sequence[str]) -> None:
        for name in names:
            self._execute("DELETE FROM garbage WHERE file=?", (name,))

    # -- applying

    def apply(self, kind: int, seq: int, body: Any, place: Place, origin: int = 0) -> None:
        """Make a record true. The highest ``seq`` of a thing wins; an equal one moves it.

        ``seq`` is the commit sequence number, ``place`` where the record lies now, ``origin``
        the segment in which it was first written (0: where it lies).
        """
        _APPLY[kind](self, seq, body, place, origin or place.segment)

    def apply_record(self, record: Record) -> None:
        """``apply`` a record as it was read from a segment."""
        body = records.decode(record.type, record.body)
        self.apply(record.type, record.seq, body, record.place)

    def _relocate(self, _seq: int, body: records.Relocation, place: Place, _origin: int) -> None:
        inner = records.decode(body.type, body.body)
        self.apply(body.type, body.seq, inner, place, body.origin)

    def _put(self, seq: int, put: records.Put, place: Place, _origin: int) -> None:
        key = put.key.encode()
        self.put(seq, put, key, place, self.old(put.bucket, key))

    def put(self, seq: int, put: records.Put, key: bytes, place: Place, old: Old | None) -> None:
        """``apply`` a put where the caller already knows what is visible."""
        bucket = put.bucket
        if put.upload:
            self._end_upload(put.upload, seq, keep=put.files)
        if self.versioning(bucket) is not None or put.flags or (old is not None and old.flags):
            self._put_version(seq, put, key, place)
            return
        if old is not None:
            if old.seq > seq:
                return
            self._died(old.segment, old.weight)
            if old.seq != seq:
                self._count(bucket, old.size, -1)
                if old.files is not None:
                    self._discard(old.files, seq, keep=put.files)
        if old is None or old.seq != seq:
            self._count(bucket, put.size, 1)
        self._born(place.segment, place.weight)
        self._execute(_PUT, self._row(seq, put, key, place))

    def put_new(self, seq: int, put: records.Put, key: bytes, place: Place) -> bool:
        """``put`` of a key that has no visible version; False, and nothing done, if it has one."""
        self._execute(_PUT_NEW, self._row(seq, put, key, place))
        if not self._changes():
            return False
        self._count(put.bucket, put.size, 1)
        self._born(place.segment, place.weight)
        return True

    def _row(self, seq: int, put: records.Put, key: bytes, place: Place) -> tuple[Any, ...]:
        """The row that a put makes."""
        owner = self._owners.get(put.bucket)
        if owner is None:
            owner = self._owner_or_none(put.bucket)
        return object_row(seq, put, key, place, owner)

    def _put_version(self, seq: int, put: records.Put, key: bytes, place: Place) -> None:
        """``apply`` a put where a key may have several versions."""
        bucket = put.bucket
        values = self._row(seq, put, key, place)
        there = self.find(bucket, key, seq)
        if there is not None:  # moved or amended
            self._died(there.old.segment, there.old.weight)
            self._born(place.segment, place.weight)
            self._execute(_PUT_INTO[there.table], values)
            return
        if not put.flags & records.OWN_ID:
            null = self.find_null(bucket, key)
            if null is not None:
                if null.old.seq > seq:
                    return
                self._take(bucket, key, null, seq, keep=put.files)
        self._hide(bucket, key)
        self._born(place.segment, place.weight)
        if put.flags & records.MARKER:
            self._usage.setdefault(bucket, [0] * _COUNTERS)[12] += 1
            self._execute(_PUT_INTO[VERSIONS], values)
        else:
            self._count(bucket, put.size, 1)
            self._execute(_PUT, values)

    def _hide(self, bucket: int, key: bytes) -> None:
        """What is visible becomes a version behind the one that is to come."""
        old = self.old(bucket, key)
        if old is not None:
            self._count(bucket, old.size, -1)
            self._count_hidden(bucket, old, 1)
            self._change_table(bucket, key, old.seq, CURRENT, VERSIONS)

    def _show(self, bucket: int, key: bytes) -> None:
        """Where nothing is visible and the newest version is no marker, it becomes visible."""
        newest = self.newest(bucket, key)
        if newest is None or newest.table == CURRENT or newest.old.flags & records.MARKER:
            return
        self._count_hidden(bucket, newest.old, -1)
        self._count(bucket, newest.old.size, 1)
        self._change_table(bucket, key, newest.old.seq, VERSIONS, CURRENT)

    def _change_table(self, bucket: int, key: bytes, seq: int, source: str, target: str) -> None:
        where = "WHERE bucket=? AND key=? AND seq=?"
        values = (bucket, key, seq)
        self._execute(f"INSERT INTO {target} SELECT * FROM {source} {where}", values)  # noqa: S608
        self._execute(f"DELETE FROM {source} {where}", values)  # noqa: S608

    def _take(
        self, bucket: int, key: bytes, found: Found, seq: int, keep: Sequence[FileRef] = ()
    ) -> None:
        """A version goes, with its files but for those to ``keep``."""
        old = found.old
        self._died(old.segment, old.weight)
        if found.table == CURRENT:
            self._count(bucket, old.size, -1)
        else:
            self._count_hidden(bucket, old, -1)
        if old.files is not None:
            self._discard(old.files, seq, keep)
        sql = f"DELETE FROM {found.table} WHERE bucket=? AND key=? AND seq=?"  # noqa: S608
        self._execute(sql, (bucket, key, old.seq))

    def _owner_or_none(self, bucket: int) -> str | None:
        try:
            return self.owner(bucket)
        except errors.NoSuchBucket:
            return None

    def _discard(self, files: bytes, seq: int, keep: Sequence[FileRef] = ()) -> None:
        kept = {ref.name for ref in keep}
        for ref in decode_files(files):
            if ref.name not in kept:
                self._garbage(ref, seq)

    def _garbage(self, ref: FileRef, seq: int) -> None:
        self._execute("REPLACE INTO garbage VALUES (?,?,?)", (ref.name, ref.size, seq))

    def _delete(self, seq: int, gone: records.Delete, _place: Place, _origin: int) -> None:
        bucket, key = gone.bucket, gone.key.encode()
        if gone.flags & records.OWN_ID:
            found = self.find(bucket, key, gone.victim)
        else:
            found = self.find_null(bucket, key)
        if found is None or found.old.seq > seq:
            return
        self._take(bucket, key, found, seq)
        self._show(bucket, key)

    def _make_bucket(self, seq: int, made: records.MakeBucket, place: Place, origin: int) -> None:
        found = self._first("SELECT segment, weight FROM buckets WHERE id=?", (seq,))
        if found is not None:
            self._died(*found)
            self._execute(
                "UPDATE buckets SET segment=?, weight=? WHERE id=?",
                (place.segment, place.weight, seq),
            )
        else:
            self._execute(
                "REPLACE INTO buckets VALUES (?,?,?,?,?,?,?,?,?)",
                (
                    seq,
                    made.name,
                    made.owner,
                    made.created,
                    made.region,
                    _encode(made.config),
                    place.segment,
                    place.weight,
                    origin,
                ),
            )
            self._execute("REPLACE INTO bucket_names VALUES (?,?)", (seq, made.name))
            self._execute(
                "INSERT OR IGNORE INTO usage VALUES (?,0,0,0,0,0,0,0,0,0,0,0,0,0)", (seq,)
            )
            self._owners.pop(seq, None)
            self._versioning.pop(seq, None)
        self._born(place.segment, place.weight)

    def _drop_bucket(self, seq: int, gone: records.DropBucket, _place: Place, _origin: int) -> None:
        self._owners.pop(gone.bucket, None)
        self._versioning.pop(gone.bucket, None)
        self._usage.pop(gone.bucket, None)
        for upload in self.uploads_of(gone.bucket):
            self._end_upload(upload, seq)
        self._usage.pop(gone.bucket, None)
        for segment, weight in self.rows(
            "SELECT segment, weight FROM bucket_config WHERE bucket=?1 "
            "UNION ALL SELECT segment, weight FROM buckets WHERE id=?1",
            (gone.bucket,),
        ):
            self._died(segment, weight)
        self._execute("REPLACE INTO bucket_names VALUES (?,?)", (gone.bucket, gone.name))
        self._execute("DELETE FROM bucket_config WHERE bucket=?", (gone.bucket,))
        self._execute("DELETE FROM buckets WHERE id=?", (gone.bucket,))
        self._execute("DELETE FROM usage WHERE bucket=?", (gone.bucket,))

    def _set_config(self, seq: int, new: records.Config, place: Place, _origin: int) -> None:
        self._versioning.pop(new.bucket, None)
        old = self.config(new.bucket, new.document)
        if old is not None:
            if old.seq > seq:
                return
            self._died(old.segment, old.weight)
        # A removal stays as a row: the bucket's record may have been made with the document.
        self._execute(
            "REPLACE INTO bucket_config VALUES (?,?,?,?,?,?,?)",
            (new.bucket, new.document, seq, new.value, place.segment, place.weight, new.floor),
        )
        self._born(place.segment, place.weight)

    def _make_upload(self, seq: int, made: records.Upload, place: Place, origin: int) -> None:
        old = self.upload(seq)
        key = made.key.encode()
        if old is not None:
            self._died(old.segment, old.weight)
            self._execute(
                "UPDATE uploads SET segment=?, weight=? WHERE seq=?",
                (place.segment, place.weight, seq),
            )
        else:
            self._execute(
                "REPLACE INTO uploads VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    made.bucket,
                    key,
                    made.initiated,
                    made.upload_id,
                    seq,
                    made.owner,
                    made.storage_class,
                    made.algorithm,
                    made.checksum_type,
                    place.segment,
                    place.weight,
                    origin,
                    made.meta,
                ),
            )
            self._count_upload(made.bucket, 1)
        self._born(place.segment, place.weight)

    def _put_part(self, seq: int, part: records.PutPart, place: Place, _origin: int) -> None:
        if not self._first("SELECT 1 FROM uploads WHERE seq=?", (part.upload,)):
            self._garbage(part.file, seq)  # its upload is gone: rebuild met the end first
            return
        old = self.part(part.upload, part.number)
        if old is not None:
            if old.seq > seq:
                return
            self._died(old.segment, old.weight)
            if old.seq != seq:
                self._garbage(decode_file(old.file), seq)
        self._execute(
            "REPLACE INTO parts VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                part.upload,
                part.number,
                seq,
                part.size,
                part.etag,
                part.modified,
                _encode(part.checksums),
                _encode(part.file),
                place.segment,
                place.weight,
                part.floor,
            ),
        )
        self._born(place.segment, place.weight)

    def _abort(self, seq: int, gone: records.Abort, _place: Place, _origin: int) -> None:
        self._end_upload(gone.upload, seq)

    def _end_upload(self, upload: int, seq: int, keep: Sequence[FileRef] = ()) -> None:
        row = self.upload(upload)
        if row is None:
            return
        kept = {ref.name for ref in keep}
        for part in self.parts(upload):
            self._died(part.segment, part.weight)
            ref = decode_file(part.file)
            if ref.name not in kept:
                self._garbage(ref, seq)
        self._died(row.segment, row.weight)
        self._count_upload(row.bucket, -1)
        self._execute("DELETE FROM parts WHERE upload=?", (upload,))
        self._execute("DELETE FROM uploads WHERE seq=?", (upload,))

    def _set_system(self, seq: int, new: records.System, place: Place, _origin: int) -> None:
        old = self.system(new.kind, new.name)
        if old is not None:
            if old.seq > seq:
                return
            self._died(old.segment, old.weight)
        if new.value is None:
            self._execute("DELETE FROM system WHERE kind=? AND name=?", (new.kind, new.name))
            return
        self._execute(
            "REPLACE INTO system VALUES (?,?,?,?,?,?,?)",
            (new.kind, new.name, seq, new.value, place.segment, place.weight, new.floor),
        )
        self._born(place.segment, place.weight)

    def _set_cursor(self, seq: int, new: records.Cursor, place: Place, _origin: int) -> None:
        old = self.cursor(new.consumer)
        if old is not None:
            if old.seq > seq:
                return
            self._died(old.segment, old.weight)
        self._execute(
            "REPLACE INTO cursors VALUES (?,?,?,?,?,?)",
            (new.consumer, new.position, seq, place.segment, place.weight, new.floor),
        )
        self._born(place.segment, place.weight)

    def _epoch(self, _seq: int, begun: records.Epoch, _place: Place, _origin: int) -> None:
        """Remember the epoch: compaction may remove the segment whose batches tell it."""
        self.set_meta("epoch", max(begun.epoch, self.epoch))
        self.set_meta("time", begun.time)

    # -- liveness, for compaction

    def is_live(self, kind: int, seq: int, body: Any, segment: int, record: int = 0) -> bool:
        """``names_record`` of the index as this transaction leaves it."""
        return names_record(self.rows, kind, seq, body, segment, record)


class Foreign(Exception):
    """The index belongs to another store or to another schema: it must be rebuilt."""


_APPLY: dict[int, Callable[[Writer, int, Any, Place, int], None]] = {
    records.PUT: Writer._put,
    records.DELETE: Writer._delete,
    records.BUCKET: Writer._make_bucket,
    records.BUCKET_DELETE: Writer._drop_bucket,
    records.BUCKET_CONFIG: Writer._set_config,
    records.UPLOAD: Writer._make_upload,
    records.PART: Writer._put_part,
    records.ABORT: Writer._abort,
    records.SYSTEM: Writer._set_system,
    records.CURSOR: Writer._set_cursor,
    records.RELOCATION: Writer._relocate,
    records.AMENDMENT: Writer._relocate,
    records.EPOCH: Writer._epoch,
}


HOLDERS: dict[int, tuple[str, Callable[[int, Any], tuple[Any, ...]]]] = {
    records.PUT: (
        "SELECT coalesce(record, seq), segment FROM current WHERE bucket=?1 AND key=?2 AND seq=?3 "
        "UNION ALL SELECT coalesce(record, seq), segment FROM versions "
        "WHERE bucket=?1 AND key=?2 AND seq=?3",
        lambda seq, body: (body.bucket, body.key.encode(), seq),
    ),
    records.BUCKET: ("SELECT id, segment FROM buckets WHERE id=?", lambda seq, body: (seq,)),
    records.BUCKET_CONFIG: (
        "SELECT seq, segment FROM bucket_config WHERE bucket=? AND document=?",
        lambda seq, body: (body.bucket, body.document),
    ),
    records.UPLOAD: ("SELECT seq, segment FROM uploads WHERE seq=?", lambda seq, body: (seq,)),
    records.PART: (
        "SELECT seq, segment FROM parts WHERE upload=? AND number=?",
        lambda seq, body: (body.upload, body.number),
    ),
    records.SYSTEM: (
        "SELECT seq, segment FROM system WHERE kind=? AND name=?",
        lambda seq, body: (body.kind, body.name),
    ),
    records.CURSOR: (
        "SELECT seq, segment FROM cursors WHERE consumer=?",
        lambda seq, body: (body.consumer,),
    ),
}
"""Where the index names the record of a thing: a query for its number and segment."""


def names_record(
    rows: Callable[[str, Sequence[Any]], list[Any]],
    kind: int,
    seq: int,
    body: Any,
    segment: int,
    record: int = 0,
) -> bool:
    """Whether the index, asked by ``rows``, names this very record in ``segment``.

    ``record`` is its own sequence number, 0: ``seq``. Of a version there may be several records in
    one segment: the index names one of them.
    """
    if kind not in HOLDERS:
        return False
    sql, values = HOLDERS[kind]
    named = (record or seq) if kind == records.PUT else seq
    return (named, segment) in rows(sql, values(seq, body))


def object_row(
    seq: int, put: records.Put, key: bytes, place: Place, owner: str | None = None
) -> tuple[Any, ...]:
    """The row of ``current`` or ``versions`` that a put makes. ``owner`` is the bucket's, which a
    row leaves out."""
    return (
        put.bucket,
        key,
        seq,
        put.modified,
        put.size,
        pack_etag(put.etag),
        None if put.storage_class == STANDARD else put.storage_class,
        None if put.owner == owner else put.owner,
        pack_checks(put.meta),
        place.segment,
        place.offset,
        place.check,
        place.weight,
        put.floor,
        put.flags,
        None if place.record == seq else place.record,
        _encode(put.files) if put.files else None,
        put.meta,
    )
