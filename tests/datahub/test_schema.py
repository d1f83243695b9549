"""Columns of objects, from reads that stay small however large the object is."""

from __future__ import annotations

import bz2
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.datahub import need_datahub

need_datahub()

from stack.integrations.datahub import schema  # noqa: E402
from stack.integrations.datahub.objects import (  # noqa: E402
    Address,
    NoSuchObject,
    Objects,
    StoredObject,
)
from tests.datahub.conftest import parquet  # noqa: E402

CSV = b"id,name,when\n1,ada,2026-11-22\n2,bob,2026-11-23\n"
COLUMNS = {"id": "NumberType", "name": "StringType"}


class Counted(Objects):
    """Objects that count the bytes read."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.bytes, self.reads = 0, 0

    def read(self, stored: StoredObject, start: int, length: int) -> bytes:
        data = super().read(stored, start, length)
        self.bytes += len(data)
        self.reads += 1
        return data


@pytest.fixture
def counted(boto_client: Any) -> Counted:
    return Counted(boto_client)


@pytest.fixture
def columns(counted: Counted, put: Callable[..., None], bucket: str) -> Callable[..., Any]:
    """Names and types of the columns of an object with this key and body."""

    def columns(key: str, body: bytes, **arguments: Any) -> dict[str, str]:
        put(key, body, **arguments)
        stored = counted.head(Address(bucket, key))
        fields = schema.fields_of(counted, stored)
        return {each.fieldPath: type(each.type.type).__name__[:-5] for each in fields}

    return columns


@pytest.mark.parametrize("key", ["x.csv", "x.CSV", "x.csv.gz", "x.csv.bz2", "x.tsv"])
def test_delimited(columns: Any, key: str) -> None:
    body = CSV.replace(b",", b"\t") if "tsv" in key else CSV
    packed = {"gz": gzip.compress, "bz2": bz2.compress}.get(key.rpartition(".")[2], bytes)(body)
    assert columns(key, packed) == {**COLUMNS, "when": "DateType"}


def test_content_type_decides_where_the_name_does_not(columns: Any) -> None:
    assert columns("x", CSV, ContentType="text/csv; charset=utf-8").keys() == {"id", "name", "when"}
    assert columns("y", CSV) == {}


def test_json(columns: Any) -> None:
    lines = b'{"id": 1, "deep": {"x": "y"}}\n{"id": null}\n'
    found = {"id": "UnionType", "deep": "RecordType", "deep.x": "StringType"}
    assert columns("x.jsonl", lines).keys() == found.keys()
    assert columns("x.json", lines).keys() == found.keys(), "lines under the wrong name"
    assert columns("y.json", b'[{"id": 1}, {"id": 2}]') == {"id": "NumberType"}
    assert columns("z.json", b'{"id": 1, "name": "ada"}') == COLUMNS


def test_parquet(columns: Any) -> None:
    assert columns("x.parquet", parquet()) == COLUMNS


def test_avro(columns: Any) -> None:
    from avro.datafile import DataFileWriter
    from avro.io import DatumWriter
    from avro.schema import parse

    fields = [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]
    form = parse(json.dumps({"type": "record", "name": "row", "fields": fields}))
    out = io.BytesIO()
    writer = DataFileWriter(out, DatumWriter(), form)
    writer.append({"id": 1, "name": "ada"})
    writer.flush()
    found = columns("x.avro", out.getvalue())
    assert list(found.values()) == ["NumberType", "StringType"]


def test_no_columns(columns: Any, counted: Counted) -> None:
    assert columns("x.csv", b"") == {}
    assert columns("x.bin", b"id\n1\n") == {}
    assert counted.reads == 0


def test_large_parquet_costs_its_footer(columns: Any, counted: Counted) -> None:
    body = parquet(200_000)
    assert len(body) > 1_000_000
    assert columns("x.parquet", body) == COLUMNS
    assert counted.bytes <= 64 * 1024
    assert counted.reads <= 2


def test_large_text_costs_its_start(columns: Any, counted: Counted) -> None:
    assert columns("x.csv", CSV + b"3,eve,2026-11-24\n" * 200_000).keys() == {"id", "name", "when"}
    assert counted.bytes == schema.HEAD_BYTES


def test_large_json_array_costs_its_start(columns: Any, counted: Counted) -> None:
    body = json.dumps([{"id": number, "name": "x" * 100} for number in range(20_000)]).encode()
    assert len(body) > 2 * schema.HEAD_BYTES
    assert columns("x.json", body) == COLUMNS
    assert counted.bytes == schema.HEAD_BYTES


def test_bomb_is_not_unpacked(columns: Any, counted: Counted) -> None:
    body = gzip.compress(CSV + b"1,ada,2026-11-22\n" * 5_000_000)
    assert columns("x.csv.gz", body).keys() == {"id", "name", "when"}


@pytest.mark.parametrize(
    ("key", "body", "why"),
    [
        ("x.parquet", b"PAR1 no, it is not", "no parquet"),
        # Without a time in it: the body is part of the test's name, the same for every worker.
        ("x.parquet.gz", gzip.compress(b"PAR1", mtime=0), "compressed Parquet"),
        ("x.csv.gz", b"not compressed", "not compressed"),
        ("x.csv", b"x" * 2_000_000, "first record is longer"),
        ("x.json", b'{"a": "' + b"x" * 2_000_000 + b'"}', "first record is longer"),
        ("x.json", b'{"a":\n"' + b"x" * 2_000_000 + b'"}', "one JSON document"),
        ("x.json", b'[{"a": "' + b"x" * 2_000_000 + b'"}]', "first item is longer"),
        ("x.avro", b"Obj\x01", "no avro"),
    ],
)
def test_unreadable_is_said(columns: Any, key: str, body: bytes, why: str) -> None:
    with pytest.raises(schema.Unreadable, match=why):
        columns(key, body)


def test_footer_of_absurd_size_is_given_up(columns: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "FOOTER_BYTES_MAX", 100)
    with pytest.raises(schema.Unreadable, match="footer is larger"):
        columns("x.parquet", parquet())


def test_replaced_object_is_noticed(
    counted: Counted, put: Callable[..., None], bucket: str
) -> None:
    """What is read belongs to the version whose facts are told, or nothing is told."""
    put("x.csv", CSV)
    stored = counted.head(Address(bucket, "x.csv"))
    put("x.csv", b"other\n1\n")
    with pytest.raises(NoSuchObject):
        schema.fields_of(counted, stored)


def test_file_by_ranges_is_a_file(counted: Counted, put: Any, bucket: str) -> None:
    body = bytes(range(256)) * 1024
    put("x", body)
    file = schema.RangeFile(counted, counted.head(Address(bucket, "x")))
    assert file.seek(-4, io.SEEK_END) == len(body) - 4
    assert file.read(10) == body[-4:]
    assert file.read(10) == b""
    file.seek(1000)
    file.seek(24, io.SEEK_CUR)
    assert file.tell() == 1024
    assert file.read(5) == body[1024:1029]
