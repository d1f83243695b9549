"""Archives while they are sent: bounded in memory, whatever the names, and closed when given up."""

from __future__ import annotations

import asyncio
import io
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from storage.console import archive
from storage.console.entries import Entries

DEEP = "/".join("abcdefghij"[number % 10] for number in range(450))


class Store:
    """Stands for S3: so many objects, each of one byte, below folders of their own."""

    def __init__(self, count: int) -> None:
        self._keys = [f"{number}/{DEEP}" for number in range(count)]
        self.open = 0

    @asynccontextmanager
    async def s3(self, _: str, __: str, key: str, *___: object) -> AsyncIterator[Any]:
        listing = "".join(f"<Contents><Key>{each}</Key></Contents>" for each in self._keys)
        body = b"x" if key else f"<List>{listing}</List>".encode()

        async def content() -> AsyncIterator[bytes]:
            yield body

        self.open += 1
        try:
            yield SimpleNamespace(status=200, headers=[], aiter_stream=content)
        finally:
            self.open -= 1


def zipped(store: Store, give_up_after: int = -1) -> bytes:
    """What is sent; the client goes away after so many pieces."""
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        if len(sent) == give_up_after:
            raise ConnectionError
        sent.append(message.get("body", b""))

    async def work() -> None:
        await archive.send_zip(SimpleNamespace(send=send), store, None, "b", "")  # type: ignore[arg-type]

    asyncio.run(work())
    return b"".join(sent)


def test_names_take_no_more_memory_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 8 * 1024 * 1024
    monkeypatch.setattr(archive, "NAMES_BYTES_MAX", limit)
    store = Store(200)
    tracemalloc.start()
    data = zipped(store)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found = zipfile.ZipFile(io.BytesIO(data))
    assert found.testzip() is None
    assert 2 < len(found.namelist()) < 200
    assert b"no memory is left for its names" in found.read("MISSING.txt")
    assert peak < 2 * limit
    assert not archive._under_way


def test_a_weight_is_near_what_names_take() -> None:
    for keys in (
        [f"events/otel/x/{n:032}.json" for n in range(5000)],
        [f"{n}/{DEEP}" for n in range(20)],
    ):
        tracemalloc.start()
        names, infos = Entries(), []
        for key in keys:
            infos.append(zipfile.ZipInfo(names.add(key)))
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert 0.5 * taken < names.weight < 2.5 * taken


def test_an_archive_that_is_given_up_holds_nothing() -> None:
    store = Store(20)
    with pytest.raises(ConnectionError):
        zipped(store, give_up_after=5)
    assert not archive._under_way
    assert store.open == 0
