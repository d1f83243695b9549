"""Documents that S3's operations take: sound ones at random, and every way to get one wrong.

A document is a tree of elements. What may be in it stands in ``KINDS``, after the schema of the
Amazon S3 API Reference: the elements of which there may be several, those that must be there.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import hypothesis.strategies as st

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"


class Element(NamedTuple):
    """An element: a text, or elements. ``kind`` is its xsi:type, "" for none."""

    name: str
    content: str | tuple[Element, ...]
    kind: str = ""

    @property
    def children(self) -> tuple[Element, ...]:
        return () if isinstance(self.content, str) else self.content

    def render(self, namespace: str = f' xmlns="{NAMESPACE}"') -> str:
        inner = escape(self.content, {"\r": "&#13;"}) if isinstance(self.content, str) else ""
        inner += "".join(child.render("") for child in self.children)
        kind = f' xmlns:xsi="{_XSI}" xsi:type="{self.kind}"' if self.kind else ""
        return f"<{self.name}{namespace}{kind}>{inner}</{self.name}>"


def read(document: bytes) -> Element:
    """The tree of a document that the store wrote."""
    return _tree(ElementTree.fromstring(document))


def _tree(node: ElementTree.Element) -> Element:
    inner = tuple(map(_tree, node)) or (node.text or "")
    return Element(node.tag.rpartition("}")[2], inner, node.get(f"{{{_XSI}}}type", ""))


@dataclass(frozen=True)
class Kind:
    """What documents of an operation look like.

    ``path`` and ``query`` say where they are put. ``several``: elements of which there may be more
    than one. ``needed``: by the name of an element, the children that it must have. ``numbers`` and
    ``words``: leaves that hold no free text. ``meaning`` makes documents that mean the same equal;
    without one the document can't be read back.
    """

    operation: str
    method: str
    path: str
    query: str
    sound: st.SearchStrategy[Element]
    several: frozenset[str] = frozenset()
    needed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()
    meaning: Callable[[Element], Any] | None = None
    malformed: str = "MalformedXML"


# -- texts ----------------------------------------------------------------------------------------

#: Whatever XML can carry.
_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), include_characters="\t\n\r",
                  exclude_characters="\ufffe\uffff"),
    min_size=1, max_size=40,
)  # fmt: skip
_KEY = st.text(st.sampled_from("abcXYZ019/._-é \N{PILE OF POO}&<>'\""), min_size=1, max_size=30)
_TAG = st.text(st.sampled_from("abcXYZ019 +-=._:/@é漢"), min_size=1, max_size=30).filter(
    lambda text: not text.startswith("aws:")
)
_NUMBER = st.integers(1, 999_999_999).map(str)
_TRUTH = st.sampled_from(("true", "false", "TRUE", "False"))
_DATE = st.dates(datetime.date(2020, 1, 1), datetime.date(2090, 1, 1)).map(
    lambda day: f"{day}T00:00:00Z"
)


def _leaf(name: str, text: st.SearchStrategy[str]) -> st.SearchStrategy[Element]:
    return text.map(lambda content: Element(name, content))


def _node(name: str, *parts: st.SearchStrategy[Any], kind: str = "") -> st.SearchStrategy[Element]:
    """An element of ``parts``, each an element, None for none, or a list of elements."""

    def made(found: tuple[Any, ...]) -> Element:
        inner: list[Element] = []
        for part in found:
            inner += [part] if isinstance(part, Element) else part or ()
        return Element(name, tuple(inner), kind)

    return st.tuples(*parts).map(made)


def _maybe(part: st.SearchStrategy[Element]) -> st.SearchStrategy[Element | None]:
    return st.none() | part


def _some(
    part: st.SearchStrategy[Element], least: int = 0, most: int = 4
) -> st.SearchStrategy[list[Element]]:
    return st.lists(part, min_size=least, max_size=most)


# -- documents ------------------------------------------------------------------------------------

_CORS = _node(
    "CORSConfiguration",
    _some(
        _node(
            "CORSRule",
            _maybe(_leaf("ID", _TEXT)),
            _some(_leaf("AllowedOrigin", _TEXT.filter(lambda text: text.count("*") < 2)), 1),
            _some(_leaf("AllowedMethod", st.sampled_from(("GET", "PUT", "HEAD", "POST"))), 1),
            _some(_leaf("AllowedHeader", st.sampled_from(("*", "x-amz-*", "Content-Type")))),
            _some(_leaf("ExposeHeader", st.sampled_from(("ETag", "x-amz-version-id")))),
            _maybe(_leaf("MaxAgeSeconds", st.integers(0, 2**31 - 1).map(str))),
        ),
        1,
    ),
)


def _tags(name: str) -> st.SearchStrategy[Element]:
    tag = _node("Tag", _leaf("Key", _TAG), _leaf("Value", _TAG | st.just("")))
    unique = st.lists(tag, min_size=1, max_size=5, unique_by=lambda tag: tag.children[0].content)
    return _node(name, unique)


_TAGGING = _node("Tagging", _tags("TagSet"))

_RULE_ACTIONS = (
    st.one_of(
        _node("Expiration", _leaf("Days", _NUMBER)),
        _node("Expiration", _leaf("Date", _DATE)),
        _node("Expiration", _leaf("ExpiredObjectDeleteMarker", _TRUTH)),
    ),
    _node(
        "NoncurrentVersionExpiration",
        _leaf("NoncurrentDays", _NUMBER),
        _maybe(_leaf("NewerNoncurrentVersions", st.integers(1, 100).map(str))),
    ),
    _node("AbortIncompleteMultipartUpload", _leaf("DaysAfterInitiation", _NUMBER)),
)
_LIFECYCLE = _node(
    "LifecycleConfiguration",
    st.lists(
        _node(
            "Rule",
            _leaf("ID", _TEXT),
            _leaf("Prefix", _KEY | st.just("")) | _node("Filter", _maybe(_leaf("Prefix", _KEY))),
            _leaf("Status", st.sampled_from(("Enabled", "Disabled"))),
            st.one_of(*_RULE_ACTIONS) | st.tuples(*_RULE_ACTIONS).map(list),
        ),
        min_size=1, max_size=4, unique_by=lambda rule: rule.children[0].content,
    ),
)  # fmt: skip

_VERSIONING = _node(
    "VersioningConfiguration",
    _leaf("Status", st.sampled_from(("Enabled", "Suspended"))),
    _maybe(_leaf("MfaDelete", st.just("Disabled"))),
)
_OWNERSHIP = _node(
    "OwnershipControls",
    _node(
        "Rule",
        _leaf(
            "ObjectOwnership",
            st.sampled_from(("BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced")),
        ),
    ),
)
_SWITCHES = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_BLOCK = _node(
    "PublicAccessBlockConfiguration", *(_maybe(_leaf(name, _TRUTH)) for name in _SWITCHES)
)

_GROUPS = tuple(
    f"http://acs.amazonaws.com/groups/{name}"
    for name in ("global/AllUsers", "global/AuthenticatedUsers", "s3/LogDelivery")
)
_PERMISSIONS = ("FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP")


def _acl(owner: str, other: str) -> st.SearchStrategy[Element]:
    grantee = st.one_of(
        _node("Grantee", _leaf("ID", st.sampled_from((owner, other))), kind="CanonicalUser"),
        _node("Grantee", _leaf("URI", st.sampled_from(_GROUPS)), kind="Group"),
    )
    grant = _node("Grant", grantee, _leaf("Permission", st.sampled_from(_PERMISSIONS)))
    named = _node("Owner", _leaf("ID", st.just(owner)), _maybe(_leaf("DisplayName", _TEXT)))
    return _node("AccessControlPolicy", named, _node("AccessControlList", _some(grant, 0, 5)))


_DELETE = _node(
    "Delete",
    _some(
        _node(
            "Object",
            _leaf("Key", _KEY),
            _maybe(_leaf("VersionId", st.just("null"))),
            _maybe(_leaf("ETag", st.just('"d41d8cd98f00b204e9800998ecf8427e"'))),
            _maybe(_leaf("LastModifiedTime", st.just("Sun, 22 Nov 2026 10:00:00 GMT"))),
            _maybe(_leaf("Size", _NUMBER)),
        ),
        1,
    ),
    _maybe(_leaf("Quiet", _TRUTH)),
)
_CREATE = _node(
    "CreateBucketConfiguration",
    _leaf("LocationConstraint", st.sampled_from(("us-east-1", "eu-west-1"))),
    _maybe(_tags("Tags")),
)
_PARTS = _node(
    "CompleteMultipartUpload",
    st.just(Element("Part", (Element("PartNumber", "1"), Element("ETag", '"ETAG"')))),
)


# -- what they mean -------------------------------------------------------------------------------


def _sorted(node: Element) -> Any:
    """Children by name; those of one name in their order."""
    if not node.children:
        return node.name, node.content or ""
    inner = sorted(node.children, key=lambda child: child.name)
    return node.name, node.kind, [_sorted(child) for child in inner]


def _without(*names: str) -> Callable[[Element], Any]:
    """Without leaves that say nothing."""

    def stripped(node: Element) -> Element:
        if not node.children:
            return node
        inner = tuple(stripped(child) for child in node.children if child.name not in names)
        return node._replace(content=inner)

    return lambda node: _sorted(stripped(node))


def _rules(node: Element) -> Any:
    """Rules of a lifecycle; times have milliseconds when they are read, and truth small letters."""

    def written(node: Element) -> Element:
        if node.name == "ExpiredObjectDeleteMarker":
            return node._replace(content=str(node.content).lower())
        if node.name == "Date":
            return node._replace(content=str(node.content).replace(".000Z", "Z"))
        return node._replace(content=tuple(map(written, node.children)) or node.content)

    return _sorted(written(node))


def _switches(node: Element) -> dict[str, str]:
    off = dict.fromkeys(_SWITCHES, "false")
    return off | {child.name: str(child.content).lower() for child in node.children}


def _grants(node: Element) -> tuple[Any, set[Any]]:
    """The owner's id, and who may do what."""
    owner, grants = node.children
    told = set()
    for grant in grants.children:
        grantee, permission = grant.children
        told.add((grantee.kind, grantee.children[0].content, permission.content))
    return owner.children[0].content, told


