"""What lifecycle rules take, and what they leave."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from storage import lifecycle
from storage.engine.interface import (
    ENABLED,
    VERSIONING,
    Bucket,
    Engine,
    Expiry,
    Health,
    SetBucketConfig,
    VersionPage,
)
from storage.engine.memory import MemoryEngine
from storage.errors import Unavailable
from storage.lifecycle import Clock, Rule
from storage.lifecycle.due import ABORT, EXPIRE, MARKER, NONCURRENT, PAGE, preview
from storage.services.lifecycle import BATCH, Lifecycle
from storage.telemetry import metrics
from storage.telemetry.board import Board
from tests.contract.store import delete, keys, make_bucket, put, start_upload

pytestmark = pytest.mark.anyio
DAY = lifecycle.DAY_SECONDS * 1000
TODAY = 20_000 * DAY + 5


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def engine() -> Engine:
    return MemoryEngine()


async def with_rules(engine: Engine, *rules: Rule, versioned: bool = False) -> Bucket:
    await make_bucket(engine)
    if versioned:
        await engine.commit(SetBucketConfig("bucket", VERSIONING, ENABLED))
    await engine.commit(
        SetBucketConfig("bucket", lifecycle.DOCUMENT, lifecycle.encode(tuple(rules)))
    )
    found = await engine.bucket("bucket")
    assert found is not None
    return found


async def at(engine: Engine, moment: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Run at ``moment`` (ms); numbers of what went, by kind."""
    monkeypatch.setattr("time.time_ns", lambda: moment * 1_000_000)
    found: dict[str, int] = {}
    for tally in await Lifecycle(engine).run():
        found[tally.kind] = found.get(tally.kind, 0) + tally.count
    return found


async def versions(engine: Engine, bucket: Bucket) -> list[tuple[str, bool]]:
    page = await engine.list_versions(bucket.id)
    return [(entry.key, entry.delete_marker) for entry in page.entries]


def test_days_are_rounded_up_to_midnight() -> None:
    """As in S3's example: made on January 15 at 10:30, 3 days, due on January 19 at 0:00."""
    made = 1_705_314_600_000  # 2024-01-15T10:30Z
    due = 1_705_622_400_000  # 2024-01-19T00:00Z
    assert Clock(0).due_at(made, 3) == due
    assert Clock(due).is_due(made, 3)
    assert not Clock(due - 1).is_due(made, 3)
    assert Clock(0).due_at(due, 1) == due + DAY


