"""The log: what was appended survives, what failed never counts."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import errors
from storage.config import Config
from storage.engine.embedded import drives, io, log, records, segment
from storage.engine.embedded.drives import Drive
from storage.engine.embedded.log import Applied, BatchFailed, Log, Mismatch
from storage.engine.embedded.segment import Damage


class Failing(io.Calls):
    """A drive whose chosen call fails, the ``after``-th time and ``times`` times."""

    def __init__(self, call: str, error: int, *, after: int = 0, times: int = 1) -> None:
        self.failures = 0
        self._left = (after, times)
        real = getattr(self, call)

        def fail(*arguments: object) -> object:
            after, times = self._left
            if after:
                self._left = (after - 1, times)
                return real(*arguments)
            if times:
                self._left = (0, times - 1)
                self.failures += 1
                raise OSError(error, os.strerror(error))
            return real(*arguments)

        setattr(self, call, fail)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(drives=(str(tmp_path),), segment_size=1 << 20, free_min=1 << 20)


@pytest.fixture
def drive(tmp_path: Path, config: Config) -> Iterator[Drive]:
    opened = drives.open_drive(str(tmp_path), config)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def real_calls() -> Iterator[None]:
    before = io.install(io.Calls())
    yield
    io.install(before)


class Opened:
    """A log after recovery, with what recovery found."""

    def __init__(self, drive: Drive, config: Config, applied: Applied | None = None) -> None:
        self.damages: list[Damage] = []
        self.log = Log(drive, config, self.damages.append)
        self.seqs = [record.seq for _, found in self.log.recover(applied) for record in found]
        self.log.begin_epoch()

    def append(self, payload: bytes = b"x" * 1000, count: int = 1) -> Applied:
        batch = self.log.begin()
        for _ in range(count):
            body = records.encode(records.Cursor("c", 1, 1))
            if not self.log.fits(batch, len(body), len(payload)):
                self.log.roll()
                return self.append(payload, count)
            batch.add(records.CURSOR, body, payload)
        return self.log.append(batch)

    def append_many(self, count: int, payload: bytes) -> None:
        for _ in range(count):
            self.append(payload)


def reopen(drive: Drive, config: Config, applied: Applied | None = None) -> Opened:
    opened = Opened(drive, config, applied)
    opened.log.close()
    return opened


def test_recovery_finds_all_batches_in_order(drive: Drive, config: Config) -> None:
    first = Opened(drive, config)
    for count in (1, 3, 2):
        first.append(count=count)
    first.log.close()
    second = reopen(drive, config)
    assert second.seqs == [1, 2, 3, 4, 5, 6]
    assert second.log.next_seq == 7
    assert second.log.epoch == first.log.epoch + 1
    assert second.damages == []


def test_recovery_begins_behind_what_is_applied(drive: Drive, config: Config) -> None:
    first = Opened(drive, config)
    applied = [first.append() for _ in range(4)][1]
    first.log.close()
    assert reopen(drive, config, applied).seqs == [3, 4]


def test_recovery_goes_on_across_segments(drive: Drive, config: Config) -> None:
    first = Opened(drive, config)
    places = [first.append(b"y" * 100_000) for _ in range(25)]
    first.log.close()
    assert places[-1].segment > 2
    assert reopen(drive, config).seqs == list(range(1, 26))
    assert reopen(drive, config, places[3]).seqs == list(range(5, 26))
    for number in range(1, places[-1].segment):
        assert segment.read_footer(first.log.path(number)) is not None


@pytest.mark.parametrize("inside", [3, 64 + 500, 64 + 1000 + 20])
def test_a_torn_tail_is_cut_off_and_written_over(drive: Drive, config: Config, inside: int) -> None:
    first = Opened(drive, config)
    first.append()
    torn = first.append()
    first.log.close()
    path = Path(first.log.path(torn.segment))
    data = bytearray(path.read_bytes())
    data[torn.start + inside] ^= 1
    path.write_bytes(data)
    second = Opened(drive, config)
    assert second.seqs == [1]
    assert second.damages == []
    place = second.append()
    assert place.start == torn.start
    second.log.close()
    assert reopen(drive, config).seqs == [1, place.seq]


def test_damage_before_the_tail_is_reported_and_hides_nothing(drive: Drive, config: Config) -> None:
    first = Opened(drive, config)
    places = [first.append() for _ in range(5)]
    first.log.close()
    path = Path(first.log.path(1))
    data = bytearray(path.read_bytes())
    data[places[2].start + 10] ^= 1
    path.write_bytes(data)
    second = reopen(drive, config)
    assert second.seqs == [1, 2, 4, 5]
    assert second.damages
    assert second.log.next_seq == 6


def test_an_index_of_another_history_is_noticed(drive: Drive, config: Config) -> None:
    first = Opened(drive, config)
    applied = first.append()
    first.log.close()
    for wrong in (
        Applied(applied.seq, applied.segment, applied.start, applied.check ^ 1),
        Applied(applied.seq, applied.segment, applied.start + 64, applied.check),
        Applied(applied.seq, 99, applied.start, applied.check),
    ):
        with pytest.raises(Mismatch):
            list(Log(drive, config).recover(wrong))


@pytest.mark.parametrize("call", ["fdatasync", "pwritev"])
def test_a_failed_sync_fails_the_batch_and_moves_on(
    drive: Drive, config: Config, call: str
) -> None:
    first = Opened(drive, config)
    good = first.append()
    first.log._helper.submit(lambda: None).result()  # the next segment is prepared
    io.install(Failing(call, errno.EIO))
    with pytest.raises(BatchFailed):
        first.append()
    after = first.append()
    assert after.segment == good.segment + 1
    assert after.seq == good.seq + 2  # the failed batch's number is burnt
    first.log.close()
    second = reopen(drive, config)
    assert second.seqs == [good.seq, after.seq]
    assert second.damages == []


def test_what_a_failed_sync_left_behind_never_counts(
    drive: Drive, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failed batch is whole in the file: the new segment's header says where it ends."""
    monkeypatch.setattr(Log, "_seal", lambda *_: None)  # a crash came before the footer
    first = Opened(drive, config)
    good = first.append()
    first.log._helper.submit(lambda: None).result()
    io.install(Failing("fdatasync", errno.EIO))
    with pytest.raises(BatchFailed):
        first.append()
    first.log.close()
    fd = os.open(first.log.path(good.segment), os.O_RDONLY)
    header = segment.read_header(fd)
    ends = [batch.end for batch in segment.batches(fd, header, stop=None)]
    os.close(fd)
    assert len(ends) == 2
    assert reopen(drive, config).seqs == [good.seq]


