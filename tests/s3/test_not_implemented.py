"""Whatever S3 has and this store has not is refused as S3 refuses it, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from storage.s3.headers import REFUSED
from storage.s3.routes import BUCKET, OBJECT, ROUTES, Route
from tests.s3.raw import RawClient

MISSING = [route for route in ROUTES if route.handler is None and route.scope in (BUCKET, OBJECT)]


@pytest.mark.parametrize("route", MISSING, ids=[route.operation for route in MISSING])
def test_operations(raw: RawClient, bucket: str, route: Route) -> None:
    path = f"/{bucket}/k" if route.scope == OBJECT else f"/{bucket}"
    body = b"<x/>" if route.method in ("PUT", "POST") else None
    headers = {route.header.decode(): "x"} if route.header else {}
    answer = raw.request(route.method, path, "&".join(route.query), body=body, headers=headers)
    assert (answer.status, answer.code) == (501, "NotImplemented")


def test_a_refused_operation_touches_nothing(raw: RawClient, boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"x")
    for route in MISSING:
        path = f"/{bucket}/k" if route.scope == OBJECT else f"/{bucket}"
        body = b"<x/>" if route.method in ("PUT", "POST") else None
        raw.request(route.method, path, "&".join(route.query), body=body)
    assert boto_client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "BUCKET/k"), ("PATCH", "BUCKET/k"), ("PUT", ""), ("DELETE", "")]
)
def test_methods_that_mean_nothing(raw: RawClient, bucket: str, method: str, path: str) -> None:
    answer = raw.request(method, "/" + path.replace("BUCKET", bucket), body=b"")
    assert (answer.status, answer.code) == (405, "MethodNotAllowed")


@pytest.mark.parametrize("name", [name.decode() for name in REFUSED])
def test_headers_that_ask_for_what_would_be_missing(
    raw: RawClient, boto_client: Any, bucket: str, name: str
) -> None:
    answer = raw.request("PUT", f"/{bucket}/k", body=b"x", headers={name: "x"})
    assert (answer.status, answer.code) == (501, "NotImplemented")
    assert answer.text("Header") == name
    assert "Contents" not in boto_client.list_objects_v2(Bucket=bucket)
