"""Child processes: how one is started, what it inherits, and what is known of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import storage
from storage.config import Config
from storage.serving.channel import Channel, Message, Start

COMMITTER = "committer"
WORKER = "worker"
SERVICES = "services"
CONTROL = "control"

#: Seconds before a crashed child is started again: doubled with each crash in a row.
BACKOFF_FIRST = 0.1
BACKOFF_MAX = 5.0
#: Seconds after which a child counts as healthy again.
HEALTHY_AFTER = 10.0

# Everything else stays out of the children: whatever they need is in their Config, and the
# environment of a process can be read by others of the same user.
_ENVIRONMENT_KEPT = (
    "HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "NO_COLOR", "PATH",
    "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "SSL_CERT_DIR", "SSL_CERT_FILE", "TERM",
    "TMPDIR", "TZ", "USER", "VIRTUAL_ENV",
)  # fmt: skip
_ENVIRONMENT_KEPT_PREFIXES = ("LC_", "OVERSIGHT_FAULT_")

# One arena a thread costs more resident memory than its lack of contention is worth here, and
# freed blocks of large requests go back to the system instead of staying resident.
_ENVIRONMENT_SET = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "4194304",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True)
class Inheritance:
    """What children inherit: sockets (S3 by worker), and the memory that all share (or -1)."""

    s3: Sequence[Sequence[int]]
    console: Sequence[int]
    shared: int = -1


@dataclass
class Child:
    """One child: its place in the store, and the process that fills it at the moment."""

    role: str
    index: int = 0
    process: subprocess.Popen[bytes] | None = None
    channel: Channel | None = None
    ready: bool = False
    ever_ready: bool = False
    started: float = 0.0
    crashes: int = 0
    restart_at: float | None = None
    last_words: str = field(default="")

    @property
    def name(self) -> str:
        return f"{self.role} {self.index}" if self.role == WORKER else self.role

    @property
    def running(self) -> bool:
        return self.process is not None

    def start(
        self, config: Config, inheritance: Inheritance, *, engine: bool, store_key: bytes
    ) -> None:
        """Start the process and hand it its Config."""
        channel, theirs = Channel.pair()
        listeners = list(inheritance.s3[self.index]) if self.role == WORKER else []
        console = []
        if self.role == CONTROL or is_alone(config):
            console = list(inheritance.console)
        inherited = [*listeners, *console, theirs.fileno()]
        if inheritance.shared >= 0:
            inherited.append(inheritance.shared)
        with theirs:
            self.process = subprocess.Popen(
                # -P: a folder named "storage" in the working directory must not be imported.
                [sys.executable, "-P", "-m", "storage.process", self.role, str(theirs.fileno())],
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                env=environment(os.environ),
            )
        self.channel = channel
        self.ready = False
        self.restart_at = None
        self.last_words = ""
        self.started = time.monotonic()
        self.send(
            Start(
                role=self.role, index=self.index, config=config, listeners=listeners,
                console=console,
                shared=inheritance.shared, engine=engine, store_key=store_key,
            )
        )  # fmt: skip

    def send(self, message: Message) -> None:
        if self.channel is not None:
            self.channel.send(message)

    def reap(self) -> int | None:
        """The exit status if the process has ended since the last look, else None."""
        if self.process is None or (status := self.process.poll()) is None:
            return None
        self.process = None
        self.ready = False
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        return status

    def plan_restart(self) -> None:
        """Decide when to start again; a child that was healthy for a while starts afresh."""
        now = time.monotonic()
        if self.ever_ready and now - self.started > HEALTHY_AFTER:
            self.crashes = 0
        self.restart_at = now + min(BACKOFF_FIRST * 2**self.crashes, BACKOFF_MAX)
        self.crashes += 1


def is_alone(config: Config) -> bool:
    """Whether one child does everything: asked for, or without SOCK_SEQPACKET (macOS)."""
    return config.workers == 1 or sys.platform != "linux"


def count_workers(config: Config) -> int:
    """Workers that there will be."""
    return 1 if is_alone(config) else config.workers


def children_of(config: Config) -> list[Child]:
    """The children of a store. One that is alone carries committer, console and services too."""
    workers = [Child(WORKER, index) for index in range(count_workers(config))]
    if is_alone(config):
        return workers
    return [Child(COMMITTER), *workers, Child(CONTROL), Child(SERVICES)]


def environment(parents: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """The environment of a child: no secrets, the parent's package, a frugal allocator."""
    kept = {
        name: value
        for name, value in parents.items()
        if name in _ENVIRONMENT_KEPT or name.startswith(_ENVIRONMENT_KEPT_PREFIXES)
    }
    package_home = str(Path(storage.__file__).resolve().parent.parent)
    return {**_ENVIRONMENT_SET, **kept, "PYTHONPATH": package_home}


def describe_exit(status: int) -> str:
    """``status`` as people read it: "exit code 3", "SIGKILL"."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
