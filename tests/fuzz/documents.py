"""Bodies of S3's operations, right at first, and ways to get them wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from xml.etree import ElementTree

from tests.fuzz.chance import Chance
from tests.fuzz.values import ODD
from tests.fuzz.world import World

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"


class Element(NamedTuple):
    """An XML element; names may be as wrong as the rest."""

    name: bytes
    attributes: tuple[tuple[bytes, bytes], ...]
    content: bytes | tuple[Element, ...]


#: By operation: documents that it takes, without declaration and namespace.
_XML: dict[str, tuple[str, ...]] = {
    "CreateBucket": (
        "<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint>"
        "</CreateBucketConfiguration>",
        "<CreateBucketConfiguration><Location><Name>a</Name><Type>AvailabilityZone</Type></Location>"
        "<Bucket><Type>Directory</Type></Bucket><Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags>"
        "</CreateBucketConfiguration>",
    ),
    "DeleteObjects": (
        "<Delete><Object><Key>key</Key></Object><Object><Key>dir/a</Key><VersionId>null</VersionId>"
        "</Object><Quiet>true</Quiet></Delete>",
        "<Delete><Object><Key>gone</Key><ETag>x</ETag><Size>1</Size><LastModifiedTime>"
        "Sun, 22 Nov 2026 10:00:00 GMT</LastModifiedTime></Object></Delete>",
    ),
    "CompleteMultipartUpload": (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>ETAG</ETag></Part>"
        "</CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>ETAG</ETag>"
        "<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part><Part><PartNumber>2</PartNumber>"
        "<ETag>ETAG</ETag></Part></CompleteMultipartUpload>",
    ),
    "PutBucketVersioning": (
        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
        "<VersioningConfiguration><Status>Suspended</Status><MfaDelete>Disabled</MfaDelete>"
        "</VersioningConfiguration>",
    ),
    "PutBucketTagging": (
        "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag><Tag><Key>c</Key><Value/></Tag>"
        "</TagSet></Tagging>",
        "<Tagging><TagSet/></Tagging>",
    ),
    "PutBucketLifecycleConfiguration": (
        "<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status><Filter><Prefix>p</Prefix>"
        "</Filter><Expiration><Days>3</Days></Expiration><NoncurrentVersionExpiration>"
        "<NoncurrentDays>2</NoncurrentDays><NewerNoncurrentVersions>1</NewerNoncurrentVersions>"
        "</NoncurrentVersionExpiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>1"
        "</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>",
        "<LifecycleConfiguration><Rule><Prefix/><Status>Disabled</Status><Expiration><Date>"
        "2027-01-01T00:00:00Z</Date></Expiration></Rule><Rule><ID>b</ID><Filter><And><Prefix>x"
        "</Prefix><Tag><Key>a</Key><Value>b</Value></Tag><ObjectSizeGreaterThan>5"
        "</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Transition><Days>1</Days>"
        "<StorageClass>GLACIER</StorageClass></Transition></Rule></LifecycleConfiguration>",
        "<LifecycleConfiguration><Rule><ID>c</ID><Filter/><Status>Enabled</Status><Expiration>"
        "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration></Rule>"
        "</LifecycleConfiguration>",
    ),
    "PutBucketCors": (
        "<CORSConfiguration><CORSRule><ID>a</ID><AllowedOrigin>http://*.example.com</AllowedOrigin>"
        "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>PUT</AllowedMethod><AllowedMethod>GET"
        "</AllowedMethod><AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>"
        "<MaxAgeSeconds>300</MaxAgeSeconds></CORSRule></CORSConfiguration>",
    ),
    "PutBucketAcl": (
        "<AccessControlPolicy><Owner><ID>OWNER</ID><DisplayName>o</DisplayName></Owner>"
        "<AccessControlList><Grant><Grantee xsi:type='CanonicalUser'><ID>OWNER</ID>"
        "<DisplayName>o</DisplayName></Grantee><Permission>FULL_CONTROL</Permission></Grant>"
        "<Grant><Grantee xsi:type='Group'><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI>"
        "</Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>",
        "<AccessControlPolicy><AccessControlList><Grant><Grantee xsi:type='AmazonCustomerByEmail'>"
        "<EmailAddress>a@b.c</EmailAddress></Grantee><Permission>WRITE_ACP</Permission></Grant>"
        "</AccessControlList></AccessControlPolicy>",
        "<AccessControlPolicy><Owner><ID>OWNER</ID></Owner><AccessControlList/></AccessControlPolicy>",
    ),
    "PutBucketOwnershipControls": (
        "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule>"
        "</OwnershipControls>",
        "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>"
        "</OwnershipControls>",
    ),
    "PutPublicAccessBlock": (
        "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>"
        "false</IgnorePublicAcls><BlockPublicPolicy>TRUE</BlockPublicPolicy><RestrictPublicBuckets>"
        "false</RestrictPublicBuckets></PublicAccessBlockConfiguration>",
    ),
    "PutBucketEncryption": (
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>"
        "<SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>"
        "</ServerSideEncryptionConfiguration>",
    ),
    "PutBucketRequestPayment": (
        "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>",
    ),
    "PutBucketLogging": ("<BucketLoggingStatus/>",),
    "PutBucketNotificationConfiguration": (
        "<NotificationConfiguration><QueueConfiguration><Id>a</Id><Queue>arn:aws:sqs:::q</Queue>"
        "<Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>",
    ),
    "PutBucketWebsite": (
        "<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix></IndexDocument>"
        "</WebsiteConfiguration>",
    ),
    "PutBucketAccelerateConfiguration": (
        "<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>",
    ),
    "PutObjectLockConfiguration": (
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
        "</ObjectLockConfiguration>",
    ),
    "PutObjectRetention": (
        "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2027-01-01T00:00:00Z</RetainUntilDate>"
        "</Retention>",
    ),
    "PutObjectLegalHold": ("<LegalHold><Status>ON</Status></LegalHold>",),
    "RestoreObject": ("<RestoreRequest><Days>1</Days></RestoreRequest>",),
    "SelectObjectContent": (
        "<SelectObjectContentRequest><Expression>select * from s3object</Expression>"
        "<ExpressionType>SQL</ExpressionType></SelectObjectContentRequest>",
    ),
}
_XML["PutObjectTagging"] = _XML["PutBucketTagging"]
_XML["PutObjectAcl"] = _XML["PutBucketAcl"]

#: Texts that mean something to some operation.
_WORDS: tuple[bytes, ...] = tuple(
    word.encode()
    for word in (
        "Enabled", "Disabled", "Suspended", "true", "false", "0", "1", "-1", "2147483648", "365",
        "2027-01-01T00:00:00Z", "2027-01-01T12:00:00Z", "2027-01-01", "GET", "PATCH", "*", "a*b*c",
        "http://*", "FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP", "ObjectWriter",
        "BucketOwnerEnforced", "us-east-1", "EU", "key", "null", "CanonicalUser", "Group",
        "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
        "http://acs.amazonaws.com/groups/s3/LogDelivery",
    )
)  # fmt: skip

_HEADS = (b'<?xml version="1.0" encoding="UTF-8"?>',
          b"", b'<?xml version="1.0"?>\n', b"\xef\xbb\xbf",
          b'<?xml version="1.1"?>', b'<?xml version="1.0" encoding="ISO-8859-1"?>',
          b'<?xml version="1.0" encoding="UTF-16"?>', b'<?xml version="1.0" encoding="nothing"?>',
          b'<?xml version="1.0" encoding="utf-7"?>', b"<!-- c -->", b"\n \t",
          b"<!DOCTYPE a>", b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]>',
          b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
          b'<?xml-stylesheet href="a"?>')  # fmt: skip


#: Contents of objects and parts, and the ETags that they get as such.
CONTENTS = (
    b"", b"x", b"hello", b"0" * 70, b"\r\n" * 9, b"a" * 9000, b"b" * 70_000, b"c" * 300_000,
)  # fmt: skip
PART_ETAGS = tuple(hashlib.md5(content).hexdigest().encode() for content in CONTENTS)


def has_document(operation: str) -> bool:
    return operation in _XML or operation == "PutBucketPolicy"


def body(chance: Chance, world: World, operation: str) -> bytes:
    """A document for ``operation``: right, wrong in its structure, or wrong in its bytes."""
    if operation == "PutBucketPolicy":
        return policy(chance, world)
    tree = chance.one(_TREES[operation])
    for _ in range(chance.one((0, 0, 1, 1, 1, 2, 3, 8))):
        tree = _mutated(chance, tree)
    head = _HEADS[0] if chance.happens(0.7) else chance.one(_HEADS)
    namespace = chance.one((b' xmlns="%b"' % _NAMESPACE.encode(), b"", b' xmlns="urn:x"'))
    data = head + _render(tree, namespace)
    data = data.replace(b"OWNER", chance.one(world.owners))
    if b"ETAG" in data:
        data = data.replace(b"ETAG", chance.one((*PART_ETAGS, *world.etags[-2:])))
    if chance.happens(0.03):
        data = data.decode("utf-8", "replace").encode(
            chance.one(("utf-16", "utf-16-le", "utf-32", "utf-7"))
        )
    return data


def sound(chance: Chance, operation: str) -> bytes:
    """A document for ``operation`` that is right, with OWNER where an owner's id belongs."""
    return _render(chance.one(_TREES[operation]), b' xmlns="%b"' % _NAMESPACE.encode())


