"""The command `oversight`: serves the store and manages a running one.

Commands load what they need when they run, so that help appears at once. A command that manages
a running store speaks its control API (``stack.client``); none of them takes a secret as an
argument, where every user of the machine could read it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from stack import buckets, container, lifecycles, operations, people
from stack.integrations.datahub.commands import datahub
from stack.output import FAILED, WRONG, AsJson, fail, show, written_out
from stack.store import CommandError, store

_DRIVES_HELP = "Folder that holds the data."
_NEW_PASSWORD = "OVERSIGHT_ROOT_PASSWORD_NEW"  # noqa: S105 - a variable's name

app = typer.Typer(
    name="oversight",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help drawn by rich takes a quarter of a second to appear
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.add_typer(buckets.buckets, name="bucket")
app.add_typer(lifecycles.lifecycle, name="lifecycle")
app.add_typer(people.users, name="user")
app.add_typer(people.keys, name="key")
app.add_typer(people.policies, name="policy")
operations.add_to(app)
app.add_typer(datahub, name="datahub")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Oversight, an S3-compatible object store for Langfuse and DataHub stacks."""


@app.command()
def serve(
    drives: Annotated[str | None, typer.Option(help=_DRIVES_HELP, metavar="PATHS")] = None,
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
    config = config_of(
        drives=drives, address=address, console_address=console_address, workers=workers
    )
    from storage import server

    container.take_over(config.drives)
    server.become(config)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the store and what stands around it at a glance.

    Endpoints, health, capacity, buckets, workers, warnings, and whether Langfuse answers. Ends
    with 1 while the store is not ready.
    """
    from stack import overview

    raise typer.Exit(overview.run(as_json))


@app.command()
def drives(as_json: AsJson = False) -> None:
    """List the running store's drives."""
    found = store().get("drives")
    show(found if as_json else found["drives"], as_json, (("DRIVE", "path"), ("ONLINE", "online")))


@app.command()
def rekey(
    drives: Annotated[str | None, typer.Option(help=_DRIVES_HELP, metavar="PATHS")] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Change it on the drive of a stopped store.")
    ] = False,
) -> None:
    """Change the root password.

    The new one is asked for, or taken from OVERSIGHT_ROOT_PASSWORD_NEW. A running store is asked
    to do it; if none answers and none is named, it is done on the drive. Afterwards the store has
    to be started with the new password in its environment.
    """
    from stack import rekeying

    rekeying.run(_new_root_password(), drives=drives, offline=offline or drives is not None)


@app.command()
def backup(
    destination: Annotated[str, typer.Argument(help="A new or empty folder.")],
    drives: Annotated[str | None, typer.Option(help=_DRIVES_HELP, metavar="PATHS")] = None,
    as_json: AsJson = False,
) -> None:
    """Copy the whole store to a folder, verified. The store may be running.

    Run it on the machine (or in the container) that holds the data. The copy needs the root
    password of today when it is restored.
    """
    from stack import backups

    config = config_of(drives=drives)
    container.take_over(config.drives, [destination])
    backups.back_up(destination, config, as_json)


@app.command()
def restore(
    source: Annotated[str, typer.Argument(help="A folder that `oversight backup` made.")],
    drives: Annotated[str | None, typer.Option(help=_DRIVES_HELP, metavar="PATHS")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a store of a backup, on an empty drive. Everything is verified."""
    from stack import backups

    config = config_of(drives=drives)
    container.take_over(config.drives)
    backups.restore(source, config, as_json)


@app.command()
def env(
    publish: Annotated[
        str,
        typer.Option(
            help="Address at which ports are published: 0.0.0.0 is every one.", metavar="IP"
        ),
    ] = "",
    external_endpoint: Annotated[
        str, typer.Option(help="The store as browsers and SDKs reach it.", metavar="URL")
    ] = "",
    langfuse_url: Annotated[
        str, typer.Option(help="Langfuse as browsers reach it.", metavar="URL")
    ] = "",
    datahub_url: Annotated[
        str, typer.Option(help="DataHub as browsers reach it.", metavar="URL")
    ] = "",
    init: Annotated[
        bool,
        typer.Option(
            "--init/--no-init", help="Let a new Langfuse start with a project and a user."
        ),
    ] = True,
    file: Annotated[
        Path | None, typer.Option(help="The file, by default .env at the root.", metavar="PATH")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of a store that runs without Docker.", metavar="PATH"),
    ] = None,
    project: Annotated[
        list[str] | None,
        typer.Option(help="Compose projects whose volumes count.", metavar="NAME"),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Nothing was ever started: look for no volumes.")
    ] = False,
) -> None:
    """Write a .env with generated secrets for the stacks in langfuse/ and datahub/.

    What the file says stays; what is missing is added. Where a volume exists, the secrets that it
    was made with are kept, and how to change each is said.
    """
    from stack import environment
    from stack.envfile import Wishes

    environment.run(
        file, Wishes(publish, external_endpoint, langfuse_url, datahub_url, init),
        data=data, new=new, projects=project or [],
    )  # fmt: skip


@app.command("metrics-token")
def metrics_token(
    output: Annotated[
        Path | None, typer.Option(help="File to write, for Prometheus.", metavar="PATH")
    ] = None,
) -> None:
    """Print a bearer token for the store's metrics, as `mc admin prometheus generate` does."""
    from stack import metrics

    metrics.run(output)


@app.command(hidden=True)
def relay() -> None:
    """Let the external endpoint lead to the store inside a container (compose/datahub.yml)."""
    from stack import relay

    relay.run()


@app.command()
def version() -> None:
    """Print the version."""
    import storage

    typer.echo(f"oversight {storage.__version__}")


def config_of(**options: str | None) -> Any:
    """The store's configuration from options and environment, or every problem and exit 2."""
    from storage.settings import Settings, SettingsError

    try:
        given = {name: value for name, value in options.items() if value is not None}
        return Settings(**given).config()
    except SettingsError as error:
        fail(error.problems, code=WRONG)


def _new_root_password() -> str:
    given = os.environ.get(_NEW_PASSWORD, "")
    if not given and not sys.stdin.isatty():
        fail(f"Put the new root password into {_NEW_PASSWORD}.", WRONG)
    return given or str(
        typer.prompt("New root password", hide_input=True, confirmation_prompt=True, err=True)
    )


def main() -> None:
    """Entry point of the command."""
    with written_out():
        try:
            app()
        except CommandError as error:
            typer.secho(str(error), fg=typer.colors.RED, err=True)
            raise SystemExit(FAILED) from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None


if __name__ == "__main__":
    main()
