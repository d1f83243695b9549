"""A store with secrets of its own, and the command `oversight` in this process."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stack.cli import main
from tests.serving import ServedStore, is_ready

ROOT, SECRET = "bundle-root", "bundle-root-secret"
_FOREIGN = ("OVERSIGHT_", "MINIO_", "LANGFUSE_", "AWS_", "DATAHUB_", "NEXTAUTH_")


@dataclass
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Done]


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

    def make(*arguments: str, **variables: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["oversight", *arguments])
            patch.setattr(sys, "stdin", io.StringIO())
            with pytest.raises(SystemExit) as end:
                main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(int(end.value.code or 0), captured.out, captured.err)

    return make