async def test_objects_expire_by_prefix_and_age(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await with_rules(engine, Rule("r", "events/", days=2))
    for key, age in (("events/old", 4), ("events/young", 1), ("media/old", 9), ("event", 9)):
        await put(engine, bucket, key, b"12345", modified=TODAY - age * DAY)
    (tally,) = await preview(engine, bucket, Clock(TODAY))
    assert (tally.rule, tally.kind, tally.count, tally.bytes) == ("r", EXPIRE, 1, 5)
    assert len(await keys(engine, bucket)) == 4
    assert await at(engine, TODAY, monkeypatch) == {EXPIRE: 1}
    assert await keys(engine, bucket) == ["event", "events/young", "media/old"]
    assert await at(engine, TODAY, monkeypatch) == {}


async def test_a_disabled_rule_does_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await with_rules(engine, Rule("r", enabled=False, days=1, abort_days=1))
    await put(engine, bucket, "k", modified=0)
    assert await at(engine, TODAY, monkeypatch) == {}


async def test_a_date(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = await with_rules(engine, Rule("r", date=TODAY - 5))
    await put(engine, bucket, "k", modified=TODAY)
    assert await at(engine, TODAY - 6, monkeypatch) == {}
    assert await at(engine, TODAY, monkeypatch) == {EXPIRE: 1}


async def test_with_versioning_expiration_hides(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await with_rules(engine, Rule("r", days=1), versioned=True)
    made = await put(engine, bucket, "k", modified=TODAY - 9 * DAY)
    assert await at(engine, TODAY, monkeypatch) == {EXPIRE: 1}
    assert await versions(engine, bucket) == [("k", True), ("k", False)]
    found = await engine.version(bucket.id, "k")
    assert found is not None
    assert (found.owner, found.modified) == ("root", TODAY)
    assert await at(engine, TODAY, monkeypatch) == {}
    await delete(engine, bucket, "k", version_id=made.version_id)
    # Nothing is behind the marker any more: it goes a day after it was made.
    assert await at(engine, TODAY, monkeypatch) == {}
    assert await at(engine, TODAY + 2 * DAY, monkeypatch) == {MARKER: 1}
    assert await versions(engine, bucket) == []


async def test_versions_go_when_a_newer_one_is_old_enough(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await with_rules(engine, Rule("r", noncurrent_days=2), versioned=True)
    for age in (30, 20, 10, 1):
        await put(engine, bucket, "k", b"%d" % age, modified=TODAY - age * DAY)
    # The one of 10 days ago was superseded only a day ago.
    assert await at(engine, TODAY, monkeypatch) == {NONCURRENT: 2}
    page = await engine.list_versions(bucket.id)
    assert [TODAY - entry.modified for entry in page.entries] == [1 * DAY, 10 * DAY]


async def test_so_many_newer_versions_stay(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Rule("r", noncurrent_days=1, noncurrent_kept=2)
    bucket = await with_rules(engine, rule, versioned=True)
    for age in range(60, 10, -10):
        await put(engine, bucket, "k", modified=TODAY - age * DAY)
    assert await at(engine, TODAY, monkeypatch) == {NONCURRENT: 2}
    page = await engine.list_versions(bucket.id)
    assert [(TODAY - entry.modified) // DAY for entry in page.entries] == [20, 30, 40]


async def test_lone_markers(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = await with_rules(engine, Rule("r", lone_markers="true"), versioned=True)
    await put(engine, bucket, "kept", modified=TODAY)
    for key in ("a", "kept", "z"):
        await delete(engine, bucket, key, modified=TODAY)
    assert await at(engine, TODAY, monkeypatch) == {MARKER: 2}
    assert await versions(engine, bucket) == [("kept", True), ("kept", False)]


async def test_uploads_are_aborted(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = await with_rules(engine, Rule("r", "a/", abort_days=7))
    await start_upload(engine, bucket, "a/old", "u1", initiated=TODAY - 9 * DAY)
    await start_upload(engine, bucket, "a/young", "u2", initiated=TODAY - 3 * DAY)
    await start_upload(engine, bucket, "b/old", "u3", initiated=TODAY - 9 * DAY)
    assert await at(engine, TODAY, monkeypatch) == {ABORT: 1}
    uploads = (await engine.list_uploads(bucket.id)).uploads
    assert [upload.upload_id for upload in uploads] == ["u2", "u3"]


async def test_a_clock_that_jumped_deletes_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await with_rules(engine, Rule("r", days=1))
    await put(engine, bucket, "k", modified=0)

    async def doubtful() -> Health:
        return Health(clock_suspect=True)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "health", doubtful)
        assert await at(engine, TODAY, patch) == {}
    assert await at(engine, TODAY, monkeypatch) == {EXPIRE: 1}


async def test_what_is_written_meanwhile_stays(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await with_rules(engine, Rule("r", days=1))
    await put(engine, bucket, "k", b"old", modified=0)
    commit = engine.commit

    async def overtaken(change: object) -> object:
        monkeypatch.setattr(engine, "commit", commit)
        await put(engine, bucket, "k", b"new", modified=TODAY)
        return await commit(change)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "commit", overtaken)
    assert await at(engine, TODAY, monkeypatch) == {}
    found = await engine.lookup(bucket.id, "k")
    assert found is not None
    assert found.modified == TODAY


async def test_a_rule_that_is_removed_while_a_run_counts_takes_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await with_rules(engine, Rule("r", days=1))
    await put(engine, bucket, "k", modified=0)
    look = Lifecycle._look

    async def overtaken(self: Lifecycle, buckets: list[Bucket], clock: Clock) -> None:
        await look(self, buckets, clock)
        await engine.commit(SetBucketConfig("bucket", lifecycle.DOCUMENT, None))

    monkeypatch.setattr(Lifecycle, "_look", overtaken)
    assert await at(engine, TODAY, monkeypatch) == {}
    assert await keys(engine, bucket) == ["k"]


@pytest.mark.parametrize(
    ("document", "value"), [(lifecycle.DOCUMENT, None), (VERSIONING, ENABLED), ("cors", b"")]
)
async def test_a_change_between_two_batches_stops_the_second(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, document: str, value: bytes | None
) -> None:
    """Of the rules or the versioning; anything else does not."""
    bucket = await with_rules(engine, Rule("r", days=1))
    total = 2 * BATCH + 10
    for number in range(total):
        await put(engine, bucket, f"k{number:03}", modified=0)
    commit, count = engine.commit, 0

    async def counted(change: object) -> object:
        nonlocal count
        count += 1
        done = await commit(change)  # type: ignore[arg-type]
        if count == BATCH:
            await commit(SetBucketConfig("bucket", document, value))
        return done

    monkeypatch.setattr(engine, "commit", counted)
    gone = total if document == "cors" else BATCH
    assert await at(engine, TODAY, monkeypatch) == {EXPIRE: gone}
    assert len(await keys(engine, bucket)) == total - gone


async def test_a_change_before_the_last_batch_stops_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await with_rules(engine, Rule("r", days=1))
    await put(engine, bucket, "k", modified=0)
    listed = engine.list_versions
    looks = 0

    async def overtaken(*args: Any, **kwargs: Any) -> VersionPage:
        nonlocal looks
        looks += 1
        if looks == 2:
            await engine.commit(SetBucketConfig("bucket", lifecycle.DOCUMENT, None))
        return await listed(*args, **kwargs)

    monkeypatch.setattr(engine, "list_versions", overtaken)
    assert await at(engine, TODAY, monkeypatch) == {}
    assert looks == 2


async def test_the_walk_rests_after_each_page(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing is due: as long as the page took."""
    bucket = await with_rules(engine, Rule("r", days=1, abort_days=1))
    for number in range(PAGE + 1):
        await put(engine, bucket, f"k{number:04}", modified=TODAY)
    now, naps = 0.0, []

    def slow(ask: Callable[..., Awaitable[object]], seconds: float) -> Callable[..., object]:
        async def asked(*args: object, **kwargs: object) -> object:
            nonlocal now
            now += seconds
            return await ask(*args, **kwargs)

        return asked

    async def sleep(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(engine, "list_versions", slow(engine.list_versions, 3.0))
    monkeypatch.setattr(engine, "list_uploads", slow(engine.list_uploads, 2.0))
    monkeypatch.setattr("storage.lifecycle.due.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr("storage.lifecycle.due.asyncio", SimpleNamespace(sleep=sleep))
    assert await preview(engine, bucket, Clock(TODAY)) == []
    assert naps == [3.0, 3.0, 2.0]


async def test_many_pages_and_rules_that_overlap(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(1)
    bucket = await with_rules(
        engine, Rule("all", days=50), Rule("a", "a", days=5), Rule("ab", "ab", days=1)
    )
    kept = set()
    for number in range(2500):
        key = f"{dice.choice(['a', 'ab', 'b'])}{number}"
        age = dice.randrange(80)
        limit = 1 if key.startswith("ab") else 5 if key.startswith("a") else 50
        await put(engine, bucket, key, modified=TODAY - age * DAY)
        if Clock(0).due_at(TODAY - age * DAY, limit) > TODAY:
            kept.add(key)
    assert await at(engine, TODAY, monkeypatch) == {EXPIRE: 2500 - len(kept)}
    page = await engine.list_objects(bucket.id, limit=3000)
    assert {entry.key for entry in page.entries} == kept


async def test_figures_are_told_as_it_goes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a run breaks off: the backlog stays, the next one takes it away."""
    bucket = await with_rules(engine, Rule("r", days=1, noncurrent_days=1), versioned=True)
    for number in range(100):
        await put(engine, bucket, f"k{number:03}", b"123", modified=TODAY - 9 * DAY)
    monkeypatch.setattr("time.time_ns", lambda: TODAY * 1_000_000)
    told: list[Expiry] = []
    service = Lifecycle(engine, before=Expiry(runs=7, bytes=1000), tell=told.append)
    commit, count = engine.commit, 0

    async def refusing(change: object) -> object:
        nonlocal count
        count += 1
        if count > 70:
            raise Unavailable
        return await commit(change)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(engine, "commit", refusing)
        with pytest.raises(Unavailable):
            await service.run()
    assert [(each.backlog, each.backlog_bytes) for each in told] == [
        (0, 0), (100, 300), (36, 108), (30, 90),
    ]  # fmt: skip
    assert (told[-1].runs, told[-1].objects, told[-1].bytes) == (7, 70, 1210)
    assert (told[-1].started, told[-1].finished) == (TODAY, 0)
    await service.run()
    last = told[-1]
    assert (last.runs, last.objects, last.bytes, last.backlog) == (8, 100, 1300, 0)
    assert last.finished == TODAY
    monkeypatch.setattr("time.time_ns", lambda: (TODAY + 2 * DAY) * 1_000_000)
    await start_upload(engine, bucket, "a", "u1", initiated=TODAY - 9 * DAY)
    await service.run()
    assert (told[-1].versions, told[-1].bytes, told[-1].uploads) == (100, 1600, 0)
    await service.run()
    assert told[-1].markers == 100


async def test_figures_are_shown_by_metrics(engine: Engine) -> None:
    async def collect() -> metrics.Snapshot:
        found = await metrics.snapshot(engine, Board(), 0)
        expiry = Expiry(3, 1500, 2500, 1000, 10, 20, 30, 40, 50, 60, 70)
        return msgspec.structs.replace(
            found, health=msgspec.structs.replace(found.health, expiry=expiry)
        )

    text = await metrics.page("cluster", "here", collect)
    assert text is not None
    for sample in (
        'runs_total{server="here"} 3', 'started_seconds{server="here"} 1.5',
        'finished_seconds{server="here"} 2.5', 'duration_seconds{server="here"} 1',
        'expired_total{kind="object",server="here"} 10',
        'expired_total{kind="noncurrent_version",server="here"} 20',
        'expired_total{kind="delete_marker",server="here"} 30',
        'expired_total{kind="upload",server="here"} 40',
        'expired_bytes_total{server="here"} 50', 'backlog{server="here"} 60',
        'backlog_bytes{server="here"} 70',
    ):  # fmt: skip
        assert f"oversight_lifecycle_{sample}\n" in text
