"""The arithmetic of AWS Signature Version 4: keys, signatures, times. Nothing of HTTP in here.

Source: "Signature Calculations for the Authorization Header" and the pages beside it in the
Amazon S3 API reference.
"""

from __future__ import annotations

import calendar
import datetime
import email.utils
import hmac
import re
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest

ALGORITHM = b"AWS4-HMAC-SHA256"
SERVICE = b"s3"
TERMINATOR = b"aws4_request"
EMPTY_SHA256 = sha256().hexdigest().encode()

_BLOCK = 64
_IPAD = bytes(x ^ 0x36 for x in range(256))
_OPAD = bytes(x ^ 0x5C for x in range(256))


class SigningKey:
    """A derived key, ready to sign many strings.

    Keeps the two hash states that HMAC starts from (RFC 2104): copying them costs a third of
    ``hmac.digest``, which sets the key up anew on every call.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = key.ljust(_BLOCK, b"\0")
        self._inner = sha256(block.translate(_IPAD))
        self._outer = sha256(block.translate(_OPAD))

    def sign(self, message: bytes) -> bytes:
        """The signature of ``message`` as lower-case hex."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest().encode()


@lru_cache(maxsize=1024)
def signing_key(secret: str, date: bytes, region: bytes) -> SigningKey:
    """The key of one secret for one day (``YYYYMMDD``) and region, for the service s3.

    Cached by the secret itself, so that a key whose secret was replaced can't be used with its
    old one.
    """
    key = hmac.digest(b"AWS4" + secret.encode(), date, "sha256")
    for step in (region, SERVICE, TERMINATOR):
        key = hmac.digest(key, step, "sha256")
    return SigningKey(key)


def matches(expected: bytes, provided: bytes) -> bool:
    """Compare two signatures in a time that does not depend on where they differ."""
    return compare_digest(expected, provided)


_BASIC = re.compile(rb"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")
_times: dict[bytes, int] = {}
_TIMES_MAX = 1024


def parse_time(text: bytes) -> int | None:
    """Seconds since the epoch of ``YYYYMMDD'T'HHMMSS'Z'``; None if it is no such time."""
    known = _times.get(text)
    if known is not None:
        return known
    match = _BASIC.fullmatch(text)
    if match is None:
        return None
    try:
        moment = datetime.datetime(*map(int, match.groups()), tzinfo=datetime.UTC)  # type: ignore[misc,arg-type]
    except ValueError:
        return None
    seconds = calendar.timegm(moment.utctimetuple())
    if len(_times) >= _TIMES_MAX:
        _times.clear()
    _times[text] = seconds
    return seconds


def parse_http_date(text: bytes) -> int | None:
    """Seconds since the epoch of an HTTP ``Date`` (or of the basic ISO form)."""
    basic = parse_time(text)
    if basic is not None:
        return basic
    try:
        moment = email.utils.parsedate_to_datetime(text.decode("ascii"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return int(moment.timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def format_time(seconds: int) -> bytes:
    """The inverse of ``parse_time``."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y%m%dT%H%M%SZ").encode()


def format_iso(seconds: float) -> str:
    """A time as error bodies show it: ``2013-05-24T00:00:00Z``."""
    moment = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
