"""`oversight bucket`."""

from __future__ import annotations

from typing import Annotated

import typer

from stack.output import AsJson, show
from stack.store import store

buckets = typer.Typer(help="Buckets and what they hold.", no_args_is_help=True)

BucketName = Annotated[str, typer.Argument(metavar="BUCKET", help="Name of the bucket.")]

_COLUMNS = (
    ("BUCKET", "name"), ("OWNER", "owner"), ("OBJECTS", "objects"), ("SIZE", "bytes"),
    ("CREATED", "created"),
)  # fmt: skip


@buckets.command("list")
def list_buckets(as_json: AsJson = False) -> None:
    """List the buckets that you may see, with their counters."""
    show(store().get("buckets"), as_json, _COLUMNS)


@buckets.command("create")
def create_bucket(bucket: BucketName, as_json: AsJson = False) -> None:
    """Make a bucket that belongs to you."""
    made = store().call("POST", "buckets", body={"name": bucket})
    show([made] if not as_json else made, as_json, _COLUMNS)


@buckets.command("remove")
def remove_bucket(bucket: BucketName) -> None:
    """Remove an empty bucket."""
    store().call("DELETE", "buckets", bucket)


@buckets.command("info")
def bucket_info(bucket: BucketName, as_json: AsJson = False) -> None:
    """Show a bucket's owner, age and counters."""
    show(store().get("buckets", bucket), as_json)
