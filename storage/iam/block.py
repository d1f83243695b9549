"""The public access block of a bucket as it is kept: one letter for each switch that is on."""

from __future__ import annotations

from functools import lru_cache

from storage.iam.decide import OPEN, Block

_LETTERS = {
    "a": "block_public_acls",
    "i": "ignore_public_acls",
    "p": "block_public_policy",
    "r": "restrict_public_buckets",
}
#: The form that new buckets of AWS have.
CLOSED = Block(
    block_public_acls=True,
    ignore_public_acls=True,
    block_public_policy=True,
    restrict_public_buckets=True,
)


def encode(block: Block) -> bytes:
    """The document to keep."""
    return "".join(letter for letter, name in _LETTERS.items() if getattr(block, name)).encode()


@lru_cache(maxsize=32)
def _decode(document: bytes) -> Block:
    return Block(**{_LETTERS[letter]: True for letter in document.decode()})


def of(document: bytes | None) -> Block:
    """The block that a bucket's document tells of; without one everything is open."""
    return OPEN if document is None else _decode(document)
