"""The log: segment files in order, the one place where bytes become durable.

Used by one thread of one process at a time (the committer). A helper thread prepares the next
segment ahead and writes footers of closed ones, so that a roll-over costs the commit thread one
small synced write and a rename.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from storage import errors
from storage.config import Config
from storage.engine.embedded import io, records, segment
from storage.engine.embedded.drives import Drive
from storage.engine.embedded.segment import BatchHead, Builder, Damage, Damaged, Header, Record

_FILL_BYTES = 1 << 20
_NEXT = "next"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Applied(msgspec.Struct, array_like=True, frozen=True):
    """How far an index has followed the log: the last applied batch and its last seq.

    ``time`` and ``doubt`` are those of the clock then (``clock.Clock``); 0: not known.
    """

    seq: int
    segment: int
    start: int
    check: int
    time: int = 0
    doubt: int = 0


class Mismatch(Exception):
    """The index does not belong to this log, or is ahead of it: it must be rebuilt."""


class BatchFailed(errors.Unavailable):
    """A batch could not be made durable; its numbers are burnt and nothing of it counts."""


class Log:
    """Appends batches. After construction call ``recover`` and exhaust it, then ``begin_epoch``.

    ``report`` is told of damage that recovery meets.
    """

    def __init__(
        self, drive: Drive, config: Config, report: Callable[[Damage], None] | None = None
    ) -> None:
        self.drive = drive
        self.folder = drive.segments
        self.epoch = 0
        self.next_seq = 1
        self.time = self.doubt = 0
        """What batches are stamped with (``clock.Clock``)."""
        self.read_only = False
        self.unproven = False
        """A sync failed and what was to be synced is still part of the log: the pages may count
        as clean though the drive does not have them. Recovery writes them again."""
        self.promised: Applied | None = None
        """What is known to have been committed, from elsewhere: where recovery does not come so
        far, it met damage and no torn tail."""
        self.rolled: list[tuple[int, int]] = []
        """(segment, sealed length) of segments closed since the owner last looked."""
        self._config = config
        self._reserve = drive.reserve(config)
        self._report = report
        self._fd = -1
        self._header: Header | None = None
        self._headers_found: dict[int, Header] = {}
        self._position = 0
        self._previous = 0
        self._doubtful = False
        self._footer_bytes = 0
        self._helper = ThreadPoolExecutor(1, "oversight-log")
        self._next: Future[str] | None = None
        self._reserve_whole = True

    # -- state

    @property
    def segment(self) -> int:
        """Id of the segment being written."""
        return self._header.segment if self._header else 0

    @property
    def length(self) -> int:
        """Offset behind the last batch of the segment being written."""
        return self._position

    def tip(self) -> Applied:
        """Something to promise (``promised``): all that was appended so far."""
        return Applied(
            self.next_seq - 1, self.segment, self._position - 1, 0, self.time, self.doubt
        )

    def path(self, number: int) -> str:
        """Path of a segment."""
        return os.path.join(self.folder, segment.name(number))

    # -- recovery

    def recover(self, applied: Applied | None) -> Iterator[tuple[Applied, list[Record]]]:
        """Sync, verify and yield every batch behind ``applied`` (None: from the beginning).

        When exhausted the log stands behind the last valid batch. Raises ``Mismatch`` if
        ``applied`` names a batch that the log does not hold.
        """
        headers = self._headers_found = self.headers()
        if applied is not None:
            if applied.segment not in headers:
                raise Mismatch(f"segment {applied.segment:x} is missing")
            self.next_seq = max(self.next_seq, applied.seq + 1)
            self.time = applied.time or self.time
            self.doubt = applied.doubt or self.doubt
        following = [number for number in headers if applied is None or number >= applied.segment]
        for index, number in enumerate(following):
            successor = headers[following[index + 1]] if index + 1 < len(following) else None
            yield from self._recover_segment(headers[number], successor, applied)
            applied = None
        self._keep_promise(max(headers, default=0))

    def _keep_promise(self, newest: int) -> None:
        """No number that was ever given is given again, whatever became of its record."""
        promised = self.promised
        if promised is None:
            return
        self.next_seq = max(self.next_seq, promised.seq + 1)
        if promised.segment > newest:
            self.tell(Damage(promised.segment, 0, promised.start, "the segment's file is missing"))

    def headers(self) -> dict[int, Header]:
        """Headers of all segments by id, ascending.

        A damaged one is stood in for by what its successor knows; ``epoch`` and ``next_seq`` go
        beyond all that they name. Raises ``DriveRefused`` for a segment of another store, and if
        the newest one can't be read: nobody else knows what was acknowledged in it.
        """
        found: dict[int, Header] = {}
        damaged: list[int] = []
        for number in segment.listing(self.folder):
            fd = os.open(self.path(number), os.O_RDONLY | os.O_CLOEXEC)
            try:
                header = segment.read_header(fd)
                if header.segment != number or header.store_id != self.drive.store_id:
                    raise errors.DriveRefused(
                        f"{self.path(number)} belongs to another store: put it back there."
                    )
                found[number] = header
                self.epoch = max(self.epoch, header.epoch)
                self.next_seq = max(self.next_seq, header.first_seq)
            except Damaged:
                damaged.append(number)
            finally:
                os.close(fd)
        if damaged and damaged[-1] > max(found, default=0):
            raise errors.DriveRefused(
                f"The header of the newest segment, {self.path(damaged[-1])}, can't be read: put a "
                "copy of the file back, or move it away to start without what was written to it."
            )
        for number in reversed(damaged):
            successor = _successor(found, number)
            self.tell(Damage(number, 0, segment.PAGE, "the header page does not verify"))
            if successor is not None:
                size = os.path.getsize(self.path(number))
                with contextlib.suppress(Damaged):
                    found[number] = segment.rescue_header(successor, size)
        return dict(sorted(found.items()))

    def closed_length(self, header: Header) -> int:
        """Where the batches of a segment end that is written no more."""
        path = self.path(header.segment)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            known = segment.closed_length(fd, header, path)
            if known is not None:
                return known
            ends = [batch.end for batch in segment.batches(fd, header)]
            return max(ends, default=segment.PAGE)
        finally:
            os.close(fd)

    def _recover_segment(
        self, header: Header, successor: Header | None, applied: Applied | None
    ) -> Iterator[tuple[Applied, list[Record]]]:
        path = self.path(header.segment)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            trailer = segment.read_trailer(fd, header)
            stop = trailer.length if trailer else None
            if successor is not None and successor.predecessor == header.segment:
                stop = successor.predecessor_length
            start, previous = segment.PAGE, header.check
            if applied is not None:
                start, previous = self._check_applied(fd, header, applied)
            self._prove(fd, header, start, os.fstat(fd).st_size if stop is None else stop)
            closed = successor is not None or trailer is not None
            position = start
            for batch in segment.batches(fd, header, start, stop, self.tell):
                found = self._verified(fd, header, batch, closed)
                if found is None:
                    break
                if previous not in (0, batch.previous):
                    self.tell(Damage(header.segment, position, batch.start, "a batch is missing"))
                previous, position = batch.check, batch.end
                self.epoch = max(self.epoch, batch.epoch)
                self.next_seq = max(self.next_seq, batch.first_seq + batch.records)
                seq = batch.first_seq + batch.records - 1
                stamp = (self.time, self.doubt)
                yield Applied(seq, header.segment, batch.start, batch.check, *stamp), found
            if closed and stop is not None and position < stop:
                self.tell(Damage(header.segment, position, stop, "batches are missing"))
            if not closed:
                self._doubt(fd, header, position)
            self._header, self._position, self._previous = header, position, previous
        finally:
            os.close(fd)

    def _doubt(self, fd: int, header: Header, position: int) -> None:
        """Tell a torn tail at ``position`` from batches that may have been acknowledged.

        A torn one was never acknowledged, and the next batch is written over it. What the drive
        can't read may have been, and what is ``promised`` was: nothing may be written over it,
        and none of its numbers given again.
        """
        promised = self.promised
        what = ""
        if promised is not None and (promised.segment, promised.start) >= (
            header.segment,
            position,
        ):
            what = "committed batches do not verify; they are kept, unused"
        elif not _is_tail_readable(fd, header, position):
            what = "the drive can't read what follows the last batch; it is kept, unused"
        if what:
            stop = os.fstat(fd).st_size
            self._doubtful = True
            self.next_seq += max(0, stop - position) // segment.RECORD_BYTES
            self.tell(Damage(header.segment, position, stop, what))

    def _prove(self, fd: int, header: Header, start: int, stop: int) -> None:
        """Make sure that the drive has what the page cache shows from ``start`` to ``stop``."""
        try:
            if self.unproven:
                _write_again(fd, start, stop)
            io.fdatasync(fd)
        except OSError as error:
            self.unproven = True
            raise errors.DriveRefused(
                f"{self.path(header.segment)} can't be synced ({error.strerror}): see to the drive "
                "and start again."
            ) from error

    def _check_applied(self, fd: int, header: Header, applied: Applied) -> tuple[int, int]:
        try:
            batch = segment.read_batch(fd, applied.start, header.salt)
        except Damaged as damage:
            raise Mismatch(str(damage)) from None
        if batch.check != applied.check:
            raise Mismatch("the last applied batch is another one")
        self.epoch = max(self.epoch, batch.epoch)
        return batch.end, batch.check

    def _verified(
        self, fd: int, header: Header, batch: BatchHead, closed: bool
    ) -> list[Record] | None:
        """The records of ``batch``; None if it is a torn tail."""
        heads = segment.read_heads(fd, batch)
        if not closed and not segment.verify_batch(fd, batch, header.salt, commit_seq):
            last = segment.search_batch(fd, batch.end, os.fstat(fd).st_size, header.salt) is None
            if last and not self._is_promised(batch, header.segment):
                return None
            self.tell(Damage(header.segment, batch.start, batch.end, "a batch does not verify"))
        return list(segment.decode_heads(heads, batch, header.segment, header.salt, self.tell))

    def _is_promised(self, batch: BatchHead, number: int) -> bool:
        return self.promised is not None and (
            (number, batch.start) <= (self.promised.segment, self.promised.start)
        )

    def tell(self, damage: Damage) -> None:
        """Report damage."""
        if self._report is not None:
            self._report(damage)

    def begin_epoch(self, after: int = 0) -> None:
        """Open the log for appending in a new epoch, behind what ``recover`` found.

        ``after``: the highest epoch that the owner knows of, if it knows more than the log.
        """
        self.unproven = False
        self.epoch = max(self.epoch, after) + 1
        header = self._header
        if header is None:
            self._open_segment(0)
        else:
            path = self.path(header.segment)
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            if self._doubtful:
                self._roll(0, keep=True)
            elif header.check == 0 or segment.read_trailer(self._fd, header) is not None:
                self._roll(0)
            else:
                self._footer_bytes = self._footer_size(header)
        self._seal_closed()
        self._prepare_next()

    def _footer_size(self, header: Header) -> int:
        return sum(
            segment.BATCH_BYTES + batch.heads
            for batch in segment.batches(self._fd, header, stop=self._position)
        )

    def _seal_closed(self) -> None:
        """Write footers that a crash left out."""
        for number, header in self._headers_found.items():
            successor = _successor(self._headers_found, number)
            if successor is None or number == self.segment:
                continue
            if header.check == 0:
                continue  # its header page is damaged: a footer could not be read
            fd = os.open(self.path(number), os.O_RDONLY | os.O_CLOEXEC)
            length = successor.predecessor_length
            try:
                sealed = segment.read_trailer(fd, header) is not None
                # A crash may have come before ``_roll`` could keep what is doubtful.
                keep = not sealed and not segment.is_blank(fd, length)
            finally:
                os.close(fd)
            if not sealed:
                self._helper.submit(self._seal, number, length, keep)

    # -- appending

    def begin(self) -> Builder:
        """A batch to be filled and given to ``append``."""
        assert self._header is not None
        return Builder(self._header.segment, self._header.salt, self._position, self.next_seq)

    def fits(self, batch: Builder, body: int, payload: int) -> bool:
        """Whether a record of these lengths still fits into the batch's segment.

        The footer must fit, too: space is taken at roll-over only.
        """
        assert self._header is not None
        record = segment.RECORD_BYTES + body
        end = batch.start + batch.size + record + payload
        footer = self._footer_bytes + batch.heads_bytes + record + segment.BATCH_BYTES
        needed = end + footer + segment.TRAILER_BYTES + 2 * segment.ALIGN
        return needed <= self._header.size

    def append(self, batch: Builder) -> Applied:
        """Write and sync a batch. Raises ``BatchFailed``, or ``ReadOnly`` if nothing works now."""
        if self.read_only:
            raise errors.ReadOnly("a sync failed and no new segment could be made")
        buffers, end, check = batch.buffers(self.epoch, self._previous)
        self.next_seq = batch.next_seq  # burnt or used, never again
        try:
            io.pwritev(self._fd, buffers, self._position)
            if self._config.fsync:
                io.fdatasync(self._fd)
        except OSError as error:
            # After a failed sync the kernel may call the pages clean: a second sync proves
            # nothing, so nothing is ever written behind this point of the file again.
            self._abandon()
            raise BatchFailed(f"the log could not be synced: {error}") from error
        self._previous = check
        self._position = end
        self._footer_bytes += segment.BATCH_BYTES + batch.heads_bytes
        return Applied(batch.next_seq - 1, batch.segment, batch.start, check, self.time, self.doubt)

    def _abandon(self) -> None:
        try:
            self._roll(0)
        except (OSError, errors.StoreError):
            self.read_only = self.unproven = True

    def roll(self, needed: int = 0) -> None:
        """Go on in a new segment, of at least ``needed`` bytes. Raises StorageFull, ReadOnly."""
        if self.read_only:
            raise errors.ReadOnly("a sync failed and no new segment could be made")
        try:
            self._roll(needed)
        except OSError as error:
            if error.errno in _NO_SPACE and not self.read_only:
                raise errors.StorageFull("no space for another segment") from error
            self.read_only = True
            raise errors.ReadOnly(f"no new segment could be made: {error}") from error

    def _roll(self, needed: int, *, keep: bool = False) -> None:
        old, fd, length = self.segment, self._fd, self._position
        self._open_segment(needed)
        os.close(fd)
        self.rolled.append((old, length))
        self._prepare_next()
        self._helper.submit(self._seal, old, length, keep)

    def _open_segment(self, needed: int) -> None:
        """Make the segment behind the current one durable and current."""
        size = max(self._config.segment_size, needed)
        before = self._header
        header = segment.new_header(
            store_id=self.drive.store_id,
            segment=self._next_id(),
            epoch=self.epoch,
            predecessor=before.segment if before else 0,
            predecessor_length=self._position if before else 0,
            predecessor_salt=before.salt if before else 0,
            first_seq=self.next_seq,
            size=size,
        )
        staged = self._take_next(size)
        fd = os.open(staged, os.O_RDWR | os.O_CLOEXEC)
        try:
            io.pwrite(fd, segment.encode_header(header), 0)
            io.fdatasync(fd)
            self._name(staged, self.path(header.segment))
        except OSError:
            os.close(fd)
            raise
        self._fd, self._header = fd, header
        self._position, self._previous = segment.PAGE, header.check
        self._footer_bytes = 0

    def _next_id(self) -> int:
        """An id above all that were ever seen, also those of files that could not be read."""
        taken = segment.listing(self.folder) + segment.listing(self.folder, ".foot")
        return max([self.segment, *taken]) + 1

    def _name(self, staged: str, path: str) -> None:
        """Make the new segment part of the log."""
        if os.path.lexists(path):  # we hold the drive's lock: nobody can make it meanwhile
            raise FileExistsError(errno.EEXIST, "the segment exists", path)
        try:
            io.rename(staged, path)
            io.fsync_dir(self.folder)
        except OSError:
            # The name may last or not. If it does, its header fixes the length of the segment
            # before it: what was appended there from now on would be cut off.
            self.read_only = True
            raise

    # -- preparing ahead

    def _take_next(self, size: int) -> str:
        """Path of a blank file of ``size`` bytes: the prepared one, or one made now."""
        staged = os.path.join(self.folder, _NEXT)
        if self._next is not None:
            prepared, self._next = self._next, None
            with contextlib.suppress(OSError):
                prepared.result()
                if size == self._config.segment_size:
                    return staged
        with contextlib.suppress(FileNotFoundError):
            io.unlink(staged)
        while True:
            try:
                return self._make_blank(staged, size, fill=False)
            except OSError as error:
                if error.errno not in _NO_SPACE or not self._reserve.release():
                    raise
                self._reserve_whole = False

    def _prepare_next(self) -> None:
        if self._next is None:
            staged = os.path.join(self.folder, _NEXT)
            self._next = self._helper.submit(
                self._make_blank, staged, self._config.segment_size, fill=True
            )

    def _make_blank(self, path: str, size: int, *, fill: bool) -> str:
        """A file of zeros. ``fill`` writes them: syncs into unwritten extents cost twice."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.getsize(path) == size and _starts_blank(path):
                return path
            io.unlink(path)
        fd = io.create(path)
        try:
            io.fallocate(fd, 0, size)
            if fill:
                zeros = bytes(min(_FILL_BYTES, size))
                for offset in range(0, size, len(zeros)):
                    io.pwrite(fd, zeros[: size - offset], offset)
                io.fdatasync(fd)
        except OSError:
            with contextlib.suppress(OSError):
                io.unlink(path)
            raise
        finally:
            os.close(fd)
        return path

    def tend(self) -> bool:
        """Take back reserve and prepared segment where they are missing; whether both are there.

        Called about once a second: this is how writes resume after a full drive was emptied.
        """
        if self._next is not None and self._next.done() and self._next.exception() is not None:
            self._next = None
            self._prepare_next()
            return False
        if self._next is None:
            self._prepare_next()
        if not self._reserve_whole:
            with contextlib.suppress(OSError):
                self._reserve_whole = self._reserve.fill()
        return self._reserve_whole

    def release_reserve(self) -> bool:
        """Give up one piece of the reserve (the index needs room); False if none is left."""
        self._reserve_whole = False
        return self._reserve.release() > 0

    def _seal(self, number: int, length: int, keep: bool) -> None:
        """Write a closed segment's footer. It may fail: the segment is scanned then."""
        path = self.path(number)
        with contextlib.suppress(OSError, Damaged):
            if not segment.has_footer(path):
                segment.write_footer(path, length, keep=keep)

    def close(self) -> None:
        """Stop the helper and close the file. Nothing is pending: every batch was synced."""
        self._helper.shutdown(wait=True)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def commit_seq(record: Record) -> int:
    """The number that seeds a record's payload: a relocation keeps that of what it moves."""
    return records.unwrap(record.type, record.seq, record.body)[1]


