"""Verify requests signed with AWS Signature Version 2, in headers or in the query.

Older than version 4 and weaker: it binds neither host nor body, and of the query only the
sub-resources. It is kept for clients that know nothing else (docs/s3-compatibility.md,
"Signature Version 2").

::

    string-to-sign = method LF Content-MD5 LF Content-Type LF date LF
                     *(name ":" value LF) resource

``date`` is the Date header, nothing where x-amz-date is among the named headers, or the end of a
presigned request's life. The named headers are all x-amz-*.

Source: "Signing and authenticating REST requests (AWS signature version 2)" in the Amazon S3 User
Guide. Unlike version 4, nothing is cached: a key is used as it is.
"""

from __future__ import annotations

import base64
import hmac
import re
import time
from collections.abc import Collection, Iterable
from operator import itemgetter
from urllib.parse import unquote_to_bytes

from storage.iam.principal import Credential
from storage.s3.auth import signing
from storage.s3.auth.canonical import Headers, canonical_path
from storage.s3.auth.sigv4 import (
    SKEW_MAX,
    STREAMING_WITH_SIGNATURES,
    UNSIGNED,
    Keyring,
    check_payload,
    find_credential,
    printable,
    shown,
    skewed,
)
from storage.s3.errors import S3Error

SCHEME = b"AWS "
#: What a presigned query consists of beside the request's own parameters.
ACCESS_KEY, EXPIRES, SIGNATURE = b"AWSAccessKeyId", b"Expires", b"Signature"

#: Parameters that every client of version 2 signs.
_SIGNED = frozenset(
    b"""
    accelerate acl analytics cors defaultObjectAcl delete inventory lifecycle location logging
    metrics notification object-lock partNumber policy replication requestPayment restore select
    select-type storageClass tagging torrent uploadId uploads versionId versioning versions website
    response-cache-control response-content-disposition response-content-encoding
    response-content-language response-content-type response-expires
    """.split()
)
#: Sub-resources that came later: some clients sign them, others do not. A presigned request, which
#: is handed to others, must, or its holder could turn it into another operation.
_LATER = frozenset(
    b"""
    abac annotation attributes encryption events intelligent-tiering legal-hold
    metadataAnnotationTable metadataConfiguration metadataInventoryTable metadataJournalTable
    metadataTable
    ownershipControls policyStatus publicAccessBlock renameObject retention session
    """.split()
)
_EVERY = _SIGNED | _LATER

_HIDDEN = re.compile(b"&(?:%b)(?:[=&]|\\Z)" % b"|".join(map(re.escape, sorted(_EVERY))))

Items = list[tuple[bytes, bytes]]


def verify_header(
    method: str,
    path: bytes,
    raw_query: bytes,
    headers: Headers,
    authorization: bytes,
    keyring: Keyring,
    now: float | None = None,
) -> tuple[Credential, bytes]:
    """Verify ``Authorization: AWS access-key:signature``; who signed, and how the body is bound.

    ``path`` is that of the resource with its bucket, as sent. Raises InvalidArgument (the header
    is malformed), InvalidAccessKeyId, InvalidToken, ExpiredToken, AccessDenied (no date),
    RequestTimeTooSkewed and SignatureDoesNotMatch.
    """
    access_key, colon, signature = authorization[len(SCHEME) :].strip().rpartition(b":")
    if not colon or not access_key or not signature:
        raise malformed()
    token = headers.get(b"x-amz-security-token")
    credential = find_credential(keyring, access_key.decode("utf-8", "replace"), token)
    date = _check_time(headers, time.time() if now is None else now)
    payload = _payload(headers)
    lines = _standard(method, headers, date) + _amz_lines(headers)
    _verify(credential, lines, path, _items(raw_query), (_EVERY, _SIGNED), signature)
    return credential, payload


def verify_query(
    method: str,
    path: bytes,
    raw_query: bytes,
    headers: Headers,
    keyring: Keyring,
    now: float | None = None,
) -> tuple[Credential, bytes]:
    """Verify ``?AWSAccessKeyId=...&Expires=...&Signature=...``; as ``verify_header``.

    x-amz-* parameters stand for headers, as some signers put them there. Raises AccessDenied
    (parameters missing, expired), InvalidArgument (an x-amz-* parameter twice, or one that holds
    another),
    InvalidAccessKeyId, InvalidToken, ExpiredToken and SignatureDoesNotMatch.
    """
    items = _items(raw_query)
    _refuse_hidden(items)
    parameters = dict(reversed(items))
    try:
        access_key, signature = parameters[ACCESS_KEY], parameters[SIGNATURE]
        expires = parameters[EXPIRES]
    except KeyError:
        raise S3Error(
            "AccessDenied",
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
            "parameters",
        ) from None
    _check_expiry(expires, time.time() if now is None else now)
    moved = _moved(items)
    token = {**moved, **headers}.get(b"x-amz-security-token")
    credential = find_credential(keyring, access_key.decode("utf-8", "replace"), token)
    payload = _payload(headers)
    lines = _standard(method, headers, expires) + _amz_lines({**moved, **headers})
    _verify(credential, lines, path, items, (_EVERY,), signature)
    return credential, payload


def sign(secret: str, message: bytes) -> bytes:
    """The signature of ``message``: base64 of its HMAC-SHA1."""
    return base64.b64encode(hmac.digest(secret.encode(), message, "sha1"))


def malformed() -> S3Error:
    """The refusal of an Authorization header that is not ``AWS access-key:signature``."""
    return S3Error(
        "InvalidArgument",
        "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature",
        ArgumentName="Authorization",
    )


