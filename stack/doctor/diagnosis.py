"""From what a store or a proxy answered to the trouble behind it.

The heart is ``SignatureDoesNotMatch``. The error document shows the canonical request as the store
saw it; beside the one that was signed, it tells a changed Host, header or path from a
wrong secret. A store that does not show it (MinIO) gets the same request signed for other hosts.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable

from stack.doctor.doors import Door
from stack.doctor.troubles import Severity, Trouble, trouble
from stack.s3.errors import S3Error
from stack.s3.transport import Unreachable

_SKEW_MAX = 15 * 60
_MEBIBYTE = 1 << 20


def unreachable(door: Door, error: Unreachable) -> Trouble:
    """Why nobody answers at a door."""
    code = "presigned-host-unreachable" if not door.services else "endpoint-unreachable"
    return trouble(
        code, endpoint=door.endpoint, detail=error.detail, variable=door.use.variable("ENDPOINT")
    )


def skew(door: Door, date: str) -> float | None:
    """Seconds that the other clock is ahead, by its Date header; None if it sent none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - door.clock()
    except (ValueError, TypeError):
        return None


def broken(door: Door, action: str, error: Unreachable) -> Trouble:
    """A door that was open broke off while something was tried."""
    return trouble(
        "connection-lost", action=_capital(action), endpoint=door.endpoint, detail=error.detail
    )


def clock_skew(door: Door, seconds: float, severity: Severity = "failure") -> Trouble:
    """The clocks differ by ``seconds``."""
    return trouble(
        "clock-skew",
        severity,
        seconds=abs(seconds),
        here=_time(door.clock()),
        there=_time(door.clock() + seconds),
        endpoint=door.endpoint,
    )


def explain(door: Door, action: str, error: S3Error, size: int = 0) -> Trouble:
    """The trouble behind ``error``. ``action`` says what was tried, ``size`` the body's bytes."""
    known = _KNOWN.get(error.code)
    if known is not None:
        return known(door, action, error)
    if error.status == 413:
        return trouble(
            "proxy-body-limit", endpoint=door.endpoint, mebibytes=round(size / _MEBIBYTE, 1)
        )
    if error.status == 411 or (error.status == 501 and "transfer-encoding" in _said(error)):
        return trouble("proxy-length", endpoint=door.endpoint)
    if not error.code:
        return _foreign(door, error)
    return _unexpected(door, action, error)


def _signature(door: Door, action: str, error: S3Error) -> Trouble:
    seen = error.fields.get("CanonicalRequest", "")
    if seen:
        return _compare(door, error.canonical, seen)
    host = _host_that_fits(door)
    if host:
        return trouble("proxy-host", endpoint=door.endpoint, detail=f" to {host}")
    return _wrong_secret(door)


def _compare(door: Door, signed: str, seen: str) -> Trouble:
    """What changed on the way; nothing changed means that the secret is the wrong one."""
    ours, theirs = _parts(signed), _parts(seen)
    changed = [
        name
        for name in sorted(ours.headers.keys() | theirs.headers.keys())
        if ours.headers.get(name, "") != theirs.headers.get(name, "")
    ]
    if "host" in changed:
        host = theirs.headers.get("host", "")
        return trouble("proxy-host", endpoint=door.endpoint, detail=f" to {host}" if host else "")
    if "content-length" in changed or ours.payload != theirs.payload:
        return trouble("proxy-length", endpoint=door.endpoint)
    if changed:
        return trouble("proxy-headers", endpoint=door.endpoint, names=", ".join(changed))
    if ours.target != theirs.target:
        return trouble("proxy-path", endpoint=door.endpoint)
    return _wrong_secret(door)


