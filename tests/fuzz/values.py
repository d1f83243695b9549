"""Values that parsers stumble over, and plausible ones for each header and parameter of S3."""

from __future__ import annotations

import base64
import re
import time
from typing import Any

from tests.fuzz.chance import Chance
from tests.fuzz.world import World

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

#: For any place that takes text. Bytes, since not all of them are UTF-8.
ODD: tuple[bytes, ...] = tuple(
    text.encode() if isinstance(text, str) else text
    for text in (
        "", " ", "\t", "0", "-0", "+1", "-1", "1", "2", "7", "00001", "1.0", "1e5", "0x10", "1_000",
        "9999", "10000", "10001", "2147483647", "2147483648", "4294967296", "9223372036854775807",
        "9223372036854775808", "18446744073709551616", "9" * 30, "9" * 4301, "1" * 6000,
        "\N{FULLWIDTH DIGIT ONE}", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT THREE}", "inf",
        "nan", "true", "TRUE", "True", "false", "null", "None", "undefined", "*", "?", "**",
        "[a-z]", "(",
        "a" * 255, "a" * 1024, "a" * 1025, "b" * 9000, "é", "\N{PILE OF POO}", "e\u0301",
        "\u2028", "\ufeff", "\ufffe", "\uffff", "\u202e", "\x00", "a\x00b", "\x01", "\x1f", "\x7f",
        "a\r\nx-injected: 1", "a\nb", "a\rb", "..", "../..", "./", "//", "/", "\\", "%", "%zz",
        "%00", "%2F", "%25", "%E2%82", "+", "&", "=", "a=b&c=d", ";", ",", ",,", "<",
        ">", "<a>", "&lt;",
        "]]>", "<![CDATA[x]]>", "&#1;", "&#0;", "&#x110000;", "'", '"', '""', "${aws:username}",
        "${", "}", "$", "arn:aws:s3:::*", "arn:aws:iam::123456789012:root", "http://", "https://a",
        "http://[::1", "0.0.0.0/0", "::/0", "1.2.3.4/33", "2026-01-01T00:00:00Z", "2026-02-30",
        "20260101T000000Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59.999999999Z",
        "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 99 Xyz 0 9:9:9",
        "Thu, 01 Jan 99999999999 00:00:00 +9999999", "-1-01-01", "STANDARD", "COPY", "REPLACE",
        "url", "1000", "aGVsbG8=", "aGVsbG8", "====", "d41d8cd98f00b204e9800998ecf8427e",
        b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"caf\xe9", b"\x80abc",
    )
)  # fmt: skip

KEYS: tuple[bytes, ...] = tuple(
    text.encode() if isinstance(text, str) else text
    for text in (
        "a", "a/b", "a//b", "a/", "dir/", "/lead", "..", "../x", "a/../b", ".", "a b", "a+b", "a%b",
        "a%2Fb", "é", "\N{PILE OF POO}", "a\\b", "a\x01b", "a\nb", "\x7f", "<&'\">", "x" * 255,
        "y" * 1024, "z" * 1025, "?", "#", "a?b", "a=b&c", "key", "key1", "key2", "part", "\ufffe",
        "events/otel/p/2026/11/22/10/00/u.json", "\x00", b"\xff\xfe",
    )
)  # fmt: skip

BUCKET_NAMES: tuple[bytes, ...] = tuple(
    text.encode()
    for text in (
        "fuzz-new", "fuzz-new-2", "a", "ab", "abc", "UPPER", "under_score", "a.b.c", "a..b", "-ab",
        "ab-", "192.168.0.1", "xn--abc", "a" * 63, "a" * 64, "sthree-x", "abc-s3alias", "minio",
        "é", ".", "..", "fuzz new", "%2e%2e",
    )
)  # fmt: skip

ALGORITHMS = (b"crc32", b"crc32c", b"crc64nvme", b"sha1", b"sha256", b"sha512", b"md5", b"xxhash3")
_DIGEST_SIZES = (4, 4, 8, 20, 32)
CANNED_ACLS = (b"private", b"public-read", b"public-read-write", b"authenticated-read",
               b"bucket-owner-read", b"bucket-owner-full-control", b"aws-exec-read",
               b"log-delivery-write")  # fmt: skip


