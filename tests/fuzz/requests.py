"""One request: an operation of S3 asked for rightly, then spoilt in some of its layers.

The layers, from the inside out: what is asked (names, parameters, headers, documents), who signs
it and how, how the body is framed. Bytes are spoilt by ``connections``.
"""

from __future__ import annotations

import base64
import hashlib
import time
import zlib
from dataclasses import dataclass, field

from storage.s3 import routes
from tests.fuzz import documents, signing, values
from tests.fuzz.chance import Chance
from tests.fuzz.signing import Headers, Query, encode
from tests.fuzz.world import User, World

_LISTING = (b"prefix", b"delimiter", b"max-keys", b"encoding-type", b"marker", b"start-after",
            b"continuation-token", b"fetch-owner", b"key-marker", b"version-id-marker",
            b"upload-id-marker", b"max-uploads", b"max-parts", b"part-number-marker")  # fmt: skip
_LISTING_BUCKETS = (b"prefix", b"max-buckets", b"continuation-token", b"bucket-region")
_METHODS = (b"GET", b"PUT", b"POST", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT",
            b"get", b"PROPFIND", b"M-SEARCH", b"\xff", b"")  # fmt: skip
#: How often an operation is asked for: those that read the most from a request above all.
_WEIGHTS = {
    "PutObject": 25,
    "UploadPart": 15,
    "CompleteMultipartUpload": 15,
    "CreateMultipartUpload": 8,
    "GetObject": 12,
    "CopyObject": 12,
    "DeleteObjects": 12,
    "CreateBucket": 10,
}
_DOCUMENT_WEIGHT, _LISTING_WEIGHT, _HANDLED_WEIGHT = 10, 8, 4


def _weight(row: routes.Route) -> int:
    if row.handler is None:
        return 1
    if documents.has_document(row.operation):
        return _WEIGHTS.get(row.operation, _DOCUMENT_WEIGHT)
    listing = _LISTING_WEIGHT if row.operation.startswith("List") else _HANDLED_WEIGHT
    return _WEIGHTS.get(row.operation, listing)


_ROUTES = [row for row in routes.ROUTES for _ in range(_weight(row))]


@dataclass
class Draft:
    """A request before it is signed and framed. ``path`` and ``query`` are percent-encoded.

    ``resource`` is the path with the bucket that the host names, "" where it names none.
    """

    method: bytes
    path: bytes
    operation: str
    query: Query = field(default_factory=list)
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    has_body: bool = False
    resource: bytes = b""


def request(chance: Chance, world: World) -> bytes:
    """The bytes of one request."""
    draft = _post_form(chance, world) if chance.happens(0.06) else _asked(chance, world)
    return _signed_and_framed(chance, world, draft)


def plain(world: World, method: bytes, path: bytes, query: bytes = b"", body: bytes = b"") -> bytes:
    """A request of the root user that is right in every layer."""
    return sound(world.users[0], world.host, method, path, query, body, [])


def sound(
    user: User | None, host: bytes, method: bytes, path: bytes, query: bytes, body: bytes,
    headers: Headers,
) -> bytes:  # fmt: skip
    """A request of ``user``, or of nobody, with ``headers``: right as far as these are."""
    lines: Headers = [(b"host", host), *headers]
    if user is not None:
        payload = hashlib.sha256(body).hexdigest().encode()
        signing.sign_header(user, method, path, query, lines, payload)
    if body or method in (b"PUT", b"POST"):
        lines.append((b"content-length", b"%d" % len(body)))
    return _head(method, path + (b"?" + query if query else b""), lines) + body


# -- what is asked --------------------------------------------------------------------------------


def _asked(chance: Chance, world: World) -> Draft:
    row = chance.one(_ROUTES)
    method = row.method.encode()
    draft = Draft(method, _path(chance, world, row), row.operation)
    upload = chance.one(world.started) if world.started and chance.happens(0.7) else None
    if upload is not None and "uploadId" in row.query:
        draft.path = upload.path
    _host(chance, world, draft)
    for condition in row.query:
        name, equals, value = condition.encode().partition(b"=")
        if name == b"uploadId" and upload is not None:
            draft.query.append((name, upload.id))
        elif name in (b"uploadId", b"partNumber", b"id"):
            value = values.parameter(chance, world, name)
            draft.query.append((name, encode(value)))
        else:
            draft.query.append((name, value if equals else chance.one((None, b""))))
    _details(chance, world, draft)
    if row.header == b"x-amz-copy-source":
        source = values.copy_source(chance, world)
        draft.headers.append((row.header, encode(source, "/?=") if chance.happens(0.8) else source))
    elif row.header:
        draft.headers.append((row.header, b"x"))
    for _ in range(chance.one((0, 0, 0, 1, 1, 2, 4))):
        draft.headers.append(values.header(chance, world))
    if method in (b"PUT", b"POST"):
        draft.has_body = True
        draft.body = _body(chance, world, row.operation)
    if chance.happens(0.02):
        draft.method = chance.one(_METHODS)
    if chance.happens(0.01):
        draft.has_body = not draft.has_body
    return draft


