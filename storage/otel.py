"""What the environment says about OpenTelemetry. A leaf: it loads nothing of it.

The variables are OpenTelemetry's own (``OTEL_*``). They travel in the Config, not in the children's
environment, because headers of an exporter may hold a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
MISSING = (
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, but nothing is sent there, because OpenTelemetry's SDK is "
    "not installed: pip install 'oversight-store[otel]'."
)


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """All of OpenTelemetry's variables if traces or metrics are to be sent, else none."""
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled or not any(environ.get(name) for name in _ENDPOINTS):
        return {}
    return {name: value for name, value in environ.items() if name.startswith("OTEL_") and value}


def is_installed() -> bool:
    """Whether the SDK and its exporter are there."""
    try:
        return all(
            find_spec(name) is not None
            for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
        )
    except ModuleNotFoundError:
        return False
