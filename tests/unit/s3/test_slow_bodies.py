"""What changes access while a body is on its way counts for the request it belongs to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from storage.iam.principal import ANONYMOUS
from tests.unit.s3.speaking import Heard, Speaking, user

BOB = user("bob")
NAMESPACE = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
ENFORCED = (
    b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>"
    b"</OwnershipControls>"
)


def block(*switches: str) -> bytes:
    text = "".join(f"<{name}>true</{name}>" for name in switches)
    root = "PublicAccessBlockConfiguration"
    return f"<{root}>{text}</{root}>".encode()


def acl(owner: str, grantee: str, permission: str = "READ") -> bytes:
    return (
        f"<AccessControlPolicy><Owner><ID>{owner}</ID></Owner><AccessControlList><Grant>"
        f"<Grantee {NAMESPACE} {grantee}</Grantee><Permission>{permission}</Permission></Grant>"
        "</AccessControlList></AccessControlPolicy>"
    ).encode()


def everybody(owner: str) -> bytes:
    uri = "http://acs.amazonaws.com/groups/global/AllUsers"
    return acl(owner, f'xsi:type="Group"><URI>{uri}</URI>')


def policy(action: str = "s3:GetObject", resource: str = "/*", who: Any = "*") -> bytes:
    statement = {
        "Effect": "Allow",
        "Principal": who,
        "Action": action,
        "Resource": f"arn:aws:s3:::bkt{resource}",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()


def once(action: Callable[[], Awaitable[Heard]]) -> Callable[[], Awaitable[None]]:
    """``action``, which must succeed, the first time the body is asked for."""
    left = [action]

    async def gate() -> None:
        if left:
            assert (await left.pop()()).status < 300

    return gate


async def made() -> Speaking:
    store = Speaking()
    assert (await store(store.root, "PUT", "/bkt")).status == 200
    return store


@pytest.mark.parametrize("granted", [False, True])
@pytest.mark.parametrize("replaced", [False, True])
def test_the_acl_of_an_object_that_was_replaced(replaced: bool, granted: bool) -> None:
    """Its writer was let in by a tag of the object before, or by its ACL."""

    async def main() -> None:
        store = await made()
        root = store.root
        statement = {
            "Effect": "Allow",
            "Action": "s3:PutObjectAcl",
            "Resource": "*",
            "Condition": {"StringEquals": {"s3:ExistingObjectTag/open": "1"}},
        }
        who = BOB if granted else user("ann", statement)
        headers = {"x-amz-tagging": "open=1"}
        await store(root, "PUT", "/bkt/k", body=b"old", headers=headers)
        if granted:
            body = acl(root.id, f'xsi:type="CanonicalUser"><ID>{BOB.id}</ID>', "WRITE_ACP")
            assert (await store(root, "PUT", "/bkt/k", "acl", body=body)).status == 200

        async def replace() -> Heard:
            return await store(root, "PUT", "/bkt/k", body=b"new")

        gate = once(replace) if replaced else None
        body = everybody(root.id)
        heard = await store(who, "PUT", "/bkt/k", "acl", body=body, before_body=gate)
        assert heard.status == (403 if replaced else 200)
        assert (await store(ANONYMOUS, "GET", "/bkt/k")).status == heard.status

    asyncio.run(main())


@pytest.mark.parametrize("at", ["/bkt", "/bkt/k"])
@pytest.mark.parametrize(
    ("query", "change", "code"),
    [
        ("publicAccessBlock", block("BlockPublicAcls"), "AccessDenied"),
        ("ownershipControls", ENFORCED, "AccessControlListNotSupported"),
    ],
)
def test_an_acl_that_is_blocked_meanwhile(at: str, query: str, change: bytes, code: str) -> None:
    async def main() -> None:
        store = await made()
        root = store.root
        await store(root, "PUT", "/bkt/k", body=b"k")
        gate = once(lambda: store(root, "PUT", "/bkt", query, body=change))
        heard = await store(root, "PUT", at, "acl", body=everybody(root.id), before_body=gate)
        assert heard.code == code

    asyncio.run(main())


def test_a_policy_that_is_blocked_meanwhile() -> None:
    async def main() -> None:
        store = await made()
        root = store.root
        await store(root, "PUT", "/bkt/k", body=b"k")
        change = block("BlockPublicPolicy")
        gate = once(lambda: store(root, "PUT", "/bkt", "publicAccessBlock", body=change))
        heard = await store(root, "PUT", "/bkt", "policy", body=policy(), before_body=gate)
        assert heard.code == "AccessDenied"
        assert (await store(ANONYMOUS, "GET", "/bkt/k")).status == 403

    asyncio.run(main())


def test_ownership_sees_an_acl_put_meanwhile() -> None:
    async def main() -> None:
        store = await made()
        root = store.root
        public = {"x-amz-acl": "public-read"}
        gate = once(lambda: store(root, "PUT", "/bkt", "acl", headers=public))
        query = "ownershipControls"
        heard = await store(root, "PUT", "/bkt", query, body=ENFORCED, before_body=gate)
        assert heard.code == "InvalidBucketAclWithObjectOwnership"

    asyncio.run(main())


@pytest.mark.parametrize("withdrawn", [False, True])
@pytest.mark.parametrize(
    ("query", "action", "body"),
    [
        ("policy", "PutBucketPolicy", None),
        ("publicAccessBlock", "PutBucketPublicAccessBlock", block("BlockPublicAcls")),
        ("ownershipControls", "PutBucketOwnershipControls", ENFORCED),
        ("acl", "PutBucketAcl", None),
    ],
)
def test_a_permission_that_is_withdrawn_meanwhile(
    query: str, action: str, body: bytes | None, withdrawn: bool
) -> None:
    async def main() -> None:
        store = await made()
        root = store.root
        let_in = policy(f"s3:{action}", "", {"CanonicalUser": BOB.id})
        assert (await store(root, "PUT", "/bkt", "policy", body=let_in)).status == 204
        asked = body or (let_in if query == "policy" else everybody(root.id))
        gate = once(lambda: store(root, "DELETE", "/bkt", "policy")) if withdrawn else None
        heard = await store(BOB, "PUT", "/bkt", query, body=asked, before_body=gate)
        assert heard.code == ("AccessDenied" if withdrawn else "")

    asyncio.run(main())
