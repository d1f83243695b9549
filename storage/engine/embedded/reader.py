"""A process's view of the index: look-ups, listings, and what services ask.

One connection per process. Every statement is run to its end before a call returns, so that no
snapshot outlives it and checkpoints are never held up.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import apsw
import msgspec

from storage import errors
from storage.engine import interface
from storage.engine.embedded import records
from storage.engine.embedded.index import (
    ALGORITHMS,
    CHECKSUM_TYPES,
    FILE,
    PART_COLUMNS,
    STANDARD,
    UPLOAD_COLUMNS,
    PartRow,
    SegmentRow,
    UploadRow,
    connect,
    decode_checksums,
    decode_config,
    decode_file,
    decode_files,
)
from storage.engine.embedded.log import Applied
from storage.engine.embedded.records import MARKER, OWN_ID

_LOOKUP_COLUMNS = (
    "seq, modified, size, etag, class, owner, segment, offset, crc, files, meta, flags"
)
_LOOKUP = f"SELECT {_LOOKUP_COLUMNS} FROM current WHERE bucket=? AND key=?"  # noqa: S608
_VERSION = f"""SELECT {_LOOKUP_COLUMNS} FROM current WHERE bucket=?1 AND key=?2 AND seq=?3
UNION ALL SELECT {_LOOKUP_COLUMNS} FROM versions WHERE bucket=?1 AND key=?2 AND seq=?3"""  # noqa: S608
_NULL_VERSION = f"""SELECT {_LOOKUP_COLUMNS} FROM current
WHERE bucket=?1 AND key=?2 AND flags & {OWN_ID} = 0
UNION ALL SELECT {_LOOKUP_COLUMNS} FROM versions INDEXED BY null_versions
WHERE bucket=?1 AND key=?2 AND flags & {OWN_ID} = 0"""  # noqa: S608
_NEWEST_HIDDEN = f"""SELECT {_LOOKUP_COLUMNS} FROM versions WHERE bucket=? AND key=?
ORDER BY seq DESC LIMIT 1"""  # noqa: S608
_VERSION_PAGE = """SELECT key, modified, size, etag, class, owner, checks, seq, flags, 1 AS shown
FROM current WHERE bucket=?1 AND key>=?2 AND key<?3
UNION ALL SELECT key, modified, size, etag, class, owner, checks, seq, flags, 0
FROM versions WHERE bucket=?1 AND key>=?2 AND key<?3
ORDER BY key, seq DESC LIMIT ?4"""
_OLDER = """SELECT key, modified, size, etag, class, owner, checks, seq, flags, 1 AS shown
FROM current WHERE bucket=?1 AND key=?2 AND seq<?3
UNION ALL SELECT key, modified, size, etag, class, owner, checks, seq, flags, 0
FROM versions WHERE bucket=?1 AND key=?2 AND seq<?3 ORDER BY seq DESC LIMIT ?4"""
"""What is visible is among them where all that was newer is gone."""
_PAGE = """SELECT key, modified, size, etag, class, owner, checks
FROM current WHERE bucket=? AND key>=? AND key<? ORDER BY key LIMIT ?"""
_FILES = """SELECT bucket, key, seq, files FROM current
WHERE bucket=?1 AND key=?2 AND seq<?3 AND files IS NOT NULL
UNION ALL SELECT bucket, key, seq, files FROM versions
WHERE bucket=?1 AND key=?2 AND seq<?3 AND files IS NOT NULL
UNION ALL SELECT bucket, key, seq, files FROM current
WHERE (bucket, key) > (?1, ?2) AND files IS NOT NULL
UNION ALL SELECT bucket, key, seq, files FROM versions
WHERE (bucket, key) > (?1, ?2) AND files IS NOT NULL
ORDER BY bucket, key, seq DESC LIMIT ?4"""
_LEAPS = """WITH RECURSIVE leap(k) AS (
  SELECT (SELECT key FROM current WHERE bucket=?1 AND key>=?2 AND key<?3 ORDER BY key LIMIT 1)
  UNION ALL
  SELECT (
    SELECT key FROM current WHERE bucket=?1 AND key<?3 AND key > iif(
      instr(substr(k, ?4), ?5),
      CAST(substr(k, 1, ?6 + instr(substr(k, ?4), ?5)) || x'ff' AS BLOB),
      k
    ) ORDER BY key LIMIT 1
  ) FROM leap WHERE k IS NOT NULL LIMIT ?7
)
SELECT k, modified, size, etag, class, owner, checks
FROM leap LEFT JOIN current ON bucket=?1 AND key=iif(instr(substr(k, ?4), ?5), NULL, k)
WHERE k IS NOT NULL"""
"""From each key to the next one, or behind all that share its common prefix: ?4 is where the
delimiter ?5 is looked for, ?6 + its position there the length of the prefix."""
_RUN_FIRST = 64
_RUN_MAX = 1001
_ALL = 1 << 62  # beyond every sequence number
_BEYOND = b"\xff"  # behind every key: UTF-8 has no such byte
_CHECKS = {
    algorithm | kind << 4: (ALGORITHMS[algorithm], CHECKSUM_TYPES[kind])
    for algorithm in range(len(ALGORITHMS))
    for kind in range(len(CHECKSUM_TYPES))
}
_decode_meta = interface.decode_meta
_DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError)
_GARBLED = (msgspec.MsgspecError, TypeError, ValueError, LookupError, AttributeError)
"""What decoding a row raises that was never written so."""
P = ParamSpec("P")
T = TypeVar("T")


def _decodes(
    method: Callable[Concatenate[Reader, P], T],
) -> Callable[Concatenate[Reader, P], T]:
    """Make a garbled row damage of the index."""

    @functools.wraps(method)
    def guarded(self: Reader, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except UnicodeEncodeError:
            raise  # an argument, not a row
        except _GARBLED as error:
            raise self._damaged(error) from error

    return guarded


class InlinePlace(msgspec.Struct, frozen=True, gc=False):
    """Where the payload of an inline version lies: ``Version.place``."""

    segment: int
    offset: int
    check: int


class Reader:
    """A process's view of the index. Every call sees what is committed when it begins."""

    def __init__(self, folder: str, on_damage: Callable[[], None] | None = None) -> None:
        """``on_damage`` is told when the file is found damaged."""
        self._path = os.path.join(folder, FILE)
        self._on_damage = on_damage
        self._connection: apsw.Connection | None = None
        self._owners: dict[int, str | None] = {}
        self.reopen()

    def reopen(self) -> None:
        """Open the file that has this name now (after a rebuild it is another one)."""
        self.close()
        try:
            self._connection = connect(self._path)
            self._execute = self._connection.cursor().execute
        except apsw.Error as error:
            if isinstance(error, _DAMAGE):
                raise self._damaged(error) from error
            raise errors.Unavailable(f"the index can't be opened: {error}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._owners.clear()

    def forget(self) -> None:
        """Buckets changed: forget what was remembered of them."""
        self._owners.clear()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query; the statement is finished, no snapshot stays."""
        try:
            found: list[Any] = self._execute(sql, values).fetchall()
        except apsw.Error as error:
            raise self._unreadable(error) from error
        return found

    def _unreadable(self, error: apsw.Error) -> errors.Unavailable:
        if isinstance(error, _DAMAGE):
            return self._damaged(error)
        return errors.Unavailable(f"the index can't be read: {error}")

    def _damaged(self, error: Exception) -> errors.Unavailable:
        """Tell of damage; the error for whoever asked."""
        if self._on_damage is not None:
            self._on_damage()
        return errors.Unavailable(f"the index is damaged: {error}")

    # -- buckets

    @_decodes
    def bucket(self, name: str) -> interface.Bucket | None:
        found = self.rows(
            "SELECT id, name, owner, created, region, config FROM buckets WHERE name=?", (name,)
        )
        return self._bucket(found[0]) if found else None

    @_decodes
    def buckets(self) -> list[interface.Bucket]:
        return [
            self._bucket(row)
            for row in self.rows(
                "SELECT id, name, owner, created, region, config FROM buckets ORDER BY name"
            )
        ]

    def _bucket(self, row: tuple[Any, ...]) -> interface.Bucket:
        config = decode_config(row[5])
        for document, value in self.rows(
            "SELECT document, value FROM bucket_config WHERE bucket=?", (row[0],)
        ):
            if value is None:
                config.pop(document, None)
            else:
                config[document] = value
        return interface.Bucket(row[0], row[1], row[2], row[3], row[4], config)

    def bucket_name(self, bucket: int) -> str:
        """Name of a bucket, also of one that is gone; "" if nobody knows."""
        found = self.rows("SELECT name FROM bucket_names WHERE id=?", (bucket,))
        return str(found[0][0]) if found else ""

    def owner(self, bucket: int) -> str | None:
        """Owner of a bucket, remembered until ``forget``; None if there is no such bucket."""
        try:
            return self._owners[bucket]
        except KeyError:
            found = self.rows("SELECT owner FROM buckets WHERE id=?", (bucket,))
            owner = self._owners[bucket] = found[0][0] if found else None
            return owner

    @_decodes
    def usage(self, bucket: int) -> interface.Usage:
        found = self.rows("SELECT * FROM usage WHERE bucket=?", (bucket,))
        if not found:
            raise errors.NoSuchBucket
        row = found[0]
        return interface.Usage(row[1], row[2], row[3], tuple(row[4:11]), *row[11:])

    # -- objects

    def lookup(self, bucket: int, key: str) -> interface.Version | None:
        try:
            # The one row or None; the statement is finished, no snapshot stays.
            row: Any = self._execute(_LOOKUP, (bucket, key.encode())).get
        except apsw.Error as error:
            raise self._unreadable(error) from error
        if row is None:
            return None
        return self._version(bucket, key, row)

    def version(self, bucket: int, key: str, version_id: str) -> interface.Version | None:
        """The version of this id, the newest one without; also a delete marker."""
        seq = interface.parse_version_id(version_id) if version_id else 0
        encoded = key.encode()
        if seq < 0:
            return None
        if seq:
            found = self.rows(_VERSION, (bucket, encoded, seq))
            if found and not found[0][-1] & OWN_ID:
                return None
        elif version_id:
            found = self.rows(_NULL_VERSION, (bucket, encoded))
        else:
            found = self.rows(_LOOKUP, (bucket, encoded)) or self.rows(
                _NEWEST_HIDDEN, (bucket, encoded)
            )
        return self._version(bucket, key, found[0]) if found else None

    def _version(self, bucket: int, key: str, row: tuple[Any, ...]) -> interface.Version:
        seq, modified, size, etag, kind, owner, segment, offset, crc, files, meta, flags = row
        try:
            return interface.Version(
                bucket,
                key,
                seq,
                modified,
                size,
                etag if isinstance(etag, str) else etag.hex(),
                owner if owner is not None else self.owner(bucket) or "",
                STANDARD if kind is None else kind,
                _decode_meta(meta),
                () if files is None else decode_files(files),
                InlinePlace(segment, offset, crc),
                records.version_id(seq, flags),
                bool(flags & MARKER),
            )
        except _GARBLED as error:
            raise self._damaged(error) from error

    @_decodes
    def list_objects(
        self, bucket: int, prefix: str, delimiter: str, after: str, limit: int
    ) -> interface.Page:
        owner = self.owner(bucket)
        if owner is None:
            raise errors.NoSuchBucket
        if limit <= 0:
            return interface.Page([], [], None)
        start, mark, cut = prefix.encode(), after.encode(), delimiter.encode()
        low, high = _bounds(start, mark, cut)
        if cut:
            return self._folded(bucket, owner, len(start), cut, low, high, limit)
        return self._flat(bucket, owner, low, high, limit)

    def _flat(self, bucket: int, owner: str, low: bytes, high: bytes, limit: int) -> interface.Page:
        found = self.rows(_PAGE, (bucket, low, high, limit + 1))
        more = len(found) > limit
        if more:
            found.pop()
        entries = _entries(found, owner)
        return interface.Page(entries, [], entries[-1].key if more else None)

    def _folded(
        self,
        bucket: int,
        owner: str,
        skip: int,
        delimiter: bytes,
        low: bytes,
        high: bytes,
        limit: int,
    ) -> interface.Page:
        """A page with common prefixes.

        Rows come in runs as long as they are keys. Where prefixes stand, SQLite leaps from one
        to the next: a tenth of what a query for each costs.
        """
        plain: list[tuple[Any, ...]] = []
        prefixes: list[str] = []
        room, last = limit, b""
        leaping = False
        run = _RUN_FIRST
        while True:
            run = min(run, room + 1)
            if leaping:
                found = self.rows(
                    _LEAPS,
                    (bucket, low, high, skip + 1, delimiter, skip - 1 + len(delimiter), run),
                )
            else:
                found = self.rows(_PAGE, (bucket, low, high, run))
            keys = 0
            for row in found:
                if not room:
                    return interface.Page(_entries(plain, owner), prefixes, last.decode())
                room -= 1
                key = row[0]
                at = key.find(delimiter, skip)
                if at < 0:
                    plain.append(row)
                    low, last = key + b"\0", key
                    keys += 1
                    continue
                last = key[: at + len(delimiter)]
                prefixes.append(last.decode())
                low = successor(last)
                if not leaping:
                    break
            else:
                if len(found) < run:
                    return interface.Page(_entries(plain, owner), prefixes, None)
            leaping = keys <= len(found) // 2
            run = min(4 * run, _RUN_MAX)

    # -- versions

    @_decodes
    def list_versions(
        self,
        bucket: int,
        prefix: str,
        delimiter: str,
        after_key: str,
        after_version: str,
        limit: int,
    ) -> interface.VersionPage:
        owner = self.owner(bucket)
        if owner is None:
            raise errors.NoSuchBucket
        page = interface.VersionPage([], [], None, None)
        if limit <= 0:
            return page
        start, mark, cut = prefix.encode(), after_key.encode(), delimiter.encode()
        low, high = _bounds(start, mark, cut)
        older: list[tuple[Any, ...]] = []
        if after_version and low == mark + b"\0" and mark.startswith(start):
            before = self._before(bucket, mark, after_version)
            older = self.rows(_OLDER, (bucket, mark, before, limit + 1))
        room, previous, last = limit, mark, ("", "")
        if older and older[0][7] == self._newest(bucket, mark):
            previous = b""  # its first row is the latest version of the key
        while True:
            rows = older
            if len(older) <= room:
                rows += self.rows(_VERSION_PAGE, (bucket, low, high, room + 1 - len(older)))
            older = []
            for row in rows:
                if not room:
                    page.next_key, page.next_version = last
                    return page
                room -= 1
                key = row[0]
                at = key.find(cut, len(start)) if cut else -1
                if at >= 0:
                    common = key[: at + len(cut)]
                    page.prefixes.append(common.decode())
                    last = (page.prefixes[-1], "")
                    low = successor(common)
                    break
                entry = _version_entry(row, owner, latest=key != previous)
                page.entries.append(entry)
                previous, last = key, (entry.key, entry.version_id)
                low = key + b"\0"
            else:
                return page

    def _newest(self, bucket: int, key: bytes) -> int:
        """The number of the newest version of ``key``; -1 where there is none any more."""
        found = self.rows(_LOOKUP, (bucket, key)) or self.rows(_NEWEST_HIDDEN, (bucket, key))
        return int(found[0][0]) if found else -1

    def _before(self, bucket: int, key: bytes, version_id: str) -> int:
        """Versions of ``key`` with lower numbers come after this one, which may be gone."""
        seq = interface.parse_version_id(version_id)
        if seq:
            return max(seq, 0)
        null = self.rows(_NULL_VERSION, (bucket, key))
        return int(null[0][0]) if null else _ALL

    # -- uploads

    @_decodes
    def upload(self, bucket: int, key: str, upload_id: str) -> tuple[int, interface.Upload] | None:
        """An upload in progress and its sequence number."""
        found = self.rows(
            f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket=? AND key=? AND upload_id=?",  # noqa: S608
            (bucket, key.encode(), upload_id),
        )
        return (found[0][0], _upload(UploadRow(*found[0]))) if found else None

    @_decodes
    def parts(self, upload: int, after: int, limit: int) -> list[interface.UploadedPart]:
        found = self.rows(
            f"SELECT {PART_COLUMNS} FROM parts WHERE upload=? AND number>? "  # noqa: S608
            "ORDER BY number LIMIT ?",
            (upload, after, limit),
        )
        return [
            interface.UploadedPart(
                row.number,
                row.size,
                row.etag,
                row.modified,
                decode_checksums(row.checksums),
                decode_file(row.file),
            )
            for row in map(PartRow._make, found)
        ]

    @_decodes
    def list_uploads(
        self,
        bucket: int,
        prefix: str,
        delimiter: str,
        after_key: str,
        after_upload: str,
        limit: int,
    ) -> interface.UploadPage:
        if self.owner(bucket) is None:
            raise errors.NoSuchBucket
        page = interface.UploadPage([], [], None, None)
        if limit <= 0:
            return page
        start, cut = prefix.encode(), delimiter.encode()
        low = (start, 0, "")
        high = successor(start) if start else _BEYOND
        key = after_key.encode()
        if after_key and key >= start:
            low = self._after_upload(bucket, key, after_upload)
            at = key.find(cut, len(start)) if cut and key.startswith(start) else -1
            if at >= 0:
                low = (successor(key[: at + len(cut)]), 0, "")
        last = ("", "")
        while True:
            found = self.rows(
                f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket=? "  # noqa: S608
                "AND (key, initiated, upload_id) > (?, ?, ?) AND key<? "
                "ORDER BY key, initiated, upload_id LIMIT ?",
                (bucket, *low, high, limit + 1),
            )
            jumped = False
            for row in map(UploadRow._make, found):
                if len(page.uploads) + len(page.prefixes) == limit:
                    page.next_key, page.next_upload = last
                    return page
                at = row.key.find(cut, len(start)) if cut else -1
                low = (row.key, row.initiated, row.upload_id)
                if at < 0:
                    last = (row.key.decode(), row.upload_id)
                    page.uploads.append(_upload(row))
                    continue
                common = row.key[: at + len(cut)]
                last = (common.decode(), "")
                page.prefixes.append(last[0])
                low = (successor(common), 0, "")
                jumped = True
                break
            if not jumped and len(found) <= limit:
                return page

    def _after_upload(self, bucket: int, key: bytes, upload_id: str) -> tuple[bytes, int, str]:
        """Where a page goes on: behind the upload, or behind the key if it is unnamed or gone."""
        if upload_id:
            found = self.rows(
                "SELECT initiated FROM uploads WHERE bucket=? AND key=? AND upload_id=?",
                (bucket, key, upload_id),
            )
            # One that ended meanwhile: show the key's uploads once more rather than lose some.
            return (key, found[0][0], upload_id) if found else (key, 0, "")
        return key + b"\0", 0, ""

    # -- system, feed, services

    @_decodes
    def system(self, kind: str) -> list[interface.SystemRecord]:
        return [
            interface.SystemRecord(*row)
            for row in self.rows(
                "SELECT kind, name, value, seq FROM system WHERE kind=? ORDER BY name", (kind,)
            )
        ]

    @_decodes
    def system_record(self, kind: str, name: str) -> interface.SystemRecord | None:
        found = self.rows(
            "SELECT kind, name, value, seq FROM system WHERE kind=? AND name=?", (kind, name)
        )
        return interface.SystemRecord(*found[0]) if found else None

    @_decodes
    def applied_seq(self) -> int:
        found = self.rows("SELECT value FROM meta WHERE name='applied'")
        return msgspec.msgpack.decode(found[0][0], type=Applied).seq if found else 0

    @_decodes
    def segments(self) -> list[SegmentRow]:
        return [SegmentRow(*row) for row in self.rows("SELECT * FROM segments ORDER BY id")]

    def garbage(self, limit: int = 1000) -> list[tuple[str, int, int]]:
        """(file, size, seq that let go of it), oldest first."""
        return self.rows("SELECT file, size, seq FROM garbage ORDER BY seq LIMIT ?", (limit,))

    @_decodes
    def cursors(self) -> dict[str, int]:
        """Position by consumer of the feed."""
        return dict(self.rows("SELECT consumer, position FROM cursors"))

    def files(self, after: tuple[int, bytes, int] = (0, b"", 0), limit: int = 1000) -> list[Any]:
        """(bucket, key, seq, files) of all versions with files, page by page: ``after`` is the
        last one's place, with seq 0 behind all of its key.

        The newest version of a key comes first, visible or not, and a page is one statement: what
        becomes visible or hidden between two pages is in one of them.
        """
        return self.rows(_FILES, (*after, limit))


def successor(prefix: bytes) -> bytes:
    """The first key behind all that begin with ``prefix`` (which is not empty)."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def _entries(rows: list[tuple[Any, ...]], owner: str) -> list[interface.Entry]:
    entry, checks = interface.Entry, _CHECKS
    return [
        entry(
            key.decode(),
            modified,
            size,
            etag if isinstance(etag, str) else etag.hex(),
            owner if own is None else own,
            "STANDARD" if kind is None else kind,
            *checks[code],
        )
        for key, modified, size, etag, kind, own, code in rows
    ]


def _bounds(start: bytes, mark: bytes, cut: bytes) -> tuple[bytes, bytes]:
    """[low, high) of the keys with a prefix behind ``mark``, or behind its common prefix."""
    low, high = start, successor(start) if start else _BEYOND
    if mark and mark >= start:
        low = mark + b"\0"
        at = mark.find(cut, len(start)) if cut and mark.startswith(start) else -1
        if at >= 0:
            low = successor(mark[: at + len(cut)])
    return low, high


def _version_entry(row: tuple[Any, ...], owner: str, *, latest: bool) -> interface.VersionEntry:
    key, modified, size, etag, kind, owner_, checks, seq, flags, _ = row
    algorithm, checksum_type = _CHECKS.get(checks, ("", ""))
    return interface.VersionEntry(
        key.decode(),
        seq,
        records.version_id(seq, flags),
        latest,
        bool(flags & MARKER),
        modified,
        size,
        etag if isinstance(etag, str) else etag.hex(),
        owner if owner_ is None else owner_,
        STANDARD if kind is None else kind,
        algorithm,
        checksum_type,
    )


def _upload(row: UploadRow) -> interface.Upload:
    return interface.Upload(
        bucket_id=row.bucket,
        key=row.key.decode(),
        upload_id=row.upload_id,
        initiated=row.initiated,
        owner=row.owner,
        storage_class=row.storage_class,
        meta=_decode_meta(row.meta),
        checksum_algorithm=row.algorithm,
        checksum_type=row.type,
    )
