"""Changing the root password: the store key is sealed anew, everything sealed under it stays."""

from __future__ import annotations

import asyncio
from pathlib import Path

from storage import errors
from storage.config import Config
from storage.engine.embedded.drives import FOLDER
from storage.engine.interface import Engine, PutSystem
from storage.iam import sealing
from storage.iam.credentials import check_secret
from storage.serving.bootstrap import STORE_KEY_KIND, STORE_KEY_NAME, open_store_key


async def rekey(engine: Engine, store_key: bytes, new_password: str) -> None:
    """Seal ``store_key`` under a new root password, durably.

    Whoever runs goes on with the password it was started with; the next start needs the new one.
    Raises InvalidCredentials, Conflict.
    """
    check_secret(new_password)
    record = await engine.system_record(STORE_KEY_KIND, STORE_KEY_NAME)
    blob = await asyncio.to_thread(sealing.wrap, store_key, new_password)
    seq = 0 if record is None else record.seq
    await engine.commit(PutSystem(STORE_KEY_KIND, STORE_KEY_NAME, blob, seq))


async def rekey_stopped(config: Config, new_password: str) -> None:
    """The same for a store that does not run, on its drive.

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
        await rekey(engine, await open_store_key(engine, config), new_password)
    finally:
        await engine.close()
