"""Whose rules count: the bucket's, else the server's, which may be none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from storage.s3 import cors
from storage.s3.cors import Rule
from tests.unit.s3.asgi import Caller, Reply

ORIGIN = "https://a.example"
PREFLIGHT = {"origin": ORIGIN, "access-control-request-method": "PUT"}
RULES = (
    b"<CORSConfiguration><CORSRule><AllowedOrigin>https://b.example</AllowedOrigin>"
    b"<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
)


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def allowed(reply: Reply) -> str | None:
    return reply.headers.get("access-control-allow-origin")


def test_a_buckets_rules_replace_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        call = Caller(monkeypatch)
        await call("PUT", "/bucket")
        assert allowed(await call("OPTIONS", "/bucket/k", headers=PREFLIGHT)) == "*"
        assert (await call("PUT", "/bucket", "cors", RULES)).status == 200
        reply = await call("OPTIONS", "/bucket/k", headers=PREFLIGHT)
        assert (reply.status, allowed(reply)) == (403, None)
        reply = await call("GET", "/bucket", headers={"origin": ORIGIN})
        assert (reply.status, allowed(reply)) == (200, None)
        other = {"origin": "https://b.example"}
        assert allowed(await call("GET", "/bucket", headers=other)) == "https://b.example"
        assert allowed(await call("GET", "/", headers=PREFLIGHT)) == "*"
        await call("DELETE", "/bucket", "cors")
        assert allowed(await call("OPTIONS", "/bucket/k", headers=PREFLIGHT)) == "*"

    run(main())


def test_rules_count_where_the_host_names_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        call = Caller(monkeypatch, domains=("s3.example.com",))
        await call("PUT", "/bucket")
        await call("PUT", "/bucket", "cors", RULES)
        asked = {"origin": "https://b.example", "access-control-request-method": "GET"}
        for path, host, found in (
            ("/k", "bucket.s3.example.com", "https://b.example"),
            ("/bucket/k", "s3.example.com", "https://b.example"),
            ("/k", "other.s3.example.com", "*"),
        ):
            assert allowed(await call("OPTIONS", path, headers=asked | {"host": host})) == found
            reply = await call("GET", path, headers={"origin": asked["origin"], "host": host})
            assert (reply.status, allowed(reply)) == (404, found)

    run(main())


@pytest.mark.parametrize("origins", [(), ("none",)])
def test_a_server_that_lets_nobody_in(
    monkeypatch: pytest.MonkeyPatch, origins: tuple[str, ...]
) -> None:
    async def main() -> None:
        call = Caller(monkeypatch, cors_allow_origin=origins)
        await call("PUT", "/bucket")
        reply = await call("OPTIONS", "/bucket/k", headers=PREFLIGHT)
        assert reply.status == 403
        assert b"<Code>AccessForbidden</Code>" in reply.body
        assert b"CORSResponse: CORS is not enabled for this bucket." in reply.body
        assert b"<Method>PUT</Method><ResourceType>BUCKET</ResourceType>" in reply.body
        reply = await call("OPTIONS", "/absent/k", headers=PREFLIGHT)
        assert b"CORSResponse: Bucket not found" in reply.body
        reply = await call("OPTIONS", "/bucket/k")
        assert (reply.status, b"Origin request header needed" in reply.body) == (400, True)
        reply = await call("GET", "/bucket", headers={"origin": ORIGIN})
        assert (reply.status, allowed(reply), "vary" in reply.headers) == (200, None, False)
        await call("PUT", "/bucket", "cors", RULES)
        other = PREFLIGHT | {"origin": "https://b.example", "access-control-request-method": "GET"}
        assert (await call("OPTIONS", "/bucket/k", headers=other)).status == 200

    run(main())


def test_preflights_count_as_requests_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        call = Caller(monkeypatch, requests_max=0)
        reply = await call("OPTIONS", "/bucket/k", headers=PREFLIGHT)
        assert (reply.status, b"SlowDown" in reply.body) == (503, True)
        assert call.app.in_flight == 0

    run(main())


def test_headers_match_whatever_their_case() -> None:
    rules = (Rule(("*",), ("GET",), headers=("X-Amz-*",)),)
    assert cors.find(rules, ORIGIN, "GET", ("x-amz-date",)) is rules[0]
    assert cors.find(rules, ORIGIN, "GET", ("x-am-date",)) is None
    assert cors.find(rules, ORIGIN, "GET", ()) is rules[0]
    assert cors.find(rules, ORIGIN, "PUT", ()) is None


def test_nothing_in_a_pattern_is_special_but_the_asterisk() -> None:
    rules = (Rule(("https://[a-z]+.example",), ("GET",)),)
    assert cors.find(rules, "https://abc.example", "GET") is None
    assert cors.find(rules, "https://[a-z]+.example", "GET") is rules[0]


def test_documents_survive() -> None:
    rules = (Rule(("a",), ("GET",), ("h",), ("e",), 0, "id"), Rule(("*",), ("PUT",)))
    assert cors.decode(cors.encode(rules)) == rules
