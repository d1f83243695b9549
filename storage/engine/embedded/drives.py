"""A drive: a directory of the operator's, under which our data lies in ``.oversight/``.

``open_drive`` decides whether a path may be used, prepares it once, and refuses everything else
in one sentence that names the cure, leaving it untouched. Layout (docs/format.md has the bytes)::

    <path>/.oversight/superblock     who we are: format, store and drive id; JSON with a checksum
    <path>/.oversight/lock           OFD-locked by the committer for its life
    <path>/.oversight/segments/      the log
    <path>/.oversight/files/00..ff/  large objects and parts
    <path>/.oversight/index/         the index, and nothing that can't be rebuilt
    <path>/.oversight/reserve/       space allocated in advance for deletes and compaction
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import secrets
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from storage import errors
from storage.capacity import capacity
from storage.config import Config
from storage.engine import interface
from storage.engine.embedded import io
from storage.names import is_bucket_name

#: The layout of everything under ``.oversight``. Older ones are read, newer ones refused.
FORMAT = 2
FOLDER = ".oversight"
#: Free space that the index may need while a full drive is being emptied, in bytes.
INDEX_HEADROOM = 64 * 1024 * 1024
_FOREIGN_SCAN_MAX = 20_000
_FOLDERS = ("segments", "files", "index", "reserve", "run")
_NETWORK_TYPES = {
    "nfs": "NFS",
    "nfs4": "NFS",
    "cifs": "SMB",
    "smb2": "SMB",
    "smb3": "SMB",
    "smbfs": "SMB",
    "fuse": "FUSE",
    "fuseblk": "FUSE",
    "9p": "9P",
}
_logger = logging.getLogger("oversight.drives")


@dataclass(slots=True)
class Drive:
    """An opened drive. ``root`` is our folder on it; ids are 32 hex digits."""

    path: str
    root: str
    store_id: str
    drive_id: str
    format: int
    created: int
    _lock: int | None = field(default=None, repr=False)

    @property
    def segments(self) -> str:
        return os.path.join(self.root, "segments")

    @property
    def files(self) -> str:
        return os.path.join(self.root, "files")

    @property
    def index(self) -> str:
        return os.path.join(self.root, "index")

    def space(self) -> interface.Space:
        """Capacity of the file system that carries the drive."""
        try:
            found = capacity(self.root)
        except OSError:
            return interface.Space(0, 0, drives_online=0, drives_offline=1, drives=(self.path,))
        return interface.Space(
            total=found.total,
            free=found.free,
            drives_online=1,
            drives_offline=0,
            drives=(self.path,),
            inodes_total=found.inodes_total,
            inodes_free=found.inodes_free,
        )

    def watermark(self, config: Config) -> int:
        """Free bytes below which PUTs are refused."""
        if config.free_min:
            return config.free_min
        floor = 2 * config.segment_size + INDEX_HEADROOM
        return min(max(floor, self.space().total // 100), 2 * 1024**3)

    def reserve(self, config: Config) -> Reserve:
        return Reserve(os.path.join(self.root, "reserve"), config.segment_size)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Reserve:
    """Space held back: two segments and headroom for the index.

    On a full drive one piece after the other is given up, so that tombstones can be logged, the
    index checkpointed and one segment compacted; afterwards ``fill`` takes it back.
    """

    def __init__(self, root: str, segment_size: int) -> None:
        self._pieces = (
            (os.path.join(root, "segment-1"), segment_size),
            (os.path.join(root, "segment-2"), segment_size),
            (os.path.join(root, "index"), min(INDEX_HEADROOM, 4 * segment_size)),
        )

    @property
    def size(self) -> int:
        """Bytes of the whole reserve."""
        return sum(size for _, size in self._pieces)

    def fill(self) -> bool:
        """Allocate what is missing; whether the reserve is whole now."""
        whole = True
        for path, size in self._pieces:
            try:
                self._allocate(path, size)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                whole = False
        return whole

    def _allocate(self, path: str, size: int) -> None:
        if os.path.exists(path):
            if os.path.getsize(path) == size:
                return
            io.unlink(path)
        # Asked for more than there is, fallocate takes all of it before it fails, and whoever
        # writes at that moment finds the drive full.
        space = os.statvfs(os.path.dirname(path))
        if space.f_bavail * space.f_frsize < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        fd = io.create(path)
        try:
            io.fallocate(fd, 0, size)
        except OSError:
            io.unlink(path)
            raise
        finally:
            os.close(fd)

    def release(self) -> int:
        """Give up one piece; the bytes it frees, 0 when nothing is left."""
        for path, size in self._pieces:
            try:
                io.unlink(path)
            except FileNotFoundError:
                continue
            return size
        return 0

    def held(self) -> int:
        """Bytes that are held back now."""
        return sum(size for path, size in self._pieces if os.path.exists(path))


def open_drive(path: str, config: Config, *, lock: bool = True) -> Drive:
    """Open the drive at ``path``; with ``lock`` prepare it if it is new and own it.

    The committer locks, for its life. Everyone else passes ``lock=False`` and only reads what the
    committer prepared. Raises ``DriveRefused``; ``Unavailable`` if nothing is prepared yet.
    """
    path = os.path.abspath(path)
    root = os.path.join(path, FOLDER)
    if not lock:
        return _read_superblock(path, root) or _not_prepared(path)
    check_drive(path)
    try:
        return _prepare(path, root, config)
    except OSError as error:
        raise _refusal(path, error) from error


def check_drive(path: str) -> None:
    """Raise ``DriveRefused`` if ``path`` may not be used. Changes nothing."""
    path = os.path.abspath(path)
    try:
        _check(path)
    except OSError as error:
        raise _refusal(path, error) from error


def _check(path: str) -> None:
    if os.path.lexists(path) and not os.path.isdir(path):
        raise errors.DriveRefused(f"{path} is not a directory: name a directory for the data.")
    if _holds_minio(path):
        raise errors.DriveRefused(
            f"{path} holds MinIO's data and was left untouched: start Oversight on an empty "
            "directory and move the objects from the running MinIO with `oversight migrate --from "
            "http://old-minio:9000` (docs/migrate.md)."
        )
    present = path
    while not os.path.isdir(present):
        present = os.path.dirname(present)
    kind = _NETWORK_TYPES.get(filesystem_type(present).split(".")[0])
    if kind is not None:
        raise errors.DriveRefused(
            f"{path} lies on a {kind} file system, where the index's locks and shared memory can't "
            "be trusted: use a directory on a local disk."
        )


def _holds_minio(path: str) -> bool:
    """Whether MinIO wrote here: its system folder, or ``xl.meta`` files in the first folders."""
    if os.path.lexists(os.path.join(path, ".minio.sys")):
        return True
    seen = 0
    for _, folders, names in os.walk(path):
        if "xl.meta" in names:
            return True
        if FOLDER in folders:
            folders.remove(FOLDER)
        seen += len(folders) + len(names)
        if seen > _FOREIGN_SCAN_MAX:
            break
    return False


def filesystem_type(path: str, mounts: str = "/proc/self/mountinfo") -> str:
    """The type of the file system that holds ``path`` ("ext4", "nfs4", "fuse.sshfs" ...).

    Empty where the system does not tell. Format of ``mounts``: proc(5), mountinfo.
    """
    try:
        lines = Path(mounts).read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    target = os.path.realpath(path)
    best, kind = "", ""
    for line in lines:
        fields = line.split(" ")
        mount = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fields[fields.index("-") + 1]
    return kind


def empty_directories(path: str) -> list[str]:
    """Names of empty directories in ``path`` that can be buckets' names, sorted.

    MinIO's trick: ``mkdir /data/langfuse`` before the first start makes a bucket. One that can't
    be a bucket is told and left alone, unless it is plain that it is none of ours.
    """
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False) or entry.name.startswith("."):
                continue
            try:
                empty = not os.listdir(entry.path)
            except OSError:
                continue
            if empty and is_bucket_name(entry.name):
                names.append(entry.name)
            elif empty and entry.name != "lost+found":
                _logger.warning(
                    "%s is left alone: %r is no name for a bucket", entry.path, entry.name
                )
    return sorted(names)


# -- preparing --------------------------------------------------------------------------------


def _prepare(path: str, root: str, config: Config) -> Drive:
    _make_folder(path)
    if not os.path.isdir(root):
        io.mkdir(root)
        io.fsync_dir(path)
    lock = _lock(path, os.path.join(root, "lock"))
    try:
        drive = _read_superblock(path, root) or _create(path, root, config)
        os.utime(root)  # a file system that was remounted read-only is noticed here
        if drive.format < FORMAT:
            # Before the first record that an older release would take for another one.
            drive.format = FORMAT
            write_superblock(drive)
    except BaseException:
        os.close(lock)
        raise
    drive._lock = lock
    return drive


def _make_folder(path: str) -> None:
    """``mkdir -p`` whose result survives a power cut."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        io.mkdir(folder, 0o755)
        io.fsync_dir(os.path.dirname(folder))


