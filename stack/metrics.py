"""`oversight metrics-token`: what Prometheus needs to read the store's metrics."""

from __future__ import annotations

from pathlib import Path

import typer

from stack.output import fail
from stack.store import environ
from storage.environment import DEFAULT_PASSWORD, DEFAULT_USER, ROOT_PASSWORD, ROOT_USER, Name, read
from storage.telemetry import token


def run(output: Path | None) -> None:
    """Print a token made of the root key, or write it to ``output``. No store is asked."""
    names = (
        Name("access_key", ("OVERSIGHT_ACCESS_KEY", *ROOT_USER), secret=True),
        Name("secret_key", ("OVERSIGHT_SECRET_KEY", *ROOT_PASSWORD), secret=True),
    )
    found = read(names, environ()).values
    made = token.make(
        found.get("access_key", DEFAULT_USER), found.get("secret_key", DEFAULT_PASSWORD)
    )
    if output is None:
        typer.echo(made)
        return
    try:
        output.write_text(made)
        output.chmod(0o644)  # its reader is another user, in another container
    except OSError as error:
        fail(f"{output} can't be written: {error.strerror}.")
