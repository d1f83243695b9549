"""Entry of the store's child processes: ``python -m storage.process ROLE FD``.

``FD`` is the child's end of its channel to the supervisor, over which everything else comes.
A child listens to nobody but the supervisor: signals that a terminal or a service manager sends
to every process of the store at once would end the committer before the workers' last commits.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module

from storage import errors
from storage.serving.channel import Channel, Failed, Start
from storage.serving.lifeline import Lifeline

#: Exit code of a child that could not do its work and said why.
EXIT_FAILED = 1

#: Role -> module with ``run(start, lifeline)``. Imported late: each role loads what it needs.
ROLES = {
    "committer": "storage.serving.committer",
    "worker": "storage.serving.worker",
    "services": "storage.serving.services",
    "control": "storage.serving.control",
}


def main(arguments: list[str]) -> int:
    """Run one role until it is told to stop; its exit code."""
    role, fd = arguments
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    raise_descriptor_limit()
    lifeline = Lifeline(Channel(socket.socket(fileno=int(fd))))
    start = lifeline.start()
    try:
        run: Callable[[Start, Lifeline], int] = import_module(ROLES[role]).run
        return run(start, lifeline)
    except errors.Unavailable as error:
        lifeline.send(Failed(_sentence(error)))
    except errors.StoreError as error:
        lifeline.send(Failed(_sentence(error), final=True))
    return EXIT_FAILED


def _sentence(error: BaseException) -> str:
    """What an error says, or its kind where it says nothing."""
    return str(error) or type(error).__name__


def raise_descriptor_limit() -> None:
    """Lift the soft limit of open files to the hard one: connections and segments need them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 1 << 20)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything that matters is closed: a thread in the middle of an import must not delay the end.
    os._exit(code)