def http_date(chance: Chance) -> bytes:
    moment = time.gmtime(int(time.time()) + chance.one((0, -1, 1, -3600, 3600, -86400 * 400)))
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", moment).encode()


def number(chance: Chance) -> bytes:
    return b"%d" % chance.one((0, 1, 2, 3, 5, 10, 100, 1000, 10000, chance.below(1 << 40)))


def digest(chance: Chance) -> bytes:
    return base64.b64encode(chance.bytes(chance.one((*_DIGEST_SIZES, 16, 0, 5, 33))))


def range_header(chance: Chance) -> bytes:
    first, last = chance.one((0, 1, 5, 99, 10**20)), chance.one((0, 4, 99, 10**19, 10**21))
    return chance.one(
        (
            b"bytes=%d-%d" % (first, last), b"bytes=%d-" % first, b"bytes=-%d" % last, b"bytes=-",
            b"bytes=0-0,2-2", b"bytes = 0-1", b"lines=0-1", b"bytes=a-b", b"bytes=%d" % first,
            b"bytes=-0", b"BYTES=0-1", b"bytes=0-" + b"9" * 5000, b"bytes=--1", b"bytes=1-0",
        )
    )  # fmt: skip


def etag(chance: Chance, world: World) -> bytes:
    known = chance.one(world.etags) if world.etags else b"x"
    return chance.one((b"*", b'"%b"' % known, known, b'W/"%b"' % known, b'"a", "b"', b'""', b'"'))


def copy_source(chance: Chance, world: World) -> bytes:
    source = b"%b/%b" % (chance.one(world.buckets), chance.one((*world.keys, *KEYS)))
    if chance.happens(0.5):
        source = b"/" + source
    if chance.happens(0.3):
        source += b"?versionId=" + version(chance, world)
    return source if chance.happens(0.9) else chance.one(ODD)


def version(chance: Chance, world: World) -> bytes:
    return chance.one((b"null", b"0000000000000001", *world.versions[-4:], chance.one(ODD)))


def known(chance: Chance, world: World, given: list[bytes]) -> bytes:
    """One of what the store gave out lately; before it gave anything, the null version."""
    return chance.one(given[-8:]) if given else b"null"


def grantee(chance: Chance, world: World) -> bytes:
    return chance.one(
        (
            b'id="%b"' % chance.one(world.owners), b"id=%b" % chance.one(world.owners),
            b'uri="http://acs.amazonaws.com/groups/global/AllUsers"', b'emailAddress="a@b.c"',
            b'uri="http://acs.amazonaws.com/groups/s3/LogDelivery", id="x"', b"id=", b'id="', b"=",
        )
    )  # fmt: skip


def metadata(chance: Chance) -> bytes:
    return chance.one((b"v", b"=?utf-8?q?caf=C3=A9?=", b"caf\xc3\xa9", b"m" * 2100, b"a,b", b""))


def tag_list(chance: Chance) -> bytes:
    return chance.one(
        (
            b"a=b", b"a=b&c=d", b"a", b"=b", b"a=b&a=c", b"&".join(b"k%d=v" % i for i in range(11)),
            b"%61=%62", b"a=%zz", b"aws:x=y", b"a=" + b"v" * 257, b"k" * 129 + b"=", b"&&", b"a==b",
            b"a+b=c%20d", b"\xff=1", b"%FF=1", b"a=b;c=d",
        )
    )  # fmt: skip


