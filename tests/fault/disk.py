"""A drive that remembers what was synced, so that power can be cut at any call.

``Recorder`` stands in for the kernel and notes every call that changes the drive, in order.
``Disk`` plays the calls up to some point and tells what a power cut there leaves: what was synced
for certain; of the rest nothing, everything, or any part. Names are synced by ``fsync_dir``,
contents by ``fdatasync``, as POSIX has it and no more.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from storage.engine.embedded import io

SECTOR = 512


class Call(NamedTuple):
    """A call that changed the drive (or a note of the workload's own, ``name`` "note")."""

    name: str
    inode: int = 0
    path: str = ""
    target: str = ""
    offset: int = 0
    data: bytes = b""
    note: Any = None


class Recorder(io.Calls):
    """The kernel, taking notes."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._lock = threading.Lock()

    def note(self, what: Any) -> None:
        with self._lock:
            self.calls.append(Call("note", note=what))

    def _done(self, call: Call) -> None:
        self.calls.append(call)

    def create(self, path: str, mode: int = 0o600) -> int:
        with self._lock:
            fd = super().create(path, mode)
            self._done(Call("create", os.fstat(fd).st_ino, path))
            return fd

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        with self._lock:
            super().mkdir(path, mode)
            self._done(Call("mkdir", path=path))

    def pwrite(self, fd: int, data: io.Buffer, offset: int) -> None:
        with self._lock:
            super().pwrite(fd, data, offset)
            self._done(Call("pwrite", os.fstat(fd).st_ino, offset=offset, data=bytes(data)))

    def pwritev(self, fd: int, buffers: Sequence[io.Buffer], offset: int) -> None:
        self.pwrite(fd, b"".join(buffers), offset)

    def truncate(self, fd: int, length: int) -> None:
        with self._lock:
            super().truncate(fd, length)
            self._done(Call("truncate", os.fstat(fd).st_ino, offset=length))

    def fallocate(self, fd: int, offset: int, length: int) -> None:
        with self._lock:
            super().fallocate(fd, offset, length)
            self._done(Call("fallocate", os.fstat(fd).st_ino, offset=offset + length))

    def fdatasync(self, fd: int) -> None:
        # What is written while the sync runs is not covered by it.
        with self._lock:
            super().fdatasync(fd)
            self._done(Call("sync", os.fstat(fd).st_ino))

    def fsync(self, fd: int) -> None:
        self.fdatasync(fd)

    def fsync_dir(self, path: str) -> None:
        with self._lock:
            super().fsync_dir(path)
            self._done(Call("sync_dir", path=path))

    def rename(self, source: str, target: str) -> None:
        with self._lock:
            super().rename(source, target)
            self._done(Call("rename", path=source, target=target))

    def link(self, source: str, target: str) -> None:
        raise NotImplementedError

    def unlink(self, path: str) -> None:
        with self._lock:
            super().unlink(path)
            self._done(Call("unlink", path=path))


class _File:
    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[Call] = []


class _Folder:
    def __init__(self) -> None:
        self.durable: dict[str, int] = {}
        self.pending: list[Call] = []


#: In a folder's entries: the name is a folder, not an inode.
_IS_FOLDER = -1

#: Which of the pending calls on one file or folder survive. Folders lose a tail only: file
#: systems journal names in order.
Survivors = Callable[[list[Call], bool], list[Call]]


def nothing(_pending: list[Call], _is_folder: bool) -> list[Call]:
    """Whatever was not synced is lost."""
    return []


def everything(pending: list[Call], _is_folder: bool) -> list[Call]:
    """All is there: the process died, the kernel did not."""
    return pending


def something(seed: int) -> Survivors:
    """Any sectors of any writes, in any order; the first so many changes of each folder."""
    dice = random.Random(seed)

    def choose(pending: list[Call], is_folder: bool) -> list[Call]:
        if is_folder:
            return pending[: dice.randint(0, len(pending))]
        pieces = [piece for call in pending for piece in _sectors(call)]
        return [piece for piece in pieces if dice.random() < 0.5]

    return choose


def _sectors(call: Call) -> Iterator[Call]:
    if call.name != "pwrite":
        yield call
        return
    at = 0
    while at < len(call.data):
        length = SECTOR - (call.offset + at) % SECTOR
        yield call._replace(offset=call.offset + at, data=call.data[at : at + length])
        at += length


class Disk:
    """What calls made of a drive. Paths are those of the recorded run, below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._files: dict[int, _File] = {}
        self._folders: dict[str, _Folder] = {}
        self._now: dict[str, int] = {}

    def play(self, call: Call) -> None:
        match call.name:
            case "create":
                self._files[call.inode] = _File()
                self._entry(call.path).append(call)
                self._now[call.path] = call.inode
            case "mkdir":
                self._entry(call.path).append(call)
            case "rename":
                call = call._replace(inode=self._now.pop(call.path))
                self._now[call.target] = call.inode
                self._entry(call.path).append(call)
            case "unlink":
                self._now.pop(call.path, None)
                self._entry(call.path).append(call)
            case "sync_dir":
                folder = self._folders.setdefault(call.path, _Folder())
                _change_names(folder.durable, folder.pending)
                folder.pending = []
            case "sync" if call.inode in self._files:
                file = self._files[call.inode]
                _change_bytes(file.durable, file.pending)
                file.pending = []
            case "pwrite" | "truncate" | "fallocate" if call.inode in self._files:
                self._files[call.inode].pending.append(call)
            case _:
                pass  # the index's and other files that mean nothing after a crash

    def _entry(self, path: str) -> list[Call]:
        return self._folders.setdefault(os.path.dirname(path), _Folder()).pending

    def leave(self, target: Path, survivors: Survivors) -> None:
        """Make at ``target`` what a power cut leaves now."""
        self._leave_folder(self._root, target, survivors)

    def _leave_folder(self, path: str, target: Path, survivors: Survivors) -> None:
        target.mkdir(exist_ok=True)
        folder = self._folders.get(path, _Folder())
        names = dict(folder.durable)
        _change_names(names, survivors(folder.pending, True))
        for name, inode in names.items():
            if inode == _IS_FOLDER:
                self._leave_folder(os.path.join(path, name), target / name, survivors)
            else:
                file = self._files[inode]
                content = bytearray(file.durable)
                _change_bytes(content, survivors(file.pending, False))
                (target / name).write_bytes(content)


def _change_names(names: dict[str, int], calls: list[Call]) -> None:
    for call in calls:
        name = os.path.basename(call.path)
        match call.name:
            case "create":
                names[name] = call.inode
            case "mkdir":
                names[name] = _IS_FOLDER
            case "rename":
                names.pop(name, None)
                names[os.path.basename(call.target)] = call.inode
            case "unlink":
                names.pop(name, None)


def _change_bytes(content: bytearray, calls: list[Call]) -> None:
    for call in calls:
        match call.name:
            case "pwrite":
                end = call.offset + len(call.data)
                _grow(content, end)
                content[call.offset : end] = call.data
            case "truncate":
                _grow(content, call.offset)
                del content[call.offset :]
            case "fallocate":
                _grow(content, call.offset)


def _grow(content: bytearray, length: int) -> None:
    if len(content) < length:
        content.extend(bytes(length - len(content)))
