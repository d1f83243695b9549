"""Requests that outlast the session that they began in."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from storage.console.app import Console
from storage.console.archive import BrokenOff
from storage.console.sessions import IDLE, Session
from storage.console.upstream import Refused
from storage.serving.doorway import Birth

REQUEST: Any = SimpleNamespace(client="192.0.2.1 http")


class Scene:
    """A console with one session, and how often it was renewed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: float, refused: bool = False) -> None:
        self.console = Console(Birth(("127.0.0.1", 1), ("127.0.0.1", 1), "", "us-east-1", ""))
        self.session = Session("ada", time.time() + left, "old", access_key="OLD", owner="ada")
        self.console._sessions.begin(self.session)
        self.renewed = 0
        self._refused = refused
        monkeypatch.setattr(self.console._upstream, "ask", self._ask)

    async def _ask(self, method: str, path: str, *_: Any) -> Any:
        assert (method, path) == ("POST", "/api/v1/login/renew")
        self.renewed += 1
        if self._refused:
            raise Refused(403, json.dumps({"status": 403}).encode())
        expires = datetime.fromtimestamp(time.time() + 3600, UTC).isoformat()
        keys = {"access_key": "NEW", "secret_key": "", "session_token": ""}
        return {"user": "ada", "token": "new", "expires": expires, "s3": keys}

    def leases(self, count: int) -> list[Session]:
        lease = self.console._lease(REQUEST, self.session)

        async def ask() -> list[Session]:
            return [await lease() for _ in range(count)]

        return asyncio.run(ask())


def test_a_session_is_renewed_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, left=600)
    found = scene.leases(3)
    assert [each.access_key for each in found] == ["NEW"] * 3
    assert found[0].caller == REQUEST.client
    assert scene.renewed == 1


def test_one_that_lasts_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, left=3000)
    assert scene.leases(1)[0].access_key == "OLD"
    assert scene.renewed == 0


def test_one_that_is_not_renewed_is_used_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, left=600, refused=True)
    assert [each.access_key for each in scene.leases(3)] == ["OLD"] * 3
    assert scene.renewed == 1  # not with each object


def test_a_request_under_way_is_use(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, left=3000)
    scene.session.used -= IDLE - 1
    scene.leases(1)
    assert time.time() - scene.session.used < 60


def test_signing_out_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, left=3000)
    scene.console._sessions.end(scene.session)
    with pytest.raises(BrokenOff):
        scene.leases(1)
