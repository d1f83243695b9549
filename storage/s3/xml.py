"""XML as S3 speaks it: a hardened reader for what clients send, strings for what we answer.

The reader is expat with document types refused, which leaves no entities to expand, and with
bounds on depth and number of elements. Answers are put together as strings: they are flat and
small, except listings, where one f-string per row is what makes a page cheap.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from urllib.parse import quote
from xml.parsers import expat

from storage.s3.errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
#: Whose elements a request may hold: S3's namespace in the spellings of its documentation and of
#: clients, or none at all. An element of another namespace is none of S3's.
_NAMESPACES = frozenset(
    (
        "",
        *(
            f"{scheme}://{place}/2006-03-01{end}"
            for scheme in ("http", "https")
            for place in ("s3.amazonaws.com/doc", "doc.s3.amazonaws.com")
            for end in ("", "/")
        ),
    )
)
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
#: Characters of an element's name that an error repeats.
_NAME_SHOWN = 100


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
    """Stops expat at something that no request of S3 holds. ``element``: its name, or ""."""

    def __init__(self, element: str = "") -> None:
        self.element = element
        super().__init__(element)


class _Builder:
    """Collects expat's events into nodes, as far as elements of any S3 document may look."""

    def __init__(self, *, control_characters: bool) -> None:
        self.root: Node | None = None
        self._control_characters = control_characters
        self._open: list[Node] = []
        self._count = 0
        self._names: dict[str, str] = {}
        self.disguised = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= DEPTH_MAX or self._count > ELEMENTS_MAX:
            raise _Refused
        local = self._names.get(name) or self._known(name)
        if attributes:
            self._check(attributes, local)
            node = Node(local, attributes)
        else:
            node = Node(local)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def end(self, _name: str) -> None:
        node = self._open.pop()
        if node.children and node.text:
            if node.text.strip():
                raise _Refused(node.name)  # text between elements: nobody would ever read it
            node.text = ""

    def _known(self, name: str) -> str:
        """The local name of an element that S3 may know, remembered."""
        namespace, _, local = name.rpartition(" ")
        if namespace not in _NAMESPACES:
            raise _Refused(local)
        self._names[name] = local
        return local

    @staticmethod
    def _check(attributes: dict[str, str], element: str) -> None:
        """S3's documents have no attributes but those of XML Schema's and XML's own."""
        if any(" " not in name for name in attributes):
            raise _Refused(element)

    def text(self, data: str) -> None:
        if self.disguised:
            revealed = data.translate(_REVEAL)
            if revealed != data and not self._control_characters:
                raise _Refused(self._open[-1].name)
            data = revealed
        self._open[-1].text += data

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise _Refused

    def refuse(self, *_arguments: object) -> int:
        raise _Refused


#: What a document may say it is encoded in: S3 reads UTF-8.
_ENCODINGS = ("utf-8", "utf8", "us-ascii")

# XML 1.0 can't carry control characters, yet keys hold them and SDKs send them as they are, or as
# the references of XML 1.1. They pass through expat disguised as private-use characters.
_DISGUISE = 0x10FF00
_DISGUISED = re.compile(rb"\xf4\x8f[\xbc\xbd]")
_UNREADABLE = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]"
    rb"|&#(?:([0-9]{1,7})|x([0-9a-fA-F]{1,6}));"
)
_REVEAL = {_DISGUISE + code: code for code in range(32)} | {
    _DISGUISE + 0x7E: 0xFFFE,
    _DISGUISE + 0x7F: 0xFFFF,
}
_DISGUISES = {code: chr(disguise).encode() for disguise, code in _REVEAL.items()}


def _in_disguise(body: bytes) -> bytes:
    """``body`` with what XML 1.0 can't carry in disguise.

    Raises _Refused where that can't be told apart from what stands there: what looks like a
    reference in a CDATA section is none.
    """
    disguised = _UNREADABLE.sub(_disguise, body)
    if disguised != body and (b"<![CDATA[" in body or _DISGUISED.search(body) is not None):
        raise _Refused
    return disguised


