"""Verify requests signed with AWS Signature Version 4, in headers or in the query.

Pure functions of (method, raw path, raw query, headers), a keyring, the region and the clock.
Nothing that did not verify enters a cache, so that strangers can't fill them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from storage.iam.errors import TokenExpired, TokenInvalid
from storage.iam.principal import Credential
from storage.s3.auth import signing
from storage.s3.auth.canonical import (
    Headers,
    SignedHeaders,
    canonical_path,
    canonical_query,
    join_items,
    query_items,
)
from storage.s3.errors import S3Error

_K = TypeVar("_K")
_V = TypeVar("_V")


class Keyring(Protocol):
    """Finds the credential of an access key id; None if there is none.

    A session ``token`` is given where the request has one. Raises TokenInvalid, TokenExpired.
    """

    def __call__(self, access_key: str, token: str = "", /) -> Credential | None: ...


#: How far a client's clock may be off, in seconds.
SKEW_MAX = 15 * 60
#: Longest life of a presigned request, in seconds (seven days).
EXPIRES_MAX = 7 * 86400

UNSIGNED = b"UNSIGNED-PAYLOAD"
STREAMING_SIGNED = b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"
STREAMING = frozenset({STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER})
STREAMING_WITH_SIGNATURES = frozenset({STREAMING_SIGNED, STREAMING_SIGNED_TRAILER})

#: What needs no closer look: reads carry the hash of nothing.
_PAYLOADS = STREAMING | {UNSIGNED, signing.EMPTY_SHA256}
_SHA256 = re.compile(rb"[0-9a-fA-F]{64}").fullmatch

# x-amz-* headers that change nothing here, so that they may arrive unsigned: proxies and
# browsers add the first two; in a presigned request the payload's hash is not known beforehand.
_HARMLESS = frozenset({b"x-amz-cf-id", b"x-amz-user-agent"})
_HARMLESS_PRESIGNED = _HARMLESS | {b"x-amz-content-sha256"}

# Bounds of what is remembered: bytes of a key, entries of a cache.
_PREFIX_MAX = 1024
#: Of a region: signing keys are remembered before it is known that their owner asked for them.
_REGION_BYTES_MAX = 64
_SCOPES_MAX = 4096
_QUERY_MAX = 128
_QUERIES_MAX = 1024
_SHAPES_MAX = 16
_SHAPE_BYTES_MAX = 1024


class Scope(msgspec.Struct, frozen=True, eq=False):
    """Everything of an authorization but the signature: constant per client, day and header set.

    ``text`` is the credential scope ``date/region/s3/aws4_request``. ``covers`` remembers the
    header names of requests that were found to be signed as far as they must be.
    """

    access_key: str
    date: bytes
    region: bytes
    text: bytes
    signed_text: bytes
    signed_set: frozenset[bytes]
    lines: SignedHeaders
    covers: set[tuple[bytes, ...]]


class Signed(msgspec.Struct, frozen=True, eq=False):
    """A verified signature. ``timestamp`` is the client's, in the form it was signed in.

    ``payload`` says how the body is bound: a hex SHA-256 or one of the constants above.
    """

    credential: Credential
    payload: bytes
    key: signing.SigningKey
    timestamp: bytes
    scope: bytes
    signature: bytes


_scopes: dict[bytes, Scope] = {}
_query_scopes: dict[tuple[bytes, bytes], Scope] = {}
_queries: dict[bytes, bytes] = {}


def verify_header(
    method: str,
    raw_path: bytes,
    raw_query: bytes,
    headers: Headers,
    authorization: bytes,
    keyring: Keyring,
    region: str,
    now: float | None = None,
) -> Signed:
    """Verify ``Authorization: AWS4-HMAC-SHA256 ...``.

    Raises AuthorizationHeaderMalformed, InvalidAccessKeyId, InvalidToken, ExpiredToken,
    AccessDenied (no date, unsigned headers), RequestTimeTooSkewed, InvalidRequest,
    InvalidArgument and SignatureDoesNotMatch.
    """
    prefix, _, signature = authorization.rpartition(b"Signature=")
    known = _scopes.get(prefix)
    if known is None:
        scope, signature = _parse_authorization(authorization)
    else:
        scope = known
    credential = find_credential(keyring, scope.access_key, headers.get(b"x-amz-security-token"))
    if region:
        check_region(scope.region, region, malformed_header)
    timestamp, seconds = _request_time(headers)
    if timestamp[:8] != scope.date:
        raise malformed_header(
            f'Invalid credential date "{shown(scope.date)}". This date is not the same as '
            f'X-Amz-Date: "{shown(timestamp[:8])}".'
        )
    if now is None:
        now = time.time()
    if not -SKEW_MAX <= now - seconds <= SKEW_MAX:
        raise skewed(timestamp, now)
    shape = tuple(headers)
    if shape not in scope.covers:
        _check_signed(headers, scope, _HARMLESS)
    payload = headers.get(b"x-amz-content-sha256")
    if payload is None:
        payload = _payload_without_hash(headers)
    check_payload(payload)
    query = _queries.get(raw_query)
    if query is None:
        query = canonical_query(raw_query)
    key = signing.signing_key(credential.secret, scope.date, scope.region)
    _verify(key, scope, signature, timestamp, method, raw_path, query, headers, payload)
    if known is None and len(prefix) <= _PREFIX_MAX:
        _remember(_scopes, _SCOPES_MAX, prefix, scope)
    if shape not in scope.covers:
        _remember_shape(scope, shape)
    if raw_query not in _queries and len(raw_query) <= _QUERY_MAX:
        _remember(_queries, _QUERIES_MAX, raw_query, query)
    return Signed(credential, payload, key, timestamp, scope.text, signature)


def verify_query(
    method: str,
    raw_path: bytes,
    raw_query: bytes,
    headers: Headers,
    keyring: Keyring,
    region: str,
    now: float | None = None,
) -> Signed:
    """Verify a presigned request (``X-Amz-Algorithm=...&X-Amz-Signature=...``).

    Raises AuthorizationQueryParametersError, InvalidAccessKeyId, InvalidToken, ExpiredToken,
    AccessDenied (expired, not valid yet, unsigned headers), InvalidArgument and
    SignatureDoesNotMatch.
    """
    items = query_items(raw_query)
    parameters = _parameters(items)
    signature = parameters[b"X-Amz-Signature"]
    shape = parameters[b"X-Amz-Credential"], parameters[b"X-Amz-SignedHeaders"]
    scope = _query_scopes.get(shape) or make_scope(*shape, malformed_credential)
    timestamp = parameters[b"X-Amz-Date"]
    seconds = signing.parse_time(timestamp)
    if seconds is None:
        raise malformed_query(
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        )
    if timestamp[:8] != scope.date:
        raise malformed_query(
            f'Invalid credential date "{shown(scope.date)}". This date is not the same as '
            f'X-Amz-Date: "{shown(timestamp[:8])}".'
        )
    expires = _parse_expires(parameters[b"X-Amz-Expires"])
    token = parameters.get(b"X-Amz-Security-Token") or headers.get(b"x-amz-security-token")
    credential = find_credential(keyring, scope.access_key, token)
    if region:
        check_region(scope.region, region, malformed_credential)
    _check_lifetime(seconds, expires, time.time() if now is None else now)
    _check_signed(headers, scope, _HARMLESS_PRESIGNED)
    signed_payload, payload = _presigned_payload(parameters, headers, scope)
    query = join_items([item for item in items if item[0] != b"X-Amz-Signature"])
    key = signing.signing_key(credential.secret, scope.date, scope.region)
    _verify(key, scope, signature, timestamp, method, raw_path, query, headers, signed_payload)
    if len(shape[0]) + len(shape[1]) <= _PREFIX_MAX:
        _remember(_query_scopes, _SCOPES_MAX, shape, scope)
    return Signed(credential, payload, key, timestamp, scope.text, signature)


# -- the signature itself -----------------------------------------------------------------------


def _verify(
    key: signing.SigningKey,
    scope: Scope,
    signature: bytes,
    timestamp: bytes,
    method: str,
    raw_path: bytes,
    query: bytes,
    headers: Headers,
    payload: bytes,
) -> None:
    """Raise SignatureDoesNotMatch unless ``signature`` is that of this request."""
    path = canonical_path(raw_path)
    lines = scope.lines.canonical(headers)
    verb = method.encode("latin-1")
    canonical = b"\n".join((verb, path, query, lines, scope.signed_text, payload))
    to_sign = _string_to_sign(canonical, timestamp, scope)
    if signing.matches(key.sign(to_sign), signature):
        return
    if path != raw_path:
        # Some clients sign the path exactly as they send it, with %2F or needless escapes. It
        # decodes to the same path, so that the signature binds it just as well.
        as_sent = b"\n".join((verb, raw_path, query, lines, scope.signed_text, payload))
        if signing.matches(key.sign(_string_to_sign(as_sent, timestamp, scope)), signature):
            return
    raise _mismatch(scope.access_key, signature, to_sign, canonical)


def _string_to_sign(canonical: bytes, timestamp: bytes, scope: Scope) -> bytes:
    digest = sha256(canonical).hexdigest().encode()
    return b"\n".join((signing.ALGORITHM, timestamp, scope.text, digest))


def _check_signed(headers: Headers, scope: Scope, harmless: frozenset[bytes]) -> None:
    """Host and every x-amz-* header must be covered by the signature."""
    if b"host" not in scope.signed_set:
        raise _not_signed(["host"])
    unsigned = [
        name
        for name in headers.keys() - scope.signed_set
        if name.startswith(b"x-amz-") and name not in harmless
    ]
    if unsigned:
        raise _not_signed(sorted(map(shown, unsigned)))


def _remember_shape(scope: Scope, shape: tuple[bytes, ...]) -> None:
    """Header names of a request that verified: the next one with the same need no look."""
    if len(scope.covers) < _SHAPES_MAX and sum(map(len, shape)) <= _SHAPE_BYTES_MAX:
        scope.covers.add(shape)


def check_payload(payload: bytes) -> None:
    """Raise unless ``payload`` is a hash of a body, or says how the body is bound."""
    if payload in _PAYLOADS or _SHA256(payload) is not None:
        return
    if payload.startswith(b"STREAMING-AWS4-ECDSA-"):
        raise S3Error("NotImplemented", "Signatures of version 4A are not supported.")
    raise S3Error(
        "InvalidArgument",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a "
        "valid sha256 value.",
        ArgumentName="x-amz-content-sha256",
        ArgumentValue=shown(payload),
    )


def _payload_without_hash(headers: Headers) -> bytes:
    """The hash of no payload: the header may be missing where no body comes.

    S3 always asks for it; MinIO does not, and ``curl --aws-sigv4`` does without.
    """
    if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
        raise S3Error(
            "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"
        )
    return signing.EMPTY_SHA256


def find_credential(keyring: Keyring, access_key: str, token: bytes | None = None) -> Credential:
    """The credential of an access key id, or of a session where the request has its token.

    Raises InvalidAccessKeyId (unknown, or disabled), InvalidToken, ExpiredToken.
    """
    credential = _of_session(keyring, access_key, token) if token else keyring(access_key)
    return usable(credential, access_key)


def usable(credential: Credential | None, access_key: str) -> Credential:
    """``credential``, which was found for ``access_key``. Raises InvalidAccessKeyId where it is
    None, or disabled."""
    if credential is None:
        raise S3Error(
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
            AWSAccessKeyId=printable(access_key),
        )
    if not credential.enabled:
        raise S3Error(
            "InvalidAccessKeyId",
            "Your account is disabled; please contact your administrator.",
            AWSAccessKeyId=printable(access_key),
        )
    return credential


def _of_session(keyring: Keyring, access_key: str, token: bytes) -> Credential | None:
    try:
        return keyring(access_key, token.decode("latin-1"))
    except TokenExpired:
        raise S3Error("ExpiredToken") from None
    except TokenInvalid:
        raise S3Error("InvalidToken") from None


def check_region(given: bytes, expected: str, malformed: Callable[[str], S3Error]) -> None:
    """Raise what ``malformed`` makes of the complaint unless ``given`` is the region expected."""
    if given != expected.encode():
        error = malformed(f"the region '{shown(given)}' is wrong; expecting '{expected}'")
        error.fields["Region"] = expected
        raise error


def _request_time(headers: Headers) -> tuple[bytes, int]:
    """(the timestamp as signed, seconds since the epoch) from x-amz-date or Date."""
    text = headers.get(b"x-amz-date")
    if text is not None:
        seconds = signing.parse_time(text)
        if seconds is not None:
            return text, seconds
    elif (date := headers.get(b"date")) is not None:
        seconds = signing.parse_http_date(date)
        if seconds is not None:
            return signing.format_time(seconds), seconds
    raise S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")


# -- the Authorization header -------------------------------------------------------------------


def _parse_authorization(authorization: bytes) -> tuple[Scope, bytes]:
    """Scope and signature of an ``Authorization`` header whose algorithm is known to be ours."""
    fields: dict[bytes, bytes] = {}
    for component in authorization.partition(b" ")[2].split(b","):
        name, equals, value = component.strip().partition(b"=")
        if not equals or name in fields:
            raise malformed_header(
                f'the authorization component "{shown(component)}" is malformed.'
            )
        fields[name] = value
    try:
        credential, signed = fields[b"Credential"], fields[b"SignedHeaders"]
        signature = fields[b"Signature"]
    except KeyError:
        raise malformed_header(
            "The authorization header requires three components: Credential, SignedHeaders, "
            "and Signature."
        ) from None
    return make_scope(credential, signed, malformed_header), signature


def make_scope(credential: bytes, signed: bytes, error: Callable[[str], S3Error]) -> Scope:
    """A credential as it is sent, with the names of signed headers. Raises what ``error`` makes."""
    # An access key may hold slashes: the scope is what stands behind the last four.
    parts = credential.rsplit(b"/", 4)
    if len(parts) != 5 or not parts[0]:
        raise error(
            "the Credential is mal-formed; expecting "
            '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    access_key, date, region, service, terminator = parts
    if len(date) != 8 or not date.isdigit():
        raise error(
            f'incorrect date format "{shown(date)}". This date in the credential must be in the '
            'format "yyyyMMdd".'
        )
    if len(region) > _REGION_BYTES_MAX:
        raise error(f'the region "{shown(region)}" is wrong; it is too long for one')
    if service != signing.SERVICE:
        raise error(f'incorrect service "{shown(service)}". This endpoint belongs to "s3".')
    if terminator != signing.TERMINATOR:
        raise error(f'incorrect terminal "{shown(terminator)}". This endpoint uses "aws4_request".')
    names = tuple(signed.lower().split(b";"))
    return Scope(
        access_key=access_key.decode("utf-8", "replace"),
        date=date,
        region=region,
        text=b"/".join(parts[1:]),
        signed_text=signed,
        signed_set=frozenset(names),
        lines=SignedHeaders(names),
        covers=set(),
    )


# -- the presigned query ------------------------------------------------------------------------

_REQUIRED = (
    b"X-Amz-Algorithm",
    b"X-Amz-Credential",
    b"X-Amz-Signature",
    b"X-Amz-Date",
    b"X-Amz-SignedHeaders",
    b"X-Amz-Expires",
)


def _parameters(items: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The X-Amz-* parameters, decoded; complete, and each of them once."""
    parameters: dict[bytes, bytes] = {}
    for name, value in items:
        if name.startswith(b"X-Amz-"):
            if name in parameters:
                raise malformed_query(f"{shown(name)} is given more than once.")
            parameters[name] = unquote_to_bytes(value) if b"%" in value else value
    if not all(parameters.get(name) for name in _REQUIRED):
        raise malformed_query(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, "
            "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
            "X-Amz-Expires parameters."
        )
    if parameters[b"X-Amz-Algorithm"] != signing.ALGORITHM:
        raise malformed_query('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    return parameters


def _parse_expires(text: bytes) -> int:
    if text.startswith(b"-") and text[1:].isdigit():
        raise _no_lifetime("X-Amz-Expires must be non-negative")
    if not text.isdigit():
        raise malformed_query("X-Amz-Expires should be a number")
    if len(text) > 9 or int(text) > EXPIRES_MAX:
        raise _no_lifetime(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given "
            "X-Amz-Expires must be less than 604800 seconds"
        )
    return int(text)


def _no_lifetime(message: str) -> S3Error:
    """The refusal of a URL that no moment is right for: forbidden like one that has expired, where
    S3 answers 400."""
    return S3Error("AuthorizationQueryParametersError", message, status=403)


def _check_lifetime(seconds: int, expires: int, now: float) -> None:
    if seconds - now > SKEW_MAX:
        raise S3Error(
            "AccessDenied", "Request is not yet valid", ServerTime=signing.format_iso(now)
        )
    if expires == 0 or now > seconds + expires:
        error = S3Error("AccessDenied", "Request has expired")
        error.fields["X-Amz-Expires"] = str(expires)
        error.fields["Expires"] = signing.format_iso(seconds + expires)
        error.fields["ServerTime"] = signing.format_iso(now)
        raise error


def _presigned_payload(
    parameters: dict[bytes, bytes], headers: Headers, scope: Scope
) -> tuple[bytes, bytes]:
    """(the payload hash that was signed, the one that the body must fulfil).

    The header may be sent unsigned with a presigned request; it is then a promise about the body
    that is checked all the same.
    """
    in_query = parameters.get(b"X-Amz-Content-Sha256")
    in_header = headers.get(b"x-amz-content-sha256")
    if in_query is not None:
        signed = in_query
    elif in_header is not None and b"x-amz-content-sha256" in scope.signed_set:
        signed = in_header
    else:
        signed = UNSIGNED
    check_payload(signed)
    payload = signed
    if in_header is not None and signed == UNSIGNED:
        check_payload(in_header)
        payload = in_header
    if payload in STREAMING_WITH_SIGNATURES:
        raise S3Error("NotImplemented", "A presigned request can't carry a body of signed chunks.")
    return signed, payload


# -- words --------------------------------------------------------------------------------------


def malformed_header(complaint: str) -> S3Error:
    return S3Error(
        "AuthorizationHeaderMalformed", f"The authorization header is malformed; {complaint}"
    )


def malformed_query(message: str) -> S3Error:
    """The refusal of a presigned query, or of a form's fields that stand for one."""
    return S3Error("AuthorizationQueryParametersError", message)


def malformed_credential(complaint: str) -> S3Error:
    """The same, for what is wrong with its credential."""
    return malformed_query(f"Error parsing the X-Amz-Credential parameter; {complaint}")


def _not_signed(names: list[str]) -> S3Error:
    return S3Error(
        "AccessDenied",
        "There were headers present in the request which were not signed",
        HeadersNotSigned=", ".join(printable(name) for name in names),
    )


def skewed(timestamp: bytes, now: float) -> S3Error:
    """The refusal of a request from a clock that is too far off."""
    return S3Error(
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
        RequestTime=shown(timestamp),
        ServerTime=signing.format_iso(now),
        MaxAllowedSkewMilliseconds=str(SKEW_MAX * 1000),
    )


def _mismatch(access_key: str, signature: bytes, to_sign: bytes, canonical: bytes) -> S3Error:
    """What the client needs to see where its own computation went another way."""
    return S3Error(
        "SignatureDoesNotMatch",
        AWSAccessKeyId=printable(access_key),
        StringToSign=shown(to_sign),
        SignatureProvided=shown(signature),
        StringToSignBytes=to_sign.hex(" "),
        CanonicalRequest=shown(canonical),
        CanonicalRequestBytes=canonical.hex(" "),
    )


def printable(text: str) -> str:
    """Without what XML can't carry."""
    return "".join(c if c == "\n" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shown(data: bytes) -> str:
    """What a client sent, for an error document."""
    return printable(data.decode("utf-8", "replace"))


def _remember(cache: dict[_K, _V], limit: int, key: _K, value: _V) -> None:
    """Keep ``value``; a full cache starts anew."""
    if len(cache) >= limit and key not in cache:
        cache.clear()
    cache[key] = value
