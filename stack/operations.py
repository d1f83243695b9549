"""The commands that set a stack up, examine it, prove that it works and move its data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stack.output import AsJson


def doctor(
    service: Annotated[
        str,
        typer.Option(
            help="Look at one service only (web, worker), by its own variables: those of this "
            "process if it has them, else those of its compose file.",
            metavar="NAME",
        ),
    ] = "",
    inside: Annotated[
        bool, typer.Option("--inside", help="Look from inside the services' containers.")
    ] = False,
    container: Annotated[
        bool | None,
        typer.Option(
            "--container/--host", help="Where this runs, if it is not found out by itself."
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of Langfuse's compose file.", file_okay=False)
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for an answer.", min=0.1, max=600)
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Find out what is wrong between Langfuse, browsers and the store.

    Sends Langfuse's own requests through the internal and the external endpoint and names each
    trouble in one sentence with its cure. Ends with 1 if something failed.
    """
    from stack.doctor import command

    code = command.run(
        service, inside=inside, container=container, folder=folder, timeout=timeout,
        as_json=as_json,
    )  # fmt: skip
    raise typer.Exit(code)


def bootstrap(
    endpoint: Annotated[
        str, typer.Option(help="The store's S3, if not the one of the settings.", metavar="URL")
    ] = "",
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for the store.", min=0, max=3600)
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Make what the stacks need in the store: buckets, prefixes, CORS, users and keys.

    Reads the settings (environment, .env), waits for the store, makes what is missing and changes
    nothing that is there. Ends with 1 if something there differs and has to be put right.
    """
    from stack.bootstrap import command

    raise typer.Exit(command.run(endpoint, wait, as_json))


def verify(
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for each step that takes its time.", min=0)
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Prove that the stack works: send a real trace with an image, and follow it.

    Uses the Langfuse SDK and the configured Langfuse (LANGFUSE_BASE_URL, LANGFUSE_PUBLIC_KEY,
    LANGFUSE_SECRET_KEY, else those of .env), looks into the bucket, fetches the image by its
    signed URL, and registers it in DataHub if DATAHUB_GMS_URL is set.
    """
    from stack.verification import command

    raise typer.Exit(command.run(wait, as_json))


def migrate(
    source: Annotated[
        str, typer.Option("--from", help="The old store's S3 endpoint.", metavar="URL")
    ],
    target: Annotated[
        str, typer.Option("--to", help="The new one's, if not that of the settings.", metavar="URL")
    ] = "",
    bucket: Annotated[
        list[str] | None, typer.Option(help="Only this bucket; repeatable.", metavar="NAME")
    ] = None,
    latest_only: Annotated[
        bool, typer.Option("--latest-only", help="Leave older versions and delete markers.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, and change nothing.")
    ] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Only compare; move nothing.")] = False,
    headers: Annotated[
        bool, typer.Option("--headers", help="Compare headers and metadata too: slower.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove what an earlier run brought and the source has deleted since."
        ),
    ] = False,
    keep_times: Annotated[
        bool, typer.Option("--keep-times", help="Write the time of change into metadata (mtime).")
    ] = False,
    parallel: Annotated[int, typer.Option(help="Objects at once.", min=1, max=256)] = 16,
    limit: Annotated[
        str, typer.Option(help="Bytes a second at most, as in 20MiB.", metavar="RATE")
    ] = "",
    keys: Annotated[
        Path | None,
        typer.Option(help="File of further BUCKET/KEY lines that the old store does not list."),
    ] = None,
    credentials: Annotated[
        Path | None,
        typer.Option(
            help="File with ACCESS_KEY SECRET a line: users and keys to make, which MinIO tells "
            "without their secrets.",
            metavar="FILE",
        ),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="File that remembers between runs.", metavar="FILE")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Move all of another S3 store here, and compare both at the end.

    Objects with their versions, headers, metadata, tags and ETags; settings of buckets; policies
    and users of a MinIO. What cannot be carried over is named. Repeat it as often as you like: it
    moves only what differs, and goes on where it was stopped. The old store's credentials come
    from OVERSIGHT_FROM_ACCESS_KEY and OVERSIGHT_FROM_SECRET_KEY.
    """
    from stack.migration import command
    from stack.migration.journey import Plan

    plan = Plan(
        list(bucket or ()), parallel, compare_only=compare or dry_run, prune=prune,
        keep_times=keep_times, headers=headers, latest_only=latest_only, dry=dry_run,
    )  # fmt: skip
    code = command.run(
        source, target, plan, limit=limit, keys=keys, state=state, secrets=credentials,
        as_json=as_json,
    )  # fmt: skip
    raise typer.Exit(code)


def add_to(app: typer.Typer) -> None:
    """Make these commands part of ``app``."""
    for command in (bootstrap, doctor, verify, migrate):
        app.command()(command)
