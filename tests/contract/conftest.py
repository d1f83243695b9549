"""Every implementation of the engine, one after the other, under the same tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from storage.engine.interface import Bucket, Engine
from storage.engine.memory import MemoryEngine
from tests.contract.store import make_bucket


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def open_engine(kind: str, path: Path) -> AsyncIterator[Engine]:
    engine = MemoryEngine()
    yield engine
    await engine.close()


@pytest.fixture(params=["memory"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    async with open_engine(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
async def bucket(engine: Engine) -> Bucket:
    return await make_bucket(engine)
