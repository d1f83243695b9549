"""The index of Langfuse's objects follows the store, whatever happens to either."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.config import Config
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.interface import AmendObject, Bucket, Following, PutSystem, SetBucketConfig
from storage.langfuse import bodies
from storage.langfuse.apart import understood_apart
from storage.langfuse.bodies import DAMAGED, LARGE, SOUND
from storage.langfuse.index import (
    FILE,
    Change,
    Event,
    Progress,
    Reader,
    Unusable,
    Writer,
)
from storage.langfuse.keys import Place
from storage.services import langfuse_index
from storage.services.feed import LOST
from storage.services.langfuse_index import (
    FOLLOWING,
    NAME,
    SHARE,
    SHARE_BUSY,
    STOCKTAKING,
    Budget,
    LangfuseIndex,
    layout_of,
)
from tests.contract.store import delete, make_bucket, put
from tests.engines import alone, small_config
from tests.unit.langfuse.test_index import content

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTEL = "events/otel/p1/2026/08/17/09/41/{}.json"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return small_config(tmp_path, segment_size=256 * 1024, inline_max=4096, fsync=False)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(langfuse_index, "_CURSOR_SECONDS", -1.0)
    monkeypatch.setattr(langfuse_index, "_PAUSE", 0.0)


class Unbounded(langfuse_index.Budget):
    """All the time there is."""

    def __init__(self) -> None:
        super().__init__(1.0, 1e9)

    def share(self, lag: float) -> float:
        return 1.0


class Kept:
    """An index over an engine, and what it tells."""

    def __init__(self, engine: EmbeddedEngine, config: Config) -> None:
        self.told = Following()
        self.index = LangfuseIndex(engine, layout_of(config), self._hear, budget=Unbounded())
        self.folder = Path(engine.drive.root)
        self.reader = Reader(engine.drive.root)

    def _hear(self, following: Following) -> None:
        self.told = following

    def on_hearing(self, count: int, act: Callable[[], object]) -> None:
        """Act when something is told for the ``count``-th time: between two transactions, or in the
        middle of one."""

        def hear(following: Following) -> None:
            nonlocal count
            self.told = following
            count -= 1
            if not count:
                act()

        self.index._tell = hear

    async def run(self) -> None:
        await self.index.run()

    def events(self, trace: str = TRACE) -> list[Event]:
        return self.reader.events(trace)

    def keys(self, trace: str = TRACE) -> list[str]:
        return sorted(event.key for event in self.events(trace))

    def close(self) -> None:
        self.index.close()
        self.reader.close()


def export(*traces: str) -> bytes:
    spans = [{"traceId": {"type": "Buffer", "data": list(bytes.fromhex(t))}} for t in traces]
    return json.dumps([{"scopeSpans": [{"spans": spans}]}]).encode()


def event(trace: str) -> bytes:
    return json.dumps([{"body": {"id": "o", "traceId": trace}}]).encode()


async def langfuse(engine: EmbeddedEngine) -> Bucket:
    return await make_bucket(engine, "langfuse")


async def test_both_layouts_media_and_exports(config: Config) -> None:
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        elsewhere = await make_bucket(engine, "elsewhere")
        await put(engine, bucket, OTEL.format("a"), export(TRACE, "f" * 32))
        await put(engine, bucket, f"events/p1/trace/{TRACE}/e.json", b"[]")
        await put(engine, bucket, "events/p1/observation/o/e.json", event(TRACE))
        await put(engine, bucket, "media/p1/image.png", b"image")
        await put(engine, bucket, "exports/1-lf-traces-export-p2.csv", b"a,b")
        await put(engine, bucket, "events/what.txt", b"")
        await put(engine, elsewhere, OTEL.format("b"), export(TRACE))
        await kept.run()
        assert kept.told.state == FOLLOWING
        assert kept.keys() == [
            OTEL.format("a"),
            "events/p1/observation/o/e.json",
            f"events/p1/trace/{TRACE}/e.json",
        ]
        found = {(row[0], row[1]): row[2] for row in kept.reader.projects()[1]}
        assert found == {
            ("p1", "otel"): 1,
            ("p1", "trace"): 1,
            ("p1", "observation"): 1,
            ("p1", "media"): 1,
            ("p2", "export"): 1,
        }
        assert (kept.told.objects, kept.told.flawed) == (5, 0)
        kept.close()


async def test_it_follows_puts_replacements_and_deletions(config: Config) -> None:
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        await kept.run()
        key = "events/p1/observation/o/e.json"
        await put(engine, bucket, key, event(TRACE))
        await kept.run()
        assert kept.keys() == [key]
        await put(engine, bucket, key, event("another"))
        await kept.run()
        assert (kept.keys(), kept.keys("another")) == ([], [key])
        position = kept.told.position
        version = await engine.lookup(bucket.id, key)
        assert version is not None
        await engine.commit(AmendObject(bucket.id, key, version.seq, tags={"a": "b"}))
        await kept.run()
        assert kept.keys("another") == [key]
        assert kept.told.position > position
        await delete(engine, bucket, key)
        await kept.run()
        assert (kept.keys("another"), kept.told.objects) == ([], 0)
        kept.close()


async def test_delete_markers_hide_and_their_removal_shows(config: Config) -> None:
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        await engine.commit(SetBucketConfig("langfuse", "versioning", b"Enabled"))
        key = "events/p1/observation/o/e.json"
        await put(engine, bucket, key, event(TRACE))
        marker = await delete(engine, bucket, key)
        await kept.run()
        assert kept.keys() == []
        await delete(engine, bucket, key, version_id=marker.version_id)
        await kept.run()
        assert kept.keys() == [key]
        kept.close()


async def test_what_cannot_be_read_stops_nothing(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_BYTES_MAX", 10_000)
    monkeypatch.setattr(bodies, "HEAD_BYTES", 2_000)
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        key = "events/p1/observation/{}/e.json"
        await put(
            engine, bucket, key.format("damaged"), b'[{"body": {"traceId": "%b"' % TRACE.encode()
        )
        await put(engine, bucket, key.format("nested"), b"[" * 5000)
        await put(engine, bucket, key.format("empty"), b"")
        large = b'[{"body": {"traceId": "%b", "input": "' % TRACE.encode() + b"x" * 20_000
        await put(engine, bucket, key.format("large"), large)
        await put(engine, bucket, "events/p1/trace/..%2F/../e.json", b"\xff" * 100)
        await put(engine, bucket, key.format("sound"), event(TRACE))
        await kept.run()
        flaws = {found.key.split("/")[3]: found.flaw for found in kept.events()}
        assert flaws == {"damaged": DAMAGED, "large": LARGE, "sound": SOUND}
        assert (kept.told.objects, kept.told.flawed) == (6, 5)
        kept.close()


async def test_bodies_in_gzip(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_BYTES_MAX", 10_000)
    monkeypatch.setattr(bodies, "HEAD_BYTES", 2_000)
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        key = "events/p1/observation/{}/e.json"
        packed = gzip.compress(event(TRACE))
        await put(engine, bucket, key.format("sound"), packed)
        await put(engine, bucket, key.format("cut"), packed[:-4])
        await put(engine, bucket, key.format("broken"), packed[:12] + b"\xff" * 30)
        large = b'[{"body": {"traceId": "%b", "input": "' % TRACE.encode() + b"x" * 20_000
        await put(engine, bucket, key.format("bomb"), gzip.compress(large))
        noise = base64.b64encode(os.urandom(20_000))
        await put(engine, bucket, key.format("large"), gzip.compress(large[:-20_000] + noise))
        await kept.run()
        flaws = {found.key.split("/")[3]: found.flaw for found in kept.events()}
        assert flaws == {"sound": SOUND, "cut": LARGE, "bomb": LARGE, "large": LARGE}
        assert (kept.told.objects, kept.told.flawed) == (5, 4)
        kept.close()


async def test_large_bodies_are_decoded_by_another_process(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where requests are served from this one, which must not wait for it."""
    apart: list[int] = []

    def counted(place: Place, body: bytes) -> tuple[list[bodies.Mention], int]:
        apart.append(len(body))
        return understood_apart(place, body)

    monkeypatch.setattr(langfuse_index, "understood_apart", counted)
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        traces = [f"{number:032x}" for number in range(1, 40)]
        large = [*json.loads(export(*traces)), {"pad": "x" * 300_000}]
        await put(engine, bucket, OTEL.format("large"), json.dumps(large).encode())
        await put(engine, bucket, OTEL.format("broken"), b"[" + b"x" * 300_000)
        await put(engine, bucket, OTEL.format("small"), export(TRACE))
        await kept.run()
        assert sorted(apart) == [300_001, len(json.dumps(large))]
        assert [kept.keys(trace) for trace in traces] == [[OTEL.format("large")]] * 39
        assert (kept.told.objects, kept.told.flawed) == (3, 1)
        monkeypatch.setattr(sys, "executable", "/nowhere")
        await put(engine, bucket, OTEL.format("large"), json.dumps(large).encode())
        await kept.run()
        assert kept.told.flawed == 2
        kept.close()


