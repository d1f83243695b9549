"""`oversight relay`: bytes go through unchanged, in both directions, to their end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from stack import relay
from tests.serving import clean_environment, free_port

BODY = os.urandom(3 * 2**20)


async def _upper_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end, then answer with everything and end."""
    writer.write(await reader.read(-1))
    await writer.drain()
    writer.close()


async def _through(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read(-1)
    writer.close()
    return answer


def test_everything_goes_through_and_so_does_the_end() -> None:
    async def run() -> list[bytes]:
        store = await asyncio.start_server(_upper_end, "127.0.0.1", 0)
        port = free_port()
        server = await relay.serve(port, "127.0.0.1", store.sockets[0].getsockname()[1])
        async with store, server:
            return await asyncio.gather(*(_through(port, BODY) for _ in range(4)))

    assert asyncio.run(run()) == [BODY] * 4


def test_a_store_that_comes_back_is_reached_again() -> None:
    async def run() -> tuple[bytes, bytes]:
        store_port, port = free_port(), free_port()
        server = await relay.serve(port, "127.0.0.1", store_port)
        async with server:
            try:
                gone = await _through(port, b"hello")
            except ConnectionError:
                gone = b""
            async with await asyncio.start_server(_upper_end, "127.0.0.1", store_port):
                return gone, await _through(port, b"hello")

    assert asyncio.run(run()) == (b"", b"hello")


def test_a_connection_that_breaks_breaks_on_the_other_side() -> None:
    async def run() -> bytes:
        async def breaks(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        store = await asyncio.start_server(breaks, "127.0.0.1", 0)
        port = free_port()
        server = await relay.serve(port, "127.0.0.1", store.sockets[0].getsockname()[1])
        async with store, server:
            try:
                return await asyncio.wait_for(_through(port, BODY), 60)
            except ConnectionError:
                return b""

    assert asyncio.run(run()) == b""


def start(**variables: str) -> subprocess.Popen[str]:
    environ = clean_environment(PYTHONPATH=str(Path(__file__).parents[3]), **variables)
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "stack.cli", "relay"],
        env=environ, stdout=subprocess.PIPE, text=True, cwd="/",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("external", "says"),
    [("http://localhost:{port}", "leads to"), ("https://s3.example.com", "nothing to relay")],
)
def test_the_command_runs_until_it_is_told(external: str, says: str) -> None:
    port = free_port()
    process = start(
        OVERSIGHT_EXTERNAL_ENDPOINT=external.format(port=port),
        OVERSIGHT_INTERNAL_ENDPOINT="http://127.0.0.1:1",
    )
    try:
        assert process.stdout is not None
        assert says in process.stdout.readline()
        if says == "leads to":
            with pytest.raises(OSError):  # noqa: PT011 - nothing listens behind it
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def refusal(endpoint: str) -> str:
    """What the command says that can't run with such an external endpoint."""
    done = subprocess.run(
        [sys.executable, "-m", "stack.cli", "relay"],
        env=clean_environment(OVERSIGHT_EXTERNAL_ENDPOINT=endpoint),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_settings_that_are_wrong() -> None:
    assert "OVERSIGHT_EXTERNAL_ENDPOINT: it must be http" in refusal("nonsense")


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refusal(f"http://localhost:{taken.getsockname()[1]}")
    assert "already in use" in said
    assert "in which nothing else listens" in said
