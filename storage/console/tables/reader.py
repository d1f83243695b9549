"""Entry of a reader's process: ``python -m storage.console.tables.reader FD SIZE``.

``FD`` is its end of a socket pair (``ranges``); ``SIZE`` is that of the object in bytes. The answer
is the beginning of the table, or why there is none:

``{"columns": [{"name", "type"}], "rows": [[text or null]], "cut": characters of the longest cell,
"total": {"rows", "columns", "groups"}, "codecs": [text], "writer": text}``
``{"error": "broken" or "memory" or "sealing", "detail": text}``
"""

from __future__ import annotations

import json
import re
import socket
import sys
from datetime import UTC, datetime
from typing import Any

import duckdb
from fsspec import AbstractFileSystem

from storage.console.tables import sealing
from storage.console.tables.ranges import ERROR, TABLE, Ranges

ROWS_MAX, COLUMNS_MAX = 1000, 100
#: Characters of a cell, of a cell where there are many columns, and of all cells together.
CELL_MAX, CELL_MAX_MANY, MANY, TEXT_MAX = 500, 200, 20, 2_000_000
#: Bytes that the library may use for tables, and this process for everything, beyond its start.
TABLES_BYTES_MAX, MEMORY_BYTES_MAX = 160 * 1024 * 1024, 320 * 1024 * 1024
CPU_SECONDS_MAX = 8
_DETAIL_MAX = 300
_FILE = "object://table"
_ROWS_AT_ONCE = 50
_OPTIONS: dict[str, str | bool | int | float | list[str]] = {
    "threads": "1",
    "memory_limit": f"{TABLES_BYTES_MAX}B",
    "temp_directory": "",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


class _OneFile(AbstractFileSystem):  # type: ignore[misc]
    """A file system of one file, as the library wants it."""

    protocol = "object"
    cachable = False

    def __init__(self, file: Ranges, size: int) -> None:
        super().__init__()
        self._file, self._size = file, size

    def open(self, path: str, mode: str = "rb", **_: Any) -> Ranges:
        self._file.seek(0)
        return self._file

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": self._size, "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        return True

    def glob(self, path: str, **_: Any) -> list[str]:
        return [path]

    def modified(self, path: str) -> datetime:
        return datetime(2000, 1, 1, tzinfo=UTC)


def main(arguments: list[str]) -> int:
    """Answer about one object; the exit code."""
    size = int(arguments[1])
    file = Ranges(socket.socket(fileno=int(arguments[0])), size)
    answer: dict[str, Any]
    try:
        connection = _connect(_OneFile(file, size))
        sealing.limit(MEMORY_BYTES_MAX, CPU_SECONDS_MAX)
        sealing.seal()
    except OSError as error:
        answer = {"error": "sealing", "detail": str(error)}
    else:
        answer = _answer(connection)
    kind = ERROR if "error" in answer else TABLE
    # What is no text (half of a surrogate pair) must not keep the rest from being shown.
    file.answer(kind, json.dumps(answer, ensure_ascii=False).encode(errors="replace"))
    return 0


def _connect(files: _OneFile) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config=_OPTIONS)
    connection.register_filesystem(files)
    # It would fetch row groups as a whole, and those have hundreds of MiB.
    connection.execute("SET disable_parquet_prefetching = true")
    connection.execute("SET lock_configuration = true")
    return connection


def _answer(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    try:
        return _table(connection)
    except (duckdb.OutOfMemoryException, MemoryError):
        return {"error": "memory", "detail": ""}
    except duckdb.Error as error:
        return {"error": "broken", "detail": _reason(error)}
    except RecursionError:
        return {"error": "broken", "detail": "types within types without end"}


def _table(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    def ask(question: str) -> list[tuple[Any, ...]]:
        return connection.execute(question).fetchall()

    described = ask(f"DESCRIBE SELECT * FROM read_parquet('{_FILE}')")  # noqa: S608
    columns = [(name, kind) for name, kind, *_ in described[:COLUMNS_MAX]]
    longest = CELL_MAX if len(columns) <= MANY else CELL_MAX_MANY
    ((total, groups, writer),) = ask(
        f"SELECT num_rows, num_row_groups, created_by FROM parquet_file_metadata('{_FILE}')"  # noqa: S608
    )
    codecs = ask(
        "SELECT DISTINCT compression FROM (SELECT compression"  # noqa: S608
        f" FROM parquet_metadata('{_FILE}') LIMIT 1000) ORDER BY 1"
    )
    return {
        "columns": [{"name": name, "type": kind[:CELL_MAX]} for name, kind in columns],
        "rows": _rows(connection, [name for name, _ in columns], longest),
        "cut": longest,
        "total": {"rows": total, "columns": len(described), "groups": groups},
        "codecs": [codec for (codec,) in codecs if codec],
        "writer": (writer or "")[:CELL_MAX],
    }


def _rows(
    connection: duckdb.DuckDBPyConnection, columns: list[str], longest: int
) -> list[tuple[str | None, ...]]:
    """The first rows as text, each cell one character longer than ``longest`` if it was cut."""
    quoted = (f'"{name.replace(chr(34), chr(34) * 2)}"' for name in columns)
    cells = ", ".join(f"left(CAST({name} AS VARCHAR), {longest + 1})" for name in quoted)
    question = f"SELECT {cells} FROM read_parquet('{_FILE}') LIMIT {ROWS_MAX}"  # noqa: S608
    found = connection.execute(question)
    rows: list[tuple[str | None, ...]] = []
    left = TEXT_MAX
    while left > 0 and (some := found.fetchmany(_ROWS_AT_ONCE)):
        rows += some
        left -= sum(len(cell or "") for row in some for cell in row)
    return rows


def _reason(error: duckdb.Error) -> str:
    """What the library says, in one line and without the name that only this process knows."""
    line = str(error).strip().partition("\n")[0]
    line = re.sub(r"^[A-Z][A-Za-z ]*Error: ", "", line)
    return line.replace(f"'{_FILE}'", "").replace(_FILE, "")[:_DETAIL_MAX]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
