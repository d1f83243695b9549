"""The histories of keys here and there: what an object was before, and when it was deleted.

S3 gives every version an id of its own, so ids cannot be carried over; the order of versions and
delete markers can. A history is brought from its oldest version on, and one that stopped in the
middle goes on from there. What has arrived is told by the listings alone: the longest beginning of
the source's history that stands, in this order, in the target's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from stack.s3.client import S3, Version
from stack.s3.errors import S3Error, parse

ENABLED, SUSPENDED = "Enabled", "Suspended"
_ABSENT = ("NotImplemented", "MethodNotAllowed")

Same = Callable[[Version, Version], bool]


def status(s3: S3, bucket: str) -> str:
    """Whether a bucket keeps versions: "Enabled", "Suspended", or "" where it never did."""
    try:
        answer = s3.request("GET", bucket, query=[("versioning", "")])
    except S3Error as error:
        if error.code in _ABSENT:
            return ""
        raise
    found = parse(answer.body).findtext("Status") or ""
    return found if found in (ENABLED, SUSPENDED) else ""


def set_status(s3: S3, bucket: str, wanted: str) -> None:
    """Let a bucket keep versions, or stop."""
    document = f"<VersioningConfiguration><Status>{wanted}</Status></VersioningConfiguration>"
    s3.put_document(bucket, "versioning", document.encode())


@dataclass
class History:
    """A key of both stores, compared. All from the oldest on; delete markers included.

    ``lacking`` is the end of the source's history that the target does not have; ``extra`` are
    versions of the target that the source does not have (any more).
    """

    key: str
    theirs: list[Version]
    lacking: list[Version]
    extra: list[Version]


def compare(source: S3, target: S3, bucket: str, same: Same) -> Iterator[History]:
    """Compare a bucket key by key; those that only the target has come last."""
    there = _Histories(target, bucket)
    for key, theirs in _histories(source.versions(bucket)):
        yield compared(key, theirs, there.find(key), same)
    for key, ours in there.rest():
        # Keys that a listing hides are told when they are asked for.
        yield compared(key, one(source, bucket, key), ours, same)


def one(s3: S3, bucket: str, key: str) -> list[Version]:
    """The history of one key, from its oldest version on."""
    # A prefix's first page starts with the key itself, if there is one.
    for found, history in _histories(s3.versions(bucket, key)):
        return history if found == key else []
    return []


def compared(key: str, theirs: list[Version], ours: list[Version], same: Same) -> History:
    """Compare one key, both histories from the oldest on."""
    arrived, extra = 0, []
    for version in ours:
        if arrived < len(theirs) and same(theirs[arrived], version):
            arrived += 1
        else:
            extra.append(version)
    return History(key, theirs, theirs[arrived:], extra)


def _histories(versions: Iterable[Version]) -> Iterator[tuple[str, list[Version]]]:
    for key, group in groupby(versions, attrgetter("key")):
        yield key, list(group)[::-1]


class _Histories:
    """The target's histories, read along with the source's.

    What was read past is held until the source names it: what remains is in the target only.
    """

    def __init__(self, target: S3, bucket: str) -> None:
        self._stream = _histories(target.versions(bucket))
        self._next = next(self._stream, None)
        self._passed: dict[str, list[Version]] = {}

    def find(self, key: str) -> list[Version]:
        """The target's history of this key; empty if it has none."""
        while self._next is not None and self._next[0] <= key:
            self._passed.setdefault(*self._next)
            self._next = next(self._stream, None)
        return self._passed.pop(key, [])

    def rest(self) -> Iterator[tuple[str, list[Version]]]:
        """What the source did not name."""
        yield from self._passed.items()
        if self._next is not None:
            yield self._next
        yield from self._stream
