"""S3 requests signed with temporary credentials, in headers and in presigned URLs.

Source: "Authenticating Requests (AWS Signature Version 4)" in the Amazon S3 API reference.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from storage.console.sessions import Session
from storage.s3.auth.signing import signing_key

UNSIGNED = "UNSIGNED-PAYLOAD"
_ALGORITHM = "AWS4-HMAC-SHA256"

Query = Iterable[tuple[str, str]]


def encode_path(bucket: str, key: str = "") -> str:
    """The path of a bucket or an object as it is sent and signed; dots and slashes are kept."""
    path = f"/{bucket}/{key}" if key else f"/{bucket}" if bucket else "/"
    return quote(path, safe="/~")


def encode_query(query: Query) -> str:
    """A query in canonical form."""
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in query)
    return "&".join(f"{name}={value}" for name, value in pairs)


def headers(
    method: str,
    host: str,
    path: str,
    query: Query,
    given: Mapping[str, str],
    session: Session,
    region: str,
) -> dict[str, str]:
    """``given`` headers (lower-case names) and those that sign them; ``path`` is encoded."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    signed = {
        **given, "host": host, "x-amz-date": stamp, "x-amz-content-sha256": UNSIGNED,
        **({"x-amz-security-token": session.session_token} if session.session_token else {}),
    }  # fmt: skip
    names = ";".join(sorted(signed))
    signature = _signature(method, path, query, signed, names, session, region, stamp)
    signed["authorization"] = (
        f"{_ALGORITHM} Credential={session.access_key}/{_scope(stamp, region)}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return signed


def presign(
    method: str,
    origin: str,
    path: str,
    query: Query,
    session: Session,
    region: str,
    seconds: int,
) -> str:
    """A URL below ``origin`` (scheme and host) that lives for ``seconds``."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    items = [
        *query,
        ("X-Amz-Algorithm", _ALGORITHM),
        ("X-Amz-Credential", f"{session.access_key}/{_scope(stamp, region)}"),
        ("X-Amz-Date", stamp),
        ("X-Amz-Expires", str(seconds)),
        ("X-Amz-SignedHeaders", "host"),
    ]
    if session.session_token:
        items.append(("X-Amz-Security-Token", session.session_token))
    signed = {"host": origin.partition("://")[2]}
    signature = _signature(method, path, items, signed, "host", session, region, stamp)
    return f"{origin}{path}?{encode_query(items)}&X-Amz-Signature={signature}"


def _signature(
    method: str,
    path: str,
    query: Query,
    signed: Mapping[str, str],
    names: str,
    session: Session,
    region: str,
    stamp: str,
) -> str:
    lines = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in sorted(signed))
    canonical = f"{method}\n{path}\n{encode_query(query)}\n{lines}\n{names}\n{UNSIGNED}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{_ALGORITHM}\n{stamp}\n{_scope(stamp, region)}\n{digest}"
    key = signing_key(session.secret_key, stamp[:8].encode(), region.encode())
    return key.sign(to_sign.encode()).decode()


def _scope(stamp: str, region: str) -> str:
    return f"{stamp[:8]}/{region}/s3/aws4_request"
