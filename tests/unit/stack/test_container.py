"""Owning the data folder and leaving root; the real thing runs in tests/bundle/test_image.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack import container, image
from stack.store import CommandError

ROOT = Path(__file__).parents[3]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away: use root")
OTHER = 4321


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def owners(folder: Path) -> dict[str, int]:
    paths = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder)): path.lstat().st_uid for path in sorted(paths)}


def test_nothing_happens_outside_of_the_image(folder: Path) -> None:
    container.take_over([str(folder)])
    assert not folder.exists()
    assert not container.in_image()


@needs_root
def test_new_and_empty_folders_are_owned(folder: Path) -> None:
    container.own(str(folder / "deep/er"), OTHER, OTHER)
    assert owners(folder) == {".": 0, "deep": 0, "deep/er": OTHER}
    (folder / "x/bucket/prefix").mkdir(parents=True)
    (folder / "x/lost+found").mkdir()
    (folder / "x/lost+found/#123").write_text("")
    container.own(str(folder / "x"), OTHER, OTHER)
    assert (folder / "x").stat().st_uid == OTHER


@needs_root
def test_foreign_folder_is_left_alone(folder: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/file").write_text("")
    container.own(str(folder), OTHER, OTHER)
    assert set(owners(folder).values()) == {0}


@needs_root
def test_store_changes_hands_as_a_whole(folder: Path) -> None:
    data = folder / ".oversight"
    (data / "files/00").mkdir(parents=True)
    (data / "files/00/big").write_text("")
    outside = folder.parent / "outside"
    outside.write_text("")
    (data / "files/00/link").symlink_to(outside)
    container.own(str(folder), OTHER, OTHER)
    assert set(owners(folder).values()) == {OTHER}
    assert outside.stat().st_uid == 0  # the link was given away, not what it leads to


@needs_root
def test_store_beside_files_of_others(folder: Path) -> None:
    """The store's data is ours; the folder around it stays whose it is."""
    (folder / ".oversight").mkdir(parents=True)
    (folder / "photo.jpg").write_text("")
    container.own(str(folder), OTHER, OTHER)
    assert owners(folder) == {".": 0, ".oversight": OTHER, "photo.jpg": 0}


@needs_root
def test_walk_that_was_cut_short_is_repeated(folder: Path) -> None:
    """The top changes last, so that it tells whether all below it has."""
    data = folder / ".oversight"
    (data / "files/00").mkdir(parents=True)
    for path in (folder, data / "files"):
        os.chown(path, OTHER, OTHER)
    container.own(str(folder), OTHER, OTHER)
    assert set(owners(folder).values()) == {OTHER}


@needs_root
def test_large_store_is_not_walked_for_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".oversight/files/00").mkdir(parents=True)
    container.own(str(folder), OTHER, OTHER)
    monkeypatch.setattr(container.os, "fwalk", lambda *_, **__: pytest.fail("walked"))
    container.own(str(folder), OTHER, OTHER)


def test_user_that_is_not_mapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A rootless engine with a single user: root inside, ordinary outside, and so it stays."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is missing: install util-linux")
    code = (
        "from stack import container, image; image.MARKER = '/proc/self/stat'\n"
        "container.take_over(['data']); import os; print(os.geteuid(), os.path.isdir('data'))"
    )
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare failed" in done.stderr:
        pytest.skip("user namespaces are not allowed here: see user.max_user_namespaces")
    assert done.stdout.split() == ["0", "False"], done.stderr


def test_sentence_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "MARKER", __file__)
    monkeypatch.setattr(container.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(container.os, "access", lambda *_: False)
    with pytest.raises(CommandError, match=r"user 1000.*--user.*chown -R 1000:"):
        container.take_over([str(tmp_path)])


def test_foreign_store_is_refused_before_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "MARKER", __file__)
    monkeypatch.setattr(container, "own", lambda *_: pytest.fail("touched"))
    (tmp_path / ".minio.sys").mkdir()
    with pytest.raises(CommandError, match="MinIO's data"):
        container.take_over([str(tmp_path)])


def test_variables_of_the_image_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIO_ADDRESS", ":9000")
    monkeypatch.setenv("MINIO_CONSOLE_ADDRESS", ":9001")
    monkeypatch.setenv("OVERSIGHT_ADDRESS", ":9100")
    monkeypatch.setattr(container, "import_module", lambda _: type("M", (), {"main": print}))
    container.run("anything")
    assert "MINIO_ADDRESS" not in os.environ
    assert os.environ["MINIO_CONSOLE_ADDRESS"] == ":9001"