def _lock(path: str, name: str) -> int:
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        lock_whole(fd)
    except OSError as error:
        os.close(fd)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise errors.DriveRefused(
            f"{path} is in use by another Oversight process: stop it or name another directory."
        ) from None
    return fd


def lock_whole(fd: int) -> None:
    """Lock the open file exclusively until it is closed everywhere, or raise EAGAIN.

    An open-file-description lock: it dies with the last process that holds the description, and
    closing another descriptor of the same file does not drop it (fcntl(2)).
    """
    if sys.platform == "linux":
        whole = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, whole)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _create(path: str, root: str, config: Config) -> Drive:
    segments = os.path.join(root, "segments")
    if os.path.isdir(segments) and os.listdir(segments):
        raise errors.DriveRefused(
            f"{root} holds a log but no superblock: restore the superblock from a backup."
        )
    drive = _laid_out(path, root, secrets.token_hex(16))
    reserve = drive.reserve(config)
    if not reserve.fill():
        while reserve.release():
            pass
        needed = reserve.size + drive.watermark(config)
        raise errors.DriveRefused(
            f"{path} has too little free space: Oversight needs {needed >> 20} MiB to start with."
        )
    io.fsync_dir(os.path.join(root, "reserve"))
    write_superblock(drive)
    return drive


