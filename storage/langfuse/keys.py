"""Keys of the objects that Langfuse writes: whose they are and what they hold.

::

    <events>otel/<project>/<yyyy>/<mm>/<dd>/<HH>/<MM>/<uuid>.json   spans; trace ids in the body
    <events>evals/<project>/traces/<trace>/observations/<id>.json
    <events><project>/<kind>/<id>/<event>.json               ids may hold anything, "/" too
    <media><project>/<media id>.<extension>
    <exports><milliseconds>-lf-<table>-export-<project>.<extension>

Seen in Langfuse 4.16; the prefixes in angle brackets are its settings.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

TRACE, OBSERVATION, SCORE, RUN_ITEM, OTEL, EVAL, MEDIA, EXPORT = KINDS = (
    "trace",
    "observation",
    "score",
    "dataset_run_item",
    "otel",
    "eval",
    "media",
    "export",
)
#: Kinds of events, which belong to traces.
EVENTS = (TRACE, OBSERVATION, SCORE, RUN_ITEM, OTEL, EVAL)
_BY_ENTITY = frozenset((TRACE, OBSERVATION, SCORE, RUN_ITEM))

_OTEL = re.compile(r"otel/([^/]+)/\d{4}/\d\d/\d\d/\d\d/\d\d/[^/]+\.json").fullmatch
_EVAL = re.compile(r"evals/([^/]+)/traces/(.+)/observations/(.+)\.json", re.DOTALL).fullmatch
_ENTITY = re.compile(r"([^/]+)/([a-z_]+)/(.+)/[^/]+\.json", re.DOTALL).fullmatch
_MEDIA = re.compile(r"([^/]+)/([^/]+?)(?:\.[^/.]*)?").fullmatch
_EXPORT = re.compile(r"\d+-lf-[^/]+-export-([^/]+?)(?:\.[^/.]*)?").fullmatch


class Place(NamedTuple):
    """What a key says. ``entity`` is the id of what the object is about, "" where it has none;
    ``trace`` the trace's, "" where only the body tells."""

    kind: str
    project: str
    entity: str = ""
    trace: str = ""


class Root(msgspec.Struct, frozen=True):
    """A bucket and what the keys of one kind of things begin with in it; may be nothing."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.prefix}"


class Layout(msgspec.Struct, frozen=True):
    """Where Langfuse keeps events, media and exports."""

    events: Root
    media: Root
    exports: Root

    @property
    def roots(self) -> tuple[Root, ...]:
        """All roots, the most special first: one prefix may lie below another."""
        found = (self.media, self.exports, self.events)
        return tuple(sorted(found, key=lambda root: -len(root.prefix)))

    def parse(self, bucket: str, key: str) -> Place | None:
        """What ``key`` says; None for what Langfuse does not write there."""
        for root in self.roots:
            if bucket == root.bucket and key.startswith(root.prefix):
                return self._parse(root, key[len(root.prefix) :])
        return None

    def scope(self, kind: str, project: str) -> tuple[str, str]:
        """(bucket, prefix) under which all objects of a kind and project lie. Exports of all
        projects lie under one prefix."""
        if kind == MEDIA:
            return self.media.bucket, f"{self.media.prefix}{project}/"
        if kind == EXPORT:
            return self.exports.bucket, self.exports.prefix
        below = {OTEL: f"otel/{project}/", EVAL: f"evals/{project}/"}
        found = below.get(kind, f"{project}/{kind}/")
        return self.events.bucket, self.events.prefix + found

    def _parse(self, root: Root, rest: str) -> Place | None:
        if root is self.media:
            match = _MEDIA(rest)
            return Place(MEDIA, match[1], match[2]) if match else None
        if root is self.exports:
            match = _EXPORT(rest)
            return Place(EXPORT, match[1]) if match else None
        return _event(rest)


def parse_root(text: str) -> Root:
    """``bucket/prefix/`` as the settings have it; the prefix may be empty."""
    bucket, _, prefix = text.partition("/")
    return Root(bucket, prefix)


def layout(events: str, media: str, exports: str) -> Layout:
    """The layout of three settings."""
    return Layout(parse_root(events), parse_root(media), parse_root(exports))


def _event(rest: str) -> Place | None:
    match = _OTEL(rest)
    if match:
        return Place(OTEL, match[1])
    match = _EVAL(rest)
    if match:
        return Place(EVAL, match[1], match[3], match[2])
    match = _ENTITY(rest)
    if match and match[2] in _BY_ENTITY:
        return Place(match[2], match[1], match[3], match[3] if match[2] == TRACE else "")
    return None
