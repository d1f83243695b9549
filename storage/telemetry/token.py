"""The bearer token of MinIO's metrics endpoints.

A JSON Web Token (RFC 7519), HS512: ``sub`` is an access key, ``iss`` is "prometheus", signed with
the key's secret. `mc admin prometheus generate` makes one, and so does ``make``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable

ISSUER = "prometheus"
#: Seconds; MinIO's tokens last for a hundred years, since a scraper can't renew its own.
LIFETIME = 100 * 365 * 86400
_HEADER = {"alg": "HS512", "typ": "JWT"}
_TOKEN_BYTES_MAX = 4096


def make(access_key: str, secret: str, now: float | None = None) -> str:
    """A token for ``access_key``. ``now``: seconds since the epoch."""
    expires = int((time.time() if now is None else now) + LIFETIME)
    claims = {"exp": expires, "sub": access_key, "iss": ISSUER}
    signed = f"{_encode(_HEADER)}.{_encode(claims)}"
    return f"{signed}.{_base64(_signature(signed, secret))}"


def check(token: str, secret_of: Callable[[str], str | None], now: float | None = None) -> str:
    """The access key that ``token`` speaks for, "" if it is not valid now."""
    if len(token) > _TOKEN_BYTES_MAX or token.count(".") != 2:
        return ""
    signed, _, given = token.rpartition(".")
    header, _, payload = signed.partition(".")
    try:
        if json.loads(_decode(header)).get("alg") != "HS512":
            return ""
        claims = json.loads(_decode(payload))
        access_key = claims["sub"]
        valid = claims["iss"] == ISSUER and claims["exp"] > (time.time() if now is None else now)
        secret = secret_of(access_key)
        signature = _decode(given)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return ""
    if not valid or secret is None:
        return ""
    if not hmac.compare_digest(_signature(signed, secret), signature):
        return ""
    return str(access_key)


def _signature(signed: str, secret: str) -> bytes:
    return hmac.new(secret.encode(), signed.encode(), hashlib.sha512).digest()


def _encode(part: dict[str, object] | dict[str, str]) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
