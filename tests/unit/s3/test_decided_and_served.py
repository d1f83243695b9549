"""What is served, changed and set is what was decided about, whatever others do in between."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.unit.s3.living import ROOT, Living
from tests.unit.s3.test_slow_bodies import ENFORCED, acl, block, everybody, policy

ROOT_ID = "02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66bdbf4"
BOB = 'xsi:type="CanonicalUser"><ID>' + "b" * 64 + "</ID>"


async def made() -> Living:
    store = Living()
    await store.add("bob", "ownbuckets")
    assert (await store(ROOT, "PUT", "/bkt")).status == 200
    assert (await store("bob", "PUT", "/own")).status == 200
    return store


def by_tag(*actions: str) -> bytes:
    """A bucket policy that lets everybody do what the object's tag ``open`` allows."""
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": [f"s3:{action}" for action in actions],
        "Resource": "arn:aws:s3:::bkt/*",
        "Condition": {"StringEquals": {"s3:ExistingObjectTag/open": "1"}},
    }  # fmt: skip
    return json.dumps({"Version": "2012-10-17", "Statement": statement}).encode()


COPY = {"x-amz-copy-source": "/bkt/k"}
ATTRIBUTES = {"x-amz-object-attributes": "ETag"}
#: Reads that an object's ACL decides about, and those that its tags do.
BY_ACL: list[tuple[str, str, str, dict[str, str]]] = [
    ("GET", "/bkt/k", "", {}),
    ("HEAD", "/bkt/k", "", {}),
    ("GET", "/bkt/k", "", {"range": "bytes=0-0"}),
    ("GET", "/bkt/k", "acl", {}),
    ("PUT", "/own/copy", "", COPY),
]
BY_TAG = [*BY_ACL, ("GET", "/bkt/k", "tagging", {}), ("GET", "/bkt/k", "attributes", ATTRIBUTES)]
READS = [(True, *read) for read in BY_ACL] + [(False, *read) for read in BY_TAG]


@pytest.mark.parametrize("meanwhile", ["nothing", "replaced", "amended"])
@pytest.mark.parametrize(("granted", "method", "path", "query", "headers"), READS)
def test_a_read_is_decided_about_the_version_that_is_served(
    granted: bool, method: str, path: str, query: str, headers: dict[str, str], meanwhile: str
) -> None:
    async def main() -> None:
        store = await made()
        tags = {} if granted else {"x-amz-tagging": "open=1"}
        await store(ROOT, "PUT", "/bkt/k", body=b"old", headers=tags)
        if granted:
            document = acl(ROOT_ID, BOB, "FULL_CONTROL")
            assert (await store(ROOT, "PUT", "/bkt/k", "acl", body=document)).status == 200
        else:
            actions = ("GetObject", "GetObjectTagging", "GetObjectAttributes", "GetObjectAcl")
            await store(ROOT, "PUT", "/bkt", "policy", body=by_tag(*actions))

        async def act() -> None:
            if meanwhile == "replaced":
                heard = await store(ROOT, "PUT", "/bkt/k", body=b"secret")
            elif granted:
                heard = await store(ROOT, "PUT", "/bkt/k", "acl", headers={"x-amz-acl": "private"})
            else:
                heard = await store(ROOT, "DELETE", "/bkt/k", "tagging")
            assert heard.status < 300

        if meanwhile != "nothing":
            store.between("lookup", act, after=True)
        heard = await store("bob", method, path, query, headers=headers)
        if meanwhile == "nothing":
            assert heard.status in (200, 206)
            return
        assert heard.status == 403
        assert b"secret" not in heard.body
        assert (await store("bob", "GET", "/own/copy")).status == 404

    asyncio.run(main())


