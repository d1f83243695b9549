"""What is asked of policies for a request: which action, and with which facts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from storage.iam.actions import ACTIONS, has_condition_key, spelled
from storage.iam.decide import RequestFacts
from storage.iam.policy import parse_policy
from storage.iam.principal import ANONYMOUS, Principal
from storage.s3.app import Hooks
from storage.s3.auth import AuthResult
from storage.s3.call import AsgiRequest, Call
from storage.s3.operations.facts import Facts

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


# -- condition keys -------------------------------------------------------------------------------

#: What a client can bring along in headers, whatever it asks for: the keys of the same name.
IN_HEADERS = (
    "x-amz-acl", "x-amz-grant-full-control", "x-amz-grant-read", "x-amz-grant-read-acp",
    "x-amz-grant-write", "x-amz-grant-write-acp", "x-amz-content-sha256", "x-amz-copy-source",
    "x-amz-metadata-directive", "x-amz-object-ownership", "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id", "x-amz-storage-class",
    "x-amz-server-side-encryption-customer-algorithm", "x-amz-website-redirect-location",
    "if-match", "if-none-match",
)  # fmt: skip
LOCKS = ("object-lock-mode", "object-lock-legal-hold", "object-lock-retain-until-date")
KEYS = [
    *(f"s3:{name}" for name in (*IN_HEADERS, *LOCKS)),
    *("s3:versionid", "s3:prefix", "s3:delimiter", "s3:max-keys", "s3:requestobjecttagkeys"),
    *("s3:requestobjecttag/tag", "s3:existingobjecttag/tag", "s3:authtype", "s3:signatureversion"),
]


@pytest.mark.parametrize("action", [*sorted(filter(None, map(spelled, ACTIONS))), "s3:NoSuch"])
def test_a_condition_key_counts_for_the_actions_that_have_it(store: Store, action: str) -> None:
    lines = dict.fromkeys(IN_HEADERS, "x") | {f"x-amz-{name}": "x" for name in LOCKS}
    lines["x-amz-copy-source"] = "bucket/key"
    raw = [(name.encode(), value.encode()) for name, value in lines.items()]
    query = b"versionId=x&prefix=x&delimiter=x&max-keys=x"
    scope = {
        "method": "GET", "raw_path": b"/bucket/k", "query_string": query,
        "headers": [*raw, (b"x-amz-tagging", b"tag=x")],
    }  # fmt: skip
    nothing: Any = None
    call = Call(nothing, AsgiRequest(scope, nothing, nothing))
    call.parse()
    call.auth = AuthResult(user(ALL), "u", "header")
    tagged: Any = SimpleNamespace(meta=SimpleNamespace(tags={"tag": "x"}))
    facts = RequestFacts(call.auth.principal, "", lambda: Facts(call, tagged), action)
    counting = {key for key in KEYS if facts(key) is not None}
    known = action.lower() in ACTIONS
    assert counting == {key for key in KEYS if known and has_condition_key([action.lower()], key)}
    assert facts("aws:viaawsservice") == ("false",)


def test_a_header_of_writes_does_not_let_anybody_read(store: Store) -> None:
    given = {"x-amz-acl": "bucket-owner-full-control", "x-amz-tagging": "env=dev"}
    for key, value in (
        ("s3:x-amz-acl", "bucket-owner-full-control"),
        ("s3:RequestObjectTag/env", "dev"),
    ):
        who = user(ALL | {"Condition": {"StringEquals": {key: value}}})
        assert store.send("GET", "/bucket/source", who=who, headers=given).status == 403
        assert store.send("DELETE", "/bucket/source", who=who, headers=given).status == 403
    assert store.send("GET", "/bucket/source").body == b"source"


def test_which_writes_create_an_object(store: Store) -> None:
    condition = {"Bool": {"s3:ObjectCreationOperation": "true"}}
    denial = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*", "Condition": condition}
    parts_alone = user(ALL, denial)
    began = store.send("POST", "/bucket/k", "uploads", parts_alone)
    assert began.status == 200
    complete = f"uploadId={upload_of(began)}"
    part = f"partNumber=1&{complete}"
    form = {"content-type": "multipart/form-data; boundary=b"}
    fields = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\nk\r\n' % name
        for name in (b"key", b"file")
    )
    for method, path, query, more, creates in (
        ("PUT", "/bucket/k", part, {"headers": COPY}, False),
        ("PUT", "/bucket/k", part, {"body": b"x"}, False),
        ("PUT", "/bucket/k", "", {"body": b"x"}, True),
        ("PUT", "/bucket/k", "", {"headers": COPY}, True),
        ("POST", "/bucket", "", {"body": fields + b"--b--\r\n", "headers": form}, True),
        ("POST", "/bucket/k", complete, {"body": completion(b"x")}, True),
    ):
        reply = store.send(method, path, query, parts_alone, **more)
        assert reply.status == (403 if creates else 200), (method, query, reply.body)
    assert store.send("GET", "/bucket/k").status == 404


def test_each_key_of_a_deletion_brings_its_own_facts(store: Store) -> None:
    enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    store.send("PUT", "/bucket", "versioning", body=enabled)
    one, two = (
        store.send("PUT", "/bucket/k", body=body).headers["x-amz-version-id"]
        for body in (b"1", b"2")
    )

    def delete(who: Principal, inner: str, query: str = "", **headers: str) -> bytes:
        body = f"<Delete><Object><Key>k</Key>{inner}</Object></Delete>".encode()
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        lines = {"content-md5": digest} | {n.replace("_", "-"): v for n, v in headers.items()}
        return store.send("POST", "/bucket", "delete" + query, who, body=body, headers=lines).body

    condition = {"StringEquals": {"s3:VersionId": one}}
    only = user(ALL | {"Condition": condition})
    all_but = user(ALL, ALL | {"Effect": "Deny", "Condition": condition})
    named_one, named_two = (f"<VersionId>{version}</VersionId>" for version in (one, two))
    assert b"InvalidArgument" in delete(only, named_two, f"&versionId={one}")
    assert b"AccessDenied" in delete(only, named_two)
    assert b"AccessDenied" in delete(all_but, named_one)
    assert b"<Deleted>" in delete(only, named_one)
    with_etag = user(ALL | {"Condition": {"Null": {"s3:if-match": "false"}}})
    assert b"AccessDenied" in delete(with_etag, "", if_match="*")
    assert b"<Deleted>" in delete(with_etag, "<ETag>*</ETag>")


# -- uploads --------------------------------------------------------------------------------------


def test_by_the_buckets_acl_nobody_writes_to_anothers_upload(store: Store) -> None:
    store.send("PUT", "/bucket", "acl", headers={"x-amz-acl": "public-read-write"})
    store.send("PUT", "/bucket/source", "acl", headers={"x-amz-acl": "public-read"})
    one, two = (Principal(name=name, id=name * 64) for name in "ab")
    policied = user(ALL, name="c")
    for began, others in ((None, (one, ANONYMOUS)), (one, (two, ANONYMOUS)), (ANONYMOUS, (one,))):
        name = f"uploadId={upload_of(store.send('POST', '/bucket/k', 'uploads', began))}"
        part = f"partNumber=1&{name}"
        assert store.send("PUT", "/bucket/k", part, began, body=b"x").status == 200
        for other in others:
            for method, query, more in (
                ("PUT", part, {"body": b"y"}),
                ("PUT", part, {"headers": COPY}),
                ("POST", name, {"body": completion(b"x")}),
            ):
                reply = store.send(method, "/bucket/k", query, other, **more)
                assert (reply.status, b"AccessDenied" in reply.body) == (403, True), (query, more)
        assert store.send("PUT", "/bucket/k", part, policied, body=b"z").status == 200
        assert store.send("POST", "/bucket/k", name, began, body=completion(b"z")).status == 200
