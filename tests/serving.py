"""Run a real store in processes of its own, for tests that speak to it over the network."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

ACCESS_KEY = "minio"
SECRET_KEY = "miniosecret"
#: Variables that would change what a store or a client does, whoever set them.
_FOREIGN = ("OVERSIGHT_", "MINIO_", "AWS_", "LANGFUSE_", "OTEL_")


def clean_environment(**changes: str) -> dict[str, str]:
    """This process's environment without settings of stores and clients, plus ``changes``.

    Proxies are left out too: every test talks to the loopback.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN) and not name.lower().endswith("_proxy")
    }
    return kept | changes


def _own_ports() -> Iterator[int]:
    """This test process's share of the ports that no kernel hands out by itself, over and over.

    A port that the kernel chose is soon chosen again: by another test, or for a client's
    connection, before the server that it is meant for has come up. Those below its range are only
    taken by whoever asks for them, and each of pytest's processes has a stretch of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = len(_PORTS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = _PORTS[worker * share : (worker + 1) * share]
    start = os.getpid() * 37 % share  # somewhere else than another run on this machine
    return itertools.cycle([*own[start:], *own[:start]])


_PORTS = range(12_000, 32_000)
_candidates = _own_ports()


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on, and that nobody but the caller is given."""
    for port in itertools.islice(_candidates, len(_PORTS)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"no free port from {_PORTS.start} to {_PORTS.stop - 1}")


@dataclass
class ServedStore:
    """``oversight serve`` on free loopback ports over ``drive``.

    ``options`` are further command line options, ``environment`` further variables. The output of
    all its processes goes to ``log``.
    """

    drive: Path
    log: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    console_port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def console(self) -> str:
        return f"http://127.0.0.1:{self.console_port}"

    def start(self, timeout: float = 90) -> Self:
        """Start and wait until it is ready (seconds). A port that was snatched is tried again."""
        for attempt in range(3):
            if attempt or not self.port:
                self.port, self.console_port = free_port(), free_port()
            self._spawn()
            try:
                self._wait_until_ready(timeout)
            except _PortTaken:
                continue
            return self
        raise RuntimeError(f"no free port in three tries:\n{self.output()}")

    def stop(self, timeout: float = 60) -> int:
        """SIGTERM, then the exit status; SIGKILL to the whole group if it overstays."""
        if self.process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self.process = None

    def kill(self) -> None:
        """SIGKILL to the supervisor and all its children at once, as a power cut would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self) -> None:
        command = [
            *(sys.executable, "-m", "stack.cli", "serve"),
            *("--drives", str(self.drive)),
            *("--address", f"127.0.0.1:{self.port}"),
            *("--console-address", f"127.0.0.1:{self.console_port}"),
            *self.options,
        ]
        self.drive.mkdir(parents=True, exist_ok=True)
        environment = clean_environment(
            OVERSIGHT_ROOT_USER=ACCESS_KEY, OVERSIGHT_ROOT_PASSWORD=SECRET_KEY
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment | self.environment,
                cwd=Path(__file__).parent.parent,
                start_new_session=True,
            )

    def _wait_until_ready(self, timeout: float) -> None:
        assert self.process is not None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            status = self.process.poll()
            if status is not None:
                self.process = None
                if "in use" in self.output():
                    raise _PortTaken
                raise RuntimeError(f"the store ended with status {status}:\n{self.output()}")
            if is_ready(self.endpoint):
                return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"the store was not ready after {timeout} s:\n{self.output()}")


class _PortTaken(Exception):
    """Somebody else took the port between choosing and binding it."""


def is_ready(endpoint: str) -> bool:
    """Whether a store answers there and says that it is ready (MinIO's health path)."""
    try:
        with _opener.open(f"{endpoint}/minio/health/ready", timeout=5) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
