"""A generator for large answers: one thread and one kept-alive connection each, exact counts.

Reads a job as JSON from standard input and writes what it saw as JSON (``load.stream``). wrk
would cut off the requests in flight at the end, which are a good part of the work where single
requests take long: objects of 64 MiB, pages of 1,000 keys. Bodies follow the server's ``100
Continue``, as SDKs do from 2 MiB on.
"""

from __future__ import annotations

import http.client
import itertools
import json
import mmap
import resource
import socket
import statistics
import sys
import threading
import time
from typing import Any

_BUFFER = 1 << 20
_TIMEOUT = 120.0


class BadAnswer(Exception):
    """The server did not answer as S3 does."""


class Connection:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
        self._buffer = memoryview(bytearray(_BUFFER))

    def put(self, head: bytes, body: memoryview) -> None:
        """Send an object once the server asks for it."""
        self._socket.sendall(head)
        status, _, _ = self._head()
        if status != 100:
            raise BadAnswer(f"{status} instead of 100")
        self._socket.sendall(body)
        status, length, rest = self._head()
        self._drain(length - rest)
        if status != 200:
            raise BadAnswer(str(status))

    def get(self, head: bytes, expected: int) -> int:
        """Receive an object and throw it away; returns its size in bytes."""
        self._socket.sendall(head)
        status, length, rest = self._head()
        self._drain(length - rest)
        if status != 200 or length != expected:
            raise BadAnswer(f"{status}, {length} bytes")
        return length

    def bare(self, head: bytes, expected: int) -> None:
        """A request without bodies: HEAD, of an object of ``expected`` bytes, or DELETE."""
        self._socket.sendall(head)
        status, length, _ = self._head()
        right = status == 204 if head.startswith(b"DELETE") else (status, length) == (200, expected)
        if not right:
            raise BadAnswer(f"{status}, {length} bytes")

    def list(self, head: bytes, expected: int) -> int:
        """Receive a page of a listing that must have ``expected`` entries; returns its bytes."""
        self._socket.sendall(head)
        response = http.client.HTTPResponse(self._socket, method="GET")
        response.begin()
        data = response.read()
        entries = data.count(b"<Key>") + data.count(b"<CommonPrefixes>")
        if response.status != 200 or entries != expected:
            raise BadAnswer(f"{response.status}, {entries} entries")
        return len(data)

    def _head(self) -> tuple[int, int, int]:
        """Status, content length, and how many bytes of the body came along with the head."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self._socket.recv(65536)
            if not more:
                raise BadAnswer("closed")
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        length = 0
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return int(lines[0].split()[1]), length, len(rest)

    def _drain(self, left: int) -> None:
        while left > 0:
            got = self._socket.recv_into(self._buffer, min(left, _BUFFER))
            if not got:
                raise BadAnswer("closed")
            left -= got


class Run:
    """All connections take from one line of rendered heads.

    Each is sent once; with ``seconds`` they are sent over and over until the time is up. Either
    way everything that was begun is brought to its end.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._port = int(job["port"])
        self._expected = int(job["expected"])
        self._seconds = float(job["seconds"])
        heads = [head.encode() for head in job["heads"]]
        # next() of either is one step under the interpreter's lock.
        self._heads = itertools.cycle(heads) if self._seconds else iter(heads)
        self._deadline = 0.0
        self._threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(job["connections"])
        ]
        self._body = memoryview(b"")
        if job["body"]:
            with open(job["body"], "rb") as file:
                self._body = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.latencies: list[float] = []
        self.errors = 0
        self.received = 0

    def __call__(self) -> dict[str, Any]:
        begun = time.perf_counter()
        self._deadline = begun + self._seconds
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()
        seconds = time.perf_counter() - begun
        usage = resource.getrusage(resource.RUSAGE_SELF)
        ordered = sorted(self.latencies) or [0.0]
        return {
            "requests": len(self.latencies),
            "seconds": seconds,
            "p50": statistics.median(ordered),
            "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
            "errors": self.errors,
            "generator_cpu": usage.ru_utime + usage.ru_stime,
            "received": self.received,
        }

    def _work(self) -> None:
        connection: Connection | None = None
        while head := next(self._heads, b""):
            begun = time.perf_counter()
            if self._seconds and begun > self._deadline:
                return
            try:
                connection = connection or Connection(self._port)
                if head.startswith(b"PUT"):
                    connection.put(head, self._body)
                elif head.startswith((b"HEAD", b"DELETE")):
                    connection.bare(head, self._expected)
                elif b"list-type=2" in head or b"versions=" in head:
                    self.received += connection.list(head, self._expected)
                else:
                    self.received += connection.get(head, self._expected)
            except (OSError, BadAnswer) as error:
                print(f"{head.split(b' ', 2)[:2]}: {error}", file=sys.stderr)
                self.errors += 1
                connection = None
                continue
            self.latencies.append(time.perf_counter() - begun)


if __name__ == "__main__":
    json.dump(Run(json.load(sys.stdin))(), sys.stdout)
