"""Whether index and log tell the same story: footers against rows, and rows against segments.

The index's pages carry checksums, which find a rotten page but not a sound one in a wrong place
or an old one that a lost write left there. So each record of the log is looked up (is its row
there, and does it say what the record says?), and all rows are walked (do they stand in order,
do they lie in segments that exist?). A page that was sound once can only hold what was true once;
whatever made it untrue is still in the log: a newer record, a relocation, or a tombstone, which
stays as long as what it hides.

``Comparison.steps`` is a generator of small steps, so that its owner sets the pace. It holds no
snapshot between two of them; whatever looks wrong is looked at once more before it is told.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from storage import errors
from storage.engine.embedded import records, segment
from storage.engine.embedded.compaction import index_reader
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.embedded.index import HOLDERS, ObjectRow, object_row
from storage.engine.embedded.reader import Reader
from storage.engine.embedded.records import MARKER, OWN_ID
from storage.engine.embedded.segment import Damage, Damaged, Record

ROWS = 256
#: Keys that are not in the index and whose tombstones are still looked for, at most.
ABSENT_MAX = 100_000
_NULL_ROW = f"""SELECT * FROM current WHERE bucket=?1 AND key=?2 AND flags & {OWN_ID} = 0
UNION ALL SELECT * FROM versions INDEXED BY null_versions
WHERE bucket=?1 AND key=?2 AND flags & {OWN_ID} = 0"""  # noqa: S608
_VERSION_ROW = """SELECT * FROM current WHERE bucket=?1 AND key=?2 AND seq=?3
UNION ALL SELECT * FROM versions WHERE bucket=?1 AND key=?2 AND seq=?3"""
_WALK = (
    "SELECT bucket, key, seq, segment, size FROM current WHERE (bucket, key) > (?, ?) "
    "ORDER BY bucket, key LIMIT ?"
)
_HIDDEN = """SELECT v.bucket, v.key, v.seq, v.segment, v.size, v.flags, c.seq
FROM versions AS v LEFT JOIN current AS c ON c.bucket = v.bucket AND c.key = v.key """
_WALK_OLDER = _HIDDEN + "WHERE v.bucket=? AND v.key=? AND v.seq<? ORDER BY v.seq DESC LIMIT ?"
_WALK_HIDDEN = (
    _HIDDEN + "WHERE (v.bucket, v.key) > (?, ?) ORDER BY v.bucket, v.key, v.seq DESC LIMIT ?"
)
_OTHERS = ("buckets", "bucket_config", "uploads", "parts", "system", "cursors")
T = TypeVar("T")
Thing = tuple[Any, ...]
"""What a record is about: a key, a bucket, an upload or a system record."""


def ask(engine: EmbeddedEngine, question: Callable[[Reader], T]) -> Generator[None, None, T]:
    """The answer of an index that holds still while it is asked; yields while there is none.

    Damage of the index is told to the committer, which makes it anew meanwhile.
    """
    while True:
        yield
        with (
            contextlib.suppress(errors.Unavailable),
            index_reader(engine, engine.index_damaged) as reader,
        ):
            return question(reader)


class Mismatch(NamedTuple):
    """Something on which index and log differ. ``key`` is "" where it is no object."""

    what: str
    segment: int = 0
    bucket: int = 0
    key: str = ""


class _Entry(NamedTuple):
    """A record as the comparison needs it: relocations are unwrapped."""

    kind: int
    seq: int
    body: Any
    record: Record


class Comparison:
    """One comparison of a store's index with its log.

    ``mismatches`` are what an index made anew would put right. ``damages`` are ranges of the log
    whose records can't be read: what the index knows of them it alone knows. ``compared`` counts
    records.
    """

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine
        self._folder = engine.drive.segments
        self.mismatches: list[Mismatch] = []
        self.damages: list[Damage] = []
        self.lost: set[int] = set()
        """Segments that rows lie in and whose files are missing."""
        self.compared = 0
        self._absent: dict[Thing, _Entry] = {}
        """Things that the index does not have: the newest record of each."""

    def steps(self) -> Iterator[None]:
        """Compare everything. Each step looks at a few hundred records or rows at most."""
        for number in self._segments_from(0):
            yield from self._compare_segment(number)
            if len(self._absent) >= ABSENT_MAX:
                yield from self._look_for_tombstones()
        yield from self._look_for_tombstones()
        yield from self._walk_rows()

    # -- reading ----------------------------------------------------------------------------------

    def _segments_from(self, number: int) -> Iterator[int]:
        """Ids of segments, ascending, those included that are made meanwhile."""
        while True:
            following = [each for each in segment.listing(self._folder) if each >= number]
            if not following:
                return
            yield following[0]
            number = following[0] + 1

    def _entries(self, number: int, applied: int) -> Iterator[_Entry]:
        """The records of a segment that the index must know of. Compacted ones have none."""
        path = os.path.join(self._folder, segment.name(number))
        try:
            for record in _records(path, applied, self._note):
                kind, seq, _, body = records.unwrap(record.type, record.seq, record.body)
                yield _Entry(kind, seq, records.decode(kind, body), record)
        except FileNotFoundError:
            return
        except Damaged as damage:
            self._note(Damage(number, 0, 0, str(damage)))

    def _note(self, damage: Damage) -> None:
        if damage not in self.damages:
            self.damages.append(damage)

    # -- from records to rows ---------------------------------------------------------------------

    def _compare_segment(self, number: int) -> Iterator[None]:
        found: list[_Entry] = []
        for entry in self._entries(number, self._engine.board.applied_seq):
            found.append(entry)
            if len(found) == ROWS:
                yield from self._compare(found)
                found = []
        yield from self._compare(found)

    def _compare(self, entries: Sequence[_Entry]) -> Iterator[None]:
        def look(reader: Reader) -> list[tuple[_Entry, str]]:
            looked = ((entry, self._verdict(reader, entry)) for entry in entries)
            return [(entry, verdict) for entry, verdict in looked if verdict]

        odd = yield from ask(self._engine, look)
        self.compared += len(entries)
        if odd:
            again = yield from ask(
                self._engine,
                lambda reader: [(entry, self._verdict(reader, entry)) for entry, _ in odd],
            )
            for entry, verdict in again:
                if verdict:
                    self._tell(entry, verdict)

    def _tell(self, entry: _Entry, what: str) -> None:
        body = entry.body
        key = str(getattr(body, "key", ""))
        bucket = int(getattr(body, "bucket", 0))
        self.mismatches.append(Mismatch(what, entry.record.segment, bucket, key))

    def _verdict(self, reader: Reader, entry: _Entry) -> str:
        """What is wrong with what the index says of a record; "" if nothing is.

        Where the index does not have the thing, a tombstone must say so: it is looked for later.
        """
        kind, seq, body, record = entry
        match kind:
            case records.PUT:
                return self._object(reader, entry)
            case records.DELETE:
                row = _version(reader, body, body.victim)
                return "a deleted version is still there" if row and row.seq < seq else ""
            case records.BUCKET_DELETE:
                there = reader.rows("SELECT 1 FROM buckets WHERE id=?", (body.bucket,))
                return "a deleted bucket is still there" if there else ""
            case records.ABORT:
                there = reader.rows("SELECT 1 FROM uploads WHERE seq=?", (body.upload,))
                return "an upload that ended is still there" if there else ""
            case records.EPOCH:
                return ""
        if not self._matters(reader, kind, body):
            return ""
        sql, values = HOLDERS[kind]
        row = _first(reader, sql, values(seq, body))
        if row is None:
            if kind == records.SYSTEM and body.value is None:
                return ""
            return self._note_absent(entry)
        return _judge(row[0], row[1], seq, record)

    def _object(self, reader: Reader, entry: _Entry) -> str:
        _, seq, put, record = entry
        if put.upload and reader.rows("SELECT 1 FROM uploads WHERE seq=?", (put.upload,)):
            return "a completed upload is still there"
        row = _version(reader, put, seq)
        if row is None:
            if not reader.rows("SELECT 1 FROM buckets WHERE id=?", (put.bucket,)):
                return ""
            return self._note_absent(entry)
        named = row.record or row.seq
        if named != record.seq:
            return "the index says what was true once" if named < record.seq else ""
        if row.owner is None:
            row = row._replace(owner=reader.owner(put.bucket))
        wanted = object_row(seq, put, put.key.encode(), record.place)
        return "" if tuple(row) == wanted else "the index says something else of an object"

    def _matters(self, reader: Reader, kind: int, body: Any) -> bool:
        """Whether what a record belongs to exists: if it does not, its own record tells."""
        if kind in (records.BUCKET_CONFIG, records.UPLOAD):
            return bool(reader.rows("SELECT 1 FROM buckets WHERE id=?", (body.bucket,)))
        if kind == records.PART:
            return bool(reader.rows("SELECT 1 FROM uploads WHERE seq=?", (body.upload,)))
        return True

    # -- things that the index does not have ------------------------------------------------------

    def _note_absent(self, entry: _Entry) -> str:
        thing = _thing(entry)
        if thing is None:
            return "the index lacks what nothing can remove"
        newest = self._absent.get(thing)
        if newest is None or entry.seq >= newest.seq:
            self._absent[thing] = entry
        return ""

    def _look_for_tombstones(self) -> Iterator[None]:
        """What nothing has removed is missing from the index."""
        lowest = min((entry.record.segment for entry in self._absent.values()), default=0)
        for number in self._segments_from(lowest) if self._absent else ():
            for count, entry in enumerate(self._entries(number, self._engine.board.applied_seq)):
                for thing in _ends(entry):
                    newest = self._absent.get(thing)
                    if newest is not None and newest.seq <= entry.seq:
                        del self._absent[thing]
                if count % ROWS == 0:
                    yield
        left, self._absent = list(self._absent.values()), {}
        absent = yield from ask(
            self._engine, lambda reader: [each for each in left if _is_absent(reader, each)]
        )
        present = set(segment.listing(self._folder))
        for entry in absent:
            # With its segment, a tombstone may have gone, too.
            if entry.record.segment in present:
                self._tell(entry, "the index lacks what nothing has removed")

    # -- from rows to segments --------------------------------------------------------------------

    def _walk_rows(self) -> Iterator[None]:
        """All objects in order: they ascend, and lie in segments that exist."""
        after: tuple[int, bytes] = (0, b"")
        usage: dict[int, list[int]] = {}
        # Of the index itself: the board is told a moment after rows have changed.
        began = yield from ask(self._engine, Reader.applied_seq)
        while True:
            rows = yield from ask(self._engine, functools.partial(_page, after=after))
            present = set(segment.listing(self._folder))
            for bucket, key, seq, number, size in rows:
                if (bucket, key) <= after:
                    self.mismatches.append(Mismatch("rows of the index are out of order"))
                    return  # the walk would go in circles
                after = (bucket, key)
                counted = usage.setdefault(bucket, [0] * 5)
                counted[0] += 1
                counted[1] += size
                if number not in present:
                    yield from self._astray(bucket, key, seq, number)
            if len(rows) < ROWS:
                break
        if not (yield from self._walk_hidden(usage)):
            return
        yield from self._compare_usage(usage, began)
        for table in _OTHERS:
            yield from self._walk_segments_of(table)

    def _walk_hidden(self, usage: dict[int, list[int]]) -> Generator[None, None, bool]:
        """All versions behind the visible ones, the same way; whether they stand in order."""
        after = (0, b"", 0)
        while True:
            rows = yield from ask(self._engine, functools.partial(_hidden_page, after=after))
            present = set(segment.listing(self._folder))
            for bucket, key, seq, number, size, flags, visible in rows:
                is_next = (bucket, key) == after[:2]
                if (bucket, key, -seq) <= (*after[:2], -after[2]):
                    self.mismatches.append(Mismatch("rows of the index are out of order"))
                    return False
                hidden = visible > seq if visible is not None else is_next or flags & MARKER
                if not hidden:
                    yield from self._misplaced(bucket, key, seq)
                after = (bucket, key, seq)
                counted = usage.setdefault(bucket, [0] * 5)
                counted[4 if flags & MARKER else 2] += 1
                counted[3] += size
                if number not in present:
                    yield from self._astray(bucket, key, seq, number)
            if len(rows) < ROWS:
                return True

    def _misplaced(self, bucket: int, key: bytes, seq: int) -> Iterator[None]:
        """A version that should be the visible one, unless that changed meanwhile."""

        def look(reader: Reader) -> bool:
            newest = reader.version(bucket, key.decode(errors="surrogateescape"), "")
            return bool(newest and newest.seq == seq and not newest.delete_marker)

        if (yield from ask(self._engine, look)):
            what = "a version is hidden that should be visible"
            self.mismatches.append(Mismatch(what, 0, bucket, key.decode(errors="replace")))

    def _walk_segments_of(self, table: str) -> Iterator[None]:
        """Rows of another table lie in segments that exist, too."""
        sql = (
            f"SELECT DISTINCT t.segment, s.id FROM {table} AS t "  # noqa: S608
            "LEFT JOIN segments AS s ON s.id = t.segment"
        )
        named = yield from ask(self._engine, lambda reader: reader.rows(sql))
        gone = {number for number, _ in named} - set(segment.listing(self._folder))
        if not gone:
            return
        # Rows that were moved meanwhile name other segments now: it is about those seen gone.
        named = yield from ask(self._engine, lambda reader: reader.rows(sql))
        for number, known in named:
            if number not in gone:
                continue
            if known:
                self.lost.add(number)
            else:
                self.mismatches.append(Mismatch(f"a row of {table} lies nowhere", number))

    def _astray(self, bucket: int, key: bytes, seq: int, number: int) -> Iterator[None]:
        """A row that lies in a segment which is not there: moved meanwhile, stale, or lost."""

        def look(reader: Reader) -> tuple[bool, bool]:
            row = _first(reader, _VERSION_ROW, (bucket, key, seq))
            known = reader.rows("SELECT 1 FROM segments WHERE id=?", (number,))
            return bool(row and ObjectRow._make(row).segment == number), bool(known)

        named, known = yield from ask(self._engine, look)
        if named and known:
            self.lost.add(number)
        elif named:
            what = "an object lies in a segment that was compacted"
            self.mismatches.append(Mismatch(what, number, bucket, key.decode(errors="replace")))

    def _compare_usage(self, usage: dict[int, list[int]], began: int) -> Iterator[None]:
        """Counters of the buckets, where nothing was changed during the whole walk."""
        sql = "SELECT bucket, objects, bytes, versions, version_bytes, markers FROM usage"
        counters, applied = yield from ask(
            self._engine, lambda reader: (reader.rows(sql), reader.applied_seq())
        )
        if applied == began:
            for bucket, *counted in counters:
                if usage.get(bucket, [0] * 5) != counted:
                    self.mismatches.append(Mismatch("counters of a bucket", bucket=bucket))


def _page(reader: Reader, after: tuple[int, bytes]) -> list[Any]:
    return reader.rows(_WALK, (*after, ROWS))


def _hidden_page(reader: Reader, after: tuple[int, bytes, int]) -> list[Any]:
    rows = reader.rows(_WALK_OLDER, (*after, ROWS))
    return rows + reader.rows(_WALK_HIDDEN, (*after[:2], ROWS - len(rows)))


def _version(reader: Reader, body: records.Put | records.Delete, seq: int) -> ObjectRow | None:
    """The row of the thing that a put made or a deletion named: a version, or the null version."""
    key = body.key.encode()
    if body.flags & OWN_ID:
        row = _first(reader, _VERSION_ROW, (body.bucket, key, seq))
    else:
        row = _first(reader, _NULL_ROW, (body.bucket, key))
    return None if row is None else ObjectRow._make(row)


def _records(path: str, applied: int, report: Callable[[Damage], None]) -> Iterator[Record]:
    """The records of a segment up to ``applied``, from its footer if it has one."""
    found = None
    with contextlib.suppress(Damaged):  # a scan can do without, and reports what it can't read
        found = segment.read_footer(path, report)
    if found is None:
        found = _scan(path, applied, report)
    for record in found:
        if record.seq > applied:
            return
        yield record


def _scan(path: str, applied: int, report: Callable[[Damage], None]) -> Iterator[Record]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = segment.open_header(fd, path)
        stop = segment.closed_length(fd, header, path)
        for batch in segment.batches(fd, header, stop=stop, report=report, search=stop is not None):
            if batch.first_seq > applied:
                return
            heads = segment.read_heads(fd, batch)
            yield from segment.decode_heads(heads, batch, header.segment, header.salt, report)
    finally:
        os.close(fd)


def _first(reader: Reader, sql: str, values: Sequence[Any]) -> Any:
    found = reader.rows(sql, values)
    return found[0] if found else None


def _judge(row_seq: int, row_segment: int, seq: int, record: Record) -> str:
    """Compare commit seq and segment of a row with those of a record about the same thing."""
    if row_seq < seq or (row_seq == seq and row_segment < record.segment):
        return "the index says what was true once"
    return ""


def _thing(entry: _Entry) -> Thing | None:
    """What may rightly be absent, by a name; None for what is never removed by itself."""
    body = entry.body
    match entry.kind:
        case records.PUT:
            return ("object", body.bucket, body.key, entry.seq if body.flags & OWN_ID else 0)
        case records.BUCKET:
            return ("bucket", entry.seq)
        case records.UPLOAD:
            return ("upload", entry.seq)
        case records.SYSTEM:
            return ("system", body.kind, body.name)
    return None


def _ends(entry: _Entry) -> Iterator[Thing]:
    """What a record removes."""
    body = entry.body
    match entry.kind:
        case records.DELETE:
            yield ("object", body.bucket, body.key, body.victim if body.flags & OWN_ID else 0)
        case records.ABORT:
            yield ("upload", body.upload)
        case records.PUT if body.upload:
            yield ("upload", body.upload)
        case records.BUCKET_DELETE:
            yield ("bucket", body.bucket)
        case records.SYSTEM if body.value is None:
            yield ("system", body.kind, body.name)


def _is_absent(reader: Reader, entry: _Entry) -> bool:
    """Whether the index still lacks something, and the bucket that it belongs to has not gone."""
    body = entry.body
    if entry.kind in (records.PUT, records.UPLOAD) and not reader.rows(
        "SELECT 1 FROM buckets WHERE id=?", (body.bucket,)
    ):
        return False
    if entry.kind == records.PUT:
        return _version(reader, body, entry.seq) is None
    sql, values = HOLDERS[entry.kind]
    return not reader.rows(sql, values(entry.seq, body))
