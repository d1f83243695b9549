"""Requests signed with Signature Version 4, in headers and in presigned URLs.

Source: "Authenticating Requests (AWS Signature Version 4)" in the Amazon S3 API reference.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256().hexdigest()

_ALGORITHM = "AWS4-HMAC-SHA256"
#: Headers that proxies and clients change on their way; everything else that is given is signed.
_UNSIGNED = frozenset(("accept-encoding", "connection", "expect", "user-agent", "origin"))

Query = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Credentials:
    """An access key and its secret, which no representation shows."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class Signed:
    """What signing adds: ``headers`` to send, and the ``canonical`` request that was signed."""

    headers: Mapping[str, str]
    canonical: str


def encode_path(path: str) -> str:
    """A path as it is sent and signed: all but ``A-Za-z0-9-._~/`` is escaped, dots are kept."""
    return quote(path, safe="/~", errors="surrogateescape")


def encode_query(query: Query) -> str:
    """A query in canonical form: encoded, and sorted by encoded name and value."""
    encoded = sorted((_component(name), _component(value)) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in encoded)


def sign(
    method: str,
    host: str,
    path: str,
    query: Query,
    headers: Mapping[str, str],
    payload_hash: str,
    credentials: Credentials,
    region: str,
    now: float,
) -> Signed:
    """Sign a request whose ``path`` and ``query`` are not encoded yet.

    ``headers`` have lower-case names. ``now``: seconds since the epoch.
    """
    stamp = _stamp(now)
    added = {"host": host, "x-amz-date": stamp, "x-amz-content-sha256": payload_hash}
    signed = {n: v for n, v in {**headers, **added}.items() if n not in _UNSIGNED}
    names = ";".join(sorted(signed))
    canonical = _canonical(method, path, query, signed, names, payload_hash)
    scope, signature = _signature(canonical, stamp, credentials, region)
    added["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return Signed({**headers, **added}, canonical)


def presign(
    method: str,
    host: str,
    path: str,
    query: Query,
    headers: Mapping[str, str],
    credentials: Credentials,
    region: str,
    now: float,
    expires: int,
) -> tuple[str, str]:
    """(path with query, canonical request) of a URL that lives ``expires`` seconds.

    Who uses it must send ``headers`` (lower-case names) exactly so.
    """
    stamp = _stamp(now)
    signed = {**headers, "host": host}
    names = ";".join(sorted(signed))
    items = [
        *query,
        ("X-Amz-Algorithm", _ALGORITHM),
        ("X-Amz-Content-Sha256", UNSIGNED_PAYLOAD),
        ("X-Amz-Credential", f"{credentials.access_key}/{_scope(stamp, region)}"),
        ("X-Amz-Date", stamp),
        ("X-Amz-Expires", str(expires)),
        ("X-Amz-SignedHeaders", names),
    ]
    canonical = _canonical(method, path, items, signed, names, UNSIGNED_PAYLOAD)
    _, signature = _signature(canonical, stamp, credentials, region)
    target = f"{encode_path(path)}?{encode_query(items)}&X-Amz-Signature={signature}"
    return target, canonical


def _canonical(
    method: str, path: str, query: Query, headers: Mapping[str, str], names: str, payload: str
) -> str:
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers))
    return f"{method}\n{encode_path(path)}\n{encode_query(query)}\n{lines}\n{names}\n{payload}"


def _signature(
    canonical: str, stamp: str, credentials: Credentials, region: str
) -> tuple[str, str]:
    """(scope, signature)"""
    scope = _scope(stamp, region)
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}"
    key = _signing_key(credentials.secret_key, stamp[:8], region)
    return scope, hmac.new(key, to_sign.encode(), "sha256").hexdigest()


@lru_cache(maxsize=16)
def _signing_key(secret: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for step in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return key


def _scope(stamp: str, region: str) -> str:
    return f"{stamp[:8]}/{region}/s3/aws4_request"


def _stamp(now: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def _component(text: str) -> str:
    return quote(text, safe="~", errors="surrogateescape")
