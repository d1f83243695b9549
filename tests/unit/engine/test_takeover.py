"""Taking a store over: every committer is a new epoch, whatever the last one left behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.config import Config
from storage.engine.embedded import index, io, link
from storage.engine.embedded.files import FileStore, file_name, file_path, generation_of
from tests.unit.engine.test_committer import MIB, Store, store


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
