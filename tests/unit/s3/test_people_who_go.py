"""Who loses a key, its secret, a session or a policy while a body comes is refused at its end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from storage.engine import interface as i
from storage.iam.errors import TokenExpired
from storage.iam.users import KEY, decode_key, decode_user, new_key
from tests.unit.s3.living import ROOT, STORE_KEY, Living, key_of, once
from tests.unit.s3.test_authorization import completion
from tests.unit.s3.test_slow_bodies import ENFORCED, block, policy

LARGE = b"L" * 300_000
DELETE = b"<Delete><Object><Key>old</Key></Object></Delete>"
MD5 = base64.b64encode(hashlib.md5(DELETE, usedforsecurity=False).digest()).decode()
TAGS = b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
REGION = (
    b"<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint>"
    b"</CreateBucketConfiguration>"
)
FORM = {"content-type": "multipart/form-data; boundary=b"}


def form(content: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    return head % (b"key", b"new") + head % (b"file", content) + b"--b--\r\n"


#: Requests with a body: (method, path, query, body, headers). "UPLOAD" is an upload of one part.
REQUESTS: list[tuple[str, str, str, bytes, dict[str, str]]] = [
    ("PUT", "/own/new", "", b"x", {}),
    ("PUT", "/own/new", "", LARGE, {}),
    ("POST", "/own", "", form(b"x"), FORM),
    ("POST", "/own", "", form(LARGE), FORM),
    ("PUT", "/own/up", "partNumber=2&uploadId=UPLOAD", b"x", {}),
    ("POST", "/own/up", "uploadId=UPLOAD", completion(b"part"), {}),
    ("POST", "/own", "delete", DELETE, {"content-md5": MD5}),
    ("PUT", "/own/old", "tagging", TAGS, {}),
    ("PUT", "/own", "tagging", TAGS, {}),
    ("PUT", "/own", "publicAccessBlock", block("BlockPublicAcls"), {}),
    ("PUT", "/own", "ownershipControls", ENFORCED, {}),
    ("PUT", "/own", "policy", policy().replace(b"bkt", b"own"), {}),
    ("PUT", "/another", "", REGION, {}),
]  # fmt: skip
IDS = [f"{method} {path}?{query}-{len(body)}" for method, path, query, body, _ in REQUESTS]


async def user_disabled(store: Living) -> None:
    record = await store.engine.system_record("user", "ann")
    assert record is not None
    await store.keep(msgspec.structs.replace(decode_user(record.value), status="disabled"))


async def user_removed(store: Living) -> None:
    await store.remove("ann")


async def key_removed(store: Living) -> None:
    await store.forget(KEY, key_of("ann"))


async def key_disabled(store: Living) -> None:
    record = await store.engine.system_record(KEY, key_of("ann"))
    assert record is not None
    await store.keep(msgspec.structs.replace(decode_key(record.value), status="disabled"))


async def key_replaced(store: Living) -> None:
    await store.keep(new_key(STORE_KEY, key_of("ann"), "another-secret", "a" * 64, created=2))


async def rights_taken(store: Living) -> None:
    await store.add("ann", "writeonly")
    deny = policy("s3:*", "/*").replace(b"bkt", b"own").replace(b'"Allow"', b'"Deny"')
    bucket = policy("s3:*", "").replace(b"bkt", b"own").replace(b'"Allow"', b'"Deny"')
    assert (await store(ROOT, "PUT", "/own", "policy", body=_joined(deny, bucket))).status == 204


def _joined(*documents: bytes) -> bytes:
    statements = [msgspec.json.decode(document)["Statement"][0] for document in documents]
    return msgspec.json.encode({"Version": "2012-10-17", "Statement": statements})


async def somebody_else_came(store: Living) -> None:
    await store.add("eve")


LOSSES: list[tuple[Callable[[Living], Awaitable[None]], str]] = [
    (user_disabled, "InvalidAccessKeyId"),
    (user_removed, "InvalidAccessKeyId"),
    (key_removed, "InvalidAccessKeyId"),
    (key_disabled, "InvalidAccessKeyId"),
    (key_replaced, "InvalidAccessKeyId"),
    (rights_taken, "AccessDenied"),
    (somebody_else_came, ""),
]


async def made() -> tuple[Living, str]:
    """A store with a bucket of ann's, and an upload there of one part."""
    store = Living()
    await store.add("ann", "ownbuckets")
    assert (await store("ann", "PUT", "/own")).status == 200
    await store("ann", "PUT", "/own/old", body=b"old")
    began = await store("ann", "POST", "/own/up", "uploads")
    found = re.search(rb"<UploadId>(.*?)<", began.body)
    assert found is not None
    upload = found[1].decode()
    part = await store("ann", "PUT", "/own/up", f"partNumber=1&uploadId={upload}", body=b"part")
    assert part.status == 200
    return store, upload


