"""Requests to the console that nobody means well by: cookies, addresses and documents."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import httpcore
import pytest

from storage.console import app as module
from storage.console.app import COOKIE, Console
from storage.console.sessions import REQUESTS_OF_USER_MAX, Session
from storage.console.upstream import Crowded, Refused, Upstream
from storage.serving.doorway import Birth

GUESS = "a" * 43
#: What the control API answers in these tests.
REACHED = 418


class Signed:
    """A console with somebody signed in; ``reached`` are the addresses passed on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        birth = Birth(("127.0.0.1", 1), ("127.0.0.1", 2), "http://s3.test", "us-east-1", "proof")
        self.console = Console(birth)
        session = Session("ann", time.time() + 3000, "token", "key", "secret", "more")
        self.id = self.console._sessions.begin(session)
        self.page = session.page
        self.reached: list[str] = []
        #: What S3 answers: status and headers; and what the API does.
        self.stored: tuple[int, list[tuple[bytes, bytes]]] = (200, [])
        self.refuses = REACHED
        self.sent: Any = None
        monkeypatch.setattr(self.console._upstream, "control", self._control)
        monkeypatch.setattr(self.console._upstream, "s3", self._s3)

    def _control(self, method: str, target: str, *_: object) -> None:
        self.reached.append(target)
        raise Refused(self.refuses, b"{}")

    @asynccontextmanager
    async def _s3(
        self, method: str, bucket: str, key: str, query: object, session: Session,
        headers: Any = None, body: Any = None,
    ) -> AsyncIterator[Any]:  # fmt: skip
        self.reached.append(f"{bucket}/{key}")
        self.sent = headers

        async def content() -> AsyncIterator[bytes]:
            yield b"null"

        status, given = self.stored
        yield SimpleNamespace(status=status, headers=given, aiter_stream=content)

    def ask(
        self, method: str, path: str, body: bytes = b"", cookie: str | None = None,
        raw_path: bytes = b"", query: bytes = b"", headers: dict[bytes, bytes] | None = None,
    ) -> tuple[int, Any]:  # fmt: skip
        """Status and document of the answer."""
        status, _, document = self.answer(method, path, body, cookie, raw_path, query, headers)
        return status, document

    def answer(
        self, method: str, path: str, body: bytes = b"", cookie: str | None = None,
        raw_path: bytes = b"", query: bytes = b"", headers: dict[bytes, bytes] | None = None,
    ) -> tuple[int, dict[bytes, bytes], Any]:  # fmt: skip
        """Status, headers and document of the answer; ``headers`` replace what is sent."""
        sent = f"{COOKIE}={self.id}" if cookie is None else cookie
        scope = {
            "method": method, "path": path, "raw_path": raw_path or path.encode(),
            "query_string": query, "client": ("10.0.0.1", 1), "scheme": "http",
            "headers": [(n, v) for n, v in {
                b"x-oversight-console": self.page.encode(), b"cookie": sent.encode("latin-1"),
                b"content-length": b"%d" % len(body), **(headers or {}),
            }.items() if v],
        }  # fmt: skip
        answers: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            answers.append(message)

        asyncio.run(self.console(scope, receive, send))
        content = b"".join(each["body"] for each in answers[1:])
        return (
            answers[0]["status"], dict(answers[0]["headers"]), json.loads(content or b"null"),
        )  # fmt: skip


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> Signed:
    """Somebody is signed in."""
    return Signed(monkeypatch)


# -- cookies --------------------------------------------------------------------------------------


def test_the_session_is_found_among_other_cookies(signed: Signed) -> None:
    ours = f"{COOKIE}={signed.id}"
    for cookie in (
        ours, f"a=b; {ours}", f"{ours}; a=b", f"a;;=;{ours} ;", f'a="b"; {ours}',
        f"bad[name]=\xff; {ours}", f"{COOKIE}=guess; {ours}",
    ):  # fmt: skip
        assert signed.ask("POST", "/console/sign", b"[]", cookie)[0] == 200, cookie


