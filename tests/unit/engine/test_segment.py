"""Segment files: what was written is read back, and damage stays where it is."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import errors
from storage.engine.embedded import io, records, segment
from storage.engine.embedded.records import Cursor
from storage.engine.embedded.segment import Builder, Damage, Damaged, Header

STORE = "ab" * 16
SIZE = 256 * 1024


class Made:
    """A segment with three batches of three records each, payloads of different length."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.header = segment.new_header(
            store_id=STORE,
            segment=7,
            epoch=3,
            predecessor=6,
            predecessor_length=1000,
            first_seq=100,
            size=SIZE,
        )
        self.payloads: dict[int, bytes] = {}
        self.starts: list[int] = []
        self.ends: list[int] = []
        with open(path, "wb") as file:
            file.truncate(SIZE)
            file.write(segment.encode_header(self.header))
            position, previous, seq = segment.PAGE, self.header.check, 100
            for _ in range(3):
                batch = Builder(7, self.header.salt, position, seq)
                for length in (0, 10, 5000):
                    payload = os.urandom(length)
                    self.payloads[batch.next_seq] = payload
                    body = records.encode(Cursor(f"c{batch.next_seq}", 5, 7))
                    batch.add(records.CURSOR, body, payload)
                seq = batch.next_seq
                buffers, end, previous = batch.buffers(3, previous)
                file.seek(position)
                file.write(b"".join(buffers))
                self.starts.append(position)
                self.ends.append(end)
                position = end

    def scan(self, **more: object) -> tuple[list[int], list[Damage]]:
        damages: list[Damage] = []
        found = segment.scan(self.path, report=damages.append, **more)  # type: ignore[arg-type]
        return [record.seq for record in found], damages

    def flip(self, offset: int) -> None:
        with open(self.path, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes((byte ^ 0x10,)))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "segment")


def test_records_come_back_with_their_payloads(made: Made) -> None:
    found = list(segment.scan(made.path))
    assert [record.seq for record in found] == list(range(100, 109))
    with open(made.path, "rb") as file:
        for record in found:
            payload = os.pread(file.fileno(), record.length, record.offset)
            assert payload == made.payloads[record.seq]
            assert segment.payload_check(payload, made.header.salt, record.seq) == record.check
            assert records.decode(record.type, record.body).consumer == f"c{record.seq}"


def test_the_header_page_survives_a_round_trip(made: Made) -> None:
    assert segment.decode_header(segment.encode_header(made.header)) == made.header


def test_a_newer_format_is_refused(made: Made) -> None:
    page = bytearray(segment.encode_header(made.header))
    page[8] += 1
    page[104:112] = segment.xxh3(bytes(page[:104])).to_bytes(8, "little")
    with pytest.raises(errors.DriveRefused):
        segment.decode_header(bytes(page))


def test_a_payload_is_bound_to_its_number_and_segment(made: Made) -> None:
    payload = b"the same bytes"
    check = segment.payload_check(payload, made.header.salt, 5)
    assert check != segment.payload_check(payload, made.header.salt, 6)
    assert check != segment.payload_check(payload, made.header.salt ^ 1, 5)


def test_a_torn_batch_is_not_returned(made: Made) -> None:
    made.flip(made.starts[2] + 3)
    seqs, damages = made.scan()
    assert seqs == list(range(100, 106))
    assert damages == []  # nothing valid follows: that is an end, not damage


def test_a_damaged_batch_header_hides_only_its_own_batch(made: Made) -> None:
    made.flip(made.starts[1] + 20)
    seqs, damages = made.scan()
    assert seqs == [100, 101, 102, 106, 107, 108]
    assert [(d.start, d.stop) for d in damages] == [(made.starts[1], made.starts[2])]


def test_a_damaged_record_body_hides_only_its_own_record(made: Made) -> None:
    with open(made.path, "rb") as file:
        batch = segment.read_batch(file.fileno(), made.starts[1], made.header.salt)
    heads = batch.start + segment.BATCH_BYTES + batch.payloads
    made.flip(heads + segment.RECORD_BYTES + 1)
    seqs, damages = made.scan()
    assert seqs == [100, 101, 102, 104, 105, 106, 107, 108]
    assert len(damages) == 1


