"""Checks that other packages contribute, through the control API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from storage.config import Config
from storage.control import doctor
from storage.control.doctor import surroundings

from .conftest import problem


class Contributed:
    """A package's checks."""

    def __init__(self) -> None:
        self.environ: Mapping[str, str] = {}
        self.thread = 0
        self.error = ""
        self.answers = threading.Event()
        self.answers.set()

    def load(self) -> Contributed:
        return self

    def checks(self) -> list[dict[str, str]]:
        return [{"name": "clock", "title": "Both clocks agree", "scope": "door"}]

    def examine(self, environ: Mapping[str, str], timeout: float) -> dict[str, Any]:
        if self.error:
            raise ValueError(self.error)
        self.answers.wait(60)
        self.environ, self.thread = environ, threading.get_ident()
        trouble = {"code": "clock-skew", "severity": "failure", "sentence": "S.", "cure": "C."}
        result = {
            "check": "clock", "title": "Both clocks agree", "door": "both", "endpoint": "e",
            "verdict": "failed", "seconds": 0.1, "reason": "", "trouble": "clock-skew",
        }  # fmt: skip
        return {"healthy": False, "troubles": [trouble], "results": [result]}


@pytest.fixture
def contributed(monkeypatch: pytest.MonkeyPatch) -> Contributed:
    made = Contributed()
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [made] * (group == doctor.ENTRY_POINT)
    )
    return made


def test_checks_are_listed_and_run(contributed: Contributed, root: TestClient) -> None:
    (check,) = root.get("/api/v1/doctor").json()
    assert check == {"name": "clock", "title": "Both clocks agree", "scope": "door"}
    found = root.post("/api/v1/doctor").json()
    assert found["healthy"] is False
    assert found["troubles"][0]["cure"] == "C."
    assert found["results"][0]["trouble"] == "clock-skew"
    assert contributed.environ["OVERSIGHT_ROOT_USER"] == "minio"
    assert contributed.thread != threading.get_ident()


def test_checks_that_cannot_be_made(contributed: Contributed, root: TestClient) -> None:
    contributed.error = "There is no way."
    assert problem(root.post("/api/v1/doctor"), 409, "DoctorFailed") == "There is no way."


def test_checks_that_hang_are_given_up_and_not_made_twice(
    contributed: Contributed, root: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    contributed.answers.clear()
    monkeypatch.setattr(doctor, "ALL_TIMEOUT", 0.05)
    problem(root.post("/api/v1/doctor"), 504, "DoctorTimedOut")
    problem(root.post("/api/v1/doctor"), 409, "DoctorIsBusy")
    contributed.answers.set()
    monkeypatch.setattr(doctor, "ALL_TIMEOUT", 60)
    for _ in range(1000):
        answer = root.post("/api/v1/doctor")
        if answer.status_code == 200:
            return
        problem(answer, 409, "DoctorIsBusy")
        time.sleep(0.05)
    raise AssertionError("the next examination must be possible")


def test_absent_where_nothing_is_contributed(
    monkeypatch: pytest.MonkeyPatch, root: TestClient
) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    for method in (root.get, root.post):
        problem(method("/api/v1/doctor"), 404, "NoDoctor")


def test_absent_where_the_store_does_not_know_its_address(
    contributed: Contributed, app: FastAPI, root: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = app.state.plane
    config = msgspec.structs.replace(plane.config, address=())
    monkeypatch.setattr(plane, "config", config)
    problem(root.get("/api/v1/doctor"), 404, "NoDoctor")


def test_only_administrators(
    contributed: Contributed, make_user: Callable[..., TestClient]
) -> None:
    user = make_user("ada", "readwrite")
    for method in (user.get, user.post):
        problem(method("/api/v1/doctor"), 403, "AccessDenied")
    assert make_user("admin", "consoleAdmin").get("/api/v1/doctor").status_code == 200


def test_where_the_store_is() -> None:
    config = Config(address=(("0.0.0.0", 9000), ("::", 9000)), console_address=(("::1", 9001),))
    found = surroundings(config)
    assert found["OVERSIGHT_INTERNAL_ENDPOINT"] == "http://127.0.0.1:9000"
    assert found["OVERSIGHT_CONSOLE_URL"] == "http://[::1]:9001"
    assert found["OVERSIGHT_EXTERNAL_ENDPOINT"] == "http://127.0.0.1:9000"
    assert found["LANGFUSE_S3_MEDIA_UPLOAD_BUCKET"] == "langfuse"
    assert found["LANGFUSE_S3_MEDIA_UPLOAD_PREFIX"] == "media/"
    assert "NEXTAUTH_URL" not in found
