"""A stand-in for DataHub, a bucket with something of everything, and the command."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stack.integrations.datahub.objects import Objects
from tests.commands import Done
from tests.conftest import Store
from tests.serving import clean_environment

if TYPE_CHECKING:
    from tests.datahub.gms_stand_in import GmsStandIn

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gms() -> Iterator[GmsStandIn]:
    from tests.datahub.gms_stand_in import GmsStandIn

    with GmsStandIn() as stand_in:
        yield stand_in
        assert stand_in.refused == []


@pytest.fixture
def objects(boto_client: Any, s3_endpoint: str) -> Objects:
    return Objects(boto_client, s3_endpoint)


@pytest.fixture
def put(boto_client: Any, bucket: str) -> Callable[..., None]:
    """Store an object in the bucket; keyword arguments go to PutObject."""

    def put(key: str, body: bytes = b"x", **arguments: Any) -> None:
        boto_client.put_object(Bucket=bucket, Key=key, Body=body, **arguments)

    return put


@pytest.fixture
def filled(put: Callable[..., None], bucket: str) -> str:
    """The bucket, with objects of every kind at several depths."""
    put("root.csv", b"id,name\n1,ada\n2,bob\n")
    put("tables/2026/rows.parquet", parquet())
    put("tables/2026/rows.jsonl", b'{"id": 1, "tags": ["a"]}\n{"id": 2, "deep": {"x": 1.5}}\n')
    put("odd names/a (1), b+c%20d.json", b'[{"id": 1}, {"id": null}]')
    put("models/churn.onnx", b"onnx")
    put("papers/why.pdf", b"%PDF-1.7")
    put("pictures/logo.png", b"\x89PNG", ContentType="image/png")
    return bucket


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Callable[..., Done]:
    """Run `oversight datahub ARGUMENTS` against the store."""

    def run(*arguments: str | Path, **environment: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "stack.cli", "datahub", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            cwd=ROOT,
            env=settings(store, tmp_path) | environment,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def datahub(store: Store, tmp_path: Path) -> Callable[..., Done]:
    """Run DataHub's own command line."""

    def run(*arguments: str | Path, **environment: str) -> Done:
        done = subprocess.run(
            [Path(sys.executable).with_name("datahub"), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
            cwd=tmp_path,
            env=settings(store, tmp_path) | environment,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def settings(store: Store, home: Path) -> dict[str, str]:
    """The environment of a user who set what the recipes name."""
    return clean_environment(
        HOME=str(home),
        COLUMNS="250",
        DATAHUB_TELEMETRY_ENABLED="false",
        OVERSIGHT_EXTERNAL_ENDPOINT=store.endpoint,
        OVERSIGHT_ACCESS_KEY=store.access_key,
        OVERSIGHT_SECRET_KEY=store.secret_key,
        OVERSIGHT_DATAHUB_ACCESS_KEY=store.access_key,
        OVERSIGHT_DATAHUB_SECRET_KEY=store.secret_key,
    )


def parquet(rows: int = 2) -> bytes:
    """A table of the columns ``id`` and ``name``, which hardly compresses."""
    import pyarrow
    import pyarrow.parquet

    names = [hashlib.md5(b"%d" % row).hexdigest() for row in range(rows)]
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"id": range(rows), "name": names}), out)
    return out.getvalue()
