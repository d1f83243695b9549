"""A client of the control API, made of the standard library: it loads in no time.

Where the store is and who calls come from OVERSIGHT_CONSOLE_URL, OVERSIGHT_ACCESS_KEY and
OVERSIGHT_SECRET_KEY; without keys, the root user's variables and their defaults are used.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from stack.store import CommandError
from storage.environment import DEFAULT_PASSWORD, DEFAULT_USER, ROOT_PASSWORD, ROOT_USER, Name, read

URL = "OVERSIGHT_CONSOLE_URL"
DEFAULT_URL = "http://localhost:9091"
_TIMEOUT = 60.0


def _default_url(environ: Mapping[str, str]) -> str:
    port = environ.get("OVERSIGHT_CONSOLE_PORT", "")
    return f"http://localhost:{port}" if port.isdigit() else DEFAULT_URL


class Unreachable(CommandError):
    """Nobody answers at the address of the control API."""


class Starting(CommandError):
    """The store answers, and is not ready yet."""


class Control:
    """The control API of one store, with one user's rights. Signs in when first needed."""

    def __init__(self, url: str, access_key: str, secret_key: str) -> None:
        """Raises CommandError if ``url`` is none."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # a port that is no number, a bracket that stays open
            host = port = None
        if not host or parts.scheme not in ("http", "https"):
            raise CommandError(f"{URL} must be like {DEFAULT_URL}, and is not: {url}")
        self._url, self._access_key, self._secret_key = url, access_key, secret_key
        self._prefix = parts.path.rstrip("/")
        self._token = ""
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            self._connection = http.client.HTTPSConnection(
                host, port, timeout=_TIMEOUT, context=ssl.create_default_context()
            )
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Control:
        """The store and the user that the environment names. Raises CommandError."""
        names = (
            Name("access_key", ("OVERSIGHT_ACCESS_KEY", *ROOT_USER), secret=True),
            Name("secret_key", ("OVERSIGHT_SECRET_KEY", *ROOT_PASSWORD), secret=True),
        )
        reading = read(names, environ)
        unreadable = [problem for problem in reading.problems if "_FILE names" in problem]
        if unreadable:
            raise CommandError(unreadable[0])
        found = reading.values
        return cls(
            environ.get(URL) or _default_url(environ),
            found.get("access_key", DEFAULT_USER),
            found.get("secret_key", DEFAULT_PASSWORD),
        )

    def get(self, *path: str, patience: float = _TIMEOUT, **query: str) -> Any:
        """What is at ``path``, whose segments are quoted here. Raises CommandError."""
        return self.call("GET", *path, query=query, patience=patience)

    def call(
        self,
        method: str,
        *path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        patience: float = _TIMEOUT,
    ) -> Any:
        """The answer's JSON, None where it has none. Raises CommandError.

        ``patience``: seconds that the store may take to find it.
        """
        for segment in path:
            # What is at such an address is something else. Access keys alone may hold slashes.
            if not segment or ("/" in segment and path[0] != "keys"):
                raise CommandError(f'"{segment}" is no name: it must not be empty or hold a slash.')
        if not self._token:
            credentials = {"access_key": self._access_key, "secret_key": self._secret_key}
            self._token = self._send("POST", "/api/v1/login", credentials)["token"]
        target = "/api/v1/" + "/".join(quote(segment, safe="") for segment in path)
        given = {name: value for name, value in (query or {}).items() if value}
        target = f"{target}?{urlencode(given)}" if given else target
        return self._send(method, target, body, patience)

    def _send(self, method: str, target: str, body: Any, patience: float = _TIMEOUT) -> Any:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        self._drop_stale_connection()
        connected = False
        try:
            if self._connection.sock is None:
                self._connection.connect()  # nobody is patient with a store that is not there
            self._connection.sock.settimeout(patience)
            connected = True
            self._connection.request(method, self._prefix + target, data, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except ssl.SSLError as error:
            self._connection.close()
            raise CommandError(f"{self._url} does not speak trusted TLS: {error.reason}.") from None
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if connected and isinstance(error, TimeoutError):
                raise CommandError(
                    f"The store at {self._url} has not answered within {patience:.0f} seconds: try "
                    "again when it has less to do."
                ) from None
            raise Unreachable(
                f"No store answers at {self._url}: start it with `oversight serve`, or name it "
                f"in {URL}."
            ) from None
        return self._understood(answer.status, content)

    def _drop_stale_connection(self) -> None:
        """Close a connection that the store has closed, as it does after some seconds without a
        request: nothing is lost with it yet."""
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self._connection.close()

    def _understood(self, status: int, content: bytes) -> Any:
        try:
            value = json.loads(content) if content else None
        except ValueError:
            value = None
            status = max(status, 400)
        if status < 400:
            return value
        if status == 503 and b"starting" in content:
            raise Starting(
                f"The store at {self._url} is starting (after a crash it replays its log, which "
                "may take minutes; its own log tells how far it is): try again in a moment."
            )
        if not isinstance(value, dict) or "detail" not in value:
            if status == 503:
                raise CommandError(
                    f"{self._url} answers 503: the store is not ready, or what stands before it "
                    "does not reach it. Try again in a moment."
                )
            raise CommandError(
                f"{self._url} is no control API of an Oversight store (it answered {status}): "
                f"set {URL} to the console port."
            )
        hint = ""
        if value.get("code") == "InvalidCredentials" and not self._token:
            hint = " Set OVERSIGHT_ACCESS_KEY and OVERSIGHT_SECRET_KEY."
        raise CommandError(str(value["detail"]) + hint)
