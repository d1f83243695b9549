"""Authorization: the one place where an operation meets ``storage.iam``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from storage.iam.conditions import Context
from storage.iam.decide import decide
from storage.s3.errors import S3Error

if TYPE_CHECKING:
    from storage.engine.interface import Bucket
    from storage.s3.call import Call

_ARN = "arn:aws:s3:::"

#: Query parameters and headers that policies may ask about, by condition key.
_QUERY_KEYS = {"s3:prefix": "prefix", "s3:delimiter": "delimiter", "s3:max-keys": "max-keys"}
_HEADER_KEYS = {
    "aws:referer": b"referer",
    "aws:useragent": b"user-agent",
    "s3:x-amz-acl": b"x-amz-acl",
    "s3:x-amz-content-sha256": b"x-amz-content-sha256",
    "s3:x-amz-copy-source": b"x-amz-copy-source",
    "s3:x-amz-metadata-directive": b"x-amz-metadata-directive",
    "s3:x-amz-storage-class": b"x-amz-storage-class",
}
_AUTH_TYPES = {"header": "REST-HEADER", "query": "REST-QUERY-STRING"}


def allowed(call: Call, action: str, bucket: Bucket | None, key: str = "") -> bool:
    """Whether the caller may do ``action`` on the object or bucket.

    Without a bucket it is about one that is yet to be made, or about the whole store."""
    principal = call.auth.principal
    if principal.root and principal.boundary is None:
        return True
    if bucket is None:
        resource, owner = _ARN + call.bucket, ""
    else:
        resource, owner = f"{_ARN}{bucket.name}/{key}" if key else _ARN + bucket.name, bucket.owner
    return decide(principal, action, resource, lambda: _context(call), owner=owner).allowed


def authorize(call: Call, action: str, bucket: Bucket | None, key: str = "") -> None:
    """Raise AccessDenied unless ``allowed``."""
    if not allowed(call, action, bucket, key):
        raise S3Error("AccessDenied")


def _context(call: Call) -> Context:
    """What a policy's conditions may ask about the request."""
    now = time.time()
    client = call.scope.get("client")
    context: dict[str, str | tuple[str, ...]] = {
        "aws:currenttime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "aws:epochtime": str(int(now)),
        "aws:securetransport": "true" if call.scope.get("scheme") == "https" else "false",
    }
    if client:
        context["aws:sourceip"] = client[0]
    if call.auth.mechanism:
        context["s3:authtype"] = _AUTH_TYPES[call.auth.mechanism]
        context["s3:signatureversion"] = "AWS4-HMAC-SHA256"
    for name, parameter in _QUERY_KEYS.items():
        if parameter in call.query:
            context[name] = call.query[parameter]
    for name, header in _HEADER_KEYS.items():
        if header in call.headers:
            context[name] = call.header(header)
    return context
