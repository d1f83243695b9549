"""The committer: the only writer of log and index, and the order of the world.

``Committer.process`` makes a batch of changes true: preconditions against the index and the
batch so far, records into the log, one sync, one index transaction. ``server`` brings the
changes and takes the answers back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apsw
import msgspec

from storage import errors
from storage.config import Config
from storage.engine import interface as i
from storage.engine.embedded import board as boards
from storage.engine.embedded import files, index, io, link, log, records, segment
from storage.engine.embedded.board import Board
from storage.engine.embedded.checkpoint import Checkpointer
from storage.engine.embedded.clock import Clock
from storage.engine.embedded.drives import Drive
from storage.engine.embedded.index import Found, Old, Writer, unpack_etag
from storage.engine.embedded.log import Log
from storage.engine.embedded.rebuild import rebuild
from storage.engine.embedded.segment import Builder, Damage

RUN = "run"
_GENERATION_BITS = 32
"""Low bits of a generation: more workers than an epoch can greet."""
_BACKGROUND_ROWS = 64
_REPLAY_RECORDS = 4096
TICK = 1.0
"""Seconds between two looks at space, reserve and board."""
_WAL_MAX = (512 << 20) // index.PAGE_BYTES
_BROKEN = (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.SQLError)
"""What SQLite says of a damaged file: only making it anew helps."""
_REFUSED = (apsw.ConstraintError, apsw.MismatchError, apsw.RangeError, apsw.TooBigError)
"""What SQLite says of values that it can't hold: the change is at fault, not the index."""
_SIZE_MAX = 1 << 46
"""Bytes of an object: far beyond S3's limit, and small enough for sums of sizes."""
_logger = logging.getLogger("oversight.committer")


