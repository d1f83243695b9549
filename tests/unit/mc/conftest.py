"""`mc` in this process, with an empty home and the alias `here` for the store under test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stack.mc import run
from tests.conftest import Store

Mc = Callable[..., str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without anything in it; no variable of mc or of a store is set."""
    for name in ("MC_CONFIG_DIR", "MC_JSON", "MC_INSECURE", "OVERSIGHT_ADDRESS", "MINIO_ADDRESS",
                 "OVERSIGHT_ROOT_USER", "MINIO_ROOT_USER", "OVERSIGHT_ROOT_PASSWORD",
                 "MINIO_ROOT_PASSWORD"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def mc(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Mc:
    """Run one command line; what it printed. McError if it fails."""
    keys = f"{store.access_key}:{store.secret_key}"
    monkeypatch.setenv("MC_HOST_here", f"http://{keys}@{store.host}")

    def call(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert run(list(words)) == code
        return capsys.readouterr().out

    return call
