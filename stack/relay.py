"""`oversight relay`: makes a loopback address lead to the store inside a container, too.

DataHub signs URLs for browsers with the endpoint that it calls itself. Where that endpoint is this
machine's localhost, it leads nowhere inside DataHub's container; the relay, in the same network
namespace, listens there and passes every connection on to the store. Bytes go through unchanged,
so signatures, which cover the host name, stay right.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from urllib.parse import SplitResult, urlsplit

import typer

from stack.output import WRONG, fail
from stack.settings import Stack
from stack.store import CommandError
from storage.settings import SettingsError

_BLOCK = 256 * 1024
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PORTS = {"http": 80, "https": 443}


def run() -> None:
    """Serve until SIGTERM. An endpoint that is no loopback address needs no relay: then idle.

    Raises CommandError if its port is taken.
    """
    try:
        stack = Stack.load()
    except SettingsError as error:
        fail(error.problems, WRONG)
    external = urlsplit(stack.external_endpoint)
    try:
        asyncio.run(_until_stopped(external, urlsplit(stack.internal_endpoint)))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise CommandError(
            f"{external.geturl()} can't be had in here ({why}): the relay belongs into a network "
            "of a container in which nothing else listens there."
        ) from None


async def _until_stopped(external: SplitResult, internal: SplitResult) -> None:
    stopped = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stopped.set)
    if external.hostname not in _LOOPBACK:
        typer.echo(f"{external.geturl()} is no loopback address: nothing to relay.")
        await stopped.wait()
        return
    server = await serve(_port(external), internal.hostname or "", _port(internal))
    typer.echo(f"{external.geturl()} in here leads to {internal.geturl()}.")
    async with server:
        await stopped.wait()


async def serve(port: int, host: str, host_port: int) -> asyncio.Server:
    """Listen on ``port`` of the loopback addresses and pass connections on to the store.

    Raises OSError if no loopback address can be had.
    """

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join(reader, writer, host, host_port)

    try:
        return await asyncio.start_server(accept, ["127.0.0.1", "::1"], port, limit=_BLOCK)
    except OSError:  # no IPv6 in here
        return await asyncio.start_server(accept, "127.0.0.1", port, limit=_BLOCK)


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> None:
    try:
        there, back = await asyncio.open_connection(host, port, limit=_BLOCK)
    except OSError:
        writer.transport.abort()  # the caller tries again, as with a store that has gone
        return
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, back))
            both.create_task(_copy(there, writer))
    finally:
        back.close()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what arrives, and its end; an end by force ends the other side by force."""
    try:
        while data := await reader.read(_BLOCK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()
    except OSError:
        with contextlib.suppress(OSError):
            writer.transport.abort()


def _port(endpoint: SplitResult) -> int:
    return endpoint.port or _PORTS[endpoint.scheme]