class _Full(Exception):
    """The record at hand, of so many bytes, does not fit into the current segment."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class _Odd(Exception):
    """Change ``number`` of a batch met what nobody foresaw; its cause tells what."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Committer:
    """Writes one store's log and index. One thread uses it; its drive's lock must be held."""

    def __init__(self, drive: Drive, config: Config) -> None:
        self.drive = drive
        self.config = config
        self.run_folder = os.path.join(drive.root, RUN)
        for folder in (self.run_folder, drive.index):  # a lost index is made anew, folder and all
            os.makedirs(folder, mode=0o700, exist_ok=True)
        self.board = Board(drive.root)
        self.board.committer_pid = os.getpid()
        self.board.state = boards.STARTING
        self.damages: list[Damage] = []
        self.board.damages = 0
        self._log = self._new_log()
        self._clock = Clock()
        self._timed = 0
        """What was applied when the time was last told."""
        self._index: Writer | None = None
        self._batch: Builder | None = None
        self._bump = False
        self._full = False
        self._crowded = ""
        self._rebuild_next = False
        self._fenced: set[int] = set()
        self._generations = link.Generations(self.run_folder)
        self._last_generation = 0
        self._named: set[int] | None = None
        self._next_tick = 0.0
        self._checkpointer = Checkpointer(drive.index)

    # -- takeover -------------------------------------------------------------------------------

    def start(self) -> None:
        """Take the store over: verify, sync and replay the log, begin a new epoch."""
        self.board.state = boards.REPLAYING
        try:
            self._take_over()
        except Exception as error:
            if not _is_damage(error):
                raise
            # Replay touches but a part of the index: a bad page may show only now.
            _logger.warning("the index is rebuilt from the log: %s", error)
            self._abandon_index(error)
            self._log.close()
            self._rebuild_next = True
            self._take_over()
        finally:
            self.board.unproven = self._log.unproven
        self.board.bump_index()
        self.board.bump_generation()
        self.tend()

    def _take_over(self) -> None:
        self._index = self._open_index()
        self._begin_time(self._index)
        self._log.begin_epoch(self._index.epoch)
        self.board.epoch = self._log.epoch
        self._reconcile()
        self._record_epoch()

    def _record_epoch(self) -> None:
        """The first record of every committer; the segment at hand may have no room for it."""
        body = records.Epoch(self._log.epoch, os.uname().nodename, os.getpid(), self._clock.time)
        writer = self._writer()
        while True:
            writer.begin()
            self._note_rolled()
            self._batch = self._log.begin()
            try:
                self._emit(records.EPOCH, body)
            except _Full as full:
                writer.rollback()
                self._roll(full.needed)
            else:
                self._finish()
                return

    def _begin_time(self, writer: Writer) -> None:
        """Time goes on from the last batch, or from what the last epoch's record says."""
        applied = writer.applied()
        time = (applied.time if applied else 0) or int(writer.get_meta("time") or 0)
        self._clock.begin(time, applied.doubt if applied else 0)
        self.board.last_record = time or self._clock.time
        self._timed = self.board.applied_seq
        self._tell_time()

    def _tell_time(self) -> None:
        """Stamp the batches that follow, to the second: none of them looks at a clock."""
        clock = self._clock
        self._log.time, self._log.doubt = clock.time, clock.doubt
        self.board.clock_suspect = clock.suspect
        if self.board.applied_seq != self._timed:
            self._timed = self.board.applied_seq
            self.board.last_record = clock.time

    def _new_log(self) -> Log:
        found = Log(self.drive, self.config, self._damaged)
        found.unproven = self.board.unproven
        return found

    def _open_index(self) -> Writer:
        """The index, brought up to the log; made anew if it can't be."""
        if self._rebuild_next or self.board.suspect:
            return self._rebuild()
        writer: Writer | None = None
        try:
            writer = Writer(self.drive.index, self.drive.store_id)
            self._replay(writer)
        except Exception as error:
            if writer is not None:
                self._discard(writer)
            if not _is_damage(error):
                raise
            _logger.warning("the index is rebuilt from the log: %s", error)
            return self._rebuild()
        return writer

    def _replay(self, writer: Writer) -> None:
        applied = writer.applied()
        if applied is None and segment.listing(self.drive.segments):
            raise log.Mismatch("the index is empty")
        self._log.promised = self._log.promised or applied
        pending = 0
        latest = applied
        for latest, found in self._log.recover(applied):
            if not pending:
                writer.begin()
            weight = 0
            for record in found:
                writer.apply_record(record)
                weight += record.weight
            if found:
                writer.wrote(found[0].segment, found[0].seq, len(found), weight)
            pending += len(found) or 1
            if pending >= _REPLAY_RECORDS:
                writer.commit(latest)
                pending = 0
        if pending and latest is not None:
            writer.commit(latest)
        self.board.applied_seq = latest.seq if latest else 0

    def _rebuild(self) -> Writer:
        self._rebuild_next = False
        self.board.suspect = False
        promised = self._log.promised or index.last_applied(self.drive.index, self.drive.store_id)
        self._checkpointer.join()
        index.remove(self.drive.index)
        writer = Writer(self.drive.index, self.drive.store_id)
        self._log = self._new_log()
        self._log.promised = promised
        if promised is not None:
            self._log.time, self._log.doubt = promised.time, promised.doubt
        rebuild(self._log, writer)
        self.board.applied_seq = self._log.next_seq - 1
        self.board.bump_index()
        return writer

    def _reconcile(self) -> None:
        """Make the index's list of segments that of the folder."""
        writer = self._writer()
        gone_for_good = self._unlinks_last()
        present = set(segment.listing(self.drive.segments))
        writer.begin()
        for row in writer.segments():
            if row.id in present:
                continue
            if row.live:
                self._damaged(Damage(row.id, 0, row.length, "the segment's file is missing"))
            elif gone_for_good:
                writer.drop_segment(row.id)
        rows = {row.id: row for row in writer.segments()}
        self._note_rolled()
        headers: dict[int, segment.Header] = {}
        for number in sorted(present - {self._log.segment}):
            if number in rows and rows[number].length:
                continue
            # A crash came between the roll-over and the transaction that should have told.
            headers = headers or self._log.headers()
            if number not in rows:
                writer.know_segment(number, *self._count(number, headers))
            if number in headers:
                writer.sealed(number, self._log.closed_length(headers[number]))
        writer.commit_bookkeeping()
        self._log.rolled.clear()

    def _unlinks_last(self) -> bool:
        """Whether no segment that was unlinked can come back with a power cut."""
        try:
            io.fsync_dir(self.drive.segments)
        except OSError as error:
            _logger.error("the folder of segments can't be synced: %s", error)
            return False
        return True

    def _count(self, number: int, headers: dict[int, segment.Header]) -> tuple[int, int, int, int]:
        """Records of a segment, their weight, lowest and highest sequence number."""
        if number not in headers:
            return 0, 0, 0, 0
        found = list(segment.scan(self._log.path(number), header=headers[number]))
        seqs = [record.seq for record in found] or [0]
        return len(found), sum(record.weight for record in found), min(seqs), max(seqs)

    def _damaged(self, damage: Damage) -> None:
        self.damages.append(damage)
        self.board.damages = len(self.damages)
        _logger.error(
            "damage in segment %x, bytes %d to %d: %s",
            damage.segment,
            damage.start,
            damage.stop,
            damage.what,
        )

    def _writer(self) -> Writer:
        if self._index is None:
            raise errors.Unavailable("the index is being repaired")
        return self._index

    # -- batches --------------------------------------------------------------------------------

    def process(self, changes: Sequence[Any]) -> list[Any]:
        """The outcome of each change, in order: its result, or the error it met.

        When this returns, everything that succeeded is synced and visible.
        """
        results: list[Any] = [None] * len(changes)
        done = 0
        stop = len(changes)
        retried = False
        while done < len(changes):
            start = done
            if start >= stop:
                stop = len(changes)
            try:
                done = self._process_from(changes, start, stop, results)
                retried = False
            except _Odd as odd:
                # It must take neither the committer down nor its neighbours with it: those
                # before it are settled without it, then it fails, then those behind it go on.
                self._rollback()
                stop = odd.number
                if odd.number == start:
                    _logger.error("a change can't be made", exc_info=odd.__cause__)
                    results[start] = errors.Unavailable(repr(odd.__cause__))
                    done = start + 1
            except apsw.FullError as error:
                done = start
                self._rollback()
                self._full = True
                if retried or not self._log.release_reserve():
                    done = self._fail(results, start, errors.StorageFull(str(error)))
                retried = True
            except apsw.Error as error:
                self._abandon_index(error)
                done = self._fail(results, start, errors.Unavailable(f"the index failed: {error}"))
            except errors.StoreError as error:
                self._rollback()
                done = self._fail(results, start, error)
            except Exception as error:
                _logger.exception("a batch failed")
                self._rollback()
                done = self._fail(results, start, errors.Unavailable(repr(error)))
        return results

    def _fail(self, results: list[Any], start: int, error: errors.StoreError) -> int:
        for number in range(start, len(results)):
            results[number] = error
        return len(results)

    def _process_from(
        self, changes: Sequence[Any], start: int, stop: int, results: list[Any]
    ) -> int:
        """Settle changes from ``start`` to ``stop`` in one batch; where the next batch begins."""
        writer = self._repaired()
        writer.begin()
        self._note_rolled()
        self._batch = batch = self._log.begin()
        number = start
        try:
            for number in range(start, stop):
                change = changes[number]
                try:
                    results[number] = _RESOLVE[type(change)](self, change)
                except (log.BatchFailed, errors.ReadOnly, _Full):
                    raise
                except errors.StoreError as error:
                    results[number] = error
                except Exception as error:
                    if isinstance(error, apsw.Error) and not isinstance(error, _REFUSED):
                        raise
                    raise _Odd(number) from error
            number = stop
        except _Full as full:
            if not batch.count:
                writer.rollback()
                self._roll(full.needed)
                return start
        self._finish()
        return number

    def _finish(self) -> None:
        """Sync the batch, then make it visible."""
        writer, batch = self._writer(), self._batch
        assert batch is not None
        if not batch.count:
            if writer.connection.in_transaction:
                writer.commit_bookkeeping()
                self._log.rolled.clear()
            self._answerable()
            return
        try:
            applied = self._log.append(batch)
        finally:
            self.board.unproven = self._log.unproven
        weight = batch.size - segment.BATCH_BYTES
        writer.wrote(batch.segment, batch.first_seq, batch.count, weight)
        try:
            writer.commit(applied)
            self._log.rolled.clear()
        except Exception as error:  # noqa: BLE001
            # The log has it, so it happened. Nothing more is committed until the index says so.
            if isinstance(error, apsw.FullError):
                self._log.release_reserve()
                self._full = True
            self._abandon_index(error)
            self._repaired()
        self.board.applied_seq = applied.seq
        self._answerable()

    def _answerable(self) -> None:
        if self._bump:
            self._bump = False
            self.board.bump_generation()

    def _rollback(self) -> None:
        self._bump = False
        if self._index is not None:
            try:
                self._index.rollback()
            except apsw.Error as error:
                self._abandon_index(error)

    def _abandon_index(self, error: Exception) -> None:
        _logger.error("the index failed: %s", error)
        self._rebuild_next = self._rebuild_next or isinstance(error, _BROKEN)
        self._bump = False
        writer, self._index = self._index, None
        if writer is not None:
            self._discard(writer)

    @staticmethod
    def _discard(writer: Writer) -> None:
        with contextlib.suppress(apsw.Error):
            writer.close()

    def _repaired(self) -> Writer:
        """The index; replayed or rebuilt first if it had failed. Raises Unavailable."""
        if self._index is not None:
            return self._index
        self.board.state = boards.REPLAYING
        try:
            try:
                self._reopen_index()
            except Exception as error:
                if not _is_damage(error):
                    raise
                self._abandon_index(error)
                self._rebuild_next = True
                self._reopen_index()
        except Exception as error:
            self._abandon_index(error)
            self.board.state = boards.STOPPED
            raise errors.Unavailable(f"the index can't be repaired: {error}") from error
        self.board.bump_index()
        self.board.bump_generation()
        self._show_state()
        return self._writer()

    def _reopen_index(self) -> None:
        """Recovery reads the log with a state of its own; the one being written goes on."""
        current = self._log
        self._log = self._new_log()
        self._log.promised = current.tip()
        try:
            self._index = self._open_index()
        finally:
            self._log.close()
            self._log = current
        self._reconcile()

    def _roll(self, needed: int) -> None:
        self._log.roll(needed)
        self._check_space()

    def _note_rolled(self) -> None:
        """Tell the index of segments that were closed, inside its transaction."""
        for number, length in self._log.rolled:
            self._writer().know_segment(number)
            self._writer().sealed(number, length)

    def _emit(
        self, kind: int, body: records.Body, payload: bytes = b"", commit_seq: int = 0
    ) -> int:
        """Put a record into the batch and apply it; its sequence number. Raises ``_Full``."""
        batch = self._batch
        assert batch is not None
        encoded = records.encode(body)
        self._need(len(encoded), len(payload))
        seq = batch.first_seq + batch.count
        place = batch.add(kind, encoded, payload, commit_seq)
        self._writer().apply(kind, seq, body, place)
        return seq

    def _need(self, body: int, payload: int) -> None:
        assert self._batch is not None
        if not self._log.fits(self._batch, body, payload):
            # A record longer than a segment gets a segment of its own size.
            raise _Full(2 * body + payload + segment.PAGE + 1024)

    # -- clients' changes -------------------------------------------------------------------------

    def _refuse_if_full(self) -> None:
        if self._full:
            raise errors.StorageFull("free space is below the watermark")
        if self._crowded:
            raise errors.Unavailable(self._crowded)

    def _put_object(self, change: i.PutObject) -> i.Committed:
        if self._full or self._crowded:
            self._refuse_if_full()
        _check_size(change.size)
        for ref in change.files:
            _check_size(ref.size)
        writer, batch = self._index, self._batch
        assert writer is not None
        assert batch is not None
        bucket = change.bucket_id
        writer.owner(bucket)
        key = change.key.encode()
        put = records.Put(
            bucket,
            change.key,
            change.modified,
            change.size,
            change.etag,
            change.owner,
            change.storage_class,
            change.meta,
            change.files,
            batch.segment,
        )
        payload = change.payload
        seq = batch.first_seq + batch.count
        state = writer.versioning(bucket)
        if change.conditions is None and not change.expect_seq and state is None:
            # Most keys are new: one descent of the index finds that out and takes the place.
            encoded = records.encode(put)
            self._need(len(encoded), len(payload))
            place = batch.add(records.PUT, encoded, payload)
            if writer.put_new(seq, put, key, place):
                return i.Committed(seq, False, change.etag, "", change.modified)
            batch.take_back(place, encoded, payload)
        old = writer.old(bucket, key)
        if change.conditions is not None:
            i.check_write(change.conditions, _etag(old))
        if change.expect_seq and (old is None or old.seq != change.expect_seq):
            raise errors.Conflict
        if state is not None or (old is not None and old.flags):
            put.flags, put.floor = self._placed(bucket, key, state)
            self._refuse_shared_files(change, old, put.flags)
        elif old is not None:
            put.floor = old.floor
        encoded = records.encode(put)
        self._need(len(encoded), len(payload))
        writer.put(seq, put, key, batch.add(records.PUT, encoded, payload), old)
        version = _shown_id(state, seq, put.flags)
        return i.Committed(seq, old is not None, change.etag, version, change.modified)

    def _placed(self, bucket: int, key: bytes, state: bytes | None) -> tuple[int, int]:
        """Flags and floor of a version that is written now (docs/decisions/0004-versions.md)."""
        if state == i.ENABLED:
            return records.OWN_ID, self._segment()
        null = self._writer().find_null(bucket, key)
        return 0, null.old.floor if null is not None else self._segment()

    @staticmethod
    def _refuse_shared_files(change: i.PutObject, old: Old | None, flags: int) -> None:
        """Raise Conflict where two versions would name the same file."""
        if old is None or old.files is None or (not flags and not old.flags):
            return
        named = {ref.name for ref in change.files}
        if any(ref.name in named for ref in index.decode_files(old.files)):
            raise errors.Conflict("the version whose files these are stays")

    def _delete_object(self, change: i.DeleteObject) -> i.Committed:
        writer = self._writer()
        writer.owner(change.bucket_id)
        key = change.key.encode()
        old = writer.old(change.bucket_id, key)
        if change.conditions is not None:
            i.check_write(change.conditions, _etag(old))
        state = writer.versioning(change.bucket_id)
        if state is None and not change.version_id:
            if change.expect_seq and old is not None and old.seq != change.expect_seq:
                old = None
            visible = None if old is None else Found(old, index.CURRENT)
            return self._remove(change, key, visible)
        if change.expect_seq:
            newest = writer.newest(change.bucket_id, key)
            if newest is None or newest.old.seq != change.expect_seq:
                return i.Committed(version_id=change.version_id)
        if not change.version_id:
            return self._mark(change, key, old, state)
        return self._remove(change, key, self._version_named(change, key))

    def _version_named(self, change: i.DeleteObject, key: bytes) -> Found | None:
        """The version that a deletion names."""
        writer = self._writer()
        seq = i.parse_version_id(change.version_id)
        if seq < 0:
            return None
        bucket = change.bucket_id
        found = writer.find(bucket, key, seq) if seq else writer.find_null(bucket, key)
        if found is None or bool(found.old.flags & records.OWN_ID) != bool(seq):
            return None
        return found

    def _remove(self, change: i.DeleteObject, key: bytes, found: Found | None) -> i.Committed:
        """A version goes."""
        if found is None:
            if self._log.read_only:
                # A PUT whose sync failed may come back at the next start: don't promise absence.
                raise errors.ReadOnly("a sync failed and no new segment could be made")
            return i.Committed(version_id=change.version_id)
        old = found.old
        body = records.Delete(
            change.bucket_id,
            change.key,
            old.seq,
            old.floor,
            old.size,
            unpack_etag(old.etag),
            self._writer().owner_of(change.bucket_id, key, found),
            time.time_ns() // 1_000_000,
            old.flags & records.OWN_ID,
        )
        return i.Committed(
            self._emit(records.DELETE, body),
            True,
            version_id=change.version_id,
            delete_marker=bool(old.flags & records.MARKER),
        )

    def _mark(
        self, change: i.DeleteObject, key: bytes, old: Old | None, state: bytes | None
    ) -> i.Committed:
        """A delete marker becomes the newest version."""
        flags, floor = self._placed(change.bucket_id, key, state)
        flags |= records.MARKER
        modified = change.modified or time.time_ns() // 1_000_000
        body = records.Put(
            change.bucket_id,
            change.key,
            modified,
            0,
            "",
            change.owner or self._writer().owner(change.bucket_id),
            index.STANDARD,
            i.EMPTY_META,
            (),
            floor,
            flags=flags,
        )
        seq = self._emit(records.PUT, body)
        return i.Committed(seq, old is not None, "", records.version_id(seq, flags), modified, True)

    def _amend_object(self, change: i.AmendObject) -> i.Committed:
        self._refuse_if_full()
        writer = self._writer()
        bucket, key = change.bucket_id, change.key.encode()
        owner = writer.owner(bucket)
        found = writer.find(bucket, key, change.seq)
        if found is None or found.old.flags & records.MARKER:
            raise errors.NoSuchVersion
        row = writer.whole(bucket, key, found)
        body = records.Put(
            bucket,
            change.key,
            row.modified,
            row.size,
            unpack_etag(row.etag),
            owner if row.owner is None else row.owner,
            index.STANDARD if row.storage_class is None else row.storage_class,
            i.encode_meta(i.amended(i.decode_meta(row.meta), change)),
            () if row.files is None else index.decode_files(row.files),
            row.floor,
            flags=row.flags,
        )
        payload = b"" if row.files is not None else self._payload(row)
        wrapper = records.Amendment(records.PUT, row.seq, row.segment, records.encode(body))
        self._emit(records.AMENDMENT, wrapper, payload, row.seq)
        version = _shown_id(writer.versioning(bucket), row.seq, row.flags)
        return i.Committed(row.seq, True, body.etag, version, row.modified)

    def _payload(self, row: index.ObjectRow) -> bytes:
        """The bytes of a version that lie in the log, verified. Raises DataCorrupt."""
        if not row.size:
            return b""
        batch = self._batch
        assert batch is not None
        if row.segment == batch.segment and row.offset >= batch.start:
            payload, salt = batch.payload_at(row.offset), batch.salt
        else:
            payload, salt = segment.read_payload(self._log.path(row.segment), row.offset, row.size)
        if len(payload) != row.size or segment.payload_check(payload, salt, row.seq) != row.crc:
            raise errors.DataCorrupt(f"payload at {row.offset} does not verify")
        return payload

    def _create_bucket(self, change: i.CreateBucket) -> i.Bucket:
        found = self._writer().bucket_named(change.name)
        if found is not None:
            raise errors.BucketExists(found[1])
        body = records.MakeBucket(
            change.name, change.owner, change.created, change.region, change.config
        )
        number = self._emit(records.BUCKET, body)
        self._bump = True
        return i.Bucket(
            number, change.name, change.owner, change.created, change.region, change.config
        )

    def _delete_bucket(self, change: i.DeleteBucket) -> None:
        writer = self._writer()
        number, owner, floor = _named(writer, change)
        if not writer.is_empty(number):
            raise errors.BucketNotEmpty
        self._emit(records.BUCKET_DELETE, records.DropBucket(number, change.name, floor, owner))
        self._bump = True

    def _set_bucket_config(self, change: i.SetBucketConfig) -> None:
        writer = self._writer()
        number = _named(writer, change)[0]
        for document, value in change.expect.items():
            if writer.document(number, document) != value:
                raise errors.Conflict
        old = writer.config(number, change.document)
        floor = old.floor if old else self._segment()
        body = records.Config(number, change.document, change.value, floor)
        self._emit(records.BUCKET_CONFIG, body)
        self._bump = True

    def _segment(self) -> int:
        assert self._batch is not None
        return self._batch.segment

    def _create_upload(self, change: i.CreateUpload) -> None:
        self._refuse_if_full()
        self._writer().owner(change.bucket_id)
        body = records.Upload(
            change.bucket_id,
            change.key,
            change.upload_id,
            change.initiated,
            change.owner,
            change.storage_class,
            change.meta,
            change.checksum_algorithm,
            change.checksum_type,
        )
        self._emit(records.UPLOAD, body)

    def _find_upload(self, bucket: int, key: str, upload_id: str) -> index.UploadRow:
        writer = self._writer()
        writer.owner(bucket)
        found = writer.find_upload(bucket, key.encode(), upload_id)
        if found is None:
            raise errors.NoSuchUpload
        return found

    def _put_part(self, change: i.PutPart) -> None:
        self._refuse_if_full()
        _check_size(change.size)
        _check_size(change.file.size)
        upload = self._find_upload(change.bucket_id, change.key, change.upload_id)
        old = self._writer().part(upload.seq, change.number)
        body = records.PutPart(
            upload.seq,
            change.number,
            change.modified,
            change.size,
            change.etag,
            change.checksums,
            change.file,
            old.floor if old else self._segment(),
        )
        self._emit(records.PART, body)

    def _abort_upload(self, change: i.AbortUpload) -> None:
        upload = self._find_upload(change.bucket_id, change.key, change.upload_id)
        self._emit(records.ABORT, records.Abort(upload.seq, upload.floor))

    def _complete_upload(self, change: i.CompleteUpload) -> i.Committed:
        writer = self._writer()
        key = change.key.encode()
        old = writer.old(change.bucket_id, key)
        try:
            upload = self._find_upload(change.bucket_id, change.key, change.upload_id)
        except errors.NoSuchUpload:
            return self._completed_before(change, key, old)
        chosen = _choose_parts(change, writer.parts(upload.seq))
        if change.conditions is not None:
            i.check_write(change.conditions, _etag(old))
        meta = i.decode_meta(upload.meta)
        meta.checksums = change.checksums
        meta.checksum_type = change.checksum_type or upload.type
        meta.parts = [
            i.Part(part.number, part.size, part.etag, index.decode_checksums(part.checksums))
            for part in chosen
        ]
        meta.upload_id = change.upload_id
        state = writer.versioning(change.bucket_id)
        flags, floor = self._placed(change.bucket_id, key, state)
        body = records.Put(
            change.bucket_id,
            change.key,
            change.modified,
            change.size,
            change.etag,
            upload.owner,
            upload.storage_class,
            i.encode_meta(meta),
            tuple(index.decode_file(part.file) for part in chosen),
            floor,
            upload.seq,
            upload.floor,
            flags,
        )
        seq = self._emit(records.PUT, body)
        version = _shown_id(state, seq, flags)
        return i.Committed(seq, old is not None, change.etag, version, change.modified)

    def _completed_before(
        self, change: i.CompleteUpload, key: bytes, old: Old | None
    ) -> i.Committed:
        """The first answer again, if this upload made the visible object of the same parts."""
        if old is None:
            raise errors.NoSuchUpload
        modified, encoded = self._writer().meta_of(change.bucket_id, key)
        meta = i.decode_meta(encoded)
        same = meta.upload_id == change.upload_id and len(meta.parts) == len(change.parts)
        if not same or any(
            part.number != named.number or named.etag not in ("", part.etag)
            for part, named in zip(meta.parts, change.parts, strict=True)
        ):
            raise errors.NoSuchUpload
        state = self._writer().versioning(change.bucket_id)
        version = _shown_id(state, old.seq, old.flags)
        return i.Committed(old.seq, False, unpack_etag(old.etag), version, modified)

    def _put_system(self, change: i.PutSystem) -> i.Committed:
        old = self._writer().system(change.kind, change.name)
        if change.expect_seq is not None and change.expect_seq != (old.seq if old else 0):
            raise errors.Conflict
        floor = old.floor if old else self._segment()
        body = records.System(change.kind, change.name, change.value, floor)
        seq = self._emit(records.SYSTEM, body)
        self._bump = True
        return i.Committed(seq, old is not None)

    def _set_cursor(self, change: i.SetCursor) -> None:
        old = self._writer().cursor(change.consumer)
        floor = old.floor if old else self._segment()
        self._emit(records.CURSOR, records.Cursor(change.consumer, change.seq, floor))

    # -- the engine's own changes -----------------------------------------------------------------

    def hello(self, change: link.Hello) -> int:
        """The generation under which a worker names its files; it keeps the one it has."""
        if change.generation:
            return change.generation
        generation = self._log.epoch << _GENERATION_BITS | self._last_generation
        while self._is_taken(generation := generation + 1):
            pass
        self._last_generation = generation & ((1 << _GENERATION_BITS) - 1)
        return generation

    def _is_taken(self, generation: int) -> bool:
        """Whether files of a generation may exist. An epoch is new, so none should.

        Yet a name given twice costs an acknowledged object, and epochs may have been lost with
        damaged segments.
        """
        if self._named is None:
            self._named = files.named_generations(self.drive.files)
        return (
            generation in self._named
            or generation in self._fenced
            or self._generations.is_held(generation)
            or self._writer().has_garbage_of(generation)
        )

    def is_fenced(self, generation: int) -> bool:
        return generation in self._fenced

    def _fence(self, change: link.Fence) -> None:
        self._fenced.add(change.generation)

    def _relocate(self, change: link.Relocate) -> int:
        writer = self._writer()
        written = 0
        for row in change.rows:
            if not (0 < row.seq < self._log.next_seq and 0 < row.origin <= self._segment()):
                raise ValueError(f"no record {row.seq} was ever written to segment {row.origin}")
            body = records.decode(row.type, row.body)
            moved = row
            if not writer.is_live(row.type, row.seq, body, change.segment, row.record):
                floor = records.hides(row.type, body)
                if floor is None or not self._range_exists(floor, row.origin, change.segment):
                    continue
                kind, body = records.as_tombstone(row.type, body)
                moved = link.Moved(kind, row.seq, row.origin, records.encode(body))
            wrapper = records.Relocation(moved.type, moved.seq, moved.origin, moved.body)
            self._emit(records.RELOCATION, wrapper, moved.payload, moved.seq)
            written += 1
        return written

    def _range_exists(self, floor: int, origin: int, compacted: int) -> bool:
        """Whether a segment that may hold what a tombstone hides is still there."""
        if any(
            floor <= number <= origin and number != compacted
            for number in segment.listing(self.drive.segments)
        ):
            return True
        return bool(
            self._writer().rows(
                "SELECT 1 FROM segments WHERE id BETWEEN ? AND ? AND id<>? LIMIT 1",
                (floor, origin, compacted),
            )
        )

    def _drop_segment(self, change: link.DropSegment) -> None:
        writer = self._writer()
        found = [row for row in writer.segments() if row.id == change.segment]
        if not found or change.segment == self._log.segment or not found[0].length:
            raise errors.Conflict("the segment is not closed")
        if found[0].live:
            raise errors.Conflict(f"{found[0].live} records are still needed")
        path = self._log.path(change.segment)
        self._finish()
        self._checkpoint_now(writer, apsw.SQLITE_CHECKPOINT_PASSIVE)
        try:
            with contextlib.suppress(FileNotFoundError):
                io.unlink(path)
            io.fsync_dir(self.drive.segments)
        except OSError as error:
            # Its row stays: while the file may come back, tombstones that hide what is in it may
            # not go.
            raise errors.Unavailable(f"{path} can't be removed: {error}") from error
        writer.drop_segment(change.segment)
        self.board.bump_retired()

    def _drop_garbage(self, change: link.DropGarbage) -> None:
        self._writer().drop_garbage(change.names)

    def _checkpoint(self, _change: link.Checkpoint) -> None:
        writer = self._writer()
        self._finish()
        self._checkpoint_now(writer, apsw.SQLITE_CHECKPOINT_RESTART)

    def _checkpoint_now(self, writer: Writer, mode: int) -> None:
        """Checkpoint between two batches. Raises Conflict unless all of the WAL was moved."""
        try:
            frames, moved = writer.checkpoint(mode)
        except apsw.BusyError:
            frames, moved = 1, 0
        writer.begin()
        self._batch = self._log.begin()
        if frames != moved:
            raise errors.Conflict("a reader keeps the index from being checkpointed")

    # -- upkeep -----------------------------------------------------------------------------------

    def tend(self) -> None:
        """Between batches: checkpoints; once a second: space, reserve. Cheap if nothing is due."""
        if self._index is not None:
            self._checkpointer.tend(self._index)
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + TICK
        self._clock.look()
        self._tell_time()
        if self.board.suspect and self._index is not None:
            self._abandon_index(apsw.CorruptError("a reader met damage"))
            with contextlib.suppress(errors.StoreError):
                self._repaired()
        whole = self._log.tend()
        self._check_space(whole)
        if self._index is not None:
            self._watch_wal(self._index.wal_pages)

    def _check_space(self, whole: bool = True) -> None:
        free = self.drive.space().free
        self._full = not whole or free < self.drive.watermark(self.config)
        self._show_state()

    def _show_state(self) -> None:
        if self._log.read_only:
            self.board.state = boards.READ_ONLY
        elif self._index is None:
            self.board.state = boards.STOPPED
        else:
            self.board.state = boards.FULL if self._full else boards.READY

    def _watch_wal(self, pages: int) -> None:
        """Refuse new objects while somebody keeps the WAL from being begun anew."""
        if pages <= _WAL_MAX:
            self._crowded = ""
            return
        pids = ", ".join(map(str, index.holders(self.drive.index))) or "unknown"
        reason = (
            f"the index's WAL has grown to {pages * index.PAGE_BYTES >> 20} MiB, since a process "
            f"holds an old state of the index (pid {pids}): let it go on or end it"
        )
        if not self._crowded:
            _logger.error("%s", reason)
        self._crowded = reason

    def close(self) -> None:
        """Checkpoint and close. The drive stays locked: it is the owner's to close."""
        self.board.state = boards.STOPPED
        self.board.committer_pid = 0
        self._checkpointer.join()
        if self._index is not None:
            with contextlib.suppress(apsw.Error):
                self._index.checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._discard(self._index)
            self._index = None
        self._log.close()
        self._generations.close()
        self.board.close()


