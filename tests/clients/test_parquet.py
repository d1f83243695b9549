"""Parquet by those who read and write it in place: pyarrow and DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Store

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
import pyarrow.dataset as ds  # noqa: E402
import pyarrow.fs as pafs  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

ROWS = 120_000


@pytest.fixture
def fs(store: Store) -> Any:
    """With the settings of docs/clients.md."""
    return pafs.S3FileSystem(
        endpoint_override=store.host,
        scheme="http",
        region="us-east-1",
        access_key=store.access_key,
        secret_key=store.secret_key,
    )


def table() -> Any:
    numbers = pa.array(range(ROWS), pa.int64())
    return pa.table(
        {
            "id": numbers,
            "day": pa.array([f"2026-11-{1 + number % 3:02}" for number in range(ROWS)]),
            "text": pa.array([f"text {number * 7919 % ROWS}" for number in range(ROWS)]),
        }
    )


def test_pyarrow_writes_and_reads_parquet(fs: Any, bucket: str) -> None:
    rows = table()
    pq.write_table(rows, f"{bucket}/rows.parquet", filesystem=fs, row_group_size=50_000)
    assert pq.read_table(f"{bucket}/rows.parquet", filesystem=fs).equals(rows)
    part = pq.read_table(
        f"{bucket}/rows.parquet", filesystem=fs, columns=["id"], filters=[("id", "<", 1000)]
    )
    assert part.num_rows == 1000


def test_pyarrow_keeps_a_dataset_in_partitions(fs: Any, bucket: str) -> None:
    ds.write_dataset(
        table(), f"{bucket}/set", filesystem=fs, format="parquet", partitioning=["day"],
        partitioning_flavor="hive",
    )  # fmt: skip
    found = ds.dataset(f"{bucket}/set", filesystem=fs, format="parquet", partitioning="hive")
    assert len(found.files) == 3
    assert found.count_rows(filter=ds.field("day") == "2026-11-02") == ROWS // 3


def test_pyarrow_as_a_file_system(fs: Any, bucket: str) -> None:
    body = bytes(range(256)) * 48 * 1024  # 12 MiB: more than one part
    with fs.open_output_stream(f"{bucket}/dir/large") as file:
        for start in range(0, len(body), 1 << 20):
            file.write(body[start : start + (1 << 20)])
    with fs.open_input_file(f"{bucket}/dir/large") as file:
        assert file.read_at(100, 6 << 20) == body[6 << 20 : (6 << 20) + 100]
    fs.copy_file(f"{bucket}/dir/large", f"{bucket}/dir/copy")
    fs.move(f"{bucket}/dir/copy", f"{bucket}/dir/moved")
    names = [info.base_name for info in fs.get_file_info(pafs.FileSelector(f"{bucket}/dir"))]
    assert sorted(names) == ["large", "moved"]
    fs.delete_dir_contents(f"{bucket}/dir")
    assert fs.get_file_info(f"{bucket}/dir/large").type == pafs.FileType.NotFound


# -- DuckDB ---------------------------------------------------------------------------------------


@pytest.fixture
def duck(store: Store) -> Iterator[Any]:
    """A connection with the extension for S3 and the settings of docs/clients.md."""
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    package = pytest.importorskip(
        "duckdb_extension_httpfs", reason="DuckDB's extension httpfs is not installed"
    )
    (extension,) = Path(package.__file__).parent.glob("extensions/*/httpfs.duckdb_extension")
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    connection.execute(f"LOAD '{extension}'")
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{store.access_key}', SECRET '{store.secret_key}', "
        f"ENDPOINT '{store.host}', REGION 'us-east-1', URL_STYLE 'path', USE_SSL false)"
    )
    yield connection
    connection.close()


def test_duckdb_writes_and_queries_parquet(duck: Any, bucket: str) -> None:
    duck.execute(
        f"COPY (SELECT range AS id, 'text ' || hash(range) AS text FROM range({ROWS})) "
        f"TO 's3://{bucket}/rows.parquet' (FORMAT parquet, ROW_GROUP_SIZE 50000)"
    )
    (found,) = duck.execute(
        f"SELECT count(*), sum(id) FROM 's3://{bucket}/rows.parquet' WHERE id >= 1000"
    ).fetchall()
    assert found == (ROWS - 1000, sum(range(1000, ROWS)))


def test_duckdb_finds_files_by_pattern(duck: Any, fs: Any, bucket: str) -> None:
    ds.write_dataset(
        table(), f"{bucket}/a b+c", filesystem=fs, format="parquet", partitioning=["day"],
        partitioning_flavor="hive",
    )  # fmt: skip
    query = f"FROM read_parquet('s3://{bucket}/a b+c/*/*.parquet', hive_partitioning = true)"
    (found,) = duck.execute(f"SELECT count(*) {query} WHERE day = '2026-11-03'").fetchall()
    assert found == (ROWS // 3,)


def test_duckdb_writes_partitions_and_csv(duck: Any, bucket: str, boto_client: Any) -> None:
    duck.execute(
        f"COPY (SELECT range % 2 AS half, range AS id FROM range(10)) TO 's3://{bucket}/parts' "
        "(FORMAT csv, PARTITION_BY half)"
    )
    keys = [e["Key"] for e in boto_client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert [key.split("/")[1] for key in keys] == ["half=0", "half=1"]
    (found,) = duck.execute(f"SELECT sum(id) FROM 's3://{bucket}/parts/*/*.csv'").fetchall()
    assert found == (45,)
