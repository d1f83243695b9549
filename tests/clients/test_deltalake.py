"""deltalake (delta-rs): tables whose commits are conditional writes, from many writers at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.clients import tools
from tests.conftest import Store

deltalake = pytest.importorskip("deltalake", reason="deltalake is not installed")
polars = pytest.importorskip("polars", reason="polars is not installed")


@pytest.fixture
def options(store: Store) -> dict[str, str]:
    return {name.upper(): value for name, value in tools.arrow_options(store).items()}


def _rows(*numbers: int) -> Any:
    return polars.DataFrame({"number": list(numbers), "text": [f"row {n}" for n in numbers]})


def test_a_table_is_written_read_and_changed(options: dict[str, str], bucket: str) -> None:
    url = f"s3://{bucket}/tables/traces"
    deltalake.write_deltalake(url, _rows(1, 2, 3), storage_options=options)
    deltalake.write_deltalake(url, _rows(4), mode="append", storage_options=options)
    table = deltalake.DeltaTable(url, storage_options=options)
    table.delete("number = 2")
    found = polars.read_delta(url, storage_options=options)
    assert sorted(found["number"]) == [1, 3, 4]
    first = polars.read_delta(url, version=0, storage_options=options)
    assert sorted(first["number"]) == [1, 2, 3]
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert len(polars.read_delta(url, storage_options=options)) == 3


def test_writers_at_once_lose_nothing(options: dict[str, str], bucket: str) -> None:
    """Each commit may be written once: who comes second finds that out, and tries the next."""
    url = f"s3://{bucket}/tables/contended"
    deltalake.write_deltalake(url, _rows(0), storage_options=options)

    def append(number: int) -> None:
        deltalake.write_deltalake(url, _rows(number), mode="append", storage_options=options)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(1, 9)))
    table = deltalake.DeltaTable(url, storage_options=options)
    assert table.version() == 8
    assert sorted(polars.read_delta(url, storage_options=options)["number"]) == list(range(9))


def test_a_large_table_goes_up_in_parts(options: dict[str, str], bucket: str) -> None:
    url = f"s3://{bucket}/tables/large"
    blobs = polars.DataFrame({"blob": [os.urandom(1 << 20) for _ in range(24)]})
    deltalake.write_deltalake(url, blobs, storage_options=options)
    assert polars.read_delta(url, storage_options=options).equals(blobs)