# -- the table ------------------------------------------------------------------------------------


def kinds(owner: str, other: str) -> list[Kind]:
    """All documents in XML. ``owner`` and ``other`` are ids of users, the first one's the asker."""
    tagged: dict[str, tuple[str, ...]] = {"Tagging": ("TagSet",), "Tag": ("Key", "Value")}
    granted: dict[str, tuple[str, ...]] = {
        "AccessControlPolicy": ("Owner", "AccessControlList"), "Owner": ("ID",),
        "Grant": ("Grantee", "Permission"), "Grantee": ("ID", "URI"),
    }  # fmt: skip
    several = frozenset(("Tag", "Grant", "Rule", "Object", "Part", "CORSRule"))
    closed = frozenset(("Permission", "URI", "Status", "MfaDelete", "ObjectOwnership", *_SWITCHES))
    return [
        Kind("PutBucketCors", "PUT", "/bucket", "cors", _CORS,
             several | {"AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader"},
             {"CORSConfiguration": ("CORSRule",), "CORSRule": ("AllowedOrigin", "AllowedMethod")},
             frozenset(("AllowedMethod", "MaxAgeSeconds")), _sorted),
        Kind("PutBucketTagging", "PUT", "/bucket", "tagging", _TAGGING, several, tagged,
             meaning=_sorted),
        Kind("PutObjectTagging", "PUT", "/bucket/k", "tagging", _TAGGING, several, tagged,
             meaning=_sorted),
        Kind("PutBucketLifecycleConfiguration", "PUT", "/bucket", "lifecycle", _LIFECYCLE, several,
             {"LifecycleConfiguration": ("Rule",), "Rule": ("Status",),
              "NoncurrentVersionExpiration": ("NoncurrentDays",),
              "AbortIncompleteMultipartUpload": ("DaysAfterInitiation",)},
             frozenset(("Status", "Days", "Date", "ExpiredObjectDeleteMarker", "NoncurrentDays",
                        "NewerNoncurrentVersions", "DaysAfterInitiation")),
             _rules),
        Kind("PutBucketVersioning", "PUT", "/bucket", "versioning", _VERSIONING, several, {},
             closed, _without("MfaDelete")),
        Kind("PutBucketOwnershipControls", "PUT", "/bucket", "ownershipControls", _OWNERSHIP,
             frozenset(), {"OwnershipControls": ("Rule",), "Rule": ("ObjectOwnership",)}, closed,
             _sorted),
        Kind("PutPublicAccessBlock", "PUT", "/bucket", "publicAccessBlock", _BLOCK, several, {},
             closed, _switches),
        Kind("PutBucketAcl", "PUT", "/bucket", "acl", _acl(owner, other), several, granted,
             closed, _grants, "MalformedACLError"),
        Kind("PutObjectAcl", "PUT", "/bucket/k", "acl", _acl(owner, other), several, granted,
             closed, _grants, "MalformedACLError"),
        Kind("DeleteObjects", "POST", "/bucket", "delete", _DELETE, several,
             {"Delete": ("Object",), "Object": ("Key",)},
             frozenset(("LastModifiedTime", "Quiet", "Size"))),
        Kind("CreateBucket", "PUT", "/new-bucket", "", _CREATE, several, {"Tag": ("Key", "Value")}),
        Kind("CompleteMultipartUpload", "POST", "/bucket/m", "uploadId=UPLOAD", _PARTS, several,
             {"CompleteMultipartUpload": ("Part",), "Part": ("PartNumber", "ETag")},
             frozenset(("PartNumber",))),
    ]  # fmt: skip


