"""Uploads from HTML forms: ``multipart/form-data`` as a stream, in bounded memory (RFC 7578).

Frameworks spool form files to a temporary file first, so every byte would be written twice and
a full /tmp would fail the upload. Here a file's bytes go where they belong as they arrive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from storage.control.problems import Problem

#: Longest text field, and most header bytes of one part.
FIELD_BYTES_MAX = 4096
FIELDS_MAX = 32


@dataclass
class _Part:
    """One part of a form. ``filename`` is None for a text field."""

    name: str = ""
    filename: str | None = None
    content_type: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)


class Form:
    """The parts of one request's body, in their order."""

    def __init__(self, content_type: str, stream: AsyncIterator[bytes]) -> None:
        """Raises Problem if the body is no form."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 70:
            raise Problem(
                415, "UnsupportedMediaType", "Send the file as multipart/form-data, as a form does."
            )
        self._stream = stream
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )
        self._events: deque[_Part | bytes | None] = deque()
        self._part = _Part()
        self._name = self._value = b""
        self._parts = 0
        self._complete = False
        #: Text fields that came before the file at hand.
        self.fields: dict[str, str] = {}

    async def files(self) -> AsyncIterator[tuple[str, str, AsyncIterator[bytes]]]:
        """(file name, content type, bytes) of each file; read one before asking for the next."""
        while (part := await self._next()) is not None:
            assert isinstance(part, _Part)
            if part.filename is None:
                self.fields[part.name] = await self._text()
                continue
            if part.filename or part.content_type:
                content = self._content()
                yield part.filename, part.content_type, content
                async for _ in content:
                    pass  # what the caller left unread
            else:
                await self._text()  # a file input that was left empty

    async def _content(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._next(), bytes):
            if not event:
                return
            yield event

    async def _text(self) -> str:
        text = bytearray()
        async for data in self._content():
            text += data
            if len(text) > FIELD_BYTES_MAX:
                raise _malformed(f"a field is longer than {FIELD_BYTES_MAX} bytes")
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise _malformed("a field is not UTF-8") from None

    async def _next(self) -> _Part | bytes | None:
        """The next part, or bytes of the current one (b"" at its end); None after the last."""
        while not self._events:
            if self._complete:
                return None
            data = await anext(self._stream, b"")
            if not data:
                raise _malformed("it ends before its last boundary")
            try:
                self._parser.write(data)
            except FormParserError:
                raise _malformed("its parts are not framed as RFC 7578 says") from None
        return self._events.popleft()

    # -- what the parser calls ----------------------------------------------------------------

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > FIELDS_MAX:
            raise _malformed(f"it has more than {FIELDS_MAX} parts")
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._bound()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bound()

    def _bound(self) -> None:
        if len(self._name) + len(self._value) > FIELD_BYTES_MAX:
            raise _malformed("a header of a part is too long")

    def _header_end(self) -> None:
        self._part.headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        headers = self._part.headers
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        try:
            self._part.name = options.get(b"name", b"").decode()
            filename = options.get(b"filename")
            self._part.filename = None if filename is None else filename.decode()
        except UnicodeDecodeError:
            raise _malformed("a name is not UTF-8") from None
        self._part.content_type = headers.get(b"content-type", b"").decode("latin-1")
        self._events.append(self._part)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if end > start:
            self._events.append(data[start:end])

    def _end(self) -> None:
        self._events.append(b"")

    def _finish(self) -> None:
        self._complete = True


def _malformed(why: str) -> Problem:
    return Problem(400, "MalformedPOSTRequest", f"The form cannot be read: {why}.")
