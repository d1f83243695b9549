"""The line between workers and committer: whole messages, honest errors, restarts survived."""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from storage import errors
from storage.engine import interface as i
from storage.engine.embedded import link, server
from storage.engine.embedded.link import Address, Assembler, Generations, ProcessLink
from storage.engine.embedded.server import Server

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


class FakeCommitter:
    """Answers without a drive; ``answers`` decides."""

    def __init__(self) -> None:
        self._fenced: set[int] = set()
        self.begun = 0
        self.batches: list[list[Any]] = []
        self.gate = threading.Event()
        self.gate.set()

    def process(self, changes: list[Any]) -> list[Any]:
        self.begun += 1
        self.gate.wait(60)
        self.batches.append(changes)
        return [self.answer(change) for change in changes]

    def answer(self, change: Any) -> Any:
        match change:
            case link.Hello():
                return change.generation or 77
            case i.PutObject(key="missing"):
                return errors.InvalidPart(3)
            case i.PutObject():
                return i.Committed(len(change.payload), False, change.etag)
            case i.CreateBucket(name="taken"):
                return errors.BucketExists("somebody")
            case i.CreateBucket():
                return i.Bucket(5, change.name, change.owner, 1, "", {"cors": b"x"})
            case link.Fence():
                self._fenced.add(change.generation)
                return None
            case _:
                return None

    def is_fenced(self, generation: int) -> bool:
        return generation in self._fenced

    def tend(self) -> None: ...


