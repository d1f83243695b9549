"""A store with very many buckets that have a past, made below S3.

``python -m tests.console.many_buckets 5000`` measures the console's list of so many.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.config import Config
from storage.engine.interface import CreateBucket
from storage.telemetry.trends import Trends
from tests.console.surroundings import console_of, resident
from tests.engines import alone
from tests.serving import ServedStore

#: Seconds ago that the buckets were made, and days that their trends go back.
_AGE, _DAYS = 40 * 86400, 30
_AT_ONCE = 500


def bucket_name(number: int) -> str:
    return f"bucket-{number:05}"


@contextmanager
def store_of(folder: Path, count: int) -> Iterator[ServedStore]:
    """A running store with ``count`` buckets, each a MiB larger every day."""
    from tests.console.conftest import client_of

    store = ServedStore(folder / "drive", folder / "log", ("--workers", "2"))
    with store:
        owner = client_of(store).list_buckets()["Owner"]["ID"]
    ids = asyncio.run(_make(store.drive, owner, count))
    _remember(store.drive, ids)
    with store:
        yield store


async def _make(drive: Path, owner: str, count: int) -> list[int]:
    made = int((time.time() - _AGE) * 1000)
    ids: list[int] = []
    async with alone(Config(drives=(str(drive),))) as engine:
        for first in range(0, count, _AT_ONCE):
            changes = (
                CreateBucket(bucket_name(number), owner, made, "us-east-1")
                for number in range(first, min(count, first + _AT_ONCE))
            )
            ids += [each.id for each in await asyncio.gather(*map(engine.commit, changes))]
    return ids


def _remember(drive: Path, ids: list[int]) -> None:
    trends = Trends(str(drive / ".oversight"))
    now = time.time()
    for days in range(1, _DAYS + 1):
        size = (_DAYS - days) << 20
        trends.record(
            now - days * 86400, [(each, size >> 10, size) for each in ids], 1 << 40, 1 << 39
        )
    trends.close()


def asked_of(page: Any) -> list[str]:
    """The questions that a page asks from now on, without those for its own parts."""
    asked: list[str] = []

    def note(request: Any) -> None:
        if "/static/" not in request.url:
            asked.append(request.url.partition("/console/")[2])

    page.on("request", note)
    return asked


def main(count: int) -> int:
    """Print how the console lists ``count`` buckets."""
    from tests.console.conftest import sign_in, visit
    from tests.console.measuring import console_page

    with (
        tempfile.TemporaryDirectory() as folder,
        store_of(Path(folder), count) as store,
        console_page(store) as page,
    ):
        began = time.monotonic()
        sign_in(page)
        page.wait_for_selector(".bucket")
        print(f"from the sign-in to the list: {time.monotonic() - began:.2f} s")
        for _ in range(5):
            visit(page, "help")
            page.wait_for_selector("main pre")
            asked = asked_of(page)
            began = time.monotonic()
            visit(page, "buckets")
            page.wait_for_selector(".bucket")
            first = time.monotonic() - began
            page.wait_for_selector(".spark")
            print(
                f"first view: {first:.2f} s, with trends {time.monotonic() - began:.2f} s, "
                f"{len(asked)} questions"
            )
        began = time.monotonic()
        page.fill("input[type=search]", bucket_name(count - 1))
        page.wait_for_selector(f".bucket:only-child:has-text('{bucket_name(count - 1)}')")
        print(f"filter: {time.monotonic() - began:.2f} s")
        print(f"the console's memory: {resident(console_of(store)) / 1024:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
