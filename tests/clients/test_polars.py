"""polars, which has an S3 client of its own: Parquet, CSV and JSON lines, also by patterns."""

from __future__ import annotations

import os

import pytest

from tests.clients import tools
from tests.conftest import Store

polars = pytest.importorskip("polars", reason="polars is not installed")


@pytest.fixture
def options(store: Store) -> dict[str, str]:
    return tools.arrow_options(store)


def test_parquet_goes_round(options: dict[str, str], bucket: str) -> None:
    frame = polars.DataFrame({"number": range(100_000), "text": ["a b", "ü"] * 50_000})
    for name in ("one", "two words", "per%cent"):
        frame.write_parquet(f"s3://{bucket}/exports/{name}.parquet", storage_options=options)
    found = polars.scan_parquet(f"s3://{bucket}/exports/*.parquet", storage_options=options)
    assert found.filter(polars.col("number") == 7).collect()["text"].to_list() == ["ü"] * 3
    assert found.select(polars.len()).collect().item() == 300_000


def test_text_goes_round(options: dict[str, str], bucket: str) -> None:
    frame = polars.DataFrame({"number": [1, 2], "text": ["a", "b"]})
    frame.write_csv(f"s3://{bucket}/exports/x.csv", storage_options=options)
    frame.lazy().sink_ndjson(f"s3://{bucket}/exports/x.jsonl", storage_options=options)
    lines = polars.scan_ndjson(f"s3://{bucket}/exports/x.jsonl", storage_options=options)
    assert lines.collect().equals(frame)
    table = polars.scan_csv(f"s3://{bucket}/exports/x.csv", storage_options=options)
    assert table.collect().equals(frame)


def test_a_large_file_goes_up_in_parts(options: dict[str, str], bucket: str) -> None:
    frame = polars.DataFrame({"blob": [os.urandom(1 << 20) for _ in range(24)]})
    url = f"s3://{bucket}/large.parquet"
    frame.lazy().sink_parquet(url, storage_options=options, compression="uncompressed")
    assert polars.read_parquet(url, storage_options=options).equals(frame)