def test_a_drive_that_fails_for_good_makes_the_log_read_only(drive: Drive, config: Config) -> None:
    first = Opened(drive, config)
    first.append()
    first.log._helper.submit(lambda: None).result()
    io.install(Failing("fdatasync", errno.EIO, times=1000))
    with pytest.raises(BatchFailed):
        first.append()
    assert first.log.read_only
    with pytest.raises(errors.ReadOnly):
        first.append()
    io.install(io.Calls())
    first.log.close()
    assert reopen(drive, config).seqs[0] == 1


def test_a_full_drive_is_served_from_the_reserve_and_recovers(drive: Drive, config: Config) -> None:
    first = Opened(drive, config)
    first.log._helper.submit(lambda: None).result()
    reserve = drive.reserve(config)
    held = reserve.held()
    assert held >= 2 * config.segment_size
    spent = held // config.segment_size

    class Full(io.Calls):
        """Room for as many new files as pieces of the reserve were unlinked."""

        room = 0

        def unlink(self, path: str) -> None:
            super().unlink(path)
            if "reserve" in path:
                Full.room += 1

        def fallocate(self, fd: int, offset: int, length: int) -> None:
            if Full.room <= 0:
                raise OSError(errno.ENOSPC, "full")
            Full.room -= 1
            super().fallocate(fd, offset, length)

    io.install(Full())
    with pytest.raises(errors.StorageFull):
        first.append_many(10 * (spent + 4), b"z" * 200_000)
    assert first.log.segment >= 4  # the prepared one and the reserve were used
    assert not first.log.read_only
    io.install(io.Calls())
    first.append(b"z" * 200_000)
    while not first.log.tend():
        pass
    assert drive.reserve(config).held() == held
    first.log.close()
    assert reopen(drive, config).damages == []


def test_a_record_longer_than_a_segment_gets_one_of_its_own(drive: Drive, config: Config) -> None:
    first = Opened(drive, config)
    payload = os.urandom(3 << 20)
    first.log.roll(4 << 20)
    batch = first.log.begin()
    assert first.log.fits(batch, 100, len(payload))
    batch.add(records.CURSOR, records.encode(records.Cursor("c", 1, 1)), payload)
    first.log.append(batch)
    first.log.close()
    assert reopen(drive, config).seqs == [1]


def test_another_stores_segment_is_refused(drive: Drive, config: Config, tmp_path: Path) -> None:
    first = Opened(drive, config)
    first.append()
    first.log.close()
    drive.store_id = "cd" * 16
    with pytest.raises(errors.DriveRefused):
        list(Log(drive, config).recover(None))


def test_relocations_keep_the_number_that_seeds_their_payload() -> None:
    body = records.encode(records.Relocation(records.PUT, 42, 1, b""))
    record = segment.Record(records.RELOCATION, 99, 1, 0, 0, 0, body)
    assert log.commit_seq(record) == 42
    assert log.commit_seq(record._replace(type=records.CURSOR)) == 99


def test_a_scan_that_is_overtaken_does_not_take_the_footer_for_batches(
    drive: Drive, config: Config
) -> None:
    opened = Opened(drive, config)
    opened.append_many(3, b"x" * 1000)
    path, length = opened.log.path(1), opened.log.length
    fd = os.open(path, os.O_RDONLY)
    try:
        scan = segment.batches(fd, segment.read_header(fd), search=False)
        assert len([next(scan) for _ in range(3)]) == 3
        opened.log.close()
        segment.write_footer(path, length)
        assert list(scan) == []
    finally:
        os.close(fd)
