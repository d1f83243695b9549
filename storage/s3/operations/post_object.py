"""PostObject: a browser's form whose last field is the object's content.

The fields before the file say what PutObject is told in headers, and who signed for them; they are
read first, within bounds. Then the file goes to the engine while it arrives, as any large body
does. What comes behind it is read, because the form must be whole, and means nothing.

Source: "POST Object" in the Amazon S3 API Reference.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from storage.engine import interface as i
from storage.engine.interface import KEY_BYTES_MAX
from storage.s3 import checksums, headers, xml
from storage.s3.auth import AuthResult, post_policy
from storage.s3.auth.post_policy import PostPolicy
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error
from storage.s3.forms import FORM_BYTES_MAX, FormParser, Part, boundary_of, is_token
from storage.s3.hosts import object_url
from storage.s3.operations import put_object, tagging
from storage.s3.operations.access import authorize
from storage.s3.operations.body import (
    OBJECT_BYTES_MAX,
    Body,
    Integrity,
    Pump,
    commit_file,
    new_file,
)

_FILENAME = b"${filename}"
#: Fields that mean what the header of their name means, beside x-amz-*.
_HEADER_FIELDS = frozenset(
    ("cache-control", "content-disposition", "content-encoding", "content-language", "content-md5",
     "content-type", "expires", "if-match", "if-none-match")
)  # fmt: skip
#: x-amz-* fields that speak of the form, or of a body that is none of its own.
_NOT_HEADERS = frozenset(
    ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-security-token",
     "x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer",
     "x-amz-sdk-checksum-algorithm", "x-amz-copy-source")
)  # fmt: skip
#: Headers of the request that speak of the form and not of its file. (The conditions do.)
_OF_FORM = frozenset(
    (b"cache-control", b"content-disposition", b"content-encoding", b"content-language",
     b"content-md5", b"content-type", b"expires")
)  # fmt: skip
_CHECKSUM_ALGORITHM = b"x-amz-checksum-algorithm"
#: What may stand in a URL as it is, escapes included; everything else is escaped.
_URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"


async def post_object(call: Call) -> Response:
    """Store the file of a form. Acknowledged only once it is durable.

    Raises what PutObject raises, what ``storage.s3.auth.post_policy`` finds wrong with the form,
    MalformedPOSTRequest, PreconditionFailed (no form at all) and
    IncorrectNumberOfFilesInPostRequest.
    """
    form = _Form(call)
    fields = await form.read_fields()
    if "key" not in fields:
        raise post_policy.missing("key")
    call.auth, policy = await _authenticate(call, fields)
    policy = policy.at_most(OBJECT_BYTES_MAX)
    form.check_size(policy)
    call.key = _key(fields)
    call.headers = _as_headers(call, fields)
    headers.refuse_unimplemented(call.headers)
    call.app.check_owner(call, call.target)
    authorize(call, "s3:PutObject", call.target, call.key)
    change, meta = put_object.describe(call)
    if change.conditions is not None:
        await put_object.permit_conditions(call, change.conditions)
    integrity = _integrity(call)
    content = form.content(policy)
    committed, stored = await _store(call, form.likely_size, content, change, meta, integrity)
    return _answer(call, fields, change, committed, stored)


# -- the form -----------------------------------------------------------------------------------


class _Form:
    """The body of one request: first its fields, then its file."""

    __slots__ = ("_body", "_closing", "_events", "_left")

    def __init__(self, call: Call) -> None:
        """Raises PreconditionFailed, MalformedPOSTRequest, MissingContentLength, EntityTooLarge."""
        boundary = boundary_of(call.headers.get(b"content-type", b""))
        self._closing = len(boundary) + len(b"\r\n----\r\n")
        self._body = Body(call, OBJECT_BYTES_MAX + FORM_BYTES_MAX)
        self._events = _events(self._body, FormParser(boundary), call.auth.sha256)
        self._left = 0

    @property
    def likely_size(self) -> int:
        """Bytes of the file, if nothing but the form's end follows it, as it should."""
        return max(0, self._left - self._closing)

    async def read_fields(self) -> dict[str, bytes]:
        """The fields before the file by lower-case name.

        Raises InvalidArgument (no file, or a field given twice).
        """
        fields: dict[str, bytes] = {}
        name = ""
        async for event in self._events:
            if not isinstance(event, Part):
                fields[name] += event
            elif event.is_file:
                self._left = self._body.length - event.start
                return _filled_in(fields, event.filename or b"")
            else:
                name = event.name.lower()
                if name in fields and not name.startswith(post_policy.IGNORED):
                    raise _given_twice(event.name)
                fields[name] = b""
        raise S3Error(
            "InvalidArgument",
            "POST requires exactly one file upload per request.",
            ArgumentName="file",
            ArgumentValue="0",
        )

    def check_size(self, policy: PostPolicy) -> None:
        """Refuse what is too large or too small for sure, before it is sent."""
        if self._left - FORM_BYTES_MAX > policy.size_max or self._left < policy.size_min:
            policy.check_size(self.likely_size)

    async def content(self, policy: PostPolicy) -> AsyncIterator[memoryview]:
        """The file. Its end is reached only if it has the right size and the form is whole.

        Raises EntityTooLarge, EntityTooSmall, IncorrectNumberOfFilesInPostRequest.
        """
        size, inside = 0, True
        async for event in self._events:
            if isinstance(event, Part):
                if event.is_file:
                    raise S3Error("IncorrectNumberOfFilesInPostRequest")
                inside = False
            elif inside:
                size += len(event)
                if size > policy.size_max:
                    policy.check_size(max(size, self.likely_size))
                yield event
        policy.check_size(size)


