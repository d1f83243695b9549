"""``explain`` says of random requests under random settings what the store then answers."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from stack.client import Control
from tests.conftest import Store, empty_and_delete
from tests.s3.people import Person
from tests.s3.raw import RawClient

ROUNDS, ASKED = 25, 12
ROOT_ID = "02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66bdbf4"
EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
SIGNED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
TAGGING = "<Tagging><TagSet><Tag><Key>open</Key><Value>{}</Value></Tag></TagSet></Tagging>"


class Try(msgspec.Struct, frozen=True):
    """A request: its actions must all be allowed. ``key`` "" asks for the bucket."""

    actions: tuple[str, ...]
    method: str
    key: str = ""
    query: str = ""
    body: bytes | None = None
    headers: dict[str, str] = {}
    context: dict[str, str] = {}


def tries() -> list[Try]:
    attributes = {"x-amz-object-attributes": "ETag"}
    found = [
        Try(("s3:ListBucket",), "GET", query="list-type=2"),
        Try(("s3:ListBucket",), "GET", query="prefix=in%2F", context={"s3:prefix": "in/"}),
        Try(("s3:ListBucket",), "HEAD"),
        Try(("s3:ListBucketVersions",), "GET", query="versions"),
        Try(("s3:GetBucketAcl",), "GET", query="acl"),
        Try(("s3:GetBucketPolicyStatus",), "GET", query="policyStatus"),
        Try(("s3:GetBucketVersioning",), "GET", query="versioning"),
        Try(("s3:PutObject",), "PUT", "new", body=b"x"),
        Try(("s3:DeleteObject",), "DELETE", "none"),
    ]
    for key in ("owners", "bobs"):
        found += [
            Try(("s3:GetObject",), "GET", key),
            Try(("s3:GetObject",), "HEAD", key),
            Try(("s3:GetObjectVersion",), "GET", key, "versionId=null"),
            Try(("s3:GetObjectAcl",), "GET", key, "acl"),
            Try(("s3:GetObjectTagging",), "GET", key, "tagging"),
            Try(("s3:GetObjectAttributes", "s3:GetObject"), "GET", key, "attributes",
                headers=attributes),
            Try(("s3:GetObject",), "GET", key, headers={"referer": "here"},
                context={"aws:Referer": "here"}),
        ]  # fmt: skip
    return found


class Scene:
    """A bucket of ada's with an object of hers and one of bob's, and who speaks there."""

    def __init__(self, store: Store, control: Control, owner: Person) -> None:
        self.control, self.owner = control, owner
        tail = uuid.uuid4().hex[:12]
        self.bucket, self.policy = f"test-{tail}", f"random-{tail}"
        self.put_identity([])
        self.names = {name: f"{name}-{tail}" for name in ("ada", "bob", "cat")}
        made = {
            name: control.call("POST", "users", body={"name": user, "policies": policies})
            for (name, user), policies in zip(
                self.names.items(), (["ownbuckets"], [self.policy], []), strict=True
            )
        }
        narrow = {"user": self.names["bob"], "policy": document([statement("Allow", "s3:Get*")])}
        made["key"] = control.call("POST", "keys", body=narrow)
        self.ids = {name: control.get("users", self.names[name])["id"] for name in self.names}
        self.clients = {
            name: RawClient(store.host, keys["access_key"], keys["secret_key"])
            for name, keys in made.items()
        } | {"root": owner.raw, "stranger": RawClient(store.host, "", "")}
        self.questions: dict[str, dict[str, Any]] = {
            **{name: {"user": user} for name, user in self.names.items()},
            "key": {"access_key": made["key"]["access_key"]},
            "root": {"user": store.access_key},
            "stranger": {"anonymous": True},
        }
        self.do("ada", "PUT", f"/{self.bucket}")
        self.do("ada", "PUT", f"/{self.bucket}/owners", body=b"x")
        let_in = statement("Allow", "s3:PutObject", Principal={"CanonicalUser": self.ids["bob"]})
        policy = json.dumps(document([let_in])).encode()
        self.do("ada", "PUT", f"/{self.bucket}", "policy", body=policy)
        self.do("bob", "PUT", f"/{self.bucket}/bobs", body=b"x")

    def do(self, who: str, method: str, path: str, query: str = "", **more: Any) -> None:
        answer = self.clients[who].request(method, path, query, **more)
        assert answer.status < 300, answer.body

    def put_identity(self, statements: list[dict[str, Any]]) -> None:
        """Bob's own policy."""
        self.control.call("PUT", "policies", self.policy, body=document(statements))

    def settle(self, chance: random.Random) -> list[Any]:
        """Settings by chance; what they are."""
        client, bucket = self.owner.client, self.bucket
        client.delete_public_access_block(Bucket=bucket)
        client.delete_bucket_ownership_controls(Bucket=bucket)
        told: list[Any] = []
        for key, owner in (("owners", "ada"), ("bobs", "bob")):
            value = chance.choice(("0", "1"))
            self.do(
                "root", "PUT", f"/{bucket}/{key}", "tagging", body=TAGGING.format(value).encode()
            )
            grants = self.grants(chance, owner, ("READ", "READ_ACP", "FULL_CONTROL"))
            client.put_object_acl(Bucket=bucket, Key=key, AccessControlPolicy=grants)
            told.append((key, value, grants))
        grants = self.grants(chance, "ada", ("READ", "WRITE", "READ_ACP", "FULL_CONTROL"))
        client.put_bucket_acl(Bucket=bucket, AccessControlPolicy=grants)
        ownership = chance.choice(
            ("", "", "ObjectWriter", "BucketOwnerPreferred", "BucketOwnerEnforced")
        )
        if ownership == "BucketOwnerEnforced":
            client.put_bucket_acl(Bucket=bucket, ACL="private")
        if ownership:
            rules = {"Rules": [{"ObjectOwnership": ownership}]}
            client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=rules)
        policy = document([self.random_statement(chance, of_bucket=True)
                           for _ in range(chance.randint(1, 3))])  # fmt: skip
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        switches = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy",
                    "RestrictPublicBuckets")  # fmt: skip
        block = {name: chance.random() < 0.3 for name in switches}
        client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
        own = [self.random_statement(chance, of_bucket=False) for _ in range(chance.randint(1, 2))]
        self.put_identity(own)
        return [*told, grants, ownership, policy, block, own]

    def grants(
        self, chance: random.Random, owner: str, permissions: tuple[str, ...]
    ) -> dict[str, Any]:
        """An access control list by chance."""
        grantees: list[dict[str, str]] = [
            *({"Type": "CanonicalUser", "ID": found} for found in self.ids.values()),
            *({"Type": "Group", "URI": group} for group in (EVERYBODY, SIGNED)),
        ]
        return {
            "Owner": {"ID": self.ids[owner]},
            "Grants": [
                {"Grantee": chance.choice(grantees), "Permission": chance.choice(permissions)}
                for _ in range(chance.randint(0, 2))
            ],
        }

    def random_statement(self, chance: random.Random, *, of_bucket: bool) -> dict[str, Any]:
        bucket = f"arn:aws:s3:::{self.bucket}"
        found = statement(
            chance.choice(("Allow", "Allow", "Allow", "Deny")),
            chance.choice(("s3:*", "s3:Get*", "s3:GetObject", "s3:*Object", "s3:List*", "s3:Put*",
                           "s3:GetObjectTagging", "s3:GetObjectA*")),
            Resource=chance.choice((bucket, f"{bucket}/*", f"{bucket}/owners", "*", "*")),
        )  # fmt: skip
        condition = chance.choice(
            (
                None, None, None,
                {"StringEquals": {"s3:ExistingObjectTag/open": "1"}},
                {"StringNotEquals": {"s3:ExistingObjectTag/open": "1"}},
                {"StringEquals": {"aws:Referer": "here"}},
                {"StringLike": {"s3:prefix": "in/*"}},
                {"StringEquals": {"s3:ResourceAccount": "${aws:PrincipalAccount}"}},
                {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
                {"Null": {"aws:username": "true"}},
                {"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}},
            )
        )  # fmt: skip
        if condition is not None and not (
            "s3:prefix" in str(condition) and found["Action"] not in ("s3:*", "s3:List*")
        ) and not ("Existing" in str(condition) and found["Action"] == "s3:List*"):  # fmt: skip
            found["Condition"] = condition
        if of_bucket:
            found["Principal"] = chance.choice(
                ("*", "*", {"CanonicalUser": self.ids["bob"]}, {"CanonicalUser": self.ids["ada"]},
                 {"AWS": f"arn:aws:iam:::user/{self.names['cat']}"})
            )  # fmt: skip
        return found

    def expected(self, who: str, attempt: Try) -> tuple[bool, list[dict[str, Any]]]:
        """(whether the store says that it would allow the request, what it says)."""
        context = {"aws:SourceIp": "127.0.0.1"} | attempt.context
        question = {"bucket": self.bucket, "key": attempt.key, "context": context}
        if "versionId" in attempt.query:
            question["version_id"] = "null"
        answers = [
            self.control.call(
                "POST", "explain", body=question | self.questions[who] | {"action": action}
            )
            for action in attempt.actions
        ]
        return all(answer["allowed"] for answer in answers), answers

    def allowed(self, who: str, attempt: Try) -> bool:
        """Whether the request is answered."""
        path = f"/{self.bucket}/{attempt.key}" if attempt.key else f"/{self.bucket}"
        answer = self.clients[who].request(
            attempt.method, path, attempt.query, body=attempt.body, headers=attempt.headers,
            sign=who != "stranger",
        )  # fmt: skip
        assert answer.status < 300 or answer.status == 403, answer.body
        return answer.status != 403

    def close(self) -> None:
        client = self.owner.client
        client.delete_public_access_block(Bucket=self.bucket)
        client.delete_bucket_policy(Bucket=self.bucket)
        empty_and_delete(client, self.bucket)
        for user in self.names.values():
            self.control.call("DELETE", "users", user)
        self.control.call("DELETE", "policies", self.policy)


def document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    """A policy; without statements one that says nothing of anything."""
    nothing = [statement("Deny", "s3:GetObject", Resource="arn:aws:s3:::no-such-bucket/*")]
    return {"Version": "2012-10-17", "Statement": statements or nothing}


def statement(effect: str, action: str, **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": "*"} | more


@pytest.fixture
def scene(store: Store, control: Control, owner: Person) -> Iterator[Scene]:
    made = Scene(store, control, owner)
    yield made
    made.close()


def test_what_is_explained_is_what_is_answered(scene: Scene) -> None:
    chance = random.Random(20261122)
    seen = {True: 0, False: 0}
    for _ in range(ROUNDS):
        settings = scene.settle(chance)
        for _ in range(ASKED):
            who, attempt = chance.choice(sorted(scene.questions)), chance.choice(tries())
            expected, told = scene.expected(who, attempt)
            assert scene.allowed(who, attempt) is expected, (who, attempt, told, settings)
            seen[expected] += 1
    assert min(seen.values()) > ROUNDS * ASKED // 8
