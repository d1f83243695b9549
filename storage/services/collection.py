"""Collection: unlinking files that nobody needs any more.

Two kinds. *Garbage*: files whose object was replaced or deleted, whose upload ended; the index
lists them, they go once nobody can still be reading them. *Leftovers*: files that a process wrote
and never committed because it died; they go once the committer refuses whatever their writer
might still have sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from storage.engine.embedded import link
from storage.engine.embedded.compaction import index_reader
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.embedded.files import generation_of
from storage.engine.embedded.index import decode_files
from storage.engine.embedded.reader import Reader
from storage.engine.interface import FileRef

#: Garbage stays so many seconds: a request may have looked it up and not begun to read.
GRACE = 10.0
#: A read that takes longer than so many seconds keeps nothing any more.
READ_MAX = 3600.0
_PAGE = 1000
_NAMES_MAX = 200_000
_DROP_ROWS = 64
_decode_file = msgspec.msgpack.Decoder(FileRef).decode
T = TypeVar("T")


class Collector:
    """Collects the files of one store."""

    def __init__(
        self, engine: EmbeddedEngine, *, grace: float = GRACE, read_max: float = READ_MAX
    ) -> None:
        self._engine = engine
        self._grace = grace
        self._read_max = read_max
        self._seen: deque[tuple[float, int]] = deque()
        """(monotonic time, what was applied then), oldest first."""

    # -- garbage ---------------------------------------------------------------------------------

    async def collect_garbage(self) -> int:
        """Unlink garbage that is old enough; the bytes that came back."""
        horizon = self._horizon()
        freed = 0
        while True:
            names = await self._in_thread(self._old_garbage, horizon)
            if not names:
                return freed
            for name in names:
                freed += await self._in_thread(self._engine.files.remove, name)
            await self._engine.internal(link.DropGarbage(names))

    def _horizon(self) -> int:
        """Garbage up to this commit can't be read any more."""
        board = self._engine.board
        now = time.monotonic()
        self._seen.append((now, board.applied_seq))
        settled = overdue = 0
        for moment, seq in self._seen:
            if moment <= now - self._grace:
                settled = seq
            if moment <= now - self._read_max:
                overdue = seq
        while len(self._seen) > 1 and self._seen[1][0] <= now - self._read_max:
            self._seen.popleft()
        oldest_read = board.oldest_read()
        if oldest_read:
            settled = min(settled, oldest_read - 1)
        return max(settled, overdue)

    def _old_garbage(self, horizon: int) -> list[str]:
        with index_reader(self._engine) as reader:
            rows = reader.garbage(_DROP_ROWS)
        return [name for name, _, seq in rows if seq <= horizon]

    # -- leftovers ---------------------------------------------------------------------------------

    async def collect_leftovers(self) -> int:
        """Unlink what dead processes left without a commit; the number of files."""
        dead = await self._in_thread(self._dead_generations)
        for generation in sorted(dead):
            await self._engine.internal(link.Fence(generation))
        # From here on no commit can name one of their files that is not named already.
        removed = 0
        for names in _portions(await self._in_thread(self._names_of, dead)):
            left = await self._in_thread(self._unnamed, names)
            for name in left:
                await self._in_thread(self._engine.files.remove, name)
            removed += len(left)
        return removed

    def _dead_generations(self) -> set[int]:
        found = {generation for _, generation in self._named_files()}
        return {number for number in found if not self._engine.is_live_generation(number)}

    def _names_of(self, generations: set[int]) -> list[str]:
        return [name for name, generation in self._named_files() if generation in generations]

    def _named_files(self) -> Iterator[tuple[str, int]]:
        for name in self._engine.files.names():
            try:
                yield name, generation_of(name)
            except ValueError:
                continue

    def _unnamed(self, names: set[str]) -> set[str]:
        """Those of ``names`` that the index does not know.

        Parts first: a completion that comes in between moves them to the objects.
        """
        with index_reader(self._engine) as reader:
            for page in (_parts, _objects, _garbage):
                for name in page(reader):
                    names.discard(name)
        return names

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


def _portions(names: Iterable[str]) -> Iterator[set[str]]:
    portion: set[str] = set()
    for name in names:
        portion.add(name)
        if len(portion) == _NAMES_MAX:
            yield portion
            portion = set()
    if portion:
        yield portion


def _parts(reader: Reader) -> Iterator[str]:
    after: tuple[int, int] = (0, 0)
    while rows := reader.rows(
        "SELECT upload, number, file FROM parts WHERE (upload, number) > (?, ?) "
        "ORDER BY upload, number LIMIT ?",
        (*after, _PAGE),
    ):
        for _, _, file in rows:
            yield _decode_file(file).name
        after = rows[-1][:2]


def _objects(reader: Reader) -> Iterator[str]:
    after: tuple[int, bytes, int] = (0, b"", 0)
    while rows := reader.files(after, _PAGE):
        for *_, files in rows:
            for ref in decode_files(files):
                yield ref.name
        after = rows[-1][:3]


def _garbage(reader: Reader) -> Iterator[str]:
    """Garbage is collected as such."""
    after = ""
    while rows := reader.rows(
        "SELECT file FROM garbage WHERE file > ? ORDER BY file LIMIT ?", (after, _PAGE)
    ):
        for (name,) in rows:
            yield name
        after = rows[-1][0]
