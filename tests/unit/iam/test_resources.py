"""What of a bucket's documents reaches an object, by whose both are."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from storage.iam import acl
from storage.iam.conditions import Doubtful
from storage.iam.principal import ANONYMOUS, Principal
from storage.iam.resources import (
    ACL,
    BLOCK,
    OWNERSHIP,
    POLICY,
    ObjectNeeded,
    decide_on,
    first_documents,
    foreign_owner,
    is_public,
    tag_values,
)
from storage.iam.users import ROOT_ID

ADA, BOB = "a" * 64, "b" * 64
OPEN = json.dumps(
    {
        "Statement": {
            "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::box/*",
        }
    }
).encode()  # fmt: skip


class Bucket(msgspec.Struct):
    owner: str
    config: dict[str, bytes] = {}
    name: str = "box"


class Meta(msgspec.Struct):
    extra: dict[str, Any] = {}


class Object(msgspec.Struct):
    owner: str
    meta: Meta = msgspec.field(default_factory=Meta)


def reads(bucket: Bucket, found: Object | None, who: Principal = ANONYMOUS) -> bool:
    return decide_on(who, "s3:GetObject", bucket, "k", dict, found).allowed


@pytest.mark.parametrize(
    ("owner", "writer", "documents", "foreign"),
    [
        (ADA, ADA, {}, ""),
        (ADA, BOB, {}, BOB),
        (ADA, "", {}, ""),
        (ADA, acl.ANONYMOUS_ID, {}, ""),
        (ROOT_ID, BOB, {}, ""),
        (ADA, ROOT_ID, {}, ROOT_ID),
        (ADA, BOB, {OWNERSHIP: b"BucketOwnerEnforced"}, ""),
        (ADA, BOB, {OWNERSHIP: b"BucketOwnerPreferred"}, BOB),
    ],
)
def test_whose_an_object_is_and_what_reaches_it(
    owner: str, writer: str, documents: dict[str, bytes], foreign: str
) -> None:
    bucket = Bucket(owner, {POLICY: OPEN, **documents})
    assert foreign_owner(bucket, Object(writer)) == foreign
    assert reads(bucket, Object(writer)) is (not foreign)


def test_an_acl_is_asked_only_after_everything_else() -> None:
    bucket = Bucket(ADA)
    with pytest.raises(ObjectNeeded):
        decide_on(ANONYMOUS, "s3:GetObject", bucket, "k", dict, looked=False)
    open_bucket = Bucket(ADA, {POLICY: OPEN})
    assert decide_on(ANONYMOUS, "s3:GetObject", open_bucket, "k", dict, looked=False).allowed
    # What concerns the bucket, or no ACL, needs no object; nor where ACLs are disabled.
    for action in ("s3:PutObject", "s3:ListBucket", "s3:PutObjectTagging"):
        assert not decide_on(ANONYMOUS, action, bucket, "k", dict, looked=False).allowed
    closed = Bucket(ADA, first_documents("aws"))
    assert not decide_on(ANONYMOUS, "s3:GetObject", closed, "k", dict, looked=False).allowed


def test_new_buckets() -> None:
    assert first_documents("") == {}
    first = first_documents("aws")
    assert first == {OWNERSHIP: b"BucketOwnerEnforced", BLOCK: b"aipr"}
    public = acl.spell((acl.Grant(acl.ALL_USERS, "READ"),))
    strict = Bucket(ADA, {**first, POLICY: OPEN, ACL: public})
    assert not reads(strict, Object(ADA, Meta({ACL: public})))
    assert not is_public(strict)


def test_public_buckets() -> None:
    public = acl.spell((acl.Grant(acl.AUTHENTICATED_USERS, "READ"),))
    assert not is_public(Bucket(ADA))
    assert is_public(Bucket(ADA, {POLICY: OPEN}))
    assert not is_public(Bucket(ADA, {POLICY: OPEN, BLOCK: b"r"}))
    assert is_public(Bucket(ADA, {POLICY: OPEN, BLOCK: b"aip"}))
    assert is_public(Bucket(ADA, {ACL: public}))
    assert not is_public(Bucket(ADA, {ACL: public, BLOCK: b"i"}))
    assert not is_public(Bucket(ADA, {ACL: public, OWNERSHIP: b"BucketOwnerEnforced"}))


def test_values_of_tags() -> None:
    tags = {"Level": "1", "level": "2", "x/y": "3"}
    doubtful = tag_values(tags, "s3:existingobjecttag/level")
    assert (type(doubtful), doubtful) == (Doubtful, ("1", "2"))
    assert tag_values(tags, "s3:existingobjecttag/x/y") == ("3",)
    assert tag_values(tags, "s3:existingobjecttag/none") is None
