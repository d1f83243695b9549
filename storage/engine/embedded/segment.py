"""Segment files as bytes: header page, batches, footer, trailer (docs/format.md).

Only layout and verification: nothing here knows what records mean or when to sync. Readers
take a path or a file descriptor and never trust a length or an offset that is not checksummed.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest as xxh3

from storage import errors
from storage.engine.embedded import io

VERSION = 1
PAGE = 4096
ALIGN = 64
_MAGIC = b"OVRSIGHT"
_FOOT_MAGIC = b"OVRSFOOT"
_BATCH_MAGIC = 0x7442564F
_BATCH_MAGIC_BYTES = struct.pack("<I", _BATCH_MAGIC)
_HEADER = struct.Struct("<8sII16sQQQQQQQQQ")
_BATCH = struct.Struct("<IIQQQIIQQQ")
_RECORD = struct.Struct("<BBHIQQIIQQ")
_TRAILER = struct.Struct("<8sIIQQQQQQQQQQ")
_U64 = struct.Struct("<Q")
BATCH_BYTES = _BATCH.size
RECORD_BYTES = _RECORD.size
TRAILER_BYTES = _TRAILER.size
_COPY = PAGE // 2
"""Where the header is repeated in its page."""
_MASK63 = (1 << 63) - 1
_SEARCH_CHUNK = 1 << 20
_UNREADABLE = (errno.EIO, errno.EBADMSG)


class Damaged(errors.DataCorrupt):
    """A structure of a segment does not verify."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The header page. ``check`` is its checksum, the start of the chain of batches."""

    store_id: str
    segment: int
    epoch: int
    predecessor: int
    predecessor_length: int
    salt: int
    first_seq: int
    opened: int
    size: int
    predecessor_salt: int = 0
    check: int = 0


class BatchHead(NamedTuple):
    """A verified batch header. ``start`` and ``end`` are offsets in the segment."""

    start: int
    end: int
    records: int
    epoch: int
    first_seq: int
    payloads: int
    heads: int
    heads_check: int
    previous: int
    check: int


class Record(NamedTuple):
    """A verified record head. ``body`` is undecoded (``records.decode``); ``check`` is 63-bit.

    ``weight`` is what the record takes in the segment: head, body and payload.
    """

    type: int
    seq: int
    segment: int
    offset: int
    length: int
    check: int
    body: bytes

    @property
    def weight(self) -> int:
        return RECORD_BYTES + len(self.body) + self.length

    @property
    def place(self) -> Place:
        return Place(self.segment, self.offset, self.check, self.weight, self.seq)


class Place(NamedTuple):
    """Where a record and its payload lie. ``record`` is the record's own sequence number."""

    segment: int
    offset: int
    check: int
    weight: int
    record: int


class Damage(NamedTuple):
    """A range of a segment that does not verify, for reports."""

    segment: int
    start: int
    stop: int
    what: str


class Summary(NamedTuple):
    """A verified trailer."""

    segment: int
    length: int
    footer_offset: int
    footer_length: int
    records: int
    min_seq: int
    max_seq: int

    @property
    def keeps_doubtful(self) -> bool:
        """Whether something is kept between the last batch and the footer that may have been
        committed and could not be read."""
        return self.footer_offset > self.length


Report = Callable[[Damage], None]


def name(segment: int) -> str:
    """File name of a segment."""
    return f"{segment:016x}.seg"


def foot_name(segment: int) -> str:
    """File name of the footer that is left of a segment."""
    return f"{segment:016x}.foot"


def listing(folder: str, suffix: str = ".seg") -> list[int]:
    """Ids of the segments in ``folder``, ascending."""
    found = []
    for entry in os.listdir(folder):
        if entry.endswith(suffix) and len(entry) == 16 + len(suffix):
            try:
                found.append(int(entry[:16], 16))
            except ValueError:
                continue
    return sorted(found)


def align(offset: int) -> int:
    """The next offset where a batch may begin."""
    return (offset + ALIGN - 1) & -ALIGN


