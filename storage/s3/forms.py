"""multipart/form-data as browsers and SDKs send it, parsed while it arrives.

::

    body      = [preamble] delimiter *(part delimiter) close [epilogue]
    delimiter = CRLF "--" boundary CRLF        (the first CRLF of a body may be missing)
    close     = CRLF "--" boundary "--"
    part      = 1*(name ":" value CRLF) CRLF content

What is not of this shape is refused; nothing is guessed. Everything but the content of the part
``file`` counts against one bound, so that memory is bounded by it and by the pieces fed.

Sources: RFC 7578 (form data), RFC 2046, section 5.1 (multipart), the HTML Standard's "Multipart
form data" (how browsers escape names), "POST Object" in the Amazon S3 API Reference.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from storage.s3.errors import S3Error

#: Bytes of a form beside its file (S3: 20 KB).
FORM_BYTES_MAX = 20 * 1024
#: Bytes of one part's headers.
HEADERS_BYTES_MAX = 4 * 1024

_TOKEN = rb"[A-Za-z0-9!#$%&'*+\-.^_`|~]+"
_PARAMETER = re.compile(rb";[ \t]*(" + _TOKEN + rb')=("(?:[^"\\]|\\.)*"|' + _TOKEN + rb")[ \t]*")
_BOUNDARY = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,68}[\x21-\x7e])?").fullmatch
_FORM_DATA = re.compile(rb"multipart/form-data[ \t]*", re.IGNORECASE).match
_DISPOSITION = re.compile(rb"form-data[ \t]*", re.IGNORECASE).match
is_token = re.compile(_TOKEN).fullmatch
#: Encodings that change nothing (RFC 7578, section 4.7, has no other).
_PLAIN_ENCODINGS = frozenset((b"7bit", b"8bit", b"binary"))

_PREAMBLE, _HEADERS, _CONTENT, _EPILOGUE = range(4)


def malformed() -> S3Error:
    """The refusal of a body that is no form."""
    return S3Error("MalformedPOSTRequest")


def boundary_of(content_type: bytes) -> bytes:
    """The boundary that a Content-Type names.

    Raises PreconditionFailed where it is not multipart/form-data (as S3 does), and
    MalformedPOSTRequest.
    """
    match = _FORM_DATA(content_type)
    if match is None:
        raise S3Error(
            "PreconditionFailed",
            Condition="Bucket POST must be of the enclosure-type multipart/form-data",
        )
    boundary = _parameters(content_type, match.end()).get(b"boundary", b"")
    if _BOUNDARY(boundary) is None:
        raise malformed()
    return boundary


class Part:
    """The head of one part.

    ``filename`` is as sent, None where the part has none. ``start`` is where its content begins,
    in bytes from the beginning of the body.
    """

    __slots__ = ("filename", "is_file", "name", "start")

    def __init__(self, name: str, filename: bytes | None, start: int = 0) -> None:
        self.name = name
        self.filename = filename
        self.start = start
        self.is_file = name.lower() == "file"


class FormParser:
    """Takes a body apart, in pieces of any size."""

    __slots__ = ("_delimiter", "_held", "_offset", "_part", "_rest", "_state")

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._state = _PREAMBLE
        self._rest = b"\r\n"  # as if a line ended before the first boundary
        self._offset = -len(self._rest)
        self._part: Part | None = None
        self._held = 0

    def feed(self, data: bytes) -> list[Part | memoryview]:
        """The heads of parts, and behind each its content, as far as ``data`` has them.

        Raises MalformedPOSTRequest and MaxPostPreDataLengthExceededError.
        """
        buffer = self._rest + data if self._rest else data
        view = memoryview(buffer)
        found: list[Part | memoryview] = []
        position = 0
        while True:
            if self._state == _HEADERS:
                end = buffer.find(b"\r\n\r\n", position, position + HEADERS_BYTES_MAX)
                if end < 0:
                    if len(buffer) - position >= HEADERS_BYTES_MAX:
                        raise malformed()
                    break
                self._part = _read_head(buffer[position:end], self._offset + end + 4)
                found.append(self._part)
                self._hold(end + 4 - position)
                position = end + 4
                self._state = _CONTENT
            elif self._state == _EPILOGUE:
                self._hold(len(buffer) - position)
                position = len(buffer)
                break
            else:
                end, after, complete = self._find_delimiter(buffer, position)
                self._take(view[position:end], found)
                position = after
                if not complete:
                    break
        self._rest = buffer[position:]
        self._offset += position
        return found

    def finish(self) -> None:
        """The body has ended. Raises MalformedPOSTRequest unless the form was closed."""
        if self._state != _EPILOGUE:
            raise malformed()

    def _find_delimiter(self, buffer: bytes, position: int) -> tuple[int, int, bool]:
        """(end of content, where to go on, whether there is more to do in ``buffer``)."""
        delimiter = self._delimiter
        at = buffer.find(delimiter, position)
        if at < 0:
            # What may turn out to be a delimiter waits for more.
            at = buffer.rfind(b"\r", max(position, len(buffer) - len(delimiter) + 1))
            if at < 0 or not delimiter.startswith(buffer[at:]):
                at = len(buffer)
            return at, at, False
        behind = at + len(delimiter)
        mark = buffer[behind : behind + 2]
        if mark == b"\r\n":
            self._state = _HEADERS
        elif mark == b"--":
            self._state = _EPILOGUE
        elif len(mark) == 2:
            return behind, behind, True  # a longer line: content that looks like one
        else:
            return at, at, False
        self._hold(len(delimiter) + 2)
        return at, behind + 2, True

    def _take(self, content: memoryview, found: list[Part | memoryview]) -> None:
        if not content:
            return
        part = self._part
        if part is None or not part.is_file:
            self._hold(len(content))
        if part is not None:
            found.append(content)

    def _hold(self, count: int) -> None:
        """Count bytes beside the file."""
        self._held += count
        if self._held > FORM_BYTES_MAX:
            raise S3Error("MaxPostPreDataLengthExceededError")


def _read_head(block: bytes, start: int) -> Part:
    """The head of a part whose content begins at ``start``. Raises MalformedPOSTRequest."""
    lines: dict[bytes, bytes] = {}
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or is_token(name) is None or name in lines or b"\r" in line or b"\n" in line:
            raise malformed()
        lines[name] = value.strip(b" \t")
    disposition = lines.get(b"content-disposition", b"")
    match = _DISPOSITION(disposition)
    encoding = lines.get(b"content-transfer-encoding", b"binary").lower()
    if match is None or encoding not in _PLAIN_ENCODINGS:
        raise malformed()
    parameters = _parameters(disposition, match.end())
    try:
        field = parameters[b"name"].decode()
    except (KeyError, UnicodeDecodeError):
        raise malformed() from None
    if not field:
        raise malformed()
    return Part(field, _filename(parameters), start)


def _filename(parameters: dict[bytes, bytes]) -> bytes | None:
    """``filename*`` (RFC 5987, which some clients use for other than ASCII), else ``filename``."""
    extended = parameters.get(b"filename*")
    if extended is None:
        return parameters.get(b"filename")
    charset, quote, value = extended.partition(b"'")
    _language, second, value = value.partition(b"'")
    if not quote or not second or charset.lower() != b"utf-8":
        raise malformed()
    return unquote_to_bytes(value)


def _parameters(text: bytes, position: int) -> dict[bytes, bytes]:
    """``;name=value`` pairs, the values without quotes. Raises MalformedPOSTRequest.

    A backslash is one, but before a quotation mark: browsers send file names as they are.
    """
    found: dict[bytes, bytes] = {}
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            if not text[position:].strip(b"; \t"):
                break  # nothing behind the last semicolon
            raise malformed()
        name, value = match[1].lower(), match[2]
        if name in found:
            raise malformed()
        found[name] = value[1:-1].replace(b'\\"', b'"') if value[:1] == b'"' else value
        position = match.end()
    return found
