"""A store with very many objects, filled below S3: 20,000 a second instead of 2,000.

``python -m tests.console.many 1000000`` measures the console in front of so many.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.config import Config
from tests.console.surroundings import console_of, resident
from tests.contract.store import put
from tests.engines import alone
from tests.serving import ServedStore

BUCKET, PILE = "many", "pile"
BODY = b'{"many": true}'
_AT_ONCE = 2000


def flat_key(number: int) -> str:
    return f"k{number:07}.json"


@contextmanager
def store_of(folder: Path, flat: int, nested: int = 0) -> Iterator[ServedStore]:
    """A running store: ``flat`` objects in one bucket, ``nested`` in ten folders of another."""
    from tests.console.conftest import client_of

    store = ServedStore(folder / "drive", folder / "log", ("--workers", "2"))
    with store:
        for name in (BUCKET, PILE):
            client_of(store).create_bucket(Bucket=name)
    asyncio.run(_fill(store.drive, BUCKET, map(flat_key, range(flat))))
    keys = (f"nested/{number % 10}/{number:06}.json" for number in range(nested))
    asyncio.run(_fill(store.drive, PILE, keys))
    with store:
        yield store


async def _fill(drive: Path, name: str, keys: Iterable[str]) -> None:
    async with alone(Config(drives=(str(drive),))) as engine:
        bucket = await engine.bucket(name)
        assert bucket
        waiting = []
        for key in keys:
            waiting.append(put(engine, bucket, key, BODY))
            if len(waiting) == _AT_ONCE:
                await asyncio.gather(*waiting)
                waiting = []
        await asyncio.gather(*waiting)


def main(count: int) -> int:
    """Print how the console does in front of ``count`` objects."""
    from tests.console.conftest import sign_in, visit
    from tests.console.measuring import console_page

    with (
        tempfile.TemporaryDirectory() as folder,
        store_of(Path(folder), count) as store,
        console_page(store) as page,
    ):
        sign_in(page)
        began = time.monotonic()
        visit(page, "browse", BUCKET)
        page.wait_for_selector(f"a:has-text('{flat_key(199)}')")
        print(f"first page: {time.monotonic() - began:.2f} s")
        began = time.monotonic()
        for number in range(2, 101):
            page.click("button:text-is('Next')")
            page.wait_for_selector(f".foot :text('Page {number}')")
        print(f"to page 100: {time.monotonic() - began:.2f} s")
        print(f"elements in it: {page.evaluate(ELEMENTS)}")
        began = time.monotonic()
        wanted = flat_key(count - 10)
        page.fill("input[type=search]", wanted[:-5])
        page.wait_for_selector(f"a:has-text('{wanted}')")
        print(f"filter by the prefix of one near the end: {time.monotonic() - began:.2f} s")
        print(f"the console's memory: {resident(console_of(store)) / 1024:.0f} MiB")
    return 0


ELEMENTS = "() => document.querySelectorAll('*').length"

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
