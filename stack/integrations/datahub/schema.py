"""The columns of Parquet, Avro, CSV, TSV, JSON and JSON Lines objects, from a bounded read.

DataHub's own inferrers do the work, with the limits of its ``s3`` source, so that push and pull
agree about a schema. They get at most ``HEAD_BYTES`` from the object's start; of Parquet they read
the footer by ranges and nothing else.
"""

from __future__ import annotations

import bz2
import io
import logging
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from stack.integrations.datahub.objects import Objects, StoredObject
from stack.store import CommandError

_logger = logging.getLogger(__name__)

#: Bytes read from the start of an object, and as many at most after decompression.
HEAD_BYTES = 1024 * 1024
#: Bytes that the footer of a Parquet object may cost in all.
FOOTER_BYTES_MAX = 16 * 1024 * 1024
#: Rows from which types are inferred: what DataHub's source takes.
ROWS = 100
_TAIL_BYTES = 64 * 1024

_FORMATS = frozenset({"avro", "csv", "json", "jsonl", "parquet", "tsv"})
_COMPRESSIONS = frozenset({"bz2", "gz", "gzip"})
_CONTENT_TYPES = {
    "application/avro": "avro",
    "application/json": "json",
    "application/jsonl": "jsonl",
    "application/vnd.apache.parquet": "parquet",
    "application/x-ndjson": "jsonl",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
}


class Unreadable(Exception):
    """The object is not what its name says, or too large a piece of it would have to be read."""


@dataclass(frozen=True, slots=True)
class Format:
    """What an object holds, and how it is compressed ("" if it is not)."""

    name: str
    compression: str = ""


def format_of(stored: StoredObject) -> Format | None:
    """The format by the key's suffixes, as DataHub's source decides, else by content type."""
    suffixes = [each.lstrip(".").lower() for each in PurePosixPath(stored.address.key).suffixes]
    compression = ""
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        compression = suffixes.pop()
    name = suffixes[-1] if suffixes else ""
    if name not in _FORMATS:
        content_type = stored.content_type.partition(";")[0].strip().lower()
        name = _CONTENT_TYPES.get(content_type, "")
    if not name:
        return None
    return Format(name, "bz2" if compression == "bz2" else "gz" if compression else "")


def fields_of(objects: Objects, stored: StoredObject) -> list[Any]:
    """DataHub's schema fields; empty for objects without columns.

    Raises Unreadable, in words for an operator, and CommandError if the store fails.
    """
    form = format_of(stored)
    if form is None or stored.size == 0:
        return []
    inferrer = _inferrer(form.name)
    try:
        fields: list[Any] = inferrer.infer_schema(_opened(objects, stored, form))
    except (CommandError, Unreadable):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a parser makes of hostile bytes
        _logger.debug("%s: %r", stored.address.url, error)
        raise Unreadable(
            f"it is no {form.name} that can be read ({type(error).__name__})"
        ) from None
    return fields


def _opened(objects: Objects, stored: StoredObject, form: Format) -> io.IOBase:
    """What the inferrer reads. Raises Unreadable, CommandError."""
    if form.name == "parquet":
        if form.compression:
            raise Unreadable("a compressed Parquet object can't be read in part")
        return io.BufferedReader(RangeFile(objects, stored), 4096)
    data = objects.read(stored, 0, HEAD_BYTES)
    whole = stored.size <= HEAD_BYTES
    if form.compression:
        data, whole = _decompressed(data, form.compression, whole)
    if not whole:
        data = _whole_records(data, form.name)
    return io.BytesIO(data)


def _inferrer(name: str) -> Any:
    if name == "parquet":
        from datahub.ingestion.source.schema_inference.parquet import ParquetInferrer

        return ParquetInferrer()
    if name == "avro":
        from datahub.ingestion.source.schema_inference.avro import AvroInferrer

        return AvroInferrer()
    if name in ("json", "jsonl"):
        from datahub.ingestion.source.schema_inference.json import JsonInferrer

        return JsonInferrer(max_rows=ROWS, format=name)
    from datahub.ingestion.source.schema_inference import csv_tsv

    return (csv_tsv.CsvInferrer if name == "csv" else csv_tsv.TsvInferrer)(max_rows=ROWS)


def _decompressed(data: bytes, compression: str, whole: bool) -> tuple[bytes, bool]:
    """The start of what is inside, and whether that is all of it. Raises Unreadable."""
    try:
        if compression == "gz":
            inflating = zlib.decompressobj(wbits=31)
            inside = inflating.decompress(data, HEAD_BYTES)
            return inside, whole and inflating.eof and not inflating.unused_data
        unpacking = bz2.BZ2Decompressor()
        inside = unpacking.decompress(data, HEAD_BYTES)
        return inside, whole and unpacking.eof and not unpacking.unused_data
    except (zlib.error, OSError):
        raise Unreadable(f"it is not compressed as its name says ({compression})") from None


def _whole_records(data: bytes, name: str) -> bytes:
    """The records that the start of an object holds in full. Raises Unreadable."""
    if name == "avro":
        return data  # its schema stands in the header
    if name == "json" and data.lstrip()[:1] == b"[":
        return _whole_items(data)
    end = data.rfind(b"\n") + 1
    if not end:
        raise Unreadable(f"its first record is longer than {HEAD_BYTES} bytes")
    if name == "json":
        return _lines_of_json(data[:end])
    return data[:end]


def _whole_items(data: bytes) -> bytes:
    """A JSON array of the items that the start of one holds in full. Raises Unreadable."""
    import json

    import ijson

    items: list[Any] = []
    try:
        for item in ijson.items(io.BytesIO(data), "item", use_float=True):
            items.append(item)
            if len(items) == ROWS:
                break
    except ijson.JSONError:
        pass  # here the start of the object ends
    if not items:
        raise Unreadable(f"its first item is longer than {HEAD_BYTES} bytes")
    return json.dumps(items).encode()


def _lines_of_json(data: bytes) -> bytes:
    """``data`` if it is JSON Lines, whatever its name. Raises Unreadable."""
    import json

    first = data.split(b"\n", 1)[0]
    try:
        json.loads(first)
    except ValueError:
        raise Unreadable(f"one JSON document of more than {HEAD_BYTES} bytes") from None
    return data


class RangeFile(io.RawIOBase):
    """An object as a seekable file that fetches what is read, the object's end at once.

    Fetches at most ``FOOTER_BYTES_MAX`` in all, then raises Unreadable.
    """

    def __init__(self, objects: Objects, stored: StoredObject) -> None:
        self._objects, self._stored = objects, stored
        self._position = 0
        self._tail_start = max(0, stored.size - _TAIL_BYTES)
        self._tail = b""
        self.fetched = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._stored.size}
        self._position = max(0, base[whence] + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._fetch(self._position, len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _fetch(self, start: int, length: int) -> bytes:
        if start >= self._tail_start:
            if not self._tail:
                self._tail = self._paid(self._tail_start, self._stored.size - self._tail_start)
            return self._tail[start - self._tail_start :][:length]
        return self._paid(start, length)

    def _paid(self, start: int, length: int) -> bytes:
        if self.fetched + length > FOOTER_BYTES_MAX:
            raise Unreadable(f"its footer is larger than {FOOTER_BYTES_MAX} bytes")
        data = self._objects.read(self._stored, start, length)
        self.fetched += len(data)
        return data
