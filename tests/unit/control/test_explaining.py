"""POST /api/v1/explain: what is decided, what decided it, and what everything else says; and that
the control plane's own doors obey a bucket's documents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from storage.engine import interface as i
from storage.engine.memory import MemoryEngine
from storage.iam import acl, block
from storage.iam.users import ROOT_ID

from .conftest import ROOT, problem


def document(*statements: dict[str, Any]) -> bytes:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()


def statement(effect: str, action: str, resource: str = "b/*", **more: Any) -> dict[str, Any]:
    arn = f"arn:aws:s3:::{resource}"
    return {"Effect": effect, "Principal": "*", "Action": action, "Resource": arn, **more}


@pytest.fixture
def configure(engine: MemoryEngine) -> Callable[..., None]:
    """Make bucket ``b`` of root's with documents, and its object ``k`` with tags and an ACL."""
    asyncio.run(engine.commit(i.CreateBucket("b", ROOT_ID, 1)))

    def make(object_acl: bytes | None = None, **documents: bytes) -> None:
        async def run() -> None:
            for name, value in documents.items():
                await engine.commit(i.SetBucketConfig("b", name.replace("_", "-"), value))
            bucket = await engine.bucket("b")
            assert bucket is not None
            extra = {"acl": object_acl} if object_acl else {}
            meta = i.encode_meta(i.Meta(tags={"Level": "open"}, extra=extra))
            await engine.commit(
                i.PutObject(bucket.id, "k", 1, 1, "e", bucket.owner, "STANDARD", meta, b"x")
            )

        asyncio.run(run())

    return make


def ask(root: TestClient, action: str, key: str = "k", **question: Any) -> dict[str, Any]:
    if not question.keys() & {"user", "access_key", "anonymous"}:
        question["anonymous"] = True
    answer = root.post(
        "/api/v1/explain", json={"action": action, "bucket": "b", "key": key} | question
    )
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def says(told: dict[str, Any]) -> dict[str, str]:
    return {step["source"]: step["says"] for step in told["steps"]}


def test_a_statement_that_allows_is_named(root: TestClient, configure: Any) -> None:
    configure(policy=document(statement("Allow", "s3:GetObject", Sid="open")))
    told = ask(root, "GetObject")
    assert told["allowed"]
    assert (told["source"], told["statement"]) == ("bucket policy", "open")
    assert told["reason"] == "allowed by statement open of the bucket's policy"
    assert (told["who"], told["action"], told["resource"]) == ("anonymous", "s3:GetObject", "b/k")
    told = ask(root, "PutObject")
    assert (told["allowed"], told["source"]) == (False, "")
    assert says(told)["bucket policy"] == "nothing"


def test_a_denial_is_named_with_what_would_have_allowed(
    root: TestClient, make_user: Any, configure: Any
) -> None:
    make_user("ada", "readwrite")
    configure(policy=document(statement("Deny", "s3:PutObject")))
    told = ask(root, "s3:putobject", user="ada")
    assert (told["allowed"], told["source"], told["statement"]) == (False, "bucket policy", "1")
    assert says(told) == {"identity policy": "allows", "bucket policy": "denies", "ACL": "nothing"}
    told = ask(root, "PutObject", user=ROOT)
    assert (told["allowed"], told["source"]) == (True, "root user")
    assert says(told)["bucket policy"] == "denies"


def test_an_acl_and_what_takes_it_back(root: TestClient, configure: Any) -> None:
    public = acl.spell((acl.Grant(acl.ALL_USERS, "READ"),))
    configure(object_acl=public)
    told = ask(root, "GetObject")
    assert (told["allowed"], told["source"]) == (True, "object ACL")
    assert "AllUsers" in told["reason"]
    configure(object_acl=public, public_access_block=block.encode(block.CLOSED))
    told = ask(root, "GetObject")
    assert not told["allowed"]
    whys = [s["why"] for s in told["steps"] if s["source"] == "public access block"]
    assert whys == ["ignore_public_acls is on", "restrict_public_buckets is on"]
    configure(object_acl=public, ownership=b"BucketOwnerEnforced")
    assert "BucketOwnerEnforced" in ask(root, "GetObject")["steps"][-1]["why"]


def test_a_public_policy_that_is_withheld(root: TestClient, configure: Any) -> None:
    configure(
        policy=document(statement("Allow", "s3:GetObject")),
        public_access_block=block.encode(block.CLOSED),
    )
    told = ask(root, "GetObject")
    assert (told["allowed"], told["source"]) == (False, "public access block")
    assert "RestrictPublicBuckets" in told["reason"]


def test_conditions_are_told(root: TestClient, configure: Any) -> None:
    condition = {
        "StringEquals": {"s3:ExistingObjectTag/Level": "open", "aws:Referer": "http://here/"}
    }
    configure(policy=document(statement("Allow", "s3:GetObject", Condition=condition)))
    told = ask(root, "GetObject")
    assert not told["allowed"]
    assert told["asked"] == {"s3:existingobjecttag/level": ["open"], "aws:referer": None}
    assert ask(root, "GetObject", context={"aws:Referer": "http://here/"})["allowed"]
    assert not ask(root, "GetObject", key="other", context={"aws:Referer": "http://here/"})[
        "allowed"
    ]


