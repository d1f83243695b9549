"""Listening sockets: bound once by the supervisor, inherited by the children that serve them.

A bound port belongs to the store for its whole life: connections of a worker that died before it
accepted them wait in its queue for its successor.

Each worker has sockets of its own on the same port (SO_REUSEPORT), over which the kernel spreads
connections. With one socket for all, the first worker to wake takes a whole burst: of 16
connections made at once the other one got none in most trials, against 6 on average this way
(docs/architecture.md, "One port, several workers").
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

#: Connections that may wait to be accepted. Linux caps it at net.core.somaxconn (4,096).
BACKLOG = 4096


class BindRefused(Exception):
    """A port can't be had. The message is one sentence that names the cure."""


@dataclass(frozen=True)
class Listeners:
    """Sockets of the S3 port, one set for each worker, and those of the console port."""

    s3: tuple[tuple[socket.socket, ...], ...]
    console: tuple[socket.socket, ...]

    def close(self) -> None:
        for each in (*(one for group in self.s3 for one in group), *self.console):
            each.close()


def bind(
    address: Iterable[tuple[str, int]],
    console_address: Iterable[tuple[str, int]],
    workers: int = 1,
) -> Listeners:
    """Bind and listen on all addresses. Raises BindRefused, and leaves nothing bound then."""
    opened: list[socket.socket] = []
    try:
        s3 = _bind_all(tuple(address), "S3", "OVERSIGHT_ADDRESS (--address)", opened, workers)
        console = _bind_all(
            tuple(console_address),
            "console",
            "OVERSIGHT_CONSOLE_ADDRESS (--console-address)",
            opened,
        )
    except BaseException:
        for each in opened:
            each.close()
        raise
    return Listeners(s3, console[0])


def _bind_all(
    addresses: Sequence[tuple[str, int]],
    what: str,
    setting: str,
    opened: list[socket.socket],
    copies: int = 1,
) -> tuple[tuple[socket.socket, ...], ...]:
    """``copies`` sets of sockets, each with one socket for every address."""
    sets: list[list[socket.socket]] = [[] for _ in range(copies)]
    free_port = 0
    for host, port in addresses:
        try:
            # Port 0 asks for any free one: every address of the plane then gets the same.
            for sock, group in zip(_listen(host, port or free_port, copies), sets, strict=True):
                group.append(sock)
                opened.append(sock)
        except OSError as error:
            if _family_missing(error, host) and len(addresses) > 1:
                continue
            raise BindRefused(_sentence(error, host, port, what, setting)) from error
        free_port = sets[0][-1].getsockname()[1]
    if not sets[0]:
        raise BindRefused(
            f"No address of {setting} can be listened on for the {what} port; "
            "name one that this machine has, such as 127.0.0.1."
        )
    return tuple(tuple(group) for group in sets)


def _listen(host: str, port: int, copies: int) -> list[socket.socket]:
    """``copies`` listening sockets on one address. Raises OSError, with nothing left open."""
    infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = infos[0]
    if copies > 1 and port:
        # A socket that shares its port joins whoever shares it already, another store included:
        # only one that does not share finds the port taken.
        _bind(family, address, shared=False).close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(copies):
            sock = _bind(family, address, shared=copies > 1)
            sockets.append(sock)
            sock.listen(BACKLOG)
            sock.setblocking(False)
            address = sock.getsockname()
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind(family: int, address: Any, *, shared: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # Its IPv4 sibling is a socket of its own, so that each can fail alone.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
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
