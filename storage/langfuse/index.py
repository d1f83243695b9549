"""The index of Langfuse's objects: a SQLite file beside the store's own, which can be thrown away.

``Writer`` is its one writer's, ``Reader`` everyone else's. One transaction holds the changes of a
batch of objects together with the position in the change feed up to which they count, so that
whatever stops the writer, it goes on where it was, and the same change twice is no harm.

A trace id of 32 hex digits is kept as 16 bytes, any other one as text; SQLite tells them apart.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import apsw
import msgspec

from storage.langfuse.bodies import DAMAGED, SOUND, Mention, normalized
from storage.langfuse.keys import KINDS

FILE = "langfuse.db"
SCHEMA_VERSION = 2
DAY_MS = 86_400_000
_SUFFIXES = ("", "-wal", "-shm")
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE projects (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE objects (
    id INTEGER PRIMARY KEY,      -- 63 bits of a keyed hash of bucket and key
    bucket TEXT NOT NULL, key TEXT NOT NULL,
    seq INTEGER NOT NULL,        -- of the version that was read
    modified INTEGER NOT NULL,   -- ms
    size INTEGER NOT NULL,
    project INTEGER NOT NULL, kind INTEGER NOT NULL,
    day INTEGER NOT NULL,        -- days since 1970 of its earliest event
    flaw INTEGER NOT NULL        -- 0: none, 1: damaged, 2: too large to be read whole
) STRICT;
CREATE INDEX flawed ON objects (flaw) WHERE flaw > 0;
CREATE TABLE mentions (
    object INTEGER NOT NULL, trace ANY NOT NULL, project INTEGER NOT NULL,
    time INTEGER NOT NULL,       -- ms
    parts INTEGER NOT NULL, name TEXT NOT NULL,
    PRIMARY KEY (object, trace)
) STRICT, WITHOUT ROWID;
CREATE INDEX mentions_trace ON mentions (trace, project, time, object);
CREATE TABLE traces (
    project INTEGER NOT NULL, trace ANY NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, objects INTEGER NOT NULL,
    PRIMARY KEY (trace, project)
) STRICT, WITHOUT ROWID;
CREATE INDEX traces_time ON traces (project, first, trace);
CREATE TABLE usage (
    project INTEGER NOT NULL, kind INTEGER NOT NULL, day INTEGER NOT NULL,
    objects INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (project, day, kind)
) STRICT, WITHOUT ROWID;
"""

# A page of events; said so that the index is entered at the place to go on from.
_EVENTS = """
SELECT p.name, m.trace, m.time, m.object, o.bucket, o.key, o.kind, o.size, o.modified, m.parts,
    m.name, o.flaw
FROM mentions m CROSS JOIN objects o ON o.id = m.object CROSS JOIN projects p ON p.id = m.project
WHERE m.trace = ?1 AND {} ORDER BY m.project, m.time, m.object LIMIT ?5
"""
_EVENTS_IN_PROJECT = _EVENTS.format(
    "m.project = (SELECT id FROM projects WHERE name = ?2) AND (m.time, m.object) > (?3, ?4)"
)
_EVENTS_IN_ALL = _EVENTS.format(
    "(m.project, m.time, m.object) > (ifnull((SELECT id FROM projects WHERE name = ?2), 0), ?3, ?4)"
)

Trace = bytes | str
# What passes, and says nothing of the file.
_PASSING = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.NoMemError,
)
# What says that the file is damaged.
_CORRUPTION = (apsw.CorruptError, apsw.NotADBError)


class Found(msgspec.Struct):
    """An object as it is now."""

    seq: int
    modified: int
    size: int
    project: str
    kind: str
    mentions: Sequence[Mention] = ()
    flaw: int = SOUND


class Change(NamedTuple):
    """What is under a key: ``found`` None where there is nothing (any more)."""

    bucket: str
    key: str
    found: Found | None


class Progress(NamedTuple):
    """How far the index is.

    ``position``: events of the feed up to this count. ``stocktaking``: 0 while objects are still
    listed, for the first time or again; ``after``: (number of the root, key) listed last; ``done``:
    objects listed so far, ``total``: as many as there may have been.
    """

    position: int = 0
    complete: bool = False
    root: int = 0
    after: str = ""
    done: int = 0
    total: int = 0


class Unusable(Exception):
    """The file is damaged, or of another release, store or layout: make it anew."""


