"""Fixtures for pytest, found by the entry point ``oversight`` of the package.

``oversight_store`` (of the session), ``oversight_client``, ``oversight_bucket`` (new for each test)
and ``oversight_environment``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stack.testing.local import LocalStore


@pytest.fixture(scope="session")
def oversight_store() -> Iterator[LocalStore]:
    """A store in this process, shared by the whole run: make buckets of your own in it."""
    from stack.testing.local import LocalStore

    with LocalStore() as store:
        yield store


@pytest.fixture(scope="session")
def oversight_client(oversight_store: LocalStore) -> Any:
    """A client of boto3 for that store."""
    return oversight_store.client()


@pytest.fixture
def oversight_bucket(oversight_client: Any) -> Iterator[str]:
    """The name of a new, empty bucket; it goes with all that the test put in."""
    name = f"test-{uuid.uuid4().hex[:20]}"
    oversight_client.create_bucket(Bucket=name)
    yield name
    _delete(oversight_client, name)


@pytest.fixture
def oversight_environment(
    oversight_store: LocalStore, oversight_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Sets the variables of AWS's SDKs and of Langfuse's S3 clients for one test, and returns them.

    They name the store and the test's own bucket.
    """
    variables = oversight_store.environment(oversight_bucket)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def _delete(client: Any, bucket: str) -> None:
    """Delete a bucket with what is in it; one that is gone already is fine."""
    try:
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            for upload in page.get("Uploads", ()):
                client.abort_multipart_upload(
                    Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            keys = [{"Key": each["Key"]} for each in page.get("Contents", ())]
            if keys:
                client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        client.delete_bucket(Bucket=bucket)
    except client.exceptions.NoSuchBucket:
        pass