async def _events(body: Body, parser: FormParser, sha256: str) -> AsyncIterator[Part | memoryview]:
    """What the parser finds in the whole body, whose hash was perhaps promised."""
    digest = hashlib.sha256()
    async for pieces in body.pieces():
        for piece in pieces:
            data = bytes(piece)
            if sha256:
                digest.update(data)
            for event in parser.feed(data):
                yield event
    parser.finish()
    if sha256 and digest.hexdigest() != sha256:
        raise S3Error(
            "XAmzContentSHA256Mismatch",
            ClientComputedContentSHA256=sha256,
            S3ComputedContentSHA256=digest.hexdigest(),
        )


def _filled_in(fields: dict[str, bytes], filename: bytes) -> dict[str, bytes]:
    """The fields with ``${filename}`` replaced by the file's name, without folders."""
    name = filename[max(filename.rfind(b"/"), filename.rfind(b"\\")) + 1 :]
    return {
        field: value if field == "policy" else value.replace(_FILENAME, name)
        for field, value in fields.items()
    }


def _given_twice(name: str) -> S3Error:
    return S3Error(
        "InvalidArgument",
        f"The form has more than one field named '{name}'.",
        ArgumentName=name,
        ArgumentValue="",
    )


# -- what the fields say ------------------------------------------------------------------------


async def _authenticate(call: Call, fields: dict[str, bytes]) -> tuple[AuthResult, PostPolicy]:
    """Who sent the form: whoever signed its policy, or else the request."""
    app = call.app
    signed = call.auth
    if signed.mechanism:
        if not post_policy.AUTHENTICATING.isdisjoint(fields):
            raise S3Error(
                "InvalidArgument",
                "Only one auth mechanism allowed; a form with a policy must not be sent with "
                "the Authorization header or a presigned query.",
                ArgumentName="Authorization",
            )
        result = AuthResult(
            signed.principal,
            signed.access_key,
            signed.mechanism,
            algorithm=signed.algorithm,
            credential=signed.credential,
            form_time=signed.timestamp,
        )
        return result, post_policy.ANYTHING
    identity = app.directory.current() or await app.directory.refresh()
    return post_policy.authenticate_form(
        fields,
        call.bucket,
        identity.keyring,
        app.config.region,
        version_2=app.config.signature_v2,
    )


def _key(fields: dict[str, bytes]) -> str:
    """The object's key. Raises InvalidArgument, KeyTooLongError."""
    key = fields["key"]
    if not key:
        raise S3Error(
            "InvalidArgument",
            "User key must have a length greater than 0.",
            ArgumentName="key",
            ArgumentValue="",
        )
    if len(key) > KEY_BYTES_MAX:
        raise S3Error("KeyTooLongError", Size=str(len(key)), MaxSizeAllowed=str(KEY_BYTES_MAX))
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise S3Error(
            "InvalidArgument", "The key is not valid UTF-8.", ArgumentName="key"
        ) from None