def test_a_damaged_record_length_never_misleads(made: Made) -> None:
    with open(made.path, "rb") as file:
        batch = segment.read_batch(file.fileno(), made.starts[1], made.header.salt)
    made.flip(batch.start + segment.BATCH_BYTES + batch.payloads + 5)
    seqs, damages = made.scan()
    assert seqs == [100, 101, 102, 106, 107, 108]
    assert damages


def test_a_damaged_payload_leaves_its_head_and_fails_the_batch(made: Made) -> None:
    found = {record.seq: record for record in segment.scan(made.path)}
    made.flip(found[105].offset + 100)
    assert made.scan()[0] == list(range(100, 109))
    with open(made.path, "rb") as file:
        fd = file.fileno()
        for start, sound in zip(made.starts, (True, False, True), strict=True):
            batch = segment.read_batch(fd, start, made.header.salt)
            seq_of = lambda record: record.seq  # noqa: E731
            assert segment.verify_batch(fd, batch, made.header.salt, seq_of) is sound


def test_a_payload_cannot_pose_as_a_batch(made: Made, tmp_path: Path) -> None:
    """A client stores the bytes of a real batch; a search behind damage must not find them."""
    with open(made.path, "rb") as file:
        stolen = os.pread(file.fileno(), made.ends[0] - made.starts[0], made.starts[0])
    other = segment.new_header(
        store_id=STORE,
        segment=8,
        epoch=3,
        predecessor=7,
        predecessor_length=made.ends[2],
        first_seq=109,
        size=SIZE,
    )
    path = tmp_path / "other"
    with open(path, "wb") as file:
        file.truncate(SIZE)
        file.seek(segment.PAGE)
        file.write(stolen)
    with open(path, "rb") as file:
        found = segment.search_batch(file.fileno(), segment.PAGE, SIZE, other.salt)
        assert found is None
        found = segment.search_batch(file.fileno(), segment.PAGE, SIZE, made.header.salt)
        assert found == segment.PAGE


def test_the_footer_repeats_all_heads(made: Made) -> None:
    before = list(segment.scan(made.path))
    assert segment.read_footer(made.path) is None
    summary = segment.write_footer(made.path, made.ends[2])
    assert (summary.records, summary.min_seq, summary.max_seq) == (9, 100, 108)
    assert os.path.getsize(made.path) < SIZE
    assert list(segment.read_footer(made.path) or ()) == before
    assert list(segment.scan(made.path)) == before
    segment.write_footer(made.path, made.ends[2])
    assert list(segment.all_records(made.path)) == before


def test_a_footer_leaves_out_what_lies_behind_the_sealed_length(made: Made) -> None:
    segment.write_footer(made.path, made.ends[1])
    assert [r.seq for r in segment.all_records(made.path)] == list(range(100, 106))


def test_a_damaged_footer_is_scanned_around(made: Made) -> None:
    before = list(segment.scan(made.path))
    summary = segment.write_footer(made.path, made.ends[2])
    made.flip(summary.footer_offset + 70)
    assert segment.read_footer(made.path) is None
    assert list(segment.all_records(made.path)) == before


