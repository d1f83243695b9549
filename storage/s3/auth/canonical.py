"""The canonical form of a request: what client and server must agree on byte for byte.

S3's own rules: the path is encoded once and never normalised, the query is sorted by encoded
name and value, header values lose outer spaces and keep one of each inner run.
Source: "Create a canonical request" in the Amazon S3 API reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from urllib.parse import quote_from_bytes, unquote_to_bytes

Headers = Mapping[bytes, bytes]

# Upper-case escapes of bytes that need one: all but those of A-Za-z0-9-._~.
_ESCAPE = rb"%(?:[0189A-F][0-9A-F]|2[0-9A-CF]|3[A-F]|40|5[B-E]|60|7[B-DF])"


def _canonical_in(extra: bytes, escape: bytes = _ESCAPE) -> re.Pattern[bytes]:
    """Matches what is in canonical encoding already, ``extra`` being allowed unescaped."""
    plain = rb"[A-Za-z0-9\-._~" + extra + rb"]*"
    return re.compile(plain + rb"(?:" + escape + plain + rb")*")


#: Bytes of a path that stand for themselves.
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"
_is_path = _canonical_in(rb"/", rb"(?!%2F)" + _ESCAPE).fullmatch
_is_component = _canonical_in(rb"").fullmatch
_is_query = _canonical_in(rb"&=").fullmatch


def canonical_path(raw_path: bytes) -> bytes:
    """The path as AWS encodes it: every byte but ``A-Za-z0-9-._~/`` becomes ``%XX``."""
    if not raw_path.translate(None, _PLAIN) or _is_path(raw_path) is not None:
        return raw_path or b"/"
    return quote_from_bytes(unquote_to_bytes(raw_path), safe="/~").encode()


def encode_component(raw: bytes) -> bytes:
    """One name or value of a query in canonical encoding; a raw ``+`` stands for a space."""
    if _is_component(raw) is not None:
        return raw
    return quote_from_bytes(unquote_to_bytes(raw.replace(b"+", b" ")), safe="~").encode()


def query_items(raw_query: bytes) -> list[tuple[bytes, bytes]]:
    """(name, value) pairs in canonical encoding, in the order of the request."""
    pairs = [item.partition(b"=") for item in raw_query.split(b"&") if item]
    if _is_query(raw_query) is not None:
        return [(name, value.replace(b"=", b"%3D")) for name, _, value in pairs]
    return [(encode_component(name), encode_component(value)) for name, _, value in pairs]


def join_items(items: list[tuple[bytes, bytes]]) -> bytes:
    """The canonical query of ``items`` (sorts them in place)."""
    items.sort()
    return b"&".join([name + b"=" + value for name, value in items])


def canonical_query(raw_query: bytes) -> bytes:
    """The whole query in canonical form."""
    return join_items(query_items(raw_query)) if raw_query else b""


class SignedHeaders:
    """The headers that one kind of request signs, ready to be put into canonical form."""

    __slots__ = ("_names", "_template", "_values")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self._names = names
        self._template = b"".join([name.replace(b"%", b"%%") + b":%b\n" for name in names])
        # Of one name it would give the value, not a tuple: rare enough to go the long way.
        self._values: Callable[[Headers], tuple[bytes, ...]] | None = (
            itemgetter(*names) if len(names) > 1 else None
        )

    def canonical(self, headers: Headers) -> bytes:
        """One ``name:value`` line per signed header; one that is absent counts as empty."""
        if self._values is not None:
            try:
                values = self._values(headers)
            except KeyError:
                return self._trimmed(headers)
            # As they came they are canonical if none is empty and spaces are single and inside.
            text = b" ".join(values)
            if b" ".join(text.split()) == text:
                return self._template % values
        return self._trimmed(headers)

    def _trimmed(self, headers: Headers) -> bytes:
        return b"".join(
            [
                name + b":" + b" ".join(headers.get(name, b"").split()) + b"\n"
                for name in self._names
            ]
        )
