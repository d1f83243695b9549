"""Scrub finds what rots, and what the index says wrongly; and never what is sound."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from storage.config import Config
from storage.engine.embedded import comparison, index, io, link, segment
from storage.engine.embedded.compaction import Compactor
from storage.engine.embedded.comparison import Comparison
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.embedded.files import file_path
from storage.engine.embedded.scrub import DONE, FILES, SEGMENTS, Pass, Progress
from storage.engine.interface import (
    ENABLED,
    VERSIONING,
    Bucket,
    CreateBucket,
    DeleteBucket,
    SetBucketConfig,
    SetCursor,
)
from tests.contract.store import delete, get, make_bucket, put
from tests.engines import alone
from tests.fault.folders import folder
from tests.fault.history import Promises, tables
from tests.fault.kernel import Unreadable
from tests.fault.workload import Life, config_at

pytestmark = pytest.mark.anyio
PAGE = index.PAGE_BYTES


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def lived() -> Iterator[Path]:
    """A drive on which everything has happened that can."""
    with folder() as path:
        promises = Promises()
        life = Life(config_at(path / "drive"), promises)
        asyncio.run(life.run())
        asyncio.run(_more(config_at(path / "drive")))
        yield path / "drive"


async def _more(config: Config) -> None:
    async with alone(config) as engine:
        bucket = await engine.bucket("one")
        assert bucket is not None
        await engine.commit(SetCursor("notify", 1))
        await engine.commit(SetCursor("notify", 5))
        for number in range(60):
            await put(engine, bucket, f"many/{number:03}", b"small")
        for number in range(0, 60, 3):
            await delete(engine, bucket, f"many/{number:03}")
        await engine.internal(link.Checkpoint())


@pytest.fixture
async def engine(lived: Path, tmp_path: Path) -> AsyncIterator[EmbeddedEngine]:
    with folder() as path:
        shutil.copytree(lived, path / "drive")
        async with alone(config_at(path / "drive")) as opened:
            yield opened


async def compared(engine: EmbeddedEngine) -> Comparison:
    found = Comparison(engine)
    for _ in found.steps():
        await asyncio.sleep(0)
    return found


async def scrubbed(engine: EmbeddedEngine, progress: Progress | None = None) -> Progress:
    progress = progress or Progress()
    if progress.part == DONE:
        progress.begin(1)
    for _ in Pass(engine, progress).steps():
        await asyncio.sleep(0)
    assert progress.part == DONE
    return progress


async def repaired(engine: EmbeddedEngine) -> None:
    async with asyncio.timeout(60):
        while engine.board.suspect or engine.board.state != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def change_index(engine: EmbeddedEngine, *statements: str) -> None:
    """Change rows as a misplaced page would, beside the committer."""
    path = os.path.join(engine.drive.index, index.FILE)
    connection = index.connect(path, write=True)
    try:
        for statement in statements:
            connection.execute(statement)
            assert connection.changes(), statement
    finally:
        connection.close()


# -- what is sound --------------------------------------------------------------------------------


async def test_a_sound_store_has_no_differences(engine: EmbeddedEngine) -> None:
    found = await compared(engine)
    assert (found.mismatches, found.damages, found.lost) == ([], [], set())
    assert found.compared > 100
    progress = await scrubbed(engine)
    assert (progress.damages, progress.mismatches, progress.repairs) == (0, 0, 0)
    assert progress.verified > 30_000
    assert not engine.board.suspect


@pytest.mark.parametrize("absent_max", [4, comparison.ABSENT_MAX])
async def test_no_false_alarm_while_everything_changes(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch, absent_max: int
) -> None:
    monkeypatch.setattr(comparison, "ABSENT_MAX", absent_max)
    monkeypatch.setattr(comparison, "ROWS", 7)
    life = Life(engine.config, Promises(), seed=7)
    bucket = await engine.bucket("one")
    assert bucket is not None

    async def change() -> None:
        compactor = Compactor(engine)
        for round_ in range(6):
            await life.objects(engine, bucket, 12)
            if round_ == 3:
                await engine.commit(DeleteBucket("gone"))
                await life.bucket_that_goes(engine)
            await compactor.run()

    async def compare() -> int:
        rounds = 0
        while not work.done():
            found = await compared(engine)
            assert (found.mismatches, found.damages, found.lost) == ([], [], set())
            rounds += 1
        return rounds

    await life.delete(engine, bucket, "large")
    work = asyncio.create_task(change())
    assert await compare() >= 2
    await work


async def test_no_false_alarm_in_the_moment_before_the_board_is_told(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index has a change already, and ``board.applied_seq`` does not say so yet."""
    monkeypatch.setattr(comparison, "ROWS", 1)
    bucket = await engine.bucket("one")
    assert bucket is not None
    found = Comparison(engine)
    walk = found._walk_rows()
    for _ in range(8):
        next(walk)
    before = engine.board.applied_seq
    await put(engine, bucket, "a key that the walk has passed", b"body")
    engine.board.applied_seq = before
    for _ in walk:
        pass
    assert found.mismatches == []


