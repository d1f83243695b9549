"""The same inputs over sockets, against a server in processes of its own.

The answers are only looked through here: ``campaign`` examines them. This is about what a stand-in
for the transport can't show: that the real one is always answered or closed, that nothing dies,
and how much memory the server's processes hold.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from tests.fuzz import requests
from tests.fuzz.campaign import Finding
from tests.fuzz.chance import Chance
from tests.fuzz.connections import connection
from tests.fuzz.subject import DOMAIN
from tests.fuzz.world import User, World
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore

#: Seconds after which a client that has ended its side must have been answered and closed.
PATIENCE = 60.0
_PATHS = (b"/minio/health/live", b"/minio/health/ready", b"/minio/v2/metrics/cluster")


class LiveCampaign:
    """Plays inputs of one seed against a store that serves."""

    def __init__(self, store: ServedStore, seed: int) -> None:
        self._store = store
        self._seed = seed
        root = User(ACCESS_KEY.encode(), SECRET_KEY.encode())
        stranger = User(b"strangerstranger", b"strangerstrangerstrangerstranger")
        host = b"127.0.0.1:%d" % store.port
        self._world = World(host, DOMAIN, (root, root, stranger), (b"a" * 64,))

    def prepare(self) -> None:
        for bucket in self._world.buckets:
            self._granted(b"PUT", b"/" + bucket)
            self._granted(b"PUT", b"/%b/key" % bucket, body=b"content")

    def play(self, start: int, stop: int) -> None:
        """Inputs ``start`` to ``stop`` (excluded). Raises Finding."""
        for number in range(start, stop):
            made = connection(Chance.of(self._seed, number), self._world)
            received = self._converse(made.pieces, number)
            if b"InternalError" in received or received.startswith(b"HTTP/1.1 500"):
                raise Finding(f"input {number} of seed {self._seed}: {received[:1000]!r}")
            self._world.learn(received)
            if number % 100 == 0:
                self._check_paths()

    def _check_paths(self) -> None:
        """The server's other paths answer as ever."""
        for path in _PATHS:
            answer = self._exchange([b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path])
            if not answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 403 ")):
                raise Finding(f"{path.decode()} answers {answer[:300]!r}")

    def _granted(self, method: bytes, path: bytes, body: bytes = b"") -> None:
        answer = self._exchange([requests.plain(self._world, method, path, body=body)])
        assert answer.startswith(b"HTTP/1.1 200 "), answer

    def _converse(self, pieces: list[bytes], number: int) -> bytes:
        try:
            return self._exchange(pieces)
        except TimeoutError:
            raise Finding(f"input {number} of seed {self._seed} is never answered") from None

    def _exchange(self, pieces: list[bytes]) -> bytes:
        """Send everything, end our side, and read to the end."""
        received = bytearray()
        with socket.create_connection(("127.0.0.1", self._store.port), PATIENCE) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    client.sendall(piece)
                client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while data := client.recv(1 << 16):
                    received += data
        return bytes(received)


def resident(pid: int) -> int:
    """Bytes of memory that a process and all below it hold (RSS)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child)) for child in children)