def _read(text: str) -> Element:
    declared = f'<AccessControlPolicy xmlns:xsi="{_XSI}"'
    return _tree(ElementTree.fromstring(text.replace("<AccessControlPolicy", declared, 1)))


def _tree(element: ElementTree.Element) -> Element:
    attributes = tuple(
        (name.replace(f"{{{_XSI}}}", "xsi:").encode(), value.encode())
        for name, value in element.attrib.items()
    )
    if len(element):
        return Element(element.tag.encode(), attributes, tuple(_tree(child) for child in element))
    return Element(element.tag.encode(), attributes, (element.text or "").encode())


def _mutated(chance: Chance, tree: Element) -> Element:
    """``tree`` with one thing changed somewhere in it."""
    content = tree.content
    if isinstance(content, tuple) and content and chance.happens(0.8):
        place = chance.below(len(content))
        inner = _mutated(chance, content[place])
        return tree._replace(content=(*content[:place], inner, *content[place + 1 :]))
    return _changed(chance, tree)


#: Elements that one change may add.
_REPEATED_MAX = 5000


def _changed(chance: Chance, tree: Element) -> Element:
    name, attributes, content = tree
    kind = chance.below(9)
    if kind <= 2 and isinstance(content, bytes):
        return Element(name, attributes, chance.one(_WORDS if kind else ODD))
    if kind == 3:
        return Element(
            chance.one((b"Unknown", name.lower(), name + b"s", b"xmlns:a", b"")),
            attributes,
            content,
        )
    if kind == 4:  # something more in it
        extra = Element(chance.one(_NAMES), (), chance.one(_WORDS))
        inner = content if isinstance(content, tuple) else ()
        return Element(name, attributes, (*inner, extra))
    if kind == 5 and isinstance(content, tuple) and content:  # once more, or very often
        more = chance.one(content)
        times = chance.one((1, 1, 2, 11, 101, 1001))
        if times * sum(1 for _ in _names(more)) > _REPEATED_MAX:
            times = 1  # what was repeated before would be multiplied
        return Element(name, attributes, content + (more,) * times)
    if kind == 6 and isinstance(content, tuple) and content:  # something is missing
        place = chance.below(len(content))
        return Element(name, attributes, content[:place] + content[place + 1 :])
    if kind == 7:
        depth = chance.one((1, 1, 1, 2, 2, 20))
        for _ in range(depth):
            content = (Element(name, (), content),)
        return Element(name, attributes, content)
    return Element(
        name,
        (*attributes, (chance.one((b"xsi:type", b"a", b"xml:space")), chance.one(_WORDS))),
        content,
    )


