"""How buckets and drives grew: a small SQLite file of its own, which can be thrown away.

A row a bucket and day (the last look of the day counts), a row an hour for the drives. Days are
UTC. A bucket is known by its id, which no other one ever gets: what is made anew under an old name
begins anew here too.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import apsw

FILE = "trends.db"
DAYS_MAX, HOURS_MAX = 400, 60 * 24
#: What growth is estimated from: the last days, and at least so many hours.
_GROWTH_HOURS, _GROWTH_HOURS_MIN = 14 * 24, 6
_YEARS_MAX = 100
_SCHEMA_VERSION = 2
_SCHEMA = f"""
CREATE TABLE buckets (
    bucket INTEGER NOT NULL, day INTEGER NOT NULL, objects INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (bucket, day)
) STRICT, WITHOUT ROWID;
CREATE TABLE drives (
    hour INTEGER PRIMARY KEY, total INTEGER NOT NULL, free INTEGER NOT NULL
) STRICT;
PRAGMA user_version={_SCHEMA_VERSION};
"""
# What says that the file is of no use; everything else passes, and the file stays.
_CORRUPTION = (apsw.CorruptError, apsw.NotADBError)


class BucketDay(NamedTuple):
    """A bucket at the end of a day (days since 1970)."""

    bucket: int
    day: int
    objects: int
    bytes: int


class DriveHour(NamedTuple):
    """The drives in an hour (hours since 1970), in bytes."""

    hour: int
    total: int
    free: int


class Growth(NamedTuple):
    """Bytes a day, and when the drives are full if it goes on (seconds since 1970, or None)."""

    bytes_per_day: float
    full: float | None


class Trends:
    """The file of one store. Methods may be called from any thread."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, FILE)
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = None

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def record(
        self, now: float, buckets: Iterable[tuple[int, int, int]], total: int, free: int
    ) -> None:
        """Enter (id, objects, bytes) of buckets and the drives' space. Raises OSError."""
        day, hour = int(now // 86400), int(now // 3600)
        with self._lock:
            try:
                connection = self._open()
                with connection:
                    connection.executemany(
                        "INSERT OR REPLACE INTO buckets VALUES (?1, ?4, ?2, ?3)",
                        [(*each, day) for each in buckets],
                    )
                    connection.execute(
                        "INSERT OR REPLACE INTO drives VALUES (?, ?, ?)", (hour, total, free)
                    )
                    connection.execute("DELETE FROM buckets WHERE day <= ?", (day - DAYS_MAX,))
                    connection.execute("DELETE FROM drives WHERE hour <= ?", (hour - HOURS_MAX,))
            except _CORRUPTION as error:
                self._discard()
                raise OSError(f"{self._path} is made anew: {error}") from None
            except apsw.Error as error:
                raise OSError(f"{self._path}: {error}") from None

    def buckets(self, ids: Sequence[int], since: int) -> list[BucketDay]:
        """Those buckets from a day on (days since 1970), by id and day."""
        return [
            BucketDay._make(row)
            for number in sorted(ids)
            for row in self._rows(
                "SELECT bucket, day, objects, bytes FROM buckets WHERE bucket = ? AND day >= ? "
                "ORDER BY day",
                (number, since),
            )
        ]

    def drives(self, since: int) -> list[DriveHour]:
        """The drives from an hour on (hours since 1970)."""
        rows = self._rows(
            "SELECT hour, total, free FROM drives WHERE hour >= ? ORDER BY 1", (since,)
        )
        return [DriveHour._make(row) for row in rows]

    def growth(self, now: float) -> Growth | None:
        """How fast the drives fill, by a line through the last two weeks; None if too little is
        known."""
        hours = self.drives(int(now // 3600) - _GROWTH_HOURS)
        return estimate(hours, now)

    def _rows(self, sql: str, bindings: tuple[int, ...]) -> list[tuple[object, ...]]:
        with self._lock:
            try:
                return list(self._open().execute(sql, bindings))
            except apsw.Error:
                return []

    def _open(self) -> apsw.Connection:
        if self._connection is None:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = apsw.Connection(self._path)
            try:
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _discard(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for suffix in ("-journal", ""):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path + suffix)


def _prepare(connection: apsw.Connection) -> None:
    """Set up a connection; a file of another layout is emptied."""
    connection.set_busy_timeout(2000)
    connection.execute("PRAGMA synchronous=OFF")  # nothing depends on it
    if connection.execute("PRAGMA user_version").get != _SCHEMA_VERSION:
        with connection:
            connection.execute("DROP TABLE IF EXISTS buckets; DROP TABLE IF EXISTS drives")
            connection.execute(_SCHEMA)


def estimate(hours: list[DriveHour], now: float) -> Growth | None:
    """The least-squares line through the used bytes, and where it meets the drives' end."""
    if len(hours) < 2 or hours[-1].hour - hours[0].hour < _GROWTH_HOURS_MIN:
        return None
    times = [each.hour / 24 for each in hours]
    used = [each.total - each.free for each in hours]
    middle, level = sum(times) / len(times), sum(used) / len(used)
    spread = sum((time - middle) ** 2 for time in times)
    slope = sum((t - middle) * (u - level) for t, u in zip(times, used, strict=True)) / spread
    if slope <= 0:
        return Growth(slope, None)
    days = hours[-1].free / slope
    return Growth(slope, now + days * 86400 if days < _YEARS_MAX * 365 else None)
