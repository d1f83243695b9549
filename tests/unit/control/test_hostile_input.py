"""What nobody sends by accident: it is refused as a problem, never a mistake of the store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

DEEP = b"[" * 100_000 + b"]" * 100_000
HOSTILE: list[bytes] = [
    b"", b"null", b"[]", b"1", b'"x"', b"{", b"\xff\xfe", DEEP, b'{"a":' * 50_000,
    b'{"name": "\\ud800", "access_key": "\\ud800", "secret_key": "\\ud800"}',
    b'{"name": "a\\u0000b", "access_key": "a\\u0000b", "secret_key": "a\\u0000bcdefgh"}',
    b'{"name": {"$ne": 1}, "access_key": [], "secret_key": 1e999}',
    b'{"name": ' + b"9" * 10_000 + b"}",
    json.dumps({"name": "x" * 500_000, "access_key": "x" * 500_000, "secret_key": "y"}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/login"), ("POST", "/users"), ("PATCH", "/users/ada"), ("POST", "/keys"),
        ("PATCH", "/keys/some"), ("PUT", "/policies/mine"), ("POST", "/buckets"),
        ("POST", "/rekey"),
    ],
)  # fmt: skip
def test_hostile_bodies(root: TestClient, method: str, path: str, content: bytes) -> None:
    answer = root.request(
        method, f"/api/v1{path}", content=content, headers={"content-type": "application/json"}
    )
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/buckets/%ff", "/api/v1/buckets/%00", "/api/v1/buckets/..%2f..%2fetc",
        "/api/v1/buckets/first/metadata/%c3%28", "/api/v1/buckets//objects/x",
        "/api/v1/buckets/first/objects?prefix=%ff&after=%00", "/api/v1/users/%ff",
        "/api/v1/keys/%00", "/api/v1/policies/%2e%2e", "/api/v1/buckets/first/objects?limit=1e9",
        "/api/v1/buckets/first/objects?limit=" + "9" * 5000,
    ],
)  # fmt: skip
def test_hostile_paths(root: TestClient, bucket: str, path: str) -> None:
    answer: Any = root.get(path)
    assert answer.status_code in (200, 400, 404, 405), answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"content-md5": "not base64"}, {"if-match": "," * 3000}, {"content-type": "x" * 5000},
        {"content-length": "-1"}, {"content-length": "9" * 30},
    ],
)  # fmt: skip
def test_hostile_headers(root: TestClient, bucket: str, headers: dict[str, str]) -> None:
    answer = root.put(f"/api/v1/buckets/{bucket}/objects/k", content=b"x", headers=headers)
    assert answer.status_code < 500, answer.text


def test_only_uploads_may_be_large(root: TestClient) -> None:
    """A policy called "objects" is no object: its body is read before anyone asks who sent it."""
    content = b'{"x": "' + b"y" * (2 * 1024 * 1024) + b'"}'
    answer = root.put(
        "/api/v1/policies/objects",
        content=content,
        headers={"content-type": "application/json", "authorization": ""},
    )
    assert answer.status_code == 413
