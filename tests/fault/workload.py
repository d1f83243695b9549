"""A small life of a store with everything in it, and a process that lives it until it dies.

Segments are tiny, so that it rolls over, seals and compacts many times.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from storage import errors
from storage.config import Config
from storage.engine import interface
from storage.engine.embedded import io, link
from storage.engine.embedded.compaction import Compactor
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.interface import Bucket, CompletePart, DeleteBucket, PutSystem, SetBucketConfig
from storage.services.collection import Collector
from tests.contract.store import (
    abort,
    completion,
    delete,
    make_bucket,
    md5,
    put,
    put_part,
    start_upload,
)
from tests.engines import alone, small_config
from tests.fault.history import KIND, Effects, Journal, digest

HERE = digest(b"")


def config_at(path: Path, **changes: object) -> Config:
    settings: dict[str, object] = {"segment_size": 16 * 1024, "inline_max": 2048, **changes}
    return small_config(path, **settings)


@contextlib.contextmanager
def small_parts() -> Iterator[None]:
    """Let every part of an upload be small: 5 MiB would cost more than they show."""
    before = interface.PART_BYTES_MIN
    interface.PART_BYTES_MIN = 1
    try:
        yield
    finally:
        interface.PART_BYTES_MIN = before


async def commit(engine: EmbeddedEngine, change: Any) -> Any:
    """A commit that begins when it is awaited, so that it can be noted before: the engine's own
    is on its way once it is called."""
    return await engine.commit(change)


class Writer(Protocol):
    def begin(self, number: int, effects: Effects) -> None: ...
    def acknowledge(self, number: int) -> None: ...


def _ignore(_name: str) -> None:
    pass


class Life:
    """Changes, each noted before it begins and once it is acknowledged.

    ``tolerant``: a change that the store refuses stays open, and life goes on. ``mark`` is told
    between two chapters.
    """

    def __init__(
        self,
        config: Config,
        journal: Writer,
        *,
        seed: int = 0,
        tolerant: bool = False,
        mark: Callable[[str], None] = _ignore,
    ) -> None:
        self.config = config
        self._journal = journal
        self._dice = random.Random(seed)
        self._tolerant = tolerant
        self._mark = mark
        self._number = 0

    async def change(self, effects: Effects, work: Awaitable[Any]) -> Any:
        self._number = number = self._number + 1
        self._journal.begin(number, effects)
        try:
            answer = await work
        except errors.StoreError:
            if not self._tolerant:
                raise
            return None
        self._journal.acknowledge(number)
        return answer

    async def run(self) -> None:
        with small_parts():
            async with alone(self.config) as engine:
                bucket = await self.bucket(engine, "one")
                await self.objects(engine, bucket, 9)
                self._mark("first")
                await self.uploads(engine, bucket)
                await self.bucket_that_goes(engine)
                await self.settings(engine, bucket)
            async with alone(self.config) as engine:
                await self.objects(engine, bucket, 9)
                self._mark("second")
                await self.clean(engine)
                self._mark("third")
                await self.objects(engine, bucket, 5)

    async def bucket(self, engine: EmbeddedEngine, name: str) -> Bucket:
        made = await self.change({f"b/{name}": HERE}, make_bucket(engine, name))
        made = made or await engine.bucket(name) or await make_bucket(engine, name)
        assert isinstance(made, Bucket)
        return made

    async def put(self, engine: EmbeddedEngine, bucket: Bucket, key: str, body: bytes) -> None:
        await self.change({f"o/{bucket.name}/{key}": digest(body)}, put(engine, bucket, key, body))

    async def delete(self, engine: EmbeddedEngine, bucket: Bucket, key: str) -> None:
        await self.change({f"o/{bucket.name}/{key}": None}, delete(engine, bucket, key))

    async def objects(self, engine: EmbeddedEngine, bucket: Bucket, count: int) -> None:
        """New ones, overwritten and deleted ones, large ones, several at once."""
        dice = self._dice
        for number in range(count):
            key, body = f"key{dice.randrange(6)}", dice.randbytes(dice.choice([0, 300, 1900]))
            await self.put(engine, bucket, key, body)
            if number % 4 == 3:
                await self.delete(engine, bucket, key)
        start = dice.randrange(3)
        together = [(f"at-once-{start + n}", dice.randbytes(700)) for n in range(5)]
        await asyncio.gather(*(self.put(engine, bucket, *each) for each in together))
        await self.put(engine, bucket, "large", dice.randbytes(5000))
        await self.put(engine, bucket, "large", dice.randbytes(3000))

    async def upload(self, engine: EmbeddedEngine, bucket: Bucket, name: str) -> None:
        work = start_upload(engine, bucket, f"key {name}", name)
        await self.change({f"u/{bucket.name}/{name}": HERE}, work)

    async def part(
        self, engine: EmbeddedEngine, bucket: Bucket, name: str, number: int, body: bytes
    ) -> CompletePart:
        work = put_part(engine, bucket, f"key {name}", name, number, body)
        await self.change({f"p/{bucket.name}/{name}/{number}": digest(body)}, work)
        return CompletePart(number, md5(body))

    async def uploads(self, engine: EmbeddedEngine, bucket: Bucket) -> None:
        """One that is completed, one that is aborted, one that is left."""
        for name in ("u1", "u2", "u3"):
            await self.upload(engine, bucket, name)
        first, second = self._dice.randbytes(2500), self._dice.randbytes(1800)
        await self.part(engine, bucket, "u1", 1, second)
        parts = [
            await self.part(engine, bucket, "u1", 1, first),
            await self.part(engine, bucket, "u1", 2, second),
        ]
        await self.part(engine, bucket, "u1", 3, b"not used" * 50)
        await self.part(engine, bucket, "u2", 1, first)
        await self.part(engine, bucket, "u3", 7, second)
        parts_gone: Effects = {f"p/one/u1/{number}": None for number in (1, 2, 3)}
        await self.change(
            {"o/one/key u1": digest(first + second), "u/one/u1": None, **parts_gone},
            commit(engine, completion(bucket, "key u1", "u1", parts, len(first + second))),
        )
        await self.change(
            {"u/one/u2": None, "p/one/u2/1": None}, abort(engine, bucket, "key u2", "u2")
        )

    async def bucket_that_goes(self, engine: EmbeddedEngine) -> None:
        """It goes with an upload in it; another of its name starts empty."""
        bucket = await self.bucket(engine, "gone")
        await self.put(engine, bucket, "key", b"body")
        await self.upload(engine, bucket, "u4")
        await self.part(engine, bucket, "u4", 1, self._dice.randbytes(1000))
        await self.delete(engine, bucket, "key")
        await self.change(
            {"b/gone": None, "u/gone/u4": None, "p/gone/u4/1": None},
            commit(engine, DeleteBucket("gone")),
        )
        await self.bucket(engine, "gone")

    async def settings(self, engine: EmbeddedEngine, bucket: Bucket) -> None:
        """System records and a bucket's configuration."""
        for name, value in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("b", None), ("c", b"4")):
            effects: Effects = {f"s/{name}": None if value is None else digest(value)}
            await self.change(effects, commit(engine, PutSystem(KIND, name, value)))
        for value in (b"old", b"new"):
            change = SetBucketConfig(bucket.name, "tagging", value)
            await self.change({"c/one/tagging": digest(value)}, commit(engine, change))

    async def clean(self, engine: EmbeddedEngine) -> None:
        """Compaction and collection, with what they unlink; a checkpoint of the index."""
        collector = Collector(engine, grace=0.0)
        for _ in range(2):
            with self._forgiving():
                await Compactor(engine).run()
            with self._forgiving():
                await collector.collect_garbage()
        with self._forgiving():
            await engine.internal(link.Checkpoint())
            await collector.collect_leftovers()

    def _forgiving(self) -> contextlib.AbstractContextManager[None]:
        return (
            contextlib.suppress(errors.StoreError) if self._tolerant else contextlib.nullcontext()
        )


def live(config: Config, journal: Path, calls: io.Calls, seed: int = 0) -> None:
    """A life in a process of its own (for ``Process``)."""
    with telling(journal, calls):
        asyncio.run(Life(config, Journal(journal), seed=seed).run())


def come_back(config: Config, journal: Path, calls: io.Calls) -> None:
    """Open and close a store in a process of its own."""

    async def open_and_close() -> None:
        async with alone(config):
            pass

    with telling(journal, calls):
        asyncio.run(open_and_close())


@contextlib.contextmanager
def telling(journal: Path, calls: io.Calls) -> Iterator[None]:
    """Work on ``calls``; what goes wrong is written down beside the journal."""
    io.install(calls)
    try:
        yield
    except BaseException:
        journal.with_suffix(".error").write_text(traceback.format_exc())
        raise
