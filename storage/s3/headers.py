"""Request and response headers: dates, ranges, conditions, metadata, tags, refusals.

Values travel as Latin-1 text inside the store, so that whatever bytes a client sent are kept.
"""

from __future__ import annotations

import calendar
import datetime
import re
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_tz
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from storage import encodedwords
from storage.engine.interface import Conditions
from storage.iam.acl import PERMISSIONS, Permission
from storage.s3.call import HeaderList
from storage.s3.errors import S3Error

#: Sum of names and values of x-amz-meta-* in bytes (S3: "User-defined object metadata").
METADATA_BYTES_MAX = 2048
#: Tags of an object (S3: "Categorizing your objects using tags").
OBJECT_TAGS_MAX = 10
DEFAULT_CONTENT_TYPE = "binary/octet-stream"
DEFAULT_STORAGE_CLASS = "STANDARD"

#: Classes that are accepted. All keep bytes alike; with several drives parity differs.
STORAGE_CLASSES = frozenset(("STANDARD", "REDUCED_REDUNDANCY"))
#: Classes of AWS that mean other places or other durability, and do not exist here.
_FOREIGN_CLASSES = frozenset(
    (
        "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "OUTPOSTS",
        "GLACIER_IR", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP",
    )
)  # fmt: skip

_META = b"x-amz-meta-"
_SYSTEM = (
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-type",
    b"expires",
)
CANNED_ACL = b"x-amz-acl"
#: The headers that grant, by what they grant.
GRANTS: dict[Permission, bytes] = {
    permission: b"x-amz-grant-" + permission.lower().replace("_", "-").encode()
    for permission in PERMISSIONS
}
ACL_HEADERS = frozenset((CANNED_ACL, *GRANTS.values()))
#: What describes an object beside its type and user metadata.
_DESCRIBING = frozenset((*_SYSTEM, *ACL_HEADERS, b"x-amz-tagging")) - {b"content-type"}
#: Parameters that replace a header of a read's answer, and which.
OVERRIDES = {
    "response-cache-control": b"cache-control",
    "response-content-disposition": b"content-disposition",
    "response-content-encoding": b"content-encoding",
    "response-content-language": b"content-language",
    "response-content-type": b"content-type",
    "response-expires": b"expires",
}
_OVERRIDE_NAMES = frozenset(OVERRIDES)
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")

# -- what is refused ------------------------------------------------------------------------------

_ENCRYPTION = "Server-side encryption is not implemented."
_LOCK = "Object lock is not implemented."

#: Headers that ask for something that would silently be missing, and the reason given. All
#: others are either honoured or harmless to ignore (docs/s3-compatibility.md).
REFUSED: dict[bytes, str] = {
    b"x-amz-server-side-encryption": _ENCRYPTION,
    b"x-amz-server-side-encryption-aws-kms-key-id": _ENCRYPTION,
    b"x-amz-server-side-encryption-context": _ENCRYPTION,
    b"x-amz-server-side-encryption-bucket-key-enabled": _ENCRYPTION,
    b"x-amz-server-side-encryption-customer-algorithm": _ENCRYPTION,
    b"x-amz-server-side-encryption-customer-key": _ENCRYPTION,
    b"x-amz-server-side-encryption-customer-key-md5": _ENCRYPTION,
    b"x-amz-copy-source-server-side-encryption-customer-algorithm": _ENCRYPTION,
    b"x-amz-copy-source-server-side-encryption-customer-key": _ENCRYPTION,
    b"x-amz-copy-source-server-side-encryption-customer-key-md5": _ENCRYPTION,
    b"x-amz-object-lock-mode": _LOCK,
    b"x-amz-object-lock-retain-until-date": _LOCK,
    b"x-amz-object-lock-legal-hold": _LOCK,
    b"x-amz-object-lock-event-hold": _LOCK,
    b"x-amz-object-lock-event-hold-duration-days": _LOCK,
    b"x-amz-object-lock-event-hold-duration-years": _LOCK,
    b"x-amz-bucket-object-lock-enabled": _LOCK,
    b"x-amz-mfa": "MFA delete is not implemented.",
    b"x-amz-website-redirect-location": "Website redirects are not implemented.",
    b"x-amz-write-offset-bytes": "Appending to objects is not implemented.",
    b"x-amz-bucket-namespace": "Namespaces of buckets are not implemented.",
    b"x-amz-if-match-initiated-time": "Aborting an upload on a condition is not implemented.",
}
#: Values of refused headers that ask for what is the case anyway.
HARMLESS: dict[bytes, frozenset[bytes]] = {
    b"x-amz-bucket-namespace": frozenset((b"global",)),
    b"x-amz-bucket-object-lock-enabled": frozenset((b"false", b"False")),
    b"x-amz-server-side-encryption-bucket-key-enabled": frozenset((b"false", b"False")),
}
_REFUSED_NAMES = frozenset(REFUSED)