_RESOLVE: dict[type[Any], Callable[[Committer, Any], Any]] = {
    i.PutObject: Committer._put_object,
    i.DeleteObject: Committer._delete_object,
    i.AmendObject: Committer._amend_object,
    i.CreateBucket: Committer._create_bucket,
    i.DeleteBucket: Committer._delete_bucket,
    i.SetBucketConfig: Committer._set_bucket_config,
    i.CreateUpload: Committer._create_upload,
    i.PutPart: Committer._put_part,
    i.CompleteUpload: Committer._complete_upload,
    i.AbortUpload: Committer._abort_upload,
    i.PutSystem: Committer._put_system,
    i.SetCursor: Committer._set_cursor,
    link.Hello: Committer.hello,
    link.Relocate: Committer._relocate,
    link.DropSegment: Committer._drop_segment,
    link.DropGarbage: Committer._drop_garbage,
    link.Fence: Committer._fence,
    link.Checkpoint: Committer._checkpoint,
}


def _is_damage(error: Exception) -> bool:
    """Whether the index may be at fault, so that making it anew helps.

    A bad page can make any value out of any other, hence the exceptions of Python's own.
    """
    if isinstance(error, apsw.FullError | apsw.BusyError | apsw.NoMemError):
        return False
    return isinstance(
        error,
        apsw.Error
        | msgspec.MsgspecError
        | log.Mismatch
        | index.Foreign
        | LookupError
        | TypeError
        | ValueError
        | ArithmeticError,
    )


