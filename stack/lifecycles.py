"""`oversight lifecycle`."""

from __future__ import annotations

from typing import Annotated

import typer

from stack.output import AsJson, show
from stack.store import store

lifecycle = typer.Typer(help="Rules by which objects expire.", no_args_is_help=True)

_COLUMNS = (
    ("BUCKET", "bucket"), ("RULE", "rule"), ("WHAT GOES", "what"), ("NUMBER", "count"),
    ("SIZE", "bytes"),
)  # fmt: skip
#: Seconds: every version under the rules' prefixes is looked at, without pressing clients.
_PATIENCE = 6 * 3600.0
_KINDS = {
    "expire": "objects",
    "noncurrent": "older versions",
    "marker": "delete markers",
    "abort": "unfinished uploads",
}


@lifecycle.callback()
def _group() -> None:
    """Rules by which objects expire."""


@lifecycle.command()
def preview(
    bucket: Annotated[
        str | None, typer.Argument(metavar="BUCKET", help="Name of the bucket; default: all.")
    ] = None,
    days: Annotated[int, typer.Option(help="Look so many days ahead.", min=0, max=36500)] = 0,
    as_json: AsJson = False,
) -> None:
    """Show what lifecycle rules would delete, without deleting anything."""
    running = store()
    names = [bucket] if bucket is not None else [each["name"] for each in running.get("buckets")]
    rows = [
        {"bucket": name, "what": _KINDS.get(row["kind"], row["kind"]), **row}
        for name in names
        for row in running.get(
            "buckets", name, "lifecycle", "preview", patience=_PATIENCE, days=str(days)
        )
    ]
    if not rows and not as_json:
        typer.echo("No lifecycle rule would delete anything.")
        return
    show(rows, as_json, _COLUMNS)
