"""What conditions of policies may ask about a request: the values of condition keys.

Sources: "Actions, resources, and condition keys for Amazon S3" in the Service Authorization
Reference, "Amazon S3 Signature Version 4 authentication-specific policy keys" in the API
reference, "AWS global condition context keys" in the IAM user guide.
"""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from storage.iam.resources import EXISTING_TAG, ObjectNeeded, tag_values
from storage.s3 import headers
from storage.s3.auth import VERSION_2
from storage.s3.caller import origin_of
from storage.s3.errors import S3Error

if TYPE_CHECKING:
    from storage.engine.interface import Version
    from storage.s3.call import Call

Value = str | tuple[str, ...] | None

#: What a condition key about a tag of the request begins with.
REQUEST_TAG = "s3:requestobjecttag/"
_REQUEST_TAG_KEYS = "s3:requestobjecttagkeys"
_AUTH_TYPES = {"header": "REST-HEADER", "query": "REST-QUERY-STRING", "post": "POST"}


class Facts:
    """The facts of one request. Each is found out only when it is asked for.

    ``version`` is the object, None where there is none; ``looked`` False: not looked up yet.
    ``given`` are values by key that count instead of the request's own.
    """

    __slots__ = ("_call", "_given", "_looked", "_prefix", "_version")

    def __init__(
        self,
        call: Call,
        version: Version | None = None,
        *,
        looked: bool = True,
        prefix: str | None = None,
        given: Mapping[str, Value] | None = None,
    ) -> None:
        self._call = call
        self._version = version
        self._looked = looked
        self._prefix = prefix
        self._given = given

    def get(self, key: str) -> Value:
        """The value of a lower-case condition key; None where the request has none.

        Raises ObjectNeeded where it is one of an object that was not looked up.
        """
        if self._given is not None and key in self._given:
            return self._given[key]
        found = _PLAIN.get(key)
        if found is not None:
            return found(self._call)
        if key in _OF_LISTINGS:
            return self._of_listing(key)
        if key.startswith(EXISTING_TAG):
            return self._existing_tag(key)
        if key.startswith(REQUEST_TAG):
            return tag_values(request_tags(self._call), key)
        return None

    def _of_listing(self, key: str) -> Value:
        if self._prefix is not None:
            return self._prefix if key == "s3:prefix" else None
        value = self._call.query.get(key.removeprefix("s3:"))
        # An empty number is none: the page has the size that it has without.
        return None if key == "s3:max-keys" and not value else value

    def _existing_tag(self, key: str) -> Value:
        if not self._looked:
            raise ObjectNeeded
        if self._version is None:
            return None
        return tag_values(self._version.meta.tags, key)


def request_tags(call: Call) -> dict[str, str]:
    """The tags that a request brings: in its header, or in the document it puts.

    Raises ObjectNeeded while that document is still to be read; InvalidArgument, InvalidTag.
    """
    if call.request_tags is not None:
        return call.request_tags
    if puts_tags(call):
        raise ObjectNeeded
    header = call.headers.get(b"x-amz-tagging")
    return {} if header is None else headers.parse_tagging(header.decode("latin-1"))


async def read_tags(call: Call) -> dict[str, str]:
    """The tags that the body of PutObjectTagging holds, read once. Raises MalformedXML,
    InvalidTag."""
    if call.request_tags is None:
        from storage.s3.operations.tagging import read_tags

        call.request_tags = await read_tags(call)
    return call.request_tags


def puts_tags(call: Call) -> bool:
    """Whether the tags of the request are its body."""
    return call.route is not None and call.route.operation == "PutObjectTagging"


def _header(name: bytes) -> Callable[[Call], Value]:
    def value(call: Call) -> Value:
        return call.header(name) if name in call.headers else None

    return value


def _copy_source(call: Call) -> Value:
    """``bucket/key`` as policies write it: decoded, without slash before and version behind."""
    raw = call.headers.get(b"x-amz-copy-source")
    if raw is None:
        return None
    try:
        source = headers.parse_copy_source(raw)
    except S3Error:
        return None  # and the operation will say so
    return f"{source.bucket}/{source.key}"


def _address(call: Call) -> Value:
    return origin_of(call).address or None


def _auth_type(call: Call) -> Value:
    return _AUTH_TYPES.get(call.auth.mechanism)


def _signature_version(call: Call) -> Value:
    return call.auth.algorithm if call.auth.mechanism else None


def _signature_age(call: Call) -> Value:
    """Milliseconds since a Version 4 signature was made; of Version 2 always 0, as in S3."""
    auth = call.auth
    if not auth.mechanism:
        return None
    if auth.algorithm == VERSION_2:
        return "0"
    try:
        made = timegm(time.strptime(auth.timestamp.decode(), "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None
    return str(max(0, int((time.time() - made) * 1000)))


def _secure(call: Call) -> Value:
    return "true" if origin_of(call).scheme == "https" else "false"


def _version_id(call: Call) -> Value:
    return call.query.get("versionId")


def _creates_object(call: Call) -> Value:
    """Whether the write makes an object, and is no part of an upload nor the beginning of one."""
    return None if call.route is None else _CREATING.get(call.route.operation)


def _tag_keys(call: Call) -> Value:
    return tuple(request_tags(call)) or None


def _region(call: Call) -> Value:
    return call.app.config.region or "us-east-1"


#: The store speaks for nobody else, and nobody speaks through it.
def _false(_call: Call) -> Value:
    return "false"


_CREATING = {
    "PutObject": "true", "CopyObject": "true", "CompleteMultipartUpload": "true",
    "PostObject": "true", "CreateMultipartUpload": "false", "UploadPart": "false",
    "UploadPartCopy": "false",
}  # fmt: skip
_OF_LISTINGS = frozenset(("s3:prefix", "s3:delimiter", "s3:max-keys"))
_SAME_AS_HEADER = (
    "x-amz-acl", "x-amz-content-sha256", "x-amz-grant-full-control", "x-amz-grant-read",
    "x-amz-grant-read-acp", "x-amz-grant-write", "x-amz-grant-write-acp",
    "x-amz-metadata-directive", "x-amz-object-ownership", "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm", "x-amz-storage-class",
    "x-amz-website-redirect-location", "if-match", "if-none-match",
)  # fmt: skip
_PLAIN: dict[str, Callable[[Call], Value]] = {
    **{f"s3:{name}": _header(name.encode()) for name in _SAME_AS_HEADER},
    "s3:x-amz-copy-source": _copy_source,
    "s3:object-lock-mode": _header(b"x-amz-object-lock-mode"),
    "s3:object-lock-legal-hold": _header(b"x-amz-object-lock-legal-hold"),
    "s3:object-lock-retain-until-date": _header(b"x-amz-object-lock-retain-until-date"),
    "s3:authtype": _auth_type,
    "s3:signatureversion": _signature_version,
    "s3:signatureage": _signature_age,
    "s3:versionid": _version_id,
    "s3:objectcreationoperation": _creates_object,
    _REQUEST_TAG_KEYS: _tag_keys,
    "aws:requestedregion": _region,
    "aws:referer": _header(b"referer"),
    "aws:securetransport": _secure,
    "aws:sourceip": _address,
    "aws:useragent": _header(b"user-agent"),
    "aws:viaawsservice": _false,
    "aws:principalisawsservice": _false,
}
