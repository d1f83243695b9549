"""What a migration must remember between its runs, in a small SQLite file.

Whether an object has arrived is read from the listings of both stores. Only what these do not tell
is kept here: ETags that cannot be equal, uploads in parts that were interrupted, when runs ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pairs (bucket TEXT, key TEXT, source TEXT, target TEXT,
    PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (bucket TEXT, key TEXT, etag TEXT, upload TEXT,
    PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (bucket TEXT PRIMARY KEY, finished TEXT) WITHOUT ROWID;
"""


def default_path(source: str, target: str) -> Path:
    """A file of its own for each pair of stores, under XDG_STATE_HOME."""
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = hashlib.sha256(f"{source}\n{target}".encode()).hexdigest()[:12]
    return base / "oversight" / f"migrate-{name}.sqlite"


class Memory:
    """One migration's file. Safe to share among threads."""

    def __init__(self, path: Path | None) -> None:
        """``path`` None: remember nothing beyond this run. Raises OSError, sqlite3.Error."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False
        )
        self._file.executescript(_SCHEMA)

    def same(self, bucket: str, key: str, source: str, target: str) -> bool:
        """Whether ``target`` is known to be the ETag of the source's ``source`` over there."""
        row = self._one("SELECT source, target FROM pairs WHERE bucket=? AND key=?", bucket, key)
        return row == (source, target)

    def remember_pair(self, bucket: str, key: str, source: str, target: str) -> None:
        """The object with the ETag ``source`` has the ETag ``target`` in the target."""
        self._do("INSERT OR REPLACE INTO pairs VALUES (?,?,?,?)", bucket, key, source, target)

    def upload(self, bucket: str, key: str, etag: str) -> str:
        """The upload that was begun for this very object; "" if none."""
        sql = "SELECT upload FROM uploads WHERE bucket=? AND key=? AND etag=?"
        row = self._one(sql, bucket, key, etag)
        return str(row[0]) if row else ""

    def remember_upload(self, bucket: str, key: str, etag: str, upload: str) -> None:
        self._do("INSERT OR REPLACE INTO uploads VALUES (?,?,?,?)", bucket, key, etag, upload)

    def forget_upload(self, bucket: str, key: str) -> None:
        self._do("DELETE FROM uploads WHERE bucket=? AND key=?", bucket, key)

    def finished(self, bucket: str) -> str:
        """When the last complete run ended, by the target's clock (ISO 8601); "" if none did."""
        row = self._one("SELECT finished FROM runs WHERE bucket=?", bucket)
        return str(row[0]) if row else ""

    def remember_run(self, bucket: str, finished: str) -> None:
        self._do("INSERT OR REPLACE INTO runs VALUES (?,?)", bucket, finished)

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._file.close()

    def _one(self, sql: str, *values: str) -> tuple[str, ...] | None:
        with self._lock:
            row: tuple[str, ...] | None = self._file.execute(sql, _plain(values)).fetchone()
            return row

    def _do(self, sql: str, *values: str) -> None:
        with self._lock:
            self._file.execute(sql, _plain(values))


def _plain(values: tuple[str, ...]) -> list[str]:
    """Keys whose bytes are no UTF-8 in a form that SQLite takes."""
    return [value.encode("utf-8", "surrogateescape").decode("latin-1") for value in values]
