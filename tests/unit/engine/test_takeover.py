"""Taking a store over: every committer is a new epoch, whatever the last one left behind."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import errors
from storage.config import Config
from storage.engine.embedded import drives, index, io, link, segment
from storage.engine.embedded.committer import Committer
from storage.engine.embedded.files import FileStore, file_name, file_path, generation_of
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
