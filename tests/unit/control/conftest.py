"""The control plane over an engine in memory, and callers who are signed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from storage.config import Config
from storage.control.app import create_control
from storage.control.plane import Plane
from storage.engine.memory import MemoryEngine
from storage.iam.users import KINDS, Directory, Record

ROOT, ROOT_SECRET = "minio", "miniosecret"
STORE_KEY = bytes(range(32))
#: Larger than this is a file of its own, so that small tests reach both ways.
INLINE_MAX = 1024


def directory_of(engine: MemoryEngine) -> Directory:
    async def load() -> list[Record]:
        return [(r.kind, r.name, r.value) for kind in KINDS for r in await engine.system(kind)]

    return Directory(
        load, engine.generation, root_user=ROOT, root_secret=ROOT_SECRET, store_key=STORE_KEY
    )


class Rekeyed:
    """Stands for what changes the root password; remembers the last one."""

    secret = ""

    async def __call__(self, secret: str) -> None:
        self.secret = secret


@pytest.fixture
def rekeyed() -> Rekeyed:
    return Rekeyed()


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine(inline_max=INLINE_MAX)


@pytest.fixture(scope="session")
def made_once() -> FastAPI:
    """The application: making one takes longer than most tests."""
    engine = MemoryEngine()
    config = Config(warnings=("The root password is the published default.",))
    return create_control(engine, directory_of(engine), config, store_key=STORE_KEY)


@pytest.fixture
def app(made_once: FastAPI, engine: MemoryEngine, rekeyed: Rekeyed) -> FastAPI:
    """The application over the test's own engine."""
    config = made_once.state.plane.config
    made_once.state.plane = Plane(engine, directory_of(engine), config, STORE_KEY, rekeyed)
    return made_once


@pytest.fixture
def anyone(app: Any) -> Iterator[TestClient]:
    """A client that is not signed in."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


SignIn = Callable[[str, str], TestClient]


@pytest.fixture
def sign_in(app: Any, anyone: TestClient) -> SignIn:
    """Sign in with an access key; a client whose requests carry the token."""

    def make(access_key: str, secret_key: str) -> TestClient:
        answer = anyone.post(
            "/api/v1/login", json={"access_key": access_key, "secret_key": secret_key}
        )
        assert answer.status_code == 200, answer.text
        client = TestClient(
            app,
            raise_server_exceptions=False,
            headers={"authorization": f"Bearer {answer.json()['token']}"},
        )
        client.portal = anyone.portal  # one event loop for all
        return client

    return make


@pytest.fixture
def root(sign_in: SignIn) -> TestClient:
    return sign_in(ROOT, ROOT_SECRET)


@pytest.fixture
def make_user(root: TestClient, sign_in: SignIn) -> Callable[..., TestClient]:
    """Add a user with policies; a client that is signed in as them."""

    def make(name: str, *policies: str) -> TestClient:
        answer = root.post("/api/v1/users", json={"name": name, "policies": list(policies)})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        return sign_in(made["access_key"], made["secret_key"])

    return make


@pytest.fixture
def bucket(root: TestClient) -> str:
    assert root.post("/api/v1/buckets", json={"name": "first"}).status_code == 201
    return "first"


def problem(answer: Any, status: int, code: str) -> str:
    """The sentence of a problem of this status and code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["detail"].endswith((".", "-"))  # "... characters of _+.@-"
    assert "\n" not in body["detail"]
    return str(body["detail"])