def refuse_unimplemented(headers: Mapping[bytes, bytes]) -> None:
    """Raise NotImplemented where a header asks for a protection that does not exist."""
    if _REFUSED_NAMES.isdisjoint(headers):
        return
    for name in _REFUSED_NAMES.intersection(headers):
        if headers[name] not in HARMLESS.get(name, ()):
            raise S3Error("NotImplemented", REFUSED[name], Header=name.decode())


# -- dates ----------------------------------------------------------------------------------------

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=4096)
def http_date(second: int) -> bytes:
    """``Sun, 06 Nov 1994 08:49:37 GMT`` (RFC 9110, section 5.6.7)."""
    t = time.gmtime(second)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year} "
        f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} GMT"
    ).encode()


@lru_cache(maxsize=8192)
def iso_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def iso_date(milliseconds: int) -> str:
    """``2009-10-12T17:50:30.000Z``, as XML answers show times."""
    second, fraction = divmod(milliseconds, 1000)
    return f"{iso_second(second)}.{fraction:03d}Z"


def parse_http_date(value: str) -> int:
    """Milliseconds of an HTTP date in any of its three forms; 0 if it is none (then ignored)."""
    try:
        parsed = parsedate_tz(value)
        if parsed is None:
            return 0
        return (calendar.timegm((*parsed[:6], 0, 0, 0)) - (parsed[9] or 0)) * 1000
    except (ValueError, OverflowError, IndexError, TypeError):
        return 0


def parse_iso_date(value: str) -> int:
    """Milliseconds of an ISO 8601 time with its zone; 0 if it is none."""
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        return 0
    return int(moment.timestamp() * 1000) if moment.tzinfo is not None else 0


# -- numbers --------------------------------------------------------------------------------------


def integer(text: str, name: str, low: int, high: int) -> int:
    """A decimal number of a query or header, within bounds.

    Raises InvalidArgument with ``ArgumentName`` and ``ArgumentValue``.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 19) or not (
        low <= int(text) <= high
    ):
        raise S3Error(
            "InvalidArgument",
            f"Argument {name} must be an integer between {low} and {high}",
            ArgumentName=name,
            ArgumentValue=text,
        )
    return int(text)


def content_length(headers: Mapping[bytes, bytes]) -> int:
    """Content-Length, or -1. (The HTTP parser has refused what is no number.)"""
    value = headers.get(b"content-length")
    return -1 if value is None else int(value)


# -- ranges ---------------------------------------------------------------------------------------

_RANGE = re.compile(rb"bytes=(?:(\d{1,30})-(\d{0,30})|-(\d{1,30}))\s*\Z")


def parse_range(value: bytes, size: int) -> tuple[int, int] | None:
    """[start, stop) of a Range header, or None where it is to be ignored.

    Ignored as in S3: other units, several ranges, bad syntax, first after last. (Numbers of more
    than 30 digits are bad syntax: converting long ones is made to fail by the interpreter.) Raises
    InvalidRange where nothing of the object is in it.
    """
    match = _RANGE.match(value)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        if length == 0:
            raise _unsatisfiable(value, size)
        return size - length, size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise _unsatisfiable(value, size)
    return start, min(int(last) + 1, size) if last else size


def _unsatisfiable(value: bytes, size: int) -> S3Error:
    return S3Error(
        "InvalidRange",
        headers=((b"content-range", b"bytes */%d" % size),),
        RangeRequested=value.decode("latin-1"),
        ActualObjectSize=str(size),
    )


_COPY_RANGE = re.compile(r"bytes=([0-9]{1,30})-([0-9]{1,30})\Z")


def parse_copy_range(value: str, size: int) -> tuple[int, int]:
    """[start, stop) of x-amz-copy-source-range, whose only form is ``bytes=first-last``."""
    match = _COPY_RANGE.match(value)
    if match is None or int(match[1]) > int(match[2]):
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=value,
        )
    start, stop = int(match[1]), int(match[2]) + 1
    if stop > size:
        raise S3Error(
            "InvalidRange",
            f"Range specified is not valid for source object of size: {size}",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=value,
        )
    return start, stop


# -- conditions -----------------------------------------------------------------------------------

_CONDITIONAL = frozenset(
    (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")
)
_COPY_CONDITIONAL = b"x-amz-copy-source-"


class CopySource(NamedTuple):
    """What x-amz-copy-source names; ``version_id`` None where it names no version."""

    bucket: str
    key: str
    version_id: str | None


def parse_copy_source(raw: bytes) -> CopySource:
    """``[/]bucket/key[?versionId=...]``, percent-encoded UTF-8. Raises InvalidArgument."""
    path, named, version = raw.partition(b"?versionId=")
    try:
        text = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        text = ""
    bucket, _, key = text.removeprefix("/").partition("/")
    if not bucket or not key:
        raise S3Error(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            ArgumentName="x-amz-copy-source",
            ArgumentValue=raw.decode("latin-1"),
        )
    return CopySource(bucket, key, version.decode("latin-1") if named else None)


def parse_etags(value: str) -> tuple[str, ...]:
    """ETags of If-Match and If-None-Match without quotes; ``*`` stays. Weak ones count alike."""
    tags = []
    for item in value.split(","):
        tag = item.strip()
        tag = tag.removeprefix("W/")
        if len(tag) >= 2 and tag[0] == tag[-1] == '"':
            tag = tag[1:-1]
        if tag:
            tags.append(tag)
    return tuple(tags)


def read_conditions(headers: Mapping[bytes, bytes], prefix: bytes = b"") -> Conditions | None:
    """The conditions of a read, or of a copy's source by the prefix ``x-amz-copy-source-``."""
    if not prefix and _CONDITIONAL.isdisjoint(headers):
        return None
    found = {
        name: value.decode("latin-1")
        for name in _CONDITIONAL
        if (value := headers.get(prefix + name)) is not None
    }
    if not found:
        return None
    since = parse_http_date(found.get(b"if-modified-since", ""))
    return Conditions(
        parse_etags(found.get(b"if-match", "")),
        parse_etags(found.get(b"if-none-match", "")),
        # RFC 9110, section 13.1.3: a time that is yet to come is no condition.
        since if since <= time.time_ns() // 1_000_000 else 0,
        parse_http_date(found.get(b"if-unmodified-since", "")),
    )