def read(fd: int, size: int, offset: int) -> bytes:
    """``size`` bytes at ``offset``, fewer at the end of the file.

    Pages that the drive can't read come as zeros: no checksum fits them, so they are damage like
    any other and their neighbours stay readable.
    """
    try:
        return io.pread(fd, size, offset)
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
    return b"".join(_pages(fd, offset, min(offset + size, os.fstat(fd).st_size)))


def is_readable(fd: int, start: int, stop: int) -> bool:
    """Whether the drive gives what lies from ``start`` to ``stop`` (``read`` hides it)."""
    for offset in range(start, stop, _SEARCH_CHUNK):
        try:
            io.pread(fd, min(_SEARCH_CHUNK, stop - offset), offset)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            return False
    return True


def is_blank(fd: int, offset: int) -> bool:
    """Whether no batch was ever begun at ``offset`` of a segment; False if that can't be read."""
    return is_readable(fd, offset, offset + BATCH_BYTES) and not any(
        io.pread(fd, BATCH_BYTES, offset)
    )


def _pages(fd: int, start: int, stop: int) -> Iterator[bytes]:
    while start < stop:
        size = min(PAGE - start % PAGE, stop - start)
        try:
            yield io.pread(fd, size, start)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            yield bytes(size)
        start += size


# -- header page --------------------------------------------------------------------------------


def encode_header(header: Header) -> bytes:
    """The header page's bytes."""
    fixed = _HEADER.pack(
        _MAGIC,
        VERSION,
        PAGE,
        bytes.fromhex(header.store_id),
        header.segment,
        header.epoch,
        header.predecessor,
        header.predecessor_length,
        header.salt,
        header.first_seq,
        header.opened,
        header.size,
        header.predecessor_salt,
    )
    return (fixed + _U64.pack(xxh3(fixed))).ljust(_COPY, b"\0") * 2


def new_header(
    *,
    store_id: str,
    segment: int,
    epoch: int,
    predecessor: int,
    predecessor_length: int,
    first_seq: int,
    size: int,
    predecessor_salt: int = 0,
) -> Header:
    """A header with a fresh salt; ``check`` is filled in."""
    header = Header(
        store_id=store_id,
        segment=segment,
        epoch=epoch,
        predecessor=predecessor,
        predecessor_length=predecessor_length,
        salt=int.from_bytes(os.urandom(8), "little"),
        first_seq=first_seq,
        opened=time.time_ns() // 1_000_000,
        size=size,
        predecessor_salt=predecessor_salt,
    )
    return decode_header(encode_header(header))


def decode_header(page: bytes) -> Header:
    """The header, or its copy if it is damaged.

    Raises ``Damaged`` if neither verifies; ``DriveRefused`` for a newer format.
    """
    if len(page) < PAGE:
        raise Damaged("header page is cut off")
    for at in (0, _COPY):
        magic, version, size, store, *numbers = _HEADER.unpack_from(page, at)
        check = _U64.unpack_from(page, at + _HEADER.size)[0]
        if magic == _MAGIC and check == xxh3(page[at : at + _HEADER.size]):
            break
    else:
        raise Damaged("header page does not verify")
    if version > VERSION or size != PAGE:
        raise errors.DriveRefused(
            f"the log was written by a newer release (segment format {version}): start that one."
        )
    segment, epoch, predecessor, length, salt, first, opened, allocated, before = numbers
    return Header(
        store_id=store.hex(),
        segment=segment,
        epoch=epoch,
        predecessor=predecessor,
        predecessor_length=length,
        salt=salt,
        first_seq=first,
        opened=opened,
        size=allocated,
        predecessor_salt=before,
        check=check,
    )


def rescue_header(successor: Header, size: int) -> Header:
    """Stand in for the damaged header page of ``successor``'s predecessor: enough to scan it.

    Raises ``Damaged`` if ``successor`` tells nothing of it, as one that was itself stood in for.
    """
    if not successor.predecessor or not successor.predecessor_salt:
        raise Damaged("the successor does not tell what the header page held")
    return Header(
        store_id=successor.store_id,
        segment=successor.predecessor,
        epoch=0,
        predecessor=0,
        predecessor_length=0,
        salt=successor.predecessor_salt,
        first_seq=0,
        opened=0,
        size=size,
    )