class _Canonical:
    """A canonical request in its parts."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        self.target = tuple(lines[:3])
        self.payload = lines[-1] if lines else ""
        pairs = (line.partition(":") for line in lines[3:-2] if ":" in line)
        self.headers = {name: value for name, _, value in pairs}


_parts = _Canonical


def _host_that_fits(door: Door) -> str:
    """The Host that a store behind a proxy seems to see: one for which signatures do fit."""
    candidates = {door.use.host, *(use.endpoint.partition("://")[2] for use in door.uses)}
    candidates |= {"minio:9000", "localhost:9000", "127.0.0.1:9000"} | door.siblings
    for host in sorted(candidates - {door.s3.transport.host}):
        try:
            door.s3.request("GET", door.use.bucket, query=[("max-keys", "1")], signed_host=host)
        except S3Error as error:
            if error.code == "SignatureDoesNotMatch":
                continue
        except Unreachable:
            continue
        return host
    return ""


def _wrong_secret(door: Door) -> Trouble:
    return trouble(
        "wrong-secret",
        endpoint=door.endpoint,
        access_key=door.use.credentials.access_key,
        variable=door.use.variable("SECRET_ACCESS_KEY"),
    )


def _unknown_key(door: Door, action: str, error: S3Error) -> Trouble:
    return trouble(
        "unknown-access-key",
        endpoint=door.endpoint,
        access_key=door.use.credentials.access_key or "(none)",
        variable=door.use.variable("ACCESS_KEY_ID"),
    )


def _region(door: Door, action: str, error: S3Error) -> Trouble:
    expected = error.fields.get("Region", "")
    if not expected:
        return _unexpected(door, action, error)
    return trouble(
        "wrong-region",
        expected=expected,
        given=door.use.region,
        variable=door.use.variable("REGION"),
    )


def _skewed(door: Door, action: str, error: S3Error) -> Trouble:
    seconds = skew(door, error.headers.get("date", ""))
    return clock_skew(door, seconds if seconds is not None else _SKEW_MAX)


def _no_bucket(door: Door, action: str, error: S3Error) -> Trouble:
    return trouble("missing-bucket", bucket=door.use.bucket)


def _denied(door: Door, action: str, error: S3Error) -> Trouble:
    if "not yet valid" in error.message or "expired" in error.message.lower():
        return _skewed(door, action, error)
    unsigned = error.fields.get("HeadersNotSigned", "")
    if unsigned:
        return trouble("proxy-headers", endpoint=door.endpoint, names=unsigned)
    return trouble(
        "access-denied",
        action=action,
        access_key=door.use.credentials.access_key,
        bucket=door.use.bucket,
    )


def _length(door: Door, action: str, error: S3Error) -> Trouble:
    return trouble("proxy-length", endpoint=door.endpoint)


def _full(door: Door, action: str, error: S3Error) -> Trouble:
    return trouble("disk-full")


def _starting(door: Door, action: str, error: S3Error) -> Trouble:
    if "starting" in error.message:
        return trouble("starting", endpoint=door.endpoint)
    return _unexpected(door, action, error)


def _foreign(door: Door, error: S3Error) -> Trouble:
    server = error.headers.get("server", "")
    said = f"it answered {error.status}" + (f" ({server})" if server else "")
    return trouble(
        "not-s3", endpoint=door.endpoint, detail=said, variable=door.use.variable("ENDPOINT")
    )


def _unexpected(door: Door, action: str, error: S3Error) -> Trouble:
    return trouble("unexpected", action=_capital(action), endpoint=door.endpoint, detail=error)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _said(error: S3Error) -> str:
    return f"{error.message} {error.fields}".lower()


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


_KNOWN: dict[str, Callable[[Door, str, S3Error], Trouble]] = {
    "SignatureDoesNotMatch": _signature,
    "InvalidAccessKeyId": _unknown_key,
    "AuthorizationHeaderMalformed": _region,
    "AuthorizationQueryParametersError": _region,
    "PermanentRedirect": _region,
    "RequestTimeTooSkewed": _skewed,
    "NoSuchBucket": _no_bucket,
    "AccessDenied": _denied,
    "MissingContentLength": _length,
    "IncompleteBody": _length,
    "BadDigest": _length,
    "XAmzContentSHA256Mismatch": _length,
    "XMinioStorageFull": _full,
    "ServiceUnavailable": _starting,
    "XMinioServerNotInitialized": _starting,
}
