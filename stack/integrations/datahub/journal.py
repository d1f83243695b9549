"""What was told to one DataHub about one prefix: a small database among the user's other state.

It makes a second run cheap, lets an interrupted one go on, and is how deleted objects are
noticed. It may be thrown away: then everything is told again, which changes nothing, and what was
deleted until then stays in DataHub.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stack.store import CommandError

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entities (
  name TEXT PRIMARY KEY,
  urn TEXT NOT NULL,
  fingerprint TEXT NOT NULL,      -- of what was told
  run INTEGER NOT NULL,           -- the last run that saw it
  removable INTEGER NOT NULL      -- soft-deleted once a run does not see it
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Told:
    """An entity that DataHub knows from here. ``name`` tells it apart in one journal."""

    name: str
    urn: str
    fingerprint: str
    removable: bool = True


class Journal:
    """Used by one thread. What happens between two calls of ``commit`` is kept whole or not."""

    def __init__(self, path: Path | None) -> None:
        """``path`` None: in memory, for one run. Raises CommandError."""
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path if path is not None else ":memory:", timeout=10)
            self._db.executescript(_SCHEMA)
            version = self._fact("version")
        except (sqlite3.Error, OSError) as error:
            raise CommandError(_unusable(path, str(error))) from None
        if version not in (None, _VERSION):
            raise CommandError(_unusable(path, "it is of another release"))
        self._run = (self._fact("run") or 0) + 1
        self._set_fact("version", _VERSION)
        self._set_fact("run", self._run)

    def find(self, name: str) -> Told | None:
        """What was told last under this name, unless it was soft-deleted since."""
        row = self._db.execute(
            "SELECT name, urn, fingerprint, removable FROM entities WHERE name = ?", (name,)
        ).fetchone()
        return Told(row[0], row[1], row[2], bool(row[3])) if row else None

    def saw(self, names: Iterable[str]) -> None:
        """They exist, and DataHub knows them as they are."""
        self._db.executemany(
            "UPDATE entities SET run = ? WHERE name = ?", ((self._run, name) for name in names)
        )

    def told(self, entities: Iterable[Told]) -> None:
        """DataHub knows them now."""
        self._db.executemany(
            "INSERT OR REPLACE INTO entities VALUES (?, ?, ?, ?, ?)",
            (
                (each.name, each.urn, each.fingerprint, self._run, each.removable)
                for each in entities
            ),
        )

    def gone(self) -> list[Told]:
        """Removable entities that this run has not seen."""
        rows = self._db.execute(
            "SELECT name, urn, fingerprint FROM entities WHERE run < ? AND removable", (self._run,)
        )
        return [Told(*row) for row in rows]

    def removed(self, entities: Iterable[Told]) -> None:
        """They were soft-deleted; an object of that name will be news."""
        self._db.executemany(
            "DELETE FROM entities WHERE name = ?", ((each.name,) for each in entities)
        )

    def commit(self) -> None:
        self._db.commit()

    def close(self) -> None:
        """Forgets what was not committed."""
        self._db.close()

    def _fact(self, name: str) -> int | None:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else None

    def _set_fact(self, name: str, value: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def default_path(*identity: str) -> Path:
    """The journal of one destination and one prefix, which ``identity`` tells apart."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:24]
    return Path(state) / "oversight" / "datahub" / f"{digest}.db"


def _unusable(path: Path | None, why: str) -> str:
    return f"The journal {path} can't be used ({why}): delete it, or name another with --journal."
