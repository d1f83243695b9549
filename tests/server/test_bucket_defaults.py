"""OVERSIGHT_BUCKET_DEFAULTS=aws: how new buckets begin, whoever makes them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stack.bootstrap.making import connect
from stack.client import Control
from stack.s3.client import S3
from stack.s3.errors import S3Error
from stack.s3.signing import Credentials
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStore]:
    """A store with AWS's defaults."""
    folder = tmp_path_factory.mktemp("defaults")
    settings = {"OVERSIGHT_BUCKET_DEFAULTS": "AWS"}
    with ServedStore(folder / "drive", folder / "log", ("--workers", "1"), settings) as store:
        yield store


@pytest.fixture
def s3(served: ServedStore) -> S3:
    return S3(served.endpoint, Credentials(ACCESS_KEY, SECRET_KEY))


def document(s3: S3, bucket: str, name: str) -> bytes:
    body: bytes = s3.request("GET", bucket, query=[(name, "")]).body
    return body


def code(s3: S3, bucket: str, headers: dict[str, str]) -> str:
    with pytest.raises(S3Error) as caught:
        s3.request("PUT", bucket, headers=headers)
    return caught.value.code


def is_strict(s3: S3, bucket: str) -> bool:
    block = document(s3, bucket, "publicAccessBlock").count(b">true<") == 4
    return block and b"BucketOwnerEnforced" in document(s3, bucket, "ownershipControls")


def test_every_new_bucket_is_closed(served: ServedStore, s3: S3) -> None:
    s3.create_bucket("by-s3")
    s3.create_bucket("by-s3")
    control = connect(lambda: Control(served.console, ACCESS_KEY, SECRET_KEY), 30)
    control.call("POST", "buckets", body={"name": "by-control"})
    assert [is_strict(s3, name) for name in ("langfuse", "by-s3", "by-control")] == [True] * 3


def test_what_contradicts_is_refused_and_what_is_asked_for_is_done(s3: S3) -> None:
    public = {"x-amz-acl": "public-read"}
    writer = {"x-amz-object-ownership": "ObjectWriter"}
    assert code(s3, "contrary", public) == "InvalidBucketAclWithObjectOwnership"
    assert code(s3, "contrary", public | writer) == "InvalidBucketAclWithBlockPublicAccessError"
    s3.request("PUT", "with-acls", headers=writer | {"x-amz-acl": "private"})
    assert b"ObjectWriter" in document(s3, "with-acls", "ownershipControls")
    assert document(s3, "with-acls", "publicAccessBlock").count(b">true<") == 4