@pytest.mark.parametrize(
    ("action", "asked_for"),
    [
        ("GetObject", "s3:GetObjectVersion"),
        ("s3:deleteobject", "s3:DeleteObjectVersion"),
        ("GetObjectTagging", "s3:GetObjectVersionTagging"),
        ("GetObjectVersionAcl", "s3:GetObjectVersionAcl"),
        ("PutObject", "s3:PutObject"),
        ("admin:GetPolicy", "admin:GetPolicy"),
    ],
)
def test_who_names_a_version_asks_for_another_action(
    root: TestClient, configure: Any, action: str, asked_for: str
) -> None:
    configure(policy=document(statement("Allow", asked_for if asked_for[0] == "s" else "s3:*")))
    told = ask(root, action, version_id="null")
    assert told["action"] == asked_for
    assert told["allowed"] is asked_for.startswith("s3:")
    if asked_for.lower() not in (action.lower(), f"s3:{action}".lower()):
        assert not ask(root, action)["allowed"]


def test_keys_and_their_own_policies(root: TestClient, configure: Any) -> None:
    configure()
    narrow = {
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}]
    }
    made = root.post("/api/v1/keys", json={"policy": narrow}).json()["access_key"]
    assert ask(root, "GetObject", access_key=made)["allowed"]
    told = ask(root, "PutObject", access_key=made)
    assert (told["allowed"], told["source"]) == (False, "key policy")
    assert says(told)["key policy"] == "nothing"


def test_who_is_locked_out_is_denied(root: TestClient, make_user: Any, configure: Any) -> None:
    make_user("ada", "readwrite")
    configure()
    assert ask(root, "GetObject", user="ada")["allowed"]
    root.patch("/api/v1/users/ada", json={"status": "disabled"})
    told = ask(root, "GetObject", user="ada")
    assert (told["allowed"], told["reason"]) == (False, "the user ada is disabled")


def test_questions_that_make_no_sense(root: TestClient, make_user: Any, configure: Any) -> None:
    configure()
    nobody = {"action": "s3:GetObject", "bucket": "b", "key": "k"}
    for wrong, status, code in (
        (nobody, 400, "InvalidArgument"),
        (nobody | {"anonymous": True, "user": "x"}, 400, "InvalidArgument"),
        (nobody | {"user": "x"}, 404, "NoSuchUser"),
        (nobody | {"access_key": "x"}, 404, "NoSuchKeyId"),
        (nobody | {"anonymous": True, "action": "s3:Frob"}, 400, "InvalidArgument"),
        (nobody | {"anonymous": True, "bucket": "none"}, 404, "NoSuchBucket"),
        (nobody | {"anonymous": True, "version_id": "x"}, 400, "InvalidArgument"),
    ):
        problem(root.post("/api/v1/explain", json=wrong), status, code)
    ada = make_user("ada", "readwrite")
    problem(ada.post("/api/v1/explain", json=nobody | {"user": "ada"}), 403, "AccessDenied")


def test_what_is_not_of_a_bucket(root: TestClient, make_user: Any) -> None:
    make_user("ada", "ownbuckets")
    question = {"user": "ada", "action": "CreateBucket", "bucket": "new-one"}
    assert root.post("/api/v1/explain", json=question).json()["allowed"]
    question = {"user": "ada", "action": "admin:CreateUser"}
    told = root.post("/api/v1/explain", json=question).json()
    assert (told["allowed"], told["resource"]) == (False, "*")


# -- the control plane's own doors ----------------------------------------------------------------


def test_a_buckets_policy_counts_for_objects_over_http(
    root: TestClient, make_user: Any, configure: Any
) -> None:
    ada, bob = make_user("ada", "readwrite"), make_user("bob")
    here = "/api/v1/buckets/b/objects"
    configure(policy=document(statement("Deny", "s3:GetObject")))
    problem(ada.get(f"{here}/k"), 403, "AccessDenied")
    assert root.get(f"{here}/k").status_code == 200
    assert ada.put(f"{here}/n", content=b"x").status_code == 201
    problem(bob.get(f"{here}/k"), 403, "AccessDenied")
    tagged = {"StringEquals": {"s3:ExistingObjectTag/Level": "open"}}
    configure(policy=document(statement("Allow", "s3:GetObject", Condition=tagged)))
    assert bob.get(f"{here}/k").status_code == 200
    problem(bob.get(f"{here}/n"), 403, "AccessDenied")
    problem(bob.get(f"{here}/missing"), 403, "AccessDenied")
    configure(policy=document(statement("Allow", "s3:*"), statement("Allow", "s3:ListBucket", "b")))
    problem(bob.get(f"{here}/missing"), 404, "NoSuchKey")
    assert bob.get(here).status_code == 200


def test_what_is_written_over_http_belongs_to_whom_ownership_says(
    engine: MemoryEngine, root: TestClient, make_user: Any, configure: Any
) -> None:
    bob = make_user("bob")
    bobs = root.get("/api/v1/users/bob").json()["id"]
    configure(policy=document(statement("Allow", "s3:PutObject")))
    here = "/api/v1/buckets/b/objects"

    def written(key: str) -> i.Version:
        async def run() -> i.Version:
            bucket = await engine.bucket("b")
            assert bucket is not None
            found = await engine.lookup(bucket.id, key)
            assert found is not None
            return found

        return asyncio.run(run())

    assert bob.put(f"{here}/mine", content=b"x").status_code == 201
    assert written("mine").owner == bobs
    assert bob.get(f"{here}/mine").status_code == 200
    configure(ownership=b"BucketOwnerEnforced")
    assert bob.put(f"{here}/theirs", content=b"x").status_code == 201
    assert written("theirs").owner != bobs
    problem(bob.get(f"{here}/mine"), 403, "AccessDenied")
