"""Listening sockets: bound once by the supervisor, inherited by every child that serves them.

A bound port belongs to the store for its whole life: a worker that dies takes no connection
with it that was not its own, and new ones wait in the queue until another worker or its
successor takes them.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Connections that may wait to be accepted. Linux caps it at net.core.somaxconn (4,096).
BACKLOG = 4096


class BindRefused(Exception):
    """A port can't be had. The message is one sentence that names the cure."""


@dataclass(frozen=True)
class Listeners:
    """Sockets of the S3 port and of the console port."""

    s3: tuple[socket.socket, ...]
    console: tuple[socket.socket, ...]

    def close(self) -> None:
        for each in (*self.s3, *self.console):
            each.close()


def bind(
    address: Iterable[tuple[str, int]], console_address: Iterable[tuple[str, int]]
) -> Listeners:
    """Bind and listen on all addresses. Raises BindRefused, and leaves nothing bound then."""
    opened: list[socket.socket] = []
    try:
        s3 = _bind_all(tuple(address), "S3", "OVERSIGHT_ADDRESS (--address)", opened)
        console = _bind_all(
            tuple(console_address), "console", "OVERSIGHT_CONSOLE_ADDRESS (--console-address)",
            opened,
        )  # fmt: skip
    except BaseException:
        for each in opened:
            each.close()
        raise
    return Listeners(s3, console)


def _bind_all(
    addresses: Sequence[tuple[str, int]], what: str, setting: str, opened: list[socket.socket]
) -> tuple[socket.socket, ...]:
    bound: list[socket.socket] = []
    free_port = 0
    for host, port in addresses:
        try:
            # Port 0 asks for any free one: every address of the plane then gets the same.
            sock = _listen(host, port or free_port)
        except OSError as error:
            if _family_missing(error, host) and len(addresses) > 1:
                continue
            raise BindRefused(_sentence(error, host, port, what, setting)) from error
        free_port = sock.getsockname()[1]
        bound.append(sock)
        opened.append(sock)
    if not bound:
        raise BindRefused(
            f"No address of {setting} can be listened on for the {what} port; "
            "name one that this machine has, such as 127.0.0.1."
        )
    return tuple(bound)


def _listen(host: str, port: int) -> socket.socket:
    infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = infos[0]
    sock = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Its IPv4 sibling is a socket of its own, so that each can fail alone.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _family_missing(error: OSError, host: str) -> bool:
    """Whether the kernel lacks the address's family (containers without IPv6)."""
    if ":" not in host:
        return False
    return isinstance(error, socket.gaierror) or error.errno in (
        errno.EAFNOSUPPORT,
        errno.EADDRNOTAVAIL,
        errno.EPROTONOSUPPORT,
    )


def _sentence(error: OSError, host: str, port: int, what: str, setting: str) -> str:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} for the {what} port is in use on {host or 'this machine'}: stop the "
            f"program that holds it, or set {setting} to a free one."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"Port {port} for the {what} port needs more rights than this user has: set "
            f"{setting} to one above 1023."
        )
    why = error.strerror or str(error)
    return f"The {what} port can't be opened on {where} ({why}): set {setting} to another address."
