"""Large-object files: bytes come back verified, or not at all."""

from __future__ import annotations

import asyncio
import errno
import gc
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from storage import errors
from storage.engine.embedded import files, io
from storage.engine.embedded.files import BLOCK, FileGone, FileStore, file_path
from storage.engine.interface import FileRef

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    for number in range(256):
        (tmp_path / f"{number:02x}").mkdir()
    made = FileStore(str(tmp_path), generation=7)
    yield made
    made.close()


class Calls(io.Calls):
    """The kernel, with a log of calls and failures on demand."""

    def __init__(self, **failures: int) -> None:
        self.made: list[str] = []
        self.failures = failures

    def _note(self, name: str) -> None:
        self.made.append(name)
        if name in self.failures:
            number = self.failures[name]
            raise OSError(number, os.strerror(number))

    def pwrite(self, fd: int, data: io.Buffer, offset: int) -> None:
        self._note("pwrite")
        super().pwrite(fd, data, offset)

    def fdatasync(self, fd: int) -> None:
        self._note("fdatasync")
        super().fdatasync(fd)

    def fsync_dir(self, path: str) -> None:
        self._note("fsync_dir")
        super().fsync_dir(path)

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        self._note("fallocate")
        super().fallocate(fd, offset, length)


@pytest.fixture
def kernel() -> Iterator[Calls]:
    calls = Calls()
    before = io.install(calls)
    yield calls
    io.install(before)


async def make(store: FileStore, data: bytes, *, step: int = 65536, hint: int = 0) -> FileRef:
    writer = store.create(hint)
    for offset in range(0, len(data), step):
        await writer.write(data[offset : offset + step])
    return await writer.finish()


async def read(store: FileStore, refs: Sequence[FileRef], start: int, stop: int) -> bytes:
    return b"".join([bytes(piece) async for piece in store.read(refs, start, stop)])


def content(store: FileStore, ref: FileRef) -> bytes:
    return Path(file_path(store.root, ref.name)).read_bytes()


def on_disk(store: FileStore) -> list[str]:
    return sorted(store.names())


@pytest.mark.parametrize("hint", [0, 1, 3 * BLOCK, 100 * BLOCK])
@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK + 77])
async def test_what_was_written_comes_back(store: FileStore, size: int, hint: int) -> None:
    data = os.urandom(size)
    ref = await make(store, data, step=70_001, hint=hint)
    assert ref.size == size
    assert await read(store, [ref], 0, size) == data
    stored = content(store, ref)
    assert len(stored) == size + files.footer_length(size)
    assert stored[:size] == data


@pytest.mark.parametrize("step", [1000, 65536, BLOCK, 3 * BLOCK + 5])
async def test_the_size_of_the_writes_does_not_matter(store: FileStore, step: int) -> None:
    data = os.urandom(9 * BLOCK + 3)
    ref = await make(store, data, step=step)
    assert await read(store, [ref], 0, len(data)) == data


async def test_a_buffer_may_be_reused_after_write(store: FileStore) -> None:
    buffer = bytearray(300_000)
    writer = store.create()
    expected = b""
    for number in range(20):
        buffer[:] = bytes([number]) * len(buffer)
        await writer.write(memoryview(buffer))
        expected += bytes(buffer)
        buffer[:] = b"\xff" * len(buffer)
    ref = await writer.finish()
    assert await read(store, [ref], 0, ref.size) == expected


async def test_ranges_over_several_files(store: FileStore) -> None:
    parts = [os.urandom(size) for size in (BLOCK + 10, 5, 2 * BLOCK, 1)]
    refs = [await make(store, part) for part in parts]
    whole = b"".join(parts)
    edges = [0, 1, BLOCK - 1, BLOCK, BLOCK + 9, BLOCK + 10, BLOCK + 14, BLOCK + 15, BLOCK + 16]
    edges += [3 * BLOCK + 14, 3 * BLOCK + 15, len(whole)]
    for start in edges:
        for stop in edges:
            if start <= stop:
                assert await read(store, refs, start, stop) == whole[start:stop]
    async for piece in store.read(refs, 0, len(whole)):
        assert 0 < len(piece) <= BLOCK


async def test_names_say_who_wrote_and_nothing_else(store: FileStore) -> None:
    first, second = await make(store, b"a"), await make(store, b"b")
    assert (first.name, second.name) == ("00000007-00000001", "00000007-00000002")
    assert files.generation_of(first.name) == 7
    assert os.listdir(f"{store.root}/01") == [first.name]


@pytest.mark.parametrize("where", [0, BLOCK + 5, 3 * BLOCK - 1])
async def test_rot_is_an_error_not_a_byte(store: FileStore, where: int) -> None:
    data = os.urandom(3 * BLOCK)
    ref = await make(store, data)
    flip(file_path(store.root, ref.name), where)
    rotten = where // BLOCK
    reader = store.read([ref], 0, ref.size)
    sound = b"".join([bytes(await anext(reader)) for _ in range(rotten)])
    assert sound == data[: rotten * BLOCK]
    with pytest.raises(errors.DataCorrupt, match=f"block {rotten}"):
        await anext(reader)
    with pytest.raises(errors.DataCorrupt):
        store.verify(ref)


