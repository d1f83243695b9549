"""The committer: batches settle in order, and log and index always tell the same story."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from storage import errors
from storage.config import Config
from storage.engine import interface as i
from storage.engine.embedded import board, drives, index, io, link, log, records, segment
from storage.engine.embedded.committer import Committer
from storage.engine.embedded.reader import Reader
from storage.engine.interface import (
    AbortUpload,
    CompletePart,
    CompleteUpload,
    Conditions,
    CreateBucket,
    CreateUpload,
    DeleteBucket,
    DeleteObject,
    FileRef,
    PutObject,
    PutPart,
    PutSystem,
    SetBucketConfig,
    SetCursor,
)
from tests.unit.engine.test_log import Failing

#: Tables that must be equal after replay and rebuild. ``meta`` and ``segments`` are compared
#: apart: each start appends an epoch record.
TABLES = ("buckets", "bucket_config", "usage", "current", "uploads", "parts", "system", "cursors")
MIB = 1 << 20


@pytest.fixture(autouse=True)
def real_calls() -> Iterator[None]:
    before = io.install(io.Calls())
    yield
    io.install(before)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(drives=(str(tmp_path),), segment_size=MIB, free_min=MIB)


class Store:
    """A committer called directly, and a reader beside it."""

    def __init__(self, config: Config) -> None:
        self.drive = drives.open_drive(config.drives[0], config)
        self.committer = Committer(self.drive, config)
        self.committer.start()
        self.bucket = 0

    def settle(self, *changes: Any) -> list[Any]:
        """The outcome of each change of one batch."""
        return self.committer.process(changes)

    def do(self, change: Any) -> Any:
        (result,) = self.committer.process([change])
        if isinstance(result, BaseException):
            raise result
        return result

    def make_bucket(self, name: str = "bucket") -> int:
        self.bucket = self.do(CreateBucket(name, "root", 1)).id
        return self.bucket

    def put(self, key: str, payload: bytes = b"payload", **more: Any) -> PutObject:
        return PutObject(
            self.bucket,
            key,
            1000,
            len(payload),
            hashlib.md5(payload).hexdigest(),
            "root",
            "STANDARD",
            i.EMPTY_META,
            payload,
            **more,
        )

    def reader(self) -> Reader:
        return Reader(self.drive.index)

    def keys(self) -> list[str]:
        reader = self.reader()
        page = reader.list_objects(self.bucket, "", "", "", 10_000)
        reader.close()
        return [entry.key for entry in page.entries]

    def dump(self) -> dict[str, list[Any]]:
        """The whole index, for comparison."""
        connection = index.connect(os.path.join(self.drive.index, index.FILE))
        found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
        found["live"] = connection.execute("SELECT id, live, live_bytes FROM segments").fetchall()
        connection.close()
        return found

    def payload(self, key: str) -> bytes:
        """What the index and the segment say of a key, checksum verified."""
        reader = self.reader()
        version = reader.lookup(self.bucket, key)
        reader.close()
        assert version is not None
        fd = os.open(
            os.path.join(self.drive.segments, segment.name(version.place.segment)), os.O_RDONLY
        )
        try:
            data = os.pread(fd, version.size, version.place.offset)
            salt = segment.read_header(fd).salt
        finally:
            os.close(fd)
        assert segment.payload_check(data, salt, version.seq) == version.place.check
        return data

    def close(self) -> None:
        self.committer.close()
        self.drive.close()


@contextmanager
def store(config: Config) -> Iterator[Store]:
    opened = Store(config)
    try:
        yield opened
    finally:
        opened.close()


def fill(opened: Store) -> None:
    """A bit of everything: replaced, deleted, uploads at each stage, a bucket that is gone."""
    opened.make_bucket("gone")
    opened.settle(*[opened.put(f"old/{n}") for n in range(5)])
    opened.do(SetBucketConfig("gone", "cors", b"<x/>"))
    opened.do(CreateUpload(opened.bucket, "k", "u0", 1, "root", "STANDARD", i.EMPTY_META))
    opened.settle(*[DeleteObject(opened.bucket, f"old/{n}") for n in range(5)])
    opened.do(DeleteBucket("gone"))
    bucket = opened.make_bucket("kept")
    for round_ in range(3):
        opened.settle(
            *[opened.put(f"key/{n:03d}", os.urandom(100 + n * 50 * round_)) for n in range(60)]
        )
    opened.settle(*[DeleteObject(bucket, f"key/{n:03d}") for n in range(0, 60, 7)])
    opened.do(SetBucketConfig("kept", "cors", b"<cors/>"))
    opened.do(SetBucketConfig("kept", "policy", b"{}"))
    opened.do(SetBucketConfig("kept", "policy", None))
    for upload_id in ("done", "dropped", "going"):
        opened.do(CreateUpload(bucket, "big", upload_id, 7, "root", "STANDARD", i.EMPTY_META))
        for number in (1, 2, 2):
            name = f"{upload_id}{number}{os.urandom(3).hex()}"
            opened.do(
                PutPart(
                    bucket,
                    "big",
                    upload_id,
                    number,
                    9,
                    6 * MIB,
                    f"e{number}",
                    {},
                    FileRef(name, 6 * MIB),
                )
            )
    opened.do(AbortUpload(bucket, "big", "dropped"))
    opened.do(complete(bucket))
    opened.do(PutSystem("user", "a", b"1"))
    opened.do(PutSystem("user", "b", b"2"))
    opened.do(PutSystem("user", "a", b"3"))
    opened.do(PutSystem("user", "b", None))
    opened.do(SetCursor("notify", 17))


def complete(bucket: int) -> CompleteUpload:
    parts = [CompletePart(1, "e1"), CompletePart(2, "e2")]
    return CompleteUpload(bucket, "big", "done", parts, 11, "etag-2", 12 * MIB, {})


# -- order --------------------------------------------------------------------------------------


def test_preconditions_see_the_batch_at_hand(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        only_new = Conditions(if_none_match=("*",))
        first, second, third, fourth = opened.settle(
            opened.put("a", b"one", conditions=only_new),
            opened.put("a", b"two", conditions=only_new),
            DeleteObject(opened.bucket, "a"),
            opened.put("a", b"four", conditions=only_new),
        )
        assert isinstance(first, i.Committed)
        assert isinstance(second, errors.PreconditionFailed)
        assert third.existed
        assert isinstance(fourth, i.Committed)
        assert opened.payload("a") == b"four"


def test_a_bucket_and_its_first_object_fit_into_one_batch(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        put, gone, full, again = opened.settle(
            opened.put("a"),
            DeleteBucket("bucket"),
            DeleteObject(opened.bucket, "a"),
            DeleteBucket("bucket"),
        )
        assert isinstance(put, i.Committed)
        assert isinstance(gone, errors.BucketNotEmpty)
        assert full.existed
        assert again is None


def test_a_key_that_turns_out_to_be_taken_leaves_no_trace_of_the_first_try(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        first, _, second, third, _ = opened.settle(
            opened.put("a", b"one"),
            opened.put("b", b"empty comes next"),
            opened.put("a", b""),
            opened.put("a", b"three"),
            opened.put("c", b"last"),
        )
        assert [first.existed, second.existed, third.existed] == [False, True, True]
        assert third.seq == second.seq + 1
        wanted = {"a": b"three", "b": b"empty comes next", "c": b"last"}
        assert {key: opened.payload(key) for key in wanted} == wanted
        before, bucket = opened.dump(), opened.bucket
        index.remove(opened.drive.index)
    with store(config) as opened:
        assert opened.dump() == before
        opened.bucket = bucket
        assert {key: opened.payload(key) for key in wanted} == wanted
        assert not opened.committer.damages


def test_one_batch_is_one_sync(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()

        class Counting(io.Calls):
            syncs = 0

            def fdatasync(self, fd: int) -> None:
                Counting.syncs += 1
                super().fdatasync(fd)

        opened.committer._log._helper.submit(lambda: None).result()
        io.install(Counting())
        opened.settle(*[opened.put(f"k{n}") for n in range(100)])
        assert Counting.syncs == 1


def test_a_batch_larger_than_a_segment_is_cut(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        results = opened.settle(*[opened.put(f"k{n}", bytes(90_000)) for n in range(30)])
        assert [r.seq for r in results] == sorted({r.seq for r in results})
        assert opened.committer._log.segment >= 3
        assert opened.payload("k0") == opened.payload("k29") == bytes(90_000)


def test_the_generation_grows_before_the_answer(config: Config) -> None:
    with store(config) as opened:
        before = opened.committer.board.generation
        opened.make_bucket()
        assert opened.committer.board.generation > before
        before = opened.committer.board.generation
        opened.do(opened.put("a"))
        assert opened.committer.board.generation == before


def test_a_repeated_completion_gets_the_first_answer(config: Config) -> None:
    with store(config) as opened:
        fill(opened)
        reader = opened.reader()
        version = reader.lookup(opened.bucket, "big")
        reader.close()
        assert version is not None
        again = opened.do(complete(opened.bucket))
        assert (again.seq, again.etag) == (version.seq, "etag-2")
        other = complete(opened.bucket)
        other.parts = other.parts[:1]
        with pytest.raises(errors.NoSuchUpload):
            opened.do(other)


# -- replay and rebuild -------------------------------------------------------------------------


def test_a_restart_changes_nothing(config: Config) -> None:
    with store(config) as opened:
        fill(opened)
        before, keys = opened.dump(), opened.keys()
    with store(config) as opened:
        opened.bucket = before["buckets"][0][0]
        assert opened.dump() == before
        assert opened.keys() == keys


def test_a_lost_index_is_made_anew(config: Config) -> None:
    with store(config) as opened:
        fill(opened)
        before = opened.dump()
        index.remove(opened.drive.index)
    with store(config) as opened:
        assert opened.dump() == before
        assert opened.committer.damages == []


def test_a_lagging_index_is_replayed(config: Config, tmp_path: Path) -> None:
    """What a power cut leaves: an old index beside a longer log."""
    with store(config) as opened:
        opened.make_bucket()
        opened.do(opened.put("first"))
    folder = tmp_path / ".oversight" / "index"
    old = {path.name: path.read_bytes() for path in folder.iterdir()}
    with store(config) as opened:
        fill(opened)
        before = opened.dump()
    for path in folder.iterdir():
        path.unlink()
    for name, data in old.items():
        (folder / name).write_bytes(data)
    with store(config) as opened:
        assert opened.dump() == before


@pytest.mark.parametrize("where", [0, 5000, 20_000])
def test_a_damaged_index_is_made_anew(config: Config, tmp_path: Path, where: int) -> None:
    with store(config) as opened:
        fill(opened)
        before = opened.dump()
    path = tmp_path / ".oversight" / "index" / index.FILE
    data = bytearray(path.read_bytes())
    data[where : where + 4096] = os.urandom(4096)
    path.write_bytes(data)
    with store(config) as opened:
        bucket = before["buckets"][0][0]
        opened.bucket = bucket
        opened.committer.board.suspect = True  # as a reader does that meets the damage
        opened.committer._next_tick = 0
        opened.committer.tend()
        assert opened.dump() == before


def test_another_stores_index_is_not_believed(config: Config, tmp_path: Path) -> None:
    other = Config(drives=(str(tmp_path / "other"),), segment_size=MIB, free_min=MIB)
    with store(other) as opened:
        fill(opened)
    with store(config) as opened:
        opened.make_bucket("mine")
        before = opened.dump()
    foreign = tmp_path / "other" / ".oversight" / "index" / index.FILE
    own = tmp_path / ".oversight" / "index" / index.FILE
    own.write_bytes(foreign.read_bytes())
    with store(config) as opened:
        assert opened.dump() == before


def test_numbers_are_never_used_again(config: Config) -> None:
    seen: list[int] = []
    for _ in range(3):
        with store(config) as opened:
            if not opened.bucket:
                found = opened.reader().bucket("bucket")
                opened.bucket = found.id if found else opened.make_bucket()
            seen.append(opened.do(opened.put("a")).seq)
    assert seen == sorted(set(seen))


# -- trouble ------------------------------------------------------------------------------------


def test_a_failed_sync_fails_every_change_of_the_batch(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        opened.do(opened.put("before"))
        opened.committer._log._helper.submit(lambda: None).result()
        io.install(Failing("fdatasync", errno.EIO))
        results = opened.settle(
            opened.put("a"), opened.put("a", conditions=Conditions(if_none_match=("*",)))
        )
        assert [type(r) for r in results] == [log.BatchFailed, log.BatchFailed]
        assert opened.keys() == ["before"]
        opened.do(opened.put("after"))
        before = opened.dump()
        index.remove(opened.drive.index)
    with store(config) as opened:
        assert opened.dump() == before


def test_a_drive_that_fails_for_good_is_only_read(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        opened.do(opened.put("before"))
        opened.committer._log._helper.submit(lambda: None).result()
        io.install(Failing("fdatasync", errno.EIO, times=10_000))
        with pytest.raises(errors.Unavailable):
            opened.do(opened.put("a"))
        with pytest.raises(errors.ReadOnly):
            opened.do(opened.put("a"))
        opened.committer._next_tick = 0
        opened.committer.tend()
        assert opened.committer.board.state == board.READ_ONLY
        assert opened.payload("before") == b"payload"
        io.install(io.Calls())


def test_below_the_watermark_writes_are_refused_and_deletes_go_on(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store(config) as opened:
        opened.make_bucket()
        opened.do(opened.put("a"))
        full = opened.drive.space()
        monkeypatch.setattr(drives.Drive, "space", lambda self: i.Space(full.total, 0, 1, 0))
        opened.committer._next_tick = 0
        opened.committer.tend()
        assert opened.committer.board.state == board.FULL
        for change in (
            opened.put("b"),
            CreateUpload(opened.bucket, "k", "u", 1, "root", "STANDARD", i.EMPTY_META),
        ):
            with pytest.raises(errors.StorageFull):
                opened.do(change)
        assert opened.do(DeleteObject(opened.bucket, "a")).existed
        monkeypatch.undo()
        opened.committer._next_tick = 0
        opened.committer.tend()
        assert opened.committer.board.state == board.READY
        opened.do(opened.put("b"))


def test_an_index_that_fails_behind_the_log_is_replayed_before_the_answer(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store(config) as opened:
        opened.make_bucket()
        real = index.Writer.commit
        failures = []

        def commit(self: index.Writer, applied: log.Applied) -> None:
            if not failures:
                failures.append(1)
                raise apsw.IOError("disk")
            real(self, applied)

        monkeypatch.setattr(index.Writer, "commit", commit)
        opened.do(opened.put("a"))
        assert failures
        assert opened.payload("a") == b"payload"
        opened.do(opened.put("b"))
        assert opened.keys() == ["a", "b"]


def test_an_index_that_fails_before_the_log_leaves_nothing(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store(config) as opened:
        opened.make_bucket()
        real = index.Writer.put_new

        def put(*arguments: Any) -> None:
            monkeypatch.setattr(index.Writer, "put_new", real)
            raise apsw.IOError("disk")

        monkeypatch.setattr(index.Writer, "put_new", put)
        with pytest.raises(errors.Unavailable):
            opened.do(opened.put("a"))
        assert opened.keys() == []
        opened.do(opened.put("b"))
        before = opened.dump()
        index.remove(opened.drive.index)
    with store(config) as opened:
        assert opened.dump() == before


@pytest.mark.parametrize("part", ["payload", "head", "batch"])
def test_damage_in_a_closed_segment_hides_only_what_it_hit(config: Config, part: str) -> None:
    with store(config) as opened:
        opened.make_bucket()
        for n in range(12):
            opened.do(opened.put(f"k{n:02d}", bytes([n]) * 90_000))
        reader = opened.reader()
        place = reader.lookup(opened.bucket, "k03").place  # type: ignore[union-attr]
        reader.close()
        assert opened.committer._log.segment > place.segment
        bucket = opened.bucket
        index.remove(opened.drive.index)
        path = Path(opened.committer._log.path(place.segment))
    offset = {
        "payload": place.offset + 5,
        "head": place.offset + 90_000 + 60,
        "batch": place.offset - segment.BATCH_BYTES + 9,
    }[part]
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    # Without its footer the segment must be scanned.
    path.write_bytes(data[: -segment.TRAILER_BYTES])
    with store(config) as opened:
        opened.bucket = bucket
        keys = [f"k{n:02d}" for n in range(12)]
        if part != "payload":
            keys.remove("k03")
            assert opened.committer.damages
        assert opened.keys() == keys
        assert opened.payload("k11") == bytes([11]) * 90_000
        if part == "payload":
            with pytest.raises(AssertionError):
                opened.payload("k03")


# -- compaction's records -----------------------------------------------------------------------


def compact(opened: Store, number: int) -> int:
    """Move everything that is needed out of a segment; how many records were written."""
    path = opened.committer._log.path(number)
    rows = []
    fd = os.open(path, os.O_RDONLY)
    for record in segment.all_records(path):
        kind, seq, origin, body = record.type, record.seq, number, record.body
        if kind == records.RELOCATION:
            moved = records.decode(kind, body)
            kind, seq, origin, body = moved.type, moved.seq, moved.origin, moved.body
        payload = os.pread(fd, record.length, record.offset)
        rows.append(link.Moved(kind, seq, origin, body, payload))
    os.close(fd)
    written = sum(
        opened.do(link.Relocate(number, rows[at : at + 64])) for at in range(0, len(rows), 64)
    )
    opened.do(link.DropSegment(number))
    return written


_PLACES = (9, 10, 11, 12, 13, 15)


def place_free(dump: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """A dump without places: what a client can see."""
    hidden = {"buckets": (6, 7, 8), "bucket_config": (4, 5, 6), "current": _PLACES}
    hidden |= {"uploads": (9, 10, 11), "parts": (8, 9, 10), "system": (4, 5, 6)}
    hidden |= {"cursors": (3, 4, 5), "versions": _PLACES}
    return {
        table: [
            tuple(v for at, v in enumerate(row) if at not in hidden.get(table, ())) for row in rows
        ]
        for table, rows in dump.items()
        if table != "live"
    }


def moved_tombstones(opened: Store, number: int) -> list[segment.Record]:
    """Relocations of deletes in a segment."""
    return [
        record
        for record in segment.scan(opened.committer._log.path(number))
        if record.type == records.RELOCATION
        and records.decode(record.type, record.body).type == records.DELETE
    ]


def roll(opened: Store) -> None:
    opened.committer._log.roll()
    opened.do(SetCursor("roll", 1))


def test_compaction_changes_nothing_that_a_client_sees(config: Config) -> None:
    with store(config) as opened:
        fill(opened)
        roll(opened)
        before = place_free(opened.dump())
        for number in range(1, opened.committer._log.segment):
            compact(opened, number)
        after = opened.dump()
        assert place_free(after) == before
        assert opened.payload("key/001")
        assert not os.path.exists(opened.committer._log.path(1))
    with store(config) as opened:
        assert opened.dump() == after
        index.remove(opened.drive.index)
    with store(config) as opened:
        assert place_free(opened.dump()) == before


def test_a_tombstone_outlives_what_it_hides_and_no_longer(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        opened.do(opened.put("a"))
        roll(opened)
        opened.do(DeleteObject(opened.bucket, "a"))
        roll(opened)
        # The victim's segment is still there: the tombstone moves along.
        compact(opened, 2)
        index.remove(opened.drive.index)
        bucket = opened.bucket
    with store(config) as opened:
        opened.bucket = bucket
        assert opened.keys() == []
        roll(opened)
        compact(opened, 1)
        assert moved_tombstones(opened, 3)
        roll(opened)
        compact(opened, 3)
        assert not moved_tombstones(
            opened, opened.committer._log.segment
        )  # nothing is left that it could hide
        index.remove(opened.drive.index)
    with store(config) as opened:
        opened.bucket = bucket
        assert opened.keys() == []


def test_a_key_that_came_back_survives_the_old_tombstone(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        opened.do(opened.put("a", b"old"))
        roll(opened)
        opened.do(DeleteObject(opened.bucket, "a"))
        opened.do(opened.put("a", b"new"))
        roll(opened)
        compact(opened, 2)
        index.remove(opened.drive.index)
        bucket = opened.bucket
    with store(config) as opened:
        opened.bucket = bucket
        assert opened.keys() == ["a"]
        assert opened.payload("a") == b"new"


def test_a_segment_that_is_still_needed_is_not_dropped(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        opened.do(opened.put("a"))
        roll(opened)
        with pytest.raises(errors.Conflict):
            opened.do(link.DropSegment(1))
        with pytest.raises(errors.Conflict):
            opened.do(link.DropSegment(opened.committer._log.segment))
        assert opened.payload("a") == b"payload"


def test_a_replaced_object_is_not_moved(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        first = opened.do(opened.put("a", b"old"))
        roll(opened)
        body = next(
            r.body for r in segment.scan(opened.committer._log.path(1)) if r.seq == first.seq
        )
        put, moved = opened.settle(
            opened.put("a", b"new"),
            link.Relocate(1, [link.Moved(records.PUT, first.seq, 1, body, b"old")]),
        )
        assert isinstance(put, i.Committed)
        assert moved == 0
        assert opened.payload("a") == b"new"


def test_the_highest_number_wins_in_whatever_order_records_come(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        old = opened.do(opened.put("a", b"old"))
        opened.do(opened.put("a", b"new"))
        before = opened.dump()
        record = next(r for r in segment.scan(opened.committer._log.path(1)) if r.seq == old.seq)
        writer = opened.committer._index
        assert writer is not None
        writer.begin()
        writer.apply_record(record)
        writer.commit_bookkeeping()
        assert opened.dump() == before


def test_a_change_that_nobody_foresaw_breaks_only_itself(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        too_large = opened.put("b")
        too_large.size = 1 << 70
        results = opened.settle(opened.put("a"), too_large)
        assert [type(result) for result in results] == [i.Committed, errors.Unavailable]
        opened.do(opened.put("c"))
        assert opened.keys() == ["a", "c"]


def test_the_wal_begins_anew_beyond_its_bound(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.engine.embedded.checkpoint._LONG", 20)
    with store(config) as opened:
        opened.make_bucket()
        for n in range(10):
            opened.do(opened.put(f"k{n}"))
        assert opened.committer._index is not None
        assert opened.committer._index.wal_pages > 20
        opened.committer.tend()
        opened.committer._checkpointer.join()
        opened.do(opened.put("k"))  # there is always something left to move
        opened.committer.tend()
        opened.do(opened.put("l"))
        assert opened.committer._index.wal_pages < 20


def test_a_reader_in_the_way_never_costs_the_index(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        reader = index.connect(os.path.join(opened.drive.index, index.FILE))
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchall()
        opened.do(opened.put("a"))
        with pytest.raises(errors.Conflict):
            opened.do(link.Checkpoint())
        opened.do(opened.put("b"))
        reader.close()
        opened.do(link.Checkpoint())
        assert opened.keys() == ["a", "b"]
