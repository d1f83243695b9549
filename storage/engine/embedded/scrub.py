"""Scrub: finding rot before a client does, and an index that differs from the log.

A pass has three parts (docs/durability.md, "Scrub"):

1. *index*: footers and rows are compared, both ways (``comparison``). Where they differ, the
   index is made anew, provided that the log can tell everything.
2. *segments*: every closed segment is read as it lies on the drive; heads and payloads are
   verified.
3. *files*: so is every file that an object or a part names, block by block.

``Pass.steps`` does it in steps of about a MiB; its owner decides when the next one is due. Where a
pass stands is in ``Progress``, which outlives the process: the second and third part go on where
they were, the first, which is quick, begins again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
from collections.abc import Iterator
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest as xxh3

from storage import errors
from storage.engine.embedded import log, records, segment
from storage.engine.embedded.comparison import Comparison, Mismatch, ask
from storage.engine.embedded.drivefile import DriveFile
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.embedded.files import BLOCK, FileGone, file_path
from storage.engine.embedded.index import decode_file, decode_files
from storage.engine.embedded.reader import Reader
from storage.engine.embedded.segment import Damage, Damaged
from storage.engine.interface import FileRef

INDEX, SEGMENTS, FILES, PARTS, DONE = "index", "segments", "files", "parts", "done"
#: Findings that are remembered with their places; beyond it they are only counted.
FINDINGS_MAX = 100
_PAGE = 256
_PARTS = (
    "SELECT upload, number, file FROM parts WHERE (upload, number) > (?, ?) "
    "ORDER BY upload, number LIMIT ?"
)
_FILES_OF = """SELECT files FROM current WHERE bucket=?1 AND key=?2
UNION ALL SELECT files FROM versions WHERE bucket=?1 AND key=?2"""
_UNREADABLE = (errno.EIO, errno.EBADMSG)
_logger = logging.getLogger("oversight.scrub")


class Finding(msgspec.Struct, frozen=True):
    """A piece of data that is not what was written. ``bucket`` is an id, 0 where none is known."""

    what: str
    place: str
    bucket: int = 0
    key: str = ""


class Progress(msgspec.Struct):
    """Where a pass stands and what it found; also how the last one ended. Times are ms."""

    part: str = DONE
    segment: int = 0
    """Every closed segment below is done."""
    object: tuple[int, bytes] = (0, b"")
    upload: tuple[int, int] = (0, 0)
    passes: int = 0
    started: int = 0
    finished: int = 0
    verified: int = 0
    """Bytes read in this pass."""
    compared: int = 0
    damages: int = 0
    mismatches: int = 0
    repairs: int = 0
    """How often the index was made anew because of a scrub, ever."""
    findings: list[Finding] = []
    earlier: int = 0
    """Damages that the pass before this one found."""

    def begin(self, now: int) -> None:
        """Begin another pass at ``now``."""
        self.earlier = self.damages
        self.part, self.started = INDEX, now
        self.segment, self.object, self.upload = 0, (0, b""), (0, 0)
        self.verified = self.compared = self.damages = self.mismatches = 0
        self.findings = []


class Pass:
    """One pass over a store, or the rest of one that ``progress`` was in the middle of."""

    def __init__(self, engine: EmbeddedEngine, progress: Progress) -> None:
        self._engine = engine
        self._folder = engine.drive.segments
        self.progress = progress

    def steps(self) -> Iterator[None]:
        """Everything that is left to do. The last step sets ``Progress.part`` to DONE."""
        progress = self.progress
        if progress.part == INDEX:
            yield from self._compare()
            progress.part = SEGMENTS
        if progress.part == SEGMENTS:
            yield from self._segments()
            progress.part = FILES
        if progress.part == FILES:
            yield from self._files()
            progress.part = PARTS
        if progress.part == PARTS:
            yield from self._parts()
            progress.part = DONE

    def _found(self, finding: Finding) -> None:
        self.progress.damages += 1
        if len(self.progress.findings) < FINDINGS_MAX:
            self.progress.findings.append(finding)
        where = f", object {finding.key!r} of bucket {finding.bucket}" if finding.key else ""
        _logger.error("scrub: %s: %s%s", finding.place, finding.what, where)

    # -- the index --------------------------------------------------------------------------------

    def _compare(self) -> Iterator[None]:
        comparison = Comparison(self._engine)
        for _ in comparison.steps():
            self.progress.compared = comparison.compared
            yield
        for damage in comparison.damages:
            self._found(_of_log(damage))
        for number in sorted(comparison.lost):
            self._found(Finding("the file is missing", f"segment {number:x}"))
        self.progress.mismatches = len(comparison.mismatches)
        if comparison.mismatches:
            self._repair(comparison)

    def _repair(self, comparison: Comparison) -> None:
        """Have the index made anew, unless it knows what the log can't tell any more."""
        for mismatch in comparison.mismatches[:FINDINGS_MAX]:
            _logger.error("scrub: index and log differ: %s", _sentence(mismatch))
        count = len(comparison.mismatches)
        if comparison.damages or comparison.lost:
            _logger.error(
                "scrub: %d differences of index and log stay, for the log is damaged too: what the "
                "index knows of the damaged ranges would be lost with it", count,
            )  # fmt: skip
            return
        _logger.error("scrub: %d differences: the index is made anew from the log", count)
        self.progress.repairs += 1
        self._engine.board.suspect = True

    # -- segments ---------------------------------------------------------------------------------

    def _segments(self) -> Iterator[None]:
        progress = self.progress
        while closed := [n for n in self._closed() if n >= progress.segment]:
            with contextlib.suppress(FileNotFoundError):  # compacted meanwhile
                yield from self._verify_segment(closed[0])
            progress.segment = closed[0] + 1

    def _closed(self) -> list[int]:
        return segment.listing(self._folder)[:-1]

    def _verify_segment(self, number: int) -> Iterator[None]:
        path = os.path.join(self._folder, segment.name(number))
        with contextlib.closing(DriveFile(path)) as file:
            try:
                header = segment.open_header(file.fd, path)
            except Damaged as error:
                self._found(Finding(str(error), f"segment {number:x}"))
                return
            trailer = segment.read_trailer(file.fd, header)
            if trailer is not None and not segment.has_footer(path):
                self._found(Finding("the footer does not verify", f"segment {number:x}"))
            stop = segment.closed_length(file.fd, header, path)
            damages: list[Damage] = []
            for batch in segment.batches(file.fd, header, stop=stop, report=damages.append):
                heads = segment.read_heads(file.fd, batch)
                for record in segment.decode_heads(
                    heads, batch, number, header.salt, damages.append
                ):
                    if record.length:
                        self._verify_payload(file, header.salt, record)
                        yield
                self.progress.verified += len(heads) + segment.BATCH_BYTES
                yield
            for damage in dict.fromkeys(damages):
                self._found(_of_log(damage))

    def _verify_payload(self, file: DriveFile, salt: int, record: segment.Record) -> None:
        self.progress.verified += record.length
        try:
            data = file.read(record.length, record.offset)
            seq = log.commit_seq(record)
            if segment.payload_check(data, salt, seq) == record.check:
                return
            what = "a payload does not verify"
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            what = f"a payload can't be read ({os.strerror(error.errno or 0)})"
        body: Any = records.decode(record.type, record.body)
        if record.type == records.RELOCATION:
            body = records.decode(body.type, body.body)
        place = f"segment {record.segment:x}, {record.length} bytes at {record.offset}"
        self._found(Finding(what, place, getattr(body, "bucket", 0), getattr(body, "key", "")))

    # -- files ------------------------------------------------------------------------------------

    def _files(self) -> Iterator[None]:
        progress = self.progress
        after = (*progress.object, 0)
        while True:
            files = functools.partial(Reader.files, after=after, limit=_PAGE)
            rows = yield from ask(self._engine, files)
            for bucket, key, seq, encoded in rows:
                if (bucket, key) != after[:2]:
                    progress.object = after[:2]  # with all of its versions
                for ref in decode_files(encoded):
                    yield from self._verify_file(ref, bucket, key)
                after = (bucket, key, seq)
            if len(rows) < _PAGE:
                return

    def _parts(self) -> Iterator[None]:
        progress = self.progress
        while True:
            parts = functools.partial(_parts_after, after=progress.upload)
            rows = yield from ask(self._engine, parts)
            for upload, number, encoded in rows:
                yield from self._verify_file(decode_file(encoded))
                progress.upload = (upload, number)
            if len(rows) < _PAGE:
                return

    def _verify_file(self, ref: FileRef, bucket: int = 0, key: bytes = b"") -> Iterator[None]:
        try:
            yield from self._verify_blocks(ref)
            return
        except FileGone:
            named = yield from ask(self._engine, lambda reader: _is_named(reader, ref, bucket, key))
            if not named:
                return  # replaced or deleted meanwhile
            what = "the file is missing"
        except errors.DataCorrupt as damage:
            what = str(damage)
        self._found(Finding(what, f"file {ref.name}", bucket, key.decode(errors="replace")))

    def _verify_blocks(self, ref: FileRef) -> Iterator[None]:
        store = self._engine.files
        sums = store.sums(ref)
        try:
            file = DriveFile(file_path(store.root, ref.name))
        except FileNotFoundError:
            raise FileGone(ref.name) from None
        with contextlib.closing(file):
            for number, expected in enumerate(sums):
                at = number * BLOCK
                try:
                    block = file.read(min(BLOCK, ref.size - at), at)
                except OSError as error:
                    raise errors.DataCorrupt(f"block {number} can't be read") from error
                self.progress.verified += len(block)
                if xxh3(block) != expected:
                    raise errors.DataCorrupt(f"block {number} does not verify")
                yield


def _parts_after(reader: Reader, after: tuple[int, int]) -> list[Any]:
    return reader.rows(_PARTS, (*after, _PAGE))


def _is_named(reader: Reader, ref: FileRef, bucket: int, key: bytes) -> bool:
    if key:
        found = reader.rows(_FILES_OF, (bucket, key))
        return any(ref in decode_files(row[0]) for row in found if row[0] is not None)
    sql = "SELECT file FROM parts WHERE upload IN (SELECT seq FROM uploads)"
    return any(decode_file(row[0]) == ref for row in reader.rows(sql))


def _of_log(damage: Damage) -> Finding:
    place = f"segment {damage.segment:x}, bytes {damage.start} to {damage.stop}"
    return Finding(damage.what, place)


def _sentence(mismatch: Mismatch) -> str:
    where = f", object {mismatch.key!r} of bucket {mismatch.bucket}" if mismatch.key else ""
    number = f" (segment {mismatch.segment:x})" if mismatch.segment else ""
    return f"{mismatch.what}{where}{number}"