def open_header(fd: int, path: str) -> Header:
    """The header of the segment or ``.foot`` file ``path``, which is open as ``fd``.

    If its header page is damaged, the successor's tells what reading takes. Raises ``Damaged``
    if neither can.
    """
    try:
        return read_header(fd)
    except Damaged:
        successor = successor_header(path)
        if successor is None:
            raise
        return rescue_header(successor, os.fstat(fd).st_size)


def successor_header(path: str) -> Header | None:
    """The header of the segment behind ``path``, or of its ``.foot``; None if it can't be read."""
    folder, own = os.path.split(path)
    try:
        number = int(own[:16], 16)
    except ValueError:
        return None
    for following in (name(number + 1), foot_name(number + 1)):
        try:
            fd = os.open(os.path.join(folder, following), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            header = read_header(fd)
        except Damaged:
            continue
        finally:
            os.close(fd)
        if header.predecessor == number:
            return header
    return None


def closed_length(fd: int, header: Header, path: str) -> int | None:
    """Where the batches of a segment end that is written no more; None: it may still be."""
    trailer = read_trailer(fd, header)
    if trailer is not None:
        return trailer.length
    successor = successor_header(path)
    return successor.predecessor_length if successor is not None else None


def read_header(fd: int) -> Header:
    """The header page of an open segment or ``.foot`` file."""
    return decode_header(read(fd, PAGE, 0))


# -- writing ------------------------------------------------------------------------------------


class Builder:
    """One batch in the making, at ``start`` of a segment.

    Payloads are referenced, not copied, until ``buffers`` hands them to one ``pwritev``.
    """

    __slots__ = (
        "_heads",
        "_payload_end",
        "_payloads",
        "_salt",
        "count",
        "first_seq",
        "heads_bytes",
        "segment",
        "start",
    )

    def __init__(self, segment: int, salt: int, start: int, first_seq: int) -> None:
        self.segment = segment
        self.start = start
        self.first_seq = first_seq
        self.count = 0
        self.heads_bytes = 0
        self._salt = salt
        self._heads: list[bytes] = []
        self._payloads: list[bytes | memoryview] = []
        self._payload_end = start + BATCH_BYTES

    @property
    def next_seq(self) -> int:
        """The sequence number that the next record gets."""
        return self.first_seq + self.count

    @property
    def size(self) -> int:
        """Bytes that the batch takes so far, padding left out."""
        return self._payload_end - self.start + self.heads_bytes

    def add(self, kind: int, body: bytes, payload: bytes = b"", commit_seq: int = 0) -> Place:
        """Append a record; ``commit_seq`` is given for relocations only."""
        salt, offset = self._salt, self._payload_end
        seq = self.first_seq + self.count
        length = len(payload)
        check = xxh3(payload, seed=salt ^ (commit_seq or seq)) & _MASK63 if length else 0
        fixed = _RECORD.pack(kind, 0, 0, len(body), seq, offset, length, 0, check, 0)[:40]
        head_check = xxh3(fixed + body, seed=salt ^ seq)
        self._heads.append(fixed + _U64.pack(head_check) + body)
        if length:
            self._payloads.append(payload)
            self._payload_end = offset + length
        weight = RECORD_BYTES + len(body)
        self.heads_bytes += weight
        self.count += 1
        return Place(self.segment, offset, check, weight + length, seq)

    @property
    def salt(self) -> int:
        """The salt of the segment."""
        return self._salt

    def payload_at(self, offset: int) -> bytes:
        """The payload that lies at ``offset``, which ``add`` returned."""
        at = self.start + BATCH_BYTES
        for payload in self._payloads:
            if at == offset:
                return bytes(payload)
            at += len(payload)
        raise LookupError(offset)

    def take_back(self, place: Place, body: bytes, payload: bytes) -> None:
        """Undo the last ``add``: what it was given, and what it returned."""
        self._heads.pop()
        if payload:
            self._payloads.pop()
            self._payload_end = place.offset
        self.heads_bytes -= RECORD_BYTES + len(body)
        self.count -= 1

    def buffers(self, epoch: int, previous: int) -> tuple[list[bytes | memoryview], int, int]:
        """What to write at ``start``; the offset behind it; the batch's checksum."""
        salt = self._salt
        heads = b"".join(self._heads)
        payloads = self._payload_end - self.start - BATCH_BYTES
        fixed = _BATCH.pack(
            _BATCH_MAGIC,
            self.count,
            epoch,
            self.first_seq,
            payloads,
            len(heads),
            0,
            xxh3(heads, seed=salt),
            previous,
            0,
        )[:56]
        check = xxh3(fixed, seed=salt)
        stop = self._payload_end + len(heads)
        end = align(stop)
        buffers: list[bytes | memoryview] = [fixed + _U64.pack(check)]
        if len(self._payloads) > 1000:  # IOV_MAX
            buffers.append(b"".join(self._payloads))
        else:
            buffers += self._payloads
        buffers.append(heads + bytes(end - stop))
        return buffers, end, check


# -- reading batches ----------------------------------------------------------------------------


def decode_batch(data: bytes | memoryview, start: int, salt: int) -> BatchHead:
    """The batch header in ``data``, which lies at ``start``. Raises ``Damaged``."""
    if len(data) < BATCH_BYTES:
        raise Damaged("batch header is cut off")
    magic, count, epoch, first, payloads, heads, _, heads_check, previous, check = (
        _BATCH.unpack_from(data)
    )
    if magic != _BATCH_MAGIC or check != xxh3(data[:56], seed=salt):
        raise Damaged("batch header does not verify")
    end = align(start + BATCH_BYTES + payloads + heads)
    return BatchHead(start, end, count, epoch, first, payloads, heads, heads_check, previous, check)


def decode_heads(
    heads: bytes, batch: BatchHead, segment: int, salt: int, report: Report | None = None
) -> Iterator[Record]:
    """The records of a batch whose heads verify; the others are reported."""
    position = 0
    seq = batch.first_seq
    lost = Damage(segment, batch.start, batch.end, "a record head does not verify")
    for _ in range(batch.records):
        if position + RECORD_BYTES > len(heads):
            _tell(report, lost)
            return
        kind, _flags, _zero, size, found, offset, length, _, check, head_check = (
            _RECORD.unpack_from(heads, position)
        )
        body_at = position + RECORD_BYTES
        if found != seq or body_at + size > len(heads):
            _tell(report, lost)  # lengths can't be trusted: what follows can't be found
            return
        body = heads[body_at : body_at + size]
        if xxh3(heads[position : position + 40] + body, seed=salt ^ seq) == head_check:
            yield Record(kind, seq, segment, offset, length, check, body)
        else:
            _tell(report, lost)
        position = body_at + size
        seq += 1


def payload_check(payload: bytes | bytearray | memoryview, salt: int, seq: int) -> int:
    """The 63-bit checksum of a payload committed as ``seq`` in the segment with ``salt``."""
    return xxh3(payload, seed=salt ^ seq) & _MASK63 if len(payload) else 0


def read_payload(path: str, offset: int, size: int) -> tuple[bytes, int]:
    """A payload of the segment at ``path``, not verified yet, and the segment's salt."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read(fd, size, offset), open_header(fd, path).salt
    finally:
        os.close(fd)


def read_batch(fd: int, start: int, salt: int) -> BatchHead:
    """The batch header at ``start``. Raises ``Damaged``."""
    return decode_batch(read(fd, BATCH_BYTES, start), start, salt)


def read_heads(fd: int, batch: BatchHead) -> bytes:
    """The heads of a batch, unverified."""
    return read(fd, batch.heads, batch.start + BATCH_BYTES + batch.payloads)


def verify_batch(fd: int, batch: BatchHead, salt: int, commit_seq: Callable[[Record], int]) -> bool:
    """Whether heads and payloads of a batch are all as written.

    ``commit_seq`` tells the sequence number that seeds a record's payload.
    """
    heads = read_heads(fd, batch)
    if len(heads) < batch.heads or xxh3(heads, seed=salt) != batch.heads_check:
        return False
    found = 0
    for record in decode_heads(heads, batch, 0, salt):
        found += 1
        payload = read(fd, record.length, record.offset)
        if len(payload) != record.length:
            return False
        if payload_check(payload, salt, commit_seq(record)) != record.check:
            return False
    return found == batch.records


def search_batch(fd: int, start: int, stop: int, salt: int) -> int | None:
    """Offset of the first batch header that verifies in [start, stop), else None."""
    position = align(start)
    while position < stop:
        chunk = read(fd, min(_SEARCH_CHUNK, stop - position) + BATCH_BYTES, position)
        at = chunk.find(_BATCH_MAGIC_BYTES)
        while 0 <= at < _SEARCH_CHUNK:
            if at % ALIGN == 0:
                try:
                    decode_batch(memoryview(chunk)[at : at + BATCH_BYTES], position + at, salt)
                except Damaged:
                    pass
                else:
                    return position + at
            at = chunk.find(_BATCH_MAGIC_BYTES, at + 1)
        position += _SEARCH_CHUNK
    return None


def batches(
    fd: int,
    header: Header,
    start: int = PAGE,
    stop: int | None = None,
    report: Report | None = None,
    *,
    search: bool = True,
) -> Iterator[BatchHead]:
    """Verified batch headers from ``start`` up to ``stop`` (default: the end of the file).

    Ends at the first place behind which no batch verifies; damage before it is reported and
    skipped. Without ``search`` it ends at the first batch that does not verify: to search the
    blank rest of a segment that is being written is costly. Heads and payloads are not verified
    here.
    """
    limit = os.fstat(fd).st_size if stop is None else stop
    position = start
    following = 0
    while position + BATCH_BYTES <= limit:
        try:
            batch = read_batch(fd, position, header.salt)
            if batch.end > align(limit):
                raise Damaged("batch reaches beyond the segment")
            if batch.first_seq < following:
                # The copy in a footer, written since the file was opened.
                raise Damaged("sequence numbers fall")
        except Damaged as damage:
            found = search_batch(fd, position + ALIGN, limit, header.salt) if search else None
            if found is None:
                return
            _tell(report, Damage(header.segment, position, found, str(damage)))
            position = found
            continue
        yield batch
        position = batch.end
        following = batch.first_seq + batch.records


def scan(
    path: str,
    *,
    start: int = PAGE,
    stop: int | None = None,
    header: Header | None = None,
    report: Report | None = None,
) -> Iterator[Record]:
    """Every record of a segment whose head verifies, in log order.

    ``stop`` is the sealed length as the successor's header names it; ``header`` stands in for a
    damaged header page (``rescue_header``). Payloads are not read. Raises ``Damaged`` if the
    header is lost.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = header or open_header(fd, path)
        if stop is None:
            stop = closed_length(fd, header, path)
        for batch in batches(fd, header, start, stop, report):
            yield from decode_heads(
                read_heads(fd, batch), batch, header.segment, header.salt, report
            )
    finally:
        os.close(fd)


# -- footer -------------------------------------------------------------------------------------


def read_trailer(fd: int, header: Header) -> Summary | None:
    """The trailer at the end of an open file; None if there is no valid one."""
    size = os.fstat(fd).st_size
    if size < PAGE + TRAILER_BYTES:
        return None
    data = read(fd, TRAILER_BYTES, size - TRAILER_BYTES)
    if len(data) < TRAILER_BYTES or data[:8] != _FOOT_MAGIC:
        return None
    (_, version, _, segment, length, offset, size_, records, low, high, _check, own, _) = (
        _TRAILER.unpack(data)
    )
    if own != xxh3(data[:80], seed=header.salt) or version > VERSION or segment != header.segment:
        return None
    return Summary(segment, length, offset, size_, records, low, high)


def read_footer(path: str, report: Report | None = None) -> Iterator[Record] | None:
    """The records of a sealed segment (``.seg``) or of what is left of it (``.foot``).

    None if there is no valid footer: ``scan`` then.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = open_header(fd, path)
        summary = read_trailer(fd, header)
        if summary is None:
            return None
        footer = read(fd, summary.footer_length, summary.footer_offset)
        trailer = read(fd, TRAILER_BYTES, os.fstat(fd).st_size - TRAILER_BYTES)
    finally:
        os.close(fd)
    if xxh3(footer, seed=header.salt) != _TRAILER.unpack(trailer)[10]:
        return None
    return _footer_records(footer, header, report)


def _footer_records(footer: bytes, header: Header, report: Report | None) -> Iterator[Record]:
    position = 0
    view = memoryview(footer)
    while position + BATCH_BYTES <= len(footer):
        batch = decode_batch(view[position : position + BATCH_BYTES], 0, header.salt)
        position += BATCH_BYTES
        heads = footer[position : position + batch.heads]
        yield from decode_heads(heads, batch, header.segment, header.salt, report)
        position += batch.heads


def has_footer(path: str) -> bool:
    """Whether the segment at ``path`` ends with a trailer and a footer that verifies."""
    try:
        return read_footer(path) is not None
    except Damaged:
        return False


def all_records(path: str, report: Report | None = None) -> Iterator[Record]:
    """The records of a segment from its footer, or from a scan if it has none."""
    found = read_footer(path, report)
    return scan(path, report=report) if found is None else found


def _collect(fd: int, header: Header, length: int) -> tuple[bytes, int, int, int]:
    """Footer bytes of the batches up to ``length``, with count and range of the records."""
    pieces: list[bytes] = []
    count, low, high = 0, 0, 0
    for batch in batches(fd, header, stop=length):
        pieces.append(read(fd, BATCH_BYTES, batch.start))
        pieces.append(read_heads(fd, batch))
        count += batch.records
        low = min(low or batch.first_seq, batch.first_seq)
        high = max(high, batch.first_seq + batch.records - 1)
    return b"".join(pieces), count, low, high


def _trailer(
    header: Header, length: int, offset: int, footer: bytes, numbers: Sequence[int]
) -> bytes:
    fixed = _TRAILER.pack(
        _FOOT_MAGIC,
        VERSION,
        0,
        header.segment,
        length,
        offset,
        len(footer),
        *numbers,
        xxh3(footer, seed=header.salt),
        0,
        0,
    )[:80]
    return fixed + _U64.pack(xxh3(fixed, seed=header.salt)) + bytes(8)


def write_footer(path: str, length: int, *, keep: bool = False) -> Summary:
    """Give the closed segment at ``path``, whose batches end at ``length``, its footer.

    Repeatable. The file shrinks to what it needs, unless what lies behind ``length`` is to be
    kept (``keep``): the footer follows it then. Not on the commit thread: reads all heads.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        header = read_header(fd)
        footer, *numbers = _collect(fd, header, length)
        offset = os.fstat(fd).st_size if keep else length
        trailer = _trailer(header, length, offset, footer, numbers)
        io.pwrite(fd, footer + trailer, offset)
        io.truncate(fd, offset + len(footer) + len(trailer))
        io.fdatasync(fd)
    finally:
        os.close(fd)
    return Summary(header.segment, length, offset, len(footer), *numbers)


def write_foot_file(source: str, target: str) -> None:
    """Keep only header page and footer of a sealed segment, as ``target``, synced.

    The caller syncs the folder. Raises ``Damaged`` if ``source`` has no valid footer.
    """
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = open_header(fd, source)
        summary = read_trailer(fd, header)
        if summary is None:
            raise Damaged(f"{source} has no footer")
        footer = read(fd, summary.footer_length, summary.footer_offset)
    finally:
        os.close(fd)
    numbers = (summary.records, summary.min_seq, summary.max_seq)
    out = io.create(target)
    try:
        trailer = _trailer(header, summary.length, PAGE, footer, numbers)
        io.pwrite(out, encode_header(header) + footer + trailer, 0)
        io.fsync(out)
    finally:
        os.close(out)


def _tell(report: Report | None, damage: Damage) -> None:
    if report is not None:
        report(damage)