class Writer:
    """The one writer of an index. Its methods may be called from any thread, one at a time."""

    def __init__(self, folder: str, fingerprint: str) -> None:
        """Open the index in ``folder``. ``fingerprint``: of the store and of what is indexed.

        Raises Unusable, also where there is none, and OSError for what passes.
        """
        self.path = os.path.join(folder, FILE)
        self._lock = threading.Lock()
        self._projects: dict[str, int] = {}
        if not os.path.exists(self.path):
            raise Unusable
        try:
            self._inode = os.stat(self.path).st_ino
            self._connection = _connect(self.path, apsw.SQLITE_OPEN_READWRITE)
            self._load(fingerprint)
        except _PASSING as error:
            raise self._passing(error) from error
        except (apsw.Error, msgspec.MsgspecError, TypeError) as error:
            raise Unusable from error

    @classmethod
    def create(cls, folder: str, fingerprint: str, progress: Progress) -> Writer:
        """Make an empty index in the place of whatever is there."""
        remove(folder)
        path = os.path.join(folder, FILE)
        staged = path + ".new"
        for suffix in _SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged + suffix)
        os.close(os.open(staged, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = _connect(staged, apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.execute("PRAGMA journal_mode=DELETE")
            with connection:
                connection.execute(_SCHEMA)
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
                for name, value in (
                    ("fingerprint", fingerprint),
                    ("salt", secrets.token_bytes(16)),
                    ("progress", msgspec.json.encode(progress)),
                ):
                    connection.execute("INSERT INTO meta VALUES (?, ?)", (name, value))
        finally:
            connection.close()
        os.replace(staged, path)
        return cls(folder, fingerprint)

    def _load(self, fingerprint: str) -> None:
        version = self._connection.execute("PRAGMA user_version").get
        meta = {}
        if version == SCHEMA_VERSION:
            meta = dict(self._connection.execute("SELECT name, value FROM meta"))
        if meta.get("fingerprint") != fingerprint:
            self._connection.close()
            raise Unusable
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA wal_autocheckpoint=1000")
        self._salt: bytes = meta["salt"]
        self.objects, self.flawed = self._count()
        """Objects in the index, and those of them that could not be read whole."""
        self.progress = Progress(*msgspec.json.decode(meta["progress"], type=list[Any]))

    def close(self) -> None:
        """Wait for the batch at hand and close."""
        with self._lock:
            self._connection.close()

    def check(self) -> None:
        """Raises Unusable where the file is no longer under its name: what is written to it then,
        nobody reads."""
        try:
            if os.stat(self.path).st_ino == self._inode:
                return
        except FileNotFoundError:
            pass
        raise Unusable("its file was removed")

    def apply(self, changes: Sequence[Change], progress: Progress) -> None:
        """Make ``changes`` true, and that they count up to ``progress``.

        Raises Unusable, and OSError for what passes."""
        self._added = self._added_flawed = 0
        try:
            with self._lock, self._connection:
                doubtful: set[tuple[int, Trace]] = set()
                for change in changes:
                    self._enter(change, doubtful)
                for project, trace in doubtful:
                    self._reduce(project, trace)
                self._connection.execute(
                    "UPDATE meta SET value = ? WHERE name = 'progress'",
                    (msgspec.json.encode(progress),),
                )
            self.progress = progress
            self.objects += self._added
            self.flawed += self._added_flawed
        except apsw.Error as error:
            self._projects.clear()
            if isinstance(error, _PASSING):
                raise self._passing(error) from error
            raise Unusable(str(error)) from error

    def _passing(self, error: apsw.Error) -> OSError:
        full = isinstance(error, apsw.FullError)
        return OSError(f"{self.path}: {'the drive is full' if full else error}")

    def _count(self) -> tuple[int, int]:
        flawed: Any = self._connection.execute("SELECT count(*) FROM objects WHERE flaw > 0").get
        objects: Any = self._connection.execute("SELECT ifnull(sum(objects), 0) FROM usage").get
        return objects, flawed

    # -- one object -----------------------------------------------------------------------------

    def _enter(self, change: Change, doubtful: set[tuple[int, Trace]]) -> None:
        """Make one change true; an object that the tables refuse is entered as damaged."""
        added, flawed = self._added, self._added_flawed
        try:
            with self._connection:
                self._change(change, doubtful)
        except apsw.ConstraintError:
            if change.found is None:
                raise
            self._added, self._added_flawed = added, flawed
            self._projects.clear()  # one of them may just have been taken back
            bare = msgspec.structs.replace(change.found, mentions=(), flaw=DAMAGED)
            self._change(change._replace(found=bare), doubtful)

    def _change(self, change: Change, doubtful: set[tuple[int, Trace]]) -> None:
        number = _number(self._salt, change.bucket, change.key)
        self._forget(number, doubtful)
        found = change.found
        if found is None:
            return
        project = self._project(found.project)
        kind = KINDS.index(found.kind)
        times = [each.time or found.modified for each in found.mentions]
        day = min(times, default=found.modified) // DAY_MS
        execute = self._connection.execute
        execute(
            "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, change.bucket, change.key, found.seq, found.modified, found.size, project,
             kind, day, found.flaw),
        )  # fmt: skip
        self._added += 1
        self._added_flawed += found.flaw > 0
        for each, time in zip(found.mentions, times, strict=True):
            trace = stored(each.trace)
            execute(
                "INSERT INTO mentions VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (object, trace) DO NOTHING",
                (number, trace, project, time, each.parts, each.name),
            )
            if not self._connection.changes():
                continue
            execute(
                "INSERT INTO traces VALUES (?1, ?2, ?3, ?3, 1) ON CONFLICT DO UPDATE SET "
                "first = min(first, ?3), last = max(last, ?3), objects = objects + 1",
                (project, trace, time),
            )
        execute(
            "INSERT INTO usage VALUES (?1, ?2, ?3, 1, ?4) ON CONFLICT DO UPDATE SET "
            "objects = objects + 1, bytes = bytes + ?4",
            (project, kind, day, found.size),
        )

    def _forget(self, number: int, doubtful: set[tuple[int, Trace]]) -> None:
        """Take an object out; where its traces begin and end now is to be looked up."""
        execute = self._connection.execute
        row = execute(
            "DELETE FROM objects WHERE id = ? RETURNING project, kind, day, size, flaw", (number,)
        ).fetchone()
        if row is None:
            return
        gone: Any = execute(
            "DELETE FROM mentions WHERE object = ? RETURNING project, trace", (number,)
        ).fetchall()
        self._connection.executemany(
            "UPDATE traces SET objects = objects - 1 WHERE project = ? AND trace = ?", gone
        )
        doubtful.update(gone)
        project, kind, day, size, flaw = row
        self._added -= 1
        self._added_flawed -= flaw > 0
        where = (project, kind, day)
        execute(
            "UPDATE usage SET objects = objects - 1, bytes = bytes - ? "
            "WHERE project = ? AND kind = ? AND day = ?",
            (size, *where),
        )
        execute(
            "DELETE FROM usage WHERE project = ? AND kind = ? AND day = ? AND objects = 0", where
        )

    def _reduce(self, project: int, trace: Trace) -> None:
        """Bring a trace that lost objects up to date. Both ends are looked up in the index, so that
        a trace of very many objects costs no more than another."""
        where = (project, trace)
        execute = self._connection.execute
        execute("DELETE FROM traces WHERE project = ? AND trace = ? AND objects = 0", where)
        execute(
            "UPDATE traces SET "
            "first = (SELECT min(time) FROM mentions WHERE trace = ?2 AND project = ?1), "
            "last = (SELECT max(time) FROM mentions WHERE trace = ?2 AND project = ?1) "
            "WHERE project = ?1 AND trace = ?2",
            where,
        )

    def _project(self, name: str) -> int:
        number = self._projects.get(name)
        if number is None:
            execute = self._connection.execute
            execute("INSERT OR IGNORE INTO projects (name) VALUES (?)", (name,))
            number = int(execute("SELECT id FROM projects WHERE name = ?", (name,)).get)
            if len(self._projects) >= 1024:
                self._projects.clear()
            self._projects[name] = number
        return number


# -- reading ------------------------------------------------------------------------------------


class Usage(NamedTuple):
    """Objects and bytes of one kind and day (days since 1970) of a project."""

    project: str
    kind: str
    day: int
    objects: int
    bytes: int


class TraceRow(NamedTuple):
    """A trace as a whole; times in ms."""

    project: str
    trace: str
    first: int
    last: int
    objects: int


class Event(NamedTuple):
    """An object that speaks of a trace. ``number`` orders what came at the same time."""

    project: str
    trace: str
    time: int
    number: int
    bucket: str
    key: str
    kind: str
    size: int
    modified: int
    parts: int
    name: str
    flaw: int


class Reader:
    """Reads an index that may be replaced at any time. Methods may be called from any thread."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, FILE)
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = None
        self._inode = 0

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def usage(self, project: str, first: int = 0, last: int = 1 << 40) -> list[Usage]:
        """Usage of a project by day (from ``first`` to ``last``, both counted) and kind."""
        rows = self._rows(
            "SELECT p.name, u.kind, u.day, u.objects, u.bytes FROM projects p "
            "CROSS JOIN usage u ON u.project = p.id "
            "WHERE p.name = ?1 AND u.day >= ?2 AND u.day <= ?3 ORDER BY u.day, u.kind",
            (project, first, last),
        )
        return [_usage(row) for row in rows]

    def days(self, project: str, last: int, limit: int) -> list[Usage]:
        """Usage of a project on its latest ``limit`` days up to ``last``."""
        days = self._rows(
            "SELECT DISTINCT day FROM usage WHERE "
            "project = (SELECT id FROM projects WHERE name = ?) AND day <= ? "
            "ORDER BY day DESC LIMIT ?",
            (project, last, limit),
        )
        return self.usage(project, days[-1][0], last) if days else []

    def usage_page(
        self, project: str, first: int, last: int, after: tuple[str, int] | None, limit: int
    ) -> list[Usage]:
        """Usage of a project, or of all (""), by project, day and kind; whole days from the one
        after ``after`` on, but the last may be cut by ``limit``."""
        name, day = after or ("", -1)
        rows = self._rows(
            "SELECT p.name, u.kind, u.day, u.objects, u.bytes FROM projects p "
            "CROSS JOIN usage u ON u.project = p.id "
            "WHERE p.name >= ?1 AND (?2 = '' OR p.name = ?2) AND u.day >= ?3 AND u.day <= ?4 "
            "AND (p.name, u.day) > (?1, ?5) ORDER BY p.name, u.day, u.kind LIMIT ?6",
            (name or project, project, first, last, day, limit),
        )
        return [_usage(row) for row in rows]

    def projects(
        self, after: str = "", limit: int = 1000
    ) -> tuple[list[str], list[tuple[str, str, int, int, int, int]]]:
        """Names of projects after that one, and (project, kind, objects, bytes, first day, last
        day) of those that keep something."""
        names = self._rows(
            "SELECT name FROM projects WHERE name > ? ORDER BY name LIMIT ?", (after, limit)
        )
        if not names:
            return [], []
        rows = self._rows(
            "SELECT p.name, u.kind, sum(u.objects), sum(u.bytes), min(u.day), max(u.day) "
            "FROM projects p CROSS JOIN usage u ON u.project = p.id "
            "WHERE p.name > ? AND p.name <= ? GROUP BY 1, 2 ORDER BY 1, 2",
            (after, names[-1][0]),
        )
        return [name for (name,) in names], [(n, KINDS[kind], *rest) for n, kind, *rest in rows]

    def kinds(self, project: str) -> list[str]:
        """Kinds of which a project keeps something."""
        rows = self._rows(
            "SELECT DISTINCT kind FROM usage WHERE "
            "project = (SELECT id FROM projects WHERE name = ?) ORDER BY kind",
            (project,),
        )
        return [KINDS[kind] for (kind,) in rows]

    def trace_counts(self, project: str, first: int = 0, last: int = 1 << 40) -> dict[int, int]:
        """Traces that began on each day, from ``first`` to ``last``."""
        last = min(last, 1 << 30)
        rows = self._rows(
            "SELECT first / ?4, count(*) FROM traces WHERE "
            "project = (SELECT id FROM projects WHERE name = ?1) "
            "AND first >= ?2 * ?4 AND first < (?3 + 1) * ?4 GROUP BY 1",
            (project, first, last, DAY_MS),
        )
        return dict(rows)

    def traces(
        self, project: str, start: int, stop: int, before: tuple[int, str] | None, limit: int
    ) -> list[TraceRow]:
        """Traces that began in [start, stop) ms, the latest first, after those down to
        ``before`` (its beginning and id)."""
        at, trace = before or (stop, "")
        rows = self._rows(
            "SELECT p.name, t.trace, t.first, t.last, t.objects FROM traces t "
            "JOIN projects p ON p.id = t.project "
            "WHERE p.name = ? AND t.first >= ? AND (t.first, t.trace) < (?, ?) "
            "ORDER BY t.first DESC, t.trace DESC LIMIT ?",
            (project, start, at, stored(trace), limit),  # text sorts before bytes, "" first
        )
        return [_trace_row(row) for row in rows]

    def search(
        self, prefix: str, after: tuple[str, str] | None, limit: int
    ) -> list[tuple[str, str]]:
        """(trace, project) of traces whose id starts with ``prefix``, after that one."""
        found: list[tuple[str, str]] = []
        for low, high in _ranges(prefix):
            start, project = low, ""
            if after is not None:
                known = stored(after[0])
                if isinstance(known, bytes) and isinstance(low, str):
                    continue  # text comes first, and is done with
                if isinstance(known, bytes) == isinstance(low, bytes):
                    start, project = known, after[1]
            rows = self._rows(
                "SELECT t.trace, p.name FROM traces t CROSS JOIN projects p ON p.id = t.project "
                "WHERE t.trace <= ?2 AND (t.trace, t.project) > "
                "(?1, ifnull((SELECT id FROM projects WHERE name = ?3), 0)) "
                "ORDER BY t.trace, t.project LIMIT ?4",
                (start, high, project, limit - len(found)),
            )
            found += [(shown(trace), name) for trace, name in rows]
            if len(found) >= limit:
                break
        return found

    def events(
        self,
        trace: str,
        project: str = "",
        after: tuple[str, int, int] | None = None,
        limit: int = 1000,
    ) -> list[Event]:
        """Objects that speak of a trace, project by project, in the order of their times, after
        (project, time, number) ``after``.

        Pages are read in the order of an index: a page of a trace of 100,000 objects costs what a
        page of any other one does.
        """
        name, at, number = after or ("", -1, -1)
        rows = self._rows(
            _EVENTS_IN_PROJECT if project else _EVENTS_IN_ALL,
            (stored(trace), project or name, at, number, limit),
        )
        return [_event(row) for row in rows]

    def _rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        """All rows; none where there is no index, or it is being replaced."""
        with self._lock:
            try:
                connection = self._current()
                return [] if connection is None else list(connection.execute(sql, bindings))
            except _CORRUPTION:
                self._discard()
                return []
            except apsw.Error:
                self._inode = 0
                return []

    def _discard(self) -> None:
        """Take the damaged file away, which tells its writer to make it anew: what the writer does
        may be far from the damage."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        self._inode = 0

    def _current(self) -> apsw.Connection | None:
        try:
            inode = os.stat(self._path).st_ino
        except FileNotFoundError:
            return None
        if inode != self._inode or self._connection is None:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._inode = inode
            self._connection = _connect(self._path, apsw.SQLITE_OPEN_READONLY)
        return self._connection


def remove(folder: str) -> None:
    """Throw the index away."""
    for suffix in reversed(_SUFFIXES):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, FILE) + suffix)


