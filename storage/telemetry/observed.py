"""The S3 plane of one worker under telemetry: everything that is wrapped, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage.config import Config
from storage.s3.app import Hooks, S3App
from storage.telemetry import spans
from storage.telemetry.board import UNKNOWN
from storage.telemetry.otlp import Telemetry


class Observed:
    """Makes the worker's application, and sends what is left when it ends."""

    def __init__(self, variables: Mapping[str, str], index: int) -> None:
        self._telemetry = Telemetry(variables, index)

    def application(
        self, engine: Any, directory: Any, config: Config, hooks: Hooks
    ) -> spans.TracedApplication:
        """``S3App`` over the same parts, each of them watched."""
        respond = spans.Responses(self._telemetry)
        before = hooks.on_response

        def on_response(call: Any, status: int, *counted: Any) -> None:
            if before is not None:
                before(call, status, *counted)
            route = getattr(call, "route", None)
            respond(call, UNKNOWN if route is None else route.operation, status, *counted)

        watched = Hooks(
            on_response, hooks.minio, spans.authentication(self._telemetry), hooks.caller_key
        )
        traced: Any = spans.TracedEngine(engine, self._telemetry)
        application = S3App(traced, directory, config, watched)
        spans.gauges(self._telemetry, lambda: application.in_flight)
        return spans.TracedApplication(application, self._telemetry)

    def close(self) -> None:
        self._telemetry.close()