def write_conditions(headers: Mapping[bytes, bytes]) -> Conditions | None:
    """The conditions of a write: If-Match and If-None-Match.

    Raises NotImplemented for the time conditions, which S3 does not know on writes, and
    InvalidArgument for one without an ETag.
    """
    if _CONDITIONAL.isdisjoint(headers):
        return None
    for name in (b"if-modified-since", b"if-unmodified-since"):
        if name in headers:
            raise S3Error("NotImplemented", Header=name.decode())
    return Conditions(
        _required_etags(headers, b"if-match"), _required_etags(headers, b"if-none-match")
    )


def _required_etags(headers: Mapping[bytes, bytes], name: bytes) -> tuple[str, ...]:
    value = headers.get(name)
    return () if value is None else required_etags(value.decode("latin-1"), name.decode())


def required_etags(value: str, name: str) -> tuple[str, ...]:
    """ETags of a condition on a write, which must never be dropped because it names none.

    Raises InvalidArgument where it does.
    """
    tags = parse_etags(value)
    if not tags:
        raise S3Error("InvalidArgument", ArgumentName=name, ArgumentValue=value)
    return tags


def check_read(conditions: Conditions, etag: str, modified: int) -> int:
    """200, 304 or 412: precedence of RFC 9110, section 13.2.2, times in whole seconds."""
    second = modified // 1000
    if conditions.if_match:
        if "*" not in conditions.if_match and etag not in conditions.if_match:
            return 412
    elif conditions.if_unmodified_since and second > conditions.if_unmodified_since // 1000:
        return 412
    if conditions.if_none_match:
        if "*" in conditions.if_none_match or etag in conditions.if_none_match:
            return 304
    elif conditions.if_modified_since and second <= conditions.if_modified_since // 1000:
        return 304
    return 200


def failed_condition(conditions: Conditions) -> str:
    """The name of a condition of this request, for PreconditionFailed's ``Condition``."""
    if conditions.if_match:
        return "If-Match"
    if conditions.if_unmodified_since:
        return "If-Unmodified-Since"
    return "If-None-Match" if conditions.if_none_match else "If-Modified-Since"


# -- what an object carries -----------------------------------------------------------------------


