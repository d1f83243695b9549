"""The access log: complete lines, no secrets, never in the way."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage.serving import access_log
from storage.serving.access_log import AccessLog


def call(key: str = "events/a.json") -> Any:
    return SimpleNamespace(
        scope={"client": ("10.0.0.9", 1234), "query_string": b"X-Amz-Signature=topsecret"},
        request_id="R1", method="PUT", bucket="langfuse", key=key,
        auth=SimpleNamespace(access_key="minio"),
        app=SimpleNamespace(proxies=()),
        headers={b"authorization": b"topsecret"}, raw_query=b"X-Amz-Signature=topsecret",
    )  # fmt: skip


def test_a_line_says_who_did_what(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    log.record(call('a\n"\u00e4'), "PutObject", 200, 2048, 0, 0.00123)
    log.close()
    text = (tmp_path / "log").read_text()
    (line,) = map(json.loads, text.splitlines())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "request_id": "R1", "remote": "10.0.0.9", "access_key": "minio", "method": "PUT",
        "operation": "PutObject", "bucket": "langfuse", "key": 'a\n"\u00e4', "status": 200,
        "bytes_in": 2048, "bytes_out": 0, "ms": 1.23,
    }  # fmt: skip
    assert "topsecret" not in text


def test_a_call_that_was_refused_before_authentication(tmp_path: Path) -> None:
    refused = call()
    del refused.auth
    log = AccessLog(str(tmp_path / "log"))
    log.record(refused, "Unknown", 400, 0, 0, 0.0)
    log.close()
    assert json.loads((tmp_path / "log").read_text())["access_key"] == ""


def test_too_many_lines_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "QUEUE_MAX", 10)
    monkeypatch.setattr(access_log, "INTERVAL", 3600)
    log = AccessLog(str(tmp_path / "log"))
    for _ in range(25):
        log.record(call(), "PutObject", 200, 0, 0, 0.0)
    log.close()
    assert log.lost == 15
    assert len((tmp_path / "log").read_text().splitlines()) == 10


def test_several_workers_share_a_file(tmp_path: Path) -> None:
    logs = [AccessLog(str(tmp_path / "log")) for _ in range(3)]
    for number in range(3000):
        logs[number % 3].record(call("k" * (number % 900)), "PutObject", 200, 0, 0, 0.0)
    for log in logs:
        log.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(len(line["key"]) for line in lines) == sorted(n % 900 for n in range(3000))


def test_it_follows_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "INTERVAL", 3600)
    log = AccessLog(str(tmp_path / "log"))
    log.record(call("first"), "PutObject", 200, 0, 0, 0.0)
    log._write()
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.record(call("second"), "PutObject", 200, 0, 0, 0.0)
    log.close()
    assert "first" in (tmp_path / "log.1").read_text()
    assert "second" in (tmp_path / "log").read_text()
