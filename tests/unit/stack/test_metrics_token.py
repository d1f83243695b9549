"""`oversight metrics-token`: a token that the store accepts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from storage.telemetry import token
from tests.serving import clean_environment

OWN = {"OVERSIGHT_ROOT_USER": "admin", "OVERSIGHT_ROOT_PASSWORD": "own-password"}


def run(*options: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "stack.cli", "metrics-token", *map(str, options)],
        env=clean_environment(**OWN), text=True, capture_output=True, check=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    return done.stdout


def test_the_token_speaks_for_the_root_user() -> None:
    assert token.check(run().strip(), {"admin": "own-password"}.get) == "admin"


def test_a_file_holds_the_token_alone(tmp_path: Path) -> None:
    assert run("--output", tmp_path / "token") == ""
    assert token.check((tmp_path / "token").read_text(), {"admin": "own-password"}.get) == "admin"
