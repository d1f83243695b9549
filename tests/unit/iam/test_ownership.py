"""Whose a new object is."""

from __future__ import annotations

import pytest

from storage.iam import acl, ownership

OWNER, WRITER = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("state", "canned", "expected"),
    [
        (ownership.WRITER, "", WRITER),
        (ownership.WRITER, "bucket-owner-full-control", WRITER),
        (ownership.PREFERRED, "", WRITER),
        (ownership.PREFERRED, "bucket-owner-read", WRITER),
        (ownership.PREFERRED, "bucket-owner-full-control", OWNER),
        (ownership.ENFORCED, "", OWNER),
        (ownership.ENFORCED, "bucket-owner-full-control", OWNER),
    ],
)
def test_whose_a_new_object_is(state: str, canned: str, expected: str) -> None:
    assert ownership.owner_of_new(state, WRITER, OWNER, canned) == expected


def test_a_bucket_without_a_setting_leaves_objects_to_their_writers() -> None:
    assert ownership.of(None) == ownership.WRITER
    assert ownership.of(b"BucketOwnerEnforced") == ownership.ENFORCED


def test_what_strangers_write_has_an_owner_too() -> None:
    assert ownership.owner_of_new(ownership.WRITER, "", OWNER) == acl.ANONYMOUS_ID