def test_a_foot_file_keeps_the_heads_alone(made: Made, tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        segment.write_foot_file(made.path, str(tmp_path / "none.foot"))
    before = list(segment.scan(made.path))
    segment.write_footer(made.path, made.ends[2])
    foot = str(tmp_path / "some.foot")
    segment.write_foot_file(made.path, foot)
    assert list(segment.read_footer(foot) or ()) == before
    assert os.path.getsize(foot) < 8192


def test_a_lost_header_page_is_stood_in_for_by_the_successor(made: Made) -> None:
    before = list(segment.scan(made.path))
    made.flip(40)
    assert list(segment.scan(made.path)) == before  # the copy in the same page
    made.flip(2048 + 40)
    with pytest.raises(Damaged):
        list(segment.scan(made.path))
    successor = segment.new_header(
        store_id=STORE,
        segment=8,
        epoch=3,
        predecessor=7,
        predecessor_length=made.ends[2],
        predecessor_salt=made.header.salt,
        first_seq=109,
        size=SIZE,
    )
    header = segment.rescue_header(successor, SIZE)
    assert isinstance(header, Header)
    assert list(segment.scan(made.path, header=header, stop=made.ends[2])) == before


class BadPages(io.Calls):
    """A drive that cannot read the pages in which these offsets lie."""

    def __init__(self) -> None:
        self.bad: set[int] = set()

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        pages = range(offset // 4096, (offset + size - 1) // 4096 + 1)
        if any(bad // 4096 in pages for bad in self.bad):
            raise OSError(errno.EIO, "Input/output error")
        return super().pread(fd, size, offset)


@pytest.fixture
def drive() -> Iterator[BadPages]:
    bad = BadPages()
    before = io.install(bad)
    yield bad
    io.install(before)


def test_an_unreadable_page_hides_only_what_lies_in_it(made: Made, drive: BadPages) -> None:
    page = made.starts[1] // 4096 * 4096
    drive.bad = {page}
    assert page < made.ends[0], "the page should hold the end of a batch, and the next one's header"
    seqs, damages = made.scan()
    assert {100, 101, 102} >= set(seqs[:-3])
    assert seqs[-3:] == [106, 107, 108]
    assert (damages[-1].start, damages[-1].stop) == (made.starts[1], made.starts[2])


def test_an_unreadable_header_page_is_damage(made: Made, drive: BadPages) -> None:
    drive.bad = {100}
    with pytest.raises(Damaged):
        list(segment.scan(made.path))
    assert made.scan(header=made.header)[0] == list(range(100, 109))


def test_an_unreadable_trailer_is_none(made: Made, drive: BadPages) -> None:
    segment.write_footer(made.path, made.ends[-1])
    drive.bad = {os.path.getsize(made.path) - 8}
    assert segment.read_footer(made.path) is None
    assert made.scan()[0] == list(range(100, 109))


def test_other_failures_of_the_drive_are_no_damage(made: Made) -> None:
    with open(made.path, "wb") as file, pytest.raises(OSError, match="descriptor"):
        segment.read_header(file.fileno())  # not open for reading


def follow(made: Made, folder: Path) -> None:
    """Name the segment as in a store, with a successor that closes it behind its second batch."""
    successor = segment.new_header(
        store_id=STORE,
        segment=8,
        epoch=3,
        predecessor=7,
        predecessor_length=made.ends[1],
        predecessor_salt=made.header.salt,
        first_seq=109,
        size=SIZE,
    )
    (folder / segment.name(8)).write_bytes(segment.encode_header(successor))
    path = folder / segment.name(7)
    os.rename(made.path, path)
    made.path = str(path)


def lose_header(path: str) -> None:
    with open(path, "r+b") as file:
        file.write(bytes(segment.PAGE))


def test_the_successor_stands_in_for_a_lost_header(made: Made, tmp_path: Path) -> None:
    follow(made, tmp_path)
    segment.write_footer(made.path, made.ends[1])
    lose_header(made.path)
    assert [record.seq for record in segment.all_records(made.path)] == list(range(100, 106))
    with open(made.path, "rb") as file:
        header = segment.open_header(file.fileno(), made.path)
    assert (header.segment, header.salt) == (7, made.header.salt)
    os.rename(tmp_path / segment.name(8), tmp_path / segment.foot_name(8))
    assert [record.seq for record in segment.all_records(made.path)] == list(range(100, 106))
    os.unlink(tmp_path / segment.foot_name(8))
    with pytest.raises(Damaged):
        segment.all_records(made.path)


def test_a_closed_segment_ends_where_its_successor_says(made: Made, tmp_path: Path) -> None:
    assert made.scan()[0] == list(range(100, 109))
    follow(made, tmp_path)
    assert made.scan()[0] == list(range(100, 106))


def test_a_header_that_was_stood_in_for_stands_in_for_nothing(made: Made) -> None:
    rescued = segment.rescue_header(
        segment.new_header(
            store_id=STORE,
            segment=8,
            epoch=3,
            predecessor=7,
            predecessor_length=5000,
            predecessor_salt=made.header.salt,
            first_seq=109,
            size=SIZE,
        ),
        SIZE,
    )
    assert (rescued.segment, rescued.salt) == (7, made.header.salt)
    with pytest.raises(Damaged):
        segment.rescue_header(rescued, SIZE)
