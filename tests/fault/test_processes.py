"""The processes of a real store are killed and stopped while clients write over HTTP."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.config import Config
from tests.engines import alone
from tests.fault.clients import Client, check_all, s3_client
from tests.fault.folders import folder
from tests.fault.history import check_files, facts
from tests.server.conftest import children, until
from tests.serving import ServedStore

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
SMALL = {"OVERSIGHT_SEGMENT_SIZE": "16MiB"}


@contextmanager
def served(path: Path, **environment: str) -> Iterator[ServedStore]:
    store = ServedStore(path / "drive", path / "log", ("--workers", "2"), SMALL | environment)
    store.start()
    try:
        yield store
    finally:
        store.kill()


def pids(store: ServedStore, role: str) -> list[int]:
    assert store.process is not None
    return children(store.process.pid).get(role, [])


@contextmanager
def writing(store: ServedStore, seed: int, count: int = 4) -> Iterator[list[Client]]:
    clients = [Client(store, f"client-{seed}-{n}", seed * 1000 + n) for n in range(count)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.end()
        for client in clients:
            client.join(60)
    assert not any(client.is_alive() for client in clients)


def acknowledged(clients: list[Client]) -> int:
    return sum(client.acknowledged for client in clients)


def wait_for_more(clients: list[Client], more: int) -> None:
    """Until ``more`` further changes were acknowledged."""
    goal = acknowledged(clients) + more
    until(lambda: acknowledged(clients) >= goal or any(c.trouble for c in clients), 90)


def kill_one(store: ServedStore, role: str, dice: random.Random) -> None:
    """SIGKILL a process of ``role`` and wait for its successor."""
    before = until(lambda: pids(store, role))
    victim = dice.choice(before)
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in pids(store, role) and len(pids(store, role)) == len(before))


def check_drive(store: ServedStore) -> None:
    """The store at rest: counters, files, everything readable."""
    config = Config(drives=(str(store.drive),), segment_size=16 << 20)

    async def look() -> None:
        async with alone(config) as engine:
            await facts(engine)
            await check_files(engine)

    asyncio.run(look())


def survive_kills(path: Path, seed: int, rounds: int) -> tuple[int, int]:
    """Kill the committer and others at random moments; (acknowledged, objects found)."""
    dice = random.Random(seed)
    with served(path) as store:
        with writing(store, seed) as clients:
            for number in range(rounds):
                wait_for_more(clients, 20)
                time.sleep(dice.random() * 0.2)  # any moment will do, and any is right
                kill_one(store, "committer" if number % 3 != 2 else "worker", dice)
            wait_for_more(clients, 20)
        check_all(store, clients)
        store.kill()
        store.start()
        found = check_all(store, clients)
        assert store.stop() == 0
        check_drive(store)
    return acknowledged(clients), found


def test_committer_and_workers_are_killed() -> None:
    with folder() as path:
        survive_kills(path, seed=1, rounds=5)


def test_a_stopped_worker_blocks_nobody() -> None:
    """Stopped with commits under way, woken later: others go on, nothing is lost or mixed up."""
    with folder() as path, served(path) as store:
        with writing(store, 2, count=6) as clients:
            for worker in pids(store, "worker"):
                wait_for_more(clients, 20)
                with ThreadPoolExecutor(20) as pool:
                    os.kill(worker, signal.SIGSTOP)
                    try:
                        put_through_another(store, f"while-{worker}", pool)
                    finally:
                        os.kill(worker, signal.SIGCONT)
        with writing(store, 3) as more:
            wait_for_more(more, 20)
            worker = pids(store, "worker")[0]
            os.kill(worker, signal.SIGSTOP)
            kill_one(store, "committer", random.Random(3))
            os.kill(worker, signal.SIGCONT)
            wait_for_more(more, 20)
        check_all(store, [*clients, *more])
        assert store.stop() == 0
        check_drive(store)


def put_through_another(store: ServedStore, name: str, pool: ThreadPoolExecutor) -> None:
    """Whoever is connected to the worker that runs gets through; the others wait in ``pool``.

    Which worker a connection leads to is chance: that all of so many lead to one never happens.
    """

    def write(client: int) -> None:
        s3 = s3_client(store, timeout=100)
        for number in range(20):
            s3.put_object(Bucket="langfuse", Key=f"{name}/{client}/{number}", Body=b"x" * 1000)

    jobs = [pool.submit(write, client) for client in range(20)]
    next(as_completed(jobs, timeout=60)).result()
