"""The command `oversight`: serves the store and manages a running one.

Commands load what they need when they run, so that help appears at once. A command that manages
a running store speaks its control API (``stack.client``); none of them takes a secret as an
argument, where every user of the machine could read it.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stack.output import FAILED, WRONG, fail

app = typer.Typer(
    name="oversight",
    help="Oversight, an S3-compatible object store for Langfuse and DataHub stacks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help drawn by rich takes a quarter of a second to appear
    pretty_exceptions_enable=False,
)


@app.command()
def serve(
    drives: Annotated[
        str | None, typer.Option(help="Folder that holds the data.", metavar="PATHS")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Where S3 is served.", metavar="HOST:PORT")
    ] = None,
    console_address: Annotated[
        str | None, typer.Option(help="Where the control API is served.", metavar="HOST:PORT")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(help="Processes that serve S3.", metavar="N")
    ] = None,
    certs_dir: Annotated[str | None, typer.Option("--certs-dir", "-S", hidden=True)] = None,
) -> None:
    """Serve the store until SIGTERM or Ctrl+C.

    Each option has a variable (OVERSIGHT_DRIVES ...), which docs/configuration.md explains.
    """
    if certs_dir is not None:
        fail(
            "TLS is not served yet: leave --certs-dir out and put a TLS proxy in front.", code=WRONG
        )
    config = _config(
        drives=drives, address=address, console_address=console_address, workers=workers
    )
    from storage import server

    raise typer.Exit(server.serve(config))


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(f"oversight {installed('oversight-store')}")


def _config(**options: str | None) -> Any:
    """The store's configuration from options and environment, or every problem and exit 2."""
    from storage.settings import Settings, SettingsError

    try:
        given = {name: value for name, value in options.items() if value is not None}
        return Settings(**given).config()
    except SettingsError as error:
        fail(error.problems, code=WRONG)


def main() -> None:
    """Entry point of the command."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(FAILED) from None


if __name__ == "__main__":
    main()
