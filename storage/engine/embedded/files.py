"""Files of large objects and parts: one immutable file each, verified block by block.

A file is made once, by one worker, under a name that says who made it (the worker's generation
and a counter; nothing of the client's) and is never changed afterwards. A log record names it
only after ``finish`` has synced it, so that a crash leaves garbage, never a dangling key.

Layout (docs/format.md): data without gaps; one xxh3_64 per block of 1 MiB; a trailer. The
trailer's *root* is the checksum of all block checksums and of the size. It is repeated in
``FileRef.root``, hence in the log: a file under a wrong name can't pass for the right one.

Reads go through ``preadv`` with RWF_NOWAIT: what the page cache holds is copied and verified on
the event loop, anything else is fetched by a thread (docs/decisions/0003-large-files.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import itertools
import mmap
import os
import struct
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar
from weakref import WeakSet

import xxhash

from storage import errors
from storage.engine.embedded import io
from storage.engine.interface import FileRef

BLOCK = 1024 * 1024
#: magic, version, block size, data size, block count, root, checksum of the fields before it
_TRAILER = struct.Struct("<8sIIQQQQ")
_CHECKED = _TRAILER.size - 8
_MAGIC = b"OVRSFILE"
_VERSION = 1
_THREADS = 8
#: So many uploads may gather a block while another one is being written; and twice as many
#: buffers are kept for reuse.
_WRITERS_EAGER = 24
_OPEN_MAX = 64
_IDLE_SECONDS = 5.0
#: Files of so many bytes are written around the page cache (docs/decisions/0003-large-files.md).
_DIRECT_FROM = 8 * BLOCK
_ALLOCATE_MAX = 1024 * BLOCK
_digest = xxhash.xxh3_64_intdigest
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_DIRECT: int = getattr(os, "O_DIRECT", 0)

T = TypeVar("T")


class FileGone(errors.Unavailable):
    """The file was collected since its version was looked up: look up once more."""


def file_name(generation: int, counter: int) -> str:
    return f"{generation:08x}-{counter:08x}"


def generation_of(name: str) -> int:
    """The generation that made a file. Raises ValueError for a name that is none of ours."""
    generation, _, counter = name.partition("-")
    int(counter, 16)
    return int(generation, 16)


def named_generations(root: str) -> set[int]:
    """The generations that made the files below ``root``."""
    found: set[int] = set()
    for folder in range(256):
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(f"{root}/{folder:02x}"):
                with contextlib.suppress(ValueError):
                    found.add(generation_of(name))
    return found


def file_path(root: str, name: str) -> str:
    """Where a file lies: 256 folders by the last two digits of the counter."""
    return f"{root}/{name[-2:]}/{name}"


def root_checksum(sums: bytes, size: int) -> int:
    """The checksum that stands for a whole file."""
    return _digest(sums + size.to_bytes(8, "little"))


def footer(sums: Sequence[int], size: int) -> tuple[bytes, int]:
    """What follows the data, and its root."""
    table = struct.pack(f"<{len(sums)}Q", *sums)
    root = root_checksum(table, size)
    fields = _TRAILER.pack(_MAGIC, _VERSION, BLOCK, size, len(sums), root, 0)[:_CHECKED]
    return table + fields + _digest(fields).to_bytes(8, "little"), root


def footer_length(size: int) -> int:
    return 8 * block_count(size) + _TRAILER.size


def block_count(size: int) -> int:
    return -(-size // BLOCK)


class FileStore:
    """The files of one drive, as one process writes and reads them.

    ``root`` is ``Drive.files``. ``generation`` names this process' files; 0 only reads.
    ``free_min``: bytes that must stay free, else StorageFull.
    """

    def __init__(self, root: str, generation: int, *, free_min: int = 0) -> None:
        self.root = root
        self.generation = generation
        self.free_min = free_min
        self._counter = itertools.count(1)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="files")
        #: Blocks of this store's writers and readers.
        self.buffers = _Buffers()
        self._writers: WeakSet[Writer] = WeakSet()
        self._open: OrderedDict[str, _OpenFile] = OrderedDict()
        self._sweeper: asyncio.TimerHandle | None = None
        self._nowait = bool(_NOWAIT)
        #: Whether the file system takes O_DIRECT, as far as we know.
        self.direct = bool(_DIRECT)

    # -- writing --------------------------------------------------------------------------------

    def create(self, size_hint: int = 0) -> Writer:
        """Start a file. Raises StorageFull if ``size_hint`` bytes don't fit above the reserve."""
        self.check_space(size_hint)
        writer = Writer(self, self.new_name(), min(size_hint, _ALLOCATE_MAX))
        self._writers.add(writer)
        return writer

    def new_name(self) -> str:
        """A name that this store has not given to a file so far."""
        return file_name(self.generation, next(self._counter))

    def set_direct(self, fd: int, direct: bool) -> bool:
        """Switch a descriptor between direct and cached writes; whether it is direct now."""
        flags = fcntl.fcntl(fd, fcntl.F_GETFL) & ~_DIRECT
        try:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | (_DIRECT if direct else 0))
        except OSError:
            self.direct = direct = False
        return direct

    def check_space(self, size: int) -> None:
        stat = os.statvfs(self.root)
        if stat.f_bavail * stat.f_frsize < self.free_min + size:
            raise errors.StorageFull(f"{self.root} has no space for {size} bytes")

    # -- reading --------------------------------------------------------------------------------

    async def read(
        self, refs: Sequence[FileRef], start: int, stop: int
    ) -> AsyncIterator[memoryview]:
        """Bytes [start, stop) of ``refs`` one behind the other, in verified pieces of a block.

        A piece is valid until the next one is asked for. Raises DataCorrupt, FileGone.
        """
        for ref in refs:
            low, high = max(start, 0), min(stop, ref.size)
            start, stop = start - ref.size, stop - ref.size
            if low >= high:
                continue
            file = self._opened(ref)
            if file is None:
                file = await self._run(self._load, ref)
            self._keep(ref.name, file)
            for number in range(low // BLOCK, block_count(high)):
                at = number * BLOCK
                length = min(BLOCK, ref.size - at)
                buffer = self.buffers.take()
                view = memoryview(buffer)[:length]
                done = self._read_cached(file.fd, view, at)
                if done < length:
                    await self._run(_read_rest, file.fd, view[done:], at + done, ref.name)
                if _digest(view) != file.sums[number]:
                    raise errors.DataCorrupt(f"file {ref.name}, block {number}")
                with view:
                    piece = view[max(low - at, 0) : high - at]
                try:
                    yield piece
                finally:
                    self._give_back(buffer, piece)

    def _give_back(self, buffer: mmap.mmap, piece: memoryview) -> None:
        """Take a buffer back whose ``piece`` was lent; using that is an error from now on."""
        with contextlib.suppress(BufferError):
            piece.release()
        self.buffers.give_back(buffer)

    def _read_cached(self, fd: int, view: memoryview, at: int) -> int:
        """Copy what the page cache has; never waits for the drive."""
        if not self._nowait:
            return 0
        try:
            return os.preadv(fd, [view], at, _NOWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
            self._nowait = False  # this file system can't tell
            return 0

    def verify(self, ref: FileRef) -> None:
        """Read the whole file in the calling thread. Raises DataCorrupt, FileGone."""
        file = self._load(ref)
        view = memoryview(bytearray(BLOCK))
        for number, expected in enumerate(file.sums):
            at = number * BLOCK
            block = view[: min(BLOCK, ref.size - at)]
            _read_rest(file.fd, block[:], at, ref.name)
            if _digest(block) != expected:
                raise errors.DataCorrupt(f"file {ref.name}, block {number}")

    def sums(self, ref: FileRef) -> tuple[int, ...]:
        """The checksums of the blocks of a file whose footer verifies. Raises as ``verify``."""
        return self._load(ref).sums

    def _opened(self, ref: FileRef) -> _OpenFile | None:
        file = self._open.get(ref.name)
        return file if file is not None and file.root == ref.root else None

    def _load(self, ref: FileRef) -> _OpenFile:
        """Open a file and verify its footer."""
        try:
            fd = os.open(file_path(self.root, ref.name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise FileGone(ref.name) from None
        file = _OpenFile(fd, ref.root)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)  # larger pages, longer read-ahead
        count = block_count(ref.size)
        tail = os.pread(fd, footer_length(ref.size) + 1, ref.size)
        if len(tail) != footer_length(ref.size):
            raise errors.DataCorrupt(f"file {ref.name}: wrong length")
        fields = tail[8 * count :]
        magic, version, block, size, blocks, root, check = _TRAILER.unpack(fields)
        if magic != _MAGIC or check != _digest(fields[:_CHECKED]):
            raise errors.DataCorrupt(f"file {ref.name}: damaged trailer")
        if (version, block) != (_VERSION, BLOCK):
            raise errors.DataCorrupt(f"file {ref.name}: unknown version {version}")
        table = tail[: 8 * count]
        found = (size, blocks, root, root_checksum(table, size))
        if found != (ref.size, count, ref.root, ref.root):
            raise errors.DataCorrupt(f"file {ref.name}: not the file that was committed")
        file.sums = struct.unpack(f"<{count}Q", table)
        return file

    # -- cache of open files ----------------------------------------------------------------------

    def _keep(self, name: str, file: _OpenFile) -> None:
        """Remember an open file. A deleted file's space is free once nobody has it open, hence
        files that nobody reads are closed after seconds."""
        file.used = time.monotonic()
        self._open[name] = file
        self._open.move_to_end(name)
        if len(self._open) > _OPEN_MAX:
            self._open.popitem(last=False)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        idle = time.monotonic() - _IDLE_SECONDS
        while self._open and next(iter(self._open.values())).used <= idle:
            self._open.popitem(last=False)
        if self._open:
            self._sweeper = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._sweep)

    async def _run(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.wrap_future(self._pool.submit(call, *arguments))

    # -- removing ---------------------------------------------------------------------------------

    def remove(self, name: str) -> int:
        """Unlink a file that no version names and no reader uses any more; its bytes."""
        path = file_path(self.root, name)
        try:
            size = os.stat(path).st_size
            io.unlink(path)
        except FileNotFoundError:
            return 0
        return size

    def collect(self, live_names: Container[str], live_generations: Container[int]) -> int:
        """Remove what dead generations left without a commit; the number of files.

        The caller guarantees that no commit naming a file of a generation that is not live can
        still happen. Names that are none of ours are left alone.
        """
        removed = 0
        for name in self.names():
            try:
                generation = generation_of(name)
            except ValueError:
                continue
            if generation not in live_generations and name not in live_names:
                self.remove(name)
                removed += 1
        return removed

    def names(self) -> Iterator[str]:
        """Names of all files of the drive, folder by folder."""
        for number in range(256):
            try:
                yield from os.listdir(f"{self.root}/{number:02x}")
            except FileNotFoundError:
                continue

    def close(self) -> None:
        """Stop the threads; open files close with their last reader."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._pool.shutdown(wait=True)
        self._open.clear()


class _OpenFile:
    """A verified footer and the descriptor, closed with the last reference."""

    __slots__ = ("fd", "root", "sums", "used")

    def __init__(self, fd: int, root: int) -> None:
        self.fd = fd
        self.root = root
        self.sums: tuple[int, ...] = ()
        self.used = 0.0

    def __del__(self) -> None:
        os.close(self.fd)


def _read_rest(fd: int, view: memoryview, at: int, name: str) -> None:
    """Fill ``view`` from the drive, in a thread."""
    with view:
        done = 0
        while done < len(view):
            try:
                count = os.preadv(fd, [view[done:]], at + done)
            except OSError as error:
                raise errors.DataCorrupt(f"file {name}: {os.strerror(error.errno or 0)}") from error
            if not count:
                raise errors.DataCorrupt(f"file {name}: wrong length")
            done += count


class _Buffers:
    """Reused buffers of one block, each a mapping of its own.

    Mappings begin with a page, as direct writes need it. Copies out of the page cache need it no
    less: into memory 8 to 31 bytes behind the start of a page, where allocators put what they
    hand out, they take two to six times as long on some processors.

    A transport may refer to a piece after the next one was asked for. Its buffer then has exports,
    is not reused, and goes with its last reference: what is queued never changes.
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self) -> mmap.mmap:
        return self._free.pop() if self._free else mmap.mmap(-1, BLOCK)

    def give_back(self, buffer: mmap.mmap) -> None:
        """Take a buffer back, unless somebody still looks at it."""
        try:
            buffer.resize(BLOCK)  # a probe: refused while anything refers to the memory
        except (BufferError, SystemError):  # SystemError: a system that can't tell (macOS)
            return
        if len(self._free) < 2 * _WRITERS_EAGER:
            self._free.append(buffer)


class Writer:
    """``interface.FileWriter``: gathers a block, hashes and writes it in a thread.

    While one block is being written the next one is gathered, unless many uploads are under way:
    then each waits for its own block, so that memory stays bounded.
    """

    def __init__(self, store: FileStore, name: str, size_hint: int) -> None:
        self.name = name
        self._store = store
        self._size_hint = size_hint
        self._path = file_path(store.root, name)
        self._fd = -1
        self._created = False
        self._size = 0
        self._sums: list[int] = []
        self._buffer: mmap.mmap | None = None
        self._filled = 0
        self._direct = False
        self._pending: Future[Any] | None = None
        #: What the pending call writes; reused only if nobody looks at it after that.
        self._written: mmap.mmap | None = None
        self._done = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. The buffer may be reused once this returns. Raises StorageFull, Unavailable."""
        view = memoryview(data)
        while len(view):
            if self._buffer is None:
                if len(self._store._writers) > _WRITERS_EAGER:
                    await self._settle()
                self._buffer = self._store.buffers.take()
            count = min(BLOCK - self._filled, len(view))
            with memoryview(self._buffer) as target:
                target[self._filled : self._filled + count] = view[:count]
            self._filled += count
            view = view[count:]
            if self._filled == BLOCK:
                await self._flush()

    async def room(self) -> memoryview:
        """The rest of the block that is being gathered."""
        if self._buffer is None:
            self._buffer = self._store.buffers.take()
        return memoryview(self._buffer)[self._filled :]

    async def fill(self, count: int) -> None:
        """Append what stands in ``room``. Raises StorageFull, Unavailable."""
        self._filled += count
        if self._filled == BLOCK:
            await self._flush()

    async def finish(self) -> FileRef:
        """Write the footer, sync file and folder. What comes back may be committed."""
        if self._filled:
            await self._flush()
        await self._start(self._seal)
        root = await self._settle()
        self._done = True
        self._store._writers.discard(self)
        return FileRef(self.name, self._size, root)

    async def abort(self) -> None:
        """Throw the file away; repeatable, also after ``finish`` if nothing was committed."""
        self._done = True
        self._store._writers.discard(self)
        self._buffer, self._filled = None, 0
        pending, self._pending = self._pending, None
        await self._store._run(self._discard, pending)

    def __del__(self) -> None:
        if not self._done:  # forgotten, for example by a cancelled request
            self._discard(self._pending)

    async def _flush(self) -> None:
        """Hand the gathered block to a thread, after the one before it."""
        await self._start(self._put, self._buffer, self._filled)
        self._written, self._buffer, self._filled = self._buffer, None, 0

    async def _start(self, call: Callable[..., Any], *arguments: object) -> None:
        await self._settle()
        self._pending = self._store._pool.submit(call, *arguments)

    async def _settle(self) -> Any:
        """Wait for the call in flight and hear what became of it; a failure is final."""
        if self._pending is None:
            return None
        try:
            result = await asyncio.shield(asyncio.wrap_future(self._pending))
        except OSError as error:
            raise _trouble(error) from error
        self._pending = None
        if self._written is not None:
            self._store.buffers.give_back(self._written)
            self._written = None
        return result

    # in a thread, one call at a time

    def _put(self, buffer: mmap.mmap, length: int) -> None:
        if self._fd < 0:
            self._create()
        elif len(self._sums) % 16 == 0 and self._size >= self._size_hint:
            self._store.check_space(BLOCK)
        with memoryview(buffer) as view, view[:length] as block:
            self._sums.append(_digest(block))
            self._choose_path(length)
            io.pwrite(self._fd, block, self._size)
        self._size += length

    def _choose_path(self, length: int) -> None:
        """Whole blocks of big files go around the page cache, everything else through it."""
        large = max(self._size, self._size_hint) >= _DIRECT_FROM
        direct = large and length == BLOCK and self._store.direct
        if direct != self._direct:
            self._direct = self._store.set_direct(self._fd, direct)

    def _create(self) -> None:
        while True:
            try:
                self._fd = io.create(self._path)
            except FileExistsError:
                # Another one's, whoever made it: a file that is there is never touched.
                self.name = self._store.new_name()
                self._path = file_path(self._store.root, self.name)
            else:
                self._created = True
                break
        if self._size_hint > BLOCK:
            io.fallocate(self._fd, 0, self._size_hint + footer_length(self._size_hint))

    def _seal(self) -> int:
        if self._fd < 0:
            self._create()
        data, root = footer(self._sums, self._size)
        self._choose_path(len(data))
        io.pwrite(self._fd, data, self._size)
        if os.fstat(self._fd).st_size != self._size + len(data):
            io.truncate(self._fd, self._size + len(data))  # the hint was too high
        io.fdatasync(self._fd)
        self._close()
        io.fsync_dir(os.path.dirname(self._path))
        return root

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _discard(self, pending: Future[Any] | None) -> None:
        if pending is not None and not pending.cancel():
            wait([pending])
        self._close()
        if self._created:
            with contextlib.suppress(FileNotFoundError):
                io.unlink(self._path)


def _trouble(error: OSError) -> errors.StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return errors.StorageFull(os.strerror(error.errno))
    return errors.Unavailable(f"a drive failed: {os.strerror(error.errno or 0)}")