def _named(writer: Writer, change: i.DeleteBucket | i.SetBucketConfig) -> tuple[int, str, int]:
    """(id, owner, floor) of the bucket that a change names. Raises NoSuchBucket."""
    found = writer.bucket_named(change.name)
    if found is None or change.bucket_id not in (0, found[0]):
        raise errors.NoSuchBucket
    return found


def _check_size(size: int) -> None:
    if not 0 <= size <= _SIZE_MAX:
        raise ValueError(f"a size of {size} bytes")


def _shown_id(versioning: bytes | None, seq: int, flags: int) -> str:
    """The version id that an answer names; "" where the bucket never had versioning."""
    return "" if versioning is None else records.version_id(seq, flags)


def _etag(old: Old | None) -> str | None:
    return None if old is None else unpack_etag(old.etag)


def _choose_parts(
    change: i.CompleteUpload, uploaded: Iterable[index.PartRow]
) -> list[index.PartRow]:
    """The parts that a completion names. Raises InvalidPart, PartTooSmall, Conflict."""
    by_number = {part.number: part for part in uploaded}
    chosen = []
    for named in change.parts:
        part = by_number.get(named.number)
        if part is None or (named.etag and named.etag != part.etag):
            raise errors.InvalidPart(named.number)
        if named.checksums:
            held = index.decode_checksums(part.checksums)
            if any(held.get(name) != value for name, value in named.checksums.items()):
                raise errors.InvalidPart(named.number)
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < i.PART_BYTES_MIN:
            raise errors.PartTooSmall(part.number, part.size, i.PART_BYTES_MIN)
    if not chosen:
        raise errors.InvalidPart(0)
    if sum(part.size for part in chosen) != change.size:
        raise errors.Conflict
    return chosen
