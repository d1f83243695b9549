"""What commands print: tables for people, JSON for programs, one sentence for trouble."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, NoReturn

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

#: Exit codes: what was asked for failed, or was asked for wrongly.
FAILED, WRONG = 1, 2


_SIZES = ("bytes", "capacity", "free")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def fail(sentences: str | Iterable[str], code: int = FAILED) -> NoReturn:
    """Say what is wrong on standard error, a sentence a line, and leave."""
    for sentence in [sentences] if isinstance(sentences, str) else sentences:
        typer.secho(sentence, fg=typer.colors.RED, err=True)
    raise typer.Exit(code)


def warn(sentence: str) -> None:
    """Say on standard error what the user should know."""
    typer.secho(sentence, fg=typer.colors.YELLOW, err=True)


#: Errors that writing brings, not an address or a file that is wrong.
_WRITING = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)


@contextlib.contextmanager
def written_out() -> Iterator[None]:
    """A command's whole run: what it printed is written, or it fails with at most one sentence.

    Nothing is said to a reader who has gone, as after ``| head -1``.
    """
    if sys.stdout is None:  # the caller closed it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in _WRITING or error.filename is not None:
            raise
        # What is still buffered would fail again, and be told of, when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:
            typer.secho(
                f"The output can't be written: {error.strerror}.", fg=typer.colors.RED, err=True
            )
        raise SystemExit(FAILED) from None


def show(value: Any, as_json: bool, table: Sequence[tuple[str, str]] = ()) -> None:
    """Print what the control API answered.

    ``table``: (heading, field) of each column; without one a value is shown as name and value.
    """
    if as_json:
        json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    from rich.console import Console  # rich is slow to import: only when a table is drawn
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, show_header=bool(table), header_style="bold")
    if not table:
        drawn.add_column()
        drawn.add_column(overflow="fold")
        for name, each in value.items():
            drawn.add_row(name.replace("_", " "), Text(_cell(name, each)))
    for heading, field in table:
        numeric = any(type(row[field]) is int for row in value)
        drawn.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in value if table else ():
        drawn.add_row(*(Text(_cell(field, row[field])) for _, field in table))
    Console().print(drawn)


def _cell(field: str, value: Any) -> str:
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and field in _SIZES:
        return size(value)
    if isinstance(value, str) and _TIME.fullmatch(value):
        return f"{value[:10]} {value[11:19]} UTC"
    return json.dumps(value) if isinstance(value, dict) else str(value)


def size(count: int) -> str:
    """A number of bytes for people: "4.2 MiB"."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
