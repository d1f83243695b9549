"""What else must be allowed, and with which facts: conditions on ETags, sources of copies,
listings, uploads that were begun under other rules."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import Any

import pytest

from storage.iam.principal import ANONYMOUS, Principal
from tests.unit.s3.speaking import OWN, Heard, Speaking, user
from tests.unit.s3.test_authorization import completion
from tests.unit.s3.test_people_who_go import FORM, LARGE
from tests.unit.s3.test_slow_bodies import acl, block, once

ALL = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


def may(*actions: str, **elements: Any) -> dict[str, Any]:
    names = [f"s3:{action}" for action in actions]
    return {"Effect": "Allow", "Action": names, "Resource": "*", **elements}


def deny(action: str, **condition: dict[str, str]) -> dict[str, Any]:
    return may(action, Condition=condition) | {"Effect": "Deny"}


async def made() -> Speaking:
    store = Speaking()
    assert (await store(store.root, "PUT", "/bkt")).status == 200
    assert (await store(store.root, "PUT", "/bkt/k", body=b"x")).status == 200
    return store


def upload_of(heard: Heard) -> str:
    found = re.search(rb"<UploadId>(.*?)<", heard.body)
    assert found is not None
    return found[1].decode()


# -- conditions on what an object is --------------------------------------------------------------

ETAG = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
COPY = {"x-amz-copy-source": "/bkt/source"}
PUBLIC = {"x-amz-acl": "public-read"}


def form(key: str) -> bytes:
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    return (part.format("key", key) + part.format("file", "new") + "--b--\r\n").encode()


async def write(store: Speaking, who: Principal, way: str, key: str, **lines: str) -> Heard:
    """A write or deletion with conditions in its headers."""
    headers = {name.replace("_", "-"): value for name, value in lines.items()}
    if way == "form":
        return await store(who, "POST", "/bkt", body=form(key), headers=FORM | headers)
    if way == "copy":
        return await store(who, "PUT", f"/bkt/{key}", headers=COPY | headers)
    if way == "upload":
        upload = upload_of(await store(store.root, "POST", f"/bkt/{key}", "uploads"))
        query = f"uploadId={upload}"
        await store(store.root, "PUT", f"/bkt/{key}", f"partNumber=1&{query}", body=b"p")
        body = completion(b"p")
        return await store(who, "POST", f"/bkt/{key}", query, body=body, headers=headers)
    if way == "deletion":
        return await store(who, "DELETE", f"/bkt/{key}", headers=headers)
    if way == "deletions":
        etag = headers["if-match"].strip('"')
        body = f"<Delete><Object><Key>{key}</Key><ETag>{etag}</ETag></Object></Delete>".encode()
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        heard = await store(who, "POST", "/bkt", "delete", body, {"content-md5": digest})
        assert heard.status == 200
        return Heard(403 if heard.code == "AccessDenied" else 200, heard.body)
    return await store(who, "PUT", f"/bkt/{key}", body=b"new", headers=headers)


WRITES = ["put", "form", "copy", "upload", "deletion", "deletions"]


@pytest.mark.parametrize("way", WRITES)
def test_who_may_not_read_learns_no_etag(way: str) -> None:
    """S3 asks for GetObject where a write or a deletion names an ETag."""

    async def main() -> None:
        store = await made()
        await store(
            store.root, "PUT", "/bkt/source", body=b"s", headers={"x-amz-acl": "public-read"}
        )
        blind = user("bob", may("PutObject", "DeleteObject"))
        for key in ("k", "none"):
            for etag in (ETAG, "0" * 32):
                assert (await write(store, blind, way, key, if_match=f'"{etag}"')).status == 403
        anything = await write(store, blind, way, "k", if_match="*")
        assert anything.status < 300
        await store(store.root, "PUT", "/bkt/k", body=b"x")
        seeing = user("ann", may("PutObject", "DeleteObject", "GetObject"))
        assert (await write(store, seeing, way, "k", if_match=f'"{ETAG}"')).status < 300

    asyncio.run(main())


@pytest.mark.parametrize("way", ["put", "form", "copy", "upload", "deletion"])
def test_who_may_read_an_object_by_its_acl_may_name_its_etag(way: str) -> None:
    async def main() -> None:
        store = await made()
        await store(
            store.root, "PUT", "/bkt/source", body=b"s", headers={"x-amz-acl": "public-read"}
        )
        await store(store.root, "PUT", "/bkt/k", body=b"x", headers=PUBLIC)
        bob = user("bob", may("PutObject", "DeleteObject"))
        assert (await write(store, bob, way, "k", if_match=f'"{"0" * 32}"')).status == 412
        assert (await write(store, bob, way, "none", if_match=f'"{ETAG}"')).status == 403
        assert (await write(store, bob, way, "k", if_match=f'"{ETAG}"')).status < 300

    asyncio.run(main())


@pytest.mark.parametrize("name", ["x-amz-if-match-size", "x-amz-if-match-last-modified-time"])
def test_who_may_not_read_learns_neither_size_nor_time(name: str) -> None:
    async def main() -> None:
        store = await made()
        blind = user("bob", may("DeleteObject"))
        for value in ("1", "2") if name.endswith("size") else ("2020-01-01T00:00:00Z",):
            heard = await store(blind, "DELETE", "/bkt/k", headers={name: value})
            assert heard.status == 403
        assert (await store(store.root, "GET", "/bkt/k")).status == 200

    asyncio.run(main())


# -- sources of copies ----------------------------------------------------------------------------


def test_the_source_of_a_copy_is_what_policies_see() -> None:
    """However it is spelled: raw UTF-8, percent-encoded, with and without slash and version."""

    async def main() -> None:
        store = await made()
        await store(store.root, "PUT", "/bkt/%C3%BC+%25", body=b"secret")
        condition = {"s3:x-amz-copy-source": "bkt/ü+%"}
        allowing = user("ann", may("GetObject*"), may("PutObject", Condition={
            "StringEquals": condition}))  # fmt: skip
        denying = user("dan", ALL, deny("PutObject", StringEquals=condition))
        for source in ("/bkt/ü+%25", "bkt/%C3%BC+%25", "/bkt/%c3%bc%2B%25", "bkt%2Fü+%25",
                       "%2Fbkt/ü%2b%25", "bkt/ü+%25?versionId=null"):  # fmt: skip
            headers = {"x-amz-copy-source": source}
            assert (await store(denying, "PUT", "/bkt/t", headers=headers)).status == 403, source
            assert (await store(allowing, "PUT", "/bkt/t", headers=headers)).status == 200, source
        for source in ("bkt/%FC", "bkt", "/", "bkt/"):
            headers = {"x-amz-copy-source": source}
            assert (await store(denying, "PUT", "/bkt/t", headers=headers)).status == 400, source

    asyncio.run(main())


@pytest.mark.parametrize("part", [False, True])
def test_the_source_has_conditions_and_a_version_of_its_own(part: bool) -> None:
    async def main() -> None:
        store = await made()
        await store(store.root, "PUT", "/bkt", "versioning", body=ENABLED)
        await store(store.root, "PUT", "/bkt/s", body=b"x" * 10)
        found = await store.app.engine.version(1, "s")
        assert found is not None
        version = found.version_id
        query = ""
        if part:
            query = "partNumber=1&uploadId=" + upload_of(
                await store(store.root, "POST", "/bkt/t", "uploads")
            )

        async def copy(who: Principal, source: str, **lines: str) -> int:
            headers = {"x-amz-copy-source": source} | {
                name.replace("_", "-"): value for name, value in lines.items()
            }
            return (await store(who, "PUT", "/bkt/t", query, headers=headers)).status

        named = f"/bkt/s?versionId={version}"
        this = {"s3:VersionId": version}
        not_this = user("ann", ALL, deny("GetObjectVersion", StringEquals=this))
        assert await copy(not_this, named) == 403
        assert await copy(not_this, "/bkt/s") == 200
        only_this = user("bob", may("PutObject", "GetObject"), may(
            "GetObjectVersion", Condition={"StringEquals": this}))  # fmt: skip
        assert await copy(only_this, named) == 200
        assert await copy(only_this, "/bkt/k?versionId=null") == 403
        plain = user("cat", ALL, deny("GetObject", Null={"s3:if-none-match": "false"}))
        assert await copy(plain, "/bkt/s", x_amz_copy_source_if_none_match='"no"') == 403
        assert await copy(plain, "/bkt/s", if_none_match="*") == (200 if part else 412)
        asking = user("dan", ALL, deny("GetObject", Null={"s3:if-match": "true"}))
        assert await copy(asking, "/bkt/s", if_match="*") == 403
        assert await copy(asking, "/bkt/s", x_amz_copy_source_if_match=f'"{found.etag}"') == 200

    asyncio.run(main())


# -- lists and tags -------------------------------------------------------------------------------


def test_an_empty_number_of_keys_is_none() -> None:
    async def main() -> None:
        store = await made()
        few = user("ann", may("ListBucket"), deny("ListBucket", NumericGreaterThanIfExists={
            "s3:max-keys": "10"}))  # fmt: skip
        for query, status in (("", 403), ("max-keys=", 403), ("max-keys=10", 200),
                              ("max-keys=11", 403), ("list-type=2&max-keys=", 403)):  # fmt: skip
            assert (await store(few, "GET", "/bkt", query)).status == status, query

    asyncio.run(main())


def test_tags_are_seen_as_they_are_stored() -> None:
    async def main() -> None:
        store = await made()
        denying = user("dan", ALL, deny("PutObject", StringEquals={
            "s3:RequestObjectTag/größe": "+ü"}))  # fmt: skip
        for text in ("größe=%2Bü", "gr%C3%B6%C3%9Fe=%2B%C3%BC"):
            headers = {"x-amz-tagging": text}
            assert (await store(denying, "PUT", "/bkt/t", headers=headers)).status == 403
        for text in ("größe=+ü", "a=1"):
            headers = {"x-amz-tagging": text}
            assert (await store(denying, "PUT", "/bkt/t", headers=headers)).status == 200
        assert (
            await store(denying, "PUT", "/bkt/t", headers={"x-amz-tagging": "%FF=1"})
        ).status == 400

    asyncio.run(main())


# -- uploads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocked", [False, True])
def test_an_upload_that_was_begun_as_public(blocked: bool) -> None:
    async def main() -> None:
        store = await made()
        root = store.root
        upload = upload_of(await store(root, "POST", "/bkt/u", "uploads", headers=PUBLIC))
        query = f"uploadId={upload}"
        await store(root, "PUT", "/bkt/u", f"partNumber=1&{query}", body=b"p")
        if blocked:
            body = block("BlockPublicAcls")
            assert (await store(root, "PUT", "/bkt", "publicAccessBlock", body=body)).status == 200
        heard = await store(root, "POST", "/bkt/u", query, body=completion(b"p"))
        assert heard.status == (403 if blocked else 200)
        assert (await store(ANONYMOUS, "GET", "/bkt/u")).status == heard.status

    asyncio.run(main())


@pytest.mark.parametrize("body", [b"small", LARGE])
def test_a_public_object_whose_body_outlasts_the_permission(body: bytes) -> None:
    async def main() -> None:
        store = await made()
        root, change = store.root, block("BlockPublicAcls")
        gate = once(lambda: store(root, "PUT", "/bkt", "publicAccessBlock", body=change))
        heard = await store(root, "PUT", "/bkt/p", body=body, headers=PUBLIC, before_body=gate)
        assert heard.code == "AccessDenied"
        assert (await store(root, "GET", "/bkt/p")).status == 404

    asyncio.run(main())


def test_a_repeated_completion_is_for_who_may_complete() -> None:
    """Whom the bucket's ACL alone lets in completes what it began, and learns of nothing else."""

    async def main() -> None:
        store = await made()
        everybody = {"x-amz-acl": "public-read-write"}
        await store(store.root, "PUT", "/bkt", "acl", headers=everybody)
        bob, eve = user("bob"), user("eve")
        policied = user("pam", may("PutObject"))
        query = f"uploadId={upload_of(await store(bob, 'POST', '/bkt/u', 'uploads'))}"
        await store(bob, "PUT", "/bkt/u", f"partNumber=1&{query}", body=b"p")
        body = completion(b"p")
        first = await store(bob, "POST", "/bkt/u", query, body=body)
        assert first.status == 200
        for who, status in ((bob, 200), (policied, 200), (eve, 403), (ANONYMOUS, 403)):
            again = await store(who, "POST", "/bkt/u", query, body=body)
            assert again.status == status
            assert (again.body == first.body) is (status == 200)

    asyncio.run(main())


