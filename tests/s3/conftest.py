"""Fixtures of the tests of single operations. They run against any endpoint (tests/conftest.py)."""

from __future__ import annotations

import pytest

from tests.conftest import Store
from tests.s3.raw import RawClient

pytest.importorskip("boto3")


@pytest.fixture(scope="session")
def raw(store: Store) -> RawClient:
    """A client for requests that no SDK would send."""
    return RawClient(store.host, store.access_key, store.secret_key)
