"""Where proposals go: a DataHub server by REST, or a file that DataHub's tools read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from stack.store import CommandError

DEFAULT_GMS = "http://localhost:8080"
GMS_URL, GMS_TOKEN = "DATAHUB_GMS_URL", "DATAHUB_GMS_TOKEN"
_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 60
_TRIES = 3


class Sink(Protocol):
    """``name`` tells destinations apart.

    ``immediate``: what ``emit`` took is safe when it returns; else only after ``close``.
    ``abandon`` is for a run that failed.
    """

    name: str
    immediate: bool

    def emit(self, proposals: Sequence[Any]) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class RestSink:
    """DataHub's metadata service. Proposals are committed when it answers."""

    def __init__(self, url: str, token: str = "") -> None:
        """Raises CommandError if no DataHub answers at ``url``, or not to this ``token``."""
        from datahub.configuration.common import ConfigurationError
        from datahub.emitter.rest_emitter import DatahubRestEmitter
        from requests.exceptions import RequestException

        self.name, self.immediate = url.rstrip("/"), True
        try:
            self._emitter = DatahubRestEmitter(
                url,
                token or None,
                connect_timeout_sec=_CONNECT_SECONDS,
                read_timeout_sec=_ANSWER_SECONDS,
                retry_max_times=_TRIES,
            )
            self._emitter.test_connection()
        except (ConfigurationError, RequestException) as error:
            raise CommandError(self._unreachable(error)) from None

    @classmethod
    def from_environment(cls, url: str = "", environ: Mapping[str, str] = os.environ) -> RestSink:
        """The server that ``url`` or DATAHUB_GMS_URL names. Raises CommandError."""
        return cls(url or environ.get(GMS_URL, "") or DEFAULT_GMS, environ.get(GMS_TOKEN, ""))

    def emit(self, proposals: Sequence[Any]) -> None:
        """Raises CommandError."""
        from datahub.configuration.common import OperationalError

        try:
            self._emitter.emit_mcps(list(proposals))
        except OperationalError as error:
            said = str(error.info.get("message") or error.message).split("\n")[0]
            raise CommandError(
                f"DataHub at {self.name} did not take the metadata ({said}): repeat the command "
                "when that is cured, it goes on where it stopped."
            ) from None

    def close(self) -> None:
        self._emitter.close()

    def abandon(self) -> None:
        self._emitter.close()

    def _unreachable(self, error: Exception) -> str:
        text = str(error)
        if any(sign in text for sign in ("401", "403", "authentication")):
            return f"DataHub at {self.name} wants a token: create one there, put it in {GMS_TOKEN}."
        return f"No DataHub answers at {self.name}: start it, or name its GMS in {GMS_URL}."


class FileSink:
    """A file as `datahub ingest` writes and reads it: a JSON array of proposals.

    It appears, whole, when the sink is closed.
    """

    def __init__(self, path: Path) -> None:
        """Raises CommandError if there can't be such a file."""
        self.name, self.immediate = str(path.absolute()), False
        self._path = path
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        except OSError as error:
            raise CommandError(f"{path} can't be written: {error.strerror}.") from None
        self._temporary = Path(temporary)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._file.write("[")
        self._separator = "\n"

    def emit(self, proposals: Sequence[Any]) -> None:
        """Raises CommandError."""
        try:
            for each in proposals:
                self._file.write(self._separator + json.dumps(_plain(each)))
                self._separator = ",\n"
        except OSError as error:
            raise CommandError(f"{self._path} can't be written: {error.strerror}.") from None

    def close(self) -> None:
        """Raises CommandError."""
        try:
            self._file.write("\n]\n")
            self._file.close()
            self._temporary.chmod(0o666 & ~_umask())
            self._temporary.replace(self._path)
        except OSError as error:
            raise CommandError(f"{self._path} can't be written: {error.strerror}.") from None

    def abandon(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def _plain(proposal: Any) -> Any:
    """As DataHub's own file sink writes it."""
    from datahub.ingestion.sink.file import _to_obj_for_file

    return _to_obj_for_file(proposal)


def _umask() -> int:
    """Files made by ``mkstemp`` are private; this one gets what others get."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
