"""The S3 data plane as an ASGI application: route, authenticate, authorize, operate, respond.

Errors become XML here and nowhere else. ``Date`` and ``Server`` are the HTTP server's headers.
"""

from __future__ import annotations

import logging
import re
import secrets
from time import perf_counter
from typing import Any, Protocol
from urllib.parse import quote

from storage import errors
from storage.config import Config
from storage.engine.interface import KEY_BYTES_MAX, Bucket, Engine
from storage.iam.users import Identity
from storage.s3 import auth, cors, headers, routes, xml
from storage.s3.call import Call, Receive, Response, Scope, Send
from storage.s3.errors import S3Error, slow_down, translate
from storage.s3.operations.access import authorize

_logger = logging.getLogger("storage.s3")

#: Names this process in error documents, as S3's HostId does.
HOST_ID = secrets.token_hex(16)

#: What metrics and access log see of a request that was cancelled before it had an answer.
_BROKEN_OFF = 499
_COPY_SOURCE = b"x-amz-copy-source"
#: Parameters of a presigned query that were never headers.
_AUTHENTICATION = frozenset(
    f"x-amz-{name}"
    for name in ("algorithm", "credential", "date", "expires", "signedheaders", "signature",
                 "security-token", "content-sha256")
)  # fmt: skip
_is_token = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+").fullmatch

_DELEGATED = (b"/minio/health/", b"/minio/v2/metrics/")


class Directory(Protocol):
    """Where identities come from (``storage.iam.users.Directory``)."""

    def current(self) -> Identity | None: ...
    async def refresh(self) -> Identity: ...


class Hooks:
    """What the server plugs in; each may stay None, and then costs nothing.

    ``on_response(call, status, bytes_in, bytes_out, seconds)`` after every answer, also one that
    broke off: metrics and access log. ``minio`` is an ASGI callable for health and metrics paths.
    """

    __slots__ = ("minio", "on_response")

    def __init__(self, on_response: Any = None, minio: Any = None) -> None:
        self.on_response = on_response
        self.minio = minio