def test_an_acl_gives_nobody_anothers_attributes() -> None:
    async def main() -> None:
        store = await made()
        body = acl(store.root.id, 'xsi:type="CanonicalUser"><ID>' + "b" * 64 + "</ID>")
        assert (await store(store.root, "PUT", "/bkt/k", "acl", body=body)).status == 200
        asked = {"x-amz-object-attributes": "ETag"}
        for statements, status in (
            ((), 403),
            ((may("GetObjectAttributes"),), 200),  # and the ACL lets him read
        ):
            bob = user("bob", *statements)
            heard = await store(bob, "GET", "/bkt/k", "attributes", headers=asked)
            assert heard.status == status
        eve = user("eve", may("GetObjectAttributes"))
        assert (await store(eve, "GET", "/bkt/k", "attributes", headers=asked)).status == 403

    asyncio.run(main())


# -- whose an object is ---------------------------------------------------------------------------


def test_ones_own_object_in_anothers_bucket() -> None:
    """``s3:ResourceAccount`` is the object's, also where nothing but it lets in or denies."""

    async def main() -> None:
        store = Speaking()
        ada = user("ada", *OWN)
        assert (await store(ada, "PUT", "/adas")).status == 200
        everybody = {"x-amz-acl": "public-read-write"}
        assert (await store(ada, "PUT", "/adas", "acl", headers=everybody)).status == 200
        bob = user("bob", OWN[1])
        assert (await store(bob, "PUT", "/adas/k", body=b"x")).status == 200
        others = {"StringNotEquals": {"s3:ResourceAccount": "${aws:PrincipalAccount}"}}
        careful = user("bob", ALL, may("*", Condition=others) | {"Effect": "Deny"})
        for who in (bob, careful):
            for query in ("", "acl", "tagging", "attributes"):
                headers = {"x-amz-object-attributes": "ETag"}
                heard = await store(who, "GET", "/adas/k", query, headers=headers)
                assert heard.status == 200, (who, query)
        assert (await store(ada, "PUT", "/adas/a", body=b"x")).status == 200
        for who in (bob, careful):
            for query in ("", "acl", "tagging", "attributes"):
                headers = {"x-amz-object-attributes": "ETag"}
                heard = await store(who, "GET", "/adas/a", query, headers=headers)
                assert heard.status == 403, (who, query)
        assert (await store(careful, "DELETE", "/adas/k")).status == 403

    asyncio.run(main())
