"""Where changes come from: the committer as a process that workers talk to, or as a thread.

``main`` is the committer process: a ``Server`` gathers what all workers sent, has it settled,
answers. ``CommitterThread`` is the same in a process that is alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from storage import errors
from storage.config import Config
from storage.engine.embedded import board as boards
from storage.engine.embedded import drives, link
from storage.engine.embedded.committer import TICK, Committer

_BATCH_CHANGES = 1024
_BATCH_BYTES = 8 << 20
_UNSENT_MAX = 32 << 20
"""Bytes of answers that a client may leave unread."""
_CROWD = 3
"""Changes in one batch that prove several clients at work; a lone one never waits for company."""
_GATHERING_MAX = 0.003
"""Seconds that a crowd gets at most to come together, and never more than settling just took."""
_GLANCE = 0.0005
"""Seconds between two looks at who has come."""
_COMPLETE = 0.9
"""The share of a crowd that is worth no further waiting."""
_logger = logging.getLogger("oversight.committer")


class _Client:
    """A connection of the committer process."""

    __slots__ = ("assembler", "generation", "line", "unsent", "unsent_bytes")

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.generation = 0
        self.assembler = link.Assembler()
        self.unsent: deque[bytearray | bytes] = deque()
        self.unsent_bytes = 0


class Server:
    """The committer's loop: gather what all workers sent, settle it, answer.

    While a batch is being synced the next one gathers in the sockets: group commit. Where syncs
    are so fast that they let batches stay small, a crowd is given a moment to gather as well
    (``_gather``); a lone client, and whoever comes to an idle committer, never waits.
    """

    def __init__(self, committer: Committer, listener: socket.socket) -> None:
        self._committer = committer
        self._listener = listener
        self._poll = select.epoll()
        self._poll.register(listener.fileno(), select.EPOLLIN)
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_out, False)
        os.set_blocking(self._wake_in, False)
        self._poll.register(self._wake_out, select.EPOLLIN)
        self._clients: dict[int, _Client] = {}
        self._buffer = bytearray(link.DATAGRAM_MAX + 4096)
        self._urgent: deque[tuple[_Client, int, Any]] = deque()
        self._background: deque[tuple[_Client, int, Any]] = deque()
        self._stopping = False

    def stop(self) -> None:
        """Let the loop end after the batch at hand. Callable from a signal handler."""
        self._stopping = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_in, b"x")

    def serve(self) -> None:
        """Run until ``stop``."""
        committer = self._committer
        while not self._stopping:
            self._collect(0.0 if self._background or self._urgent else TICK)
            if self._urgent:
                batch = self._take(self._urgent, _BATCH_CHANGES)
                began = time.monotonic()
                self._settle(batch)
                self._gather(len(batch), time.monotonic() - began)
            elif self._background:
                self._settle(self._take(self._background, 1))
            committer.tend()
        self._settle(self._take(self._urgent, len(self._urgent)))

    def _collect(self, patience: float) -> None:
        """Read what waits in the sockets; for up to ``patience`` seconds wait for the first."""
        events = self._poll.poll(patience)
        while events:
            self._receive(events)
            if len(self._urgent) >= _BATCH_CHANGES:
                break
            events = self._poll.poll(0)

    def _gather(self, settled: int, seconds: float) -> None:
        """Let a crowd come together again: those just answered, and those who came meanwhile.

        Otherwise the two halves of it would take turns for ever, each with a sync, an index
        transaction and a wake-up of everybody of its own. ``seconds`` is what settling took:
        waiting as long costs the crowd no throughput. Who brings nobody ends the wait.
        """
        if settled < _CROWD:
            return
        self._collect(0)
        enough = _COMPLETE * (settled + len(self._urgent))
        here = -1
        for _ in range(max(1, int(min(seconds, _GATHERING_MAX) / _GLANCE))):
            if not here < len(self._urgent) < enough or self._stopping:
                break
            here = len(self._urgent)
            time.sleep(_GLANCE)  # not in poll: each arrival would wake us
            self._collect(0)

    def _take(
        self, source: deque[tuple[_Client, int, Any]], limit: int
    ) -> list[tuple[_Client, int, Any]]:
        taken: list[tuple[_Client, int, Any]] = []
        size = 0
        while source and len(taken) < limit and size < _BATCH_BYTES:
            item = source.popleft()
            size += len(getattr(item[2], "payload", b""))
            taken.append(item)
        return taken

    def _receive(self, events: Sequence[tuple[int, int]]) -> None:
        for fd, event in events:
            client = self._clients.get(fd)
            if client is not None:
                if event & select.EPOLLOUT:
                    self._send(client, ())
                if event & ~select.EPOLLOUT:
                    self._read(client)
            elif fd == self._listener.fileno():
                self._accept()
            elif fd == self._wake_out:
                os.read(self._wake_out, 64)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            line, _ = self._listener.accept()
            line.setblocking(False)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, link.SEND_BUFFER)
            self._clients[line.fileno()] = _Client(line)
            self._poll.register(line.fileno(), select.EPOLLIN)

    def _read(self, client: _Client) -> None:
        try:
            count = client.line.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        if not count:
            self._drop(client)
            return
        try:
            message = client.assembler.feed(memoryview(self._buffer)[:count])
            if message is None:
                return
            requests = link.decode_requests(message)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            _logger.exception("a worker sent what can't be understood")
            self._drop(client)
            return
        for number, change in requests:
            if isinstance(change, link.BACKGROUND):
                self._background.append((client, number, change))
            else:
                self._urgent.append((client, number, change))

    def _drop(self, client: _Client) -> None:
        """The worker is gone. What it had sent is settled all the same: it may be waiting
        for nothing, but a change that is half done is worse than one that is done."""
        fd = client.line.fileno()
        if fd >= 0 and self._clients.pop(fd, None) is not None:
            self._poll.unregister(fd)
            client.line.close()

    def _settle(self, requests: list[tuple[_Client, int, Any]]) -> None:
        if not requests:
            return
        results = settle(self._committer, requests)
        answers: dict[_Client, list[link.Answer]] = {}
        for (client, number, change), result in zip(requests, results, strict=True):
            if isinstance(change, link.Hello) and isinstance(result, int):
                client.generation = result
            answers.setdefault(client, []).append(link.answer(number, result))
        for client, found in answers.items():
            self._send(client, link.datagrams(found))

    def _send(self, client: _Client, pieces: Sequence[bytearray | bytes]) -> None:
        if client.line.fileno() < 0:
            return
        blocked = bool(client.unsent)
        client.unsent.extend(pieces)
        client.unsent_bytes += sum(map(len, pieces))
        try:
            while client.unsent:
                client.line.send(client.unsent[0])
                client.unsent_bytes -= len(client.unsent.popleft())
        except (BlockingIOError, InterruptedError):
            if client.unsent_bytes > _UNSENT_MAX:
                _logger.error("a worker does not read its answers: it is dropped")
                self._drop(client)
                return
            self._poll.modify(client.line.fileno(), select.EPOLLIN | select.EPOLLOUT)
            return
        except OSError:
            self._drop(client)
            return
        if blocked:
            self._poll.modify(client.line.fileno(), select.EPOLLIN)

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        self._poll.close()
        self._listener.close()
        os.close(self._wake_in)
        os.close(self._wake_out)


def settle(committer: Committer, requests: Sequence[tuple[Any, int, Any]]) -> list[Any]:
    """``process``, except for what fenced generations send."""
    if not committer._fenced:
        return committer.process([change for _, _, change in requests])
    refused = errors.Unavailable("this worker was declared dead")
    allowed = [not committer.is_fenced(sender.generation) for sender, _, _ in requests]
    results = iter(
        committer.process(
            [change for (_, _, change), fine in zip(requests, allowed, strict=True) if fine]
        )
    )
    return [next(results) if fine else refused for fine in allowed]


def main(
    config: Config,
    ready: Callable[[], None],
    stopper: Callable[[Callable[[], None]], None] | None = None,
) -> None:
    """The committer process: open the drive, take over, call ``ready``, serve until stopped.

    Workers may connect before ``ready``: they wait. ``stopper`` is given a function that ends
    the loop, callable from any thread; without it SIGTERM and SIGINT do. Raises ``DriveRefused``.
    """
    drive = drives.open_drive(config.drives[0], config)
    try:
        committer = Committer(drive, config)
        address = link.Address(committer.run_folder)
        server = Server(committer, address.listen())
        if stopper is not None:
            stopper(server.stop)
        else:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: server.stop())
        try:
            committer.start()
            ready()
            sys.setswitchinterval(0.001)
            server.serve()
        finally:
            server.close()
            committer.close()
            address.close()
    finally:
        drive.close()


class CommitterThread:
    """The committer as a thread of a process that is alone (``--workers 1``, tests, macOS)."""

    def __init__(self, config: Config) -> None:
        """Open the drive and take over, in the calling thread. Raises ``DriveRefused``."""
        self.drive = drives.open_drive(config.drives[0], config)
        try:
            self.committer = Committer(self.drive, config)
            try:
                self.committer.start()
            except BaseException:
                self.committer.close()  # an index left open would lock out the next try
                raise
        except BaseException:
            self.drive.close()
            raise
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._background: deque[tuple[Any, Any, Any]] = deque()
        self._thread = threading.Thread(target=self._run, name="oversight-committer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._serve()
        except Exception:
            _logger.exception("the committer has failed")
            self.committer.board.state = boards.STOPPED
            failed = errors.Unavailable("the committer has failed: restart the store")
            while (item := self.inbox.get()) is not None:
                item[0].settle([(item[1], failed)])
        self.committer.close()

    def _serve(self) -> None:
        stopping = False
        while not stopping:
            requests, stopping = self._gather()
            if not requests and self._background and not stopping:
                requests = [self._background.popleft()]
            if requests:
                self._settle(requests)
            self.committer.tend()

    def _gather(self) -> tuple[list[tuple[Any, Any, Any]], bool]:
        """Whatever waits, at least one unless a second passes; whether the end was asked for."""
        requests: list[tuple[Any, Any, Any]] = []
        size = 0
        try:
            item = self.inbox.get(block=not self._background, timeout=TICK)
            while True:
                if item is None:
                    return requests, True
                if isinstance(item[2], link.BACKGROUND):
                    self._background.append(item)
                else:
                    requests.append(item)
                    size += len(getattr(item[2], "payload", b""))
                if len(requests) >= _BATCH_CHANGES or size >= _BATCH_BYTES:
                    break
                item = self.inbox.get_nowait()
        except queue.Empty:
            pass
        return requests, False

    def _settle(self, requests: list[tuple[Any, Any, Any]]) -> None:
        results = settle(self.committer, requests)
        outcomes: dict[Any, list[tuple[Any, Any]]] = {}
        for (sender, future, _), result in zip(requests, results, strict=True):
            outcomes.setdefault(sender, []).append((future, result))
        for sender, found in outcomes.items():
            sender.settle(found)

    def stop(self) -> None:
        """Settle what waits, close everything, give the drive back."""
        self.inbox.put(None)
        self._thread.join()
        self.drive.close()
