"""Making the index anew out of the log.

Needed when the index is lost, damaged, or another store's. Sealed segments tell what they hold
in their footers; the others are scanned. Objects, by far the most, are staged in a scratch
database and inserted in the order of the index, the highest commit sequence number of each key:
inserting in the order of the log would touch a random page for each. Everything else is applied
in commit order by the same code that serves commits. No payload is read, except behind the last
footer, where the log recovers its tail.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import apsw
import msgspec

from storage.engine.embedded import index, io, records, segment
from storage.engine.embedded.index import Writer
from storage.engine.embedded.log import Applied, Log
from storage.engine.embedded.segment import BatchHead, Damaged, Header, Record

STAGING = "rebuild.db"
_ROWS = 2000
_TELL_SECONDS = 5.0
#: Share of the time that reading and staging take; the rest is sorting and inserting.
_READING = 0.75
_logger = logging.getLogger("oversight.rebuild")
_encode = msgspec.msgpack.Encoder().encode

_STAGING_SCHEMA = """
CREATE TABLE objects (
    bucket, key, seq, modified, size, etag, class, owner, checks, segment, offset, crc, weight,
    floor, flags, record, files, meta,
    thing,  -- 0: the null version; else the commit seq of a version with an id of its own
    place   -- sequence number of the record itself: a relocation's is higher than what it moves
);
CREATE TABLE others (commit_seq, seq, type, segment, offset, length, crc, body);
"""
_STAGED = 20
_STAGE_OBJECT = f"INSERT INTO objects VALUES ({','.join('?' * _STAGED)})"  # noqa: S608
_COLUMNS = (
    "bucket, key, seq, modified, size, etag, class, owner, checks, segment, offset, crc, weight, "
    "floor, flags, record, files, meta"
)
_RANK = """
CREATE TABLE staging.winners AS SELECT row, bucket, key, 1 AS nth, 0 AS flags FROM (
    SELECT rowid AS row, bucket, key,
        row_number() OVER (PARTITION BY bucket, key ORDER BY seq DESC, place DESC) AS rank
    FROM staging.objects
) WHERE rank = 1 ORDER BY bucket, key
"""
"""Where no key has more than its null version."""
_RANK_VERSIONS = """
CREATE TABLE staging.winners AS SELECT row, bucket, key, flags,
    row_number() OVER (PARTITION BY bucket, key ORDER BY seq DESC) AS nth
FROM (
    SELECT rowid AS row, bucket, key, seq, size, flags, row_number() OVER (
        PARTITION BY bucket, key, thing ORDER BY seq DESC, place DESC
    ) AS rank FROM staging.objects
) WHERE rank = 1 AND size IS NOT NULL ORDER BY bucket, key, seq DESC
"""
_INSERT = f"""
INSERT INTO {{table}} SELECT o.bucket, o.key, o.seq, o.modified, o.size, o.etag, o.class,
    CASE WHEN o.owner = b.owner THEN NULL ELSE o.owner END,
    {", ".join("o." + name for name in _COLUMNS.split(", ")[8:])}
FROM staging.winners AS w CROSS JOIN staging.objects AS o ON o.rowid = w.row
LEFT JOIN buckets AS b ON b.id = o.bucket
WHERE o.size IS NOT NULL AND {{which}} ORDER BY w.rowid
"""  # noqa: S608
_IS_VISIBLE = f"w.nth = 1 AND NOT w.flags & {records.MARKER}"
_LOSERS = """
SELECT seq, files FROM staging.objects AS o
WHERE files IS NOT NULL AND NOT EXISTS (SELECT 1 FROM staging.kept AS k WHERE k.row = o.rowid)
"""
_LIVE = """
UPDATE segments SET live = live + c.count, live_bytes = live_bytes + c.weight FROM (
    SELECT segment, count(*) AS count, sum(weight) AS weight FROM {table} GROUP BY segment
) AS c WHERE c.segment = segments.id
"""
_USAGE = """
UPDATE usage SET objects = c.objects, bytes = c.bytes,
    h0 = c.h0, h1 = c.h1, h2 = c.h2, h3 = c.h3, h4 = c.h4, h5 = c.h5, h6 = c.h6