class S3App:
    """An ASGI callable over one engine."""

    def __init__(
        self, engine: Engine, directory: Directory, config: Config, hooks: Hooks | None = None
    ) -> None:
        self.engine = engine
        self.directory = directory
        self.config = config
        self.hooks = hooks or Hooks()
        self.in_flight = 0
        self._region = config.region
        self._requests_max = config.requests_max
        self._buckets: dict[str, Bucket] = {}
        self._generation = -1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _lifespan(scope, receive, send)
            return
        minio = self.hooks.minio
        if minio is not None and scope["raw_path"].startswith(_DELEGATED):
            await minio(scope, receive, send)
            return
        on_response = self.hooks.on_response
        started = perf_counter() if on_response is not None else 0.0
        call = Call(self, scope, receive, send)
        response: Response | None = None
        self.in_flight += 1
        try:
            response = await self._answer(call)
            if b"origin" in call.headers:
                cors.decorate(call, response, self.config.cors_allow_origin)
            await _send(call, response)
        except ConnectionError:
            pass  # the client has gone
        finally:
            self.in_flight -= 1
            if on_response is not None:
                status = 0 if response is None else response.status
                seconds = perf_counter() - started
                on_response(call, status or _BROKEN_OFF, call.bytes_in, call.bytes_out, seconds)

    async def _answer(self, call: Call) -> Response:
        """The response to ``call``, errors included: never raises but for cancellation."""
        try:
            if self.in_flight > self._requests_max:
                raise slow_down()
            call.parse()
            if call.method == "OPTIONS":
                return cors.preflight(call, self.config.cors_allow_origin)
            route = self._route(call)
            identity = self.directory.current() or await self.directory.refresh()
            call.auth = auth.authenticate(call, identity.keyring, self._region)
            if call.query:
                self._adopt_query(call)
                if _COPY_SOURCE in call.headers:
                    route = self._route(call)  # the header may have come with the query
            headers.refuse_unimplemented(call.headers)
            if route.handler is None:
                raise S3Error("NotImplemented", f"{route.operation} is not implemented.")
            bucket = None
            if route.needs_bucket:
                bucket = call.target = await self.bucket(call.bucket)
                self.check_owner(call, bucket)
            if not route.per_key:
                action = route.action
                if call.query and "versionId" in call.query:
                    action = route.version_action
                authorize(call, action, bucket, call.key)
            return await route.handler(call)
        except S3Error as error:
            return _error_response(call, error)
        except errors.BucketExists:
            return _error_response(call, S3Error("BucketAlreadyExists"))
        except errors.StoreError as error:
            translated = translate(error)
            if translated.status >= 500:
                _logger.error("%s %s: %r", call.request_id, call.method, error)
            return _error_response(call, translated)
        except Exception:
            _logger.exception("%s %s failed", call.request_id, call.method)
            return _error_response(call, S3Error("InternalError"))

    def _route(self, call: Call) -> routes.Route:
        """The operation asked for. Raises MethodNotAllowed, KeyTooLongError."""
        if call.key:
            scope = routes.OBJECT
            if len(call.key) > KEY_BYTES_MAX // 4 and len(call.key.encode()) > KEY_BYTES_MAX:
                raise S3Error(
                    "KeyTooLongError",
                    Size=str(len(call.key.encode())),
                    MaxSizeAllowed=str(KEY_BYTES_MAX),
                )
        else:
            scope = routes.BUCKET if call.bucket else routes.SERVICE
        route = routes.match(call.method, scope, call.query, call.headers)
        if route is None:
            raise S3Error("MethodNotAllowed", Method=call.method, ResourceType=scope.upper())
        call.route = route
        return route

    @staticmethod
    def _adopt_query(call: Call) -> None:
        """Honour what a presigned URL carries in its query instead of in headers.

        Signers may move ``x-amz-*`` headers there, in any case. What no header could have
        carried is refused. Raises InvalidArgument.
        """
        if call.auth.mechanism == "query":
            for name, value in call.query.items():
                header = name.lower()
                if header.startswith("x-amz-") and header not in _AUTHENTICATION:
                    if _is_token(header) is None:
                        raise S3Error("InvalidArgument", ArgumentName=name, ArgumentValue=value)
                    headers.header_value(value)
                    call.headers.setdefault(header.encode(), value.encode())

    @staticmethod
    def check_owner(
        call: Call, bucket: Bucket, header: bytes = b"x-amz-expected-bucket-owner"
    ) -> None:
        """Guard against a bucket that changed hands. Raises AccessDenied."""
        expected = call.headers.get(header)
        if expected is not None and expected.decode("latin-1") != bucket.owner:
            raise S3Error("AccessDenied")

    def display_name(self, owner: str) -> str:
        """The name shown for an owner's canonical id; "" if there is no such user any more."""
        identity = self.directory.current()
        principal = identity.principal(owner) if identity is not None else None
        return principal.display_name if principal is not None else ""

    @staticmethod
    def error_document(call: Call, error: errors.StoreError) -> bytes:
        """The body of an error that shows only after the status went out."""
        return _error_response(call, translate(error)).body

    async def bucket(self, name: str) -> Bucket:
        """The bucket of this name, from a cache as old as the engine's generation.

        Raises NoSuchBucket.
        """
        generation = self.engine.generation()
        if generation != self._generation:
            self._buckets.clear()
            self._generation = generation
        bucket = self._buckets.get(name)
        if bucket is None:
            found = await self.engine.bucket(name)
            if found is None:
                raise S3Error("NoSuchBucket", BucketName=name)
            bucket = self._buckets[name] = found
        return bucket


async def _send(call: Call, response: Response) -> None:
    """Send ``response``, counting in ``call.bytes_out``.

    A stream that fails leaves the answer incomplete: the server then closes the connection, which
    is all that HTTP has to say "this was not everything". Raises what the server's ``send`` raises
    once the client has gone, so that nothing more is read for it.
    """
    send = call.send
    lines = response.headers
    lines.append((b"x-amz-request-id", call.request_id.encode()))
    stream = response.stream
    body = response.body
    if stream is None or response.length >= 0:
        length = response.length if response.length >= 0 else len(body)
        if response.status != 304 and response.status != 204:
            lines.append((b"content-length", b"%d" % length))
    if stream is None:
        await send({"type": "http.response.start", "status": response.status, "headers": lines})
        await send({"type": "http.response.body", "body": body})
        call.bytes_out = len(body)
        return
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": lines})
        async for block in stream:
            await send({"type": "http.response.body", "body": block, "more_body": True})
            call.bytes_out += len(block)
    except errors.StoreError:
        _logger.exception("%s %s broke off", call.request_id, call.method)
        raise
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
    await send({"type": "http.response.body", "body": b""})


def _error_response(call: Call, error: S3Error) -> Response:
    lines = list(error.headers)
    if error.status == 304:
        return Response(304, lines)
    if call.method == "HEAD":
        return Response(error.status, lines)
    lines.append(xml.CONTENT_TYPE)
    fields = error.fields
    if error.code.startswith("NoSuchKey") and "Key" not in fields:
        fields = {"Key": call.key, **fields}
    elif error.code == "NoSuchBucket" and "BucketName" not in fields:
        fields = {"BucketName": call.bucket, **fields}
    resource = quote(f"/{call.bucket}/{call.key}" if call.key else f"/{call.bucket}")
    body = xml.error_document(error.code, error.message, fields, resource, call.request_id, HOST_ID)
    return Response(error.status, lines, body)


async def _lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Nothing is to be started or stopped here: the composition root owns the engine."""
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
