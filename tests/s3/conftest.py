"""Fixtures of the tests of single operations. They run against any endpoint (tests/conftest.py)."""

from __future__ import annotations

import os
import time

import pytest

from stack.client import Control, Starting
from tests.conftest import Store
from tests.s3.people import Person
from tests.s3.raw import RawClient
from tests.serving import ServedStore

pytest.importorskip("boto3")


@pytest.fixture(scope="session")
def raw(store: Store) -> RawClient:
    """A client for requests that no SDK would send."""
    return RawClient(store.host, store.access_key, store.secret_key)


@pytest.fixture(scope="session")
def owner(store: Store) -> Person:
    """The root user, whose the buckets of the tests are."""
    return Person.known(store, store.access_key, store.secret_key)


@pytest.fixture(scope="session")
def other(store: Store) -> Person:
    """Another user, who may do everything in buckets of his own, and nothing in others'.

    Where somebody else runs the store, ``S3_TEST_OTHER_ACCESS_KEY``, ``S3_TEST_OTHER_SECRET_KEY``
    and ``S3_TEST_OTHER_EMAIL`` name one.
    """
    if store.served is None:
        names = ("ACCESS_KEY", "SECRET_KEY", "EMAIL")
        given = [os.environ.get(f"S3_TEST_OTHER_{name}", "") for name in names]
        if not all(given):
            pytest.skip("a store that somebody else runs, and no other user of it is named")
        return Person.known(store, given[0], given[1], given[2])
    return _add(store, store.served, "other", "ownbuckets")


@pytest.fixture(scope="session")
def writer(store: Store) -> Person:
    """A user who may write objects everywhere, and do nothing else."""
    if store.served is None:
        pytest.skip("a store that somebody else runs, where no users are made")
    return _add(store, store.served, "writer", "writeonly")


@pytest.fixture(scope="session")
def control(store: Store) -> Control:
    """The control API, as the root user."""
    if store.served is None:
        pytest.skip("a store that somebody else runs, whose control API is not known")
    return _control(store, store.served.console)


@pytest.fixture(scope="session")
def stranger(store: Store) -> Person:
    """Somebody without credentials."""
    return Person.anonymous(store)


def _add(store: Store, served: ServedStore, name: str, policy: str) -> Person:
    """A new user with a policy."""
    control = _control(store, served.console)
    user = {"name": name, "display_name": f"The {name}", "email": f"{name}@example.org"}
    made = control.call("POST", "users", body=user | {"policies": [policy]})
    shown = control.get("users", name)
    keys = made["access_key"], made["secret_key"]
    return Person.of(store, *keys, shown["id"], user["display_name"], user["email"])


def _control(store: Store, url: str) -> Control:
    """The control API, which may be ready a moment after S3 is."""
    control = Control(url, store.access_key, store.secret_key)
    deadline = time.monotonic() + 60
    while True:
        try:
            control.get("users")
        except Starting:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return control