def _disguise(match: re.Match[bytes]) -> bytes:
    decimal, hexadecimal = match.groups()
    if decimal or hexadecimal:
        code = int(decimal) if decimal else int(hexadecimal, 16)
        if code in (0x9, 0xA, 0xD):
            return match[0]
        if code in _REVEAL:
            raise _Refused
    else:
        code = ord(match[0].decode())
    return _DISGUISES.get(code, match[0])


def parse(body: bytes, root: str, *, control_characters: bool = False) -> Node:
    """The root element of ``body``, whose local name must be ``root``.

    ``control_characters``: take those that XML 1.0 can't carry, which only names of keys hold; a
    document with them could not be read back.
    Raises MalformedXML, naming the element where one is to blame, and MissingRequestBodyError.
    """
    if not body:
        raise S3Error("MissingRequestBodyError")
    builder = _Builder(control_characters=control_characters)
    try:
        _read(builder, body)
    except _Refused as refused:
        raise malformed(refused.element) from None
    except (expat.ExpatError, ValueError, LookupError):
        raise S3Error("MalformedXML") from None
    if builder.root is None or builder.root.name != root:
        raise malformed(builder.root.name if builder.root is not None else root)
    return builder.root


def _read(builder: _Builder, body: bytes) -> None:
    """Raises _Refused, and what expat raises."""
    if _UNREADABLE.search(body) is not None:
        if body[:2] in (b"\xfe\xff", b"\xff\xfe"):
            raise _Refused
        disguised = _in_disguise(body)
        builder.disguised = disguised != body
        body = disguised
    # The disguise is UTF-8, whatever encoding the document says it has.
    encoding = "UTF-8" if builder.disguised else None
    parser = expat.ParserCreate(encoding, namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.XmlDeclHandler = builder.declaration
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.ProcessingInstructionHandler = builder.refuse
    parser.EntityDeclHandler = builder.refuse
    parser.ExternalEntityRefHandler = builder.refuse
    parser.Parse(body, True)


def malformed(element: str = "") -> S3Error:
    """MalformedXML that names the element to blame, "" for none."""
    if not element:
        return S3Error("MalformedXML")
    return S3Error("MalformedXML", Element=element[:_NAME_SHOWN])


def fields(node: Node, allowed: Container[str], required: tuple[str, ...] = ()) -> dict[str, str]:
    """The leaf children of ``node`` by name, each at most once. Raises MalformedXML."""
    found: dict[str, str] = {}
    for child in children(node):
        if child.name not in allowed or child.name in found or child.children:
            raise malformed(child.name)
        found[child.name] = child.text
    for name in required:
        if name not in found:
            raise malformed(name)
    return found


def parts(node: Node, allowed: Container[str]) -> dict[str, Node]:
    """The children of ``node`` by name, each known and at most once. Raises MalformedXML."""
    found: dict[str, Node] = {}
    for child in children(node):
        if child.name not in allowed or child.name in found:
            raise malformed(child.name)
        found[child.name] = child
    return found


def items(node: Node, name: str) -> list[Node]:
    """The children of a list, which are all of one name. Raises MalformedXML."""
    for child in children(node):
        if child.name != name:
            raise malformed(child.name)
    return node.children


def only(node: Node, name: str) -> Node:
    """The one child of ``node``, of this name. Raises MalformedXML."""
    found = items(node, name)
    if len(found) != 1:
        raise malformed(name)
    return found[0]


def children(node: Node) -> list[Node]:
    """The children of an element that holds no text of its own. Raises MalformedXML."""
    if not node.children and node.text and node.text.strip():
        raise malformed(node.name)
    return node.children


def truth(node: Node) -> bool:
    """A boolean of S3's documents, in either case. Raises MalformedXML."""
    value = leaf(node).strip().lower()
    if value not in ("true", "false"):
        raise malformed(node.name)
    return value == "true"


def leaf(node: Node) -> str:
    """The text of an element that holds nothing else. Raises MalformedXML."""
    if node.children:
        raise malformed(node.name)
    return node.text