def _path(chance: Chance, world: World, row: routes.Route) -> bytes:
    if row.scope == routes.SERVICE:
        return b"/" if chance.happens(0.95) else chance.one((b"//", b"*", b"/?", b"http://x/", b""))
    fresh = row.operation == "CreateBucket" or chance.happens(0.05)
    bucket = chance.one(values.BUCKET_NAMES) if fresh else chance.one(world.buckets)
    path = b"/" + (bucket if b"%" in bucket else encode(bucket))
    if row.scope == routes.BUCKET:
        return path + (b"/" if chance.happens(0.3) else b"")
    key = chance.one(world.keys) if chance.happens(0.7) else chance.one((*values.KEYS, *values.ODD))
    raw = chance.happens(0.05)
    return path + b"/" + (key if raw else encode(key, chance.one(("/", "", "/+"))))


def _host(chance: Chance, world: World, draft: Draft) -> None:
    """Host header: path style mostly, sometimes the bucket in it, sometimes nonsense."""
    host = world.host
    if chance.happens(0.1):
        bucket, _, key = draft.path[1:].partition(b"/")
        host = bucket + b"." + world.domain
        draft.path = b"/" + key
        draft.resource = b"/" + bucket + draft.path
    elif chance.happens(0.05):
        host = chance.one((b"%b", b".%b", b"a.b.%b", b"%b:99999", b"xn--e1a.%b", b"%b."))
        host = host % world.domain if chance.happens(0.5) else chance.one((*_HOSTS, *values.ODD))
    if not chance.happens(0.01):
        draft.headers.append((b"host", host))
    if chance.happens(0.01):
        draft.headers.append((b"host", world.host))


_HOSTS = (b"", b"[::1]:9", b"UPPER.S3.FUZZ.TEST", b"a, b", b"\xff", b"localhost", b"127.0.0.1:0")


def _details(chance: Chance, world: World, draft: Draft) -> None:
    operation = draft.operation
    names: tuple[bytes, ...] = ()
    if operation == "ListBuckets":
        names = _LISTING_BUCKETS
    elif operation.startswith("List"):
        names = _LISTING
    for name in chance.some(names, 4) if names else ():
        draft.query.append((name, encode(values.parameter(chance, world, name))))
    if "Object" in operation and chance.happens(0.02 if operation == "PutObject" else 0.25):
        draft.query.append((b"versionId", encode(values.parameter(chance, world, b"versionId"))))
    for _ in range(chance.one((0, 0, 0, 0, 1, 2))):
        name = chance.one(tuple(values.PARAMETERS))
        draft.query.append((name, encode(values.parameter(chance, world, name))))
    if chance.happens(0.02):
        draft.query.append(chance.one(_ODD_ITEMS))
    if chance.happens(0.05) and draft.query:
        draft.query.append(chance.one(draft.query))


_ODD_ITEMS: Query = [
    (b"%", None), (b"a%zz", b"b"), (b"", b""), (b"\xff", b"\xfe"), (b"a" * 3000, b"b" * 3000),
    (b"&&", b"&"), (b"%ff", b"%ff"), (b"+", b"+"), (b"x-id", b"PutObject"),
]  # fmt: skip


def _body(chance: Chance, world: World, operation: str) -> bytes:
    if documents.has_document(operation) and chance.happens(0.95):
        return documents.body(chance, world, operation)
    if chance.happens(0.02):
        return chance.bytes(chance.below(2000))
    return chance.one(documents.CONTENTS)


# -- forms ----------------------------------------------------------------------------------------


_FORM_KEYS = (b"form", b"form/${filename}", b"${filename}")
_FIELDS = (
    b"acl", b"Content-Type", b"success_action_status", b"tagging", b"x-ignore-a", b"Expires",
    b"success_action_redirect", b"redirect", b"x-amz-meta-a", b"Cache-Control", b"Policy", b"",
    b"x-amz-storage-class", b"x-amz-checksum-crc32", b"x-amz-security-token", b"bucket",
)  # fmt: skip
_FIELD_VALUES: dict[bytes, tuple[bytes, ...]] = {
    b"success_action_status": (b"200", b"201", b"204", b"999"),
    b"success_action_redirect": (b"http://a.b/c?d=e", b"http://a\r\nb: c", b"//x", b"\xff"),
    b"acl": values.CANNED_ACLS,
    b"tagging": (
        b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
        b"<Tagging>",
    ),
}


