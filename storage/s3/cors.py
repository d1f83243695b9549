"""Cross-origin requests: a permissive default for browsers that upload to presigned URLs.

Answers carry the headers of the Fetch standard (section 3.3) only where ``Origin`` was sent.
"""

from __future__ import annotations

from storage.s3.call import Call, Response
from storage.s3.errors import S3Error

_METHODS = "GET, PUT, POST, DELETE, HEAD"
_ALLOWED_METHODS = frozenset(_METHODS.split(", "))
_EXPOSED = (
    b"ETag, Content-Length, Content-Range, Accept-Ranges, Last-Modified, x-amz-request-id, "
    b"x-amz-id-2, x-amz-version-id, x-amz-checksum-crc32, x-amz-checksum-crc32c, "
    b"x-amz-checksum-crc64nvme, x-amz-checksum-sha1, x-amz-checksum-sha256, "
    b"x-amz-checksum-type, x-amz-storage-class, x-amz-tagging-count, x-amz-mp-parts-count"
)
_VARY = (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
_MAX_AGE = (b"access-control-max-age", b"3600")


def _allowed(origin: bytes, patterns: tuple[str, ...]) -> bytes | None:
    """The value of Access-Control-Allow-Origin for ``origin``, or None."""
    if "*" in patterns:
        return b"*"
    text = origin.decode("latin-1")
    for pattern in patterns:
        head, star, tail = pattern.partition("*")
        if text == pattern or (
            star
            and len(text) >= len(head) + len(tail)
            and text.startswith(head)
            and text.endswith(tail)
        ):
            return origin
    return None


def decorate(call: Call, response: Response, patterns: tuple[str, ...]) -> None:
    """Let scripts of an allowed origin read ``response``."""
    if call.method == "OPTIONS":
        return
    allowed = _allowed(call.headers[b"origin"], patterns)
    response.headers.append(_VARY)
    if allowed is not None:
        response.headers += (
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", _EXPOSED),
        )


def preflight(call: Call, patterns: tuple[str, ...]) -> Response:
    """The answer to a preflight request; needs no signature. Raises BadRequest, AccessDenied."""
    origin = call.headers.get(b"origin")
    if origin is None:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    method = call.header(b"access-control-request-method")
    if method not in _ALLOWED_METHODS:
        raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {method}")
    allowed = _allowed(origin, patterns)
    if allowed is None:
        raise S3Error(
            "AccessDenied", "CORSResponse: This CORS request is not allowed.", Method=method
        )
    lines = [
        (b"access-control-allow-origin", allowed),
        (b"access-control-allow-methods", _METHODS.encode()),
        (b"access-control-expose-headers", _EXPOSED),
        _MAX_AGE,
        _VARY,
    ]
    requested = call.headers.get(b"access-control-request-headers")
    if requested:
        lines.append((b"access-control-allow-headers", requested))
    return Response(200, lines)
