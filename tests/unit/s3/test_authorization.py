"""What is asked of policies for a request: which action, and with which facts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import Any

import pytest

from storage.iam.policy import parse_policy
from storage.iam.principal import Principal
from storage.s3.app import Hooks
from storage.s3.auth import AuthResult

from .asgi import Caller, Reply

ALL = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
COPY = {"x-amz-copy-source": "/bucket/source"}


class Store:
    """A store with a bucket of root's, to which anybody may be said to speak."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.who: Principal | None = None
        self._caller = Caller(monkeypatch, hooks=Hooks(authenticate=self._authenticate))
        self.send("PUT", "/bucket")
        self.send("PUT", "/bucket/source", body=b"source")

    def _authenticate(self, *_: Any, **__: Any) -> AuthResult:
        identity: Any = self._caller.app.directory.current()
        who = self.who or identity.root
        return AuthResult(who, who.name, "header" if who.name else "")

    def send(
        self, method: str, path: str, query: str = "", who: Principal | None = None, **more: Any
    ) -> Reply:
        """One request of ``who``, None for root."""
        self.who = who
        return asyncio.run(self._caller(method, path, query, **more))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(monkeypatch)


def user(*statements: dict[str, Any], name: str = "u") -> Principal:
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    return Principal(name=name, id=name * 64, policies=(parse_policy(document),))


def upload_of(reply: Reply) -> str:
    found = re.search(rb"<UploadId>(.*?)<", reply.body)
    assert found is not None
    return found[1].decode()


def completion(data: bytes) -> bytes:
    """The document that completes an upload of one part."""
    etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
    part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    return f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()


# -- versions -------------------------------------------------------------------------------------


def test_a_version_in_the_query_does_not_escape_a_denial(store: Store) -> None:
    denied = user(ALL, {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"})
    upload = upload_of(store.send("POST", "/bucket/k", "uploads"))
    part = f"partNumber=1&uploadId={upload}"
    store.send("PUT", "/bucket/k", part, body=b"x")
    complete = {"body": completion(b"x")}
    for method, query, more in (
        ("PUT", "", {"body": b"y"}),
        ("PUT", "", {"headers": COPY}),
        ("POST", "uploads", {}),
        ("PUT", part, {"body": b"y"}),
        ("PUT", part, {"headers": COPY}),
        ("POST", f"uploadId={upload}", complete),
    ):
        for version, status in (("", 403), ("&versionId=null", 400), ("&versionId=", 400)):
            reply = store.send(method, "/bucket/k", query + version, denied, **more)
            assert reply.status == status, (method, query, version, reply.body)
    assert store.send("GET", "/bucket/k").status == 404
    assert store.send("GET", "/bucket", "uploads").body.count(b"<Upload>") == 1
    assert store.send("POST", "/bucket/k", f"uploadId={upload}", **complete).status == 200
