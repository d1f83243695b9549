"""What holds for every answer: headers, bounds, pages without anything from elsewhere."""

from __future__ import annotations

import ast
import re
from html import escape
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import storage.control
from storage import errors
from storage.control.guard import BODY_BYTES_MAX
from storage.engine.memory import MemoryEngine

from .conftest import problem


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_ask_nothing_from_elsewhere(anyone: TestClient, path: str) -> None:
    answer = anyone.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.search(r"<script|<link|<img|@import|url\(|src=", answer.text)
    assert not re.search(r"""(href|action)=["']?(https?:)?//""", answer.text)


def test_the_docs_show_every_operation(anyone: TestClient) -> None:
    page = anyone.get("/docs").text
    schema = anyone.get("/openapi.json").json()
    assert len(schema["paths"]) >= 17
    for path, operations in schema["paths"].items():
        assert f"<code>{path}</code>" in page
        for operation in operations.values():
            assert escape(operation["summary"]) in page
            assert operation.get("description"), path


def test_every_operation_but_two_needs_a_token(anyone: TestClient) -> None:
    for path, operations in anyone.get("/openapi.json").json()["paths"].items():
        for method in operations:
            if path in ("/api/v1/login", "/api/v1/health"):
                continue
            filled = re.sub(r"\{\w+\}", "name", path)
            answer = anyone.request(method.upper(), filled, json={})
            assert answer.status_code in (400, 401), (method, path)
            assert operations[method].get("security"), (method, path)


@pytest.mark.parametrize("path", ["/", "/api/v1/buckets", "/nothing", "/api/v1/health"])
def test_every_answer_is_guarded(anyone: TestClient, path: str) -> None:
    headers = anyone.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_unknown_addresses_and_methods_are_problems(anyone: TestClient) -> None:
    problem(anyone.get("/api/v2"), 404, "NotFound")
    problem(anyone.put("/api/v1/login"), 405, "MethodNotAllowed")


@pytest.mark.parametrize("chunked", [False, True])
def test_large_bodies_are_refused_before_they_are_read(anyone: TestClient, chunked: bool) -> None:
    block = b" " * 65536
    count = BODY_BYTES_MAX // len(block) + 1
    content: Any = (block for _ in range(count)) if chunked else block * count
    answer = anyone.post(
        "/api/v1/login", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_is_not_json_is_a_problem(anyone: TestClient) -> None:
    answer = anyone.post(
        "/api/v1/login", content=b"{", headers={"content-type": "application/json"}
    )
    assert "not JSON" in problem(answer, 400, "InvalidArgument")


def test_health_says_whether_the_engine_answers(
    anyone: TestClient, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert anyone.get("/api/v1/health").json() == {"status": "ok"}

    async def away() -> None:
        raise errors.Unavailable

    monkeypatch.setattr(engine, "space", away)
    answer = anyone.get("/api/v1/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})


def test_mistakes_of_the_store_are_problems_without_details(
    root: TestClient, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise RuntimeError("an inner detail")

    monkeypatch.setattr(engine, "buckets", broken)
    answer = root.get("/api/v1/buckets")
    problem(answer, 500, "InternalError")
    assert "inner detail" not in answer.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.StorageFull(), 507, "XMinioStorageFull"),
        (errors.ReadOnly(), 503, "ReadOnly"),
        (errors.Unavailable(), 503, "ServiceUnavailable"),
    ],
)
def test_the_engines_troubles_are_translated(
    root: TestClient, bucket: str, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch,
    error: errors.StoreError, status: int, code: str,
) -> None:  # fmt: skip
    async def refuse(_: Any) -> None:
        raise error

    monkeypatch.setattr(engine, "commit", refuse)
    answer = root.put(f"/api/v1/buckets/{bucket}/objects/k", content=b"x")
    problem(answer, status, code)
    assert (answer.headers.get("retry-after") == "1") == (status == 503)


def test_control_and_s3_do_not_know_each_other() -> None:
    folder = Path(storage.control.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            assert not any(
                name.startswith(("storage.s3", "storage.serving", "stack")) for name in names
            ), path


def test_the_documentation_lists_every_operation(anyone: TestClient) -> None:
    page = (Path(__file__).parents[3] / "docs" / "control-api.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z]+ /api/[^`]+)` \|", page, re.MULTILINE))
    described = {
        f"{method.upper()} {path}"
        for path, operations in anyone.get("/openapi.json").json()["paths"].items()
        for method in operations
    }
    assert documented == described
