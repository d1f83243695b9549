"""What a migration must remember between its runs, in a small SQLite file.

Whether an object has arrived is read from the listings of both stores. Only what these do not tell
is kept here: ETags that cannot be equal, uploads in parts that were interrupted, the settings of
buckets that were brought, when runs began and ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS etags (bucket TEXT, key TEXT, source TEXT, target TEXT,
    PRIMARY KEY (bucket, key, source, target)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (bucket TEXT, key TEXT, etag TEXT, upload TEXT,
    PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (bucket TEXT, name TEXT, source TEXT, target TEXT, refused TEXT,
    PRIMARY KEY (bucket, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (bucket TEXT, began TEXT, ended TEXT,
    PRIMARY KEY (bucket, began)) WITHOUT ROWID;
"""


class Brought(NamedTuple):
    """A setting that was brought: fingerprints of the source's and of what the target then told,
    and what of it the target refused: (what, why)."""

    source: str
    target: str
    refused: list[tuple[str, str]]


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
        sql = "SELECT 1 FROM etags WHERE bucket=? AND key=? AND source=? AND target=?"
        return self._one(sql, bucket, key, source, target) is not None

    def remember_pair(self, bucket: str, key: str, source: str, target: str) -> None:
        """What has the ETag ``source`` there has the ETag ``target`` in the target."""
        self._do("INSERT OR REPLACE INTO etags VALUES (?,?,?,?)", bucket, key, source, target)

    def upload(self, bucket: str, key: str, etag: str) -> str:
        """The upload that was begun for this very object; "" if none."""
        sql = "SELECT upload FROM uploads WHERE bucket=? AND key=? AND etag=?"
        row = self._one(sql, bucket, key, etag)
        return str(row[0]) if row else ""

    def remember_upload(self, bucket: str, key: str, etag: str, upload: str) -> None:
        self._do("INSERT OR REPLACE INTO uploads VALUES (?,?,?,?)", bucket, key, etag, upload)

    def forget_upload(self, bucket: str, key: str) -> None:
        self._do("DELETE FROM uploads WHERE bucket=? AND key=?", bucket, key)

    def setting(self, bucket: str, name: str) -> Brought | None:
        """What an earlier run made of a setting; None if it brought none."""
        sql = "SELECT source, target, refused FROM settings WHERE bucket=? AND name=?"
        row = self._one(sql, bucket, name)
        return Brought(row[0], row[1], json.loads(row[2])) if row else None

    def remember_setting(self, bucket: str, name: str, brought: Brought) -> None:
        values = (brought.source, brought.target, json.dumps(brought.refused))
        self._do("INSERT OR REPLACE INTO settings VALUES (?,?,?,?,?)", bucket, name, *values)

    def forget_setting(self, bucket: str, name: str) -> None:
        self._do("DELETE FROM settings WHERE bucket=? AND name=?", bucket, name)

    def runs(self, bucket: str) -> list[tuple[str, str]]:
        """When runs moved objects of a bucket, by the target's clock (ISO 8601): (from, to)."""
        with self._lock:
            rows = self._file.execute("SELECT began, ended FROM runs WHERE bucket=?", (bucket,))
            return list(rows)

    def remember_run(self, bucket: str, began: str, ended: str) -> None:
        self._do("INSERT OR REPLACE INTO runs VALUES (?,?,?)", bucket, began, ended)

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
