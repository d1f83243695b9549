"""Requests to the console that nobody means well by: cookies, addresses and documents."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import unquote

import pytest

from storage.console import app as module
from storage.console.app import COOKIE, Console
from storage.console.sessions import Session
from storage.console.upstream import Refused
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
        self.reached: list[str] = []
        monkeypatch.setattr(self.console._upstream, "control", self._control)

    def _control(self, method: str, target: str, *_: object) -> None:
        self.reached.append(target)
        raise Refused(REACHED, b"{}")

    def ask(
        self, method: str, path: str, body: bytes = b"", cookie: str | None = None,
        raw_path: bytes = b"", query: bytes = b"",
    ) -> tuple[int, Any]:  # fmt: skip
        """Status and document of the answer."""
        sent = f"{COOKIE}={self.id}" if cookie is None else cookie
        scope = {
            "method": method, "path": path, "raw_path": raw_path or path.encode(),
            "query_string": query, "client": ("10.0.0.1", 1),
            "headers": [
                (b"x-oversight-console", b"1"), (b"cookie", sent.encode("latin-1")),
                (b"content-length", b"%d" % len(body)),
            ],
        }  # fmt: skip
        answers: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            answers.append(message)

        asyncio.run(self.console(scope, receive, send))
        return answers[0]["status"], json.loads(answers[1]["body"])


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
    assert time.process_time() - began < 0.5
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
