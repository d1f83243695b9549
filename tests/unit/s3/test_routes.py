"""The table of operations: complete, unambiguous, and what the documentation shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from storage.iam.actions import ACTIONS
from storage.s3 import headers
from storage.s3.routes import BUCKET, OBJECT, ROUTES, SERVICE, Route, match

PAGE = Path(__file__).parents[3] / "docs" / "s3-compatibility.md"
#: Older forms of operations that have another name today, with the same request.
RETIRED = {
    "GetBucketLifecycle", "PutBucketLifecycle", "GetBucketNotification", "PutBucketNotification",
}  # fmt: skip


def test_names_and_matchers_are_unique() -> None:
    names = [route.operation for route in ROUTES]
    assert len(names) == len(set(names))
    matchers = [(r.method, r.scope, frozenset(r.query), r.header) for r in ROUTES]
    assert len(matchers) == len(set(matchers))


def test_actions_are_actions() -> None:
    for route in ROUTES:
        assert re.fullmatch(r"(s3|s3express|s3-object-lambda):[A-Z][A-Za-z]+", route.action)


def test_what_is_asked_of_policies_can_be_named_in_them() -> None:
    for route in ROUTES:
        if route.handler is not None:
            assert {route.action.lower(), route.version_action.lower()} <= ACTIONS.keys(), route
    named = {route.version_action for route in ROUTES if route.version_action != route.action}
    assert named >= {"s3:GetObjectVersion", "s3:DeleteObjectVersion", "s3:PutObjectVersionAcl"}


@pytest.mark.parametrize("route", ROUTES, ids=[route.operation for route in ROUTES])
def test_a_request_finds_its_row(route: Route) -> None:
    query = dict(condition.partition("=")[::2] for condition in route.query)
    lines = {route.header: b"x"} if route.header else {}
    assert match(route.method, route.scope, query, lines) is route
    assert match(route.method, route.scope, query | {"x-id": route.operation}, lines) is route


def test_every_operation_that_amazon_publishes_is_here() -> None:
    model = _published()
    known = {route.operation: route for route in ROUTES}
    assert set(model) - RETIRED <= known.keys()
    for name in model.keys() & known.keys():
        method, uri = model[name]
        route = known[name]
        assert route.method == method, name
        if name != "WriteGetObjectResponse":
            scope = OBJECT if "Key" in uri else BUCKET if "Bucket" in uri else SERVICE
            assert route.scope == scope, name
        wanted = {q.partition("=")[0] for q in uri.partition("?")[2].split("&") if q}
        assert wanted - {"select-type"} <= {q.partition("=")[0] for q in route.query}, name


def _published() -> dict[str, tuple[str, str]]:
    loaders = pytest.importorskip("botocore.loaders")
    model: dict[str, Any] = loaders.Loader().load_service_model("s3", "service-2")
    return {
        name: (operation["http"]["method"], operation["http"]["requestUri"])
        for name, operation in model["operations"].items()
    }


def test_nothing_else_is_plain() -> None:
    assert match("POST", OBJECT, {}, {}) is None
    assert match("PATCH", OBJECT, {}, {}) is None
    # A sub-resource that fits no row never falls back to the plain operation.
    assert match("PUT", OBJECT, {"uploadId": "x"}, {}) is None
    assert match("PUT", OBJECT, {"partNumber": "1"}, {}) is None


def operations_table() -> str:
    """The table of docs/s3-compatibility.md."""
    rows = ["| Operation | Request | IAM action | |", "|---|---|---|---|"]
    for route in sorted(ROUTES, key=lambda r: (r.handler is None, r.operation)):
        path = {SERVICE: "/", BUCKET: "/bucket", OBJECT: "/bucket/key"}[route.scope]
        query = "?" + "&".join(route.query) if route.query else ""
        header = f", `{route.header.decode()}`" if route.header else ""
        state = "yes" if route.handler is not None else "501"
        request = f"`{route.method} {path}{query}`{header}"
        rows.append(f"| {route.operation} | {request} | `{route.action}` | {state} |")
    return "\n".join(rows)


def refusals_table() -> str:
    """The table of refused headers."""
    rows = ["| Header | Answer |", "|---|---|"]
    for name, reason in headers.REFUSED.items():
        harmless = headers.HARMLESS.get(name)
        accepted = ""
        if harmless:
            values = ", ".join(f"`{value.decode()}`" for value in sorted(harmless) if value)
            accepted = f" Accepted: {values}."
        rows.append(f"| `{name.decode()}` | {reason}{accepted} |")
    return "\n".join(rows)


def test_the_page_shows_the_tables() -> None:
    page = PAGE.read_text()
    assert operations_table() in page, operations_table()
    assert refusals_table() in page, refusals_table()
