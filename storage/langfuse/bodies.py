"""Bodies of event objects: which traces they speak of, and when.

An object in the OTel layout is a JSON array of OpenTelemetry's resource spans, or an OTLP request
in JSON (``{"resourceSpans": [...]}``); ids are hex text, base64 (protobuf's mapping to JSON) or
Node's form of bytes (``{"type": "Buffer", "data": [...]}``). Every other one is an array of
ingestion events ``{id, timestamp, type, body}``, or one of them. Bodies may be in gzip.

Whatever a body holds, reading it is bounded: values that are not asked for are skipped by the
decoder, a body of too many values or bytes is searched for trace ids at its beginning only.
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from storage.langfuse.keys import EVAL, OTEL, TRACE, Place

#: Bodies up to so many bytes are decoded; of larger ones the first ``HEAD_BYTES`` are searched.
BODY_BYTES_MAX = 8 << 20
HEAD_BYTES = 256 << 10
#: More values than this are not decoded either: small ones take more room than their text.
VALUES_MAX = 250_000
#: Traces that one object is entered under.
TRACES_MAX = 1000
ID_CHARACTERS_MAX = 1024
NAME_CHARACTERS_MAX = 200

_RAW_BYTES_MAX = 16 << 10
# Times outside of this are no times but mistakes: milliseconds of 2000 and 2200.
_TIME_MIN, _TIME_MAX = 946_684_800_000, 7_258_118_400_000
_HEX = frozenset("0123456789abcdef")
_SURROGATES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_FOUND_ID = re.compile(
    rb'(?<!\\)"traceId"\s*:\s*(?:"((?:[^"\\]|\\.){1,1024})"'
    rb'|\{\s*"type"\s*:\s*"Buffer"\s*,\s*"data"\s*:\s*\[([\d,\s]{16,128})\])'
)


#: What may be wrong with an object: nothing, it is no such document, or too large to be read whole.
SOUND, DAMAGED, LARGE = range(3)


class Damaged(Exception):
    """The body is not what such an object holds."""


class Mention(msgspec.Struct):
    """A trace that an object speaks of. ``time`` in ms since 1970, 0 where it does not say;
    ``parts``: spans or events; ``name``: of the trace or of what the object is about."""

    trace: str
    time: int = 0
    parts: int = 1
    name: str = ""


class _Span(msgspec.Struct):
    traceId: msgspec.Raw = msgspec.Raw(b"null")
    parentSpanId: msgspec.Raw = msgspec.Raw(b"null")
    name: msgspec.Raw = msgspec.Raw(b"null")
    startTimeUnixNano: msgspec.Raw = msgspec.Raw(b"null")


class _Scope(msgspec.Struct):
    spans: list[_Span] | None = None


class _Resource(msgspec.Struct):
    """Spans of one resource, or an OTLP request with such."""

    scopeSpans: list[_Scope] | None = None
    resourceSpans: list[_Resource] | None = None


class _Body(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw(b"null")
    traceId: msgspec.Raw = msgspec.Raw(b"null")
    name: msgspec.Raw = msgspec.Raw(b"null")
    timestamp: msgspec.Raw = msgspec.Raw(b"null")
    startTime: msgspec.Raw = msgspec.Raw(b"null")


class _Event(msgspec.Struct):
    """An ingestion event, or a request with a batch of such."""

    timestamp: msgspec.Raw = msgspec.Raw(b"null")
    body: _Body | None = None
    batch: list[_Event] | None = None


_spans = msgspec.json.Decoder(list[_Resource] | _Resource)
_events = msgspec.json.Decoder(list[_Event] | _Event)
_GZIP = b"\x1f\x8b"


def unpacked(body: bytes | bytearray, most: int) -> tuple[bytes | bytearray, bool]:
    """A body out of gzip, if it is in one, and whether that is all of it: at most ``most`` bytes
    are unpacked, whatever it claims to be. Raises Damaged."""
    if body[:2] != _GZIP:
        return body, True
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        return unpacker.decompress(body, most), unpacker.eof
    except zlib.error:
        raise Damaged from None


def understood(place: Place, body: bytes | bytearray) -> tuple[list[Mention], int]:
    """The traces that the object at ``place`` speaks of, and what is wrong with it."""
    try:
        body, whole = unpacked(body, BODY_BYTES_MAX)
        if not whole:
            return search(place, bytes(body[:HEAD_BYTES])), LARGE
        return mentions(place, body), SOUND
    except Damaged:
        return searched(place, body), DAMAGED


def searched(place: Place, body: bytes | bytearray) -> list[Mention]:
    """What the beginning of a body tells that can't be decoded, packed or not."""
    try:
        body, _ = unpacked(body, HEAD_BYTES)
    except Damaged:
        body = b""
    return search(place, bytes(body[:HEAD_BYTES]))


