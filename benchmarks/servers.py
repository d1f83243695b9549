"""The servers that are measured: how each is started with its defaults, on one drive of its own.

Each listens on free loopback ports, has the same credentials and makes no connection outside
(telemetry is off where a peer has any). Nothing is tuned, for this store neither.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.requests import DEFAULT_CREDENTIALS, EMPTY_SHA256, Body, Credentials, Signer

START_SECONDS = 90.0
_NAMES = ("OVERSIGHT_", "MINIO_", "AWS_", "WEED_")


class ServerFailed(RuntimeError):
    """A server did not start or answered what it should not; the message says which."""


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


@dataclass(frozen=True)
class Kind:
    """A server that can be started: its name, its command, and what it is able to do."""

    name: str
    command: Callable[[Path, int], list[str]]
    stores: bool = True
    environment: tuple[tuple[str, str], ...] = ()


def _store(workers: int | None) -> Callable[[Path, int], list[str]]:
    def command(folder: Path, port: int) -> list[str]:
        (console,) = free_ports(1)
        # What the command's entry point runs, found without a PATH.
        words = [sys.executable, "-c", "from stack.cli import main; main()", "serve"]
        words += ["--drives", str(folder / "drive")]
        words += ["--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"]
        return words + (["--workers", str(workers)] if workers else [])

    return command


def _floor(workers: int | None) -> Callable[[Path, int], list[str]]:
    def command(_: Path, port: int) -> list[str]:
        count = workers or os.cpu_count() or 1
        words = [sys.executable, "-m", "uvicorn", "benchmarks.floor:app", "--port", str(port)]
        return [*words, "--workers", str(count), "--no-access-log", "--log-level", "warning"]

    return command


def _minio(program: str) -> Callable[[Path, int], list[str]]:
    def command(folder: Path, port: int) -> list[str]:
        (console,) = free_ports(1)
        words = [program, "server", "--quiet", "--address", f"127.0.0.1:{port}"]
        return [*words, "--console-address", f"127.0.0.1:{console}", str(folder / "drive")]

    return command


def _weed(program: str, credentials: Credentials) -> Callable[[Path, int], list[str]]:
    def command(folder: Path, port: int) -> list[str]:
        identity = {
            "name": "bench",
            "credentials": [
                {"accessKey": credentials.access_key, "secretKey": credentials.secret_key}
            ],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
        names += ["filer.port", "filer.port.grpc", "s3.port.grpc"]
        ports = free_ports(len(names))
        words = [program, "server", "-s3", f"-s3.port={port}", f"-s3.config={config}"]
        words += [f"-dir={folder / 'drive'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        words += [f"-{name}={number}" for name, number in zip(names, ports, strict=True)]
        off = ["-master.telemetry=false", "-s3.port.lance=0", "-s3.port.iceberg=0"]
        return [*words, *off, "-volume.allowUntrustedRemoteEndpoints", "-volume.max=64"]

    return command


def available(
    workers: int | None = None, credentials: Credentials = DEFAULT_CREDENTIALS
) -> dict[str, Kind]:
    """Every server that can be measured here, by name; peers only where their program exists."""
    root = (
        ("MINIO_ROOT_USER", credentials.access_key),
        ("MINIO_ROOT_PASSWORD", credentials.secret_key),
    )
    kinds = [
        Kind("oversight", _store(workers), environment=root),
        Kind("floor", _floor(workers), stores=False),
    ]
    if minio := os.environ.get("OVERSIGHT_BENCH_MINIO") or shutil.which("minio"):
        kinds.append(Kind("minio", _minio(minio), environment=root))
    if weed := os.environ.get("OVERSIGHT_BENCH_WEED") or shutil.which("weed"):
        kinds.append(Kind("seaweedfs", _weed(weed, credentials)))
    return {kind.name: kind for kind in kinds}


class Server:
    """A running server of a kind, in a folder of its own. Use as a context manager."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        self.name = kind.name
        self.folder = folder
        self.drive = folder / "drive"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The root of the process tree."""
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running.")
        return self._process.pid

    def start(self) -> float:
        """Start it and wait until it answers; returns the seconds that took."""
        self.drive.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_NAMES)
        }
        environment.update(self.kind.environment)
        command = self.kind.command(self.folder, self.port)
        begun = time.perf_counter()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while not self._ready():
            if self._process.poll() is not None or time.perf_counter() - begun > START_SECONDS:
                tail = (self.folder / "log").read_text(errors="replace")[-2000:]
                self.stop()
                raise ServerFailed(f"{self.name} did not start; its log ends with:\n{tail}")
            time.sleep(0.005)
        return time.perf_counter() - begun

    def stop(self, *, kill: bool = False) -> None:
        """End it: SIGTERM and up to 20 s of patience, then (or with ``kill``) SIGKILL."""
        if self._process is None:
            return
        if not kill:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                kill = True
        if kill:
            # The group is our own (start_new_session) and holds the children, too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def call(self, head: bytes, body: bytes = b"", timeout: float = 30.0) -> tuple[int, bytes]:
        """Send one rendered request; returns status and body."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as sock:
            sock.sendall(head + body)
            response = http.client.HTTPResponse(sock, method=head[:4].decode().strip())
            response.begin()
            return response.status, response.read()

    def make_bucket(self, name: str) -> None:
        """CreateBucket; one that exists is as good. Waits for peers that need time to warm up."""
        deadline = time.monotonic() + 30
        while True:
            status, text = self.call(Signer().head("PUT", f"/{name}", length=0))
            if status in (200, 409):
                return
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} refuses bucket {name}: {status} {text[:300]!r}")
            time.sleep(0.2)

    def check(self, bucket: str, key: str, body: Body) -> None:
        """One PUT and one GET whose bytes are compared: what is measured must be right."""
        status, text = self.call(Signer().put(bucket, key, body), body.data)
        if status != 200:
            raise ServerFailed(f"{self.name} answers a PUT with {status} {text[:300]!r}")
        self.expect(bucket, key, body)

    def expect(self, bucket: str, key: str, body: Body) -> None:
        """GET ``key`` and compare."""
        status, data = self.call(Signer().get(bucket, key))
        if status != 200 or data != body.data:
            raise ServerFailed(f"{self.name} does not return what was stored in {key}: {status}")

    def _ready(self) -> bool:
        try:
            status, _ = self.call(Signer().head("GET", "/", payload_hash=EMPTY_SHA256), timeout=5)
        except (OSError, http.client.HTTPException):
            return False
        return status == 200
