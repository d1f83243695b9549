"""A running control plane over an engine in memory, and the command that speaks to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from storage.config import Config
from storage.control.app import create_control
from storage.engine.memory import MemoryEngine
from storage.iam.users import KINDS, Directory, Record
from tests.commands import Run, runner

STORE_KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("OVERSIGHT_", "MINIO_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `oversight ARGUMENTS`."""
    return runner(monkeypatch, capsys)


@pytest.fixture(scope="session")
def control_url() -> Iterator[str]:
    engine = MemoryEngine()

    async def load() -> list[Record]:
        return [(r.kind, r.name, r.value) for kind in KINDS for r in await engine.system(kind)]

    directory = Directory(
        load,
        engine.generation,
        root_user="minio",
        root_secret="miniosecret",
        store_key=STORE_KEY,
    )

    async def rekey(_: str) -> None:
        pass

    config = Config(warnings=("A warning for the operator.",))
    app = create_control(engine, directory, config, store_key=STORE_KEY, rekey=rekey)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    (sock,) = (s for each in server.servers for s in each.sockets)
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def store(control_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store that the command's environment names."""
    monkeypatch.setenv("OVERSIGHT_CONSOLE_URL", control_url)
    return control_url
