"""The command `oversight` in the test's own process, and what a command did."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from stack.cli import main


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
"""Runs `oversight ARGUMENTS`; keyword arguments are further variables of its environment."""


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Commands that end as a shell would see it; a traceback fails the test."""

    def run(*arguments: str, **variables: str) -> Done:
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

    return run
