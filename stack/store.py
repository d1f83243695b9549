"""The running store that a command speaks to. Its client is loaded only when one is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack.client import Control


class CommandError(Exception):
    """Why a command failed, in one sentence that names the cure."""


def store() -> Control:
    """The store and the user that the environment names, or the stacks' ``.env``.

    Raises CommandError.
    """
    from stack.client import Control

    return Control.from_environment(environ())


def environ() -> Mapping[str, str]:
    """The environment; with the ``.env`` under it where there is one, as Compose does."""
    folder = Path.cwd()
    if not any((each / ".env").is_file() for each in (folder, folder.parent)):
        return os.environ
    from stack.settings import environment  # takes a while to load

    return environment()
