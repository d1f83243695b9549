"""Taking a store over: every committer is a new epoch, whatever the last one left behind."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import errors
from storage.config import Config
from storage.engine.embedded import drives, index, io, link, records, segment
from storage.engine.embedded.committer import Committer
from storage.engine.embedded.files import FileStore, file_name, file_path, generation_of
from storage.engine.interface import DeleteObject
from tests.unit.engine.test_committer import MIB, Store, store
from tests.unit.engine.test_log import Failing


@pytest.fixture(autouse=True)
def real_calls() -> Iterator[None]:
    before = io.install(io.Calls())
    yield
    io.install(before)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(drives=(str(tmp_path),), segment_size=MIB, free_min=MIB)


def greet(opened: Store) -> int:
    return int(opened.do(link.Hello(0, 1)))


def test_epochs_and_generations_never_repeat(config: Config) -> None:
    epochs, generations = [], []
    for start in range(5):
        with store(config) as opened:
            epochs.append(opened.committer.board.epoch)
            generations += [greet(opened), greet(opened)]
        if start == 2:  # a rebuilt index knows them as well
            index.remove(opened.drive.index)
    assert epochs == [1, 2, 3, 4, 5]
    assert len(set(generations)) == 10


def test_an_epoch_outlives_the_segments_that_tell_of_it(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
    with store(config) as opened:
        epoch = opened.committer.board.epoch
        assert opened.committer._writer().epoch == epoch
        opened.committer._log.epoch = 0  # as if recovery had read nothing
        opened.committer._log.begin_epoch(opened.committer._writer().epoch)
        assert opened.committer._log.epoch == epoch + 1


def test_a_generation_in_use_is_not_given_to_another_worker(config: Config) -> None:
    with store(config) as opened:
        first = greet(opened)
        run = opened.committer.run_folder
        lock = link.Generations(run)
        lock.claim(first + 1)
        named = first + 2
        opened.committer._writer().begin()
        opened.committer._writer()._execute(
            "INSERT INTO garbage VALUES (?,1,1)", (file_name(named, 0xAB),)
        )
        opened.committer._writer().commit_bookkeeping()
        opened.do(link.Fence(first + 3))
        assert greet(opened) == first + 4
        lock.close()


def test_a_generation_that_named_files_is_not_given_again(config: Config) -> None:
    with store(config) as opened:
        upcoming = (opened.committer.board.epoch << 32) + 1
        path = file_path(opened.drive.files, file_name(upcoming, 5))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).touch()
        assert greet(opened) == upcoming + 1


def test_an_epoch_greets_more_workers_than_16_bits_count(config: Config) -> None:
    with store(config) as opened:
        first = greet(opened)
        opened.committer._last_generation = 0xFFFF
        late = greet(opened)
    with store(config) as opened:
        following = greet(opened)
    assert first < late < following
    assert generation_of(file_name(following, 1)) == following


def test_a_file_that_is_there_is_left_alone(config: Config) -> None:
    async def upload(root: str) -> str:
        files = FileStore(root, 7)
        try:
            writer = files.create()
            await writer.write(b"new")
            ref = await writer.finish()
            await writer.abort()
            unwritten = FileStore(root, 7).create()
            await unwritten.abort()
        finally:
            files.close()
        return ref.name

    with store(config) as opened:
        theirs = Path(file_path(opened.drive.files, file_name(7, 1)))
        theirs.parent.mkdir(exist_ok=True)
        theirs.write_bytes(b"acknowledged")
        assert asyncio.run(upload(opened.drive.files)) == file_name(7, 2)
        assert theirs.read_bytes() == b"acknowledged"


# -- damaged headers ------------------------------------------------------------------------------


def fail_to_start(config: Config) -> None:
    drive = drives.open_drive(config.drives[0], config)
    committer = Committer(drive, config)
    try:
        committer.start()
    finally:
        committer.close()
        drive.close()


def damage(path: str, *offsets: int) -> None:
    with open(path, "r+b") as file:
        for offset in offsets:
            file.seek(offset)
            flipped = file.read(1)[0] ^ 1
            file.seek(offset)
            file.write(bytes([flipped]))


@pytest.mark.parametrize("rolls", [0, 2])
@pytest.mark.parametrize("offset", [3, 64, 80, 104, 2048, 2112])
def test_one_bad_bit_in_the_newest_header_loses_nothing(
    config: Config, rolls: int, offset: int
) -> None:
    with store(config) as opened:
        opened.make_bucket()
        for _ in range(rolls):
            opened.committer._log.roll()
        opened.do(opened.put("key", b"acknowledged"))
        path = opened.committer._log.path(opened.committer._log.segment)
    damage(path, offset)
    index.remove(opened.drive.index)
    bucket = opened.bucket
    with store(config) as opened:
        opened.bucket = bucket
        assert opened.payload("key") == b"acknowledged"
        assert opened.committer.damages == []


def test_a_store_does_not_start_without_its_newest_segment(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        opened.committer._log.roll()
        opened.do(opened.put("key"))
        path = opened.committer._log.path(opened.committer._log.segment)
    damage(path, 80, 2048 + 80)
    before = Path(path).read_bytes()
    with pytest.raises(errors.DriveRefused, match="newest segment"):
        fail_to_start(config)
    assert Path(path).read_bytes() == before
    damage(path, 80)
    with store(config) as opened:
        assert opened.committer._writer().one("SELECT count(*) FROM current") == (1,)


def test_a_new_segment_takes_no_name_that_is_in_use(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        log = opened.committer._log
        Path(log.path(3)).write_bytes(b"somebody's")
        Path(log.folder, segment.foot_name(5)).write_bytes(b"a footer")
        log.roll()
        assert log.segment == 6
        assert Path(log.path(3)).read_bytes() == b"somebody's"
        with pytest.raises(FileExistsError):
            log._name(os.path.join(log.folder, "next"), log.path(3))


def test_nothing_is_appended_behind_a_segment_whose_successor_may_exist(config: Config) -> None:
    """Its header would cut off what is appended to its predecessor."""
    with store(config) as opened:
        opened.make_bucket()
        io.install(Failing("fsync_dir", errno.ENOSPC))
        with pytest.raises(errors.ReadOnly):
            opened.committer._log.roll()
        io.install(io.Calls())
        with pytest.raises(errors.ReadOnly):
            opened.do(opened.put("late"))
    bucket = opened.bucket
    with store(config) as opened:
        opened.bucket = bucket
        opened.do(opened.put("later"))
        assert opened.keys() == ["later"]


def test_burnt_numbers_stay_burnt_behind_what_is_applied(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        io.install(Failing("fdatasync", errno.EIO))
        assert isinstance(opened.settle(opened.put("lost"))[0], errors.Unavailable)
        io.install(io.Calls())
        burnt = opened.committer._log.next_seq - 1
    with store(config) as opened:
        assert opened.committer.board.applied_seq > burnt


# -- what the last one left behind ----------------------------------------------------------------


def zero_page_of(opened: Store, table: str) -> int:
    """The number of a table's root page."""
    sql = "SELECT rootpage FROM sqlite_master WHERE name=?"
    return int(opened.committer._writer().one(sql, (table,))[0])


