"""Every implementation of the engine, one after the other, under the same tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from storage.engine.interface import Bucket, Engine
from storage.engine.memory import MemoryEngine
from tests import engines
from tests.contract.store import make_bucket


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def in_memory(path: Path) -> AsyncIterator[Engine]:
    engine = MemoryEngine()
    yield engine
    await engine.close()


@asynccontextmanager
async def with_a_thread(path: Path) -> AsyncIterator[Engine]:
    async with engines.alone(engines.small_config(path, fsync=False)) as engine:
        yield engine


@asynccontextmanager
async def with_a_process(path: Path) -> AsyncIterator[Engine]:
    async with engines.beside_a_process(engines.small_config(path, fsync=False)) as engine:
        yield engine


@pytest.fixture(params=[in_memory, with_a_thread, with_a_process], ids=lambda kind: kind.__name__)
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    async with request.param(tmp_path) as opened:
        yield opened


@pytest.fixture
async def bucket(engine: Engine) -> Bucket:
    return await make_bucket(engine)
