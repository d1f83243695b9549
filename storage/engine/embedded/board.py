"""The board: a page of numbers that all processes of a store share (mmap of one small file).

The committer writes the first page, each other process its own slot. Aligned 64-bit stores are
atomic on the machines we support; there is no lock. The file means nothing after a restart.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import sys
import time

import msgspec

from storage.engine.embedded import io
from storage.engine.interface import Expiry, Following, Scrub

MAGIC = 0x4452424F_00000001
SLOTS = 64
STATE_WORDS = 512
METRIC_WORDS = 512
_HEAD_WORDS = 512
_SLOT_WORDS = STATE_WORDS + METRIC_WORDS
_WORDS = _HEAD_WORDS + SLOTS * _SLOT_WORDS
FILE = "board"

STARTING, REPLAYING, READY, READ_ONLY, FULL, STOPPED = range(6)
STATES = ("starting", "replaying", "ready", "readonly", "full", "stopped")

_GENERATION, _APPLIED, _STATE, _EPOCH, _PID, _INDEX, _RETIRED, _SUSPECT, _DAMAGES, _UNPROVEN = (
    range(1, 11)
)
_LAST_RECORD, _CLOCK_SUSPECT, _SCRUB, _EXPIRY, _LANGFUSE = 11, 12, 16, 32, 48
_SLOT_PID, _SLOT_BEAT, _SLOT_READ, _SLOT_FILES = range(4)


class Board:
    """A mapping of the board. ``words`` are the raw numbers (docs/format.md, "Board")."""

    def __init__(self, root: str) -> None:
        """Map ``<root>/board``, making it if it is not there. ``root`` is ``Drive.root``."""
        self._fd = os.open(os.path.join(root, FILE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._fd).st_size != _WORDS * 8:
            # Allocated, not just sized: a store into a hole of a full drive is SIGBUS.
            io.fallocate(self._fd, 0, _WORDS * 8)
        self._map = mmap.mmap(self._fd, _WORDS * 8)
        self.words = memoryview(self._map).cast("Q")
        self.words[0] = MAGIC
        self._claimed: set[int] = set()

    def close(self) -> None:
        """Unmap; a claimed slot is given back."""
        self.words.release()
        # A slot still in use elsewhere in the process keeps the mapping alive.
        with contextlib.suppress(BufferError):
            self._map.close()
        os.close(self._fd)

    # -- the committer's page

    @property
    def generation(self) -> int:
        """Grows with every change of buckets or system records."""
        return self.words[_GENERATION]

    def bump_generation(self) -> None:
        self.words[_GENERATION] += 1

    @property
    def applied_seq(self) -> int:
        """The last sequence number that the index shows."""
        return self.words[_APPLIED]

    @applied_seq.setter
    def applied_seq(self, value: int) -> None:
        self.words[_APPLIED] = value

    @property
    def state(self) -> int:
        """STARTING, REPLAYING, READY, READ_ONLY, FULL or STOPPED (no committer)."""
        return self.words[_STATE]

    @state.setter
    def state(self, value: int) -> None:
        self.words[_STATE] = value

    @property
    def epoch(self) -> int:
        return self.words[_EPOCH]

    @epoch.setter
    def epoch(self, value: int) -> None:
        self.words[_EPOCH] = value

    @property
    def committer_pid(self) -> int:
        return self.words[_PID]

    @committer_pid.setter
    def committer_pid(self, value: int) -> None:
        self.words[_PID] = value

    @property
    def index_incarnation(self) -> int:
        """Grows when the index's file was replaced: readers open it anew."""
        return self.words[_INDEX]

    def bump_index(self) -> None:
        self.words[_INDEX] += 1

    @property
    def retired(self) -> int:
        """Grows when a segment was unlinked: caches of open files drop theirs."""
        return self.words[_RETIRED]

    def bump_retired(self) -> None:
        self.words[_RETIRED] += 1

    @property
    def suspect(self) -> bool:
        """A reader met a damaged index: the committer makes it anew."""
        return self.words[_SUSPECT] != 0

    @suspect.setter
    def suspect(self, value: bool) -> None:
        self.words[_SUSPECT] = int(value)

    @property
    def damages(self) -> int:
        """Damaged ranges of the log that the committer has met since it started."""
        return self.words[_DAMAGES]

    @damages.setter
    def damages(self, value: int) -> None:
        self.words[_DAMAGES] = value

    @property
    def unproven(self) -> bool:
        """A sync of the log failed and nothing has made up for it (``log.Log.unproven``).

        Lost with the page cache, hence exactly when it is no longer needed.
        """
        return self.words[_UNPROVEN] != 0

    @unproven.setter
    def unproven(self, value: bool) -> None:
        self.words[_UNPROVEN] = int(value)

    @property
    def last_record(self) -> int:
        """Believed time of the last change, ms since 1970 (``clock.Clock``), to the second."""
        return self.words[_LAST_RECORD]

    @last_record.setter
    def last_record(self, value: int) -> None:
        self.words[_LAST_RECORD] = value

    @property
    def clock_suspect(self) -> bool:
        """The clock is more than a day off the last change."""
        return self.words[_CLOCK_SUSPECT] != 0

    @clock_suspect.setter
    def clock_suspect(self, value: bool) -> None:
        self.words[_CLOCK_SUSPECT] = int(value)

    @property
    def scrub(self) -> Scrub:
        """What the services process tells of scrubbing."""
        return Scrub(*self.words[_SCRUB : _SCRUB + len(Scrub.__struct_fields__)])

    @scrub.setter
    def scrub(self, value: Scrub) -> None:
        for number, each in enumerate(msgspec.structs.astuple(value)):
            self.words[_SCRUB + number] = each

    @property
    def expiry(self) -> Expiry:
        """What the services process tells of lifecycle rules."""
        return Expiry(*self.words[_EXPIRY : _EXPIRY + len(Expiry.__struct_fields__)])

    @expiry.setter
    def expiry(self, value: Expiry) -> None:
        for number, each in enumerate(msgspec.structs.astuple(value)):
            self.words[_EXPIRY + number] = each

    @property
    def langfuse(self) -> Following:
        """What the services process tells of the index of Langfuse's objects."""
        return Following(*self.words[_LANGFUSE : _LANGFUSE + len(Following.__struct_fields__)])

    @langfuse.setter
    def langfuse(self, value: Following) -> None:
        for number, each in enumerate(msgspec.structs.astuple(value)):
            self.words[_LANGFUSE + number] = each

    # -- slots

    def claim(self) -> Slot:
        """A free slot, held until ``Slot.release`` or the end of the process.

        Raises ``RuntimeError`` if all are taken.
        """
        for number in range(SLOTS):
            # A lock never excludes its own holder.
            if number not in self._claimed and self._lock(number):
                self._claimed.add(number)
                slot = Slot(self, number)
                slot.clear()
                self.words[slot.base + _SLOT_PID] = os.getpid()
                slot.beat()
                return slot
        raise RuntimeError(f"more than {SLOTS} processes use one store")

    def _lock(self, number: int) -> bool:
        if sys.platform != "linux":
            return self.words[_HEAD_WORDS + number * _SLOT_WORDS] == 0
        wanted = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, wanted)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False
        return True

    def _unlock(self, number: int) -> None:
        self._claimed.discard(number)
        if sys.platform == "linux":
            given = struct.pack("hhqqi0q", fcntl.F_UNLCK, os.SEEK_SET, number, 1, 0)
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, given)

    def slots(self) -> list[Slot]:
        """Slots in use, those of dead processes included until they are claimed anew."""
        return [
            slot for slot in (Slot(self, n) for n in range(SLOTS)) if self.words[slot.base] != 0
        ]

    def oldest_read(self) -> int:
        """The lowest seq that an active read of any process still stands on; 0: no read."""
        reads = [slot.oldest_read for slot in self.slots() if slot.is_alive()]
        return min((read for read in reads if read), default=0)


