"""`oversight rekey`: the root password, changed in a running store or on the drive of another."""

from __future__ import annotations

import asyncio
import os

import typer

from stack import container
from stack.client import URL, Unreachable
from stack.output import WRONG, fail
from stack.store import store

_AFTERWARDS = """\
The store's key is now sealed under the new root password, and no other secret has changed.
Before the next start, put the new password where the old one stands: OVERSIGHT_ROOT_PASSWORD,
MINIO_ROOT_PASSWORD or the file that one of them names."""
_RUNNING = "Until then the running store goes on with the old one."


def run(new_password: str, *, drives: str | None, offline: bool) -> None:
    """Change the root password; ``offline``: only on the drive."""
    if not offline:
        try:
            store().call("POST", "rekey", body={"secret_key": new_password})
        except Unreachable:
            # A store that was named but does not answer must not be mistaken for another one,
            # whose drive happens to be here.
            if os.environ.get(URL):
                raise
        else:
            typer.echo(f"{_AFTERWARDS}\n{_RUNNING}")
            return
    _on_drive(new_password, drives)
    typer.echo(_AFTERWARDS)


def _on_drive(new_password: str, drives: str | None) -> None:
    from stack.cli import config_of
    from storage.errors import StoreError
    from storage.iam.errors import InvalidCredentials
    from storage.rekey import rekey_stopped

    config = config_of(drives=drives)
    container.take_over(config.drives)
    try:
        asyncio.run(rekey_stopped(config, new_password))
    except InvalidCredentials as error:
        fail(str(error), WRONG)
    except StoreError as error:
        fail(str(error) or "The store on the drive cannot be opened: see `oversight serve`.")
