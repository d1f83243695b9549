"""The S3 plane with spans and metrics around it, put on from outside where telemetry is on.

A request's span lives in a ``contextvars.Context`` of its own. The HTTP server runs the start of a
request in its own callback and steps coroutines without a task, so a variable that were set in
the usual way would leak into the next request.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from storage.s3 import auth
from storage.s3.call import AsgiRequest, Receive, Send
from storage.telemetry.otlp import Telemetry

_propagator = TraceContextTextMapPropagator()
_DELEGATED = b"/minio/"
_DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class TracedApplication:
    """The S3 application; each request is a span that continues the caller's ``traceparent``.

    ``on_response`` must be among the application's hooks: it ends the span.
    """

    def __init__(self, application: Any, telemetry: Telemetry) -> None:
        self._application = application
        self._tracer = telemetry.tracer

    @property
    def in_flight(self) -> int:
        """Requests that have no answer yet."""
        found: int = self._application.in_flight
        return found

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        rest = self.begin(AsgiRequest(scope, receive, send))
        if rest is not None:
            await rest

    def begin(self, request: Any) -> Coroutine[Any, Any, None] | None:
        """See ``S3App.begin``. Health and metrics are not traced."""
        if request.raw_path.startswith(_DELEGATED):
            delegated: Coroutine[Any, Any, None] | None = self._application.begin(request)
            return delegated
        parent = _propagator.extract(_carrier(request.headers), contexts.Context())
        span = self._tracer.start_span("S3", parent, SpanKind.SERVER)
        own = contextvars.copy_context()
        own.run(contexts.attach, trace.set_span_in_context(span, parent))
        rest = own.run(self._application.begin, request)
        return None if rest is None else InContext(rest, own)


class InContext(Coroutine[Any, Any, None]):
    """A coroutine every step of which runs in one and the same context."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> None:
        self._coroutine, self._context = coroutine, context

    def send(self, value: Any) -> Any:
        return self._context.run(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        return self._context.run(self._coroutine.throw, *error)

    def close(self) -> None:
        self._context.run(self._coroutine.close)

    def __await__(self) -> Generator[Any, Any, None]:
        return self

    def __iter__(self) -> InContext:
        return self

    def __next__(self) -> Any:
        return self.send(None)


class Responses:
    """Ends the span of a request, and counts it."""

    def __init__(self, telemetry: Telemetry) -> None:
        meter = telemetry.meter
        self._duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Time from the request's head to the end of the answer.",
            explicit_bucket_boundaries_advisory=list(_DURATIONS),
        )
        self._received = meter.create_counter(
            "oversight.s3.received", unit="By", description="Bytes of bodies of requests."
        )
        self._sent = meter.create_counter(
            "oversight.s3.sent", unit="By", description="Bytes of bodies of answers."
        )

    def __call__(
        self, call: Any, operation: str, status: int, received: int, sent: int, seconds: float
    ) -> None:
        span = trace.get_current_span()
        facts = {
            "http.request.method": call.method,
            "http.response.status_code": status,
            "oversight.operation": operation,
        }
        self._duration.record(seconds, facts)
        counted = {"oversight.operation": operation}
        self._received.add(received, counted)
        self._sent.add(sent, counted)
        if span.is_recording():
            span.update_name(operation)
            span.set_attributes(facts | _described(call, received, sent))
            if status >= 500 or status == 499:
                span.set_status(Status(StatusCode.ERROR))
        span.end()


