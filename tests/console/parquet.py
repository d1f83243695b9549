"""Parquet files for previews: of all types, very wide, and such as should not be read at all."""

from __future__ import annotations

import datetime
import decimal
import io
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_DAY = datetime.date(2026, 1, 1)


def written(table: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def types(rows: int = 3000, **options: Any) -> bytes:
    """A column of each type that needs a form of its own as text."""
    numbers = range(rows)
    moment = datetime.datetime(2026, 1, 1)
    columns = {
        "id": pa.array(numbers, pa.int64()),
        "name": pa.array([None if i % 7 == 0 else f"name {i}" for i in numbers]),
        "kind": pa.array([f"kind {i % 3}" for i in numbers]).dictionary_encode(),
        "day": pa.array([_DAY + datetime.timedelta(i % 365) for i in numbers]),
        "at": pa.array(
            [moment + datetime.timedelta(seconds=i) for i in numbers], pa.timestamp("us", "UTC")
        ),
        "cost": pa.array([decimal.Decimal(i) / 100 for i in numbers], pa.decimal128(38, 2)),
        "raw": pa.array([bytes([i % 256, 0, 255]) for i in numbers]),
        "list": pa.array([[i, None] for i in numbers]),
        "nested": pa.array([{"a": i, "b": {"c": "x"}} for i in numbers]),
        "map": pa.array([[("k", i)] for i in numbers], pa.map_(pa.string(), pa.int32())),
        "share": pa.array([float("nan") if i % 3 else i / 4 for i in numbers]),
        'odd "name" <b>': pa.array([f"<img src=x onerror=alert(1)>\u202e{i}" for i in numbers]),
        "long": pa.array(["x" * 10_000 for _ in numbers]),
    }
    return written(pa.table(columns), **options)


def wide(columns: int = 10_000) -> bytes:
    return written(pa.table({f"c{i}": pa.array(range(3)) for i in range(columns)}))


def bomb(gibibytes: int = 1, row: int = 64 * 1024 * 1024) -> bytes:
    """Values that take some KiB, and GiBs once they are unpacked."""
    schema = pa.schema([("x", pa.large_string())])
    value = pa.array(["\0" * row] * (gibibytes * 2**30 // row // 4), pa.large_string())
    out = io.BytesIO()
    with pq.ParquetWriter(
        out, schema, compression="zstd", use_dictionary=False, write_statistics=False
    ) as writer:
        for _ in range(4):
            writer.write_table(pa.table({"x": value}, schema=schema))
    return out.getvalue()


def lies() -> dict[str, bytes]:
    """Files that are not what they say, by what is wrong with them."""
    good = types(200)
    footer = int.from_bytes(good[-8:-4], "little")
    huge = good[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1"
    return {
        "empty-head": b"PAR1PAR1PAR1",
        "truncated": good[: len(good) // 2],
        "no-end": good[:-4],
        "footer-too-long": huge,
        "footer-of-nothing": good[: -8 - footer] + bytes(footer) + good[-8:],
        "pages-of-zeros": b"PAR1" + bytes(len(good) - 12 - footer) + good[-8 - footer :],
        "encrypted": good[:-4] + b"PARE",
        "text": b"this is no table\n" * 100,
    }


def damaged(number: int) -> bytes:
    """A good file with some bytes changed, in its footer and before."""
    chance = random.Random(number)
    data = bytearray(types(200, compression=chance.choice(["snappy", "zstd", "gzip", "none"])))
    footer = int.from_bytes(data[-8:-4], "little")
    for _ in range(chance.randrange(1, 12)):
        first = len(data) - 8 - footer if chance.random() < 0.7 else 4
        data[chance.randrange(first, len(data) - 8)] = chance.randrange(256)
    return bytes(data)