def stored(trace: str) -> Trace:
    """A trace id as the file has it."""
    text = normalized(trace)
    if len(text) == 32 and set(text) <= set("0123456789abcdef"):
        return bytes.fromhex(text)
    return text


def shown(trace: Trace) -> str:
    """The inverse of ``stored``."""
    return trace.hex() if isinstance(trace, bytes) else trace


def _ranges(prefix: str) -> Iterator[tuple[Trace, Trace]]:
    """First and last id that may start with ``prefix``: as text, then as hex."""
    text = prefix.encode("utf-8", "replace").decode()
    yield text, text + "\U0010ffff" * 4
    lower = text.lower()
    if len(lower) <= 32 and set(lower) <= set("0123456789abcdef"):
        yield bytes.fromhex(lower.ljust(32, "0")), bytes.fromhex(lower.ljust(32, "f"))


def _usage(row: tuple[Any, ...]) -> Usage:
    return Usage(row[0], KINDS[row[1]], *row[2:])


def _trace_row(row: tuple[Any, ...]) -> TraceRow:
    return TraceRow(row[0], shown(row[1]), *row[2:])


def _event(row: tuple[Any, ...]) -> Event:
    return Event._make((row[0], shown(row[1]), *row[2:6], KINDS[row[6]], *row[7:]))


def _number(salt: bytes, bucket: str, key: str) -> int:
    name = f"{bucket}/{key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=8, key=salt).digest(), "big") >> 1


def _connect(path: str, flags: int) -> apsw.Connection:
    connection = apsw.Connection(path, flags=flags, statementcachesize=64)
    connection.set_busy_timeout(5000)
    connection.execute("PRAGMA cache_size=-8192")
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA journal_size_limit=33554432")
    return connection
