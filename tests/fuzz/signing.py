"""Signatures of versions 4 and 2, written from Amazon's description and not from the store's code.

They take bytes as they will be sent, however odd: what is mutated before it is signed has to be
understood, and what is mutated afterwards has to be refused.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import time
from email.utils import formatdate
from urllib.parse import quote_from_bytes, unquote_to_bytes

from tests.fuzz.world import User

Headers = list[tuple[bytes, bytes]]
Query = list[tuple[bytes, bytes | None]]

EMPTY = hashlib.sha256(b"").hexdigest().encode()
_REGION = b"us-east-1"


def encode(raw: bytes, safe: str = "") -> bytes:
    return quote_from_bytes(raw, safe=safe + "~").encode()


def query_bytes(query: Query) -> bytes:
    """A query as it is sent. A value of None has no equals sign."""
    return b"&".join(n if v is None else b"%b=%b" % (n, v) for n, v in query)


def stamp() -> bytes:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()).encode()


class Signature:
    """One SigV4 signature and what chunks chain to."""

    def __init__(self, user: User, now: bytes) -> None:
        self.now = now
        self.scope = b"%b/%b/s3/aws4_request" % (now[:8], _REGION)
        self.credential = user.access_key + b"/" + self.scope
        self._key = _signing_key(user.secret, now[:8])
        self.seed = b""

    def sign(self, canonical: bytes) -> bytes:
        self.seed = self._hmac(
            b"AWS4-HMAC-SHA256\n%b\n%b\n%b" % (self.now, self.scope, _sha256(canonical))
        )
        return self.seed

    def chunk(self, data: bytes) -> bytes:
        """The signature of the next chunk."""
        self.seed = self._hmac(
            b"AWS4-HMAC-SHA256-PAYLOAD\n%b\n%b\n%b\n%b\n%b"
            % (self.now, self.scope, self.seed, EMPTY, _sha256(data))
        )
        return self.seed

    def trailer(self, lines: bytes) -> bytes:
        return self._hmac(
            b"AWS4-HMAC-SHA256-TRAILER\n%b\n%b\n%b\n%b"
            % (self.now, self.scope, self.seed, _sha256(lines))
        )

    def text(self, to_sign: bytes) -> bytes:
        """The signature of a text as it is (POST policies)."""
        return self._hmac(to_sign)

    def _hmac(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, "sha256").hex().encode()


def canonical(
    method: bytes, path: bytes, query: bytes, headers: Headers, names: list[bytes], payload: bytes
) -> bytes:
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        name, value = name.lower(), b" ".join(value.split())
        values[name] = value if name not in values else values[name] + b"," + value
    pairs = sorted(
        tuple(encode(unquote_to_bytes(part)) for part in item.partition(b"=")[::2])
        for item in query.split(b"&")
        if item
    )
    return b"\n".join(
        (
            method,
            encode(unquote_to_bytes(path), "/"),
            b"&".join(b"=".join(pair) for pair in pairs),
            *(name + b":" + values.get(name, b"") for name in names),
            b"",
            b";".join(names),
            payload,
        )
    )


def sign_header(
    user: User, method: bytes, path: bytes, query: bytes, headers: Headers, payload: bytes
) -> Signature:
    """Add x-amz-date, x-amz-content-sha256 and Authorization to ``headers``, all of it signed."""
    signature = Signature(user, stamp())
    headers += [(b"x-amz-date", signature.now), (b"x-amz-content-sha256", payload)]
    names = sorted({name.lower() for name, _ in headers} - _UNSIGNED)
    seed = signature.sign(canonical(method, path, query, headers, names, payload))
    value = b"AWS4-HMAC-SHA256 Credential=%b, SignedHeaders=%b, Signature=%b"
    headers.append((b"authorization", value % (signature.credential, b";".join(names), seed)))
    return signature


def sign_query(
    user: User, method: bytes, path: bytes, query: Query, headers: Headers, expires: bytes
) -> Signature:
    """Presign: add the parameters of version 4 to ``query``."""
    signature = Signature(user, stamp())
    names = sorted({name.lower() for name, _ in headers} - _UNSIGNED)
    query += [
        (b"X-Amz-Algorithm", b"AWS4-HMAC-SHA256"),
        (b"X-Amz-Credential", encode(signature.credential)),
        (b"X-Amz-Date", signature.now),
        (b"X-Amz-Expires", expires),
        (b"X-Amz-SignedHeaders", encode(b";".join(names))),
    ]
    text = canonical(method, path, query_bytes(query), headers, names, b"UNSIGNED-PAYLOAD")
    query.append((b"X-Amz-Signature", signature.sign(text)))
    return signature


def sign_header_v2(
    user: User, method: bytes, resource: bytes, query: Query, headers: Headers
) -> None:
    """Add Date and Authorization of version 2. ``resource``: the path with its bucket in front."""
    if not any(name.lower() in (b"date", b"x-amz-date") for name, _ in headers):
        headers.append((b"date", formatdate(usegmt=True).encode()))
    value = _signature_v2(user, method, resource, query, headers, _first(headers, b"date"))
    headers.append((b"authorization", b"AWS %b:%b" % (user.access_key, value)))


def sign_query_v2(
    user: User, method: bytes, resource: bytes, query: Query, headers: Headers, expires: bytes
) -> None:
    """Presign with version 2."""
    value = _signature_v2(user, method, resource, query, headers, expires)
    query += [
        (b"AWSAccessKeyId", encode(user.access_key)),
        (b"Expires", expires),
        (b"Signature", encode(value)),
    ]


#: Not signed: proxies may change them, or they depend on the framing.
_UNSIGNED = frozenset(
    (b"content-length", b"transfer-encoding", b"expect", b"connection", b"user-agent", b"te",
     b"authorization", b"upgrade")
)  # fmt: skip
_SUB_RESOURCES_V2 = frozenset(
    b"""
    abac accelerate acl analytics annotation attributes cors delete encryption events
    intelligent-tiering inventory legal-hold lifecycle location logging metadataConfiguration
    metadataTable metrics notification object-lock ownershipControls partNumber policy policyStatus
    publicAccessBlock renameObject replication requestPayment restore retention select session
    tagging torrent uploadId uploads versionId versioning versions website
    response-cache-control response-content-disposition response-content-encoding
    response-content-language response-content-type response-expires
    """.split()
)


def _signature_v2(
    user: User, method: bytes, resource: bytes, query: Query, headers: Headers, date: bytes
) -> bytes:
    if any(name.lower() == b"x-amz-date" for name, _ in headers):
        date = b""
    amz: dict[bytes, bytes] = {}
    for name, value in headers:
        name = name.lower()
        if name.startswith(b"x-amz-"):
            amz[name] = amz[name] + b"," + value.strip() if name in amz else value.strip()
    subs = sorted((n, v or b"") for n, v in query if n in _SUB_RESOURCES_V2)
    if subs:
        resource += b"?" + b"&".join(n + b"=" + unquote_to_bytes(v) if v else n for n, v in subs)
    text = b"\n".join(
        (
            method,
            _first(headers, b"content-md5"),
            _first(headers, b"content-type"),
            date,
            b"".join(n + b":" + v + b"\n" for n, v in sorted(amz.items())) + resource,
        )
    )
    return base64.b64encode(hmac.digest(user.secret, text, "sha1"))


def policy_v2(user: User, policy: bytes) -> bytes:
    """The signature of a POST form's policy, version 2."""
    return base64.b64encode(hmac.digest(user.secret, policy, "sha1"))


def _first(headers: Headers, wanted: bytes) -> bytes:
    return next((value for name, value in headers if name.lower() == wanted), b"")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


@functools.lru_cache(maxsize=8)
def _signing_key(secret: bytes, date: bytes) -> bytes:
    key = b"AWS4" + secret
    for step in (date, _REGION, b"s3", b"aws4_request"):
        key = hmac.digest(key, step, "sha256")
    return key