class TracedEngine:
    """An engine whose commits and reads are spans. All else is the engine's own."""

    def __init__(self, engine: Any, telemetry: Telemetry) -> None:
        self._engine = engine
        self._tracer = telemetry.tracer

    def __getattr__(self, name: str) -> Any:
        """Kept, so that it is asked only once for each name."""
        value = getattr(self._engine, name)
        if callable(value):
            self.__dict__[name] = value
        return value

    async def commit(self, change: Any) -> Any:
        span = self._tracer.start_span("engine.commit")
        span.set_attribute("oversight.change", type(change).__name__)
        return await _ended(span, self._engine.commit(change))

    async def lookup(self, bucket_id: int, key: str) -> Any:
        return await _ended(self._lookup(), self._engine.lookup(bucket_id, key))

    def lookup_at_once(self, bucket_id: int, key: str) -> Any:
        with _ending(self._lookup()):
            return self._engine.lookup_at_once(bucket_id, key)

    async def list_objects(self, bucket_id: int, **wishes: Any) -> Any:
        span = self._tracer.start_span("engine.list")
        return await _ended(span, self._engine.list_objects(bucket_id, **wishes))

    async def read_inline(self, version: Any) -> Any:
        return await _ended(self._reading(version), self._engine.read_inline(version))

    def read_at_once(self, version: Any) -> Any:
        with _ending(self._reading(version)):
            return self._engine.read_at_once(version)

    def read(self, version: Any, start: int, stop: int) -> AsyncIterator[Any]:
        span = self._reading(version)
        span.set_attribute("oversight.range", (start, stop))
        return TracedStream(self._engine.read(version, start, stop), span)

    def _lookup(self) -> Span:
        return self._tracer.start_span("engine.lookup")

    def _reading(self, version: Any) -> Span:
        span = self._tracer.start_span("engine.read")
        span.set_attribute("oversight.size", version.size)
        return span


class TracedStream:
    """Blocks of an object; the span ends with them, or when nobody wants more."""

    def __init__(self, stream: AsyncIterator[Any], span: Span) -> None:
        self._stream, self._span = stream, span

    def __aiter__(self) -> TracedStream:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            self._span.end()
            raise
        except BaseException as error:
            _failed(self._span, error)
            self._span.end()
            raise

    async def aclose(self) -> None:
        """Ends what was not read to its end; the second time, nothing."""
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()
        if self._span.is_recording():
            self._span.end()


def authentication(telemetry: Telemetry) -> Callable[[Any, Any, str], Any]:
    """``storage.s3.auth.authenticate`` as a span."""
    tracer = telemetry.tracer

    def authenticate(call: Any, keyring: Any, region: str, **options: Any) -> Any:
        with _ending(tracer.start_span("auth")) as span:
            result = auth.authenticate(call, keyring, region, **options)
            span.set_attribute("oversight.auth.mechanism", result.mechanism or "anonymous")
            return result

    return authenticate


def gauges(telemetry: Telemetry, in_flight: Callable[[], int]) -> None:
    """What is looked up when metrics are sent."""

    def requests(_: CallbackOptions) -> list[Observation]:
        return [Observation(in_flight())]

    telemetry.meter.create_observable_gauge(
        "http.server.active_requests", [requests], "{request}", "Requests that have no answer yet."
    )


class _ending:
    """Ends a span with the block, and says that the block failed."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        return self._span

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            _failed(self._span, error)
        self._span.end()


async def _ended(span: Span, work: Awaitable[Any]) -> Any:
    with _ending(span):
        return await work


def _failed(span: Span, error: BaseException) -> None:
    """Names the error; its text may hold keys of clients."""
    span.set_status(Status(StatusCode.ERROR, type(error).__name__))


def _carrier(headers: Any) -> dict[str, str]:
    """The trace context of a request's headers."""
    found = ((name, headers.get(name.encode())) for name in ("traceparent", "tracestate"))
    return {name: value.decode("latin-1") for name, value in found if value is not None}


def _described(call: Any, received: int, sent: int) -> dict[str, Any]:
    """What is known of a request; one that was refused early has less."""
    facts = {
        "aws.request_id": getattr(call, "request_id", ""),
        "aws.s3.bucket": getattr(call, "bucket", ""),
        "aws.s3.key": getattr(call, "key", ""),
    }
    return {name: value for name, value in facts.items() if value} | {
        "http.request.body.size": received,
        "http.response.body.size": sent,
    }
