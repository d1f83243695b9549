"""Backup and restore of a whole store, running or stopped.

A backup is a prefix of the log and every file that it names. Any prefix of the log is a state that
the store once was in, so nothing has to stop: new changes just come after the cut. Compaction and
collection hold still meanwhile (``pin``). The index is not copied, it can be made anew. The store
key lies in the log, wrapped under the root secret of that time: a restored store wants that secret.

Layout of the destination: ``segments/`` and ``files/`` as on a drive, and ``manifest.json``,
which is written last: a backup without it is not complete, and is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from storage import errors
from storage.config import Config
from storage.engine.embedded import drives, files, index, io, log, pin, records, segment
from storage.engine.embedded.drives import Drive
from storage.engine.embedded.files import FileStore
from storage.engine.embedded.index import Writer
from storage.engine.embedded.log import Log
from storage.engine.embedded.rebuild import rebuild
from storage.engine.embedded.segment import Damage, Record
from storage.engine.interface import FileRef

#: Version of the layout. Newer ones are refused.
VERSION = 1
MANIFEST = "manifest.json"
_CHUNK = 1 << 20
_ATTEMPTS = 4


class Progress(NamedTuple):
    """How far it is; both in bytes. ``total`` may still grow while the log is read."""

    done: int
    total: int


class Summary(NamedTuple):
    """What a backup holds. ``seq`` is the last change in it."""

    seq: int
    segments: int
    files: int
    bytes: int


Tell = Callable[[Progress], None]


def backup(config: Config, destination: str, tell: Tell | None = None) -> Summary:
    """Copy the store to ``destination``, a new or empty directory, verifying what is copied.

    Raises DriveRefused for a destination in use, DataCorrupt for damage that would be copied.
    """
    drive = drives.open_drive(config.drives[0], config, lock=False)
    target = _Target(destination, tell)
    with pin.held_still(drive):
        return _Backup(drive, target).run()


def restore(source: str, config: Config, tell: Tell | None = None) -> Summary:
    """Make a store of the backup at ``source`` on an empty drive, its index included.

    Everything is verified. The drive has no superblock, and is no store, before all is well.
    Raises DriveRefused (also for an incomplete backup), DataCorrupt.
    """
    return _Restore(source, config, tell).run()


class _Target:
    """Where copies go: each is synced, and counted."""

    def __init__(self, path: str, tell: Tell | None) -> None:
        self.path = os.path.abspath(path)
        self._tell = tell
        self.done = 0
        self.total = 0
        if os.path.isdir(self.path) and os.listdir(self.path):
            raise errors.DriveRefused(f"{self.path} is not empty: name a new directory.")
        os.makedirs(self.path, exist_ok=True)

    def folder(self, name: str) -> str:
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        return path

    def copy(self, source: str, target: str, length: int | None = None) -> int:
        """Copy ``length`` bytes (default: all) of a file to a new one; the checksum of them."""
        digest = xxhash.xxh3_64()
        out = io.create(target)
        try:
            with open(source, "rb") as file:
                left = os.fstat(file.fileno()).st_size if length is None else length
                at = 0
                while left:
                    chunk = file.read(min(_CHUNK, left))
                    if not chunk:
                        raise errors.DataCorrupt(f"{source} is shorter than it should be")
                    io.pwrite(out, chunk, at)
                    digest.update(chunk)
                    at, left = at + len(chunk), left - len(chunk)
                    self._count(len(chunk))
            io.fdatasync(out)
        finally:
            os.close(out)
        return digest.intdigest()

    def _count(self, size: int) -> None:
        self.done += size
        if self._tell is not None:
            self._tell(Progress(self.done, max(self.total, self.done)))

    def write(self, name: str, data: bytes) -> None:
        fd = io.create(os.path.join(self.path, name))
        try:
            io.pwrite(fd, data, 0)
            io.fsync(fd)
        finally:
            os.close(fd)


class _Backup:
    def __init__(self, drive: Drive, target: _Target) -> None:
        self._drive = drive
        self._target = target
        self._refs: dict[str, FileRef] = {}
        self._seq = 0

    def run(self) -> Summary:
        folder = self._target.folder("segments")
        numbers = segment.listing(self._drive.segments)
        if not numbers:
            raise errors.Unavailable("the store has no log yet: start it once")
        self._target.total = sum(os.path.getsize(self._segment(number)) for number in numbers)
        copied = [self._copy_segment(number, folder) for number in numbers]
        for number in segment.listing(self._drive.segments, ".foot"):
            name = segment.foot_name(number)
            self._target.copy(os.path.join(self._drive.segments, name), os.path.join(folder, name))
        io.fsync_dir(folder)
        count = self._copy_files()
        self._finish(copied)
        return Summary(self._seq, len(numbers), count, self._target.done)

    def _segment(self, number: int) -> str:
        return os.path.join(self._drive.segments, segment.name(number))

    def _copy_segment(self, number: int, folder: str) -> dict[str, Any]:
        """Copy a segment up to its last valid batch, and give the copy a footer."""
        source = self._segment(number)
        name = segment.name(number)
        target = os.path.join(folder, name)
        length, sealed = self._verified(source, number)
        self._target.copy(source, target, None if sealed else length)
        if not sealed:
            segment.write_footer(target, length)
        with open(target, "rb") as file:
            check = xxhash.xxh3_64(file.read()).hexdigest()
        return {"name": name, "size": os.path.getsize(target), "xxh3": check}

    def _verified(self, path: str, number: int) -> tuple[int, bool]:
        """``_verify_segment``, repeated if it fell over what is being written just now."""
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(errors.DataCorrupt):
                return self._verify_segment(path, number)
        return self._verify_segment(path, number)

    def _verify_segment(self, path: str, number: int) -> tuple[int, bool]:
        """(end of the last valid batch, whether its footer follows). Notes what files it names."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            header = segment.read_header(fd)
            trailer = segment.read_trailer(fd, header)
            stop = trailer.length if trailer else self._closed_at(number)
            end = segment.PAGE
            for batch in segment.batches(fd, header, stop=stop, report=_refuse):
                if not segment.verify_batch(fd, batch, header.salt, log.commit_seq):
                    if stop is None:
                        break  # being written just now
                    raise errors.DataCorrupt(f"segment {number:x} does not verify")
                heads = segment.read_heads(fd, batch)
                for record in segment.decode_heads(heads, batch, number, header.salt, _refuse):
                    self._note(record)
                end = batch.end
        finally:
            os.close(fd)
        if stop is not None and end != stop:
            raise errors.DataCorrupt(f"segment {number:x} ends too early")
        return end, trailer is not None and not trailer.keeps_doubtful

    def _closed_at(self, number: int) -> int | None:
        """Where a segment without a footer ends, if it has a successor."""
        with contextlib.suppress(FileNotFoundError), open(self._segment(number + 1), "rb") as file:
            header = segment.decode_header(file.read(segment.PAGE))
            if header.predecessor == number:
                return header.predecessor_length
        return None

    def _note(self, record: Record) -> None:
        self._seq = max(self._seq, record.seq)
        for ref in refs_of(record):
            self._refs[ref.name] = ref

    def _copy_files(self) -> int:
        """Copy the files that the log names. Those that are gone belong to nothing any more."""
        store = FileStore(self._drive.files, 0)
        try:
            self._target.total += sum(ref.size for ref in self._refs.values())
            count = 0
            for name, ref in self._refs.items():
                try:
                    store.verify(ref)
                except files.FileGone:
                    continue
                folder = self._target.folder(f"files/{name[-2:]}")
                self._target.copy(
                    files.file_path(self._drive.files, name), os.path.join(folder, name)
                )
                count += 1
        finally:
            store.close()
        for entry in Path(self._target.folder("files")).iterdir():
            io.fsync_dir(str(entry))
        return count

    def _finish(self, copied: list[dict[str, Any]]) -> None:
        manifest = {
            "version": VERSION,
            "format": self._drive.format,
            "store": self._drive.store_id,
            "created": time.time_ns() // 1_000_000,
            "seq": self._seq,
            "segments": copied,
        }
        io.fsync_dir(self._target.path)
        self._target.write(MANIFEST, json.dumps(manifest, indent=1).encode())
        io.fsync_dir(self._target.path)


