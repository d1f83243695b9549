"""Changing the root password of a store that does not run (docs/control-api.md, "Rekeying")."""

from __future__ import annotations

from pathlib import Path

from storage import errors
from storage.config import Config
from storage.engine.embedded.drives import FOLDER
from storage.iam.credentials import check_secret
from storage.serving import bootstrap


async def rekey_stopped(config: Config, new_password: str) -> None:
    """Seal the store key on the drive under a new root password.

    Raises DriveRefused (also while a store runs there), WrongRootSecret, InvalidCredentials.
    """
    from storage.engine.embedded.engine import EmbeddedEngine

    check_secret(new_password)
    for drive in config.drives:
        if not (Path(drive) / FOLDER).is_dir():
            raise errors.DriveRefused(
                f"There is no store in {drive}: name its folder with --drives or OVERSIGHT_DRIVES."
            )
    engine = await EmbeddedEngine.local(config)
    try:
        store_key = await bootstrap.open_store_key(engine, config)
        await bootstrap.rekey(engine, store_key, new_password)
    finally:
        await engine.close()