def test_what_only_resembles_our_cookie_is_none(signed: Signed) -> None:
    for cookie in (
        "", COOKIE, f"{COOKIE}=", f"x{COOKIE}={signed.id}", f"{COOKIE.upper()}={signed.id}",
        f"{COOKIE}={signed.id}x", f"{COOKIE}={signed.id[:-1]}", f"{COOKIE}={GUESS}",
        f'{COOKIE}="{signed.id}"', f"a={COOKIE}={signed.id}", f"{COOKIE}={signed.id[:-1]}\n",
    ):  # fmt: skip
        assert signed.ask("POST", "/console/sign", b"[]", cookie)[0] == 401, cookie


@pytest.mark.parametrize("start", ["", f"{COOKIE}="], ids=["another", "ours"])
@pytest.mark.parametrize("unit", ["\\1", "\\", '"', "=", ";", " ", f"{COOKIE}=;"])
def test_a_hostile_cookie_costs_no_time(signed: Signed, start: str, unit: str) -> None:
    # Quoted values with many backslashes take SimpleCookie quadratic time.
    hostile = start + '"' + unit * (65_536 // len(unit)) + '"'
    began = time.process_time()
    assert signed.ask("POST", "/console/sign", b"[]", hostile)[0] == 401
    assert signed.ask("POST", "/console/sign", b"[]", f"{hostile}; {COOKIE}={signed.id}")[0] == 200
    assert time.process_time() - began < 4  # 0.02 it is, or more than 8
    assert not hasattr(module, "SimpleCookie")


# -- the control API ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/login", "/api/v1/login/renew", "/api/v1/%6cogin/renew", "/api/v1/%6Cogin",
        "/%61pi/v1/login", "/api%2fv1%2Flogin%2frenew", "/api/v1/login%2Frenew", "//api/v1/login",
        "/api//v1/login", "/api/v1/LOGIN", "/api/v1/x/../login", "/api/v1/%2e%2e/v1/login",
        "/api/v1/%2e/login", "/./api/v1/me", "/api/v1/x%2f..%2flogin", "/api/v1/login%00",
        "/api/v1/login%0a", "/api/v1/\xfflogin", "",
    ],
)  # fmt: skip
def test_signing_in_is_not_passed_on_however_it_is_spelt(signed: Signed, target: str) -> None:
    raw = b"/console/control" + target.encode("latin-1")
    assert signed.ask("POST", unquote(raw), raw_path=raw)[0] == 404
    assert signed.reached == []


def test_a_prefix_that_is_spelt_otherwise_is_not_passed_on(signed: Signed) -> None:
    raw = b"/console/%63ontrol/console/control/api/v1/me"
    path = "/console/control/console/control/api/v1/me"
    assert signed.ask("GET", path, raw_path=raw)[0] == 404
    assert signed.ask("GET", "/console/control/api/v1/me", query=b"a=\xff")[0] == 404
    assert signed.reached == []


def test_everything_else_is_passed_on_as_it_was(signed: Signed) -> None:
    raw = b"/console/control/api/v1/policies/a%2Fb%20..c"
    path = "/console/control/api/v1/policies/a/b ..c"
    assert signed.ask("GET", path, raw_path=raw, query=b"login=%2e")[0] == REACHED
    assert signed.reached == ["/api/v1/policies/a%2Fb%20..c?login=%2e"]