class Running:
    """A committer's loop in a thread."""

    def __init__(self, run: Path) -> None:
        self.committer = FakeCommitter()
        self.address = Address(str(run))
        self.server = Server(self.committer, self.address.listen())  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self.server.serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.committer.gate.set()
        self.server.stop()
        self._thread.join(60)
        self.server.close()
        self.address.close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A path longer than sun_path takes."""
    folder = tmp_path / ("long" * 30) / "run"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def running(run: Path) -> Iterator[Running]:
    started = Running(run)
    yield started
    started.stop()


def put(key: str, payload: bytes = b"") -> i.PutObject:
    return i.PutObject(1, key, 1, len(payload), "e" * 32, "o", "STANDARD", i.EMPTY_META, payload)


async def connected(run: Path) -> ProcessLink:
    line = ProcessLink(str(run))
    await line.start(5)
    return line


async def test_changes_are_answered_each_with_its_own(running: Running, run: Path) -> None:
    line = await connected(run)
    assert line.generation == 77
    results = await asyncio.gather(*[line.submit(put(str(n), bytes(n))) for n in range(200)])
    assert [result.seq for result in results] == list(range(200))
    bucket = await line.submit(i.CreateBucket("b", "me", 1))
    assert bucket == i.Bucket(5, "b", "me", 1, "", {"cors": b"x"})
    assert await line.submit(i.DeleteBucket("b")) is None
    await line.close()


async def test_one_turn_of_the_loop_is_one_batch(running: Running, run: Path) -> None:
    line = await connected(run)
    running.committer.batches.clear()
    await asyncio.gather(*[line.submit(put(str(n))) for n in range(50)])
    assert [len(batch) for batch in running.committer.batches] == [50]
    await line.close()


async def test_a_crowd_gets_a_moment_to_gather_and_a_lone_client_never_waits(
    running: Running, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[int] = []
    fake = running.committer
    monkeypatch.setattr(server.time, "sleep", lambda _: naps.append(len(fake.batches)))
    line = await connected(run)
    fake.begun = 0
    fake.batches.clear()
    for n in range(3):
        await line.submit(put(str(n)))
    assert naps == []
    await asyncio.gather(*[line.submit(put(str(n))) for n in range(4)])
    await line.submit(put("alone"))
    assert set(naps) == {4}  # how many of them one behind the other is a matter of time
    fake.gate.clear()
    first = asyncio.gather(*[line.submit(put(str(n))) for n in range(6)])
    while fake.begun == 5:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    waiting = asyncio.gather(*[line.submit(put(str(n))) for n in range(3)])
    while line._queue:  # noqa: ASYNC110 - until they lie in the committer's socket
        await asyncio.sleep(0)
    fake.gate.set()
    await asyncio.gather(first, waiting)
    await line.submit(put("last"))
    assert [len(batch) for batch in fake.batches[5:]] == [6, 3, 1]
    assert set(naps) == {4, 6, 7}
    await line.close()


@pytest.mark.parametrize(
    ("settled", "seconds", "arrivals", "naps"),
    [
        (2, 0.01, [3, 3], 0),  # no crowd
        (8, 0.01, [8, 7, 1], 1),  # all but one are here
        (8, 0.01, [8, 3, 3, 2], 3),  # they come one behind the other
        (8, 0.01, [8, 1, 0, 7], 2),  # one look brought nobody
        (8, 0.01, [0, 0], 1),
        (90, 0.01, [8, *[1] * 20], 6),  # never for longer than three milliseconds ...
        (90, 0.0011, [8, *[1] * 20], 2),  # ... and than settling took
        (8, 0.0001, [8, 1, 1, 1], 1),
    ],
)
def test_how_long_a_crowd_gets_to_gather(
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    settled: int,
    seconds: float,
    arrivals: list[int],
    naps: int,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    gathering = server.Server(FakeCommitter(), Address(str(run)).listen())  # type: ignore[arg-type]
    coming = iter(arrivals)
    monkeypatch.setattr(
        gathering,
        "_collect",
        lambda _: gathering._urgent.extend([None] * next(coming)),  # type: ignore[list-item]
    )
    gathering._gather(settled, seconds)
    assert len(slept) == naps
    gathering.close()


@pytest.mark.parametrize(
    "poison",
    [i.DeleteObject(5, "a\udc80"), i.DeleteObject(1 << 64, "k"), object()],
    ids=["surrogate", "integer", "type"],
)
async def test_a_change_that_cannot_be_encoded_fails_alone(
    running: Running, run: Path, poison: Any
) -> None:
    line = await connected(run)
    futures = [line.submit(change) for change in (put("a"), poison, put("b"))]
    found = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 60)
    assert isinstance(found[1], errors.StoreError)
    assert [type(result) for result in (found[0], found[2])] == [i.Committed, i.Committed]
    with pytest.raises(errors.StoreError):
        await asyncio.wait_for(line.submit(poison), 60)
    assert isinstance(await asyncio.wait_for(line.submit(put("c")), 60), i.Committed)
    await line.close()


async def test_messages_longer_than_a_datagram_arrive_whole(running: Running, run: Path) -> None:
    line = await connected(run)
    payloads = [os.urandom(size) for size in (1, 5 << 20, 160 * 1024, 128 * 1024, 3)]
    results = await asyncio.gather(*[line.submit(put("k", data)) for data in payloads])
    assert [result.seq for result in results] == [len(data) for data in payloads]
    sent = [c for batch in running.committer.batches for c in batch if isinstance(c, i.PutObject)]
    assert [change.payload for change in sent] == payloads
    await line.close()


async def test_more_than_the_socket_takes_waits_its_turn(running: Running, run: Path) -> None:
    line = await connected(run)
    running.committer.gate.clear()
    futures = [line.submit(put("k", bytes(100_000))) for _ in range(200)]
    await asyncio.sleep(0)
    running.committer.gate.set()
    assert len(await asyncio.gather(*futures)) == 200
    await line.close()


async def test_errors_keep_what_they_carry(running: Running, run: Path) -> None:
    line = await connected(run)
    with pytest.raises(errors.BucketExists) as exists:
        await line.submit(i.CreateBucket("taken", "me", 1))
    assert exists.value.owner == "somebody"
    with pytest.raises(errors.InvalidPart) as invalid:
        await line.submit(put("missing"))
    assert invalid.value.number == 3
    await line.close()


@pytest.mark.parametrize(
    "error",
    [
        errors.NoSuchKey(),
        errors.PreconditionFailed("If-Match"),
        errors.PartTooSmall(1, 2, 3),
        errors.StorageFull("full"),
        ValueError("not one of ours"),
    ],
)
def test_every_error_travels(error: Exception) -> None:
    answer = link.answer(1, error)
    assert isinstance(answer, link.Failed)
    back = link.error_of(answer)
    expected = type(error) if isinstance(error, errors.StoreError) else errors.Unavailable
    assert type(back) is expected
    if isinstance(error, errors.StoreError):
        assert vars(back) == vars(error)


async def test_what_was_sent_when_the_line_broke_is_unknown(run: Path) -> None:
    running = Running(run)
    line = await connected(run)
    running.committer.gate.clear()
    sent = line.submit(put("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not line._queue  # sent, whether it was read or not
    for client in list(running.server._clients.values()):
        client.line.shutdown(socket.SHUT_RDWR)
    with pytest.raises(errors.Unavailable):
        await asyncio.wait_for(sent, 60)
    await line.close()
    running.stop()


async def test_a_restarted_committer_is_found_again(run: Path) -> None:
    running = Running(run)
    line = await connected(run)
    assert (await line.submit(put("a", b"1"))).seq == 1
    running.stop()
    waiting = line.submit(put("b", b"22"))
    running = Running(run)
    try:
        assert (await asyncio.wait_for(waiting, 60)).seq == 2
    except errors.Unavailable:
        assert (await line.submit(put("b", b"22"))).seq == 2  # it was sent into the dying line
    assert line.generation == 77
    hello = [c for batch in running.committer.batches for c in batch if isinstance(c, link.Hello)]
    assert [h.generation for h in hello] == [77]  # it keeps the generation of its files
    await line.close()
    running.stop()


async def test_nobody_listening_is_unavailable(run: Path) -> None:
    line = ProcessLink(str(run))
    with pytest.raises(errors.Unavailable):
        await line.start(0.2)
    await line.close()


async def test_a_fenced_generation_is_refused(running: Running, run: Path) -> None:
    line, other = await connected(run), await connected(run)
    other.generation = 78
    await line.submit(link.Fence(77))
    with pytest.raises(errors.Unavailable):
        await line.submit(put("a"))
    await line.close()
    await other.close()


def test_a_message_is_put_together_from_any_pieces() -> None:
    assembler = Assembler()
    assert bytes(assembler.feed(memoryview(b"\0abc")) or b"") == b"abc"
    assert assembler.feed(memoryview(b"\1abc")) is None
    assert assembler.feed(memoryview(b"\1def")) is None
    assert bytes(assembler.feed(memoryview(b"\0g")) or b"") == b"abcdefg"
    assert bytes(assembler.feed(memoryview(b"\0z")) or b"") == b"z"


def test_a_generation_lives_as_long_as_its_holder(tmp_path: Path) -> None:
    mine, other = Generations(str(tmp_path)), Generations(str(tmp_path))
    mine.claim(5)
    assert other.is_live(5)
    assert not other.is_live(6)
    with pytest.raises(OSError, match=r"."):
        other.claim(5)
    mine.close()
    assert not other.is_live(5)
    other.close()


async def test_the_thread_link_hands_outcomes_to_the_loop() -> None:
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    line = link.ThreadLink(inbox, 1)
    good, bad = line.submit(put("a")), line.submit(put("b"))
    items = [inbox.get(), inbox.get()]
    thread = threading.Thread(
        target=lambda: line.settle(
            [(items[0][1], i.Committed(7)), (items[1][1], errors.NoSuchBucket())]
        )
    )
    thread.start()
    assert (await good).seq == 7
    with pytest.raises(errors.NoSuchBucket):
        await bad
    thread.join()


def test_uvloop_is_tested() -> None:
    assert uvloop.__version__
