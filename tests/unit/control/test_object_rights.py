"""Who may do what with objects is the same through the control plane as through the S3 port."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from storage.engine import interface as i
from storage.engine.memory import MemoryEngine
from storage.iam.sessions import Session
from storage.iam.users import SESSION_END, decode_user, encode, encode_end

from .conftest import problem
from .test_objects import Files, body, url


def session_of(client: TestClient) -> Session:
    """The session that a client's token stands for."""
    claim = client.headers["authorization"].split(".")[1]
    padded = claim + "=" * (-len(claim) % 4)
    return msgspec.msgpack.decode(base64.urlsafe_b64decode(padded), type=Session)


def allowing(root: TestClient, name: str, *statements: dict[str, Any]) -> str:
    """A policy of these statements."""
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    assert root.put(f"/api/v1/policies/{name}", json=document).status_code == 200
    return name


def test_what_is_not_asked_for_is_absent(
    root: TestClient, bucket: str, make_user: Callable[..., TestClient]
) -> None:
    target = f"/api/v1/buckets/{bucket}/objects"
    listing = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}
    for key, parameter, value in (
        ("s3:prefix", "prefix", ""),
        ("s3:delimiter", "delimiter", "/"),
        ("s3:max-keys", "limit", "5"),
    ):
        told, silent = ({"Null": {key: absent}} for absent in ("false", "true"))
        name = key.partition(":")[2]
        who = make_user(f"told-{name}", allowing(root, f"a{name}", listing | {"Condition": told}))
        assert who.get(target, params={parameter: value}).status_code == 200
        problem(who.get(target), 403, "AccessDenied")
        who = make_user(f"no-{name}", allowing(root, f"b{name}", listing | {"Condition": silent}))
        assert who.get(target).status_code == 200
        problem(who.get(target, params={parameter: value}), 403, "AccessDenied")


def test_who_may_not_read_learns_no_etag(
    root: TestClient, bucket: str, make_user: Callable[..., TestClient]
) -> None:
    etag = root.put(url(bucket, "k"), content=b"x").headers["etag"]
    statement = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:DeleteObject"], "Resource": "*"}
    blind = make_user("blind", allowing(root, "blind", statement))
    for headers in ({"if-match": etag}, {"if-match": '"none"'}, {"if-none-match": etag}):
        for key in ("k", "none"):
            problem(blind.put(url(bucket, key), content=b"y", headers=headers), 403, "AccessDenied")
            problem(blind.delete(url(bucket, key), headers=headers), 403, "AccessDenied")
    answer = blind.put(url(bucket, "k"), content=b"y", headers={"if-none-match": "*"})
    problem(answer, 412, "PreconditionFailed")
    seeing = make_user("seeing", "readwrite")
    assert seeing.delete(url(bucket, "k"), headers={"if-match": etag}).status_code == 204


def test_tags_decide_about_the_same_actions_as_on_the_s3_port(
    root: TestClient, bucket: str, engine: MemoryEngine, make_user: Callable[..., TestClient]
) -> None:
    """S3 has no such key for deleting and replacing: a tag lets nobody in there."""
    root.put(url(bucket, "k"), content=b"x")
    found = asyncio.run(engine.bucket(bucket))
    assert found is not None
    version = asyncio.run(engine.lookup(found.id, "k"))
    assert version is not None
    asyncio.run(engine.commit(i.AmendObject(found.id, "k", version.seq, {"open": "1"})))
    condition = {"StringEquals": {"s3:ExistingObjectTag/open": "1"}}
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": condition}
    who = make_user("tagged", allowing(root, "tagged", statement))
    assert who.get(url(bucket, "k")).content == b"x"
    problem(who.delete(url(bucket, "k")), 403, "AccessDenied")
    problem(who.put(url(bucket, "k"), content=b"y"), 403, "AccessDenied")


def test_whose_an_object_is_lets_nobody_replace_it_in_anothers_bucket(
    root: TestClient, bucket: str, engine: MemoryEngine, make_user: Callable[..., TestClient]
) -> None:
    ada, bob = make_user("ada", "ownbuckets"), make_user("bob", "ownbuckets")
    assert ada.post("/api/v1/buckets", json={"name": "adas"}).status_code == 201
    name = {"AWS": "arn:aws:iam:::user/bob"}
    statement = {"Effect": "Allow", "Principal": name, "Action": "s3:PutObject"}
    document = json.dumps(
        {"Version": "2012-10-17", "Statement": statement | {"Resource": "arn:aws:s3:::adas/*"}}
    ).encode()
    asyncio.run(engine.commit(i.SetBucketConfig("adas", "policy", document)))
    assert bob.put(url("adas", "k"), content=b"bob's").status_code == 201
    asyncio.run(engine.commit(i.SetBucketConfig("adas", "policy", None)))
    assert bob.get(url("adas", "k")).content == b"bob's"
    problem(bob.put(url("adas", "k"), content=b"again"), 403, "AccessDenied")
    problem(bob.delete(url("adas", "k")), 403, "AccessDenied")
    assert ada.delete(url("adas", "k")).status_code == 204


@pytest.mark.parametrize("kind", ["raw", "form"])
@pytest.mark.parametrize("loss", ["", "user", "key", "rights", "session"])
def test_who_is_gone_when_the_bytes_have_come_stores_nothing(
    root: TestClient, bucket: str, engine: MemoryEngine, make_user: Callable[..., TestClient],
    monkeypatch: pytest.MonkeyPatch, kind: str, loss: str,
) -> None:  # fmt: skip
    files = Files(engine, monkeypatch)
    ada = make_user("ada", "readwrite")
    (key,) = root.get("/api/v1/keys", params={"user": "ada"}).json()
    create = engine.create_file

    async def changed(**changes: Any) -> i.PutSystem:
        record = await engine.system_record("user", "ada")
        assert record is not None
        return i.PutSystem(*encode(msgspec.structs.replace(decode_user(record.value), **changes)))

    async def lose() -> i.PutSystem:
        if loss == "user":
            return await changed(status="disabled")
        if loss == "rights":
            return await changed(policies=("readonly",))
        if loss == "key":
            return i.PutSystem("key", key["access_key"], None)
        session = session_of(ada)
        value = encode_end(session.expires, session.parent)
        return i.PutSystem(SESSION_END, session.access_key, value)

    async def late(size_hint: int = 0) -> i.FileWriter:
        if loss:
            await engine.commit(await lose())
        return await create(size_hint)

    monkeypatch.setattr(engine, "create_file", late)
    if kind == "raw":
        answer = ada.put(url(bucket, "k"), content=body(5000))
    else:
        target = f"/api/v1/buckets/{bucket}/objects"
        answer = ada.post(target, files={"file": ("k", body(5000))})
    if not loss:
        assert answer.status_code == 201
        return
    code = "AccessDenied" if loss == "rights" else "TokenInvalid"
    problem(answer, 403 if loss == "rights" else 401, code)
    assert files.aborted == 1
    assert root.get(url(bucket, "k")).status_code == 404
