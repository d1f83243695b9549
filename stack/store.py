"""The running store that a command speaks to. Its client is loaded only when one is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack.client import Control


class CommandError(Exception):
    """Why a command failed, in one sentence that names the cure."""


def store() -> Control:
    """The store and the user that the environment names. Raises CommandError."""
    from stack.client import Control

    return Control.from_environment()