def _post_form(chance: Chance, world: World) -> Draft:
    """POST Object, with a policy of version 4 or 2 or none."""
    bucket = chance.one(world.buckets)
    draft = Draft(b"POST", b"/" + bucket, "PostObject", has_body=True)
    _host(chance, world, draft)
    fields: list[tuple[bytes, bytes]] = [
        (b"key", chance.one(_FORM_KEYS if chance.happens(0.7) else values.KEYS))
    ]
    for name in chance.some(_FIELDS, 2):
        known = _FIELD_VALUES.get(name, (b"a",))
        fields.append((name, chance.one(known if chance.happens(0.9) else values.ODD)))
    user = _user(chance, world)
    kind = chance.one(("4", "4", "2", ""))
    if kind == "4":
        signature = signing.Signature(user, signing.stamp())
        fields += [(b"x-amz-algorithm", b"AWS4-HMAC-SHA256"), (b"x-amz-date", signature.now),
                   (b"x-amz-credential", signature.credential)]  # fmt: skip
        policy = base64.b64encode(documents.post_policy(chance, fields, bucket))
        fields += [(b"policy", policy), (b"x-amz-signature", signature.text(policy))]
    elif kind == "2":
        policy = base64.b64encode(documents.post_policy(chance, fields, bucket))
        fields += [(b"AWSAccessKeyId", user.access_key), (b"policy", policy),
                   (b"signature", signing.policy_v2(user, policy))]  # fmt: skip
    if chance.happens(0.05):
        place = chance.below(len(fields))
        fields[place] = (fields[place][0], chance.one(values.ODD))
    if chance.happens(0.05):
        del fields[chance.below(len(fields))]
    if chance.happens(0.05) and fields:
        fields.append(chance.one(fields))
    content_type, draft.body = documents.form(chance, fields, chance.one(documents.CONTENTS))
    draft.headers.append((b"content-type", content_type))
    if chance.happens(0.2):
        draft.headers.append(values.header(chance, world))
    return draft


# -- who signs it ---------------------------------------------------------------------------------


def _user(chance: Chance, world: World) -> User:
    return world.users[0] if chance.happens(0.85) else chance.one(world.users)


def _signed_and_framed(chance: Chance, world: World, draft: Draft) -> bytes:
    user = _user(chance, world)
    mechanism = chance.one(("v4",) * 12 + ("v4-query", "v4-query", "v2", "v2-query", "none"))
    if draft.operation == "PostObject":
        mechanism = "none"
    headers, query = draft.headers, draft.query
    signature: signing.Signature | None = None
    streaming = b""
    if mechanism == "v4":
        payload = hashlib.sha256(draft.body).hexdigest().encode()
        if draft.has_body and chance.happens(0.3):
            payload = streaming = chance.one(_STREAMING)
            _announce(chance, draft, streaming)
        elif chance.happens(0.2):
            payload = chance.one((b"UNSIGNED-PAYLOAD",) * 8 + (b"0" * 64, b"", b"x"))
        signature = signing.sign_header(
            user, draft.method, draft.path, signing.query_bytes(query), headers, payload
        )
    elif mechanism == "v4-query":
        expires = b"60" if chance.happens(0.8) else chance.one((b"604800", b"604801", *values.ODD))
        signing.sign_query(user, draft.method, draft.path, query, headers, encode(expires))
    elif mechanism == "v2":
        signing.sign_header_v2(user, draft.method, draft.resource or draft.path, query, headers)
    elif mechanism == "v2-query":
        expires = (
            b"%d" % (time.time() + 60) if chance.happens(0.8) else encode(chance.one(values.ODD))
        )
        signing.sign_query_v2(
            user, draft.method, draft.resource or draft.path, query, headers, expires
        )
    if chance.happens(0.08):
        _spoil_signature(chance, draft)
    if chance.happens(0.02):
        headers.append(values.header(chance, world))  # unsigned
    body = draft.body
    if streaming:
        body = _chunks(chance, streaming, signature, body)
    return _framed(chance, draft, body)


_MARKS = (b"Credential=", b"SignedHeaders=", b"Signature=", b"AWS4-HMAC-SHA256", b"AWS ", b"/",
          b",", b":", b";")  # fmt: skip


def _spoil_signature(chance: Chance, draft: Draft) -> None:
    """Change something of the authentication after it was made."""
    for place, (name, value) in enumerate(draft.headers):
        if name == b"authorization":
            draft.headers[place] = (name, _spoilt(chance, value, _MARKS))
            return
    signed = [
        i
        for i, (n, _) in enumerate(draft.query)
        if n.startswith((b"X-Amz-", b"Sig", b"AWS", b"Exp"))
    ]
    if signed:
        place = chance.one(signed)
        name, sent = draft.query[place]
        kind = chance.below(4)
        if kind == 0:
            del draft.query[place]
        elif kind == 1:
            draft.query.append((name, sent))
        else:
            draft.query[place] = (
                name,
                encode(chance.one(values.ODD)) if kind == 2 else (sent or b"")[:-1],
            )