@pytest.mark.parametrize("query", ["tagging", "acl"])
@pytest.mark.parametrize("locked", [False, True])
def test_what_closes_an_object_is_not_undone_by_who_was_let_in_before(
    query: str, locked: bool
) -> None:
    """An amendment that a tag allowed finds the tag as it was, or is decided anew."""

    async def main() -> None:
        store = await made()
        await store(ROOT, "PUT", "/bkt/k", body=b"k", headers={"x-amz-tagging": "open=1"})
        actions = ("PutObjectTagging", "PutObjectAcl")
        await store(ROOT, "PUT", "/bkt", "policy", body=by_tag(*actions))
        tagging = "<Tagging><TagSet><Tag><Key>open</Key><Value>{}</Value></Tag></TagSet></Tagging>"

        async def lock() -> None:
            body = tagging.format(0).encode()
            assert (await store(ROOT, "PUT", "/bkt/k", "tagging", body=body)).status == 200

        if locked:
            store.between("commit", lock, after=False)
        body = tagging.format(1).encode() if query == "tagging" else everybody(ROOT_ID)
        heard = await store("bob", "PUT", "/bkt/k", query, body=body)
        assert heard.status == (403 if locked else 200)
        found = await store.engine.lookup(1, "k")
        assert found is not None
        assert found.meta.tags == {"open": "0" if locked else "1"}
        assert ("acl" in found.meta.extra) is (query == "acl" and not locked)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("query", "body", "other", "change", "code"),
    [
        ("policy", policy(), "publicAccessBlock", block("BlockPublicPolicy"), "AccessDenied"),
        ("acl", everybody(ROOT_ID), "publicAccessBlock", block("BlockPublicAcls"), "AccessDenied"),
        ("acl", everybody(ROOT_ID), "ownershipControls", ENFORCED,
         "AccessControlListNotSupported"),
        ("ownershipControls", ENFORCED, "acl", everybody(ROOT_ID),
         "InvalidBucketAclWithObjectOwnership"),
    ],
)  # fmt: skip
def test_a_setting_is_checked_against_those_that_it_is_set_beside(
    query: str, body: bytes, other: str, change: bytes, code: str
) -> None:
    async def main() -> None:
        store = await made()

        async def first() -> None:
            assert (await store(ROOT, "PUT", "/bkt", other, body=change)).status == 200

        store.between("commit", first, after=False)
        assert (await store(ROOT, "PUT", "/bkt", query, body=body)).code == code
        found = await store.engine.bucket("bkt")
        assert found is not None
        assert len(found.config) == 1

    asyncio.run(main())


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    ("query", "action", "body"),
    [
        ("policy", "BucketPolicy", policy()),
        ("publicAccessBlock", "BucketPublicAccessBlock", block("BlockPublicAcls")),
        ("ownershipControls", "BucketOwnershipControls", ENFORCED),
        ("tagging", "BucketTagging", b"<Tagging><TagSet></TagSet></Tagging>"),
        ("lifecycle", "LifecycleConfiguration",
         b"<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status><Filter/><Expiration>"
         b"<Days>1</Days></Expiration></Rule></LifecycleConfiguration>"),
        ("versioning", "BucketVersioning",
         b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
    ],
)  # fmt: skip
def test_who_may_change_a_setting_may_so_when_it_is_set(
    query: str, action: str, body: bytes, method: str
) -> None:
    if (query, method) == ("versioning", "DELETE"):
        return

    async def main() -> None:
        store = await made()
        actions = {"Action": [f"s3:Put{action}", f"s3:Delete{action}"]}
        statement: dict[str, Any] = {
            "Effect": "Allow", "Principal": {"AWS": "b" * 64}, "Resource": "arn:aws:s3:::bkt",
        } | actions  # fmt: skip
        if query != "policy":
            statement["Action"] = f"s3:Put{action}"
        let_in = json.dumps({"Version": "2012-10-17", "Statement": statement}).encode()
        assert (await store(ROOT, "PUT", "/bkt", "policy", body=let_in)).status == 204

        async def withdraw() -> None:
            assert (await store(ROOT, "DELETE", "/bkt", "policy")).status == 204

        store.between("commit", withdraw, after=False)
        sent = body if method == "PUT" else b""
        assert (await store("bob", method, "/bkt", query, body=sent)).code == "AccessDenied"
        found = await store.engine.bucket("bkt")
        assert found is not None
        assert found.config == {}

    asyncio.run(main())


@pytest.mark.parametrize(("method", "query"), [("DELETE", ""), ("PUT", "publicAccessBlock")])
def test_a_bucket_of_the_same_name_is_another_bucket(method: str, query: str) -> None:
    async def main() -> None:
        store = await made()

        async def change_hands() -> None:
            assert (await store(ROOT, "DELETE", "/own")).status == 204
            assert (await store(ROOT, "PUT", "/own")).status == 200

        store.between("commit", change_hands, after=False)
        body = block("BlockPublicAcls") if query else b""
        heard = await store("bob", method, "/own", query, body=body)
        assert heard.code == "NoSuchBucket"
        found = await store.engine.bucket("own")
        assert found is not None
        assert (found.owner, found.config) == (ROOT_ID, {})

    asyncio.run(main())