# -- documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff", b"{}", b"1", b"null", b"[" * 100_000, b'[{"a":' * 100_000,
        b"[1]", b"[null]", b'["a"]', b"[[]]", b"[{}]", b'[{"key": "k"}]', b'[{"bucket": ""}]',
        b'[{"bucket": null}]', b'[{"bucket": 1}]', b'[{"bucket": "b", "key": 1}]',
        b'[{"bucket": "b", "seconds": "x"}]', b'[{"bucket": "b", "seconds": 1e999}]',
        b'[{"bucket": "b", "seconds": NaN}]', b'[{"bucket": "b", "seconds": null}]',
        b'[{"bucket": "b", "seconds": []}]', b'[{"bucket": "b", "query": [1]}]',
        b'[{"bucket": "b", "query": {"a": {}}}]', b'[{"bucket": "b", "method": 1}]',
        b'[{"bucket": "\\ud800"}]', b'[{"bucket": "b", "key": "\\udfff"}]',
        b'[{"bucket": "b", "query": {"a": "\\ud800"}}]',
        b'[{"bucket": "b", "query": {"\\ud800": "a"}}]',
        b'[{"bucket": "b", "method": "\\ud800"}]', b'[{"bucket": "b"}, 1]',
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)  # fmt: skip
def test_what_is_no_list_of_wishes_is_refused(signed: Signed, body: bytes) -> None:
    status, document = signed.ask("POST", "/console/sign", body)
    assert (status, document["code"]) == (400, "InvalidRequest")


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_sign_in_is_refused(signed: Signed, body: bytes) -> None:
    assert signed.ask("POST", "/console/session", body)[0] == 400
    assert signed.reached == []


def test_wishes_are_signed_within_the_session(signed: Signed) -> None:
    wishes = [
        {"bucket": "b", "key": "a/../b", "seconds": 60, "query": {"partNumber": 1}},
        {"bucket": "b", "seconds": 10**30},
        {"bucket": "b", "method": "PUT", "seconds": -5},
    ]
    status, document = signed.ask("POST", "/console/sign", json.dumps(wishes).encode())
    assert status == 200
    first, long, short = document["urls"]
    assert first.startswith("http://s3.test/b/a/../b?")
    assert "X-Amz-Expires=60&" in first
    assert "partNumber=1&" in first
    lasts = int(long.partition("X-Amz-Expires=")[2].partition("&")[0])
    assert 2900 < lasts <= 3000
    assert "X-Amz-Expires=1&" in short


# -- other pages, and other ports -----------------------------------------------------------------


@pytest.mark.parametrize("mark", [b"", b"1", b"none", b"\xff" * 22, b"a" * 10_000])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/console/sign"), ("DELETE", "/console/session"), ("PUT", "/console/session"),
        ("GET", "/console/control/api/v1/me"), ("GET", "/console/s3"), ("HEAD", "/console/s3"),
        ("PUT", "/console/s3"), ("GET", "/console/zip"),
    ],
)  # fmt: skip
def test_a_cookie_alone_opens_nothing(
    signed: Signed, method: str, path: str, mark: bytes
) -> None:  # fmt: skip
    """Whatever runs at another port of the host can send it along, or set one of its own."""
    status, _ = signed.ask(method, path, b"[]", headers={b"x-oversight-console": mark})
    assert status == 403
    assert signed.reached == []
    assert len(signed.console._sessions) == 1


def test_links_carry_what_the_page_was_told(signed: Signed) -> None:
    plain = {b"x-oversight-console": b""}
    query = b".bucket=b&.key=k&.page="
    for page, expected in ((signed.page.encode(), 200), (b"x", 403), (b"", 403)):
        status, _ = signed.ask("GET", "/console/s3", query=query + page, headers=plain)
        assert status == expected
    # It opens reading by a link and nothing else.
    told = b".page=" + signed.page.encode()
    for method, path in (("PUT", "s3"), ("POST", "sign"), ("GET", "control/api/v1/me")):
        assert signed.ask(method, f"/console/{path}", query=told, headers=plain)[0] == 403


def test_who_is_signed_in_is_told_to_the_page_that_did_it(signed: Signed) -> None:
    assert signed.ask("GET", "/console/session")[0] == REACHED
    other = {b"x-oversight-console": b"another"}
    assert signed.ask("GET", "/console/session", headers=other) == (200, None)