def system_headers(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Content-Type and its kin as they are stored and returned with an object.

    ``aws-chunked`` describes the transfer, not the object, and is removed.
    """
    stored: dict[str, str] = {}
    for name in _SYSTEM:
        value = headers.get(name)
        if value:
            stored[name.decode()] = value.decode("latin-1")
    encoding = stored.get("content-encoding")
    if encoding is not None and "aws-chunked" in encoding:
        kept = [e.strip() for e in encoding.split(",")]
        kept = [e for e in kept if e and e != "aws-chunked"]
        if kept:
            stored["content-encoding"] = ",".join(kept)
        else:
            del stored["content-encoding"]
    if "content-type" not in stored:
        stored["content-type"] = DEFAULT_CONTENT_TYPE
    return stored


def describes_more(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request may describe its object by more than a content type."""
    return not _DESCRIBING.isdisjoint(headers) or _META in b"\n".join(headers)


def user_metadata(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """x-amz-meta-* without the prefix. Raises MetadataTooLarge beyond 2 KiB."""
    metadata: dict[str, str] = {}
    names = [name for name in headers if name[:11] == _META]
    if not names:
        return metadata
    total = 0
    for name in names:
        value = headers[name].strip(b" \t")  # as bytes: 0xA0 may end a character of UTF-8
        total += len(name) - len(_META) + len(value)
        metadata[name[len(_META) :].decode("latin-1")] = value.decode("latin-1")
    if total > METADATA_BYTES_MAX:
        raise S3Error("MetadataTooLarge", Size=str(total), MaxSizeAllowed=str(METADATA_BYTES_MAX))
    return metadata


def storage_class(headers: Mapping[bytes, bytes]) -> str:
    """The storage class asked for. Raises InvalidStorageClass, NotImplemented (AWS's others)."""
    value = headers.get(b"x-amz-storage-class")
    if value is None:
        return DEFAULT_STORAGE_CLASS
    name = value.decode("latin-1")
    if name in STORAGE_CLASSES:
        return name
    if name in _FOREIGN_CLASSES:
        raise S3Error(
            "InvalidStorageClass", f"The storage class {name} does not exist in this store."
        )
    raise S3Error("InvalidStorageClass")


# White space without what XML, in which tags are told, can't carry.
_TAG_CHARACTERS = re.compile(r"(?:(?![\x0b\x0c\x1c-\x1f])[\w\s+\-=.:/@])*\Z")


def parse_tagging(value: str) -> dict[str, str]:
    """Tags of x-amz-tagging (``k=v&k2=v2``, URL-encoded), by name.

    Raises InvalidArgument, InvalidTag.
    """
    try:
        pairs = [_tag_of_form(item) for item in value.split("&") if item]
    except ValueError:
        pairs = []
        well_formed = False
    else:
        well_formed = len(dict(pairs)) == len(pairs)
    if not well_formed:
        raise S3Error(
            "InvalidArgument",
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
            "parameters without tag name duplicates.",
            ArgumentName="x-amz-tagging",
            ArgumentValue=value,
        )
    return dict(sorted(check_tags(pairs).items()))


def _tag_of_form(item: str) -> tuple[str, str]:
    """(name, value). Raises ValueError where it is not UTF-8, or has no single ``=``."""
    name, _, content = item.replace("+", " ").partition("=")
    if "=" in content:
        raise ValueError(item)
    return _unquote(name), _unquote(content)


def _unquote(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode()


def check_tags(pairs: Iterable[tuple[str, str]], most: int = OBJECT_TAGS_MAX) -> dict[str, str]:
    """Tags within S3's limits: keys of 1-128 and values of 0-256 characters.

    Raises InvalidTag.
    """
    tags: dict[str, str] = {}
    for name, content in pairs:
        if name in tags:
            raise _invalid_tag("Cannot provide multiple Tags with the same key", name)
        if not 1 <= len(name) <= 128 or not _TAG_CHARACTERS.match(name):
            raise _invalid_tag("The TagKey you have provided is invalid", name)
        if name.startswith("aws:"):
            raise _invalid_tag("System tags cannot be added/updated by requester", name)
        if len(content) > 256 or not _TAG_CHARACTERS.match(content):
            raise S3Error(
                "InvalidTag", "The TagValue you have provided is invalid", TagKey=name,
                TagValue=content,
            )  # fmt: skip
        tags[name] = content
    if len(tags) > most:
        raise S3Error("InvalidTag", f"Tags cannot be more than {most}")
    return tags


def _invalid_tag(message: str, name: str) -> S3Error:
    return S3Error("InvalidTag", message, TagKey=name)


def response_overrides(query: Mapping[str, str]) -> dict[bytes, bytes]:
    """The ``response-*`` parameters of a read, by the header that each replaces."""
    overrides: dict[bytes, bytes] = {}
    if _OVERRIDE_NAMES.isdisjoint(query):
        return overrides
    for name, header in OVERRIDES.items():
        value = query.get(name)
        if value is not None:
            overrides[header] = header_value(value)
    return overrides


def header_value(text: str) -> bytes:
    """Text as a header's value. Raises InvalidArgument for control characters.

    Text beyond Latin-1 goes out as UTF-8, which browsers read in ``filename="..."``.
    """
    if _CONTROL.search(text):
        raise S3Error("InvalidArgument", "Header value cannot be represented using ISO-8859-1.")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def metadata_headers(metadata: Mapping[str, str]) -> HeaderList:
    """User metadata as it is returned."""
    return [
        (_META + name.encode("latin-1"), encodedwords.header(value))
        for name, value in metadata.items()
    ]
