"""When telemetry is on, what of it is kept, and that secrets in it are shown to nobody."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from storage import otel
from storage.config import Config
from storage.settings import Settings

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"},
    ],
)
def test_off(environ: dict[str, str]) -> None:
    assert otel.variables(environ) == {}


@pytest.mark.parametrize("signal", ["", "TRACES_", "METRICS_"])
def test_on(signal: str) -> None:
    named = {f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT": "http://collector:4318"}
    others = {"OTEL_SERVICE_NAME": "x", "OTEL_LOG_LEVEL": "", "PATH": "/bin"}
    assert otel.variables(named | others) == named | {"OTEL_SERVICE_NAME": "x"}


def test_headers_are_not_shown() -> None:
    config = Config(otel=ENDPOINT | {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret"})
    assert "secret" not in repr(config).replace("miniosecret", "")


def test_settings_take_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in ENDPOINT.items():
        monkeypatch.setenv(name, value)
    assert Settings(drives=tmp_path).config().otel == ENDPOINT


def test_missing_sdk_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The store serves all the same."""
    for name, value in ENDPOINT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(otel, "find_spec", lambda _: None)
    assert otel.MISSING in Settings(drives=tmp_path).config().warnings
    monkeypatch.setattr(otel, "find_spec", importlib.util.find_spec)
    assert otel.MISSING not in Settings(drives=tmp_path).config().warnings