def test_a_cookie_that_another_port_has_set_does_not_get_in_the_way(signed: Signed) -> None:
    attacker = Session("eve", time.time() + 3000, "token", "key", "secret", "more", owner="eve")
    tossed = signed.console._sessions.begin(attacker)
    cookie = f"{COOKIE}={tossed}; {COOKIE}={GUESS}; {COOKIE}={signed.id}"
    assert signed.ask("POST", "/console/sign", b"[]", cookie)[0] == 200
    assert signed.ask("POST", "/console/sign", b"[]", f"{COOKIE}={tossed}")[0] == 403


@pytest.mark.parametrize(
    "use",
    ["script", "style", "worker", "sharedworker", "serviceworker", "font", "manifest", "object",
     "embed", "frame", "iframe", "xslt", "json", "audioworklet", "report", "new-thing"],
)  # fmt: skip
def test_what_is_stored_is_not_loaded_as_part_of_a_page(signed: Signed, use: str) -> None:
    for path in ("s3", "zip", "session", "control/api/v1/me"):
        status, document = signed.ask(
            "GET", f"/console/{path}", headers={b"sec-fetch-dest": use.encode()}
        )
        assert (status, document["code"]) == (403, "CrossSite")
    assert signed.reached == []


@pytest.mark.parametrize(
    "stored",
    [b"text/javascript", b"application/javascript; charset=utf-8", b"TEXT/ECMASCRIPT", b"text/css",
     b"text/html", b"application/xhtml+xml", b"application/wasm", b"application/json",
     b"text/xml", b"application/manifest+json", b"image/png, text/javascript", b"", b"\xff"],
)  # fmt: skip
def test_a_stored_type_is_told_aside_where_something_could_be_run_by_it(
    signed: Signed, stored: bytes
) -> None:
    signed.stored = (200, [(b"Content-Type", stored)])
    _, headers, _ = signed.answer("GET", "/console/s3", query=b".bucket=b&.key=k")
    assert headers[b"Content-Type"] == b"application/octet-stream"
    assert headers[b"x-oversight-content-type"] == stored
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"sandbox" in headers[b"content-security-policy"]


@pytest.mark.parametrize(
    "stored", [b"image/svg+xml", b"video/mp4", b"text/plain; charset=utf-8", b"application/xml"]
)
def test_what_elements_show_keeps_its_type(signed: Signed, stored: bytes) -> None:
    signed.stored = (200, [(b"content-type", stored)])
    _, headers, _ = signed.answer("GET", "/console/s3", query=b".bucket=b&.key=k")
    assert headers[b"content-type"] == headers[b"x-oversight-content-type"] == stored


def test_a_body_without_a_length_goes_on_without_one(signed: Signed) -> None:
    chunked = {b"content-length": b"", b"transfer-encoding": b"chunked"}
    assert signed.ask("PUT", "/console/s3", b"data", headers=chunked)[0] == 200
    assert "content-length" not in signed.sent
    assert signed.ask("PUT", "/console/s3", b"data")[0] == 200
    assert signed.sent["content-length"] == "4"
    assert signed.ask("POST", "/console/sign", b"[]", headers=chunked)[0] == 200


# -- sessions that the store ends -----------------------------------------------------------------


def test_a_session_that_the_store_ended_is_said_to_be_so(signed: Signed) -> None:
    signed.refuses = 401
    status, document = signed.ask("PUT", "/console/session")
    assert (status, document["code"]) == (401, "AccessWithdrawn")
    status, document = signed.ask("POST", "/console/sign", b"[]")
    assert (status, document["code"]) == (401, "SessionOver")