def mentions(place: Place, body: bytes | bytearray) -> list[Mention]:
    """The traces that the object at ``place`` speaks of. Raises Damaged."""
    if place.kind == EVAL:
        return _gathered(_known(place))
    if _values(body) > VALUES_MAX:
        return search(place, bytes(body[:HEAD_BYTES]))
    try:
        return _decoded(place, body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _decoded(place, _SURROGATES.sub(_repaired, body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Damaged from None


def search(place: Place, head: bytes) -> list[Mention]:
    """What the beginning of a body tells that can't be decoded, and the key."""
    found = list(_known(place))
    if place.kind != TRACE:
        for match in _FOUND_ID.finditer(head):
            read = _otel_id if place.kind == OTEL else _id
            trace = read(b'"%b"' % match[1] if match[1] else b"[%b]" % match[2])
            if trace:
                found.append(Mention(trace))
    return _gathered(found)


def _decoded(place: Place, body: bytes | bytearray) -> list[Mention]:
    if place.kind == OTEL:
        return _gathered(_otel(body))
    return _gathered(_ingested(place, body)) or _gathered(_known(place))


def _known(place: Place) -> Iterator[Mention]:
    """What the key alone tells."""
    if place.trace:
        yield Mention(place.trace)


def _repaired(match: re.Match[bytes]) -> bytes:
    """Half a character, as JavaScript writes a text that was cut within one; pairs stay."""
    return match[0] if len(match[0]) == 12 else rb"\ufffd"


def _values(body: bytes | bytearray) -> int:
    return body.count(b"{") + body.count(b"[")


def _otel(body: bytes | bytearray) -> Iterator[Mention]:
    for span in _all_spans(_spans.decode(body)):
        trace = _otel_id(span.traceId)
        if trace:
            root = not _otel_id(span.parentSpanId).strip("0")
            name = _text(span.name) if root else ""
            yield Mention(trace, _nanoseconds(span.startTimeUnixNano), 1, name)


def _all_spans(found: list[_Resource] | _Resource) -> Iterator[_Span]:
    for resource in [found] if isinstance(found, _Resource) else found:
        for scope in resource.scopeSpans or ():
            yield from scope.spans or ()
        if resource.resourceSpans:
            yield from _all_spans(resource.resourceSpans)


def _ingested(place: Place, body: bytes | bytearray) -> Iterator[Mention]:
    for event in _all_events(_events.decode(body)):
        said = event.body or _Body()
        trace = place.trace or _id(said.traceId)
        if trace:
            time = _time(said.startTime) or _time(said.timestamp) or _time(event.timestamp)
            yield Mention(trace, time, 1, _text(said.name))


def _all_events(found: list[_Event] | _Event) -> Iterator[_Event]:
    for event in [found] if isinstance(found, _Event) else found:
        if event.batch:
            yield from _all_events(event.batch)
        else:
            yield event


def _gathered(found: Iterable[Mention]) -> list[Mention]:
    """One mention a trace, its id normalized: the earliest time, the first name."""
    traces: dict[str, Mention] = {}
    for each in found:
        each.trace = normalized(each.trace)
        known = traces.get(each.trace)
        if known is None:
            if len(traces) < TRACES_MAX:
                traces[each.trace] = each
            continue
        known.parts += 1
        known.name = known.name or each.name
        if each.time and (not known.time or each.time < known.time):
            known.time = each.time
    return list(traces.values())


# -- values of many shapes ------------------------------------------------------------------------


def _value(raw: bytes | msgspec.Raw) -> Any:
    data = bytes(raw)
    if len(data) > _RAW_BYTES_MAX:
        return None
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _id(raw: bytes | msgspec.Raw) -> str:
    """An id: text, or bytes in one of the forms that they take in JSON."""
    value = _value(raw)
    if isinstance(value, dict):
        value = value.get("data")
    if isinstance(value, list):
        try:
            value = bytes(value).hex()
        except (ValueError, TypeError):
            return ""
    if not isinstance(value, str) or len(value) > ID_CHARACTERS_MAX:
        return ""
    return value


def _otel_id(raw: bytes | msgspec.Raw) -> str:
    """An id of OpenTelemetry: like others, or 16 or 8 bytes in base64."""
    text = _id(raw)
    if len(text) in (24, 12) and text.endswith("="):
        try:
            data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
        except ValueError:
            return text
        return data.hex() if len(data) in (16, 8) else text
    return text


def normalized(trace: str) -> str:
    """A trace id in the form that the index has it: W3C's in lower case, others as they are."""
    lower = trace.lower()
    if len(lower) == 32 and _HEX.issuperset(lower):
        return lower
    # A lone surrogate is valid in JSON, and nowhere else.
    return trace.encode("utf-8", "replace").decode()


def _text(raw: msgspec.Raw) -> str:
    value = _value(raw)
    if not isinstance(value, str):
        return ""
    return value[:NAME_CHARACTERS_MAX].encode("utf-8", "replace").decode()


def _nanoseconds(raw: msgspec.Raw) -> int:
    """Milliseconds of a time in nanoseconds: a number, digits, or a Long's two halves."""
    value = _value(raw)
    if isinstance(value, dict):
        high, low = value.get("high"), value.get("low")
        if not isinstance(high, int) or not isinstance(low, int):
            return 0
        value = (high << 32) + (low & 0xFFFFFFFF)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 25:
        value = int(value)
    if not isinstance(value, int | float):
        return 0
    return _sane(value // 1_000_000)


def _time(raw: msgspec.Raw) -> int:
    """Milliseconds of a time in ISO 8601, or in milliseconds."""
    value = _value(raw)
    if isinstance(value, str) and len(value) < 64:
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            value = moment.timestamp() * 1000
        except (ValueError, OverflowError):
            return 0
    return _sane(value) if isinstance(value, int | float) else 0


def _sane(milliseconds: float) -> int:
    return int(milliseconds) if _TIME_MIN <= milliseconds < _TIME_MAX else 0
