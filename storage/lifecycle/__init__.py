"""Lifecycle rules: what they say, and when something is due by them. No HTTP, no XML, no engine.

A bucket keeps its rules as the configuration document ``DOCUMENT``. The S3 plane reads and writes
them as XML, ``storage.services.lifecycle`` carries them out. Times are milliseconds.

Source: Amazon S3 User Guide, "Lifecycle configuration elements".
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

DOCUMENT = "lifecycle"
#: Rules of a bucket (S3: "Setting an S3 Lifecycle configuration on a bucket").
RULES_MAX = 1000
DAY_SECONDS = 86400


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule. 0 and False mean "says nothing of it".

    ``in_filter``: the prefix came in ``<Filter>``, not in the older form without;
    ``bare_filter``: that one was empty. ``days`` and
    ``date`` (ms, midnight) expire visible objects, ``lone_markers`` ("true", "false" or "")
    removes delete markers behind which no version is left. Versions go ``noncurrent_days`` after a
    newer one came, except for the ``noncurrent_kept`` newest of them. Uploads are aborted
    ``abort_days`` after their start.
    """

    id: str
    prefix: str = ""
    enabled: bool = True
    in_filter: bool = True
    days: int = 0
    date: int = 0
    lone_markers: str = ""
    noncurrent_days: int = 0
    noncurrent_kept: int = 0
    abort_days: int = 0
    bare_filter: bool = False


_decoder = msgspec.msgpack.Decoder(tuple[Rule, ...])


def encode(rules: tuple[Rule, ...]) -> bytes:
    """The document of a bucket."""
    return msgspec.msgpack.encode(rules)


@lru_cache(maxsize=256)
def decode(document: bytes | None) -> tuple[Rule, ...]:
    """The rules of a bucket, none without a document. Remembered: every read of an object asks."""
    return () if document is None else _decoder.decode(document)


class Clock(msgspec.Struct, frozen=True):
    """When things are due. ``day`` is the length of a day in seconds; tests shorten it."""

    now: int
    day: int = DAY_SECONDS

    def due_at(self, since: int, days: int) -> int:
        """The end of the day in which ``days`` have passed: S3 rounds up to midnight UTC."""
        day = self.day * 1000
        return -(-(since + days * day) // day) * day

    def is_due(self, since: int, days: int) -> bool:
        return self.now >= self.due_at(since, days)

    def expires_at(self, rule: Rule, modified: int) -> int:
        """When a visible object goes by ``rule``; 0: never."""
        if rule.days:
            return self.due_at(modified, rule.days)
        return rule.date

    def expires(self, rule: Rule, modified: int) -> bool:
        """Whether a visible object is to go by ``rule`` now."""
        at = self.expires_at(rule, modified)
        return bool(at) and self.now >= at


def expiring(rules: tuple[Rule, ...], key: str, modified: int, clock: Clock) -> tuple[int, str]:
    """(time, rule) of a visible object's expiration, the earliest one; (0, "") without one."""
    found = [
        (clock.expires_at(rule, modified), rule.id)
        for rule in rules
        if rule.enabled and (rule.days or rule.date) and key.startswith(rule.prefix)
    ]
    return min(found, default=(0, ""))


def aborting(rules: tuple[Rule, ...], key: str, initiated: int, clock: Clock) -> tuple[int, str]:
    """(time, rule) at which an upload in progress is aborted, the earliest; (0, "") if never."""
    found = [
        (clock.due_at(initiated, rule.abort_days), rule.id)
        for rule in rules
        if rule.enabled and rule.abort_days and key.startswith(rule.prefix)
    ]
    return min(found, default=(0, ""))
