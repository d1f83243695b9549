"""Domain errors: what can go wrong in a store, in its own words. No HTTP, no XML.

The edges (``storage.s3.errors``, ``storage.control``, the CLI) translate them. A new kind of
trouble gets a class here first, so that every implementation of the engine speaks alike.
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of everything that the store raises on purpose."""


# -- what the caller asked for does not fit what exists ---------------------------------------


class NoSuchBucket(StoreError):
    """The bucket does not exist."""


class BucketExists(StoreError):
    """The bucket's name is taken. ``owner`` is the id of the account that holds it."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


class BucketNotEmpty(StoreError):
    """The bucket still holds objects."""


class NoSuchKey(StoreError):
    """No visible object has this key."""


class NoSuchVersion(StoreError):
    """The key has no version of this id."""


class NoSuchUpload(StoreError):
    """The multipart upload never existed, was completed or was aborted."""


class InvalidPart(StoreError):
    """A part that a completion names is missing or has another ETag."""

    def __init__(self, number: int) -> None:
        super().__init__(f"part {number}")
        self.number = number


class PartTooSmall(StoreError):
    """A part other than the last one is smaller than 5 MiB (S3's minimum)."""

    def __init__(self, number: int, size: int, minimum: int) -> None:
        super().__init__(f"part {number} has {size} bytes")
        self.number, self.size, self.minimum = number, size, minimum


class PreconditionFailed(StoreError):
    """A condition of the request (If-Match, If-None-Match ...) does not hold."""

    def __init__(self, condition: str) -> None:
        super().__init__(condition)
        self.condition = condition


class Conflict(StoreError):
    """A record changed between reading and writing it; look again and repeat."""


# -- what the store itself cannot do now -------------------------------------------------------


class Unavailable(StoreError):
    """The engine can't answer now (starting, replaying, committer restarting): try again.

    After ``commit`` it means that the outcome is unknown: look it up, never guess.
    """


class StorageFull(StoreError):
    """Free space is below the watermark: writes are refused, reads and deletes go on."""


class ReadOnly(StoreError):
    """The engine lost the ability to write safely (a failed sync) and only reads."""


class DataCorrupt(StoreError):
    """Stored bytes do not match their checksum."""


class DriveRefused(StoreError):
    """A drive can't be used. The message is one sentence that names the cure."""