def header(chance: Chance, world: World) -> tuple[bytes, bytes]:
    """A header that some operation reads, with a value that it may or may not like."""
    name = chance.one(_NAMES if chance.happens(0.1) else _UNSIGNING_NAMES)
    if chance.happens(0.2):
        return name, chance.one(ODD if chance.happens(0.1) else _ODD_LINES)
    if name.startswith(b"x-amz-grant-"):
        return name, grantee(chance, world)
    if name.startswith(b"x-amz-checksum-") and name not in _NOT_DIGESTS:
        return name, digest(chance)
    if name.startswith((b"if-", b"x-amz-copy-source-if-")):
        return name, etag(chance, world) if chance.happens(0.5) else http_date(chance)
    value = _VALUES.get(name)
    if value is None:
        return name, chance.one(_ODD_LINES)
    if isinstance(value, tuple):
        return name, chance.one(value)
    return name, copy_source(chance, world) if value is copy_source else value(chance)


_DATES = (b"20261122T100000Z", b"Sun, 22 Nov 2026 10:00:00 GMT")
_VALUES: dict[bytes, Any] = {
    b"range": range_header,
    b"x-amz-copy-source-range": range_header,
    b"x-amz-copy-source": copy_source,
    b"content-md5": digest,
    b"x-amz-tagging": tag_list,
    b"x-amz-meta-a": metadata,
    b"x-amz-meta-": metadata,
    b"x-amz-acl": CANNED_ACLS,
    b"x-amz-storage-class": (b"STANDARD", b"REDUCED_REDUNDANCY", b"GLACIER", b"standard"),
    b"x-amz-object-ownership": (b"BucketOwnerEnforced", b"BucketOwnerPreferred", b"ObjectWriter"),
    b"x-amz-metadata-directive": (b"COPY", b"REPLACE", b"copy"),
    b"x-amz-tagging-directive": (b"COPY", b"REPLACE"),
    b"x-amz-checksum-algorithm": (b"CRC32", b"CRC32C", b"CRC64NVME", b"SHA1", b"SHA256", b"MD5"),
    b"x-amz-sdk-checksum-algorithm": (b"CRC32", b"CRC32C", b"CRC64NVME", b"SHA1", b"SHA256"),
    b"x-amz-checksum-type": (b"COMPOSITE", b"FULL_OBJECT"),
    b"x-amz-checksum-mode": (b"ENABLED",),
    b"x-amz-trailer": (b"x-amz-checksum-crc32", b"x-amz-checksum-sha256, x-amz-checksum-crc32"),
    b"x-amz-decoded-content-length": number,
    b"x-amz-mp-object-size": number,
    b"x-amz-if-match-size": number,
    b"x-amz-if-match-last-modified-time": http_date,
    b"x-amz-max-parts": number,
    b"x-amz-part-number-marker": number,
    b"x-amz-object-attributes": (b"ETag", b"ETag,Checksum,ObjectParts,StorageClass,ObjectSize",
                                 b"Nothing", b",", b"ETag, ObjectSize"),
    b"x-amz-server-side-encryption": (b"AES256", b"aws:kms"),
    b"x-amz-bypass-governance-retention": (b"true",),
    b"x-amz-date": _DATES,
    b"date": _DATES,
    b"expires": http_date,
    b"content-type": (b"text/plain", b"application/xml", b"multipart/form-data; boundary=x"),
    b"content-encoding": (b"aws-chunked", b"gzip", b"aws-chunked,gzip", b"gzip, aws-chunked"),
    b"origin": (b"http://example.com", b"null", b"https://a.b.c:8443", b"*"),
    b"access-control-request-method": (b"PUT", b"GET", b"OPTIONS", b"put"),
    b"access-control-request-headers": (b"content-type,x-amz-date", b"*", b"a b"),
    b"connection": (b"close", b"keep-alive", b"upgrade", b"close, keep-alive"),
    b"upgrade": (b"websocket", b"h2c"),
    b"expect": (b"100-continue", b"100-Continue", b"200-ok"),
    b"te": (b"trailers",),
    b"x-forwarded-host": (b"evil.example",),
    b"x-http-method-override": (b"DELETE",),
    b"referer": (b"http://example.com/a", b"-"),
    b"user-agent": (b"fuzz/1", b"aws-sdk-go/1"),
    b"x-amz-security-token": (b"token",),
    b"x-amz-expected-bucket-owner": (b"123456789012",),
    b"x-amz-request-payer": (b"requester",),
    b"x-amz-delete-marker": (b"true",),
    b"x-amz-content-sha256": (b"UNSIGNED-PAYLOAD", b"STREAMING-UNSIGNED-PAYLOAD-TRAILER",
                              b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", b"e3b0", b"0" * 64),
}  # fmt: skip
_NOT_DIGESTS = frozenset(_VALUES)
_ODD_LINES = tuple(value for value in ODD if not _CONTROL.search(value))
_NAMES = (
    *_VALUES,
    *(b"x-amz-checksum-" + name for name in ALGORITHMS),
    *(b"x-amz-grant-" + name for name in (b"read", b"write", b"read-acp", b"write-acp",
                                          b"full-control")),
    *(b"if-" + name for name in (b"match", b"none-match", b"modified-since", b"unmodified-since")),
    *(b"x-amz-copy-source-if-" + name for name in (b"match", b"none-match", b"modified-since",
                                                   b"unmodified-since")),
    b"cache-control", b"content-disposition", b"content-language", b"x-amz-mfa", b"x-unknown",
    b"x-amz-website-redirect-location", b"x-amz-object-lock-mode",
    b"x-amz-confirm-remove-self-bucket-access",
)  # fmt: skip

#: Without those that a signature is made of: with two of them hardly any request gets further.
_UNSIGNING_NAMES = tuple(
    name for name in _NAMES if name not in (b"x-amz-date", b"x-amz-content-sha256", b"date",
                                            b"x-amz-security-token")
)  # fmt: skip

#: Parameters that operations read beside those which choose the operation.
PARAMETERS: dict[bytes, tuple[bytes, ...]] = {
    b"prefix": (b"", b"a", b"a/", b"dir/", b"%"),
    b"delimiter": (b"/", b"", b"ab", b"\xff", b"%2F"),
    b"marker": (b"a", b"", b"zzz"),
    b"key-marker": (b"a", b"key", b""),
    b"version-id-marker": (b"null", b"0", b""),
    b"upload-id-marker": (b"a", b""),
    b"start-after": (b"a", b""),
    b"continuation-token": (b"YQ==", b"a", b"", b"1"),
    b"max-keys": (b"0", b"1", b"2", b"1000", b"1001", b"-1", b"a"),
    b"max-uploads": (b"0", b"1", b"1000"),
    b"max-parts": (b"0", b"1", b"1000"),
    b"max-buckets": (b"0", b"1", b"1000", b"10001"),
    b"bucket-region": (b"us-east-1",),
    b"part-number-marker": (b"0", b"1", b"10000"),
    b"encoding-type": (b"url", b"URL", b"xml"),
    b"fetch-owner": (b"true", b"false", b"1"),
    b"versionId": (b"null", b"", b"0000000000000001"),
    b"partNumber": (b"1", b"1", b"1", b"2", b"2", b"0", b"10000", b"10001"),
    b"uploadId": (b"", b"x"),
    b"list-type": (b"2", b"1", b"3", b""),
    b"x-id": (b"GetObject", b"PutObject"),
    b"id": (b"a",),
    b"response-content-type": (b"text/plain", b"a\r\nb: c"),
    b"response-content-disposition": (b'attachment; filename="a"', b"caf\xc3\xa9"),
    b"response-expires": (b"Thu, 01 Jan 1970 00:00:00 GMT",),
    b"allow-unordered": (b"true",),
    b"metadata": (b"true",),
    b"x-amz-acl": (b"private",),
    b"x-amz-checksum-mode": (b"ENABLED",),
}


def parameter(chance: Chance, world: World, name: bytes) -> bytes:
    """A value for a parameter: one that fits, one that the store gave out, or an odd one."""
    if chance.happens(0.2):
        return chance.one(ODD)
    given = {b"partNumber": (), b"versionId": world.versions}.get(name, world.tokens)
    if given and chance.happens(0.5):
        return chance.one(given)
    return chance.one(PARAMETERS.get(name, ODD))