def repeated(name: str) -> S3Error:
    """The refusal of a parameter that stands for a header and comes twice."""
    return S3Error(
        "InvalidArgument",
        "A parameter that stands for a header must not be repeated, in whatever case.",
        ArgumentName=name,
    )


def mismatch(credential: Credential, to_sign: bytes, signature: bytes) -> S3Error:
    """What the client needs to see where its own computation went another way."""
    return S3Error(
        "SignatureDoesNotMatch",
        AWSAccessKeyId=printable(credential.access_key),
        StringToSign=shown(to_sign),
        SignatureProvided=shown(signature),
        StringToSignBytes=to_sign.hex(" "),
    )


def _refuse_hidden(items: Items) -> None:
    """Refuse a parameter that holds another one.

    The signature is over decoded values, and can't tell ``a=1&versionId=v`` from one ``a`` whose
    value is all of that: the holder of a URL could have a version of an object replaced by the
    newest one. Raises InvalidArgument.
    """
    for name, value in items:
        if name in _EVERY and _HIDDEN.search(value) is not None:
            raise S3Error(
                "InvalidArgument",
                "The value of a signed parameter must not contain another one.",
                ArgumentName=shown(name),
            )


# -- the string to sign -------------------------------------------------------------------------


def _verify(
    credential: Credential,
    lines: bytes,
    path: bytes,
    items: Items,
    choices: Iterable[Collection[bytes]],
    signature: bytes,
) -> None:
    """Raise SignatureDoesNotMatch unless ``signature`` is that of this request.

    ``choices``: the sets of parameters that may have been signed.
    """
    for resource in _spellings(path):
        for names in choices:
            to_sign = lines + _resource(resource, items, names)
            if signing.matches(sign(credential.secret, to_sign), signature):
                return
    raise mismatch(credential, to_sign, signature)


def _spellings(path: bytes) -> Iterable[bytes]:
    """``path`` as clients may sign it, always naming the same bucket and key.

    As it is encoded canonically; that of a bucket with a slash at its end, as in a host name
    (botocore). As it was sent comes last, to be shown where none fits.
    """
    spellings = [canonical_path(path), path]
    if path.count(b"/") == 1 and path != b"/":
        spellings.insert(0, path + b"/")
    return dict.fromkeys(spellings)


def _standard(method: str, headers: Headers, date: bytes) -> bytes:
    """The lines that every request has."""
    return b"\n".join(
        (
            method.encode("latin-1"),
            headers.get(b"content-md5", b"").strip(),
            headers.get(b"content-type", b"").strip(),
            date,
            b"",
        )
    )


def _amz_lines(headers: Headers) -> bytes:
    """One line for each x-amz-* header, sorted by name."""
    return b"".join(
        name + b":" + value.strip(b" \t") + b"\n"
        for name, value in sorted(headers.items())
        if name.startswith(b"x-amz-")
    )


def _resource(path: bytes, items: Items, names: Collection[bytes]) -> bytes:
    """Path and sub-resources, these decoded and sorted by name."""
    signed = sorted((item for item in items if item[0] in names), key=itemgetter(0))
    query = b"&".join([name + b"=" + value if value else name for name, value in signed])
    return path + b"?" + query if query else path


def _moved(items: Items) -> dict[bytes, bytes]:
    """The x-amz-* parameters by lower-case name.

    Raises InvalidArgument where one comes twice, in whatever case: another value might be executed
    than the one that is signed.
    """
    moved: dict[bytes, bytes] = {}
    for name, value in items:
        header = name.lower()
        if header.startswith(b"x-amz-"):
            if header in moved:
                raise repeated(shown(name))
            moved[header] = value
    return moved


def _items(raw_query: bytes) -> Items:
    """(name, value) pairs, decoded, in the order of the request.

    A ``+`` is a space, but in a signature, whose alphabet has it.
    """
    items = []
    for item in raw_query.split(b"&"):
        name, _, value = item.partition(b"=")
        if name != SIGNATURE:
            value = value.replace(b"+", b" ")
        if name:
            items.append((unquote_to_bytes(name), unquote_to_bytes(value)))
    return items


# -- time and body ------------------------------------------------------------------------------


def _check_time(headers: Headers, now: float) -> bytes:
    """The date as it is signed: nothing where x-amz-date, signed by itself, stands for it."""
    amz_date = headers.get(b"x-amz-date")
    text = headers.get(b"date", b"") if amz_date is None else amz_date
    seconds = signing.parse_http_date(text)
    if seconds is None or seconds < 0:
        raise S3Error(
            "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
        )
    if not -SKEW_MAX <= now - seconds <= SKEW_MAX:
        raise skewed(text, now)
    return text.strip() if amz_date is None else b""


def _check_expiry(text: bytes, now: float) -> None:
    if not text.isdigit() or len(text) > 18:
        raise S3Error(
            "AccessDenied", f"Invalid date (should be seconds since epoch): {shown(text)}"
        )
    if int(text) < now:
        raise S3Error(
            "AccessDenied",
            "Request has expired",
            Expires=signing.format_iso(min(int(text), now)),
            ServerTime=signing.format_iso(now),
        )


def _payload(headers: Headers) -> bytes:
    """How the body is bound: not at all, unless the client adds version 4's header."""
    payload = headers.get(b"x-amz-content-sha256", UNSIGNED)
    check_payload(payload)
    if payload in STREAMING_WITH_SIGNATURES:
        raise S3Error(
            "InvalidArgument",
            "A body of signed chunks needs a signature of version 4.",
            ArgumentName="x-amz-content-sha256",
            ArgumentValue=shown(payload),
        )
    return payload
