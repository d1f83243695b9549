"""Archives while they are sent: bounded in memory, whatever the names, and closed when given up."""

from __future__ import annotations

import asyncio
import io
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from storage.console import archive
from storage.console.entries import Entries

DEEP = "/".join("abcdefghij"[number % 10] for number in range(450))


class Store:
    """Stands for S3: so many objects, each of one byte, below folders of their own.

    ``refusals`` are answers by key; ``declared`` is the size that an object's answer claims.
    """

    def __init__(
        self, count: int, refusals: Mapping[str, tuple[int, str]] = {}, declared: int = 1
    ) -> None:
        self.keys = [f"{number}/{DEEP}" for number in range(count)]
        self.asked = 0
        self.open = 0
        self._refusals = refusals
        self._declared = declared

    @asynccontextmanager
    async def s3(self, _: str, __: str, key: str, *___: object) -> AsyncIterator[Any]:
        listing = "".join(f"<Contents><Key>{each}</Key></Contents>" for each in self.keys)
        body = b"x" if key else f"<List>{listing}</List>".encode()
        status, code = self._refusals.get(key, (200, ""))
        if code:
            body = f"<Error><Code>{code}</Code></Error>".encode()
        self.asked += 1
        headers = [(b"Content-Length", b"%d" % self._declared)]

        async def content() -> AsyncIterator[bytes]:
            yield body

        self.open += 1
        try:
            yield SimpleNamespace(status=status, headers=headers, aiter_stream=content)
        finally:
            self.open -= 1


async def held() -> Any:
    """A session that does not end."""


def zipped(store: Store, give_up_after: int = -1, lease: archive.Lease = held) -> bytes:
    """What is sent; the client goes away after so many pieces."""
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        if len(sent) == give_up_after:
            raise ConnectionError
        sent.append(message.get("body", b""))

    async def work() -> None:
        await archive.send_zip(SimpleNamespace(send=send), store, lease, "b", "")  # type: ignore[arg-type]

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


def test_an_archive_that_is_given_up_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_PIECE_BYTES", 0)
    store = Store(20)
    with pytest.raises(ConnectionError):
        zipped(store, give_up_after=5)
    assert not archive._under_way
    assert store.open == 0


def test_what_is_gone_or_denied_is_named_and_the_rest_is_there() -> None:
    keys = Store(5).keys
    store = Store(5, {keys[1]: (404, "NoSuchKey"), keys[3]: (403, "AccessDenied")})
    found = zipfile.ZipFile(io.BytesIO(zipped(store)))
    assert found.testzip() is None
    assert found.namelist() == [keys[0], keys[2], keys[4], "MISSING.txt"]
    text = f"{keys[1]}: 404 NoSuchKey\n{keys[3]}: 403 AccessDenied"
    assert found.read("MISSING.txt").decode() == text


def test_of_very_many_that_are_denied_a_thousand_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who may list but not read makes an archive of names alone: it has an end, too."""
    monkeypatch.setattr(archive, "ENTRIES_MAX", 1500)
    store = Store(1600)
    store = Store(1600, dict.fromkeys(store.keys, (403, "AccessDenied")))
    found = zipfile.ZipFile(io.BytesIO(zipped(store)))
    lines = found.read("MISSING.txt").decode().splitlines()
    assert len(lines) == 1001
    assert lines[-1] == "and 501 others"
    assert store.asked == 1501  # with the listing


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "InvalidToken"])
def test_a_session_that_ends_does_not_leave_an_archive_that_looks_whole(code: str) -> None:
    keys = Store(5).keys
    with pytest.raises(archive.BrokenOff):
        zipped(Store(5, {keys[2]: (403, code)}))


def test_a_session_is_looked_at_before_each_request() -> None:
    looks = 0

    async def lease() -> Any:
        nonlocal looks
        looks += 1
        if looks > 4:
            raise archive.BrokenOff

    store = Store(20)
    with pytest.raises(archive.BrokenOff):
        zipped(store, lease=lease)
    assert store.asked == 3  # one look more when the first piece was sent
    assert not archive._under_way


def test_small_objects_do_not_claim_the_size_of_large_ones() -> None:
    """Descriptors of 64 bits behind small entries are not read everywhere."""
    small, large = (zipped(Store(1, declared=size)) for size in (1, 3 * 1024**3))
    extra = len("".join(Store(1).keys))  # the name stands before it
    assert small[28:30] == b"\0\0"
    assert int.from_bytes(large[28:30], "little") >= 20
    assert large[30 + extra :].startswith(b"\1\0")
    for data in (small, large):
        assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
