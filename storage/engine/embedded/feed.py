"""The change feed: what happened to objects and buckets, in commit order, out of the log.

Reads batch heads straight from the segments, payloads never. What only the engine cares about
(uploads, system records, cursors, relocations, epochs) is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from storage.engine import interface
from storage.engine.embedded import records, segment
from storage.engine.embedded.reader import Reader
from storage.engine.embedded.segment import Record

_KINDS = (
    records.PUT,
    records.DELETE,
    records.BUCKET,
    records.BUCKET_DELETE,
    records.BUCKET_CONFIG,
    records.AMENDMENT,
)


class Feed:
    """Reads the feed of one store. Remembers where its last page ended."""

    def __init__(self, folder: str, reader: Reader) -> None:
        """``folder`` holds the segments."""
        self._folder = folder
        self._reader = reader
        self._resume: tuple[int, int, int] = (0, 0, segment.PAGE)
        """(first seq of a batch, its segment, its offset): where the last page ended"""
        self._feet: dict[int, int] = {}
        """Highest seq of each ``.foot`` file."""

    def read(self, after: int, limit: int, applied: int) -> list[interface.FeedEvent]:
        """Events with ``after`` < seq <= ``applied``, at most ``limit``."""
        events: list[interface.FeedEvent] = []
        if limit <= 0 or after >= applied:
            return events
        for record in self._records(after, applied):
            event = self._event(record)
            if event is not None:
                events.append(event)
                if len(events) == limit:
                    break
        return events

    def _records(self, after: int, applied: int) -> Iterator[Record]:
        first, from_segment, from_offset = self._resume
        if after < first - 1:
            from_segment, from_offset = 0, segment.PAGE
        for number, is_foot in self._sources(after):
            if number < from_segment:
                continue
            start = from_offset if number == from_segment else segment.PAGE
            path = os.path.join(
                self._folder, segment.foot_name(number) if is_foot else segment.name(number)
            )
            found = self._foot(path) if is_foot else self._segment(path, start, applied)
            for record in found:
                if record.seq > applied:
                    return
                if record.seq > after and record.type in _KINDS:
                    yield record

    def _sources(self, after: int) -> list[tuple[int, bool]]:
        """Segments and left-over footers that may hold something newer, in order."""
        segments = [(row.id, False) for row in self._reader.segments() if row.max_seq > after]
        present = {number for number, _ in segments}
        feet = [
            (number, True)
            for number in segment.listing(self._folder, ".foot")
            if number not in present and self._foot_max(number) > after
        ]
        return sorted(segments + feet)

    def _foot_max(self, number: int) -> int:
        if number not in self._feet:
            path = os.path.join(self._folder, segment.foot_name(number))
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                summary = segment.read_trailer(fd, segment.open_header(fd, path))
            finally:
                os.close(fd)
            self._feet[number] = summary.max_seq if summary else 0
        return self._feet[number]

    def _foot(self, path: str) -> Iterator[Record]:
        try:
            yield from segment.read_footer(path) or ()
        except FileNotFoundError:
            return

    def _segment(self, path: str, start: int, applied: int) -> Iterator[Record]:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            header = segment.open_header(fd, path)
            stop = segment.closed_length(fd, header, path)
            for batch in segment.batches(fd, header, start, stop, search=stop is not None):
                self._resume = (batch.first_seq, header.segment, batch.start)
                heads = segment.read_heads(fd, batch)
                yield from segment.decode_heads(heads, batch, header.segment, header.salt)
                if batch.first_seq + batch.records > applied:
                    return  # what follows is no batch yet, or one in the making
        finally:
            os.close(fd)

    def _event(self, record: Record) -> interface.FeedEvent | None:
        body: Any = records.decode(record.type, record.body)
        event = interface.FeedEvent
        match record.type:
            case records.PUT:
                kind = "marker" if body.flags & records.MARKER else "put"
                return self._version_event(record.seq, kind, record.seq, body)
            case records.AMENDMENT:
                put = records.decode(body.type, body.body)
                return self._version_event(record.seq, "amend", body.seq, put)
            case records.DELETE:
                name = self._reader.bucket_name(body.bucket)
                return event(
                    record.seq,
                    "delete",
                    name,
                    body.bucket,
                    body.key,
                    body.size,
                    body.etag,
                    body.time,
                    body.owner,
                    records.version_id(body.victim, body.flags),
                    victim=body.victim,
                )
            case records.BUCKET:
                return event(
                    record.seq,
                    "bucket-create",
                    body.name,
                    record.seq,
                    modified=body.created,
                    owner=body.owner,
                )
            case records.BUCKET_DELETE:
                return event(record.seq, "bucket-delete", body.name, body.bucket, owner=body.owner)
            case records.BUCKET_CONFIG:
                name = self._reader.bucket_name(body.bucket)
                return event(record.seq, "bucket-config", name, body.bucket, document=body.document)
        return None

    def _version_event(
        self, seq: int, kind: str, commit_seq: int, put: records.Put
    ) -> interface.FeedEvent:
        return interface.FeedEvent(
            seq,
            kind,
            self._reader.bucket_name(put.bucket),
            put.bucket,
            put.key,
            put.size,
            put.etag,
            put.modified,
            put.owner,
            records.version_id(commit_seq, put.flags),
            multipart=bool(put.upload),
        )