def _names(tree: Element) -> Iterator[bytes]:
    yield tree.name
    for child in tree.content if isinstance(tree.content, tuple) else ():
        yield from _names(child)


_TREES = {operation: tuple(map(_read, texts)) for operation, texts in _XML.items()}
_NAMES = tuple(sorted({n for trees in _TREES.values() for tree in trees for n in _names(tree)}))


def _render(tree: Element, namespace: bytes = b"") -> bytes:
    name, attributes, content = tree
    text = b"".join(b' %b="%b"' % pair for pair in attributes)
    if any(attribute.startswith(b"xsi:") for attribute, _ in attributes):
        text += b' xmlns:xsi="%b"' % _XSI.encode()
    inner = content if isinstance(content, bytes) else b"".join(map(_render, content))
    return b"<%b%b%b>%b</%b>" % (name, namespace, text, inner, name)


# -- policies -------------------------------------------------------------------------------------

_OPERATORS = tuple(
    prefix + name + suffix
    for prefix in ("", "ForAnyValue:", "ForAllValues:")
    for name in ("StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringLike",
                 "StringNotLike", "NumericEquals", "NumericLessThan", "DateGreaterThan", "Bool",
                 "BinaryEquals", "IpAddress", "NotIpAddress", "ArnLike", "ArnNotEquals", "Null",
                 "Unknown")
    for suffix in ("", "IfExists")
)  # fmt: skip
_CONDITION_KEYS = (
    "aws:SourceIp", "aws:SecureTransport", "aws:username", "aws:PrincipalArn", "aws:CurrentTime",
    "aws:Referer", "aws:UserAgent", "s3:prefix", "s3:delimiter", "s3:max-keys", "s3:x-amz-acl",
    "s3:x-amz-copy-source", "s3:ExistingObjectTag/a", "s3:RequestObjectTag/a", "s3:versionid",
    "s3:RequestObjectTagKeys", "s3:authType", "s3:signatureAge", "s3:x-amz-server-side-encryption",
    "s3:x-amz-content-sha256", "aws:unknown", "", "s3:", "aws:PrincipalTag/x", "S3:PREFIX",
)  # fmt: skip
_CONDITION_VALUES: tuple[Any, ...] = (
    "a", "", "*", "127.0.0.1/32", "::1", "10.0.0.0/33", "true", True, 1, 1.5, -1, 1e400, None, [],
    ["a", "b"], {}, "2026-01-01T00:00:00Z", "${aws:username}", "${", "${*}", "private", 10**30,
    "a" * 3000, ["*"] * 300, "\ud800", "\x00", "Infinity",
)  # fmt: skip
_SOUND_VALUES = (
    "a", "*", "127.0.0.1/32", "::1", "true", "1", "2026-01-01T00:00:00Z", "${aws:username}",
    "dir/*", "arn:aws:iam:::user/alt", ["a", "b"], "private", "AQ==",
)  # fmt: skip


