"""User metadata beyond ASCII, as answers carry it: encoded words of RFC 2047.

Many HTTP clients take nothing but ASCII in a header (those in Rust fail, or drop it). Amazon S3
answers such metadata as encoded words ("User-defined object metadata" in its User Guide), and so
does MinIO. What a client encoded itself is ASCII and comes back as it was sent.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import decode_header, make_header

#: Bytes of UTF-8 in one word, which may be 75 characters long (RFC 2047, section 2).
_BYTES_OF_WORD = 45


def text(value: str) -> str:
    """What ``value``, bytes as Latin-1 text, says: encoded words, UTF-8, or else Latin-1."""
    if value.isascii():
        return _decoded(value) if value.startswith("=?") else value
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


def header(value: str) -> bytes:
    """``value``, bytes as Latin-1 text, as the value of a header: ASCII."""
    if value.isascii():
        return value.encode()
    return b" ".join(
        b"=?UTF-8?B?%b?=" % b2a_base64(part, newline=False) for part in _parts(text(value))
    )


def _decoded(value: str) -> str:
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value


def _parts(whole: str) -> Iterator[bytes]:
    """UTF-8 in pieces for a word each. No character is in two words (section 5)."""
    part = b""
    for character in whole:
        more = character.encode()
        if len(part) + len(more) > _BYTES_OF_WORD:
            yield part
            part = b""
        part += more
    yield part
