"""The supervisor's loop: start children, pass news between them, heal, drain.

It opens no drive and speaks no HTTP. Its only state is who runs, and the store key, so that a
child that is started again gets it at once.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator

from storage.config import Config
from storage.serving.channel import EngineReady, Failed, Message, Prepared, Ready, Stop
from storage.serving.children import (
    COMMITTER,
    CONTROL,
    SERVICES,
    WORKER,
    Child,
    Inheritance,
    children_of,
    describe_exit,
)

#: Seconds: the longest drain of workers, and what the others get; with ``GRACE`` for each step
#: to end after its work is done, all of it fits into ten.
DRAIN_MAX = 7.5
STOP_SERVICES = 0.7
STOP_COMMITTER = 0.3
GRACE = 0.5
#: Crashes in a row of a child that never was ready, after which the store gives up.
START_ATTEMPTS = 5

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_ABORTED = 130


class Supervisor:
    """Runs the children of one store until told to stop. One instance, one ``run``."""

    def __init__(
        self,
        config: Config,
        inheritance: Inheritance,
        *,
        say: Callable[[str], None],
        on_serving: Callable[[Prepared, float], None],
        on_draining: Callable[[], None],
    ) -> None:
        """``say`` prints one line; ``on_serving`` runs once, when the S3 port answers.

        ``on_draining`` closes the supervisor's own copies of the listening sockets.
        """
        self._config = config
        self._inheritance = inheritance
        self._say = say
        self._on_serving = on_serving
        self._on_draining = on_draining
        self._children = children_of(config)
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._engine = False
        self._prepared: Prepared | None = None
        self._serving = False
        self._refusal = ""
        self._began = time.monotonic()

    # -- life -----------------------------------------------------------------------------------

    def run(self) -> int:
        """Start everything, serve until a signal or a final failure; the exit code."""
        with self._signal_socket():
            for child in self._children:
                self._start(child)
            while not self._signals and not self._refusal:
                self._wait(self._next_restart())
                self._look_after_children()
            if self._refusal:
                self._say(self._refusal)
            return self._stop()

    def _start(self, child: Child) -> None:
        child.start(
            self._config,
            self._inheritance,
            engine=self._engine,
            store_key=self._prepared.store_key if self._prepared else b"",
        )
        if child.channel is not None:
            self._selector.register(child.channel, selectors.EVENT_READ, child)

    def _next_restart(self) -> float | None:
        due = [child.restart_at for child in self._children if child.restart_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _wait(self, seconds: float | None) -> None:
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Child):
                self._hear(key.data)
            else:
                self._hear_signals(key.data)

    def _look_after_children(self) -> None:
        self._reap_orphans()
        now = time.monotonic()
        for child in self._children:
            if (status := self._reap(child)) is not None and not self._refusal:
                self._after_crash(child, status)
            if child.restart_at is not None and child.restart_at <= now and not self._refusal:
                self._start(child)

    def _reap(self, child: Child) -> int | None:
        if child.channel is not None and child.process is not None:
            if child.process.poll() is None:
                return None
            # Its last words may still be on the way.
            self._hear(child)
            if child.channel is not None:
                self._selector.unregister(child.channel)
        return child.reap()

    def _reap_orphans(self) -> None:
        """Collect processes that are nobody's any more, as the first process of a container must.

        A health check that was cut off, or a shell's background job, becomes a child of process 1.
        """
        if os.getpid() != 1:
            return
        own = {child.process.pid for child in self._children if child.process is not None}
        with contextlib.suppress(ChildProcessError):
            # Peek: our own children are collected by whoever started them.
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in own:
                    return
                os.waitpid(ended.si_pid, 0)

    def _after_crash(self, child: Child, status: int) -> None:
        why = child.last_words or describe_exit(status)
        if not child.ever_ready and child.crashes >= START_ATTEMPTS - 1:
            self._refusal = (
                f"The {child.name} process ended {child.crashes + 1} times while starting "
                f"({why}); the store stops."
            )
            return
        child.plan_restart()
        self._say(f"The {child.name} process ended ({why}); it is being started again.")

    # -- what children say ----------------------------------------------------------------------

    def _hear(self, child: Child) -> None:
        if child.channel is None:
            return
        messages, open_ = child.channel.receive_available()
        for message in messages:
            self._heard(child, message)
        if not open_ and child.channel is not None:
            # Its exit follows; until then the closed pair must not wake the loop again.
            self._selector.unregister(child.channel)
            child.channel.close()
            child.channel = None

    def _heard(self, child: Child, message: Message) -> None:
        match message:
            case Ready():
                child.ready = child.ever_ready = True
                self._announce_when_serving()
            case EngineReady():
                self._engine = True
                self._tell_others(child, message)
            case Prepared():
                self._prepared = message
                self._tell_others(child, message)
                self._announce_when_serving()
            case Failed():
                child.last_words = message.sentence
                if message.final:
                    self._refusal = message.sentence
            case _:
                pass

    def _tell_others(self, speaker: Child, message: Message) -> None:
        for child in self._children:
            if child is not speaker:
                child.send(message)

    def _announce_when_serving(self) -> None:
        if self._serving or self._prepared is None:
            return
        if all(child.ready for child in self._children if child.role == WORKER):
            self._serving = True
            self._on_serving(self._prepared, time.monotonic() - self._began)

    # -- the end --------------------------------------------------------------------------------

    def _stop(self) -> int:
        """Workers drain first, then services and control, the committer last."""
        asked = len(self._signals)
        self._on_draining()
        for roles, seconds in self._steps():
            group = [child for child in self._children if child.role in roles]
            for child in group:
                child.send(Stop(seconds))
            if not self._await_end(group, seconds + GRACE, asked):
                self._kill(self._children, tell=False)
                return EXIT_ABORTED
            self._kill(group, tell=self._serving)
        return EXIT_REFUSED if self._refusal else EXIT_OK

    def _steps(self) -> tuple[tuple[tuple[str, ...], float], ...]:
        """Which roles end together, and the seconds that each step has."""
        if not self._serving:
            # Nothing is in flight; whoever is still loading will not hear it in time.
            return (((WORKER, SERVICES, CONTROL, COMMITTER), STOP_SERVICES),)
        drain = min(DRAIN_MAX, float(self._config.drain))
        return (
            ((WORKER,), drain),
            ((SERVICES, CONTROL), STOP_SERVICES),
            ((COMMITTER,), STOP_COMMITTER),
        )

    def _await_end(self, group: list[Child], seconds: float, asked: int) -> bool:
        """Wait until the group has ended, or for so long. False after another signal."""
        deadline = time.monotonic() + seconds
        while any(child.running for child in group):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._wait(left)
            for child in self._children:
                self._reap(child)
            if len(self._signals) > asked:
                return False
        return True

    def _kill(self, group: list[Child], *, tell: bool) -> None:
        """End those that are left, and ``tell`` who they are."""
        for child in group:
            if child.process is None:
                continue
            if tell:
                self._say(f"The {child.name} process did not end in time; it is being killed.")
            child.process.kill()
            child.process.wait()
            self._reap(child)

    # -- signals --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signal_socket(self) -> Iterator[None]:
        """Turn signals into bytes on a socket that the loop reads."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._selector.register(reader, selectors.EVENT_READ, reader)
        previous = {
            number: signal.signal(number, _ignore)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        }
        previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        # Held back since before this program was loaded (``storage.server.become``).
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous_fd)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._selector.unregister(reader)
            reader.close()
            writer.close()

    def _hear_signals(self, reader: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in reader.recv(64):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._signals.append(number)


def _ignore(_number: int, _frame: object) -> None:
    """A handler that does nothing: the number also arrives on the wake-up socket."""
