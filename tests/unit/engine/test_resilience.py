"""What a worker sends, reads or holds can't take the committer down for the others."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from storage import errors
from storage.config import Config
from storage.engine import interface as i
from storage.engine.embedded import checkpoint, committer, index, io, link, server
from storage.engine.interface import DeleteObject, FileRef, PutObject, PutPart
from tests.unit.engine.test_committer import MIB, Store, store

_READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM meta").fetchall()
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def real_calls() -> Iterator[None]:
    before = io.install(io.Calls())
    yield
    io.install(before)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(drives=(str(tmp_path),), segment_size=MIB, free_min=MIB)


# -- odd changes ----------------------------------------------------------------------------------


def odd_changes(opened: Store) -> list[Any]:
    huge = 1 << 63
    put = opened.put("odd")
    fields = {name: getattr(put, name) for name in PutObject.__struct_fields__}
    return [
        PutObject(**{**fields, "size": huge}),
        PutObject(**{**fields, "size": -1}),
        PutObject(**{**fields, "modified": huge}),
        PutObject(**{**fields, "bucket_id": huge}),
        PutObject(**{**fields, "key": "a\udc80"}),
        PutObject(**{**fields, "etag": None}),
        PutObject(**{**fields, "files": (FileRef("f", huge, 1),)}),
        DeleteObject(opened.bucket, "a\udc80"),
        PutPart(opened.bucket, "k", "u", 1, 1, huge, "e", {}, FileRef("f", 1, 1)),
        link.Relocate(1, [link.Moved(2, huge, 1, b"\x94\x01\xa1k\x01\x01")]),
        link.Relocate(1, [link.Moved(99, 1, 1, b"\xc1")]),
        link.DropSegment(huge),
        "no change at all",
    ]


def test_one_odd_change_fails_alone(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        for number, odd in enumerate(odd_changes(opened)):
            before, after = opened.put(f"{number}-before"), opened.put(f"{number}-after")
            results = opened.settle(before, odd, after)
            assert isinstance(results[0], i.Committed), odd
            assert isinstance(results[1], errors.StoreError), odd
            assert isinstance(results[2], i.Committed), odd
        expected = opened.keys()
        assert len(expected) == 2 * len(odd_changes(opened))
    index.remove(opened.drive.index)
    bucket = opened.bucket
    with store(config) as opened:  # nothing odd went into the log
        opened.bucket = bucket
        assert opened.keys() == expected


def test_many_odd_changes_among_good_ones(config: Config) -> None:
    with store(config) as opened:
        opened.make_bucket()
        odd = DeleteObject(opened.bucket, "\udc80")
        changes = [odd if n % 3 == 0 else opened.put(f"key-{n}") for n in range(30)]
        results = opened.settle(*changes)
        assert [isinstance(result, i.Committed) for result in results] == [
            n % 3 != 0 for n in range(30)
        ]
        seqs = [result.seq for result in results if isinstance(result, i.Committed)]
        assert seqs == sorted(seqs)
        assert len(opened.keys()) == 20


# -- clients of the process -----------------------------------------------------------------------


@pytest.fixture
def served(config: Config) -> Iterator[tuple[Store, link.Address]]:
    with store(config) as opened:
        opened.make_bucket()
        opened.committer._writer().connection.close()
        opened.committer._index = None  # its connection belongs to the thread that serves
        address = link.Address(opened.committer.run_folder)
        loop = server.Server(opened.committer, address.listen())
        thread = threading.Thread(target=loop.serve, daemon=True)
        thread.start()
        yield opened, address
        loop.stop()
        thread.join(60)
        loop.close()
        address.close()


def connect(address: link.Address) -> socket.socket:
    line = address.connect()
    line.settimeout(60)
    return line


def send_for_ever(line: socket.socket, pieces: Sequence[bytearray | bytes]) -> None:
    for _ in range(5000):
        for piece in pieces:
            line.send(piece)


def ask(line: socket.socket, change: Any) -> bytes:
    for piece in link.datagrams([(1, change)]):
        line.send(piece)
    return line.recv(link.DATAGRAM_MAX + 1024)


@pytest.mark.parametrize(
    "datagram",
    [b"\0\xc1", b"\0", b"\0\x91\x92\x01\x92\xa2do\xa1\xff", b"\0" + b"\x91" * 100_000],
    ids=["garbage", "empty", "not UTF-8", "nested"],
)
def test_a_client_that_talks_nonsense_is_dropped(
    served: tuple[Store, link.Address], datagram: bytes
) -> None:
    _, address = served
    line = connect(address)
    line.send(datagram)
    assert line.recv(10) == b""
    line.close()
    fine = connect(address)
    assert ask(fine, link.Hello(0, 1))
    fine.close()


def test_a_message_that_never_ends_is_not_gathered_for_ever(
    served: tuple[Store, link.Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "MESSAGE_MAX", 1000)
    _, address = served
    line = connect(address)
    line.send(b"\1" + b"x" * 2000)
    assert line.recv(10) == b""
    line.close()


def test_a_client_that_never_reads_is_dropped(
    served: tuple[Store, link.Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_UNSENT_MAX", 10_000)
    monkeypatch.setattr(link, "SEND_BUFFER", 65536)  # takes the answers of a whole batch
    opened, address = served
    line = connect(address)
    requests = link.datagrams([(n, DeleteObject(opened.bucket, "none")) for n in range(20)])
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        send_for_ever(line, requests)
    line.close()
    fine = connect(address)
    assert ask(fine, link.Hello(0, 1))
    fine.close()


# -- a reader that stands still -------------------------------------------------------------------


def test_objects_are_refused_while_the_wal_can_not_shrink(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_LONG", 10)
    monkeypatch.setattr(checkpoint, "_PAUSE", 0)
    monkeypatch.setattr(committer, "_WAL_MAX", 50)
    with store(config) as opened:
        opened.make_bucket()
        path = os.path.join(opened.drive.index, index.FILE)
        reader = subprocess.Popen(
            [sys.executable, "-c", _READER, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"holding\n"
        try:
            for number in range(40):
                opened.do(opened.put(f"key-{number}"))
            tend(opened)
            with pytest.raises(errors.Unavailable, match="WAL") as refused:
                opened.do(opened.put("refused"))
            if index.holders(opened.drive.index):
                assert str(reader.pid) in str(refused.value)
            opened.do(DeleteObject(opened.bucket, "key-0"))
        finally:
            reader.communicate()
        tend(opened)
        opened.do(opened.put("accepted"))
        assert len(opened.keys()) == 40


def tend(opened: Store) -> None:
    for _ in range(2):  # a checkpoint's thread, then what it leaves
        opened.committer._checkpointer.join()
        opened.committer._next_tick = 0.0
        opened.committer.tend()


# -- a start that fails ---------------------------------------------------------------------------


def test_a_start_that_failed_locks_nobody_out(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: committer.Committer) -> None:
        assert self._index is not None
        self._index.begin()
        raise errors.ReadOnly("no epoch today")

    server.CommitterThread(config).stop()  # so that there is an index to be locked
    monkeypatch.setattr(index, "_BUSY_WAIT", 100)
    with monkeypatch.context() as patched:
        patched.setattr(committer.Committer, "_record_epoch", broken)
        with pytest.raises(errors.ReadOnly, match="no epoch today") as kept:
            server.CommitterThread(config)
    # The traceback keeps the failed committer alive, as a caller's own would.
    assert kept.value.__traceback__ is not None
    server.CommitterThread(config).stop()
