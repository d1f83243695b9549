"""Cross-origin requests: which rule lets a page call, and what its browser is told.

A bucket's own rules count alone; a bucket without any has those of the server
(``OVERSIGHT_CORS_ALLOW_ORIGIN``). Only requests with an ``Origin`` come here.

Sources: Amazon S3 User Guide, "Using cross-origin resource sharing (CORS)"; Fetch standard,
section 3.3.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from storage.s3 import checksums
from storage.s3.call import Call, HeaderList, Response
from storage.s3.errors import S3Error

#: Bucket configuration document of the rules.
DOCUMENT = "cors"
METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """Pages of ``origins`` may use ``methods`` and send ``headers``; scripts may read ``exposed``.

    Origins and header names may hold one ``*``. ``max_age``: seconds for which a browser may
    remember the answer to a preflight; -1 says nothing of it.
    """

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age: int = -1
    id: str = ""


Rules = tuple[Rule, ...]
_decoder = msgspec.msgpack.Decoder(Rules)


def encode(rules: Rules) -> bytes:
    """The document of a bucket."""
    return msgspec.msgpack.encode(rules)


@lru_cache(maxsize=256)
def decode(document: bytes) -> Rules:
    """The rules of a bucket."""
    return _decoder.decode(document)


# -- the server's own rule ------------------------------------------------------------------------

#: Setting of the origins that lets no page in.
NOBODY = "none"
_DEFAULT_MAX_AGE = 3600
_DEFAULT_EXPOSED = (
    "ETag", "Content-Length", "Content-Range", "Accept-Ranges", "Last-Modified",
    "x-amz-request-id", "x-amz-id-2", "x-amz-version-id", "x-amz-delete-marker",
    *(name.decode() for name in checksums.HEADER.values()), "x-amz-checksum-type",
    "x-amz-storage-class", "x-amz-tagging-count", "x-amz-mp-parts-count",
)  # fmt: skip


def server_rules(origins: tuple[str, ...]) -> Rules:
    """The rule of buckets without rules: everything, for pages of ``origins``."""
    if not origins or origins == (NOBODY,):
        return ()
    rule = Rule(origins, METHODS, ("*",), _DEFAULT_EXPOSED, _DEFAULT_MAX_AGE)
    return (rule,)


# -- which rule -----------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern[str]:
    """What matches ``pattern`` as a whole: ``*`` stands for any characters, or none."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def _any(patterns: tuple[str, ...], text: str) -> bool:
    return any(_pattern(pattern).fullmatch(text) for pattern in patterns)


def find(rules: Rules, origin: str, method: str, headers: tuple[str, ...] = ()) -> Rule | None:
    """The first rule that lets ``origin`` use ``method`` with all of ``headers`` (lower-case)."""
    for rule in rules:
        if method not in rule.methods or not _any(rule.origins, origin):
            continue
        if not headers:
            return rule
        allowed = tuple(pattern.lower() for pattern in rule.headers)
        if all(_any(allowed, name) for name in headers):
            return rule
    return None


# -- answers --------------------------------------------------------------------------------------

_ORIGIN = b"origin"
_METHOD = b"access-control-request-method"
_HEADERS = b"access-control-request-headers"
_VARY = (b"vary", b"Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
_DENIED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of "
    "Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are "
    "not whitelisted by the resource's CORS spec."
)


def decorate(call: Call, response: Response, rules: Rules) -> None:
    """Let scripts read ``response`` where a rule allows its origin and method."""
    method = call.header(_METHOD) or call.method
    rule = find(rules, call.header(_ORIGIN), method)
    if rule is not None:
        response.headers += _permission(call, rule)


def preflight(call: Call, rules: Rules, *, found: bool = True) -> Response:
    """The answer to a preflight request; needs no signature.

    ``found``: whether there is such a bucket. Raises BadRequest, AccessForbidden.
    """
    origin = call.header(_ORIGIN)
    if not origin:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    method = call.header(_METHOD)
    if not rules:
        reason = "CORS is not enabled for this bucket." if found else "Bucket not found"
        raise _forbidden(f"CORSResponse: {reason}", method or call.method, "BUCKET")
    if method not in METHODS:
        raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {method or 'null'}")
    headers = tuple(
        name.strip().lower() for name in call.header(_HEADERS).split(",") if name.strip()
    )
    rule = find(rules, origin, method, headers)
    if rule is None:
        raise _forbidden(_DENIED, method, "OBJECT" if call.key else "BUCKET")
    lines = _permission(call, rule)
    if headers:
        lines.append((b"access-control-allow-headers", ", ".join(headers).encode("latin-1")))
    return Response(200, lines)


def _forbidden(message: str, method: str, resource: str) -> S3Error:
    return S3Error("AccessForbidden", message, Method=method, ResourceType=resource)


def _permission(call: Call, rule: Rule) -> HeaderList:
    """What ``rule`` tells a browser."""
    anyone = "*" in rule.origins
    lines = [
        (b"access-control-allow-origin", b"*" if anyone else call.headers[_ORIGIN]),
        (b"access-control-allow-methods", ", ".join(rule.methods).encode()),
        _VARY,
    ]
    if not anyone:  # browsers refuse credentials for "*"
        lines.append((b"access-control-allow-credentials", b"true"))
    if rule.exposed:
        lines.append((b"access-control-expose-headers", ", ".join(rule.exposed).encode()))
    if rule.max_age >= 0:
        lines.append((b"access-control-max-age", b"%d" % rule.max_age))
    return lines
