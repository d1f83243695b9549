"""Calls that fail: a drive with errors, a drive without space, wherever it strikes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import errors
from storage.engine.embedded import io
from tests.contract.store import delete, get, make_bucket, put
from tests.engines import alone
from tests.fault.folders import EVERY, folder, sample
from tests.fault.history import Promises, check_store, digest
from tests.fault.kernel import Failing
from tests.fault.test_kill import counts
from tests.fault.workload import Life, config_at

CASES = [
    ("pwritev", errno.EIO, 8),
    ("fdatasync", errno.EIO, 12),
    ("pwrite", errno.EIO, 6),
    ("fsync_dir", errno.EIO, 4),
    ("rename", errno.EIO, 4),
    ("unlink", errno.EIO, 4),
    ("create", errno.ENOSPC, 6),
    ("fallocate", errno.ENOSPC, 6),
    ("pwrite", errno.ENOSPC, 6),
    ("pwritev", errno.ENOSPC, 4),
]


@contextlib.contextmanager
def installed(calls: Failing) -> Iterator[Failing]:
    before = io.install(calls)
    try:
        yield calls
    finally:
        io.install(before)


async def live_on(path: Path, calls: Failing, promises: Promises, seed: int = 0) -> None:
    """A life on a kernel that fails; a start may be refused, or the store end read-only."""
    life = Life(config_at(path), promises, seed=seed, tolerant=True)
    ends = (errors.DriveRefused, errors.Unavailable, errors.ReadOnly, OSError)
    with installed(calls), contextlib.suppress(*ends):
        await life.run()


@pytest.mark.timeout(0 if EVERY else 120)
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(
    ("kind", "code", "count"),
    CASES,
    ids=[f"{kind}-{errno.errorcode[code]}" for kind, code, _ in CASES],
)
def test_calls_fail(kind: str, code: int, count: int, times: int) -> None:
    for at in sample(counts()[kind], count):
        promises = Promises()
        with folder() as path:
            try:
                asyncio.run(live_on(path, Failing(kind, at, code, times), promises))
                asyncio.run(check_store(config_at(path), promises))
            except BaseException as error:
                error.add_note(f"{kind} {at} of {counts()[kind]} failed")
                raise


async def test_a_failed_sync_burns_its_batch_and_nothing_else(anyio_backend: str) -> None:
    with folder() as path:
        async with alone(config_at(path)) as engine:
            bucket = await make_bucket(engine)
            first = await put(engine, bucket, "key", b"before")
            segment = max(row.id for row in engine.index.segments())
            with installed(Failing("fdatasync", 1)) as calls:
                together = [put(engine, bucket, f"lost {n}", b"x") for n in range(3)]
                answers = await asyncio.gather(*together, return_exceptions=True)
            assert calls.failed == 1
            lost = [each for each in answers if isinstance(each, errors.Unavailable)]
            assert lost
            assert await get(engine, bucket, "key") == b"before"
            after = await put(engine, bucket, "key", b"after")
            assert after.seq > first.seq + len(lost)
            version = await engine.lookup(bucket.id, "key")
            assert version is not None
            assert version.place.segment == segment + 1
        async with alone(config_at(path)) as engine:
            assert await get(engine, bucket, "key") == b"after"
            for number, answer in enumerate(answers):
                held = await get(engine, bucket, f"lost {number}")
                assert held == (None if isinstance(answer, BaseException) else b"x")
            assert (await put(engine, bucket, "key", b"")).seq > after.seq


async def test_read_only_when_nothing_can_be_synced(anyio_backend: str) -> None:
    promises = Promises()
    with folder() as path:
        async with alone(config_at(path)) as engine:
            bucket = await make_bucket(engine)
            promises.begin(1, {"b/bucket": digest(b""), "o/bucket/key": digest(b"body")})
            await put(engine, bucket, "key", b"body")
            promises.acknowledge(1)
            promises.begin(2, {"o/bucket/key": digest(b"never")})
            with installed(Failing("fdatasync", 1, times=1_000_000)):
                with pytest.raises(errors.StoreError):
                    await put(engine, bucket, "key", b"never")
                with pytest.raises(errors.ReadOnly):
                    await put(engine, bucket, "key", b"never")
                with pytest.raises(errors.ReadOnly):
                    await delete(engine, bucket, "what a failed sync may bring back")
                assert await get(engine, bucket, "key") == b"body"
        # What was refused may have been written all the same: its client was told of trouble.
        await check_store(config_at(path), promises)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio
