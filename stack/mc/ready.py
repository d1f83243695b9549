"""`mc ready ALIAS`: wait until a store can serve, as health checks and init containers do.

Asks MinIO's `/minio/health/cluster` (or `/cluster/read`). Nobody there is an error at once, as
with mc; a store that says "not yet" is asked again. One HTTP request needs no HTTP library: with
``http.client``, or the ``socket`` module alone, this would take several times the CPU.
"""

from __future__ import annotations

import _socket
import sys
import time

from stack.mc.aliases import find
from stack.mc.base import Alias, McError, Options

_USAGE = "Usage: mc ready [--cluster-read] [--maintenance] ALIAS"
_TIMEOUT = 10.0
_PAUSE = 1.0


def run(words: list[str], options: Options) -> int:
    """The exit code. Raises McError."""
    flags = [word for word in words if word.startswith("-")]
    names = [word for word in words if not word.startswith("-")]
    if "--help" in flags or "-h" in flags or len(names) != 1:
        print(_USAGE)
        return 0 if names or flags else 1
    unknown = [flag for flag in flags if flag not in ("--cluster-read", "--maintenance")]
    if unknown:
        raise McError(f"{unknown[0]} is not known. {_USAGE}")
    path = "/minio/health/cluster" + ("/read" if "--cluster-read" in flags else "")
    path += "?maintenance=true" if "--maintenance" in flags else ""
    alias = find(names[0].partition("/")[0], options)
    while not (healthy := _ask(alias, path, options)):
        _say(alias, healthy, options)
        time.sleep(_PAUSE)
    _say(alias, healthy, options)
    return 0


def _say(alias: Alias, healthy: bool, options: Options) -> None:
    if options.json:
        print(f'{{"healthy": {str(healthy).lower()}, "maintenanceMode": false}}')
    elif not options.quiet:
        print(f"The store at {alias.url} is {'ready' if healthy else 'not ready'}")
    sys.stdout.flush()


def _ask(alias: Alias, path: str, options: Options) -> bool:
    """Whether the answer is 200. Raises McError if there is none, or none of a store's."""
    scheme, _, authority = alias.url.partition("://")
    if scheme == "https":
        status = _status_over_tls(alias, path, options)
    else:
        try:
            status = _status(authority, path)
        except OSError as error:
            raise _nobody(alias, error) from None
    if status == 200:
        return True
    if status in (412, 429, 500, 502, 503, 504):
        return False
    raise McError(f"{alias.url} answers {status} to a health check: is it a store's S3 port?")


def _nobody(alias: Alias, error: OSError) -> McError:
    why = error.strerror or str(error) or "no answer"
    return McError(
        f'No store answers at {alias.url} ({why}): is it started, and is "{alias.name}" its alias?'
    )


def _status(authority: str, path: str) -> int:
    """The status of ``GET path``, without TLS. Raises OSError."""
    host, port = _host_and_port(authority)
    failure: OSError = OSError(f"the name {host} has no address")
    # As bytes: the codec that turns names into ASCII is a third of the whole program.
    found = _socket.getaddrinfo(_ascii(host), port, 0, _socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found:
        connection = _socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_TIMEOUT)
            connection.connect(address)
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode()
            )
            return _parse(_first_line(connection))
        except OSError as error:
            failure = error
        finally:
            connection.close()
    raise failure


def _ascii(host: str) -> bytes:
    return host.encode() if host.isascii() else host.encode("idna")


def _host_and_port(authority: str) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = authority, "80"
    if not port.isdigit():
        raise McError(f'"{authority}" is not HOST:PORT.')
    return host.strip("[]"), int(port)


def _first_line(connection: _socket.socket) -> bytes:
    received = b""
    while b"\r\n" not in received and len(received) < 4096:
        more = connection.recv(4096)
        if not more:
            break
        received += more
    return received.partition(b"\r\n")[0]


def _parse(line: bytes) -> int:
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise OSError("what answers does not speak HTTP")
    return int(words[1])


def _status_over_tls(alias: Alias, path: str, options: Options) -> int:
    from stack.mc.s3 import connect

    connection = connect(alias, options, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError as error:
        raise _nobody(alias, error) from None
    finally:
        connection.close()
