"""The S3 data plane as an ASGI application: route, authenticate, authorize, operate, respond.

Errors become XML here and nowhere else. ``Date`` and ``Server`` are the HTTP server's headers.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Coroutine
from functools import partial
from time import perf_counter
from typing import Any, Protocol
from urllib.parse import quote

from storage import errors
from storage.config import Config
from storage.engine.interface import KEY_BYTES_MAX, Bucket, Engine
from storage.iam import acl
from storage.iam.users import Identity
from storage.proxies import Proxies
from storage.s3 import auth, cors, headers, routes, xml
from storage.s3.call import AsgiRequest, Call, HeaderList, Receive, Request, Response, Scope, Send
from storage.s3.errors import S3Error, slow_down, translate
from storage.s3.hosts import HostedCall, bucket_of
from storage.s3.operations import access, versioning

_logger = logging.getLogger("storage.s3")

#: Names this process in error documents, as S3's HostId does.
HOST_ID = secrets.token_hex(16)

#: What metrics and access log see of a request that was cancelled before it had an answer.
_BROKEN_OFF = 499
_COPY_SOURCE = b"x-amz-copy-source"
_ORIGIN = b"origin"
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
    ``authenticate`` is called in the place of ``storage.s3.auth.authenticate``. ``caller_key``
    proves for whom the console calls (``storage.s3.caller``).
    """

    __slots__ = ("authenticate", "caller_key", "minio", "on_response")

    def __init__(
        self,
        on_response: Any = None,
        minio: Any = None,
        authenticate: Any = None,
        caller_key: bytes = b"",
    ) -> None:
        self.caller_key = caller_key
        self.on_response = on_response
        self.minio = minio
        self.authenticate = authenticate


