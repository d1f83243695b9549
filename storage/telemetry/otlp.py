"""OpenTelemetry's SDK, set up for one worker: batches over OTLP/HTTP, on threads of its own.

Requests never wait for it. What a collector does not take in time is dropped; that it is away is
said once, and once again when it is back. Only imported when telemetry is asked for.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer

import storage

_logger = logging.getLogger("storage.telemetry")

#: Seconds that a worker which ends gives the collector for the last batches.
FAREWELL_SECONDS = 1.5
_SCOPE = "oversight"


class Telemetry:
    """Tracer and meter of one worker."""

    def __init__(self, variables: Mapping[str, str], index: int) -> None:
        """``variables``: OpenTelemetry's, see ``storage.otel``. ``index``: which worker this is."""
        # The SDK reads its settings from the environment alone. This changes what this process
        # sees, not what others can read of it.
        os.environ.update(variables)
        for name in ("opentelemetry.exporter", "opentelemetry.sdk"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # Collector says it, once
        collector = Collector(_endpoint(variables))
        resource = Resource.create(_attributes(variables, index))
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        if _wanted(variables, "TRACES"):
            exporter = _Spans(OTLPSpanExporter(), collector)
            self._traces.add_span_processor(BatchSpanProcessor(exporter))
        readers = []
        if _wanted(variables, "METRICS"):
            readers.append(PeriodicExportingMetricReader(_Metrics(OTLPMetricExporter(), collector)))
        self._metrics = MeterProvider(readers, resource, shutdown_on_exit=False)

    @property
    def tracer(self) -> Tracer:
        return self._traces.get_tracer(_SCOPE, storage.__version__)

    @property
    def meter(self) -> Meter:
        return self._metrics.get_meter(_SCOPE, storage.__version__)

    def close(self) -> None:
        """Send what is left, for at most ``FAREWELL_SECONDS``."""

        def farewell() -> None:
            self._traces.shutdown()
            self._metrics.shutdown(FAREWELL_SECONDS * 1000)

        thread = threading.Thread(target=farewell, name="otel-farewell", daemon=True)
        thread.start()
        thread.join(FAREWELL_SECONDS)


class Collector:
    """Whether the collector takes what it is sent. Used by the exporters' threads."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._away = False

    def took(self, taken: bool) -> None:
        """Say it where this is news."""
        with self._lock:
            news = taken is self._away
            self._away = not taken
        if news and taken:
            _logger.warning("The OTLP collector at %s takes telemetry again.", self._endpoint)
        elif news:
            _logger.warning(
                "The OTLP collector at %s does not take telemetry: the store goes on without it.",
                self._endpoint,
            )


class _Spans(SpanExporter):
    """An exporter that tells ``Collector`` how it went."""

    def __init__(self, exporter: SpanExporter, collector: Collector) -> None:
        self._exporter, self._collector = exporter, collector

    def export(self, spans: Any) -> SpanExportResult:
        result: SpanExportResult = _tried(
            lambda: self._exporter.export(spans), SpanExportResult.FAILURE
        )
        self._collector.took(result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Metrics(MetricExporter):
    """The same for metrics."""

    def __init__(self, exporter: OTLPMetricExporter, collector: Collector) -> None:
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self._exporter, self._collector = exporter, collector

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        result: MetricExportResult = _tried(
            lambda: self._exporter.export(metrics_data, timeout_millis, **kwargs),
            MetricExportResult.FAILURE,
        )
        self._collector.took(result is MetricExportResult.SUCCESS)
        return result

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _tried(export: Callable[[], Any], failure: Any) -> Any:
    """A collector that answers nonsense must not end the thread that exports."""
    try:
        return export()
    except Exception as error:  # noqa: BLE001 - whatever an HTTP stack raises
        _logger.debug("export failed: %r", error)
        return failure


def _wanted(variables: Mapping[str, str], signal: str) -> bool:
    """Whether TRACES or METRICS are sent: not if an endpoint is named for the other one only."""
    if variables.get(f"OTEL_{signal}_EXPORTER", "otlp").strip().lower() == "none":
        return False
    return bool(
        variables.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or variables.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    )


def _attributes(variables: Mapping[str, str], index: int) -> dict[str, str | int]:
    """What tells this worker apart. The user's own attributes and name of the service win."""
    attributes: dict[str, str | int] = {
        "service.version": storage.__version__,
        "service.instance.id": f"{socket.gethostname()}-{index}",
        "process.pid": os.getpid(),
    }
    named = "service.name=" in variables.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not named and not variables.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = "oversight"
    return attributes


def _endpoint(variables: Mapping[str, str]) -> str:
    """As it may be logged: without what may be a password in it."""
    name = next(name for name in sorted(variables) if name.endswith("_ENDPOINT"))
    scheme, _, rest = variables[name].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
