"""What a preview of a table answers when something is in its way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from storage.console.request import Request
from storage.console.sessions import Session
from storage.console.tables import serve
from tests.console import parquet

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def machine_of_any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "SECONDS_MAX", 100)


_CONTENT = parquet.types(50, compression="none", use_dictionary=False)


class Response:
    def __init__(self, status: int, content: bytes, total: int) -> None:
        self.status, self._content = status, content
        self.headers = [(b"ETag", b'"e"'), (b"Content-Length", b"%d" % total)]

    async def aiter_stream(self) -> AsyncIterator[bytes]:
        yield self._content


class Store:
    """An upstream with one object; ``statuses`` are answered to GETs before anything else is."""

    def __init__(self, statuses: tuple[int, ...] = (), head: int = 200) -> None:
        self.statuses, self.head = list(statuses), head
        self.held = asyncio.Event()
        self.held.set()
        self.silent = False
        self.asked: list[str] = []

    @asynccontextmanager
    async def s3(
        self, method: str, bucket: str, key: str, query: Any, session: Session,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Response]:  # fmt: skip
        await self.held.wait()
        if method == "HEAD":
            yield Response(self.head, b"", len(_CONTENT))
            return
        if self.silent:
            await asyncio.Event().wait()
        assert headers is not None
        assert headers["if-match"] == '"e"'
        self.asked.append(headers["range"])
        if self.statuses and (status := self.statuses.pop(0)) != 206:
            yield Response(status, b"<Error/>", 8)
            return
        first, last = (int(each) for each in headers["range"][6:].split("-"))
        yield Response(206, _CONTENT[first : last + 1], last + 1 - first)


async def ask(tables: serve.Tables, user: str = "alice") -> tuple[int, dict[str, Any]]:
    """The status and the document that are answered."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "method": "GET", "path": "/console/table", "raw_path": b"/console/table",
        "query_string": b"", "client": ("::1", 1), "scheme": "http", "headers": [],
    }  # fmt: skip
    request = Request(scope, None, send)  # type: ignore[arg-type]
    await tables.send(request, Session(user=user, expires=0, token=""), "bucket", "key", "")
    return sent[0]["status"], json.loads(sent[1]["body"])


def tables_of(store: Store) -> serve.Tables:
    return serve.Tables(store)  # type: ignore[arg-type]


async def test_a_table_is_read_in_ranges() -> None:
    store = Store()
    status, found = await ask(tables_of(store))
    assert status == 200
    assert found["total"]["rows"] == 50
    assert store.asked


@pytest.mark.parametrize(
    ("status", "code"), [(412, "TableChanged"), (404, "TableChanged"), (403, "TableNotRead")]
)
async def test_what_changes_meanwhile_is_said(status: int, code: str) -> None:
    _, found = await ask(tables_of(Store((206, status))))
    assert found["code"] == code


@pytest.mark.parametrize("status", [403, 404])
async def test_what_can_not_be_read_is_not_asked_for(status: int) -> None:
    store = Store(head=status)
    assert (await ask(tables_of(store)))[0] == status
    assert store.asked == []


async def test_without_the_extra_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_NEEDED", ("no_such_package",))
    status, found = await ask(tables_of(Store()))
    assert (status, found["code"]) == (501, "TablesNotInstalled")


async def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "SECONDS_MAX", 0.01)
    store = Store()
    store.silent = True
    status, found = await ask(tables_of(store))
    assert (status, found["code"]) == (504, "TableTooSlow")


async def test_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "BYTES_MAX", 100)
    status, found = await ask(tables_of(Store()))
    assert (status, found["code"]) == (413, "TableTooLarge")


async def test_one_at_a_time_for_each_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PATIENCE", 0.05)
    store = Store()
    tables = tables_of(store)
    store.held.clear()
    first = asyncio.create_task(ask(tables))
    await asyncio.sleep(0)
    status, found = await ask(tables)
    assert (status, found["code"]) == (503, "TablesBusy")
    others = asyncio.create_task(ask(tables, "bob"))
    await asyncio.sleep(0)
    assert (await ask(tables, "carol"))[1]["code"] == "TablesBusy"  # two at once for all
    store.held.set()
    assert (await first)[0] == (await others)[0] == 200
    assert (await ask(tables))[0] == 200