def policy(chance: Chance, world: World) -> bytes:
    """A bucket policy, as JSON or nearly so."""
    bucket = chance.one(world.buckets).decode()
    document: Any = {
        "Version": chance.one(("2012-10-17",) * 9 + ("2008-10-17", "2026-01-01", 1)),
        "Statement": [_statement(chance, bucket) for _ in range(chance.one((1, 1, 1, 1, 2, 3, 0)))],
    }
    if chance.happens(0.05):
        document["Id"] = chance.one(("a", 1, None))
    for _ in range(chance.one((0, 0, 0, 0, 1, 2))):
        document = _json_mutated(chance, document)
    text = json.dumps(document, ensure_ascii=chance.happens(0.8)).encode("utf-8", "surrogatepass")
    if chance.happens(0.05):
        text = text.replace(b'"Effect"', b'"Effect": "Deny", "Effect"', 1)
    if chance.happens(0.02):
        text = b"[" * chance.one((10, 1000, 100_000)) + text
    return text


def sound_policy(chance: Chance, bucket: bytes) -> bytes:
    """A policy for ``bucket`` that is right."""
    arn = f"arn:aws:s3:::{bucket.decode()}"
    statements = []
    for _ in range(chance.one((1, 1, 2, 3))):
        statement: dict[str, Any] = {
            "Effect": chance.one(("Allow", "Allow", "Deny")),
            "Principal": chance.one(_PRINCIPALS),
            "Action": chance.one(_ACTIONS),
            "Resource": chance.one(([arn, f"{arn}/*"], f"{arn}/dir/*", f"{arn}/*")),
        }
        if chance.happens(0.4):
            statement["Condition"] = chance.one(_CONDITIONS)
        statements.append(statement)
    return json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()