def _spoilt(chance: Chance, value: bytes, marks: tuple[bytes, ...]) -> bytes:
    mark = chance.one(marks)
    odd = chance.one(values.ODD)
    kind = chance.below(5)
    if kind == 0:
        return value.replace(mark, odd, 1)
    if kind == 1:
        return value.replace(mark, mark + odd, 1)
    if kind == 2:
        return value.replace(mark, mark * 2)
    if kind == 3:
        return value[: chance.below(len(value) + 1)]
    place = chance.below(len(value) + 1)
    return value[:place] + odd + value[place:]


# -- how the body is framed -----------------------------------------------------------------------

_STREAMING = (b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
              b"STREAMING-UNSIGNED-PAYLOAD-TRAILER")  # fmt: skip


def _announce(chance: Chance, draft: Draft, streaming: bytes) -> None:
    """The headers of an aws-chunked body."""
    length = b"%d" % len(draft.body) if chance.happens(0.92) else chance.one(values.ODD)
    if not chance.happens(0.02):
        draft.headers.append((b"x-amz-decoded-content-length", length))
    if chance.happens(0.8):
        draft.headers.append((b"content-encoding", b"aws-chunked"))
    if streaming.endswith(b"TRAILER") and chance.happens(0.95):
        draft.headers.append((b"x-amz-trailer", b"x-amz-checksum-crc32"))


def _chunks(
    chance: Chance, streaming: bytes, signature: signing.Signature | None, body: bytes
) -> bytes:
    signer = signature if b"AWS4" in streaming else None
    size = chance.one((len(body) or 1, 8192, 65536, max(1, len(body) // 3)))
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    framed = bytearray()
    for piece in (*pieces, b""):
        mark = b""
        if signer is not None:
            mark = b";chunk-signature=" + signer.chunk(piece)
        framed += b"%x%b\r\n%b" % (len(piece), mark, piece + b"\r\n" if piece else b"")
    if streaming.endswith(b"TRAILER"):
        value = (
            base64.b64encode(zlib.crc32(body).to_bytes(4))
            if chance.happens(0.95)
            else chance.one(values.ODD)
        )
        line = b"x-amz-checksum-crc32:" + value
        framed += line + b"\r\n"
        if signer is not None:
            framed += b"x-amz-trailer-signature:" + signer.trailer(line + b"\n") + b"\r\n"
    framed += b"\r\n"
    if chance.happens(0.25):
        return _spoilt(chance, bytes(framed), (b"\r\n", b";chunk-signature=", b"0", b":", b"x-amz"))
    return bytes(framed)


def _framed(chance: Chance, draft: Draft, body: bytes) -> bytes:
    """Head and body with Content-Length, or with something else."""
    headers = draft.headers
    if draft.has_body or body:
        kind = chance.below(120)
        if kind == 0:
            body = _http_chunks(chance, body)
            headers.append(
                (b"transfer-encoding", chance.one((b"chunked", b"Chunked", b"gzip, chunked")))
            )
        elif kind == 1:
            headers.append(
                (b"content-length", chance.one((b"%d" % (len(body) + 5), *values.ODD[3:25])))
            )
        elif kind == 2:
            headers += [(b"content-length", b"%d" % len(body)), (b"transfer-encoding", b"chunked")]
        elif kind == 3:
            headers += [(b"content-length", b"%d" % len(body)), (b"content-length", b"7")]
        elif kind == 4:
            body = body[: len(body) // 2]
            headers.append((b"content-length", b"%d" % (len(body) * 2 + 1)))
        elif kind != 5:
            headers.append((b"content-length", b"%d" % len(body)))
    if chance.happens(0.05):
        headers.insert(chance.below(len(headers) + 1), (b"expect", b"100-continue"))
    if headers and chance.happens(0.2):
        headers.insert(0, headers.pop())
    target = draft.path
    if draft.query:
        target += b"?" + signing.query_bytes(draft.query)
    return _head(draft.method, target, headers) + body


def _http_chunks(chance: Chance, body: bytes) -> bytes:
    if not body:
        return b"0\r\n\r\n"
    framed = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, chance.one((b"", b"a: b\r\n")))
    return framed if chance.happens(0.8) else _spoilt(chance, framed, (b"\r\n", b"0"))


def _head(method: bytes, target: bytes, headers: Headers) -> bytes:
    lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, lines)
