"""An environment without settings, whatever the machine that runs the tests has."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("OVERSIGHT_", "MINIO_")):
            monkeypatch.delenv(name)