async def test_key_and_body_may_write_an_id_differently(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_BYTES_MAX", 10_000)
    trace = "abcdef0123456789" * 2
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        key = f"events/evals/p/traces/{trace.upper()}/observations/x.json"
        body = b'[{"body": {"traceId":"%b", "input": "' % trace.encode() + b"x" * 20_000
        await put(engine, bucket, key, body)
        await put(engine, bucket, OTEL.format("a"), export(TRACE))
        await kept.run()
        assert kept.told.state == FOLLOWING
        assert [(found.key, found.flaw) for found in kept.events(trace)] == [(key, LARGE)]
        assert kept.keys() == [OTEL.format("a")]
        kept.close()


async def test_rebuilds_become_rare(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(langfuse_index, "_PAUSE", 5.0)
    naps: list[float] = []
    sleep = asyncio.sleep

    async def nap(seconds: float) -> None:
        if seconds >= 1:
            naps.append(seconds)
        await sleep(0)

    def broken(*_: object) -> None:
        raise Unusable

    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        await put(engine, bucket, OTEL.format("a"), export(TRACE))
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(langfuse_index.asyncio, "sleep", nap)
                patch.setattr(Writer, "apply", broken)
                for _ in range(9):
                    await kept.run()
            assert naps == [5, 10, 20, 40, 80, 160, 320, 600, 600]
            naps.clear()
            await kept.run()
            assert kept.told.state == FOLLOWING
            await put(engine, bucket, OTEL.format("b"), export(TRACE))
        kept.close()


async def test_others_have_a_turn_after_each_object(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where reading never waits: neither in stocktaking nor in following."""
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        turns, running = 0, True
        seen: list[int] = []

        async def others() -> None:
            nonlocal turns
            while running:
                turns += 1
                await asyncio.sleep(0)

        async def look(*place: str) -> Change:
            seen.append(turns)
            return Change(*place, None)

        monkeypatch.setattr(kept.index, "_look", look)
        other = asyncio.create_task(others())
        for _ in range(2):
            for number in range(20):
                await put(engine, bucket, OTEL.format(number), export(TRACE))
            seen.clear()
            await kept.run()
            assert len(seen) == 20
            assert len(set(seen)) == 20
        running = False
        await other
        kept.close()


async def test_it_goes_on_after_a_restart(config: Config) -> None:
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        await put(engine, bucket, OTEL.format("a"), export(TRACE))
        await kept.run()
        inode = (kept.folder / FILE).stat().st_ino
        kept.close()
        await put(engine, bucket, OTEL.format("b"), export(TRACE))
    async with alone(config) as engine:
        kept = Kept(engine, config)
        await kept.run()
        assert kept.keys() == [OTEL.format("a"), OTEL.format("b")]
        assert (kept.folder / FILE).stat().st_ino == inode
        cursors = await engine.cursors()
        assert cursors[NAME] == kept.told.position
        kept.close()


@pytest.mark.parametrize("how", ["removed", "damaged", "foreign", "old", "lost"])
async def test_it_is_made_anew(config: Config, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        await put(engine, bucket, OTEL.format("a"), export(TRACE))
        await kept.run()
        kept.close()
        path = kept.folder / FILE
        before = path.read_bytes()
        await put(engine, bucket, OTEL.format("b"), export(TRACE))
        if how == "removed":
            path.unlink()
        elif how == "damaged":
            path.write_bytes(before[:100] + os.urandom(len(before) - 100))
        elif how == "foreign":
            Writer.create(str(kept.folder), "of another store", Progress(complete=True)).close()
        elif how == "old":
            again = Kept(engine, config)
            await again.run()
            again.close()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)  # noqa: ASYNC240
            path.write_bytes(before)
        else:
            await engine.commit(PutSystem(LOST, NAME, b"1"))
        again = Kept(engine, config)
        for _ in range(3):
            await again.run()
        assert again.keys() == [OTEL.format("a"), OTEL.format("b")]
        assert again.told.state == FOLLOWING
        assert not await again.index._follower.is_lost()
        again.close()


async def test_killed_anywhere_it_ends_as_a_fresh_one(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled in the middle of stocktaking and following, and begun again."""
    chance = random.Random(7)
    monkeypatch.setattr(langfuse_index, "BATCH", 3)
    traces = [f"{number:032x}" for number in range(1, 6)]
    async with alone(config) as engine:
        bucket = await langfuse(engine)

        async def live() -> None:
            for _ in range(12):
                key = OTEL.format(chance.randrange(30))
                if chance.random() < 0.3:
                    await delete(engine, bucket, key)
                else:
                    await put(engine, bucket, key, export(*chance.sample(traces, 2)))

        for _ in range(5):
            await live()
        states = set()
        for _ in range(25):
            kept = Kept(engine, config)
            running = asyncio.create_task(kept.run())
            kept.on_hearing(chance.randrange(1, 6), running.cancel)
            await asyncio.gather(running, return_exceptions=True)
            states.add(kept.told.state)
            kept.close()
            await live()
        kept = Kept(engine, config)
        await kept.run()
        kept.close()
        survived = content(kept.folder)
        (kept.folder / FILE).unlink()
        kept = Kept(engine, config)
        await kept.run()
        kept.close()
        assert survived == content(kept.folder)
        assert survived[0]
        assert STOCKTAKING in states


async def test_progress_is_told(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(langfuse_index, "BATCH", 2)
    async with alone(config) as engine:
        bucket = await langfuse(engine)
        for number in range(7):
            await put(engine, bucket, OTEL.format(number), export(TRACE))
        kept = Kept(engine, config)
        told = []
        kept.index._tell = told.append
        await kept.run()
        steps = [(each.done, each.total) for each in told if each.state == STOCKTAKING]
        assert {(2, 7), (4, 7), (6, 7), (7, 7)} <= set(steps)
        assert steps == sorted(steps)
        assert told[-1].state == FOLLOWING
        assert told[-1].heard > 0
        kept.close()


async def test_switched_off_nothing_is_kept(config: Config) -> None:
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        await put(engine, bucket, OTEL.format("a"), export(TRACE))
        await kept.run()
        kept.close()
        await kept.index.switch_off()
        assert kept.told == Following()
        assert not (kept.folder / FILE).exists()
        assert (await engine.cursors())[NAME] > 1 << 60
        again = Kept(engine, config)
        await again.run()
        assert again.keys() == [OTEL.format("a")]
        again.close()


def test_clients_come_first_where_they_are_many() -> None:
    budget = Budget(0.6, 3600.0)
    budget.see(0, 100.0)
    assert budget.share(0) == SHARE
    budget.see(500, 100.1)  # too short to tell
    assert budget.share(0) == SHARE
    budget.see(1000, 101.0)
    assert budget.share(0) == SHARE_BUSY
    budget.see(1100, 102.0)
    assert budget.share(0) == SHARE


def test_who_is_behind_may_work_more() -> None:
    budget = Budget(0.6, 3600.0)
    budget.see(0, 0.0)
    budget.see(1000, 1.0)
    shares = [budget.share(lag) for lag in (0, 30, 60, 90, 1e4)]
    assert shares[:3] == [SHARE_BUSY, 2 * SHARE_BUSY, 4 * SHARE_BUSY]
    assert budget.share(300) == 0.6
    assert budget.share(1801) == 1.0, "half of what is kept for it"


@pytest.mark.parametrize("rate", [100, 400, 2000])
def test_a_store_that_is_always_busy_is_kept_up_with(rate: int) -> None:
    """A model of ten minutes: an object costs 250 us. What it is behind stays bounded."""
    budget, position, now, worst = Budget(0.6, 7 * 86400.0), 0.0, 0.0, 0.0
    while now < 600:
        written = int(rate * now)
        budget.see(written, now)
        lag = now - position / rate
        position = min(written, position + budget.share(lag) / 250e-6)
        now += 1
        worst = max(worst, lag)
    assert worst < 150
    assert lag == pytest.approx(worst, abs=5), "and does not grow any more"


async def test_how_far_it_is_behind_is_told(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(langfuse_index, "BATCH", 2)
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        await kept.run()
        for number in range(6):
            await put(engine, bucket, OTEL.format(number), export(TRACE))
        told: list[Following] = []
        kept.index._tell = told.append
        await kept.run()
        assert told[0].behind >= 4
        assert (told[-1].behind, told[-1].share) == (0, 1000)
        heard = [each.heard for each in told]
        assert 0 < heard[0] <= heard[-1]
        assert heard == sorted(heard)
        assert told[-1].lag(heard[-1] / 1000 + 100) == 100
        kept.close()


@pytest.mark.parametrize("how", ["removed", "damaged"])
async def test_it_is_made_anew_while_it_runs(config: Config, how: str) -> None:
    """What it writes to a file that nobody finds any more, nobody would read."""
    async with alone(config) as engine:
        kept, bucket = Kept(engine, config), await langfuse(engine)
        await put(engine, bucket, OTEL.format("a"), export(TRACE))
        await kept.run()
        path = kept.folder / FILE
        if how == "removed":
            path.unlink()
        else:
            assert kept.index._writer is not None
            kept.index._writer._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with path.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(100)
                file.write(os.urandom(size - 100))
            assert Reader(str(kept.folder)).projects() == ([], [])
            assert not path.exists(), "the reader who found the damage takes it away"
        await kept.run()
        assert kept.told.state == STOCKTAKING, "nobody is told that it was up to date"
        await kept.run()
        assert kept.keys() == [OTEL.format("a")]
        assert kept.told.state == FOLLOWING
        kept.close()