async def test_no_false_alarm_when_compaction_moves_a_row_twice(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time between asking which segments rows name and looking which are there."""
    bucket = await engine.bucket("one")
    assert bucket is not None
    loop, listing, moves = asyncio.get_running_loop(), segment.listing, []
    walker = threading.local()

    async def move() -> None:
        with contextlib.closing(index.connect(os.path.join(engine.drive.index, index.FILE))) as db:
            named = [row[0] for row in db.execute("SELECT DISTINCT segment FROM system")]
        for number in range(30):  # they are closed when others follow
            await put(engine, bucket, f"rolls over {number}", b"x" * 1500)
        for number in named:
            await Compactor(engine).compact(number, share_max=1.0)
        moves.append(named)

    def listing_late(*arguments: str) -> list[int]:
        if getattr(walker, "here", False):
            asyncio.run_coroutine_threadsafe(move(), loop).result(60)
        return listing(*arguments)

    def walk() -> None:
        walker.here = True
        for _ in found._walk_segments_of("system"):
            pass

    found = Comparison(engine)
    monkeypatch.setattr(segment, "listing", listing_late)
    await asyncio.to_thread(walk)
    assert moves
    assert (found.mismatches, found.lost) == ([], set())


# -- an index that lies ---------------------------------------------------------------------------

_OBJECT = "(SELECT key FROM current WHERE files IS NULL AND size > 0 ORDER BY seq LIMIT 1)"
LIES: dict[str, tuple[str, ...]] = {
    "object-missing": (f"DELETE FROM current WHERE key={_OBJECT}",),
    "object-older": (f"UPDATE current SET seq=seq-1 WHERE key={_OBJECT}",),
    "object-of-another-size": (f"UPDATE current SET size=size+1 WHERE key={_OBJECT}",),
    "object-elsewhere": (f"UPDATE current SET offset=offset+64 WHERE key={_OBJECT}",),
    "object-of-another-owner": (f"UPDATE current SET owner='mallory' WHERE key={_OBJECT}",),
    "object-in-a-segment-that-went": (f"UPDATE current SET segment=1 WHERE key={_OBJECT}",),
    "bucket-missing": ("DELETE FROM buckets WHERE name='gone'",),
    "bucket-that-was-deleted": (
        "INSERT INTO buckets SELECT n.id, 'back', b.owner, b.created, b.region, b.config, "
        "1, b.weight, b.floor FROM bucket_names AS n, buckets AS b WHERE b.name='gone' "
        "AND n.id NOT IN (SELECT id FROM buckets)",
    ),
    "configuration-missing": ("DELETE FROM bucket_config",),
    "configuration-older": ("UPDATE bucket_config SET seq=seq-1",),
    "upload-missing": ("DELETE FROM uploads WHERE upload_id='u3'",),
    "part-missing": ("DELETE FROM parts",),
    "system-record-missing": ("DELETE FROM system WHERE name='c'",),
    "system-record-older": ("UPDATE system SET seq=seq-1 WHERE name='a'",),
    "cursor-missing": ("DELETE FROM cursors",),
    "counters": ("UPDATE usage SET objects=objects+1",),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_of_the_index_is_found_and_made_good(engine: EmbeddedEngine, lie: str) -> None:
    before = tables(engine)
    change_index(engine, *LIES[lie])
    assert tables(engine) != before
    progress = await scrubbed(engine)
    assert progress.mismatches
    assert progress.repairs == 1
    await repaired(engine)
    assert tables(engine) == before
    assert (await scrubbed(engine)).mismatches == 0


async def test_what_was_deleted_does_not_come_back_unseen(engine: EmbeddedEngine) -> None:
    bucket = await engine.bucket("one")
    assert bucket is not None
    await put(engine, bucket, "secret", b"secret")
    await engine.commit(CreateBucket("doomed", "root", 1))
    connection = index.connect(os.path.join(engine.drive.index, index.FILE), write=True)
    connection.execute(
        "CREATE TABLE o AS SELECT * FROM current WHERE key=CAST('secret' AS BLOB);"
        "CREATE TABLE b AS SELECT * FROM buckets WHERE name='doomed'"
    )
    await delete(engine, bucket, "secret")
    await engine.commit(DeleteBucket("doomed"))
    connection.execute("INSERT INTO current SELECT * FROM o; INSERT INTO buckets SELECT * FROM b")
    connection.execute("DROP TABLE o; DROP TABLE b")
    connection.close()
    assert await get(engine, bucket, "secret") == b"secret"
    assert (await scrubbed(engine)).mismatches >= 2
    await repaired(engine)
    assert await get(engine, bucket, "secret") is None
    assert "doomed" not in [each.name for each in await engine.buckets()]


def _pages(path: Path, table: str) -> list[int]:
    """Leaf pages of a table, by number."""
    connection = apsw.Connection(str(path))
    try:
        sql = "SELECT pageno FROM dbstat WHERE name=? AND pagetype='leaf' ORDER BY path"
        return [row[0] for row in connection.execute(sql, (table,))]
    finally:
        connection.close()


@pytest.mark.parametrize("what", ["older", "misplaced"])
async def test_a_sound_page_in_the_wrong_place(lived: Path, what: str) -> None:
    with folder() as path:
        shutil.copytree(lived, path / "drive")
        config = config_at(path / "drive")
        database = path / "drive" / ".oversight" / "index" / index.FILE
        async with alone(config) as engine:
            bucket = await make_bucket(engine, "pages")
            await fill(engine, bucket, b"first")
        old = database.read_bytes()
        async with alone(config) as engine:
            await fill(engine, bucket, b"second")
            before = tables(engine)
        pages = _pages(database, "current")
        assert len(pages) > 4
        source, target = (pages[3], pages[3]) if what == "older" else (pages[1], pages[3])
        page = (old if what == "older" else database.read_bytes())[(source - 1) * PAGE :][:PAGE]
        with database.open("r+b") as file:
            file.seek((target - 1) * PAGE)
            file.write(page)
        async with alone(config) as engine:
            progress = await scrubbed(engine)
            assert progress.mismatches
            await repaired(engine)
            assert tables(engine) == before
            for number in range(200):
                assert await get(engine, bucket, f"key/{number:04}") == b"second"


async def fill(engine: EmbeddedEngine, bucket: Bucket, body: bytes) -> None:
    keys = [f"key/{number:04}" for number in range(200)]
    await asyncio.gather(*(put(engine, bucket, key, body) for key in keys))
    await engine.internal(link.Checkpoint())


async def test_what_only_the_index_knows_is_not_thrown_away(engine: EmbeddedEngine) -> None:
    """Heads that rot in log and footer: their objects live in the index alone."""
    before = tables(engine)
    number = segment.listing(engine.drive.segments)[0]
    path = os.path.join(engine.drive.segments, segment.name(number))
    record = max(segment.all_records(path), key=lambda record: record.length)
    for at in occurrences(path, record.body[:12]):
        flip(path, at)
    change_index(engine, LIES["counters"][0])
    progress = await scrubbed(engine)
    assert progress.damages
    assert progress.mismatches
    assert progress.repairs == 0
    assert not engine.board.suspect
    change_index(engine, "UPDATE usage SET objects=objects-1")
    assert tables(engine) == before


def occurrences(path: str, piece: bytes) -> list[int]:
    data = Path(path).read_bytes()
    found, at = [], data.find(piece)
    while at >= 0:
        found.append(at)
        at = data.find(piece, at + 1)
    return found


# -- rot ------------------------------------------------------------------------------------------


def flip(path: str, offset: int) -> None:
    """Change a bit; a negative offset counts from the end."""
    offset += os.path.getsize(path) if offset < 0 else 0
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def a_payload(engine: EmbeddedEngine) -> tuple[str, Any]:
    """A payload of a closed segment."""
    for number in segment.listing(engine.drive.segments)[:-1]:
        path = os.path.join(engine.drive.segments, segment.name(number))
        for record in segment.all_records(path):
            if record.length > 500:
                return path, record
    raise AssertionError


async def test_a_rotten_payload_is_named(engine: EmbeddedEngine) -> None:
    path, record = a_payload(engine)
    flip(path, record.offset + 100)
    progress = await scrubbed(engine)
    assert progress.damages == 1
    (finding,) = progress.findings
    assert finding.place.startswith(f"segment {record.segment:x}, ")
    assert finding.bucket
    assert finding.key
    assert progress.repairs == 0


async def test_a_payload_that_cannot_be_read_is_named(engine: EmbeddedEngine) -> None:
    path, record = a_payload(engine)

    class Bad(Unreadable):
        def preadv(self, fd: int, buffers: Any, offset: int) -> int:
            if self._touches(fd, offset, sum(map(len, buffers))):
                raise OSError(5, "EIO")
            return super().preadv(fd, buffers, offset)

    before = io.install(Bad(path, record.offset, record.offset + 1))
    try:
        progress = await scrubbed(engine)
    finally:
        io.install(before)
    assert any("can't be read" in finding.what for finding in progress.findings)
    assert all(f"segment {record.segment:x}, " in each.place for each in progress.findings)


@pytest.mark.parametrize("where", ["data", "footer", "gone"])
async def test_a_rotten_file_is_named(engine: EmbeddedEngine, where: str) -> None:
    bucket = await engine.bucket("one")
    assert bucket is not None
    version = await engine.lookup(bucket.id, "large")
    assert version is not None
    path = file_path(engine.drive.files, version.files[0].name)
    if where == "gone":
        os.unlink(path)
    else:
        flip(path, 17 if where == "data" else -20)
    progress = await scrubbed(engine)
    assert [finding.key for finding in progress.findings] == ["large"]
    assert version.files[0].name in progress.findings[0].place


@pytest.mark.parametrize("where", ["data", "gone"])
async def test_a_rotten_file_of_a_hidden_version_is_named(
    engine: EmbeddedEngine, where: str
) -> None:
    bucket = await engine.bucket("one")
    assert bucket is not None
    await engine.commit(SetBucketConfig("one", VERSIONING, ENABLED))
    await put(engine, bucket, "hidden", b"first" * 2000)
    version = await engine.lookup(bucket.id, "hidden")
    assert version is not None
    await put(engine, bucket, "hidden", b"second" * 2000)
    path = file_path(engine.drive.files, version.files[0].name)
    if where == "gone":
        os.unlink(path)
    else:
        flip(path, 17)
    progress = await scrubbed(engine)
    assert [finding.key for finding in progress.findings] == ["hidden"]
    assert version.files[0].name in progress.findings[0].place


async def test_a_rotten_part_is_named(engine: EmbeddedEngine) -> None:
    bucket = await engine.bucket("one")
    assert bucket is not None
    (part,) = await engine.parts(bucket.id, "key u3", "u3")
    flip(file_path(engine.drive.files, part.file.name), 3)
    assert part.file.name in (await scrubbed(engine)).findings[0].place


async def test_a_rotten_footer_is_named(engine: EmbeddedEngine) -> None:
    path, _ = a_payload(engine)
    flip(path, -segment.TRAILER_BYTES - 20)
    progress = await scrubbed(engine)
    assert [finding.what for finding in progress.findings] == ["the footer does not verify"]
    assert progress.mismatches == 0


# -- going on -------------------------------------------------------------------------------------


async def test_a_pass_goes_on_where_it_was(engine: EmbeddedEngine) -> None:
    whole = await scrubbed(engine)
    dice = random.Random(1)
    progress = Progress()
    progress.begin(1)
    parts = set()
    while progress.part != DONE:
        steps = Pass(engine, progress).steps()
        for _ in range(dice.randrange(20, 60)):
            next(steps, None)
        parts.add(progress.part)
    assert parts >= {SEGMENTS, DONE}
    assert progress.verified >= whole.verified
    path, record = a_payload(engine)
    flip(path, record.offset)
    progress = Progress(part=SEGMENTS, segment=record.segment + 1)
    assert (await scrubbed(engine, progress)).damages == 0
    progress = Progress(part=SEGMENTS, segment=record.segment)
    assert (await scrubbed(engine, progress)).damages == 1
    assert (await scrubbed(engine, Progress(part=FILES))).damages == 0
