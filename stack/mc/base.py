"""What all of `mc` shares. Imports next to nothing: `mc ready` pays for it every few seconds."""

from __future__ import annotations

import os


class McError(Exception):
    """What went wrong, in one sentence that names the cure."""


class Options:
    """The global flags of one call."""

    __slots__ = ("folder", "insecure", "json", "quiet")

    def __init__(self) -> None:
        home = os.environ.get("HOME") or "/"
        self.folder = os.environ.get("MC_CONFIG_DIR") or os.path.join(home, ".mc")
        self.insecure = os.environ.get("MC_INSECURE", "").lower() in ("1", "true", "on")
        self.json = os.environ.get("MC_JSON", "").lower() in ("1", "true", "on")
        self.quiet = False


class Alias:
    """A store: ``url`` without a slash at its end, and keys, empty for anonymous requests."""

    __slots__ = ("access_key", "name", "secret_key", "token", "url")

    def __init__(
        self, name: str, url: str, access_key: str = "", secret_key: str = "", token: str = ""
    ) -> None:
        self.name = name
        self.url = url.rstrip("/")
        self.access_key, self.secret_key, self.token = access_key, secret_key, token
