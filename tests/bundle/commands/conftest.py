"""A store with secrets of its own, and the command `oversight` in this process."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stack.s3.client import S3
from stack.s3.signing import Credentials
from tests.bundle.commands import old_store
from tests.commands import Done, Run, runner
from tests.serving import ServedStore, is_ready

ROOT, SECRET = "bundle-root", "bundle-root-secret"
Migrate = Callable[..., Done]
_FOREIGN = ("OVERSIGHT_", "MINIO_", "LANGFUSE_", "AWS_", "DATAHUB_", "NEXTAUTH_")


@pytest.fixture(scope="session")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStore]:
    """A running store whose root password is not the published one."""
    folder = tmp_path_factory.mktemp("bundle")
    environment = {"OVERSIGHT_ROOT_USER": ROOT, "OVERSIGHT_ROOT_PASSWORD": SECRET}
    with ServedStore(folder / "drive", folder / "log", ("--workers", "1"), environment) as served:
        wait_for_console(served)
        yield served


def wait_for_console(served: ServedStore, timeout: float = 60) -> None:
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


# -- migrations ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real MinIO."""
    with old_store.OldStore(tmp_path_factory.mktemp("minio")) as served:
        yield S3(served.endpoint, Credentials(old_store.USER, old_store.SECRET))


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A second Oversight with the credentials of the old store."""
    folder = tmp_path_factory.mktemp("second")
    variables = {
        "OVERSIGHT_ROOT_USER": old_store.USER, "OVERSIGHT_ROOT_PASSWORD": old_store.SECRET,
    }  # fmt: skip
    with ServedStore(folder / "drive", folder / "log", ("--workers", "1"), variables) as served:
        yield S3(served.endpoint, Credentials(old_store.USER, old_store.SECRET))


@pytest.fixture(params=["minio", "second"])
def old(request: pytest.FixtureRequest) -> S3:
    """The store that is left: both kinds in turn."""
    found: S3 = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def new(own_store: ServedStore) -> S3:
    """The store that is moved to."""
    return S3(own_store.endpoint, Credentials(ROOT, SECRET))


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> str:
    return f"move-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def migrate(run: Run, own_store: ServedStore, tmp_path: Path) -> Migrate:
    """Run `oversight migrate` to the store under test."""

    def make(source: str, *arguments: str, target: str = "", **variables: str) -> Done:
        usual = {
            "OVERSIGHT_ROOT_USER": ROOT,
            "OVERSIGHT_ROOT_PASSWORD": SECRET,
            "OVERSIGHT_FROM_ACCESS_KEY": old_store.USER,
            "OVERSIGHT_FROM_SECRET_KEY": old_store.SECRET,
            "XDG_STATE_HOME": str(tmp_path / "state"),
        }
        words = ("--from", source, "--to", target or own_store.endpoint, *arguments)
        return run("migrate", *words, **(usual | variables))

    return make