async def state(store: Living, upload: str) -> Any:
    """All that ann can change."""
    bucket = await store.engine.bucket("own")
    assert bucket is not None
    page = await store.engine.list_objects(bucket.id)
    old = await store.engine.lookup(bucket.id, "old")
    config = {name: value for name, value in bucket.config.items() if name != "policy"}
    named = [one.name for one in await store.engine.buckets()]
    begun = await store.engine.upload(bucket.id, "up", upload)
    parts = len(await store.engine.parts(bucket.id, "up", upload)) if begun else 0
    return [entry.key for entry in page.entries], old and old.meta, config, named, parts


@pytest.mark.parametrize(("loss", "code"), LOSSES)
@pytest.mark.parametrize(("method", "path", "query", "body", "headers"), REQUESTS, ids=IDS)
def test_a_body_that_outlasts_its_sender(
    method: str, path: str, query: str, body: bytes, headers: dict[str, str],
    loss: Callable[[Living], Awaitable[None]], code: str,
) -> None:  # fmt: skip
    async def main() -> None:
        store, upload = await made()
        before = await state(store, upload)
        gate = once(lambda: store.aside(lambda: loss(store)))
        heard = await store(
            "ann", method, path, query.replace("UPLOAD", upload), body, headers, before_body=gate
        )
        if not code:
            assert heard.status < 300
            assert await state(store, upload) != before or query == "policy"
            return
        if (code, query) == ("AccessDenied", "delete"):
            assert b"<Code>AccessDenied</Code>" in heard.body
        else:
            assert (heard.status, heard.code) == (403, code)
        assert await state(store, upload) == before

    asyncio.run(main())


@pytest.mark.parametrize("ended", [False, True])
def test_a_session_that_is_ended(ended: bool) -> None:
    async def main() -> None:
        store, _ = await made()
        session = store.sessions.begin(key_of("ann"), "its-secret")
        named = session.access_key, store.sessions.token(session)

        async def act() -> None:
            await (store.end(session) if ended else store.add("eve"))

        heard = await store("", "PUT", "/own/new", body=b"x", before_body=once(act), session=named)
        assert heard.code == ("InvalidToken" if ended else "")

    asyncio.run(main())


def test_a_session_whose_time_comes_may_finish_what_it_began() -> None:
    async def main() -> None:
        now = [1_000_000.0]
        store, _ = await made()
        store.sessions._clock = lambda: now[0]
        identity = await store.app.directory.refresh()
        identity._sessions._clock = lambda: now[0]
        session = store.sessions.begin(key_of("ann"), "its-secret", 900)
        named = session.access_key, store.sessions.token(session)

        async def act() -> None:
            now[0] += 1000
            await store.add("eve")

        late = await store("", "PUT", "/own/new", body=b"x", before_body=once(act), session=named)
        assert late.status == 200
        with pytest.raises(TokenExpired):
            identity.keyring(*named)

    asyncio.run(main())


def test_another_bucket_of_the_name_gets_nothing() -> None:
    async def main() -> None:
        store, _ = await made()

        async def change_hands() -> None:
            bucket = await store.engine.bucket("own")
            assert bucket is not None
            await store.engine.commit(i.DeleteObject(bucket.id, "old"))
            await store.engine.commit(i.DeleteBucket("own"))
            await store.engine.commit(i.CreateBucket("own", "r" * 64, 1))

        heard = await store("ann", "PUT", "/own/new", body=b"x", before_body=once(change_hands))
        assert heard.code == "AccessDenied"

    asyncio.run(main())