def _as_headers(call: Call, fields: dict[str, bytes]) -> dict[bytes, bytes]:
    """The headers with which PutObject would be told the same.

    Those of the request itself speak of the form, except where it comes from, and conditions.
    Raises InvalidArgument, MalformedXML and what is wrong with tags.
    """
    told = {
        name: value
        for name, value in call.headers.items()
        if name not in _OF_FORM and not name.startswith(b"x-amz-")
    }
    for field, value in fields.items():
        if field == "tagging":
            if not value:
                raise xml.malformed("Tagging")
            told[b"x-amz-tagging"] = urlencode(tagging.parse(value)).encode()
            continue
        name = "x-amz-acl" if field == "acl" else field
        if name in _HEADER_FIELDS or (name.startswith("x-amz-") and name not in _NOT_HEADERS):
            if not is_token(name.encode()):
                raise S3Error("InvalidArgument", ArgumentName=field)
            headers.header_value(value.decode("latin-1"))
            told[name.encode()] = value.strip(b" \t")
    return told


def _integrity(call: Call) -> Integrity:
    """What the form promises of its file, and which checksum is to be kept."""
    named = call.header(_CHECKSUM_ALGORITHM)
    algorithm = checksums.parse_algorithm(named, _CHECKSUM_ALGORITHM.decode()) if named else ""
    integrity = Integrity.of_call(call, algorithm)
    if named and integrity.algorithm != algorithm:
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-algorithm header is invalid.")
    return integrity


# -- the file -----------------------------------------------------------------------------------


async def _store(
    call: Call,
    likely_size: int,
    content: AsyncIterator[memoryview],
    change: i.PutObject,
    meta: i.Meta | bytes,
    integrity: Integrity,
) -> tuple[i.Committed, dict[str, str]]:
    """Commit the file: what is small whole, the rest while it arrives."""
    engine = call.app.engine
    head = bytearray()
    async for piece in content:
        head += piece
        if len(head) > engine.inline_limit():
            break
    else:
        change.payload, change.size = bytes(head), len(head)
        meta = await put_object.renew(call, change, meta)
        stored = integrity.verify_whole(change.payload, {})
        put_object.complete(change, meta, integrity, stored)
        return await engine.commit(change), stored
    await put_object.check_conditions(call, change)
    async with new_file(engine, likely_size) as writer:
        integrity.start()
        pump = Pump(writer, integrity)
        await pump.add(bytes(head))
        change.size = len(head)
        async for piece in content:
            await pump.add(piece)
            change.size += len(piece)
        await pump.settle()
        stored = integrity.verify({})
        change.files = (await writer.finish(),)
        meta = await put_object.renew(call, change, meta)
    put_object.complete(change, meta, integrity, stored)
    return await commit_file(engine, writer, change), stored


# -- the answer ---------------------------------------------------------------------------------


def _answer(
    call: Call,
    fields: dict[str, bytes],
    change: i.PutObject,
    committed: i.Committed,
    stored: dict[str, str],
) -> Response:
    """What the form asked to be answered: 204 if it did not, or asked for what S3 does not know."""
    lines = put_object.answer_lines(call, change, committed, stored)
    etag = f'"{committed.etag or change.etag}"'
    wanted = fields.get("success_action_redirect", fields.get("redirect", b""))
    redirect = _redirect(wanted, {"bucket": call.bucket, "key": call.key, "etag": etag})
    if redirect:
        return Response(303, [*lines, (b"location", redirect)])
    location = object_url(call, safe="")
    lines.append((b"location", location.encode()))
    status = fields.get("success_action_status", b"")
    if status != b"201":
        return Response(200 if status == b"200" else 204, lines)
    text = "".join(
        (
            xml.element("Location", location),
            xml.element("Bucket", call.bucket),
            xml.element("Key", call.key),
            xml.element("ETag", etag),
        )
    )
    body = f"{xml.DECLARATION}<PostResponse>{text}</PostResponse>".encode()  # no namespace, as S3
    return Response(201, [*lines, xml.CONTENT_TYPE], body)


def _redirect(wanted: bytes, result: dict[str, str]) -> bytes:
    """Where a browser is sent, with ``result`` in the query; nothing where that is no URL."""
    try:
        text = quote(wanted.decode(), safe=_URL_CHARACTERS)
        parts = urlsplit(text)
    except ValueError:
        return b""
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return b""
    added = urlencode(result, quote_via=quote, safe="")
    query = f"{parts.query}&{added}" if parts.query else added
    return urlunsplit(parts._replace(query=query)).encode()
