"""Counters of all workers in memory that the store's processes share.

Each worker owns one slot and alone writes it; whoever is asked for metrics reads all of them. A
worker that is started again goes on counting in its slot, so that counters never fall while the
store runs. Rows name themselves, so a reader needs no table of operations.

Slot, in words of 8 bytes: 16 of header, then rows of 40: name of the operation (40 bytes, UTF-8,
zero-padded), bucket (64 bytes, likewise), answers by class, bytes in, bytes out, microseconds,
histogram of durations. A bucket gets rows of its own with its first successful request, so that
names which clients only guess take no room; whatever finds none is counted without a bucket.
Behind the rows lie the last answers that something was wrong with, a ring of 64 entries of 512
bytes.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

#: Upper bounds of the histogram of durations, in seconds; one more column counts all above.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_WORD = 8
_HEADER_WORDS = 16
_ROW_WORDS = 40
_ROWS = 160
#: Rows of operations on a bucket of their own, beside those without. Untouched ones take no memory.
_BUCKET_ROWS = 1888
_ALL_ROWS = _ROWS + _BUCKET_ROWS
_FAILURES = 64
_FAILURE_WORDS = 64
_FAILURES_AT = _HEADER_WORDS + _ALL_ROWS * _ROW_WORDS
_SLOT_WORDS = _FAILURES_AT + _FAILURES * _FAILURE_WORDS
# bytes of an entry's texts, behind four numbers
_REQUEST_ID_BYTES, _OPERATION_BYTES, _FAILED_BUCKET_BYTES, _FAILED_KEY_BYTES = 40, 40, 64, 336
_NAME_BYTES = 40
_BUCKET_BYTES = 64

# columns of a row
_OK, _CLIENT_ERRORS, _SERVER_ERRORS, _BYTES_IN, _BYTES_OUT, _MICROSECONDS, _HISTOGRAM = range(
    13, 20
)
# words of the header
_IN_FLIGHT, _REJECTED_AUTH, _REJECTED_INVALID, _LOST_LOG_LINES, _NOTED = range(5)

#: What is counted where no operation was recognised.
UNKNOWN = "Unknown"


class Row(msgspec.Struct):
    """Counters of one operation (on one bucket, or on all), of all workers together."""

    operation: str
    ok: int = 0
    client_errors: int = 0
    server_errors: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    microseconds: int = 0
    histogram: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    @property
    def requests(self) -> int:
        return self.ok + self.client_errors + self.server_errors

    def add(self, words: memoryview, base: int) -> None:
        """Add the row of a slot that begins at word ``base``."""
        self.ok += words[base + _OK]
        self.client_errors += words[base + _CLIENT_ERRORS]
        self.server_errors += words[base + _SERVER_ERRORS]
        self.bytes_in += words[base + _BYTES_IN]
        self.bytes_out += words[base + _BYTES_OUT]
        self.microseconds += words[base + _MICROSECONDS]
        for column in range(len(BOUNDS) + 1):
            self.histogram[column] += words[base + _HISTOGRAM + column]


class Failure(msgspec.Struct):
    """An answer that something was wrong with. ``time`` in ms since 1970; texts may be cut."""

    time: int
    status: int
    microseconds: int
    request_id: str
    operation: str
    bucket: str
    key: str


class Totals(msgspec.Struct):
    """What all workers have counted since the store was started."""

    rows: dict[str, Row]
    """By operation, all buckets together."""
    buckets: dict[tuple[str, str], Row] = {}
    """By bucket and operation, as far as there was room."""
    in_flight: int = 0
    rejected_auth: int = 0
    rejected_invalid: int = 0
    lost_log_lines: int = 0


def create(slots: int) -> int:
    """A descriptor of zeroed memory for ``slots`` workers, to be inherited by children."""
    size = slots * _SLOT_WORDS * _WORD
    if sys.platform == "linux":
        fd = os.memfd_create("oversight-counters")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


class Board:
    """The shared memory, mapped. Without ``fd`` it belongs to this process alone."""

    def __init__(self, fd: int = -1) -> None:
        length = os.fstat(fd).st_size if fd >= 0 else _SLOT_WORDS * _WORD
        self._map = mmap.mmap(fd, length)
        self._words = memoryview(self._map).cast("Q")
        self.slots = length // (_SLOT_WORDS * _WORD)

    def slot(self, index: int) -> Slot:
        """The slot of worker ``index``; whoever takes it must be its only writer."""
        slot = self._slot(index)
        slot.set_in_flight(0)
        return slot

    def totals(self) -> Totals:
        """The sum over all workers, at this moment."""
        totals = Totals(rows={})
        for index in range(self.slots):
            self._slot(index).add_to(totals)
        return totals

    def failures(self) -> list[Failure]:
        """What went wrong last, the latest first."""
        found = [each for index in range(self.slots) for each in self._slot(index).failures()]
        return sorted(found, key=lambda each: -each.time)

    def in_flight(self) -> list[int]:
        """Requests in flight, by worker."""
        return [self._slot(index).in_flight for index in range(self.slots)]

    def _slot(self, index: int) -> Slot:
        start = index * _SLOT_WORDS
        return Slot(self._words[start : start + _SLOT_WORDS])


class Slot:
    """The counters of one worker."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._rows: dict[str, dict[str, int]] = {"": {}}
        """Bases of rows by bucket and operation."""
        self._count = self._bucket_count = 0
        for operation, bucket, base in self._named_rows():
            self._note(operation, bucket, base)

    def set_in_flight(self, requests: int) -> None:
        self._words[_IN_FLIGHT] = requests

    @property
    def in_flight(self) -> int:
        return self._words[_IN_FLIGHT]

    def note_failure(self, failure: Failure) -> None:
        """Remember an answer that something was wrong with, in the place of the oldest one."""
        noted = self._words[_NOTED]
        base = _FAILURES_AT + noted % _FAILURES * _FAILURE_WORDS
        words = self._words[base : base + _FAILURE_WORDS]
        words[0] = 0  # whoever reads in between sees none
        words[1], words[2] = failure.status, failure.microseconds
        words[4:].cast("B")[:] = b"".join(
            _cut(text, length)
            for text, length in (
                (failure.request_id, _REQUEST_ID_BYTES),
                (failure.operation, _OPERATION_BYTES),
                (failure.bucket, _FAILED_BUCKET_BYTES),
                (failure.key, _FAILED_KEY_BYTES),
            )
        )
        words[0] = failure.time
        self._words[_NOTED] = noted + 1

    def failures(self) -> list[Failure]:
        """The answers that are remembered, in no order."""
        found = []
        for number in range(min(self._words[_NOTED], _FAILURES)):
            base = _FAILURES_AT + number * _FAILURE_WORDS
            words = self._words[base : base + _FAILURE_WORDS]
            time, status, microseconds = words[0], words[1], words[2]
            texts, at = [], 4 * _WORD
            data = words.tobytes()
            for length in (
                _REQUEST_ID_BYTES, _OPERATION_BYTES, _FAILED_BUCKET_BYTES, _FAILED_KEY_BYTES
            ):  # fmt: skip
                texts.append(data[at : at + length].rstrip(b"\0").decode("utf-8", "replace"))
                at += length
            if time and time == words[0]:
                found.append(Failure(time, status, microseconds, *texts))
        return found

    def set_lost_log_lines(self, lines: int) -> None:
        self._words[_LOST_LOG_LINES] = lines

    def recorder(self) -> Callable[..., None]:
        """``record(operation, status, bytes_in, bytes_out, seconds, bucket="")``, per answer.

        A closure over locals: this runs once per request and must stay below a microsecond.
        """
        words: Any = self._words
        rows = self._rows
        nothing: dict[str, int] = {}
        find_row = self._find_row

        def record(
            operation: str,
            status: int,
            bytes_in: int,
            bytes_out: int,
            seconds: float,
            bucket: str = "",
        ) -> None:
            base = rows.get(bucket, nothing).get(operation)
            if base is None:
                base = find_row(operation, bucket, status)
            if status < 400:
                words[base + _OK] += 1
            else:
                words[base + (_CLIENT_ERRORS if status < 500 else _SERVER_ERRORS)] += 1
                if status == 403:
                    words[_REJECTED_AUTH] += 1
                elif status == 400:
                    words[_REJECTED_INVALID] += 1
            if bytes_in:
                words[base + _BYTES_IN] += bytes_in
            if bytes_out:
                words[base + _BYTES_OUT] += bytes_out
            words[base + _MICROSECONDS] += int(seconds * 1e6)
            column = base + _HISTOGRAM
            for bound in BOUNDS:
                if seconds <= bound:
                    break
                column += 1
            words[column] += 1

        return record

    def add_to(self, totals: Totals) -> None:
        """Add this slot to ``totals``."""
        words = self._words
        totals.in_flight += words[_IN_FLIGHT]
        totals.rejected_auth += words[_REJECTED_AUTH]
        totals.rejected_invalid += words[_REJECTED_INVALID]
        totals.lost_log_lines += words[_LOST_LOG_LINES]
        for operation, bucket, base in self._named_rows():
            totals.rows.setdefault(operation, Row(operation)).add(words, base)
            if bucket:
                totals.buckets.setdefault((bucket, operation), Row(operation)).add(words, base)

    def _named_rows(self) -> Iterator[tuple[str, str, int]]:
        """Operation, bucket and first word of each row in use."""
        for first, last in ((0, _ROWS), (_ROWS, _ALL_ROWS)):
            for number in range(first, last):
                base = _HEADER_WORDS + number * _ROW_WORDS
                operation = self._text(base, _NAME_BYTES)
                if not operation:
                    break
                yield operation, self._text(base + _NAME_BYTES // _WORD, _BUCKET_BYTES), base

    def _text(self, at: int, length: int) -> str:
        return self._words[at : at + length // _WORD].tobytes().rstrip(b"\0").decode()

    def _find_row(self, operation: str, bucket: str, status: int) -> int:
        """The first word of the row for an answer; a new row if there is none.

        Only what succeeds proves that a bucket exists.
        """
        if bucket and (
            (status >= 400 and bucket not in self._rows)
            or self._bucket_count == _BUCKET_ROWS
            or len(bucket.encode()) > _BUCKET_BYTES
        ):
            bucket = ""
        found = self._rows.get(bucket, {}).get(operation)
        if found is not None:
            return found
        if bucket:
            return self._add_row(_ROWS + self._bucket_count, operation, bucket)
        if self._count == _ROWS:
            return self._rows[""][UNKNOWN]
        return self._add_row(self._count, operation, "")

    def _add_row(self, number: int, operation: str, bucket: str) -> int:
        base = _HEADER_WORDS + number * _ROW_WORDS
        name = operation.encode()[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0")
        whole = name + bucket.encode().ljust(_BUCKET_BYTES, b"\0")
        self._words[base : base + len(whole) // _WORD].cast("B")[:] = whole
        self._note(operation, bucket, base)
        return base

    def _note(self, operation: str, bucket: str, base: int) -> None:
        self._rows.setdefault(bucket, {})[operation] = base
        if bucket:
            self._bucket_count += 1
        else:
            self._count += 1


def _cut(text: str, length: int) -> bytes:
    """The beginning of a text, padded to ``length`` bytes."""
    return text.encode("utf-8", "replace")[:length].ljust(length, b"\0")
