"""mc's ``config.json``: aliases that are kept. Spec: MinIO Client's configuration, version 10."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

from stack.mc.base import Alias, McError

_VERSION = "10"


def read(path: str) -> dict[str, Alias]:
    """The aliases by name; none if there is no file. Raises McError if it can't be understood."""
    entries = _document(path)["aliases"]
    return {
        name: Alias(
            name,
            str(entry.get("url", "")),
            str(entry.get("accessKey", "")),
            str(entry.get("secretKey", "")),
            str(entry.get("sessionToken", "")),
        )
        for name, entry in entries.items()
        if isinstance(entry, dict)
    }


def keep(path: str, alias: Alias) -> None:
    """Add or replace an alias. Other tools' entries stay. Raises McError."""
    document = _document(path)
    document["aliases"][alias.name] = {
        "url": alias.url,
        "accessKey": alias.access_key,
        "secretKey": alias.secret_key,
        "api": "S3v4",
        "path": "auto",
    }
    _write(path, document)


def forget(path: str, name: str) -> bool:
    """Remove an alias; whether it was there. Raises McError."""
    document = _document(path)
    found = document["aliases"].pop(name, None) is not None
    if found:
        _write(path, document)
    return found


def _document(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            document = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return {"version": _VERSION, "aliases": {}}
    except OSError as error:
        raise McError(f"{path} can't be read: {error.strerror}.") from None
    except ValueError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("aliases", {}), dict):
        raise McError(f"{path} is no configuration of mc: mend it or take it away.")
    document.setdefault("aliases", {})
    return document


def _write(path: str, document: dict[str, Any]) -> None:
    """In one step, readable by its owner only: it holds secrets."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        fd, staged = tempfile.mkstemp(dir=folder, prefix="config.json.")  # mode 0600
        with os.fdopen(fd, "w") as file:
            json.dump(document, file, indent=1)
        os.replace(staged, path)
    except OSError as error:
        raise McError(
            f"{path} can't be written ({error.strerror}): name a folder in MC_CONFIG_DIR or set "
            "MC_HOST_<alias>=http://ACCESSKEY:SECRETKEY@HOST:PORT."
        ) from None