class S3App:
    """An ASGI callable over one engine."""

    def __init__(
        self, engine: Engine, directory: Directory, config: Config, hooks: Hooks | None = None
    ) -> None:
        self.engine = engine
        self.directory = directory
        self.config = config
        self.hooks = hooks or Hooks()
        self.proxies = Proxies(config.trusted_proxies)
        self.in_flight = 0
        self._authenticate = self.hooks.authenticate or auth.authenticate
        if not config.signature_v2:
            self._authenticate = partial(self._authenticate, version_2=False)
        self._call: type[Call] = HostedCall if config.domains else Call
        self._region = config.region
        self._requests_max = config.requests_max
        self._server_cors = cors.server_rules(config.cors_allow_origin)
        self._buckets: dict[str, Bucket] = {}
        self._generation = -1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _lifespan(scope, receive, send)
            return
        rest = self.begin(AsgiRequest(scope, receive, send))
        if rest is not None:
            await rest

    def begin(self, request: Request) -> Coroutine[Any, Any, None] | None:
        """Answer ``request`` as far as that goes without waiting; the rest, to be run to its end.

        Most reads are answered whole: no coroutine is made for them.
        """
        minio = self.hooks.minio
        if (
            minio is not None
            and request.raw_path.startswith(_DELEGATED)
            and not bucket_of(request.headers.get(b"host", b""), self.config.domains)
        ):
            delegated: Coroutine[Any, Any, None] = minio(
                request.scope, request.receive, request.send
            )
            return delegated
        call = self._call(self, request)
        call.started = perf_counter()
        self.in_flight += 1
        if _ORIGIN in call.headers or call.method == "OPTIONS":
            return self._finish(call, self._cross_origin(call), None)
        response = self._answer(call)
        if not isinstance(response, Response):
            return self._finish(call, response, None)
        try:
            rest = _send(call, response)
        except BaseException as error:
            self._count(call, response.status)
            if isinstance(error, ConnectionError):  # the client has gone
                return None
            raise
        if rest is not None:
            return self._finish(call, None, rest, response.status)
        self._count(call, response.status)
        return None

    async def _finish(
        self,
        call: Call,
        answer: Awaitable[Response] | None,
        rest: Awaitable[None] | None,
        status: int = _BROKEN_OFF,
    ) -> None:
        """What ``begin`` had to leave: the response, or sending it."""
        try:
            if answer is not None:
                response = await answer
                status = response.status
                rest = _send(call, response)
            if rest is not None:
                await rest
        except ConnectionError:
            pass  # the client has gone
        finally:
            self._count(call, status)

    def _count(self, call: Call, status: int) -> None:
        """The answer to ``call`` has ended, whole or not."""
        self.in_flight -= 1
        if (on_response := self.hooks.on_response) is not None:
            seconds = perf_counter() - call.started
            on_response(call, status, call.bytes_in, call.bytes_out, seconds)

    def _answer(
        self, call: Call, identity: Identity | None = None
    ) -> Response | Coroutine[Any, Any, Response]:
        """The response to ``call``, or what has to be awaited for it. Errors are responses, too."""
        try:
            if self.in_flight > self._requests_max:
                raise slow_down()
            call.parse()
            route = self._route(call)
            identity = identity or self.directory.current()
            if identity is None:
                return self._identified(call)
            call.auth = self._authenticate(call, identity.keyring, self._region)
            if call.query:
                self._adopt_query(call)
                if _COPY_SOURCE in call.headers:
                    route = self._route(call)  # the header may have come with the query
            headers.refuse_unimplemented(call.headers)
            if route.handler is None:
                raise S3Error("NotImplemented", f"{route.operation} is not implemented.")
            bucket = None
            if route.needs_bucket:
                bucket = self._known_bucket(call.bucket)
                if bucket is None:
                    return self._operate(call, route, permitted=False)
            if not self._permit(call, route, bucket):
                return self._operate(call, route, permitted=False)
            if route.at_once is not None and self.engine.immediate:
                response = route.at_once(call)
                if response is not None:
                    return response
            return self._operate(call, route, permitted=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            return self._failure(call, error)

    async def _cross_origin(self, call: Call) -> Response:
        """The response to ``call`` from a page of another origin, or to a preflight."""
        if call.method == "OPTIONS":
            try:
                if self.in_flight > self._requests_max:
                    raise slow_down()
                call.parse()
                rules, found = await self._cors_rules(call)
                return cors.preflight(call, rules, found=found)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
                return self._failure(call, error)
        answer = self._answer(call)
        response = answer if isinstance(answer, Response) else await answer
        cors.decorate(call, response, (await self._cors_rules(call))[0])
        return response

    async def _cors_rules(self, call: Call) -> tuple[cors.Rules, bool]:
        """(the rules that count for the bucket of ``call``, whether there is such a bucket)."""
        try:
            config = (await self.bucket(call.bucket)).config if call.bucket else {}
        except (S3Error, errors.StoreError):
            return self._server_cors, False
        document = config.get(cors.DOCUMENT)
        return self._server_cors if document is None else cors.decode(document), True

    async def _identified(self, call: Call) -> Response:
        """The response to ``call`` once it is known again who there is."""
        try:
            identity = await self.directory.refresh()
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            return self._failure(call, error)
        response = self._answer(call, identity)
        return response if isinstance(response, Response) else await response

    async def _operate(self, call: Call, route: routes.Route, *, permitted: bool) -> Response:
        """The response of an operation that has to wait for something."""
        assert route.handler is not None
        try:
            if not permitted:
                bucket = await self.bucket(call.bucket)
                if not self._permit(call, route, bucket):
                    action, version_id = access.action_of(call), versioning.asked_version(call)
                    await access.settle(call, action, bucket, call.key, version_id)
            return await route.handler(call)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            return self._failure(call, error)

    def _permit(self, call: Call, route: routes.Route, bucket: Bucket | None) -> bool:
        """Let ``call`` at the bucket it asked for; False if that depends on the object asked for.

        Raises AccessDenied, and InvalidArgument where a version is named that can't be.
        """
        named = bool(call.query) and "versionId" in call.query
        if named and route.refuses_version:
            raise S3Error("InvalidArgument", "This operation does not accept a version-id.")
        if bucket is not None:
            call.target = bucket
            self.check_owner(call, bucket)
        if route.per_key:
            return True
        action = route.version_action if named else route.action
        return access.decided(call, action, bucket, call.key)

    def _failure(self, call: Call, error: Exception) -> Response:
        """What a client is told of ``error``."""
        if isinstance(error, S3Error):
            return _error_response(call, error)
        if isinstance(error, errors.BucketExists):
            return _error_response(call, S3Error("BucketAlreadyExists"))
        if isinstance(error, errors.StoreError):
            translated = translate(error)
            if translated.status >= 500:
                _logger.error("%s %s: %r", call.request_id, call.method, error)
            return _error_response(call, translated)
        _logger.error("%s %s failed", call.request_id, call.method, exc_info=error)
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
        carried is refused, and so is one that comes in two cases. Raises InvalidArgument.
        """
        if call.auth.mechanism == "query":
            adopted = set()
            for name, value in call.query.items():
                header = name.lower()
                if header.startswith("x-amz-") and header not in _AUTHENTICATION:
                    if _is_token(header) is None:
                        raise S3Error("InvalidArgument", ArgumentName=name, ArgumentValue=value)
                    if header in adopted:
                        raise auth.repeated(name)
                    adopted.add(header)
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
        shown = identity.display_name(owner) if identity is not None else ""
        return shown or acl.NAMES.get(owner, "")

    @staticmethod
    def error_document(call: Call, error: errors.StoreError) -> bytes:
        """The body of an error that shows only after the status went out."""
        return bytes(_error_response(call, translate(error)).body)

    async def bucket(self, name: str) -> Bucket:
        """The bucket of this name, from a cache as old as the engine's generation.

        Raises NoSuchBucket.
        """
        bucket = self._known_bucket(name)
        if bucket is None:
            found = await self.engine.bucket(name)
            if found is None:
                raise S3Error("NoSuchBucket", BucketName=name)
            bucket = self._buckets[name] = found
        return bucket

    def is_current(self, bucket: Bucket) -> bool:
        """Whether no bucket, user, key or policy has changed since ``bucket`` was looked up."""
        return self._known_bucket(bucket.name) is bucket

    def _known_bucket(self, name: str) -> Bucket | None:
        generation = self.engine.generation()
        if generation != self._generation:
            self._buckets.clear()
            self._generation = generation
        return self._buckets.get(name)


def _send(call: Call, response: Response) -> Coroutine[Any, Any, None] | None:
    """Send ``response``, counting in ``call.bytes_out``; what is left of that to be awaited.

    Raises what the server raises once the client has gone.
    """
    lines = response.headers
    lines.append((b"x-amz-request-id", call.request_id.encode()))
    length = response.length
    if response.stream is not None:
        if length >= 0:
            lines.append((b"content-length", b"%d" % length))
        return _stream(call, response.status, lines, response.stream)
    body = response.body
    if length < 0:
        length = len(body)
    if response.status == 304 or response.status == 204:
        length = -1
    call.bytes_out = len(body)
    return call.request.answer(response.status, lines, length, body)


async def _stream(
    call: Call, status: int, lines: HeaderList, stream: AsyncIterator[bytes | memoryview]
) -> None:
    """Send a response piece by piece.

    A stream that fails leaves the answer incomplete: the server then closes the connection, which
    is all that HTTP has to say "this was not everything". Raises what the server's ``send`` raises
    once the client has gone, so that nothing more is read for it.
    """
    send = call.request.send
    try:
        await send({"type": "http.response.start", "status": status, "headers": lines})
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
    elif error.code in ("NoSuchBucket", "BucketNotEmpty") and "BucketName" not in fields:
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