_CONDITIONS: tuple[dict[str, Any], ...] = (
    {"StringEquals": {"s3:RequestObjectTag/a": "b"}}, {"StringLike": {"s3:prefix": "dir/*"}},
    {"StringNotEqualsIfExists": {"s3:ExistingObjectTag/a": ["b", "c"]}},
    {"NumericLessThanEquals": {"s3:max-keys": "10"}},
    {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
    {"Bool": {"aws:SecureTransport": "false"}}, {"Null": {"s3:x-amz-acl": "true"}},
    {"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a"]}},
)  # fmt: skip

_PRINCIPALS: tuple[Any, ...] = (
    "*", {"AWS": "*"}, {"AWS": ["*"]}, {"AWS": "arn:aws:iam:::user/alt"},
    {"AWS": ["arn:aws:iam:::user/alt", "arn:aws:iam:::user/reader"]}, {"CanonicalUser": "a1" * 32},
)  # fmt: skip
_ODD_PRINCIPALS: tuple[Any, ...] = (
    {"AWS": ["arn:aws:iam::123456789012:root", "alt"]}, {"AWS": []}, {"CanonicalUser": "x" * 64},
    {},     {"Service": "s3.amazonaws.com"}, "alt", {"AWS": "arn:aws:iam::minio:user/*"}, None, [],
)  # fmt: skip
_ACTIONS: tuple[Any, ...] = (
    "s3:*", "s3:GetObject", ["s3:PutObject", "s3:List*"], "s3:Get*", "s3:ListBucket",
    "s3:Put?bject",
)  # fmt: skip
_ODD_ACTIONS: tuple[Any, ...] = ("*", "S3:getobject", [], "ec2:x", "s3:" + "*a" * 50, "", 1)


def _statement(chance: Chance, bucket: str) -> dict[str, Any]:
    arn = f"arn:aws:s3:::{bucket}"
    resources = (arn, f"{arn}/*", [arn, f"{arn}/*"], f"{arn}/${{aws:username}}/*", f"{arn}/dir/*")
    odd: tuple[Any, ...] = (
        "*",
        "x",
        [],
        "arn:aws:s3:::other/*",
        f"{arn}/" + "*a" * 60,
        f"{arn}*",
        f"{arn}/${{x",
    )

    def mostly(sound: tuple[Any, ...], strange: tuple[Any, ...]) -> Any:
        return chance.one(sound) if chance.happens(0.93) else chance.one(strange)

    statement: dict[str, Any] = {
        "Sid": mostly(("a", "b"), ("", "b c", "é", 1)),
        "Effect": mostly(("Allow", "Allow", "Deny"), ("allow", "", None)),
        mostly(("Principal",), ("NotPrincipal",)): mostly(_PRINCIPALS, _ODD_PRINCIPALS),
        mostly(("Action", "Action", "NotAction"), ("Actions",)): mostly(_ACTIONS, _ODD_ACTIONS),
        mostly(("Resource", "Resource", "NotResource"), ("",)): mostly(resources, odd),
    }
    if chance.happens(0.5):
        statement["Condition"] = {
            chance.one(_OPERATORS): {
                chance.one(_CONDITION_KEYS): mostly(_SOUND_VALUES, _CONDITION_VALUES)
                for _ in range(chance.between(0, 2))
            }
            for _ in range(chance.one((0, 1, 1, 1, 2)))
        }
    return statement


def _json_mutated(chance: Chance, value: Any) -> Any:
    if isinstance(value, dict) and value and chance.happens(0.8):
        name = chance.one(list(value))
        changed = dict(value)
        kind = chance.below(4)
        if kind == 0:
            del changed[name]
        elif kind == 1:
            changed[chance.one(("Unknown", name.lower(), ""))] = changed.pop(name)
        else:
            changed[name] = _json_mutated(chance, value[name])
        return changed
    if isinstance(value, list) and value and chance.happens(0.8):
        place = chance.below(len(value))
        return [*value[:place], _json_mutated(chance, value[place]), *value[place + 1 :]]
    return chance.one(_CONDITION_VALUES)