# -- getting them wrong ---------------------------------------------------------------------------


class Wrong(NamedTuple):
    """A document with one mistake, and the name of the element that is to blame for it."""

    mistake: str
    document: str
    element: str


def wrong(kind: Kind, document: Element) -> Iterator[Wrong]:
    """``document`` with each mistake that can be made in each of its elements."""
    yield Wrong("root", document._replace(name="Surprise").render(), "Surprise")
    for place, node in _walk(document):
        yield from _wrong_here(kind, document, place, node)


def _wrong_here(
    kind: Kind, document: Element, place: tuple[int, ...], node: Element
) -> Iterator[Wrong]:
    def changed(mistake: str, new: tuple[Element, ...], element: str) -> Wrong:
        return Wrong(mistake, _replaced(document, place, new).render(), element)

    surprise = Element("Surprise", "")
    if isinstance(node.content, str):
        yield changed("element in a text", (node._replace(content=(surprise,)),), node.name)
        if node.name in kind.closed:
            yield changed("odd text", (node._replace(content="surprise"),), node.name)
            yield changed("no text", (node._replace(content=""),), node.name)
    else:
        inner = node.content
        yield changed("unknown", (node._replace(content=(*inner, surprise)),), "Surprise")
        yield changed("text alone", (node._replace(content="surprise"),), node.name)
        for child in inner:
            if child.name in kind.needed.get(node.name, ()):
                left = tuple(other for other in inner if other.name != child.name)
                yield changed("missing", (node._replace(content=left),), child.name)
    if place:
        yield changed("renamed", (node._replace(name=f"x{node.name}"),), f"x{node.name}")
        if node.name not in kind.several:
            yield changed("repeated", (node, node), node.name)
    text = document.render()
    opened = f"<{node.name}>"
    if opened in text:
        foreign = f'<{node.name} xmlns="urn:foreign">'
        yield Wrong("foreign", text.replace(opened, foreign, 1), node.name)
        with_attribute = f'<{node.name} surprise="1">'
        yield Wrong("attribute", text.replace(opened, with_attribute, 1), node.name)
        if node.children:
            yield Wrong("stray text", text.replace(opened, f"{opened}surprise", 1), node.name)


