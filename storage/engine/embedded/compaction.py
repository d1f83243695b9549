"""Compaction: getting space back from segments of which little is still needed.

What the index still names is copied to the end of the log as *relocations*, tombstones that still
hide something likewise; then the segment is unlinked. The committer has the last word on each
record and on the unlinking (``link.Relocate``, ``link.DropSegment``): what is decided here, beside
it, only saves it work. Segments of which nothing is needed go first, they cost nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from storage import errors
from storage.engine.embedded import board, io, link, records, segment
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.embedded.index import SegmentRow, names_record
from storage.engine.embedded.reader import Reader

#: A segment is compacted if at most this share of its file is still needed ...
SHARE_MAX = 0.5
#: ... or this share while the drive is full.
SHARE_MAX_FULL = 0.9
ROWS_MAX = 64
BATCH_BYTES = 1 << 20
_logger = logging.getLogger("oversight.compaction")
T = TypeVar("T")


class Needed(NamedTuple):
    """A record that must be moved; ``row`` lacks the payload, which lies at ``offset``."""

    row: link.Moved
    offset: int
    length: int
    check: int
    weight: int


class Outcome(NamedTuple):
    """What compacting one segment did. ``freed`` is the size of its file."""

    segment: int
    moved: int
    freed: int


def victims(rows: Sequence[SegmentRow], active: int, *, full: bool) -> list[int]:
    """Segments worth looking at, in the order in which they should go.

    ``active`` is the one being written. By the index's counters: tombstones, which may be needed
    too, are not in them.
    """
    limit = SHARE_MAX_FULL if full else SHARE_MAX
    shares = [
        (row.live_bytes / row.length, row.id)
        for row in rows
        if row.length and row.id != active and row.live_bytes <= limit * row.length
    ]
    return [number for _, number in sorted(shares)]


def needed_records(
    path: str, number: int, reader: Reader, present: Collection[int]
) -> Iterator[Needed]:
    """What of a segment must outlive it. ``present``: the ids of all segments of the log."""
    for record in segment.all_records(path):
        kind, seq, origin, body = records.unwrap(record.type, record.seq, record.body)
        if kind == records.EPOCH:
            continue
        origin = origin or record.segment
        decoded = records.decode(kind, body)
        row = link.Moved(kind, seq, origin, body, record=record.seq)
        if names_record(reader.rows, kind, seq, decoded, number, record.seq):
            yield Needed(row, record.offset, record.length, record.check, record.weight)
            continue
        floor = records.hides(kind, decoded)
        if floor is not None and _any_between(floor, origin, number, present):
            yield Needed(row, 0, 0, 0, record.weight - record.length)


def _any_between(low: int, high: int, but: int, present: Collection[int]) -> bool:
    return any(low <= number <= high and number != but for number in present)


class Compactor:
    """Compacts the segments of one store, through an engine of its process.

    What blocks runs in a thread, on a connection to the index of its own.
    """

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine
        self._folder = engine.drive.segments
        self._resting: dict[int, tuple[int, int]] = {}
        """Segments that were not worth it: what they and the log looked like then."""

    async def run(self) -> list[Outcome]:
        """Compact whatever is worth it now, one segment after the other."""
        outcomes = [await self.attempt(number) for number in await self.candidates()]
        return [outcome for outcome in outcomes if outcome is not None]

    async def candidates(self) -> list[int]:
        """Segments worth looking at, the emptiest first."""
        return await self._in_thread(self._candidates, self._is_full())

    async def attempt(self, number: int) -> Outcome | None:
        """Compact a segment if it is worth it and can be done now."""
        share_max = SHARE_MAX_FULL if self._is_full() else SHARE_MAX
        try:
            return await self.compact(number, share_max)
        except errors.DataCorrupt as error:
            _logger.error("segment %x stays as it is: %s", number, error)
            self._resting[number] = (0, 0)
        except errors.Conflict as error:
            _logger.info("segment %x must wait: %s", number, error)
        return None

    def _is_full(self) -> bool:
        return self._engine.board.state == board.FULL

    async def compact(self, number: int, share_max: float = SHARE_MAX) -> Outcome | None:
        """Move what is needed out of a closed segment and unlink it; None if it isn't worth it.

        Raises DataCorrupt if something needed does not verify: the segment stays. Raises
        Conflict if it can't go yet: call again later.
        """
        path = os.path.join(self._folder, segment.name(number))
        found = await self._in_thread(self._look, path, number, share_max)
        if found is None:
            return None
        needed, size, salt = found
        await self._in_thread(self._keep_footer, path, number)
        moved = 0
        for batch in _batches(needed):
            rows = await self._in_thread(_with_payloads, path, salt, batch)
            moved += await self._engine.internal(link.Relocate(number, rows))
        await self._engine.internal(link.DropSegment(number))
        self._resting.pop(number, None)
        return Outcome(number, moved, size)

    def _candidates(self, full: bool) -> list[int]:
        with index_reader(self._engine) as reader:
            rows = reader.segments()
        active = max(segment.listing(self._folder), default=0)
        signs = {row.id: (row.live_bytes, rows[0].id) for row in rows}
        return [
            number
            for number in victims(rows, active, full=full)
            if self._resting.get(number) not in (signs[number], (0, 0))
        ]

    def _look(
        self, path: str, number: int, share_max: float
    ) -> tuple[list[Needed], int, int] | None:
        """What must be moved, if that is little enough; with size of the file and its salt."""
        present = set(segment.listing(self._folder))
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            salt = segment.open_header(file.fileno(), path).salt
        with index_reader(self._engine) as reader:
            rows = reader.segments()
            needed = list(needed_records(path, number, reader, present))
        if sum(record.weight for record in needed) > share_max * size:
            live = {row.id: row.live_bytes for row in rows}
            self._resting[number] = (live.get(number, 0), rows[0].id)
            return None
        return needed, size, salt

    def _keep_footer(self, path: str, number: int) -> None:
        """Leave the footer to consumers of the feed that have not come so far."""
        with index_reader(self._engine) as reader:
            cursors = reader.cursors()
        with open(path, "rb") as file:
            fd = file.fileno()
            summary = segment.read_trailer(fd, segment.open_header(fd, path))
        if summary is not None and summary.keeps_doubtful:
            raise errors.DataCorrupt("it keeps what could not be read and may be needed")
        if cursors and summary is None:
            raise errors.Conflict("the footer that consumers need is not written yet")
        if summary is None or summary.max_seq <= min(cursors.values(), default=summary.max_seq):
            return
        target = os.path.join(self._folder, segment.foot_name(number))
        with contextlib.suppress(FileNotFoundError):
            io.unlink(target)
        segment.write_foot_file(path, target)
        io.fsync_dir(self._folder)

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


@contextlib.contextmanager
def index_reader(
    engine: EmbeddedEngine, on_damage: Callable[[], None] | None = None
) -> Iterator[Reader]:
    """A connection to the index for the thread at hand. Unavailable while it is being made.

    ``on_damage`` is told when it is found damaged.
    """
    incarnation = engine.board.index_incarnation
    reader = Reader(engine.drive.index, on_damage)
    try:
        if engine.board.state not in (board.READY, board.FULL):
            raise errors.Unavailable("the index is being made")
        yield reader
        if engine.board.index_incarnation != incarnation:
            raise errors.Unavailable("the index was replaced")
    finally:
        reader.close()


def _batches(needed: Sequence[Needed]) -> Iterator[list[Needed]]:
    """Portions that don't hold the committer up."""
    batch: list[Needed] = []
    size = 0
    for record in needed:
        if batch and (len(batch) == ROWS_MAX or size + record.weight > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += record.weight
    if batch:
        yield batch


def _with_payloads(path: str, salt: int, batch: Sequence[Needed]) -> list[link.Moved]:
    """The rows with their payloads, verified: a relocation must not give rot a fresh checksum."""
    rows = []
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for record in batch:
            row = record.row
            if record.length:
                payload = segment.read(fd, record.length, record.offset)
                if segment.payload_check(payload, salt, row.seq) != record.check:
                    raise errors.DataCorrupt(f"payload at {record.offset} does not verify")
                row = msgspec.structs.replace(row, payload=payload)
            rows.append(row)
    finally:
        os.close(fd)
    return rows
