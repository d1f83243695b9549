"""Buckets through the control API."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from .conftest import problem


def test_a_bucket_from_birth_to_end(root: TestClient) -> None:
    made = root.post("/api/v1/buckets", json={"name": "one"})
    assert made.status_code == 201
    assert made.json()["owner"] == "minio"
    root.put("/api/v1/buckets/one/objects/a", content=b"12345")
    root.put("/api/v1/buckets/one/objects/b", content=b"123")
    info = root.get("/api/v1/buckets/one").json()
    assert (info["name"], info["objects"], info["bytes"], info["uploads"]) == ("one", 2, 8, 0)
    assert root.get("/api/v1/buckets").json() == [info]
    problem(root.delete("/api/v1/buckets/one"), 409, "BucketNotEmpty")
    root.delete("/api/v1/buckets/one/objects/a")
    root.delete("/api/v1/buckets/one/objects/b")
    assert root.delete("/api/v1/buckets/one").status_code == 204
    problem(root.get("/api/v1/buckets/one"), 404, "NoSuchBucket")


def test_a_name_is_taken_once(root: TestClient, bucket: str) -> None:
    problem(root.post("/api/v1/buckets", json={"name": bucket}), 409, "BucketAlreadyExists")


@pytest.mark.parametrize(
    "name",
    ["ab", "Up", "a_b", "a..b", "a.-b", "a-.b", "1.2.3.4", "xn--abc", "-ab", "x" * 64],
)
def test_unfit_names_are_refused(root: TestClient, name: str) -> None:
    problem(root.post("/api/v1/buckets", json={"name": name}), 400, "InvalidBucketName")


@pytest.mark.parametrize("name", ["abc", "a.b", "a-b.c-d", "1.2.3.4.5", "x" * 63, "999.1.1.1"])
def test_fit_names_are_taken(root: TestClient, name: str) -> None:
    assert root.post("/api/v1/buckets", json={"name": name}).status_code == 201


def test_policies_decide_who_sees_which_bucket(
    root: TestClient, bucket: str, make_user: Callable[..., TestClient]
) -> None:
    ada, bob = make_user("ada", "ownbuckets"), make_user("bob")
    problem(bob.get("/api/v1/buckets"), 403, "AccessDenied")
    problem(bob.post("/api/v1/buckets", json={"name": "bobs"}), 403, "AccessDenied")
    assert ada.post("/api/v1/buckets", json={"name": "adas"}).json()["owner"] == "ada"
    assert [each["name"] for each in ada.get("/api/v1/buckets").json()] == ["adas"]
    assert [each["name"] for each in root.get("/api/v1/buckets").json()] == ["adas", "first"]
    problem(ada.get(f"/api/v1/buckets/{bucket}"), 403, "AccessDenied")
    problem(ada.delete(f"/api/v1/buckets/{bucket}"), 403, "AccessDenied")
    problem(bob.get("/api/v1/buckets/none"), 403, "AccessDenied")
