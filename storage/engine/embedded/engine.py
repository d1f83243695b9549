"""The embedded engine as its users see it: ``interface.Engine`` over index, segments and link.

Reads happen in the calling process, straight from index and segments; changes travel to the
committer. ``EmbeddedEngine.connect`` is for the processes of a server, ``EmbeddedEngine.local``
for a process that is alone and runs the committer as a thread.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

from storage import errors
from storage.config import Config
from storage.engine import interface as i
from storage.engine.embedded import drives, link, segment
from storage.engine.embedded.board import Board, Slot
from storage.engine.embedded.committer import RUN
from storage.engine.embedded.drives import Drive
from storage.engine.embedded.feed import Feed
from storage.engine.embedded.files import FileGone, FileStore
from storage.engine.embedded.reader import InlinePlace, Reader
from storage.engine.embedded.segment import payload_check
from storage.engine.embedded.server import CommitterThread

_OPEN_SEGMENTS = 256
_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_CACHED_BUCKETS = 4096
_SUSPECT_PAUSE = 600.0
"""Seconds between two requests of a process to make the index anew."""
_CANT_TELL = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""How a file system refuses RWF_NOWAIT."""


class EmbeddedEngine:
    """``interface.Engine`` of one process. Belongs to the event loop that made it."""

    def __init__(
        self, config: Config, drive: Drive, line: link.Link, thread: CommitterThread | None
    ) -> None:
        """Use ``connect`` or ``local``."""
        self.config = config
        self.drive = drive
        self.board = Board(drive.root)
        self.slot: Slot = self.board.claim()
        self.files = FileStore(drive.files, line.generation, free_min=drive.watermark(config))
        self._line = line
        self._thread = thread
        self._generations = link.Generations(os.path.join(drive.root, RUN))
        self._generations.claim(line.generation)
        self.slot.file_generation = line.generation
        self._suspect_again = 0.0
        self._index = Reader(drive.index, self.index_damaged)
        self._incarnation = self.board.index_incarnation
        self._segments = _Segments(drive.segments)
        self._retired = self.board.retired
        self._buckets: dict[str, i.Bucket | None] = {}
        self._buckets_of = -1
        self._feed = Feed(drive.segments, self._index)
        self._reads: dict[int, int] = {}
        self._loop = asyncio.get_running_loop()
        self._heart = self._loop.call_later(1.0, self._beat)

    @classmethod
    async def connect(cls, config: Config, *, patience: float = 30.0) -> EmbeddedEngine:
        """Join a store whose committer runs as a process of its own.

        Waits until the committer serves; Unavailable after ``patience`` seconds.
        """
        drive = await _prepared(config, patience)
        line = link.ProcessLink(os.path.join(drive.root, RUN))
        try:
            await line.start(patience)
            return cls(config, drive, line, None)
        except BaseException:
            await line.close()
            raise

    @classmethod
    async def local(cls, config: Config) -> EmbeddedEngine:
        """Open the store alone: the committer is a thread of this process.

        Raises ``DriveRefused``, also if another process has the drive.
        """
        loop = asyncio.get_running_loop()
        thread = await loop.run_in_executor(None, CommitterThread, config)
        try:
            line = link.ThreadLink(thread.inbox, 0)
            line.generation = await line.submit(link.Hello(0, os.getpid()))
            return cls(config, thread.drive, line, thread)
        except BaseException:
            await loop.run_in_executor(None, thread.stop)
            raise

    # -- changes

    def commit(self, change: i.Change) -> Awaitable[Any]:
        return self._line.submit(change)

    async def internal(self, change: link.Internal) -> Any:
        """A change of the engine's own services (compaction, collection)."""
        return await self._line.submit(change)

    def generation(self) -> int:
        return self.board.generation

    @property
    def is_local(self) -> bool:
        """Whether the committer is a thread of this process."""
        return self._thread is not None

    # -- what exists

    def _reader(self) -> Reader:
        """The index as it is now; opened anew if the committer has replaced its file."""
        incarnation = self.board.index_incarnation
        if incarnation != self._incarnation:
            self._index.reopen()
            self._incarnation = incarnation
        return self._index

    def index_damaged(self) -> None:
        """Ask for another index, not too often: what a rebuild does not cure is no rot."""
        now = time.monotonic()
        if now >= self._suspect_again:
            self._suspect_again = now + _SUSPECT_PAUSE
            self.board.suspect = True

    @property
    def index(self) -> Reader:
        """The index, for services."""
        return self._reader()

    def _bucket_cache(self) -> dict[str, i.Bucket | None]:
        generation = self.board.generation
        if generation != self._buckets_of or len(self._buckets) > _CACHED_BUCKETS:
            self._buckets.clear()
            self._index.forget()
            self._buckets_of = generation
        return self._buckets

    async def bucket(self, name: str) -> i.Bucket | None:
        cache = self._bucket_cache()
        try:
            return cache[name]
        except KeyError:
            found = cache[name] = self._reader().bucket(name)
            return found

    async def buckets(self) -> list[i.Bucket]:
        return self._reader().buckets()

    async def usage(self, bucket_id: int) -> i.Usage:
        return self._reader().usage(bucket_id)

    async def lookup(self, bucket_id: int, key: str) -> i.Version | None:
        return self.lookup_at_once(bucket_id, key)

    immediate = True

    def lookup_at_once(self, bucket_id: int, key: str) -> i.Version | None:
        if self.board.generation != self._buckets_of:
            self._bucket_cache()
        return self._reader().lookup(bucket_id, key)

    async def version(self, bucket_id: int, key: str, version_id: str = "") -> i.Version | None:
        self._bucket_cache()
        return self._reader().version(bucket_id, key, version_id)

    async def list_objects(
        self,
        bucket_id: int,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> i.Page:
        self._bucket_cache()
        return self._reader().list_objects(bucket_id, prefix, delimiter, after, limit)

    async def list_versions(
        self,
        bucket_id: int,
        *,
        prefix: str = "",
        delimiter: str = "",
        after_key: str = "",
        after_version: str = "",
        limit: int = 1000,
    ) -> i.VersionPage:
        self._bucket_cache()
        return self._reader().list_versions(
            bucket_id, prefix, delimiter, after_key, after_version, limit
        )

    async def upload(self, bucket_id: int, key: str, upload_id: str) -> i.Upload | None:
        found = self._reader().upload(bucket_id, key, upload_id)
        return found[1] if found else None

    async def parts(
        self, bucket_id: int, key: str, upload_id: str, *, after: int = 0, limit: int = 10_000
    ) -> list[i.UploadedPart]:
        self._bucket_cache()
        reader = self._reader()
        if reader.owner(bucket_id) is None:
            raise errors.NoSuchBucket
        found = reader.upload(bucket_id, key, upload_id)
        if found is None:
            raise errors.NoSuchUpload
        return reader.parts(found[0], after, limit)

    async def list_uploads(
        self,
        bucket_id: int,
        *,
        prefix: str = "",
        delimiter: str = "",
        after_key: str = "",
        after_upload: str = "",
        limit: int = 1000,
    ) -> i.UploadPage:
        self._bucket_cache()
        return self._reader().list_uploads(
            bucket_id, prefix, delimiter, after_key, after_upload, limit
        )

    async def system(self, kind: str) -> list[i.SystemRecord]:
        return self._reader().system(kind)

    async def system_record(self, kind: str, name: str) -> i.SystemRecord | None:
        return self._reader().system_record(kind, name)

    # -- bytes

    async def read_inline(self, version: i.Version) -> bytes:
        try:
            return await self._read_place(version)
        except (errors.DataCorrupt, FileNotFoundError) as error:
            return await self._read_again(version, error)

    async def _read_again(self, version: i.Version, error: Exception) -> bytes:
        """Compaction may have moved the record since it was looked up."""
        fresh = self._same(version)
        if fresh is None:
            raise errors.Unavailable("the object was replaced while it was read") from error
        if fresh.place == version.place and isinstance(error, errors.DataCorrupt):
            raise error
        try:
            return await self._read_place(fresh)
        except FileNotFoundError:
            raise errors.DataCorrupt(f"segment {fresh.place.segment:x} is missing") from None

    def _same(self, version: i.Version) -> i.Version | None:
        """The version as it lies now; None if it is gone."""
        fresh = self._reader().version(version.bucket_id, version.key, version.version_id)
        return fresh if fresh is not None and fresh.seq == version.seq else None

    def read_at_once(self, version: i.Version) -> bytes | bytearray | None:
        """Also None where something is wrong: ``read_inline`` finds out what."""
        size = version.size
        if not size:
            return b""
        place: InlinePlace = version.place
        try:
            file = self._segment(place.segment)
        except (FileNotFoundError, errors.DataCorrupt):
            return None
        data = file.read_now(place.offset, size)
        if data is None or payload_check(data, file.salt, version.seq) != place.check:
            return None
        return data

    async def _read_place(self, version: i.Version) -> bytes:
        size = version.size
        if not size:
            return b""
        place: InlinePlace = version.place
        file = self._segment(place.segment)
        data: bytes | bytearray | None = file.read_now(place.offset, size)
        if data is None:
            data = await self._loop.run_in_executor(None, file.read, place.offset, size)
        if len(data) != size or payload_check(data, file.salt, version.seq) != place.check:
            raise errors.DataCorrupt(
                f"payload at {place.offset} of segment {place.segment:x} does not verify"
            )
        return bytes(data)

    def _segment(self, number: int) -> _OpenSegment:
        retired = self.board.retired
        if retired != self._retired:
            self._segments.drop_retired()
            self._retired = retired
        return self._segments.get(number)

    async def read(
        self, version: i.Version, start: int, stop: int
    ) -> AsyncIterator[memoryview | bytes]:
        if not version.files:
            yield (await self.read_inline(version))[max(start, 0) : max(stop, 0)]
            return
        mark = self.board.applied_seq or 1
        self._begin_read(mark)
        try:
            async for piece in self.files.read(version.files, start, stop):
                yield piece
        except FileGone as gone:
            fresh = self._same(version)
            if fresh is not None and fresh.files == version.files:
                raise errors.DataCorrupt(f"file {gone} is missing") from gone
            raise
        finally:
            self._end_read(mark)

    def _begin_read(self, mark: int) -> None:
        """Publish that files which exist at ``mark`` must stay for now."""
        self._reads[mark] = self._reads.get(mark, 0) + 1
        if len(self._reads) == 1:
            self.slot.oldest_read = mark

    def _end_read(self, mark: int) -> None:
        left = self._reads[mark] - 1
        if left:
            self._reads[mark] = left
            return
        del self._reads[mark]
        self.slot.oldest_read = min(self._reads, default=0)

    async def create_file(self, size_hint: int = 0) -> i.FileWriter:
        return self.files.create(size_hint)

    # -- feed and operation

    async def changes(self, after: int, limit: int = 1000) -> Sequence[i.FeedEvent]:
        self._reader()
        return self._feed.read(after, limit, self.board.applied_seq)

    async def cursors(self) -> dict[str, int]:
        return self._reader().cursors()

    async def space(self) -> i.Space:
        return self.drive.space()

    async def health(self) -> i.Health:
        board = self.board
        return i.Health(
            board.damages,
            board.last_record,
            board.clock_suspect,
            board.scrub,
            board.expiry,
            board.langfuse,
        )

    def inline_limit(self) -> int:
        return self.config.inline_max

    def is_live_generation(self, generation: int) -> bool:
        """Whether the process that names its files so still exists."""
        return generation == self._line.generation or self._generations.is_live(generation)

    def _beat(self) -> None:
        self.slot.beat()
        self._heart = self._loop.call_later(1.0, self._beat)

    async def close(self) -> None:
        self._heart.cancel()
        await self._line.close()
        self.files.close()
        self._index.close()
        self._segments.clear()
        self._generations.close()
        self.slot.release()
        self.board.close()
        if self._thread is not None:
            await self._loop.run_in_executor(None, self._thread.stop)


async def _prepared(config: Config, patience: float) -> Drive:
    """The drive, once the committer has prepared it."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            drive = drives.open_drive(config.drives[0], config, lock=False)
            if RUN in os.listdir(drive.root):
                return drive
        except errors.Unavailable:
            pass
        if asyncio.get_running_loop().time() > deadline:
            raise errors.Unavailable("the committer does not start")
        await asyncio.sleep(0.05)


class _OpenSegment:
    """A segment open for reading, closed with its last reader."""

    __slots__ = ("_fd", "_nowait", "salt")

    def __init__(self, path: str) -> None:
        """Raises FileNotFoundError; Damaged if its salt is lost."""
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._nowait = _NOWAIT
        self.salt = segment.open_header(self._fd, path).salt

    def read_now(self, offset: int, size: int) -> bytes | bytearray | None:
        """The bytes if the page cache has them, None if the drive must be asked."""
        if not self._nowait:
            return self.read(offset, size)
        buffer = bytearray(size)
        try:
            if os.preadv(self._fd, (buffer,), offset, self._nowait) == size:
                return buffer
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _CANT_TELL:
                self._nowait = 0  # tmpfs ...: then it is quick, too
                return self.read(offset, size)
        return None

    def read(self, offset: int, size: int) -> bytes:
        """The bytes, from the drive if need be. Raises DataCorrupt where it can't read."""
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:
            raise errors.DataCorrupt(f"a segment can't be read: {error}") from error

    def is_retired(self) -> bool:
        return os.fstat(self._fd).st_nlink == 0

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)


class _Segments:
    """The segments that are open for reading, least recently used first."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._open: OrderedDict[int, _OpenSegment] = OrderedDict()

    def get(self, number: int) -> _OpenSegment:
        """Raises FileNotFoundError if the segment is gone."""
        found = self._open.get(number)
        if found is None:
            found = _OpenSegment(os.path.join(self._folder, segment.name(number)))
            self._open[number] = found
            if len(self._open) > _OPEN_SEGMENTS:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(number)
        return found

    def drop_retired(self) -> None:
        """Let go of unlinked segments: their space is free only once nobody has them open."""
        for number in [n for n, file in self._open.items() if file.is_retired()]:
            del self._open[number]

    def clear(self) -> None:
        self._open.clear()
