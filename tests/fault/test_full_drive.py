"""A full drive refuses new bytes, keeps the old ones, lets go of them, and recovers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from storage import errors
from storage.config import Config
from storage.engine.embedded import board
from storage.engine.embedded.compaction import Compactor
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.interface import Bucket
from storage.services.collection import Collector
from tests.contract.store import delete, get, make_bucket, make_file, put, start_upload
from tests.engines import alone, small_config
from tests.fault.clients import s3_client
from tests.fault.history import Promises, check_store, digest
from tests.server.conftest import until
from tests.serving import ServedStore

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="mounting a tmpfs needs root on Linux"
    ),
]
MIB = 1 << 20


@contextmanager
def mounted(path: Path, mib: int) -> Iterator[Path]:
    """A tmpfs of so many MiB."""
    point = path / "small"
    point.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={mib}m,nr_inodes=20000"]
    done = subprocess.run(
        ["mount", *options, "oversight-test", point], check=False, capture_output=True, text=True
    )
    if "permission denied" in done.stderr or "not permitted" in done.stderr:
        pytest.skip("mounting a tmpfs is not allowed here: a container needs CAP_SYS_ADMIN for it")
    assert done.returncode == 0, done.stderr
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)


def fill(path: Path, leave: int) -> Path:
    """A file beside the store that takes all space but ``leave`` bytes."""
    stat = os.statvfs(path)
    filler = path / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(stat.f_bavail * stat.f_frsize - leave, 1))
    return filler


class Objects:
    """Inline objects of 60 KiB, and what was promised of them."""

    def __init__(self, engine: EmbeddedEngine, bucket: Bucket) -> None:
        self.promises = Promises()
        self.promises.sure["b/bucket"] = digest(b"")
        self._engine, self._bucket = engine, bucket
        self._number = 0

    async def _change(self, key: str, value: str | None, work: Awaitable[Any]) -> None:
        self._number += 1
        self.promises.begin(self._number, {f"o/bucket/{key}": value})
        await work
        self.promises.acknowledge(self._number)

    async def put(self, key: str) -> None:
        body = key.encode() * (60 * 1024 // len(key))
        await self._change(key, digest(body), put(self._engine, self._bucket, key, body))

    async def put_until_full(self, most: int = 1000) -> int:
        for number in range(most):
            try:
                await self.put(f"key-{self._number:06d}")
            except errors.StorageFull:
                return number
        raise AssertionError("it never gets full")

    async def delete(self, key: str) -> None:
        await self._change(key, None, delete(self._engine, self._bucket, key))

    @property
    def keys(self) -> list[str]:
        return [n.removeprefix("o/bucket/") for n in self.promises.sure if n.startswith("o/")]


async def eventually(work: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    """Until the store takes writes again by itself."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await work()
        except errors.StorageFull:
            assert time.monotonic() < deadline, "the store does not recover"
            await asyncio.sleep(0.05)
        else:
            return


def config_at(path: Path) -> Config:
    return small_config(path, segment_size=MIB, free_min=4 * MIB)


async def test_full_by_its_own_objects(tmp_path: Path) -> None:
    with mounted(tmp_path, 32) as path:
        async with alone(config_at(path)) as engine:
            bucket = await make_bucket(engine)
            objects = Objects(engine, bucket)
            assert await objects.put_until_full() > 100
            assert engine.board.state == board.FULL
            with pytest.raises(errors.StorageFull):
                await make_file(engine, bytes(MIB))
            with pytest.raises(errors.StorageFull):
                await start_upload(engine, bucket, "upload")
            for key in objects.keys[:5]:
                assert await get(engine, bucket, key) is not None
            for key in objects.keys[: len(objects.keys) * 2 // 3]:
                await objects.delete(key)
            assert await Compactor(engine).run()
            await Collector(engine, grace=0).collect_garbage()
            await eventually(lambda: objects.put("after"))
            assert await objects.put_until_full() > 50
        make_room(path)
        await check_store(config_at(path), objects.promises)


async def test_full_by_others(tmp_path: Path) -> None:
    """Nothing at all is left, from one moment to the next; then it is given back."""
    with mounted(tmp_path, 40) as path:
        async with alone(config_at(path)) as engine:
            bucket = await make_bucket(engine)
            objects = Objects(engine, bucket)
            for number in range(60):
                await objects.put(f"before-{number}")
            filler = fill(path, 0)
            assert await objects.put_until_full(100) < 100
            for key in objects.keys[:40]:
                await objects.delete(key)
            assert await Compactor(engine).run()
            filler.unlink()
            await eventually(lambda: objects.put("after"))
            for number in range(40):
                await objects.put(f"later-{number}")
        make_room(path)
        await check_store(config_at(path), objects.promises)


async def test_restart_while_full(tmp_path: Path) -> None:
    with mounted(tmp_path, 40) as path:
        async with alone(config_at(path)) as engine:
            bucket = await make_bucket(engine)
            objects = Objects(engine, bucket)
            for number in range(60):
                await objects.put(f"before-{number}")
            filler = fill(path, 0)
        async with alone(config_at(path)) as engine:
            assert engine.board.state == board.FULL
            objects._engine = engine
            for key in objects.keys[:40]:
                await objects.delete(key)
            with pytest.raises(errors.StorageFull):
                await objects.put("refused")
            filler.unlink()
            await eventually(lambda: objects.put("after"))
        make_room(path)
        await check_store(config_at(path), objects.promises)


def make_room(path: Path) -> None:
    """Checks need some space, too: a bucket is made and an object put."""
    subprocess.run(["mount", "-o", "remount,size=200m", path], check=True)


def test_over_http(tmp_path: Path) -> None:
    small = {"OVERSIGHT_SEGMENT_SIZE": "16MiB", "OVERSIGHT_FREE_MIN": "32MiB"}
    with mounted(tmp_path, 260) as path:
        store = ServedStore(path / "drive", tmp_path / "log", ("--workers", "2"), small)
        with store:
            s3 = s3_client(store, timeout=60)
            s3.put_object(Bucket="langfuse", Key="kept", Body=b"kept")
            s3.put_object(Bucket="langfuse", Key="gone", Body=b"gone")
            filler = fill(path, 16 * MIB)
            until(lambda: refusal(s3, b"small") == ("XMinioStorageFull", 507))
            assert refusal(s3, bytes(MIB)) == ("XMinioStorageFull", 507)
            assert s3.get_object(Bucket="langfuse", Key="kept")["Body"].read() == b"kept"
            s3.delete_object(Bucket="langfuse", Key="gone")
            filler.unlink()
            until(lambda: refusal(s3, b"small") is None)
            assert refusal(s3, bytes(MIB)) is None


def refusal(s3: Any, body: bytes) -> tuple[str, int] | None:
    try:
        s3.put_object(Bucket="langfuse", Key="new", Body=body)
    except ClientError as error:
        answer = error.response
        return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]
    return None


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
