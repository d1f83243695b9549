"""Names of stores, as mc knows them: MC_HOST_<alias>, then <config>/config.json, then `local`.

`local` is the store that runs here. It needs no entry: in a container it is found by the addresses
that its first process was given, and the root user's variables sign for it.
"""

from __future__ import annotations

import os

from stack import image
from stack.mc.base import Alias, McError, Options

#: Where `local` is, unless something says otherwise: in Oversight's image, and outside of it.
_ADDRESS = ("OVERSIGHT_ADDRESS", "MINIO_ADDRESS")
_DEFAULT_PORT = "9090"
_EVERYWHERE = ("", "0.0.0.0", "*", "::", "[::]")  # noqa: S104 - compared with, never bound
_SERVER = b"storage.server"


def find(name: str, options: Options) -> Alias:
    """The store of that name. Raises McError."""
    given = os.environ.get(f"MC_HOST_{name}")
    if given:
        return _from_variable(name, given)
    kept = os.path.join(options.folder, "config.json")
    if os.path.exists(kept):  # json is not loaded for nothing
        from stack.mc import config

        entry = config.read(kept).get(name)
        if entry is not None and (entry.url or name != "local"):
            return entry
    if name == "local":
        return _local()
    raise McError(
        f'There is no alias "{name}": make it with `mc alias set {name} URL ACCESSKEY SECRETKEY` '
        f"or set MC_HOST_{name}=http://ACCESSKEY:SECRETKEY@HOST:PORT."
    )


def _from_variable(name: str, text: str) -> Alias:
    """``scheme://[ACCESSKEY:SECRETKEY[:TOKEN]@]host[:port]``; keys may hold any character."""
    scheme, found, rest = text.partition("://")
    keys, _, host = rest.rpartition("@")
    if not found or scheme not in ("http", "https") or not host:
        raise McError(f"MC_HOST_{name} must be http://ACCESSKEY:SECRETKEY@HOST:PORT.")
    access_key, _, secret_key = keys.partition(":")
    secret_key, _, token = secret_key.partition(":")
    if "%" in keys:
        from urllib.parse import unquote

        access_key, secret_key = unquote(access_key), unquote(secret_key)
    return Alias(name, f"{scheme}://{host}", access_key, secret_key, token)


def _local() -> Alias:
    address = _running() or next(
        (os.environ[each] for each in _ADDRESS if os.environ.get(each)), _DEFAULT_PORT
    )
    host, _, port = address.split(",")[0].strip().rpartition(":")
    if host in _EVERYWHERE:
        host = "127.0.0.1"
    elif ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return Alias("local", f"http://{host}:{port}")


def _running() -> str:
    """The first address of the store that runs in this container; empty if none is seen.

    Only in the image: elsewhere other people's processes are seen as well.
    """
    if not os.path.exists(image.MARKER):
        return ""
    for entry in sorted(os.listdir("/proc"), key=lambda name: (len(name), name)):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if _SERVER in words:
                found = [word[3:].decode() for word in words if word.startswith(b"s3=")]
                return found[0] if found else ""
    return ""


def signed(alias: Alias) -> Alias:
    """``alias`` with keys to sign with: `local` gets the root user's, where it has none.

    Raises McError if a variable names a file that can't be read.
    """
    if alias.name != "local" or alias.access_key:
        return alias
    from storage.environment import (
        DEFAULT_PASSWORD,
        DEFAULT_USER,
        ROOT_PASSWORD,
        ROOT_USER,
        Name,
        read,
    )

    names = (Name("user", ROOT_USER, secret=True), Name("password", ROOT_PASSWORD, secret=True))
    reading = read(names, os.environ)
    unreadable = [problem for problem in reading.problems if "_FILE names" in problem]
    if unreadable:
        raise McError(unreadable[0])
    found = reading.values
    return Alias(
        alias.name,
        alias.url,
        found.get("user", DEFAULT_USER),
        found.get("password", DEFAULT_PASSWORD),
    )
