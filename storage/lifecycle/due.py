"""What lifecycle rules want gone: a look at every version under their prefixes, in pages.

Nothing is kept between two looks: whatever stops one, the next one finds exactly what is left.
Each change names the version that was looked at, so that what was written meanwhile stays.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec

from storage import lifecycle
from storage.engine import interface as i
from storage.lifecycle import Clock, Rule

PAGE = 1000
EXPIRE, NONCURRENT, MARKER, ABORT = "expire", "noncurrent", "marker", "abort"


class Due(msgspec.Struct, frozen=True):
    """Something that a rule wants gone: an object, a version, a delete marker or an upload."""

    kind: str
    rule: str
    key: str
    size: int
    change: i.Change


class Tally(msgspec.Struct):
    """What one rule took, or would take, of one kind."""

    bucket: str
    rule: str
    kind: str
    count: int = 0
    bytes: int = 0


async def due(engine: i.Engine, bucket: i.Bucket, clock: Clock) -> AsyncIterator[Due]:
    """Everything in ``bucket`` that is due, in the order of keys; versions first, then uploads."""
    rules = [r for r in lifecycle.decode(bucket.config.get(lifecycle.DOCUMENT)) if r.enabled]
    about_versions = [
        r for r in rules if r.days or r.date or r.lone_markers == "true" or r.noncurrent_days
    ]
    for prefix in _outermost(about_versions):
        walk = _Walk(bucket, about_versions, clock)
        async for began, entries in _versions(engine, bucket, prefix):
            seen = [found for entry in entries for found in walk.see(entry)]
            await _rest(began)
            for found in seen:
                yield found
        for found in walk.end():
            yield found
    about_uploads = [r for r in rules if r.abort_days]
    for prefix in _outermost(about_uploads):
        async for upload in _uploads(engine, bucket, prefix):
            for rule in about_uploads:
                if upload.key.startswith(rule.prefix) and clock.is_due(
                    upload.initiated, rule.abort_days
                ):
                    change = i.AbortUpload(bucket.id, upload.key, upload.upload_id)
                    yield Due(ABORT, rule.id, upload.key, 0, change)
                    break


class _Walk:
    """Decides about versions as they come: by key, the newest of each key first."""

    def __init__(self, bucket: i.Bucket, rules: list[Rule], clock: Clock) -> None:
        self._bucket = bucket
        self._rules = rules
        self._clock = clock
        self._matching: list[Rule] = []
        self._newer: i.VersionEntry | None = None
        """The entry before, if it is of the same key."""
        self._noncurrent = 0
        """Versions of the key behind the newest one that were seen so far."""

    def see(self, entry: i.VersionEntry) -> list[Due]:
        found = []
        if self._newer is None or self._newer.key != entry.key:
            found = self.end()
            self._matching = [r for r in self._rules if entry.key.startswith(r.prefix)]
            self._noncurrent = 0
        newer, self._newer = self._newer, entry
        if entry.latest:
            if not entry.delete_marker:
                found += self._expired(entry)
        elif newer is not None:
            found += self._superseded(entry, newer)
            self._noncurrent += 1
        return found

    def end(self) -> list[Due]:
        """The key is complete: a delete marker that hides nothing may go."""
        last, self._newer = self._newer, None
        if last is None or not (last.latest and last.delete_marker):
            return []
        for rule in self._matching:
            if rule.lone_markers == "true" or self._clock.expires(rule, last.modified):
                return [self._gone(MARKER, rule, last)]
        return []

    def _expired(self, entry: i.VersionEntry) -> list[Due]:
        for rule in self._matching:
            if self._clock.expires(rule, entry.modified):
                # With versioning this makes a delete marker.
                change = i.DeleteObject(
                    self._bucket.id,
                    entry.key,
                    expect_seq=entry.seq,
                    modified=self._clock.now,
                    owner=self._bucket.owner,
                )
                return [Due(EXPIRE, rule.id, entry.key, entry.size, change)]
        return []

    def _superseded(self, entry: i.VersionEntry, newer: i.VersionEntry) -> list[Due]:
        for rule in self._matching:
            if (
                rule.noncurrent_days
                and self._noncurrent >= rule.noncurrent_kept
                and self._clock.is_due(newer.modified, rule.noncurrent_days)
            ):
                return [self._gone(NONCURRENT, rule, entry)]
        return []

    def _gone(self, kind: str, rule: Rule, entry: i.VersionEntry) -> Due:
        change = i.DeleteObject(self._bucket.id, entry.key, version_id=entry.version_id)
        if entry.version_id == i.NULL_VERSION and entry.latest:
            # The null version of a key may be another one by now.
            change.expect_seq = entry.seq
        return Due(kind, rule.id, entry.key, entry.size, change)


def _outermost(rules: list[Rule]) -> list[str]:
    """The prefixes of rules, those left out that another one covers."""
    found: list[str] = []
    for prefix in sorted({rule.prefix for rule in rules}):
        if not found or not prefix.startswith(found[-1]):
            found.append(prefix)
    return found


async def _versions(
    engine: i.Engine, bucket: i.Bucket, prefix: str
) -> AsyncIterator[tuple[float, list[i.VersionEntry]]]:
    """Pages, and when each was asked for."""
    key, version = "", ""
    while True:
        began = time.monotonic()
        page = await engine.list_versions(
            bucket.id, prefix=prefix, after_key=key, after_version=version, limit=PAGE
        )
        yield began, page.entries
        if page.next_key is None:
            return
        key, version = page.next_key, page.next_version or ""


async def _uploads(engine: i.Engine, bucket: i.Bucket, prefix: str) -> AsyncIterator[i.Upload]:
    key, upload = "", ""
    while True:
        began = time.monotonic()
        page = await engine.list_uploads(
            bucket.id, prefix=prefix, after_key=key, after_upload=upload, limit=PAGE
        )
        await _rest(began)
        for entry in page.uploads:
            yield entry
        if page.next_key is None:
            return
        key, upload = page.next_key, page.next_upload or ""


async def _rest(began: float) -> None:
    """Leave others as much time as a page took: the embedded engine answers without suspending."""
    await asyncio.sleep(time.monotonic() - began)


async def preview(engine: i.Engine, bucket: i.Bucket, clock: Clock) -> list[Tally]:
    """What a run at ``clock.now`` would take, by rule and kind."""
    tallies: dict[tuple[str, str], Tally] = {}
    async for found in due(engine, bucket, clock):
        count(tallies, bucket, found)
    return list(tallies.values())


def count(tallies: dict[tuple[str, str], Tally], bucket: i.Bucket, found: Due) -> None:
    name = found.rule, found.kind
    tally = tallies.get(name)
    if tally is None:
        tally = tallies[name] = Tally(bucket.name, *name)
    tally.count += 1
    tally.bytes += found.size
