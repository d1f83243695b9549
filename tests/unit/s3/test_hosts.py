"""Which bucket a Host header names."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.s3.app import Hooks
from storage.s3.hosts import _bucket_of, bucket_of

from .asgi import Caller, Reply

DOMAINS = ("s3.example.com", "localhost", "example.com", "2.s3.example.com")


def run(coroutine: Coroutine[Any, Any, Reply]) -> Reply:
    return asyncio.run(coroutine)


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        (b"photos.s3.example.com", "photos"),
        (b"photos.s3.example.com:9090", "photos"),
        (b"PHOTOS.S3.Example.Com", "photos"),
        (b"photos.s3.example.com.", "photos"),
        (b"my.dotted.bucket.s3.example.com", "my.dotted.bucket"),
        (b"photos.localhost:9090", "photos"),
        (b"a.2.s3.example.com", "a"),
        # one of the domains itself is path style, also where it could be a bucket of another
        (b"s3.example.com", ""),
        (b"s3.example.com:9090", ""),
        (b"localhost", ""),
        (b"example.com", ""),
        # hosts that are none of ours are path style
        (b"photos.s3.example.org", ""),
        (b"nots3.example.org", ""),
        (b"evillocalhost", ""),
        (b"127.0.0.1:9090", ""),
        (b"[::1]:9090", ""),
        (b"", ""),
        (b"a,b.localhost", ""),
        (b"a%2fb.localhost", ""),
        (b"a/b.localhost", ""),
        (b"\xff.localhost", ""),
        (b"a.localhost:x", ""),
    ],
)
def test_bucket_of(host: bytes, bucket: str) -> None:
    assert bucket_of(host, DOMAINS) == bucket


def test_without_a_domain_every_host_is_path_style() -> None:
    assert bucket_of(b"photos.s3.example.com", ()) == ""


@given(st.binary(max_size=40))
def test_any_host(host: bytes) -> None:
    bucket = bucket_of(host, DOMAINS)
    assert "/" not in bucket
    assert "%" not in bucket


def test_path_and_host_name_the_same_object(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Caller(monkeypatch, domains=("s3.example.com",))
    host = {"host": "pictures.s3.example.com"}
    assert run(call("PUT", "/", headers=host)).headers["location"] == "/pictures"
    assert run(call("PUT", "/a//b%20c", body=b"x", headers=host)).status == 200
    assert run(call("GET", "/pictures/a//b%20c")).body == b"x"
    assert run(call("GET", "/a//b%20c", headers=host)).body == b"x"
    assert b"<Key>a//b c</Key>" in run(call("GET", "/", headers=host)).body
    assert run(call("GET", "//pictures/a", headers=host)).status == 404
    assert b"<Name>pictures</Name>" in run(call("GET", "/", "list-type=2", headers=host)).body
    assert run(call("DELETE", "/a//b%20c", headers=host)).status == 204
    assert run(call("DELETE", "/", headers=host)).status == 204
    gone = run(call("GET", "/", headers=host))
    assert (gone.status, b"NoSuchBucket" in gone.body) == (404, True)


def test_a_broken_path_is_refused_as_in_path_style(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Caller(monkeypatch, domains=("s3.example.com",))
    reply = run(call("GET", "/%zz", headers={"host": "pictures.s3.example.com"}))
    assert (reply.status, b"InvalidURI" in reply.body) == (400, True)


def test_health_paths_are_keys_of_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def minio(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    call = Caller(monkeypatch, hooks=Hooks(minio=minio), domains=("s3.example.com",))
    run(call("GET", "/minio/health/live", headers={"host": "s3.example.com"}))
    assert len(asked) == 1
    reply = run(call("GET", "/minio/health/live", headers={"host": "pictures.s3.example.com"}))
    assert (len(asked), reply.status) == (1, 404)


def test_hosts_that_are_too_long_to_be_one_are_not_remembered() -> None:
    """Strangers choose them: thousands of 60 KiB would fill the memory."""
    bucket_of(b"photos.localhost", DOMAINS)
    known = _bucket_of.cache_info().currsize
    for number in range(100):
        assert bucket_of(b"%d" % number * 1000 + b".localhost", DOMAINS) == ""
    assert _bucket_of.cache_info().currsize == known