FROM (SELECT bucket, count(*) AS objects, sum(size) AS bytes, {bars}
      FROM current GROUP BY bucket) AS c WHERE c.bucket = usage.bucket
"""
_HIDDEN_USAGE = f"""
UPDATE usage SET versions = c.total - c.markers, version_bytes = c.bytes, markers = c.markers
FROM (SELECT bucket, count(*) AS total, sum(size) AS bytes,
             sum(flags & {records.MARKER} <> 0) AS markers
      FROM versions GROUP BY bucket) AS c WHERE c.bucket = usage.bucket
"""  # noqa: S608


class Progress(NamedTuple):
    """How far a rebuild is. ``done`` and ``total`` are bytes of the log; times are seconds."""

    done: int
    total: int
    records: int
    seconds: float
    share: float

    @property
    def rate(self) -> float:
        """Records per second so far."""
        return self.records / self.seconds if self.seconds else 0.0

    @property
    def remaining(self) -> float:
        """Seconds that are left if it goes on like this."""
        return self.seconds * (1 - self.share) / self.share if self.share else 0.0

    def __str__(self) -> str:
        return (
            f"rebuilding the index: {self.share:.0%}, {self.records:,} records, "
            f"{self.rate:,.0f} a second, {self.remaining:.0f} s left"
        )


Tell = Callable[[Progress], None]


def rebuild(source: Log, writer: Writer, tell: Tell | None = None) -> None:
    """Fill the empty index ``writer`` from the whole log; ``source`` is recovered by that.

    ``tell`` hears of the progress every few seconds (default: the log of the process). A crash
    on the way leaves an index that says it follows no log: it is rebuilt again.
    """
    _Rebuild(source, writer, tell or (lambda progress: _logger.warning("%s", progress))).run()


class _Rebuild:
    def __init__(self, source: Log, writer: Writer, tell: Tell) -> None:
        self._source = source
        self._writer = writer
        self._tell = tell
        self._started = self._told = time.monotonic()
        self._path = os.path.join(os.path.dirname(writer.path), STAGING)
        self._objects: list[tuple[Any, ...]] = []
        self._others: list[tuple[Any, ...]] = []
        self._records = 0
        self._versioned = False
        self._done = 0
        self._total = sum(
            os.path.getsize(source.path(number)) for number in segment.listing(source.folder)
        )
        self._lengths: dict[int, int] = {}
        """Sealed lengths by segment."""

    def run(self) -> None:
        self._remove_staging()
        try:
            with contextlib.closing(_open_staging(self._path)) as self._staging:
                latest = self._stage()
            if latest is None:
                return
            with _sorting_in(os.path.dirname(self._path)):
                self._fill(latest)
        finally:
            self._remove_staging()

    def _remove_staging(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            io.unlink(self._path)

    # -- reading the log --------------------------------------------------------------------------

    def _stage(self) -> Applied | None:
        """Put every record of the log into the scratch database."""
        headers = self._source.headers()
        sealed = self._sealed_before_the_tail(headers)
        latest: Applied | None = None
        while sealed and latest is None:
            latest = self._last_batch(headers[sealed[-1]])
            if latest is None:
                sealed.pop()
        for number in sealed:
            self._stage_run(self._segment_records(headers, number))
            self._done += os.path.getsize(self._source.path(number))
        for applied, batch in self._source.recover(latest):
            latest = applied
            self._stage_run(batch)
        self._flush()
        self._staging.execute("COMMIT")
        return latest

    def _sealed_before_the_tail(self, headers: dict[int, Header]) -> list[int]:
        """Segments whose footers may stand for them: all up to the last one that has a footer.

        What follows is recovered batch by batch, payloads included, for its end may be torn.
        """
        sealed: list[int] = []
        for place, (number, header) in enumerate(headers.items(), 1):
            if header.predecessor:
                self._lengths[header.predecessor] = header.predecessor_length
            fd = os.open(self._source.path(number), os.O_RDONLY | os.O_CLOEXEC)
            try:
                trailer = segment.read_trailer(fd, header)
            finally:
                os.close(fd)
            if trailer is not None:
                self._lengths[number] = trailer.length
                sealed = list(headers)[:place]
        return sealed

    def _last_batch(self, header: Header) -> Applied | None:
        """The last batch of a sealed segment, from which recovery goes on."""
        number = header.segment
        last: BatchHead | None = None
        fd = os.open(self._source.path(number), os.O_RDONLY | os.O_CLOEXEC)
        try:
            for last in segment.batches(fd, header, stop=self._lengths[number]):
                self._source.epoch = max(self._source.epoch, last.epoch)
        finally:
            os.close(fd)
        if last is None:
            return None
        return Applied(last.first_seq + last.records - 1, number, last.start, last.check)

    def _segment_records(self, headers: dict[int, Header], number: int) -> Iterator[Record]:
        path = self._source.path(number)
        found = None
        with contextlib.suppress(Damaged):
            found = segment.read_footer(path, self._source.tell)
        if found is None:
            stop = self._lengths.get(number)
            found = segment.scan(path, stop=stop, header=headers[number], report=self._source.tell)
        yield from found

    def _stage_run(self, found: Iterable[Record]) -> None:
        first: Record | None = None
        count = weight = 0
        for record in found:
            if first is None or record.seq != first.seq + count:
                self._note_run(first, count, weight)
                first, count, weight = record, 0, 0
            count += 1
            weight += record.weight
            self._stage_record(record)
        self._note_run(first, count, weight)

    def _note_run(self, first: Record | None, count: int, weight: int) -> None:
        if first is not None:
            self._writer.wrote(first.segment, first.seq, count, weight)
            self._records += count
            self._report(_READING * self._done / self._total)

    def _stage_record(self, record: Record) -> None:
        kind, seq, _, encoded = records.unwrap(record.type, record.seq, record.body)
        body = records.decode(kind, encoded)
        if kind == records.PUT:
            self._versioned = self._versioned or bool(body.flags)
            self._objects.append(_version_row(record, seq, body))
            if body.upload:
                abort = records.encode(records.Abort(body.upload, body.upload_floor))
                self._others.append((seq, record.seq, records.ABORT, 0, 0, 0, 0, abort))
        elif kind == records.DELETE:
            self._objects.append(_tombstone_row(record, seq, body))
        else:
            self._others.append((seq, *_as_read(record)))
        if len(self._objects) + len(self._others) >= _ROWS:
            self._flush()

    def _flush(self) -> None:
        self._staging.executemany(_STAGE_OBJECT, self._objects)
        self._staging.executemany("INSERT INTO others VALUES (?,?,?,?,?,?,?,?)", self._others)
        self._objects.clear()
        self._others.clear()

    # -- filling the index ------------------------------------------------------------------------

    def _fill(self, latest: Applied) -> None:
        writer = self._writer
        execute = writer.connection.execute
        execute("ATTACH ? AS staging", (self._path,))
        execute("PRAGMA staging.journal_mode=OFF")
        execute("PRAGMA staging.synchronous=OFF")
        execute("PRAGMA temp_store=FILE")
        try:
            writer.begin()
            self._apply_others()
            writer.commit_bookkeeping()
            self._report(0.8)
            writer.begin()
            self._insert_objects()
            for table in ("current", "versions"):
                execute(_LIVE.format(table=table))
            execute(_USAGE.format(bars=_bars()))
            execute(_HIDDEN_USAGE)
            for number, length in self._lengths.items():
                writer.sealed(number, length)
            writer.commit(latest)
        except BaseException:
            writer.rollback()
            raise
        finally:
            execute("DETACH staging")
            execute("PRAGMA temp_store=MEMORY")
        writer.checkpoint()

    def _apply_others(self) -> None:
        """Buckets, uploads, system records ...: in commit order, as they were committed."""
        rows = self._writer.connection.cursor()
        rows.execute(
            "SELECT type, seq, segment, offset, length, crc, body FROM staging.others "
            "ORDER BY commit_seq, seq"
        )
        for row in rows:
            self._writer.apply_record(Record(*row))
            self._report(_READING)

    def _insert_objects(self) -> None:
        """All versions that are left, in the index's order, and the files that were let go."""
        execute = self._writer.connection.execute
        execute(_RANK_VERSIONS if self._versioned else _RANK)
        self._report(0.85)
        execute(_INSERT.format(table="current", which=_IS_VISIBLE))
        if self._versioned:
            execute(_INSERT.format(table="versions", which=f"NOT ({_IS_VISIBLE})"))
        self._report(0.95)
        execute("CREATE TABLE staging.kept (row INTEGER PRIMARY KEY)")
        execute("INSERT INTO staging.kept SELECT row FROM staging.winners")
        for seq, files in execute(_LOSERS):
            for ref in index.decode_files(files):
                execute("REPLACE INTO garbage VALUES (?,?,?)", (ref.name, ref.size, seq))
        # Whatever the records of lost or compacted segments made us believe: what a version
        # names is no garbage.
        for (files,) in execute(
            "SELECT files FROM current WHERE files IS NOT NULL "
            "UNION ALL SELECT files FROM versions WHERE files IS NOT NULL"
        ):
            for ref in index.decode_files(files):
                execute("DELETE FROM garbage WHERE file=?", (ref.name,))

    def _report(self, share: float) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            seconds = now - self._started
            self._tell(Progress(self._done, self._total, self._records, seconds, share))


