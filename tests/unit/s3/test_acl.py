"""ACLs between their document and what is kept, over an engine in memory."""

from __future__ import annotations

import asyncio
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.iam import acl
from storage.iam.acl import Grant
from storage.iam.users import ROOT_ID, Identity, User, encode
from tests.unit.s3.asgi import Caller, Reply

USERS = [User(name=name, id=name * 64, display_name=f"<{name}>") for name in "abc"]
IDS = [ROOT_ID, *(user.id for user in USERS)]
GRANTS = st.builds(
    Grant, st.sampled_from([*IDS, *sorted(acl.GROUPS)]), st.sampled_from(acl.PERMISSIONS)
)
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"


def make(patch: pytest.MonkeyPatch) -> Caller:
    """A store that knows ``USERS`` and has a bucket."""
    made = Caller(patch)
    know(made, USERS)
    assert send(made, "PUT", "/bucket").status == 200
    return made


def know(caller: Caller, users: list[User]) -> None:
    """Let the store have just these users, and root."""
    directory: Any = caller.app.directory
    records = [encode(user) for user in users]
    directory.identity = Identity(records, root_user="root", root_secret="secret", store_key=b"")


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> Caller:
    return make(monkeypatch)


def send(caller: Caller, method: str, path: str, query: str = "", **more: Any) -> Reply:
    return asyncio.run(caller(method, path, query, **more))


def document(grants: list[Grant]) -> bytes:
    """An AccessControlPolicy as a client writes it."""
    rows = ""
    for one in grants:
        kind, name = ("Group", "URI") if one.grantee in acl.GROUPS else ("CanonicalUser", "ID")
        rows += (
            f'<Grant><Grantee xsi:type="{kind}"><{name}>{one.grantee}</{name}></Grantee>'
            f"<Permission>{one.permission}</Permission></Grant>"
        )
    return (
        '<AccessControlPolicy xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<Owner><ID>{ROOT_ID}</ID></Owner><AccessControlList>{rows}</AccessControlList>"
        "</AccessControlPolicy>"
    ).encode()


def read(body: bytes) -> list[Grant]:
    """The grants of a document."""
    found = []
    for grant in ElementTree.fromstring(body).iter(f"{NAMESPACE}Grant"):
        grantee, permission = grant
        name = {"Group": "URI", "CanonicalUser": "ID"}[grantee.attrib[TYPE]]
        value = grantee.findtext(f"{NAMESPACE}{name}", "")
        found.append(Grant(value, permission.text))  # type: ignore[arg-type]
    return found


@settings(max_examples=60)
@given(st.lists(GRANTS, max_size=40))
def test_documents_come_back(grants: list[Grant]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        caller = make(patch)
        send(caller, "PUT", "/bucket/k", body=b"x")
        for path in ("/bucket", "/bucket/k"):
            assert send(caller, "PUT", path, "acl", body=document(grants)).status == 200
            shown = send(caller, "GET", path, "acl").body
            assert read(shown) == list(acl.canonical(grants))
            assert send(caller, "PUT", path, "acl", body=shown).status == 200
            assert send(caller, "GET", path, "acl").body == shown


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_any_other_body_is_refused(body: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        caller = make(patch)
        reply = send(caller, "PUT", "/bucket", "acl", body=body)
        assert reply.status == 400
        assert b"<Code>M" in reply.body  # MalformedACLError; MissingSecurityHeader without a body


@settings(max_examples=150)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80))
def test_any_header_is_an_acl_or_refused(value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        caller = make(patch)
        for name in ("x-amz-acl", "x-amz-grant-read", "x-amz-object-ownership"):
            reply = send(caller, "PUT", "/another", headers={name: value})
            assert reply.status in (200, 400, 409), value


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-amz-acl": ""},
        {"x-amz-acl": "private"},
        {"x-amz-acl": "bucket-owner-full-control"},
        {"x-amz-grant-full-control": f"id={ROOT_ID}"},
    ],
)
def test_the_default_is_not_kept(caller: Caller, headers: dict[str, str]) -> None:
    assert send(caller, "PUT", "/bucket/k", body=b"x", headers=headers).status == 200
    assert send(caller, "PUT", "/another", headers=headers).status == 200

    async def kept() -> tuple[Any, Any]:
        engine: Any = caller.engine
        bucket = await engine.bucket("bucket")
        version = await engine.lookup(bucket.id, "k")
        return version.meta.extra, (await engine.bucket("another")).config

    assert asyncio.run(kept()) == ({}, {})
    send(caller, "PUT", "/bucket/k", "acl", headers={"x-amz-acl": "public-read"})
    send(caller, "PUT", "/bucket/k", "acl", headers={"x-amz-acl": "private"})
    assert asyncio.run(kept())[0] == {}


def test_more_than_a_hundred_grants(caller: Caller) -> None:
    users = [User(name=f"u{n}", id=f"{n:064x}") for n in range(101)]
    know(caller, users)
    grants = [Grant(user.id, "READ") for user in users]
    assert send(caller, "PUT", "/bucket", "acl", body=document(grants[:100])).status == 200
    reply = send(caller, "PUT", "/bucket", "acl", body=document(grants))
    assert (reply.status, b"<Code>MalformedACLError</Code>" in reply.body) == (400, True)
    value = ", ".join(f"id={user.id}" for user in users)
    reply = send(caller, "PUT", "/bucket", "acl", headers={"x-amz-grant-read": value})
    assert (reply.status, b"<Code>MalformedACLError</Code>" in reply.body) == (400, True)


def test_an_address_of_several_users(caller: Caller) -> None:
    users = [User(name=name, id=name * 64, email="both@example.org") for name in "ab"]
    know(caller, users)
    headers = {"x-amz-grant-read": "emailAddress=both@example.org"}
    reply = send(caller, "PUT", "/bucket", "acl", headers=headers)
    assert reply.status == 400
    assert b"<Code>AmbiguousGrantByEmailAddress</Code>" in reply.body
