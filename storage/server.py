"""The composition root: opens the listeners, then supervises the processes of the store.

This process holds the sockets, the store key once it is known, and nothing else: it opens no
drive, and neither FastAPI nor the S3 plane is loaded here. docs/architecture.md draws the
processes.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn, TextIO

import msgspec

import storage
from storage import config as configs
from storage.config import Config
from storage.serving import listeners, panel
from storage.serving.channel import Prepared
from storage.serving.children import Inheritance, count_workers
from storage.serving.supervisor import EXIT_REFUSED, Supervisor
from storage.telemetry import board

#: Variables that are read once, into the Config, and that nobody needs to find later.
_SETTINGS = ("OVERSIGHT_", "MINIO_", "OTEL_")


def serve(config: Config, *, warnings: Iterable[str] = (), out: TextIO | None = None) -> int:
    """Run the store until SIGTERM or SIGINT; the exit code.

    0 after a drain, 1 when the store can't work (one sentence on ``out`` says why), 130 when a
    second signal cut the drain short. ``out`` defaults to standard error. Must run in the main
    thread, since it takes over the process's signals while it runs.
    """
    out = sys.stderr if out is None else out

    def say(line: str) -> None:
        print(line, file=out, flush=True)

    for warning in (*config.warnings, *warnings):
        say(f"Warning: {warning}")
    try:
        bound = listeners.bind(config.address, config.console_address, count_workers(config))
    except listeners.BindRefused as refusal:
        say(str(refusal))
        return EXIT_REFUSED

    def on_serving(prepared: Prepared, seconds: float) -> None:
        panel.show(shown, prepared.buckets, seconds, out)

    shown = msgspec.structs.replace(
        config, address=_addresses(bound.s3[0]), console_address=_addresses(bound.console)
    )
    inheritance = Inheritance(
        s3=[[each.fileno() for each in group] for group in bound.s3],
        console=[each.fileno() for each in bound.console],
        shared=board.create(config.workers),
    )
    supervisor = Supervisor(
        shown, inheritance, say=say, on_serving=on_serving, on_draining=bound.close
    )
    try:
        return supervisor.run()
    finally:
        bound.close()


def become(config: Config) -> NoReturn:
    """Turn this process into the supervisor of ``config``, under the same process id.

    Reading the settings loaded pydantic and typer, which a supervisor would carry along for its
    whole life (17 MB), and left the root password readable in the process's environment: a fresh
    image has neither. The configuration travels in anonymous memory.
    """
    if sys.platform != "linux":
        raise SystemExit(serve(config))
    fd = os.memfd_create("oversight-config")
    os.set_inheritable(fd, True)
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(configs.encode(config))
    os.lseek(fd, 0, os.SEEK_SET)
    sys.stdout.flush()
    sys.stderr.flush()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_SETTINGS) or name.startswith("OVERSIGHT_FAULT_")
    }
    environment["PYTHONPATH"] = str(Path(storage.__file__).resolve().parent.parent)
    # The addresses are there for whoever lists processes, as the health check of a container does.
    shown = [f"s3={host}:{port}" for host, port in config.address]
    arguments = [sys.executable, "-P", "-m", "storage.server", str(fd), *shown]
    # Until the supervisor listens to it, a first process of a container would not get the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - no shell, and our own image


def main(arguments: list[str]) -> int:
    """``python -m storage.server FD``: serve the configuration in FD (see ``become``)."""
    with os.fdopen(int(arguments[0]), "rb") as file:
        return serve(configs.decode(file.read()))


def _addresses(sockets: Iterable[socket.socket]) -> tuple[tuple[str, int], ...]:
    """Where ``sockets`` listen, which is news where port 0 was asked for."""
    return tuple(each.getsockname()[:2] for each in sockets)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
