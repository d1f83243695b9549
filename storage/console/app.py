"""The console's server: sign-in, and the two APIs on behalf of who is signed in.

Paths below ``/console/``:

``""``, ``static/*``   the page and its parts (``storage.console.front``)
``session``            GET who is signed in, POST sign in, PUT stay signed in, DELETE sign out
``control/*``          the control API with the session's token
``s3``                 S3, signed with the session's credentials
``sign``               presigned URLs, by which browsers speak to S3 directly
``zip``                the objects below a prefix as one stream
``table``              the beginning of a Parquet file, as JSON
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote

import httpcore
import msgspec

from storage.console import archive, neutral, signing
from storage.console.answers import (
    CONTENT_POLICY,
    Headers,
    answer,
    answer_json,
    guarded,
    problem,
)
from storage.console.farewells import Farewells
from storage.console.request import Malformed, Request, TooLarge
from storage.console.sessions import Session, Sessions
from storage.console.static import s3_origin
from storage.console.tables.serve import Tables
from storage.console.upstream import UNANSWERED, Crowded, Refused, Upstream
from storage.serving.doorway import CONSOLE, Birth
from storage.serving.handover import Receive, Scope, Send

COOKIE = "oversight_session"
#: Every request that is not a plain GET of the browser's own must carry it (no form, image or
#: link can): what the page was told when it signed in. Plain GETs have the same in their URL.
MARK = b"x-oversight-console"
PAGE = ".page"
#: Seconds that a session is asked to last.
SESSION_SECONDS = 3600
#: A request that outlasts its session renews it when so many seconds are left, and tries again
#: after so many where that fails.
_RENEW_BEFORE, _RENEW_AGAIN = 900.0, 60.0
#: Parameters of ``s3`` that are not S3's: browsers would tidy up names that stand in a path.
_NAMES = frozenset((".bucket", ".key", ".save", PAGE))
#: Cookies of our name that are looked at: another port of this host may have set some.
_COOKIES_MAX = 8
#: What a browser may make of an answer, as Sec-Fetch-Dest says it. Not among them: scripts,
#: workers, style sheets, fonts, manifests, frames and objects.
_USES = frozenset(("", "empty", "document", "image", "audio", "video", "track"))
_BODY_BYTES_MAX = 1024 * 1024
_SIGN_MAX = 1000
_ID = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch

# From the browser on to S3, and from S3 back. Everything else is between neighbours.
_TO_S3 = re.compile(
    r"content-type|content-md5|range|if-.*|user-agent|x-amz-(?!security-token|content-sha256|date$).*"
).fullmatch
_FROM_S3 = re.compile(
    r"content-type|content-length|content-range|content-disposition|content-encoding|etag"
    r"|last-modified|accept-ranges|x-amz-.*|retry-after"
).fullmatch
_TO_CONTROL = re.compile(r"content-type|accept|if-.*|range|x-amz-meta-.*").fullmatch
_FROM_CONTROL = re.compile(r"content-type|content-length|retry-after|content-disposition").fullmatch

#: What links and elements may ask for; all else takes a script of ours.
_BY_LINK = frozenset(("s3", "zip"))
_WITHDRAWN = (
    "The store has ended your session: your key or user was disabled, removed or given another "
    "secret."
)

Handler = Callable[[Request], Awaitable[None]]


class Wanted(msgspec.Struct, frozen=True):
    """What a presigned URL is to be for."""

    bucket: Annotated[str, msgspec.Meta(min_length=1)]
    key: str = ""
    method: str = "GET"
    query: dict[str, str | int] = {}
    seconds: int = 900


class Console:
    """ASGI application of the console's process."""

    def __init__(self, birth: Birth) -> None:
        self._upstream = Upstream(birth)
        self._farewells = Farewells(self._end_in_store)
        self._sessions = Sessions(on_end=self._farewells.add)
        self._tables = Tables(self._upstream)
        self._last = time.monotonic()
        self._busy = 0

    def is_idle(self, seconds: float) -> bool:
        """Whether nobody is signed in and nobody asked for anything for so long."""
        quiet = time.monotonic() - self._last > seconds
        return not len(self._sessions) and quiet and not self._busy and not len(self._farewells)

    async def close(self) -> None:
        await self._farewells.close()
        await self._upstream.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        self._busy += 1
        self._last = time.monotonic()
        try:
            await self._route(request)
        except TooLarge:
            await problem(send, 413, "EntityTooLarge", "The request is too large.")
        except Malformed:
            await problem(send, 400, "InvalidRequest", "The request is not what is taken here.")
        except Refused as refused:
            await _pass_on(send, refused)
        except Crowded:
            if request.begun:
                raise
            await problem(
                request.send, 429, "TooManyRequests",
                "Too many of your requests are under way at once: try again when some are done.",
                [(b"retry-after", b"5")],
            )  # fmt: skip
        except UNANSWERED:
            if request.begun:
                raise
            await problem(
                send, 503, "ServiceUnavailable", "The store does not answer at the moment.",
                [(b"retry-after", b"2")],
            )  # fmt: skip
        finally:
            self._busy -= 1
            self._last = time.monotonic()

    async def _route(self, request: Request) -> None:
        path = request.path.removeprefix(CONSOLE + "/")
        head = path.partition("/")[0]
        handler: Handler | None = {
            "session": self._session, "control": self._control, "s3": self._s3_plane,
            "sign": self._sign, "zip": self._zip, "table": self._table,
        }.get(head)  # fmt: skip
        if handler is None:
            await problem(request.send, 404, "NotFound", "There is nothing at this address.")
        elif why := _foreign(request, by_link=head in _BY_LINK):
            await problem(request.send, 403, "CrossSite", why)
        else:
            await handler(request)

    # -- sessions ---------------------------------------------------------------------------------

    async def _session(self, request: Request) -> None:
        if request.method == "POST":
            await self._sign_in(request)
            return
        if request.method == "GET" and not self._is_signed_in(request):
            await answer_json(request.send, 200, None)
            return
        session = await self._signed_in(request)
        if session is None:
            return
        if request.method == "DELETE":
            await self._sign_out(request, session)
            return
        try:
            if request.method == "PUT":
                await self._renew(request, session)
            me = await self._upstream.ask("GET", "/api/v1/me", request.client, session)
        except Refused as refused:
            if refused.status != 401:
                raise
            await self._withdrawn(request, session)
            return
        await answer_json(request.send, 200, self._described(request, session, me))

    async def _renew(self, request: Request, session: Session) -> None:
        """Make a session last longer. Raises Refused."""
        document = {"duration": SESSION_SECONDS}
        told = await self._upstream.ask(
            "POST", "/api/v1/login/renew", request.client, _apart(session), document
        )
        for each in (session, self._sessions.kept(session)):
            if each is not None:
                _take_over(each, told)

    def _lease(self, request: Request, begun: Session) -> archive.Lease:
        """The session of a request that may outlast it: used as long as the request is under way,
        and renewed in time."""
        tried = 0.0

        async def lease() -> Session:
            nonlocal tried
            session = self._sessions.kept(begun)
            if session is None:
                raise archive.BrokenOff("the session is over")
            self._sessions.touch(session)
            now = time.time()
            if session.expires - now < _RENEW_BEFORE and now - tried > _RENEW_AGAIN:
                tried = now
                with contextlib.suppress(Refused, *UNANSWERED):  # what is left of it counts
                    await self._renew(request, session)
            return session.used_from(request.client)

        return lease

    async def _sign_out(self, request: Request, session: Session) -> None:
        self._sessions.end(session)
        done = await self._farewells.say(session)
        cookie = _set_cookie("", request)
        if done:
            await answer(request.send, 204, b"", [cookie])
            return
        document = {
            "detail": "You are signed out here. The store could not be told yet and is told again "
            "until it answers: links that you shared work until then."
        }
        await answer_json(request.send, 202, document, [cookie])

    async def _end_in_store(self, session: Session) -> None:
        await self._upstream.ask("DELETE", "/api/v1/login", session.caller, _apart(session))

    async def _withdrawn(self, request: Request, session: Session) -> None:
        """Answer that the store has ended the session before its time."""
        self._sessions.end(session)
        await problem(request.send, 401, "AccessWithdrawn", _WITHDRAWN)

    async def _sign_in(self, request: Request) -> None:
        given = await request.json(_BODY_BYTES_MAX)
        document = {
            "access_key": str(given.get("access_key", "")),
            "secret_key": str(given.get("secret_key", "")),
            "duration": SESSION_SECONDS,
        }
        told = await self._upstream.ask("POST", "/api/v1/login", request.client, None, document)
        session = Session(
            user=told["user"], expires=0, token="", owner=told["me"]["id"], caller=request.client
        )
        _take_over(session, told)
        # Whoever was signed in here before is not any more; an id is never used twice.
        former = self._sessions.find(_cookies(request), request.header(MARK))
        if former is not None:
            self._sessions.end(former)
            self._farewells.add(former)
        cookie = _set_cookie(self._sessions.begin(session), request)
        await answer_json(
            request.send, 200, self._described(request, session, told["me"]), [cookie]
        )

    def _described(self, request: Request, session: Session, me: Any) -> dict[str, Any]:
        """What the page learns: nothing of it can sign anything."""
        birth = self._upstream.birth
        return {
            "me": me,
            "expires": session.expires,
            "page": session.page,
            "s3": s3_origin(self._upstream.birth, request),
            "configured": bool(birth.external_endpoint),
            "region": birth.region,
        }

    async def _signed_in(self, request: Request) -> Session | None:
        """The session of a request; without one the answer is given here."""
        session = self._found(request)
        if session is None:
            await problem(request.send, 401, "SessionOver", "You are signed out: sign in again.")
            return None
        if not session.is_shown_by(_page(request)):
            await problem(
                request.send, 403, "OtherSession",
                "This page belongs to another session than the browser's: load it again.",
            )  # fmt: skip
            return None
        self._sessions.touch(session)
        return session.used_from(request.client)

    def _found(self, request: Request) -> Session | None:
        return self._sessions.find(_cookies(request), _page(request))

    def _is_signed_in(self, request: Request) -> bool:
        session = self._found(request)
        return session is not None and session.is_shown_by(_page(request))

    # -- the two APIs -----------------------------------------------------------------------------

    async def _control(self, request: Request) -> None:
        session = await self._signed_in(request)
        if session is None:
            return
        target = _control_target(request)
        if target is None:
            await problem(request.send, 404, "NotFound", "There is nothing at this address.")
            return
        headers = request.kept(_TO_CONTROL)
        body = await request.body(_BODY_BYTES_MAX) if request.has_body else None
        async with self._upstream.control(
            request.method, target, request.client, session, headers, body
        ) as response:
            if response.status == 401:
                await self._withdrawn(request, session)
                return
            await _relay(request, response, _kept(response, _FROM_CONTROL))

    async def _s3_plane(self, request: Request) -> None:
        session = await self._signed_in(request)
        if session is None:
            return
        try:
            given = parse_qsl(request.query, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            await problem(request.send, 400, "InvalidURI", "The name is not UTF-8.")
            return
        names = {name: value for name, value in given if name in _NAMES}
        query = [each for each in given if each[0] not in _NAMES]
        bucket, key = names.get(".bucket", ""), names.get(".key", "")
        headers = request.kept(_TO_S3)
        body: AsyncIterator[bytes] | None = None
        if request.has_body:
            if length := request.header(b"content-length"):
                headers["content-length"] = length
            body = request.stream()
        async with self._upstream.s3(
            request.method, bucket, key, query, session, headers, body
        ) as response:
            if response.status in (400, 403) and await self._is_withdrawn(request, session):
                await self._withdrawn(request, session)
                return
            kept = neutral.headers(_kept(response, _FROM_S3))
            await _relay(request, response, kept, names.get(".save"))

    async def _is_withdrawn(self, request: Request, session: Session) -> bool:
        """Whether S3 refused because the session is no longer good."""
        try:
            await self._upstream.ask("GET", "/api/v1/me", request.client, _apart(session))
        except Refused as refused:
            return refused.status == 401
        return False

    async def _sign(self, request: Request) -> None:
        """Presigned URLs: a list of {method, bucket, key, query, seconds} in, URLs out."""
        session = await self._signed_in(request)
        if session is None:
            return
        document = await request.json(_BODY_BYTES_MAX, list)
        origin, region = s3_origin(self._upstream.birth, request), self._upstream.birth.region
        urls = []
        try:
            for each in msgspec.convert(document[:_SIGN_MAX], list[Wanted]):
                seconds = max(1, min(each.seconds, int(session.expires - time.time())))
                query = [(name, str(value)) for name, value in each.query.items()]
                path = signing.encode_path(each.bucket, each.key)
                urls.append(
                    signing.presign(each.method, origin, path, query, session, region, seconds)
                )
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise Malformed from error
        await answer_json(request.send, 200, {"urls": urls, "expires": session.expires})

    async def _zip(self, request: Request) -> None:
        session = await self._signed_in(request)
        if session is None:
            return
        given = dict(parse_qsl(request.query, keep_blank_values=True))
        lease = self._lease(request, session)
        await archive.send_zip(
            request, self._upstream, lease, given.get("bucket", ""), given.get("prefix", "")
        )

    async def _table(self, request: Request) -> None:
        session = await self._signed_in(request)
        if session is None:
            return
        given = dict(parse_qsl(request.query, keep_blank_values=True))
        names = (given.get(name, "") for name in ("bucket", "key", "version"))
        await self._tables.send(request, session, *names)


def _apart(session: Session) -> Session:
    """The session for a request that must not wait for others of the same user."""
    return replace(session, room=asyncio.Semaphore(1))


def _take_over(session: Session, told: Any) -> None:
    """Keep what the control API gave."""
    session.user = told["user"]
    session.token = told["token"]
    session.expires = datetime.fromisoformat(told["expires"]).timestamp()
    session.access_key = told["s3"]["access_key"]
    session.secret_key = told["s3"]["secret_key"]
    session.session_token = told["s3"]["session_token"]


# -- whom to believe ------------------------------------------------------------------------------


def _foreign(request: Request, *, by_link: bool) -> str:
    """Why a request can't come from our own page; "" if it can.

    Another port of the same host counts as the same *site*, so a page stored in S3 and opened
    there could send our cookie along (SameSite does not help): its origin gives it away.
    """
    if request.header(b"sec-fetch-dest") not in (_USES if by_link else ("", "empty")):
        return "What the store holds is neither script nor style nor part of a page here."
    site = request.header(b"sec-fetch-site")
    if site and site not in ("same-origin", "none"):
        return "This request comes from another page than the console."
    origin = request.header(b"origin")
    if origin and unquote(origin).partition("://")[2] != request.header(b"host"):
        return "This request comes from another page than the console."
    # Elements and downloads can't set headers; they read, and only what is in their URL.
    plain = by_link and request.method in ("GET", "HEAD")
    if not plain and not request.header(MARK):
        return "This request was not made by the console."
    return ""


def _cookies(request: Request) -> list[str]:
    """The ids of sessions that a request brings. Linear in time: SimpleCookie is not."""
    found = []
    for pair in request.header(b"cookie").split(";"):
        name, _, value = pair.strip(" \t").partition("=")
        if name == COOKIE and _ID(value):
            found.append(value)
    return found[:_COOKIES_MAX]


def _page(request: Request) -> str:
    """What a request brings of what its page was told, in its header or in its URL."""
    if mark := request.header(MARK):
        return mark
    if request.method not in ("GET", "HEAD"):
        return ""
    given = (pair.partition("=") for pair in request.query.split("&"))
    return next((value for name, _, value in given if name == PAGE), "")


def _control_target(request: Request) -> str | None:
    """Path and query of the control API that are asked for; None where the console refuses.

    Signing in is not passed on, however it is spelt: its answer holds what no page may learn.
    """
    prefix = b"/console/control"
    if not request.raw_path.startswith(prefix + b"/"):
        return None
    target = request.raw_path[len(prefix) :].decode("latin-1")
    segments = [part for part in unquote(target).split("/") if part]
    if {".", ".."}.intersection(segments):
        return None
    if "/".join(segments).lower().startswith("api/v1/login"):
        return None
    if request.query:
        target += "?" + request.query
    return target if target.isascii() else None


def _set_cookie(value: str, request: Request) -> tuple[bytes, bytes]:
    """The cookie of a session. Without a path it belongs to the console's folder as the browser
    sees it, below whatever prefix a proxy puts before it."""
    secure = "; Secure" if request.header(b"x-forwarded-proto") == "https" else ""
    end = "" if value else "; Max-Age=0"
    return b"set-cookie", f"{COOKIE}={value}; HttpOnly; SameSite=Strict{secure}{end}".encode()


# -- answers --------------------------------------------------------------------------------------


def _kept(response: httpcore.Response, wanted: Callable[[str], object]) -> Headers:
    """The headers of an answer that go on to the browser."""
    return [each for each in response.headers if wanted(each[0].decode("latin-1").lower())]


async def _relay(
    request: Request, response: httpcore.Response, headers: Headers, save_as: str | None = None
) -> None:
    """Pass an answer on. ``save_as``: the browser is to save it under this name."""
    if save_as is not None:
        headers = [each for each in headers if each[0].lower() != b"content-disposition"]
        headers.append((b"content-disposition", archive.attachment(save_as)))
    await request.send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": guarded(headers, CONTENT_POLICY),
        }
    )
    async for piece in response.aiter_stream():
        await request.send({"type": "http.response.body", "body": piece, "more_body": True})
    await request.send({"type": "http.response.body", "body": b""})


async def _pass_on(send: Send, refused: Refused) -> None:
    try:
        document = json.loads(refused.content)
    except ValueError:
        document = {"status": refused.status, "code": "Error", "detail": "The store refused."}
    await answer_json(send, refused.status, document)