@pytest.mark.parametrize("table", ["segments", "meta", "current", "garbage"])
def test_a_bad_page_of_the_index_is_made_anew_wherever_it_is_met(
    config: Config, table: str
) -> None:
    with store(config) as opened:
        opened.make_bucket()
        opened.settle(*(opened.put(f"key-{n}") for n in range(50)))
        opened.do(link.Checkpoint())
        page = zero_page_of(opened, table)
    with open(os.path.join(opened.drive.index, index.FILE), "r+b") as file:
        file.seek((page - 1) * index.PAGE_BYTES)
        file.write(bytes(index.PAGE_BYTES))
    bucket = opened.bucket
    with store(config) as opened:
        opened.bucket = bucket
        opened.settle(opened.put("key-1"), link.DropGarbage(["none"]))  # may meet the page
        opened.do(opened.put("after"))
        assert len(opened.keys()) == 51


def test_a_segment_full_to_the_brim_is_left_behind_at_start(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        log = opened.committer._log
        batch = log.begin()
        body = records.encode(records.Cursor("c", 1, 1))
        room = MIB
        while not log.fits(batch, len(body), room):
            room -= 1
        opened.committer._writer().begin()
        opened.committer._batch = batch
        opened.committer._emit(records.CURSOR, records.Cursor("c", 1, 1), bytes(room))
        opened.committer._finish()
        assert log.segment == 1
    with store(config) as opened:
        assert opened.committer._log.segment == 2
        lengths = {row.id: row.length for row in opened.committer._writer().segments()}
        assert lengths[1] > MIB - 4096


class Stuck(io.Calls):
    """Segments can't be removed, or not for good."""

    def __init__(self, call: str) -> None:
        self.call = call

    def unlink(self, path: str) -> None:
        if self.call == "unlink" and path.endswith(".seg"):
            raise OSError(errno.EIO, "EIO")
        super().unlink(path)

    def fsync_dir(self, path: str) -> None:
        if self.call == "fsync_dir" and path.endswith("segments"):
            raise OSError(errno.EIO, "EIO")
        super().fsync_dir(path)


def with_a_deleted_object(opened: Store) -> None:
    """The object in segment 1, its tombstone in segment 2, segment 3 is written."""
    opened.make_bucket()
    opened.do(opened.put("deleted"))
    opened.committer._log.roll()
    opened.do(DeleteObject(opened.bucket, "deleted"))
    opened.committer._log.roll()
    opened.do(opened.put("kept"))


def compact(opened: Store, number: int) -> Any:
    """What compaction does to a segment of which nothing but small records is needed."""
    path = opened.committer._log.path(number)
    rows = []
    for record in segment.all_records(path):
        row = link.Moved(record.type, record.seq, record.segment, record.body)
        if record.type == records.RELOCATION:
            moved = records.decode(record.type, record.body)
            row = link.Moved(moved.type, moved.seq, moved.origin, moved.body)
        if record.type not in (records.EPOCH, records.PUT):
            rows.append(row)
    opened.do(link.Relocate(number, rows))
    return opened.settle(link.DropSegment(number))[0]


@pytest.mark.parametrize("call", ["unlink", "fsync_dir"])
def test_a_tombstone_stays_while_what_it_hides_may_come_back(config: Config, call: str) -> None:
    with store(config) as opened:
        with_a_deleted_object(opened)
        first = opened.committer._log.path(1)
        kept = Path(first).read_bytes()
        io.install(Stuck(call))
        assert isinstance(compact(opened, 1), errors.Unavailable)
        io.install(io.Calls())
        assert compact(opened, 2) is None
        assert not os.path.exists(opened.committer._log.path(2))
    Path(first).write_bytes(kept)  # a power cut brings it back
    index.remove(opened.drive.index)
    bucket = opened.bucket
    with store(config) as opened:
        opened.bucket = bucket
        assert opened.keys() == ["kept"]
        assert compact(opened, 1) is None  # and it can be tried again


def test_a_tombstone_stays_for_a_file_that_the_index_has_forgotten(config: Config) -> None:
    with store(config) as opened:
        with_a_deleted_object(opened)
        writer = opened.committer._writer()
        writer.begin()
        writer.drop_segment(1)
        writer.commit_bookkeeping()
        assert compact(opened, 2) is None
    bucket = opened.bucket
    with store(config) as opened:
        forgotten = opened.committer._writer().segments()[0]
        assert (forgotten.id, forgotten.records, forgotten.min_seq) == (1, 3, 1)
        assert forgotten.length
    index.remove(opened.drive.index)
    with store(config) as opened:
        opened.bucket = bucket
        assert opened.keys() == ["kept"]


def test_a_row_is_kept_while_the_folder_can_not_be_synced(config: Config) -> None:
    with store(config) as opened:
        with_a_deleted_object(opened)
        compact(opened, 1)
        writer = opened.committer._writer()
        writer.begin()
        writer.know_segment(1)
        writer.commit_bookkeeping()
        io.install(Stuck("fsync_dir"))
        opened.committer._reconcile()
        assert writer.segments()[0].id == 1
        io.install(io.Calls())
        opened.committer._reconcile()
        assert writer.segments()[0].id == 2


def test_the_length_of_a_closed_segment_is_told_again_after_a_rollback(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        length = opened.committer._log.length
        opened.committer._log.roll()
        opened.committer._log._helper.submit(int).result()  # its own syncs are done
        io.install(Failing("fdatasync", errno.EIO))
        assert isinstance(opened.settle(opened.put("lost"))[0], errors.Unavailable)
        io.install(io.Calls())
        opened.do(opened.put("kept"))
        lengths = {row.id: row.length for row in opened.committer._writer().segments()}
        assert lengths == {1: length, 2: segment.PAGE, 3: 0}


# -- a drive that does not sync -------------------------------------------------------------------


class Dying(io.Calls):
    """Syncs of segments fail from now on, new segments can't be made; written pages are noted."""

    def __init__(self) -> None:
        self.broken = False
        self.written: list[int] = []

    def fdatasync(self, fd: int) -> None:
        if self.broken:
            raise OSError(errno.EIO, "EIO")
        super().fdatasync(fd)

    def create(self, path: str, mode: int = 0o600) -> int:
        if self.broken:
            raise OSError(errno.EIO, "EIO")
        return super().create(path, mode)

    def pwrite(self, fd: int, data: io.Buffer, offset: int) -> None:
        self.written.append(offset)
        super().pwrite(fd, data, offset)


@pytest.mark.parametrize("at_start", [False, True])
def test_what_a_failed_sync_left_in_memory_is_written_again(config: Config, at_start: bool) -> None:
    drive = Dying()
    io.install(drive)
    with store(config) as opened:
        opened.make_bucket()
        opened.do(link.Checkpoint())
        tail = opened.committer._log.length & -segment.PAGE
        if not at_start:
            drive.broken = True
            assert isinstance(opened.settle(opened.put("unproven"))[0], errors.Unavailable)
            assert opened.committer.board.unproven
    if at_start:
        drive.broken = True
    with pytest.raises(errors.DriveRefused, match="can't be synced"):
        fail_to_start(config)
    drive.broken = False
    drive.written.clear()
    with store(config) as opened:
        assert tail in drive.written
        assert not opened.committer.board.unproven
    drive.written.clear()
    with store(config):
        assert tail not in drive.written