def _successor(headers: dict[int, Header], number: int) -> Header | None:
    """The header that names segment ``number`` as its predecessor; mostly that of the next id."""
    for following in range(number + 1, max(headers, default=0) + 1):
        header = headers.get(following)
        if header is not None and header.predecessor:
            return header if header.predecessor == number else None
    return None


def _is_tail_readable(fd: int, header: Header, position: int) -> bool:
    """Whether the drive can read what the next batch after ``position`` would be, if one is there.

    Only that one counts: a batch is begun only after the one before it was synced.
    """
    if not segment.is_readable(fd, position, position + segment.BATCH_BYTES):
        return False
    try:
        batch = segment.read_batch(fd, position, header.salt)
    except Damaged:
        return True
    return segment.is_readable(fd, batch.start, min(batch.end, os.fstat(fd).st_size))


def _write_again(fd: int, start: int, stop: int) -> None:
    """Make pages dirty by writing what they hold, so that a sync tells the truth about them."""
    for offset in range(start & -segment.PAGE, stop, segment.PAGE):
        try:
            page = io.pread(fd, segment.PAGE, offset)
        except OSError:
            continue  # the drive has lost it, and whoever reads it will hear so
        io.pwrite(fd, page, offset)


def _starts_blank(path: str) -> bool:
    with open(path, "rb") as file:
        return not any(file.read(segment.PAGE))
