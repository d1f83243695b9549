"""What differs between a bucket here and there, by their listings, in memory that does not grow.

S3 lists in the order of keys, so two listings can be read side by side. Old stores deviate from
that order; what a side-by-side reading cannot settle is asked for key by key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from stack.s3.client import S3, Entry, etag_of

#: Objects of the target that are held at once; beyond it keys are asked for one by one.
_WINDOW = 20_000
_PIECE = 1_000

Same = Callable[[Entry, Entry], bool]


@dataclass
class Page:
    """One page of the source, compared. ``strangers`` seem to be in the target only."""

    same: list[Entry] = field(default_factory=list)
    differing: list[Entry] = field(default_factory=list)
    missing: list[Entry] = field(default_factory=list)
    strangers: list[Entry] = field(default_factory=list)


def compare(source: S3, target: S3, bucket: str, same: Same) -> Iterator[Page]:
    """Compare a bucket page by page; the last pages hold only strangers."""
    there = _Listing(target, bucket)
    for entries in source.pages(bucket):
        if entries:
            yield _compared(entries, there, same)
    yield from (Page(strangers=entries) for entries in there.rest())


def _compared(entries: list[Entry], there: _Listing, same: Same) -> Page:
    page = Page()
    keys = {entry.key for entry in entries}
    found = there.find(keys)
    for entry in entries:
        twin = found.get(entry.key)
        if twin is None:
            page.missing.append(entry)
        else:
            (page.same if same(entry, twin) else page.differing).append(entry)
    page.strangers = [entry for key, entry in found.items() if key not in keys]
    return page


class _Listing:
    """The target's listing, read along with the source's."""

    def __init__(self, target: S3, bucket: str) -> None:
        self._target, self._bucket = target, bucket
        self._stream = target.objects(bucket)
        self._next = next(self._stream, None)
        self._passed = ""

    def find(self, keys: set[str]) -> dict[str, Entry]:
        """The target's objects of these keys, and all that stand between them."""
        last = max(keys)
        asked = {key for key in keys if key <= self._passed}  # out of order: already read past
        found: dict[str, Entry] = {}
        while self._next is not None and self._next.key <= last and len(found) < _WINDOW:
            self._take(found)
        if len(found) >= _WINDOW:
            asked |= keys - found.keys()
        for key in asked - found.keys():
            answer = self._target.head(self._bucket, key)
            if answer is not None:
                size = int(answer.headers.get("content-length", 0))
                found[key] = Entry(key, size, etag_of(answer), "")
        return found

    def rest(self) -> Iterator[list[Entry]]:
        """What is left when the source has ended, in pieces."""
        while self._next is not None:
            found: dict[str, Entry] = {}
            while self._next is not None and len(found) < _PIECE:
                self._take(found)
            yield list(found.values())

    def _take(self, found: dict[str, Entry]) -> None:
        assert self._next is not None
        found[self._next.key] = self._next
        self._passed = self._next.key
        self._next = next(self._stream, None)
