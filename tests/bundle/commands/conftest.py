"""A store with secrets of its own, and the command `oversight` in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Run, runner
from tests.serving import ServedStore, is_ready

ROOT, SECRET = "bundle-root", "bundle-root-secret"
_FOREIGN = ("OVERSIGHT_", "MINIO_", "LANGFUSE_", "AWS_", "DATAHUB_", "NEXTAUTH_")


@pytest.fixture(scope="session")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStore]:
    """A running store whose root password is not the published one."""
    folder = tmp_path_factory.mktemp("bundle")
    environment = {"OVERSIGHT_ROOT_USER": ROOT, "OVERSIGHT_ROOT_PASSWORD": SECRET}
    with ServedStore(folder / "drive", folder / "log", ("--workers", "1"), environment) as served:
        wait_for_console(served)
        yield served


def wait_for_console(served: ServedStore, timeout: float = 30) -> None:
    """Wait for the control plane, which loads while S3 is served already. Unit: seconds."""
    deadline = time.monotonic() + timeout
    while not is_ready(served.console):
        assert time.monotonic() < deadline, "the control plane did not get ready"
        time.sleep(0.05)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of anybody's, no ``.env``."""
    for name in os.environ:
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "empty" / "empty"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)


@pytest.fixture
def run(bare: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `oversight ARGUMENTS` with further VARIABLES."""
    return runner(monkeypatch, capsys)
