"""What must hold of every answer, whatever was asked."""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.etree import ElementTree

from tests.fuzz.codes import S3_CODES

_STATUS = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [A-Za-z' -]*")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[\t\x20-\x7e\x80-\xff]*")
#: Statuses from 500 on that are an answer: what does not exist, and nothing else.
_NOT_IMPLEMENTED = 501


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Wrong(AssertionError):
    """An answer that must never be given."""


def answers(written: bytes, methods: list[str]) -> list[Answer]:
    """The answers in what a server wrote, in full. Raises Wrong where it is no sound HTTP.

    ``methods`` are those of the requests that reached the application, in their order: HEAD has
    an answer without a body.
    """
    found: list[Answer] = []
    while written:
        status, headers, written = _head(written)
        if status == 100:
            continue
        method = methods[len(found)] if len(found) < len(methods) else ""
        body, written = _body(status, headers, written, head=method == "HEAD")
        found.append(Answer(status, headers, body))
    return found


def check(answer: Answer, method: str = "", operation: str = "") -> None:
    """Raises Wrong where an answer is none that S3 gives. Both names are "" if not known."""
    status = answer.status
    if status >= 500 and status != _NOT_IMPLEMENTED:
        raise Wrong(f"status {status}: {answer.body[:500]!r}")
    if b"x-amz-request-id" not in answer.headers:
        raise Wrong("the answer has no request id")
    is_document = answer.headers.get(b"content-type") == b"application/xml"
    if is_document and answer.body and operation != "GetObject":
        _parsed(answer.body)
    if status < 400 or method == "HEAD":
        return
    root = _parsed(answer.body)
    code = root.findtext("Code", "")
    if root.tag != "Error" or not root.findtext("RequestId"):
        raise Wrong(f"no error document: {answer.body[:500]!r}")
    if code not in S3_CODES:
        raise Wrong(f"S3 knows no error {code!r}")
    if (status == _NOT_IMPLEMENTED) != (code == "NotImplemented"):
        raise Wrong(f"{code} with status {status}")


def _head(written: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    head, end, rest = written.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    match = _STATUS.fullmatch(first)
    if not end or match is None:
        raise Wrong(f"no head of an answer: {written[:300]!r}")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        if _FIELD.fullmatch(line) is None:
            raise Wrong(f"no header: {line[:300]!r}")
        name, _, value = line.partition(b":")
        if name.lower() in (b"content-length", b"transfer-encoding") and name.lower() in headers:
            raise Wrong(f"{name!r} twice")
        headers[name.lower()] = value.strip()
    return int(match[1]), headers, rest


def _body(
    status: int, headers: dict[bytes, bytes], written: bytes, *, head: bool
) -> tuple[bytes, bytes]:
    if head or status in (204, 304):
        return b"", written
    if headers.get(b"transfer-encoding") == b"chunked":
        return _unchunked(written)
    length = headers.get(b"content-length")
    if length is None:
        if headers.get(b"connection") != b"close":
            raise Wrong("an answer without an end")
        return written, b""
    if len(written) < int(length):
        raise Wrong(f"{len(written)} of {int(length)} bytes of body")
    return written[: int(length)], written[int(length) :]


def _unchunked(written: bytes) -> tuple[bytes, bytes]:
    body = bytearray()
    while True:
        size, end, written = written.partition(b"\r\n")
        if not end:
            raise Wrong("a chunked body breaks off")
        count = int(size, 16)
        body += written[:count]
        if written[count : count + 2] != b"\r\n":
            raise Wrong("a chunk without its end")
        written = written[count + 2 :]
        if not count:
            return bytes(body), written


def _parsed(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body.strip())
    except ElementTree.ParseError as error:
        raise Wrong(f"no XML ({error}): {body[:500]!r}") from None
