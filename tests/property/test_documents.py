"""Every document that S3's operations take: what is put can be read back, what is wrong is refused.

Nothing is dropped silently: an element that is unknown, repeated, missing or in the wrong place
is refused with its name.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from storage.iam import users
from tests.property import documents
from tests.property.documents import Element, Kind
from tests.unit.s3.speaking import Heard, Speaking

_KINDS = {kind.operation: kind for kind in documents.kinds(users.ROOT_ID, "b" * 64)}
_READ_BACK = [kind.operation for kind in _KINDS.values() if kind.meaning]


class Store:
    """A store with a bucket, an object ``k`` in it, and an upload of one part to ``m``."""

    def __init__(self) -> None:
        self._app = Speaking()
        self._upload = self._etag = ""

    async def prepare(self) -> None:
        for path in ("/bucket", "/bucket/k"):
            assert (await self.ask("PUT", path)).status == 200
        started = (await self.ask("POST", "/bucket/m", "uploads")).body
        found = re.search(rb"<UploadId>(.*)</UploadId>", started)
        assert found is not None
        self._upload = found[1].decode()
        await self.ask("PUT", "/bucket/m", f"partNumber=1&uploadId={self._upload}", b"part")
        listed = await self.ask("GET", "/bucket/m", f"uploadId={self._upload}")
        found = re.search(rb"<ETag>&quot;(.*)&quot;</ETag>", listed.body)
        assert found is not None
        self._etag = found[1].decode()

    async def ask(self, method: str, path: str, query: str = "", body: bytes = b"") -> Heard:
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        lines = {"content-md5": digest}  # DeleteObjects insists on one
        return await self._app(self._app.root, method, path, query, body, lines)

    async def put(self, kind: Kind, document: str) -> Heard:
        body = document.replace("ETAG", self._etag).encode()
        query = kind.query.replace("UPLOAD", self._upload)
        return await self.ask(kind.method, kind.path, query, body)


def play(use: Callable[[Store], Awaitable[Any]]) -> None:
    async def run() -> None:
        store = Store()
        await store.prepare()
        await use(store)

    asyncio.run(run())


# -- what is right --------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", _READ_BACK)
@given(data=st.data())
def test_what_is_put_is_read_back(operation: str, data: st.DataObject) -> None:
    kind = _KINDS[operation]
    document = data.draw(kind.sound)
    meaning = kind.meaning
    assert meaning is not None

    async def use(store: Store) -> None:
        taken = await store.put(kind, document.render())
        assert taken.status < 300, taken.body
        told = await store.ask("GET", kind.path, kind.query)
        assert told.status == 200, told.body
        assert meaning(documents.read(told.body)) == meaning(document)
        again = await store.ask("PUT", kind.path, kind.query, told.body)
        assert again.status < 300, again.body
        assert (await store.ask("GET", kind.path, kind.query)).body == told.body

    play(use)


@given(documents.POLICY_TEXTS)
def test_a_policy_is_read_back_byte_for_byte(policy: bytes) -> None:
    async def use(store: Store) -> None:
        taken = await store.ask("PUT", "/bucket", "policy", policy)
        assert taken.status == 204, taken.body
        assert (await store.ask("GET", "/bucket", "policy")).body == policy

    play(use)


@given(_KINDS["CreateBucket"].sound)
def test_a_bucket_gets_the_region_and_the_tags_that_it_is_made_with(document: Element) -> None:
    region, *tags = document.children

    async def use(store: Store) -> None:
        assert (await store.put(_KINDS["CreateBucket"], document.render())).status == 200
        location = documents.read((await store.ask("GET", "/new-bucket", "location")).body)
        assert location.content == ("" if region.content == "us-east-1" else region.content)
        told = await store.ask("GET", "/new-bucket", "tagging")
        if tags:
            assert documents.read(told.body).children[0].children == tags[0].children
        else:
            assert told.code == "NoSuchTagSet"

    play(use)


@given(_KINDS["DeleteObjects"].sound)
def test_what_is_to_be_deleted_is_answered_for(document: Element) -> None:
    quiet = any(str(node.content).lower() == "true" for node in document.children[-1:])

    async def use(store: Store) -> None:
        told = await store.put(_KINDS["DeleteObjects"], document.render())
        assert told.status == 200, told.body
        asked = [node.children[0].content for node in document.children if node.name == "Object"]
        rows = documents.read(told.body).children
        assert [row.children[0].content for row in rows] == ([] if quiet else asked)

    play(use)


@pytest.mark.parametrize("operation", _KINDS)
@pytest.mark.parametrize(
    "namespace",
    [
        "",
        ' xmlns="http://s3.amazonaws.com/doc/2006-03-01"',
        ' xmlns="http://doc.s3.amazonaws.com/2006-03-01"',
        ' xmlns:s="urn:other"',
    ],
)
def test_a_namespace_may_be_left_out(operation: str, namespace: str) -> None:
    kind = _KINDS[operation]
    document = _example(kind).render(namespace)

    async def use(store: Store) -> None:
        taken = await store.put(kind, document)
        assert taken.status < 300, taken.body

    play(use)


def _example(kind: Kind) -> Element:
    """A document with much in it."""
    return _EXAMPLES[kind.operation]


def _tags(name: str) -> Element:
    pairs = (("a", "b"), ("c", ""))
    return Element(
        name, tuple(Element("Tag", (Element("Key", k), Element("Value", v))) for k, v in pairs)
    )


_GRANTS = Element(
    "AccessControlPolicy",
    (
        Element("Owner", (Element("ID", users.ROOT_ID), Element("DisplayName", "root"))),
        Element(
            "AccessControlList",
            (
                Element(
                    "Grant",
                    (
                        Element("Grantee", (Element("ID", "b" * 64),), "CanonicalUser"),
                        Element("Permission", "READ"),
                    ),
                ),
                Element(
                    "Grant",
                    (
                        Element(
                            "Grantee",
                            (Element("URI", "http://acs.amazonaws.com/groups/global/AllUsers"),),
                            "Group",
                        ),
                        Element("Permission", "READ_ACP"),
                    ),
                ),
            ),
        ),
    ),
)
_EXAMPLES = {
    "PutBucketCors": Element(
        "CORSConfiguration",
        (
            Element(
                "CORSRule",
                (
                    Element("ID", "a"), Element("AllowedOrigin", "*"),
                    Element("AllowedMethod", "GET"), Element("AllowedHeader", "*"),
                    Element("ExposeHeader", "ETag"), Element("MaxAgeSeconds", "5"),
                ),
            ),
        ),
    ),
    "PutBucketTagging": Element("Tagging", (_tags("TagSet"),)),
    "PutObjectTagging": Element("Tagging", (_tags("TagSet"),)),
    "PutBucketLifecycleConfiguration": Element(
        "LifecycleConfiguration",
        (
            Element(
                "Rule",
                (
                    Element("ID", "a"), Element("Filter", (Element("Prefix", "p/"),)),
                    Element("Status", "Enabled"), Element("Expiration", (Element("Days", "3"),)),
                    Element(
                        "NoncurrentVersionExpiration",
                        (Element("NoncurrentDays", "2"), Element("NewerNoncurrentVersions", "1")),
                    ),
                    Element(
                        "AbortIncompleteMultipartUpload", (Element("DaysAfterInitiation", "1"),)
                    ),
                ),
            ),
            Element(
                "Rule",
                (
                    Element("ID", "b"), Element("Prefix", ""), Element("Status", "Disabled"),
                    Element("Expiration", (Element("Date", "2027-01-01T00:00:00Z"),)),
                ),
            ),
            Element(
                "Rule",
                (
                    Element("ID", "c"), Element("Prefix", ""), Element("Status", "Disabled"),
                    Element("Expiration", (Element("ExpiredObjectDeleteMarker", "true"),)),
                ),
            ),
        ),
    ),
    "PutBucketVersioning": Element(
        "VersioningConfiguration", (Element("Status", "Enabled"), Element("MfaDelete", "Disabled"))
    ),
    "PutBucketOwnershipControls": Element(
        "OwnershipControls", (Element("Rule", (Element("ObjectOwnership", "ObjectWriter"),)),)
    ),
    "PutPublicAccessBlock": Element(
        "PublicAccessBlockConfiguration",
        (
            Element("BlockPublicAcls", "true"), Element("IgnorePublicAcls", "false"),
            Element("BlockPublicPolicy", "true"), Element("RestrictPublicBuckets", "false"),
        ),
    ),
    "PutBucketAcl": _GRANTS,
    "PutObjectAcl": _GRANTS,
    "DeleteObjects": Element(
        "Delete",
        (
            Element(
                "Object",
                (
                    Element("Key", "k"), Element("VersionId", "null"), Element("ETag", '"x"'),
                    Element("LastModifiedTime", "Sun, 22 Nov 2026 10:00:00 GMT"),
                    Element("Size", "1"),
                ),
            ),
            Element("Quiet", "true"),
        ),
    ),
    "CreateBucket": Element(
        "CreateBucketConfiguration", (Element("LocationConstraint", "us-east-1"), _tags("Tags"))
    ),
    "CompleteMultipartUpload": Element(
        "CompleteMultipartUpload",
        (Element("Part", (Element("PartNumber", "1"), Element("ETag", '"ETAG"'))),),
    ),
}  # fmt: skip


# -- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", _KINDS)
def test_each_mistake_is_refused_by_name(operation: str) -> None:
    kind = _KINDS[operation]

    async def use(store: Store) -> None:
        count = 0
        for mistake, document, element in documents.wrong(kind, _example(kind)):
            count += 1
            answer = await store.put(kind, document)
            assert answer.status == 400, (mistake, element, document, answer.body)
            assert answer.code in (kind.malformed, "InvalidArgument", "InvalidRequest",
                                   "IllegalVersioningConfigurationException"), (
                mistake, document, answer.body)  # fmt: skip
            named = f">{element}<".encode().lower()
            assert named in answer.body.lower(), (mistake, document, answer.body)
        assert count > 5

    play(use)


@pytest.mark.parametrize("operation", _KINDS)
@given(data=st.data())
def test_a_mistake_in_any_document_is_refused(operation: str, data: st.DataObject) -> None:
    kind = _KINDS[operation]
    document = data.draw(kind.sound)
    mistakes = list(documents.wrong(kind, document))
    _, text, _ = data.draw(st.sampled_from(mistakes))

    async def use(store: Store) -> None:
        answer = await store.put(kind, text)
        assert answer.status == 400, answer.body
        if kind.meaning:  # and nothing of it is stored
            told = await store.ask("GET", kind.path, kind.query)
            fresh = Store()
            await fresh.prepare()
            assert _said(told) == _said(await fresh.ask("GET", kind.path, kind.query))

    play(use)


def _said(answer: Heard) -> tuple[int, bytes]:
    return answer.status, re.sub(rb"<(RequestId|HostId)>.*?</\1>", b"", answer.body)


@pytest.mark.parametrize("operation", _KINDS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: b"",
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-32"),
        lambda text: b'<?xml version="1.0" encoding="nothing"?>' + text.encode(),
        lambda text: b"<!DOCTYPE a>" + text.encode(),
        lambda text: b'<!DOCTYPE a [<!ENTITY b "c">]>' + text.replace("><", ">&b;<", 1).encode(),
        lambda text: text.encode()[:-1],
        lambda text: text.encode() * 2,
        lambda text: text.encode() + b"surprise",
        lambda text: text.encode().replace(b"><", b">" + b"<a>" * 5000 + b"</a>" * 5000 + b"<", 1),
        lambda text: text.encode().replace(b"></", b">\xff</", 1),
        lambda text: json.dumps({"a": text}).encode(),
    ],
)
def test_what_is_no_document_is_refused(operation: str, spoil: Callable[[str], bytes]) -> None:
    kind = _KINDS[operation]
    body = spoil(_example(kind).render()).decode("latin-1")
    if operation == "CreateBucket" and not body:
        return  # it needs none

    async def use(store: Store) -> None:
        query = kind.query.replace("UPLOAD", store._upload)
        answer = await store.ask(kind.method, kind.path, query, body.encode("latin-1"))
        assert 400 <= answer.status < 500, answer.body
        assert answer.code, answer.body
        if not body:
            assert answer.code == _OF_NOTHING.get(operation, "MissingRequestBodyError")

    play(use)


#: What is answered where the body is empty, and has another code of its own.
_OF_NOTHING = {
    "CompleteMultipartUpload": "MalformedXML",
    "PutBucketAcl": "MissingSecurityHeader",
    "PutObjectAcl": "MissingSecurityHeader",
}


@pytest.mark.parametrize("operation", _KINDS)
@pytest.mark.parametrize(
    "head", ["\ufeff", '<?xml version="1.0" encoding="UTF-8"?>\n', "<!-- c -->", "\n\t "]
)
def test_what_may_stand_before_a_document(operation: str, head: str) -> None:
    kind = _KINDS[operation]
    document = head + _example(kind).render()

    async def use(store: Store) -> None:
        assert (await store.put(kind, document)).status < 300

    play(use)


@pytest.mark.parametrize("change", ["unknown", "repeated", "missing", "odd"])
def test_a_mistake_in_a_policy_is_refused_by_name(change: str) -> None:
    statement: dict[str, Any] = {
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::bucket/*",
    }  # fmt: skip

    async def use(store: Store) -> None:
        for name in statement:
            text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            if change == "unknown":
                text = text.replace(f'"{name}"', f'"Surprise": 1, "{name}"')
            elif change == "repeated":
                text = text.replace(f'"{name}"', f'"{name}": "x", "{name}"')
            elif change == "missing":
                rest = {n: v for n, v in statement.items() if n != name}
                text = json.dumps({"Version": "2012-10-17", "Statement": [rest]})
            else:
                odd = statement | {name: 1}
                text = json.dumps({"Version": "2012-10-17", "Statement": [odd]})
            answer = await store.ask("PUT", "/bucket", "policy", text.encode())
            assert (answer.status, answer.code) == (400, "MalformedPolicy"), (text, answer.body)
            blamed = "Surprise" if change == "unknown" else name
            assert blamed.lower().encode() in answer.body.lower(), (text, answer.body)
            assert (await store.ask("GET", "/bucket", "policy")).code == "NoSuchBucketPolicy"

    play(use)