def test_s3_refusing_a_withdrawn_session_ends_it_and_refusing_an_action_does_not(
    signed: Signed,
) -> None:
    query = b".bucket=b&.key=k"
    signed.stored = (403, [])
    assert signed.ask("GET", "/console/s3", query=query)[0] == 403
    signed.refuses = 401
    status, document = signed.ask("GET", "/console/s3", query=query)
    assert (status, document["code"]) == (401, "AccessWithdrawn")
    assert "disabled" in document["detail"]
    assert len(signed.console._sessions) == 0


def test_a_sign_out_that_the_store_does_not_hear_of_is_repeated(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    failures: list[Exception] = [
        httpcore.ConnectError(), httpcore.ReadTimeout(), Refused(503, b"{}"), Refused(500, b"{}"),
    ]  # fmt: skip

    async def end(session: Session) -> None:
        if failures:
            raise failures.pop()
        ended.append(session.access_key)

    monkeypatch.setattr("storage.console.farewells.FIRST", 0.01)
    monkeypatch.setattr("storage.console.farewells.PATIENCE", 0.001)
    monkeypatch.setattr(signed.console._farewells, "_end", end)

    async def work() -> None:
        scope = {
            "method": "DELETE", "path": "/console/session", "raw_path": b"/console/session",
            "query_string": b"", "client": ("10.0.0.1", 1), "scheme": "http", "headers": [
                (b"x-oversight-console", signed.page.encode()),
                (b"cookie", f"{COOKIE}={signed.id}".encode()),
            ],
        }  # fmt: skip
        answers: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            answers.append(message)

        await signed.console(scope, receive, send)
        assert answers[0]["status"] == 202
        assert b"told again" in answers[1]["body"]
        assert (b"set-cookie", b"oversight_session=; HttpOnly; SameSite=Strict; Max-Age=0") in (
            answers[0]["headers"]
        )
        assert len(signed.console._sessions) == 0
        assert not signed.console.is_idle(-1), "it must not end with a sign-out that waits"
        async with asyncio.timeout(60):
            while not ended:  # noqa: ASYNC110 - that is what is waited for
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
        assert len(signed.console._farewells) == 0

    asyncio.run(work())
    assert ended == ["key"]


def test_a_user_has_room_for_so_many_requests_and_others_have_theirs(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.console.upstream.ROOM_SECONDS", 0.05)
    upstream = Upstream(signed.console._upstream.birth)
    greedy = signed.console._sessions._get(signed.id)
    assert greedy is not None
    frugal = Session("bob", time.time() + 3000, "token", owner="bob")
    second = Session("ann", time.time() + 3000, "token")
    for session in (frugal, second):
        signed.console._sessions.begin(session)

    @asynccontextmanager
    async def stream(*_: object) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(upstream, "_stream", stream)

    async def work() -> None:
        held = [upstream.s3("GET", "b", "k", [], greedy) for _ in range(REQUESTS_OF_USER_MAX)]
        for each in held:
            await each.__aenter__()
        for session in (greedy, second):
            with pytest.raises(Crowded):
                async with upstream.s3("GET", "b", "k", [], session):
                    pass
        async with upstream.s3("GET", "b", "k", [], frugal):
            pass
        for each in held:
            await each.__aexit__(None, None, None)
        async with upstream.s3("GET", "b", "k", [], second):
            pass

    asyncio.run(work())


def test_what_is_refused_in_the_middle_of_an_answer_breaks_it_off(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than that a second answer stands in the first."""

    async def crowded(request: Any, *_: object) -> None:
        await request.send({"type": "http.response.start", "status": 200, "headers": []})
        raise Crowded

    monkeypatch.setattr("storage.console.archive.send_zip", crowded)
    with pytest.raises(Crowded):
        signed.ask("GET", "/console/zip", query=b"bucket=b")

    async def full(*_: object) -> None:
        raise Crowded

    monkeypatch.setattr("storage.console.archive.send_zip", full)
    status, document = signed.ask("GET", "/console/zip", query=b"bucket=b")
    assert (status, document["code"]) == (429, "TooManyRequests")