# -- forms ----------------------------------------------------------------------------------------


def post_policy(chance: Chance, fields: list[tuple[bytes, bytes]], bucket: bytes) -> bytes:
    """The policy document of a POST form that fits ``fields``, or nearly does."""
    conditions: list[Any] = [{"bucket": bucket.decode("latin-1")}]
    for name, value in fields:
        text = value.decode("latin-1")
        conditions.append(
            chance.one(
                ({name.decode("latin-1"): text}, ["eq", f"${name.decode('latin-1')}", text],
                 ["starts-with", f"${name.decode('latin-1')}", text[: chance.below(3)]])
            )
        )  # fmt: skip
    if chance.happens(0.4):
        low, high = chance.one(((0, 400_000),) * 9 + ((0, 0), (5, 1), (-1, 10**30), ("a", None)))
        conditions.append(["content-length-range", low, high])
    document: Any = {
        "expiration": chance.one(
            ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00.000Z", "2020-01-01T00:00:00Z", "x", 1)
            if chance.happens(0.05)
            else ("2030-01-01T00:00:00Z",)
        ),
        "conditions": conditions,
    }
    if chance.happens(0.1):
        document = _json_mutated(chance, document)
    encoded = json.dumps(document).encode()
    return encoded if chance.happens(0.95) else encoded[: chance.below(len(encoded))]


def form(chance: Chance, fields: list[tuple[bytes, bytes]], content: bytes) -> tuple[bytes, bytes]:
    """(content type, body) of multipart/form-data, with what browsers do and what nobody does."""
    boundary = chance.one(
        (b"xYzZy", b"----WebKitFormBoundaryabc", b"a" * 70, b"'()+_,-./:=?", b"x")
    )
    line = b"\r\n" if chance.happens(0.99) else b"\n"
    parts = []
    for name, value in fields:
        lines = [b'Content-Disposition: form-data; name="%b"' % name]
        if chance.happens(0.015):
            lines.append(
                chance.one(
                    (
                        b"Content-Type: text/plain; charset=utf-8",
                        b"X",
                        b": y",
                        b"Content-Transfer-Encoding: base64",
                        b"a: " + b"b" * 20_000,
                    )
                )
            )
        parts.append(line.join((*lines, b"", value)))
    disposition = b'Content-Disposition: form-data; name="file"; filename="%b"' % chance.one(
        (b"a.txt", b"", b"C:\\x\\a.txt", b'a\\"b', b"\xc3\xa9", b"a/b", b"%22")
    )
    kind = chance.one(((b"Content-Type: text/plain",), (), (b"Content-Type: ",)))
    parts.append(line.join((disposition, *kind, b"", content)))
    if chance.happens(0.015):
        parts.append(parts.pop(chance.below(len(parts))))
    if chance.happens(0.015):
        parts.append(b'Content-Disposition: form-data; name="submit"' + line * 2 + b"Upload")
    delimiter = b"--" + boundary
    body = line.join(delimiter + line + part for part in parts)
    body += (
        line
        + delimiter
        + (b"--" if chance.happens(0.99) else b"")
        + (line if chance.happens(0.9) else b"")
    )
    if chance.happens(0.03):
        body = chance.one((b"preamble\r\n", b"\r\n", b"\r\n\r\n")) + body
    quoted = b'"%b"' % boundary if chance.happens(0.2) or b"=" in boundary else boundary
    kind_of_form = b"multipart/form-data; boundary=" + quoted
    if chance.happens(0.015):
        kind_of_form = chance.one(
            (
                b"multipart/form-data",
                b"multipart/form-data; boundary=",
                b"multipart/form-data; boundary=other",
                b"multipart/mixed; boundary=x",
                b"application/x-www-form-urlencoded",
                b'multipart/form-data; boundary="x',
            )
        )
    return kind_of_form, body
