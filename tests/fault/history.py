"""What clients were promised, and whether a store keeps it.

Everything that a store shows is a *fact* with a name (``o/bucket/key`` an object, ``b/`` a
bucket, ``c/`` its configuration, ``u/`` an upload, ``p/`` a part, ``s/`` a system record) and a
digest of its content. A change turns some facts into others, all or none of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from storage.config import Config
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.interface import Bucket
from storage.services.collection import Collector, _objects, _parts
from tests.contract.store import expected_usage, get, make_bucket, put
from tests.engines import alone, lose_index

Value = str | None
Effects = dict[str, Value]
KIND = "fault"
AFTER = "after the crash"

#: What must be the same in an index that is made anew. ``garbage`` is not: files that are gone
#: already may come back to it.
TABLES = (
    "SELECT * FROM buckets",
    "SELECT * FROM bucket_config",
    "SELECT * FROM usage",
    "SELECT * FROM current",
    "SELECT * FROM versions",
    "SELECT * FROM uploads",
    "SELECT * FROM parts",
    "SELECT * FROM system",
    "SELECT * FROM cursors",
    "SELECT id, live, live_bytes FROM segments WHERE live",
)


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


class Promises:
    """A change begins, and is acknowledged or not. Until then both outcomes are right."""

    def __init__(self) -> None:
        self.sure: dict[str, str] = {}
        self.open: dict[int, Effects] = {}
        self.acknowledged = 0

    def begin(self, number: int, effects: Effects) -> None:
        self.open[number] = effects

    def acknowledge(self, number: int) -> None:
        """It is so from now on; what was open about the same facts before is settled by it."""
        effects = self.open.pop(number)
        self.acknowledged += 1
        for name, value in effects.items():
            if value is None:
                self.sure.pop(name, None)
            else:
                self.sure[name] = value
        for other in [n for n, rest in self.open.items() if n < number and rest.keys() & effects]:
            self.open[other] = {k: v for k, v in self.open[other].items() if k not in effects}

    def check(self, found: dict[str, str]) -> None:
        """Every acknowledged change is there; each open one wholly or not at all."""
        contested = [name for effects in self.open.values() for name in effects]
        for name in self.sure.keys() | found.keys() | set(contested):
            may_be = {self.sure.get(name), *(e[name] for e in self.open.values() if name in e)}
            assert found.get(name) in may_be, (name, found.get(name), may_be)
        for effects in self.open.values():
            # Facts that tell: nothing else is open about them and the change would turn them.
            telling = {
                found.get(name) == value
                for name, value in effects.items()
                if contested.count(name) == 1 and self.sure.get(name) != value
            }
            assert len(telling) < 2, f"half of a change is there: {effects}"


class Journal:
    """Promises written down outside the drive, as they are made, by a process that may die."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def begin(self, number: int, effects: Effects) -> None:
        os.write(self._fd, json.dumps([number, effects]).encode() + b"\n")

    def acknowledge(self, number: int) -> None:
        os.write(self._fd, b"%d\n" % number)


def read_journal(path: Path) -> Promises:
    promises = Promises()
    for line in path.read_bytes().splitlines() if path.exists() else ():
        entry = json.loads(line)
        if isinstance(entry, int):
            promises.acknowledge(entry)
        else:
            promises.begin(*entry)
    return promises


async def facts(engine: EmbeddedEngine) -> dict[str, str]:
    """Everything that the store shows, each byte of it read. Counters are checked on the way."""
    found = {f"s/{each.name}": digest(each.value) for each in await engine.system(KIND)}
    for bucket in await engine.buckets():
        found[f"b/{bucket.name}"] = digest(b"")
        for document, value in bucket.config.items():
            found[f"c/{bucket.name}/{document}"] = digest(value)
        objects = await _bodies(engine, bucket)
        uploads = await _uploads(engine, bucket)
        count = sum(name.startswith("u/") for name in uploads)
        expected = expected_usage([len(data) for data in objects.values()], count)
        assert await engine.usage(bucket.id) == expected
        found |= {f"o/{bucket.name}/{key}": digest(data) for key, data in objects.items()}
        found |= uploads
    return found


async def _bodies(engine: EmbeddedEngine, bucket: Bucket) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    after: str | None = ""
    while after is not None:
        page = await engine.list_objects(bucket.id, after=after)
        for entry in page.entries:
            data = await get(engine, bucket, entry.key)
            assert data is not None, f"{entry.key} is listed but can't be looked up"
            assert len(data) == entry.size
            found[entry.key] = data
        after = page.next_after
    return found


async def _uploads(engine: EmbeddedEngine, bucket: Bucket) -> dict[str, str]:
    found = {}
    for upload in (await engine.list_uploads(bucket.id)).uploads:
        name = f"{bucket.name}/{upload.upload_id}"
        found[f"u/{name}"] = digest(b"")
        for part in await engine.parts(bucket.id, upload.key, upload.upload_id):
            pieces = [bytes(p) async for p in engine.files.read((part.file,), 0, part.size)]
            found[f"p/{name}/{part.number}"] = digest(b"".join(pieces))
    return found


async def check(engine: EmbeddedEngine, promises: Promises) -> None:
    """The store holds what was promised, nothing partial, and its counters say so."""
    promises.check(await facts(engine))


async def check_goes_on(engine: EmbeddedEngine, promises: Promises) -> None:
    """Writing works after the crash, too."""
    number = max(promises.open, default=0) + 1_000_000
    bucket = await engine.bucket(AFTER.replace(" ", "-"))
    if bucket is None:
        bucket = await make_bucket(engine, AFTER.replace(" ", "-"))
    promises.begin(number, {f"b/{bucket.name}": digest(b""), f"o/{bucket.name}/k": digest(b"x")})
    await put(engine, bucket, "k", b"x")
    promises.acknowledge(number)


async def check_files(engine: EmbeddedEngine) -> None:
    """Once collected, the drive holds the files that the index names and no others."""
    collector = Collector(engine, grace=0.0)
    await collector.collect_garbage()
    await collector.collect_leftovers()
    named = {*_objects(engine.index), *_parts(engine.index)}
    assert set(engine.files.names()) == named


def tables(engine: EmbeddedEngine) -> dict[str, list[object]]:
    """The index's content, row by row."""
    return {sql: sorted(engine.index.rows(sql), key=repr) for sql in TABLES}


async def check_store(config: Config, promises: Promises) -> None:
    """Everything at once, as after any crash: reopen, look, go on, rebuild, look again.

    A process that dies damages nothing: whatever recovery calls damage, it was made wrongly.
    """
    async with alone(config) as engine:
        assert (await engine.health()).damages == 0
        await check(engine, promises)
        await check_goes_on(engine, promises)
        before = tables(engine)
    lose_index(config)
    async with alone(config) as engine:
        assert (await engine.health()).damages == 0
        assert tables(engine) == before
        await check(engine, promises)
        await check_files(engine)