def _version_row(record: Record, seq: int, put: records.Put) -> tuple[Any, ...]:
    """A row of the index, whose owner is still written out, what it is, and its own number."""
    row = index.object_row(seq, put, put.key.encode(), record.place)
    return (*row, seq if put.flags & records.OWN_ID else 0, record.seq)


def _tombstone_row(record: Record, seq: int, gone: records.Delete) -> tuple[Any, ...]:
    """A row that wins over what it hides, and is nothing itself: it has no size."""
    row: list[Any] = [None] * _STAGED
    row[0], row[1], row[2] = gone.bucket, gone.key.encode(), seq
    row[-2], row[-1] = gone.victim if gone.flags & records.OWN_ID else 0, record.seq
    return tuple(row)


def _as_read(record: Record) -> tuple[Any, ...]:
    return (
        record.seq,
        record.type,
        record.segment,
        record.offset,
        record.length,
        record.check,
        record.body,
    )


def _open_staging(path: str) -> apsw.Connection:
    connection = apsw.Connection(path)
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute(_STAGING_SCHEMA)
    connection.execute("BEGIN")
    return connection


@contextlib.contextmanager
def _sorting_in(folder: str) -> Iterator[None]:
    """Let SQLite sort on the drive: the system's folder for scratch files may be small."""
    before = os.environ.get("SQLITE_TMPDIR")
    os.environ["SQLITE_TMPDIR"] = folder
    try:
        yield
    finally:
        del os.environ["SQLITE_TMPDIR"]
        if before is not None:
            os.environ["SQLITE_TMPDIR"] = before


def _bars() -> str:
    """The columns of the histogram as sums over sizes."""
    bounds = (0, *index.HISTOGRAM_BOUNDS, 1 << 62)
    return ", ".join(
        f"sum(size >= {low} AND size < {high}) AS h{number}"
        for number, (low, high) in enumerate(itertools.pairwise(bounds))
    )
