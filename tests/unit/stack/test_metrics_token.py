"""`oversight metrics-token`: a token that the store accepts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from storage.telemetry import token
from tests.serving import clean_environment

ROOT = Path(__file__).parents[3]
OWN = {"OVERSIGHT_ROOT_USER": "admin", "OVERSIGHT_ROOT_PASSWORD": "own-password"}


def run(*options: str | Path, folder: Path | None = None, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "stack.cli", "metrics-token", *map(str, options)],
        env=clean_environment(PYTHONPATH=str(ROOT), **(variables or OWN)), text=True,
        capture_output=True, check=True, cwd=folder or ROOT,
    )  # fmt: skip
    return done.stdout


def test_the_token_speaks_for_the_root_user() -> None:
    assert token.check(run().strip(), {"admin": "own-password"}.get) == "admin"


def test_a_file_holds_the_token_alone(tmp_path: Path) -> None:
    assert run("--output", tmp_path / "token") == ""
    assert token.check((tmp_path / "token").read_text(), {"admin": "own-password"}.get) == "admin"


def test_the_key_of_the_stacks_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OVERSIGHT_ROOT_PASSWORD=of-the-file\n")
    made = run(folder=tmp_path, OVERSIGHT_ROOT_USER="admin")
    assert token.check(made.strip(), {"admin": "of-the-file"}.get) == "admin"