def _refuse(damage: Damage) -> None:
    raise errors.DataCorrupt(f"segment {damage.segment:x}: {damage.what}")


def refs_of(record: Record) -> Iterator[FileRef]:
    """The files that a record names."""
    kind, _, _, encoded = records.unwrap(record.type, record.seq, record.body)
    body = records.decode(kind, encoded)
    if kind == records.PUT:
        yield from body.files
    elif kind == records.PART:
        yield body.file


class _Restore:
    def __init__(self, source: str, config: Config, tell: Tell | None) -> None:
        self._source = os.path.abspath(source)
        self._config = config
        self._path = os.path.abspath(config.drives[0])
        self._tell = tell
        self._manifest = self._read_manifest()

    def run(self) -> Summary:
        drive = drives.blank_drive(self._path, self._manifest["store"])
        try:
            target = _Target(os.path.join(drive.root, "segments"), self._tell)
            target.total = sum(size for _, size in _walk(self._source))
            self._copy_log(target)
            count = self._copy_files(target, drive)
            self._make_index(drive)
            if not drive.reserve(self._config).fill():
                raise errors.StorageFull(f"{self._path} has no space for the reserve")
            drives.write_superblock(drive)
        finally:
            drive.close()
        return Summary(self._manifest["seq"], len(self._manifest["segments"]), count, target.done)

    def _read_manifest(self) -> dict[str, Any]:
        path = os.path.join(self._source, MANIFEST)
        try:
            manifest: dict[str, Any] = json.loads(Path(path).read_bytes())
        except FileNotFoundError:
            raise errors.DriveRefused(
                f"{self._source} is no complete backup: {MANIFEST} is missing."
            ) from None
        except ValueError:
            raise errors.DriveRefused(f"{path} is damaged: take another backup.") from None
        if manifest["version"] > VERSION or manifest["format"] > drives.FORMAT:
            raise errors.DriveRefused(
                f"{self._source} was made by a newer release: restore it with that one."
            )
        return manifest

    def _copy_log(self, target: _Target) -> None:
        folder = os.path.join(self._source, "segments")
        known = {entry["name"]: entry for entry in self._manifest["segments"]}
        for name in sorted(os.listdir(folder)):
            check = target.copy(os.path.join(folder, name), os.path.join(target.path, name))
            if name in known and f"{check:016x}" != known.pop(name)["xxh3"]:
                raise errors.DataCorrupt(f"{name} is not what was backed up")
        if known:
            raise errors.DataCorrupt(f"{', '.join(known)} is missing from the backup")
        io.fsync_dir(target.path)

    def _copy_files(self, target: _Target, drive: Drive) -> int:
        count = 0
        for name, _ in _walk(os.path.join(self._source, "files")):
            source = files.file_path(os.path.join(self._source, "files"), name)
            target.copy(source, files.file_path(drive.files, name))
            count += 1
        for number in range(256):
            io.fsync_dir(os.path.join(drive.files, f"{number:02x}"))
        return count

    def _make_index(self, drive: Drive) -> None:
        """Rebuild the index and verify every file that it names."""
        writer = Writer(drive.index, drive.store_id)
        source = Log(drive, self._config, _refuse)
        store = FileStore(drive.files, 0)
        try:
            rebuild(source, writer, lambda _: None)
            rows = writer.rows(
                "SELECT files FROM current WHERE files IS NOT NULL "
                "UNION ALL SELECT files FROM versions WHERE files IS NOT NULL"
            )
            refs = [ref for (encoded,) in rows for ref in index.decode_files(encoded)]
            parts = writer.rows("SELECT file FROM parts")
            for ref in [*refs, *(index.decode_file(encoded) for (encoded,) in parts)]:
                store.verify(ref)
        except files.FileGone as gone:
            raise errors.DataCorrupt(f"file {gone} is missing from the backup") from None
        finally:
            store.close()
            source.close()
            writer.close()


def _walk(path: str) -> Iterator[tuple[str, int]]:
    """(name, size) of all files below ``path``."""
    for folder, _, names in os.walk(path):
        for name in names:
            yield name, os.path.getsize(os.path.join(folder, name))
