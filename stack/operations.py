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


def add_to(app: typer.Typer) -> None:
    """Make these commands part of ``app``."""
    for command in (bootstrap, doctor):
        app.command()(command)