def _walk(node: Element, place: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Element]]:
    yield place, node
    for number, child in enumerate(node.children):
        yield from _walk(child, (*place, number))


def _replaced(node: Element, place: tuple[int, ...], new: tuple[Element, ...]) -> Element:
    """``node`` with ``new`` where ``place`` leads to; of the root the first of ``new``."""
    if not place:
        return new[0]
    first, *rest = place
    inner = node.children
    middle = new if not rest else (_replaced(inner[first], tuple(rest), new),)
    return node._replace(content=(*inner[:first], *middle, *inner[first + 1 :]))


# -- policies -------------------------------------------------------------------------------------

_ARN = "arn:aws:s3:::bucket"
POLICIES = st.fixed_dictionaries(
    {
        "Version": st.sampled_from(("2012-10-17", "2008-10-17")),
        "Statement": st.lists(
            st.fixed_dictionaries(
                {
                    "Effect": st.sampled_from(("Allow", "Deny")),
                    "Principal": st.sampled_from(("*", {"AWS": "*"}, {"AWS": ["*"]})),
                    "Action": st.sampled_from(("s3:*", ["s3:Get*", "s3:PutObject"])),
                    "Resource": st.sampled_from((f"{_ARN}/*", [_ARN, f"{_ARN}/dir/*"])),
                },
                optional={
                    "Sid": st.text(st.sampled_from("abcXYZ019"), min_size=1, max_size=10),
                    "Condition": st.sampled_from(
                        (
                            {"StringLike": {"aws:Referer": ["a", "b*"]}},
                            {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
                            {"Bool": {"aws:SecureTransport": "false"}},
                        )
                    ),
                },
            ),
            min_size=1, max_size=3,
            unique_by=lambda statement: statement.get("Sid", id(statement)),
        ),
    },
    optional={"Id": st.just("policy")},
)  # fmt: skip
POLICY_TEXTS = st.builds(
    lambda document, indent: json.dumps(document, indent=indent).encode(),
    POLICIES,
    st.sampled_from((None, 1, 4)),
)