def blank_drive(path: str, store_id: str) -> Drive:
    """A locked drive with folders and nothing in them, for a store that is put back.

    It has no superblock: write one when all is there. Raises DriveRefused if a store exists.
    """
    path = os.path.abspath(path)
    root = os.path.join(path, FOLDER)
    check_drive(path)
    if os.path.lexists(root):
        raise errors.DriveRefused(f"{path} already holds a store: name an empty directory.")
    try:
        _make_folder(root)
        drive = _laid_out(path, root, store_id)
    except OSError as error:
        raise _refusal(path, error) from error
    drive._lock = _lock(path, os.path.join(root, "lock"))
    return drive


def _laid_out(path: str, root: str, store_id: str) -> Drive:
    for name in _FOLDERS:
        _ensure_folder(os.path.join(root, name))
    for number in range(256):
        _ensure_folder(os.path.join(root, "files", f"{number:02x}"))
    io.fsync_dir(os.path.join(root, "files"))
    return Drive(
        path=path,
        root=root,
        store_id=store_id,
        drive_id=secrets.token_hex(16),
        format=FORMAT,
        created=time.time_ns() // 1_000_000,
    )


def _ensure_folder(path: str) -> None:
    if not os.path.isdir(path):
        io.mkdir(path)


def write_superblock(drive: Drive) -> None:
    """Write it in one step: a power cut leaves the old one or the new one."""
    fields: dict[str, int | str] = {
        "format": drive.format,
        "store": drive.store_id,
        "drive": drive.drive_id,
        "created": drive.created,
    }
    text = json.dumps({**fields, "check": _check_sum(fields)}, indent=1) + "\n"
    staged = os.path.join(drive.root, "superblock.new")
    if os.path.exists(staged):
        io.unlink(staged)
    fd = io.create(staged)
    try:
        io.pwrite(fd, text.encode(), 0)
        io.fsync(fd)
    finally:
        os.close(fd)
    io.rename(staged, os.path.join(drive.root, "superblock"))
    io.fsync_dir(drive.root)


def _check_sum(fields: dict[str, int | str]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(fields, sort_keys=True).encode())


def _read_superblock(path: str, root: str) -> Drive | None:
    """The drive as its superblock names it; None before the first start has finished."""
    try:
        raw = Path(root, "superblock").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        fields = json.loads(raw)
        check = fields.pop("check")
        found = int(fields["format"])
        sound = found > FORMAT or check == _check_sum(fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise errors.DriveRefused(
            f"{root}/superblock is damaged: restore it from a backup, nothing else was touched."
        )
    if found > FORMAT:
        raise errors.DriveRefused(
            f"{path} was written by a newer release (format {found}, this one knows {FORMAT}): "
            "start that release or a later one."
        )
    return Drive(path, root, fields["store"], fields["drive"], found, fields["created"])


def _not_prepared(path: str) -> Drive:
    raise errors.Unavailable(f"{path} is not prepared yet")


def _refusal(path: str, error: OSError) -> errors.DriveRefused:
    if error.errno in (errno.EACCES, errno.EPERM):
        owner = f"{os.geteuid()}:{os.getegid()}"
        cure = f"run `chown -R {owner} {path}` or start as a user who may write there"
        return errors.DriveRefused(f"{path} can't be written by user {os.geteuid()}: {cure}.")
    if error.errno == errno.EROFS:
        return errors.DriveRefused(f"{path} is mounted read-only: remount it with `rw`.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.DriveRefused(f"{path} has no space left: free some before the first start.")
    return errors.DriveRefused(f"{path} can't be used: {os.strerror(error.errno or 0)}.")
