"""Which paths become drives, and what a refusal says and leaves alone."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from pathlib import Path

import pytest

from storage import errors
from storage.config import Config
from storage.engine.embedded import drives, io
from storage.engine.embedded.drives import FOLDER, check_drive, open_drive

PLAIN_USER = os.geteuid() or 65534
CONFIG = Config(segment_size=1 << 20, free_min=1 << 20)


def everything(path: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(path.rglob("*"))}


def refusal(path: Path, config: Config = CONFIG) -> str:
    """What opening ``path`` is refused with: one sentence, nothing touched."""
    before = everything(path) if path.is_dir() else {}
    with pytest.raises(errors.DriveRefused) as caught:
        open_drive(str(path), config).close()
    if path.is_dir():
        assert everything(path) == before
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_a_drive_keeps_its_identity(tmp_path: Path) -> None:
    path = tmp_path / "new" / "data"
    drive = open_drive(str(path), CONFIG)
    assert drive.root == str(path / FOLDER)
    assert len(os.listdir(drive.files)) == 256
    drive.close()
    again = open_drive(str(path), CONFIG)
    assert (again.store_id, again.drive_id) == (drive.store_id, drive.drive_id)
    again.close()


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    drive = open_drive(str(tmp_path), CONFIG)
    with pytest.raises(errors.DriveRefused, match="in use"):
        open_drive(str(tmp_path), CONFIG)
    reader = open_drive(str(tmp_path), CONFIG, lock=False)
    assert reader.store_id == drive.store_id
    drive.close()
    open_drive(str(tmp_path), CONFIG).close()


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        open_drive(str(tmp_path), CONFIG)
        os._exit(0)
    os.waitpid(pid, 0)
    open_drive(str(tmp_path), CONFIG).close()


def test_readers_wait_for_a_prepared_drive(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable):
        open_drive(str(tmp_path), CONFIG, lock=False)
    assert not list(tmp_path.iterdir())


def test_minio_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".minio.sys").mkdir()
    (tmp_path / ".minio.sys" / "format.json").write_text("{}")
    assert "oversight migrate" in refusal(tmp_path)


def test_an_xl_meta_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bucket" / "events" / "a.json").mkdir(parents=True)
    (tmp_path / "bucket" / "events" / "a.json" / "xl.meta").write_bytes(b"XL2 ")
    assert "oversight migrate" in refusal(tmp_path)


def test_what_the_system_keeps_back_is_neither_free_nor_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = open_drive(str(tmp_path), CONFIG)
    # 1,000 blocks, 700 of them used, 50 kept back for the system.
    told = os.statvfs_result((4096, 4096, 1000, 300, 250, 90, 80, 80, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: told)
    space = drive.space()
    assert (space.total, space.free) == (950 * 4096, 250 * 4096)
    assert space.total - space.free == 700 * 4096
    drive.close()


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert "not a directory" in refusal(tmp_path / "data")


def test_an_unwritable_path_names_the_cure() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        os.chmod(path, 0o555)
        said = refused_for_a_plain_user(path)
        assert os.listdir(path) == []
    assert f"chown -R {PLAIN_USER}:" in said
    assert path in said


def refused_for_a_plain_user(path: str) -> str:
    """The refusal that a process without root's rights meets."""
    readable, writable = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            if os.geteuid() == 0:
                os.setresuid(PLAIN_USER, PLAIN_USER, PLAIN_USER)
            open_drive(path, CONFIG)
        except BaseException as error:
            os.write(writable, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        said = pipe.read()
    assert said.startswith("DriveRefused: ")
    return said


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    open_drive(str(tmp_path), CONFIG).close()
    superblock = tmp_path / FOLDER / "superblock"
    fields = json.loads(superblock.read_text())
    superblock.write_text(json.dumps({**fields, "format": 99, "check": "of another kind"}))
    assert "newer release" in refusal(tmp_path)


def test_a_damaged_superblock_is_refused(tmp_path: Path) -> None:
    open_drive(str(tmp_path), CONFIG).close()
    superblock = tmp_path / FOLDER / "superblock"
    text = superblock.read_text()
    for damaged in ("", text[:40], text.replace('"store": "', '"store": "0')):
        superblock.write_text(damaged)
        assert "damaged" in refusal(tmp_path)


def test_a_log_without_superblock_is_refused(tmp_path: Path) -> None:
    open_drive(str(tmp_path), CONFIG).close()
    (tmp_path / FOLDER / "superblock").unlink()
    (tmp_path / FOLDER / "segments" / f"{1:016x}.seg").write_bytes(b"")
    assert "superblock" in refusal(tmp_path)


def test_a_crash_while_preparing_is_made_good(tmp_path: Path) -> None:
    """Whatever exists before the superblock does is completed, not refused."""
    open_drive(str(tmp_path), CONFIG).close()
    (tmp_path / FOLDER / "superblock").rename(tmp_path / FOLDER / "superblock.new")
    (tmp_path / FOLDER / "files" / "7f").rmdir()
    (tmp_path / FOLDER / "reserve" / "segment-2").unlink()
    drive = open_drive(str(tmp_path), CONFIG)
    assert len(os.listdir(drive.files)) == 256
    assert drive.reserve(CONFIG).held() == drive.reserve(CONFIG).size
    drive.close()


MOUNTS = """\
22 27 0:20 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
31 27 0:30 / /srv/nfs rw,relatime shared:4 - nfs4 server:/export rw
32 27 0:31 / /srv/my\\040share rw - cifs //server/share rw
33 27 0:32 / /srv/ssh rw shared:5 master:2 - fuse.sshfs user@server: rw
34 33 0:33 / /srv/ssh/local rw - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data", "ext4"),
        ("/srv/nfs", "nfs4"),
        ("/srv/nfs/data", "nfs4"),
        ("/srv/nfsx", "ext4"),
        ("/srv/my share/data", "cifs"),
        ("/srv/ssh/data", "fuse.sshfs"),
        ("/srv/ssh/local/data", "xfs"),
    ],
)
def test_the_innermost_mount_counts(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert drives.filesystem_type(path, str(mounts)) == kind


@pytest.mark.parametrize(
    ("kind", "named"), [("nfs", "NFS"), ("nfs4", "NFS"), ("cifs", "SMB"), ("fuse.rclone", "FUSE")]
)
def test_network_file_systems_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, named: str
) -> None:
    monkeypatch.setattr(drives, "filesystem_type", lambda path: kind)
    assert f"{named} file system" in refusal(tmp_path)


def test_a_path_to_be_made_is_judged_by_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drives, "filesystem_type", lambda path: "nfs4")
    assert "NFS" in refusal(tmp_path / "new" / "data")
    assert not (tmp_path / "new").exists()


def test_a_drive_too_small_is_refused_and_left_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(io, "fallocate", lambda fd, start, size: asked.append(size))
    vast = Config(segment_size=1 << 42)
    with pytest.raises(errors.DriveRefused, match="too little free space"):
        open_drive(str(tmp_path), vast)
    assert max(asked, default=0) < 1 << 42, "taking what is left would fail everybody else"
    assert not any((tmp_path / FOLDER / "reserve").iterdir())


def test_checking_changes_nothing(tmp_path: Path) -> None:
    check_drive(str(tmp_path / "missing"))
    check_drive(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_empty_directories_become_buckets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd = ("Upper", "no", "a..b", "a.-b", "a-.b", "192.168.0.1", "xn--b", "b-s3alias")
    for name in ("langfuse", "my.bucket-2", "lost+found", ".hidden", *odd):
        (tmp_path / name).mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    (tmp_path / "plainfile").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "langfuse")
    open_drive(str(tmp_path), CONFIG).close()
    with caplog.at_level(logging.WARNING):
        assert drives.empty_directories(str(tmp_path)) == ["langfuse", "my.bucket-2"]
    assert sorted(str(each.args[1]) for each in caplog.records if each.args) == sorted(odd)
    assert all((tmp_path / name).is_dir() for name in odd)


def test_the_reserve_is_given_up_piece_by_piece_and_taken_back(tmp_path: Path) -> None:
    drive = open_drive(str(tmp_path), CONFIG)
    reserve = drive.reserve(CONFIG)
    assert reserve.held() == 2 * CONFIG.segment_size + 4 * CONFIG.segment_size
    freed = [reserve.release() for _ in range(4)]
    assert freed == [1 << 20, 1 << 20, 4 << 20, 0]
    assert reserve.held() == 0
    assert reserve.fill()
    assert reserve.held() == reserve.size
    drive.close()


def test_the_watermark(tmp_path: Path) -> None:
    drive = open_drive(str(tmp_path), CONFIG)
    assert drive.watermark(CONFIG) == 1 << 20
    default = drive.watermark(Config())
    assert 192 << 20 <= default <= 2 << 30
    assert drive.space().total > 0
    drive.close()
