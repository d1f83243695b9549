"""The access log: one JSON object a line for every S3 request, written off the request's path.

A line names who did what to which object with what outcome. It never holds a query (presigned
URLs carry their signature there), a header or a secret. A thread formats and writes batches; if
it falls behind by more than ``QUEUE_MAX`` lines, further ones are dropped and counted.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from storage.s3.caller import origin_of

#: Lines that may wait for the writer.
QUEUE_MAX = 65_536
#: Seconds between two batches.
INTERVAL = 0.25
#: Bytes of one write. Up to PIPE_BUF a pipe takes them whole, so that lines of several workers
#: never mix on standard output; a file that is appended to keeps writes of any size whole.
PIPE_WRITE = 4096
FILE_WRITE = 256 * 1024

_Line = tuple[float, str, str, str, str, str, str, str, int, int, int, float]


class AccessLog:
    """Lines go to ``target``: a path (appended to), or "-" for standard output."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._file_id: tuple[int, int] = (0, 0)
        self._fd = -1
        self._lines: deque[_Line] = deque()
        self.lost = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._open()
        self._thread.start()

    def record(
        self, call: Any, operation: str, status: int, bytes_in: int, bytes_out: int, seconds: float
    ) -> None:
        """Queue one line; costs about a microsecond. ``call`` is a request of the S3 plane."""
        lines = self._lines
        if len(lines) >= QUEUE_MAX:
            self.lost += 1
            return
        auth = getattr(call, "auth", None)
        lines.append(
            (
                time.time(), origin_of(call).address, call.request_id, call.method, operation,
                call.bucket, call.key, "" if auth is None else auth.access_key,
                status, bytes_in, bytes_out, seconds,
            )
        )  # fmt: skip

    def close(self) -> None:
        """Write what is queued and end the thread."""
        self._closing.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._closing.wait(INTERVAL):
            self._write()
        self._write()

    def _write(self) -> None:
        if not self._lines:
            return
        self._follow_rotation()
        limit = PIPE_WRITE if self._target == "-" else FILE_WRITE
        batch: list[bytes] = []
        size = 0
        while self._lines:
            line = format_line(self._lines.popleft()).encode()
            if batch and size + len(line) > limit:
                self._put(batch)
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        self._put(batch)

    def _put(self, batch: list[bytes]) -> None:
        data = b"".join(batch)
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self.lost += len(batch)

    def _open(self) -> None:
        if self._target == "-":
            self._fd = sys.stdout.fileno()
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self._target, flags, 0o640)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        stat = os.fstat(fd)
        self._file_id = stat.st_dev, stat.st_ino

    def _follow_rotation(self) -> None:
        """Open the file anew after it was renamed or removed (logrotate needs no signal)."""
        if self._target == "-":
            return
        try:
            stat = os.stat(self._target)
            moved = (stat.st_dev, stat.st_ino) != self._file_id
        except OSError:
            moved = True
        if moved:
            try:
                self._open()
            except OSError:
                return


def format_line(line: _Line) -> str:
    """One line of JSON. ``ms`` is the duration in milliseconds, ``time`` is UTC."""
    (
        when, client, request_id, method, operation, bucket, key, access_key,
        status, bytes_in, bytes_out, seconds,
    ) = line  # fmt: skip
    fields: dict[str, object] = {
        "time": datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds"),
        "request_id": request_id,
        "remote": client,
        "access_key": access_key,
        "method": method,
        "operation": operation,
        "bucket": bucket,
        "key": key,
        "status": status,
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "ms": round(seconds * 1000, 3),
    }
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":")) + "\n"
