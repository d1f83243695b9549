"""Bodies grow at the end only: old ones are read by new releases, new ones by old releases."""

from __future__ import annotations

import msgspec
import pytest

from storage.engine.embedded import records


@pytest.mark.parametrize("kind", records.CLASSES)
def test_fields_that_came_later_may_be_missing_or_unknown(kind: int) -> None:
    first = {records.DELETE: 4, records.BUCKET_DELETE: 3}
    fields = msgspec.structs.fields(records.CLASSES[kind])
    required = [field for field in fields if field.required]
    assert len(required) >= first.get(kind, 1)
    assert fields[: len(required)] == tuple(required)


def test_a_delete_of_before_its_victim_was_described() -> None:
    old = records.decode(records.DELETE, records.encode([7, "key", 3, 1]))
    assert (old.bucket, old.key, old.victim, old.floor) == (7, "key", 3, 1)
    assert (old.size, old.etag, old.owner, old.time) == (0, "", "", 0)
    assert records.decode(records.BUCKET_DELETE, records.encode([7, "name", 1])).owner == ""


def test_what_a_later_release_adds_is_left_unread() -> None:
    body = records.encode([7, "key", 3, 1, 10, "etag", "owner", 5, 0, "more", {"and": "more"}])
    assert records.decode(records.DELETE, body).owner == "owner"