class Slot:
    """One process's part of the board. ``metrics`` are its 512 counters (unsigned 64-bit)."""

    def __init__(self, board: Board, number: int) -> None:
        self._board = board
        self.number = number
        self.base = _HEAD_WORDS + number * _SLOT_WORDS
        self.metrics = board.words[self.base + STATE_WORDS : self.base + _SLOT_WORDS]

    def clear(self) -> None:
        """Zero state and metrics."""
        words = self._board.words
        for index in range(self.base, self.base + _SLOT_WORDS):
            words[index] = 0

    def release(self) -> None:
        """Give the slot back; its metrics are gone."""
        self.clear()
        self.metrics.release()
        self._board._unlock(self.number)

    @property
    def pid(self) -> int:
        return self._board.words[self.base + _SLOT_PID]

    def beat(self) -> None:
        """Say that the process lives (milliseconds since 1970)."""
        self._board.words[self.base + _SLOT_BEAT] = time.time_ns() // 1_000_000

    @property
    def heartbeat(self) -> int:
        return self._board.words[self.base + _SLOT_BEAT]

    @property
    def oldest_read(self) -> int:
        """``applied_seq`` when the oldest active read of files began; 0: none is active."""
        return self._board.words[self.base + _SLOT_READ]

    @oldest_read.setter
    def oldest_read(self, seq: int) -> None:
        self._board.words[self.base + _SLOT_READ] = seq

    @property
    def file_generation(self) -> int:
        """Generation in the names of files that the process writes; 0: it writes none."""
        return self._board.words[self.base + _SLOT_FILES]

    @file_generation.setter
    def file_generation(self, generation: int) -> None:
        self._board.words[self.base + _SLOT_FILES] = generation

    def is_alive(self) -> bool:
        """Whether the process that claimed the slot still exists."""
        pid = self.pid
        if pid == 0:
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