@pytest.mark.parametrize("behind", range(0, 2 * 8 + files._TRAILER.size, 5))
async def test_a_rotten_footer_is_an_error(store: FileStore, behind: int) -> None:
    ref = await make(store, os.urandom(BLOCK + 1))
    flip(file_path(store.root, ref.name), ref.size + behind)
    with pytest.raises(errors.DataCorrupt):
        await read(store, [ref], 0, 1)


async def test_another_file_under_the_name_is_an_error(store: FileStore) -> None:
    one, other = await make(store, b"a" * 500_000), await make(store, b"b" * 500_000)
    os.replace(file_path(store.root, other.name), file_path(store.root, one.name))
    with pytest.raises(errors.DataCorrupt, match="not the file"):
        await read(store, [one], 0, 10)


async def test_a_short_file_is_an_error(store: FileStore) -> None:
    ref = await make(store, os.urandom(2 * BLOCK))
    os.truncate(file_path(store.root, ref.name), BLOCK)
    with pytest.raises(errors.DataCorrupt):
        await read(store, [ref], 0, 10)


def flip(path: str, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


async def test_a_file_that_went_says_so(store: FileStore) -> None:
    ref = await make(store, b"x" * 300_000)
    assert store.remove(ref.name) > ref.size
    assert store.remove(ref.name) == 0
    with pytest.raises(FileGone):
        await read(store, [ref], 0, 1)


async def test_a_read_under_way_survives_the_removal(store: FileStore) -> None:
    data = os.urandom(4 * BLOCK)
    ref = await make(store, data)
    reader = store.read([ref], 0, ref.size)
    got = bytes(await anext(reader))
    store.remove(ref.name)
    async for piece in reader:
        got += bytes(piece)
    assert got == data


async def test_a_deleted_file_is_not_kept_open(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await make(store, b"x" * 300_000)
    with monkeypatch.context() as patch:
        patch.setattr(files, "_IDLE_SECONDS", 0.05)
        await read(store, [ref], 0, 1)
        async with asyncio.timeout(60):
            while descriptors(ref.name):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    monkeypatch.setattr(files, "_IDLE_SECONDS", 3600)
    await read(store, [ref], 0, 1)
    assert descriptors(ref.name) == 1


async def test_open_files_are_bounded(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_OPEN_MAX", 4)
    monkeypatch.setattr(files, "_IDLE_SECONDS", 3600)
    refs = [await make(store, bytes([n])) for n in range(10)]
    assert await read(store, refs, 0, 10) == bytes(range(10))
    async with asyncio.timeout(60):
        # The thread that read lets go of its file a moment after it has told what was in it.
        while descriptors("00000007-") > 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert descriptors("00000007-") == 4


def descriptors(name: str) -> int:
    """How many open descriptors of this process point to a file of that name."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += name in os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
    return found


async def test_bytes_that_are_put_into_the_writers_own_room(store: FileStore) -> None:
    """In any mixture with ``write``; a block that somebody still looks at is not reused."""
    data = os.urandom(5 * BLOCK + 77)
    writer = store.create()
    await writer.write(data[:1000])
    done, seen = 1000, []
    while done < len(data):
        room = (await writer.room())[: len(data) - done]
        room[:] = data[done : done + len(room)]
        seen.append(room)
        done += len(room)
        await writer.fill(len(room))
    ref = await writer.finish()
    assert await read(store, [ref], 0, ref.size) == data
    assert b"".join(seen) == data[1000:]


async def test_a_piece_that_is_kept_never_changes(store: FileStore) -> None:
    """Transports queue pieces; a buffer that somebody still looks at isn't reused."""
    data = os.urandom(12 * BLOCK)
    ref = await make(store, data)
    kept = [memoryview(piece) async for piece in store.read([ref], 0, ref.size)]
    again = [bytes(piece) async for piece in store.read([ref], 0, ref.size)]
    assert b"".join(kept) == data == b"".join(again)


async def test_a_piece_is_gone_when_the_next_one_is_asked_for(store: FileStore) -> None:
    """Whoever forgets that gets an error, never other bytes."""
    ref = await make(store, os.urandom(2 * BLOCK))
    pieces = store.read([ref], 0, ref.size)
    first = await anext(pieces)
    await anext(pieces)
    with pytest.raises(ValueError, match="released"):
        bytes(first)


async def test_reading_reuses_buffers(store: FileStore) -> None:
    ref = await make(store, os.urandom(20 * BLOCK))
    seen = set()
    async for piece in store.read([ref], 0, ref.size):
        assert isinstance(piece.obj, mmap.mmap)
        seen.add(id(piece.obj))
    assert len(seen) == 1


async def test_a_file_system_that_cannot_tell_what_is_cached(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(2 * BLOCK)
    ref = await make(store, data)
    real = os.preadv

    def preadv(fd: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    assert await read(store, [ref], 0, ref.size) == data


async def test_what_is_not_cached_is_read_by_a_thread(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop asks the page cache only; half an answer is completed."""
    data = os.urandom(2 * BLOCK + 9)
    ref = await make(store, data)
    real = os.preadv
    answers = iter([BlockingIOError(), 4096, 9])

    def preadv(fd: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags:
            answer = next(answers)
            if isinstance(answer, BlockingIOError):
                raise answer
            return real(fd, [buffers[0][:answer]], offset)
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    assert await read(store, [ref], 0, ref.size) == data


async def test_a_medium_error_is_corruption(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await make(store, os.urandom(BLOCK))

    def preadv(fd: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        raise OSError(errno.EAGAIN if flags else errno.EIO, "no")

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(errors.DataCorrupt, match="Input/output"):
        await read(store, [ref], 0, 1)


async def test_file_and_folder_are_synced_before_the_name_is_given_out(
    store: FileStore, kernel: Calls
) -> None:
    await make(store, b"x" * 200_000)
    assert kernel.made == ["pwrite", "pwrite", "fdatasync", "fsync_dir"]


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "fsync_dir", "fallocate"])
@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, errors.StorageFull), (errno.EIO, errors.Unavailable)],
)
async def test_a_failing_drive_leaves_nothing(
    store: FileStore, kernel: Calls, call: str, number: int, error: type[Exception]
) -> None:
    kernel.failures[call] = number
    writer = store.create(3 * BLOCK)
    with pytest.raises(error):
        await fill(writer, 3_000_000)
    with pytest.raises(error):
        await writer.finish()
    await writer.abort()
    assert on_disk(store) == []


async def fill(writer: files.Writer, size: int) -> FileRef:
    for _ in range(0, size, 100_000):
        await writer.write(bytes(100_000))
    return await writer.finish()


async def test_abort_leaves_nothing(store: FileStore) -> None:
    for amount in (0, 10, BLOCK, 3 * BLOCK + 1):
        writer = store.create()
        await writer.write(bytes(amount))
        await writer.abort()
        await writer.abort()
        finished = store.create()
        await finished.write(bytes(amount))
        await finished.finish()
        await finished.abort()
    assert on_disk(store) == []


async def test_a_cancelled_upload_leaves_nothing(store: FileStore) -> None:
    async def upload() -> None:
        writer = store.create(64 * BLOCK)
        try:
            while True:
                await writer.write(bytes(300_000))
        finally:
            await writer.abort()

    for turns in range(1, 30, 3):
        task = asyncio.create_task(upload())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert on_disk(store) == []


async def test_a_forgotten_upload_leaves_nothing(store: FileStore) -> None:
    writer = store.create()
    await writer.write(bytes(2 * BLOCK))
    del writer
    gc.collect()
    store.close()  # waits for the threads
    assert on_disk(store) == []


async def test_the_watermark_refuses(store: FileStore) -> None:
    stat = os.statvfs(store.root)
    free = stat.f_bavail * stat.f_frsize
    with pytest.raises(errors.StorageFull):
        store.create(free + (1 << 40))
    store.free_min = free + (1 << 40)
    with pytest.raises(errors.StorageFull):
        store.create()


async def test_an_upload_of_unknown_length_meets_the_watermark(store: FileStore) -> None:
    writer = store.create()
    await writer.write(bytes(15 * BLOCK))
    store.free_min = 1 << 60
    with pytest.raises(errors.StorageFull):
        await writer.write(bytes(20 * BLOCK))
    await writer.abort()
    assert on_disk(store) == []


async def test_gathered_bytes_are_bounded(store: FileStore) -> None:
    """32 uploads at once: never more than 64 blocks in buffers."""
    writers = [store.create() for _ in range(32)]
    taken = 0
    real = store.buffers.take

    def take() -> mmap.mmap:
        nonlocal taken
        if not store.buffers._free:
            taken += 1
        return real()

    store.buffers.take = take  # type: ignore[method-assign]
    for _ in range(60):
        await asyncio.gather(*(writer.write(bytes(100_000)) for writer in writers))
    refs = await asyncio.gather(*(writer.finish() for writer in writers))
    assert len(refs) == 32
    assert taken <= 64


async def test_collection_takes_what_dead_generations_left(store: FileStore) -> None:
    kept, left = await make(store, b"kept"), await make(store, b"left")
    alive = FileStore(store.root, generation=8)
    mine = await make(alive, b"mine")
    os.close(os.open(f"{store.root}/00/strange", os.O_CREAT | os.O_WRONLY))
    assert store.collect({kept.name}, {8}) == 1
    assert set(on_disk(store)) == {kept.name, mine.name, "strange"}
    assert left.name not in on_disk(store)
    alive.close()
