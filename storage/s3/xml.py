"""XML as S3 speaks it: a hardened reader for what clients send, strings for what we answer.

The reader is expat with document types refused, which leaves no entities to expand, and with
bounds on depth and number of elements. Answers are put together as strings: they are flat and
small, except listings, where one f-string per row is what makes a page cheap.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote
from xml.parsers import expat

from storage.s3.errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
CONTENT_TYPE = (b"content-type", b"application/xml")

#: DeleteObjects with 1,000 versions, and CompleteMultipartUpload of 10,000 parts with checksums,
#: stay below these.
DEPTH_MAX = 16
ELEMENTS_MAX = 200_000


# -- writing --------------------------------------------------------------------------------------

_SPECIAL = re.compile("[&<>\"'\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
#: What XML 1.0 can't carry at all, not even as a character reference (its section 2.2).
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_REPLACEMENTS = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
    "\r": "&#13;",
}
_LOST = "\N{REPLACEMENT CHARACTER}"
_CHANGED_BY_DECODING = re.compile(f"[%+]|{_FORBIDDEN.pattern}")
_UNSAFE_IN_URL = re.compile(r"[^A-Za-z0-9/._~-]")


def escape(text: str) -> str:
    """Text as element content. What XML 1.0 can't carry becomes U+FFFD."""
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda match: _REPLACEMENTS.get(match[0], _LOST), text)


def url_encode(text: str) -> str:
    """Text under ``encoding-type=url``. Spaces become %20, which every client decodes alike."""
    if _UNSAFE_IN_URL.search(text) is None:
        return text
    return quote(text, safe="/")


def url_encode_least(text: str) -> str:
    """Text under ``encoding-type=url`` that means the same whether it is decoded or not.

    Only what a decoder would change, and what XML can't carry, is encoded.
    """
    return escape(_CHANGED_BY_DECODING.sub(lambda match: quote(match[0], safe=""), text))


def encoding(names: list[str], *, url: bool) -> tuple[bool, Callable[[str], str]]:
    """(whether names are URL-encoded, what encodes each of them) for a page of a listing.

    One search over all names finds out that most pages need nothing done. Names that XML can't
    carry are URL-encoded even if nobody asked for it.
    """
    joined = "/".join(names)
    if not url:
        if _SPECIAL.search(joined) is None:
            return False, str
        if _FORBIDDEN.search(joined) is None:
            return False, escape
    return True, str if _UNSAFE_IN_URL.search(joined) is None else url_encode


def document(root: str, content: str) -> bytes:
    """A whole answer: ``content`` inside ``<root>`` with S3's namespace."""
    return f'{DECLARATION}<{root} xmlns="{NAMESPACE}">{content}</{root}>'.encode()


def element(name: str, text: str) -> str:
    """One element with escaped text."""
    return f"<{name}>{escape(text)}</{name}>"


def error_document(
    code: str, message: str, fields: dict[str, str], resource: str, request_id: str, host_id: str
) -> bytes:
    """An error's body. (S3 gives ``<Error>`` no namespace.)"""
    extra = "".join(element(name, text) for name, text in fields.items())
    return (
        f"{DECLARATION}<Error><Code>{code}</Code><Message>{escape(message)}</Message>{extra}"
        f"<Resource>{escape(resource)}</Resource><RequestId>{request_id}</RequestId>"
        f"<HostId>{host_id}</HostId></Error>"
    ).encode()


# -- reading --------------------------------------------------------------------------------------


_NO_ATTRIBUTES: dict[str, str] = {}


class Node:
    """An element of a request: local name, attributes, text, children.

    Names of attributes of a namespace are its URI and the local name, with a space between.
    """

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str] = _NO_ATTRIBUTES) -> None:
        self.name = name
        self.attributes = attributes
        self.text = ""
        self.children: list[Node] = []


class _Refused(Exception):
    """Stops expat at something that no request of S3 holds."""


class _Builder:
    """Collects expat's events into nodes."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Node] = []
        self._count = 0
        self.disguised = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= DEPTH_MAX or self._count > ELEMENTS_MAX:
            raise _Refused
        node = Node(name.rpartition(" ")[2], attributes or _NO_ATTRIBUTES)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def end(self, _name: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        self._open[-1].text += data.translate(_REVEAL) if self.disguised else data

    def refuse(self, *_arguments: object) -> int:
        raise _Refused


# XML 1.0 can't carry control characters, yet keys hold them and SDKs send them as they are, or as
# the references of XML 1.1. They pass through expat disguised as private-use characters.
_DISGUISE = 0x10FF00
_DISGUISED = re.compile(rb"\xf4\x8f[\xbc\xbd]")
_UNREADABLE = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]"
    rb"|&#(?:([0-9]{1,7})|x([0-9a-fA-F]{1,6}));"
    rb"|<!\[CDATA\["
)
_REVEAL = {_DISGUISE + code: code for code in range(32)} | {
    _DISGUISE + 0x7E: 0xFFFE,
    _DISGUISE + 0x7F: 0xFFFF,
}
_DISGUISES = {code: chr(disguise).encode() for disguise, code in _REVEAL.items()}


def _disguise(match: re.Match[bytes]) -> bytes:
    if match[0] == b"<![CDATA[":
        raise _Refused  # what looks like a reference in there is none: no client of S3 sends it
    decimal, hexadecimal = match.groups()
    if decimal or hexadecimal:
        code = int(decimal) if decimal else int(hexadecimal, 16)
        if code in (0x9, 0xA, 0xD):
            return match[0]
    else:
        code = ord(match[0].decode())
    return _DISGUISES.get(code, match[0])


def parse(body: bytes, root: str) -> Node:
    """The root element of ``body``, whose local name must be ``root``. Raises MalformedXML."""
    builder = _Builder()
    if _UNREADABLE.search(body) is not None:
        if _DISGUISED.search(body) is not None or body[:2] in (b"\xfe\xff", b"\xff\xfe"):
            raise S3Error("MalformedXML")
        try:
            body = _UNREADABLE.sub(_disguise, body)
        except _Refused:
            raise S3Error("MalformedXML") from None
        builder.disguised = True
    # The disguise is UTF-8, whatever encoding the document says it has.
    encoding = "UTF-8" if builder.disguised else None
    parser = expat.ParserCreate(encoding, namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.ProcessingInstructionHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    parser.ExternalEntityRefHandler = builder.refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, _Refused, ValueError, LookupError):
        raise S3Error("MalformedXML") from None
    if builder.root is None or builder.root.name != root:
        raise S3Error("MalformedXML")
    return builder.root


def fields(node: Node, allowed: frozenset[str], required: tuple[str, ...] = ()) -> dict[str, str]:
    """The leaf children of ``node`` by name, each at most once. Raises MalformedXML."""
    found: dict[str, str] = {}
    for child in node.children:
        if child.name not in allowed or child.name in found or child.children:
            raise S3Error("MalformedXML")
        found[child.name] = child.text
    for name in required:
        if name not in found:
            raise S3Error("MalformedXML")
    return found
