"""The hardened XML reader and the writer's escapes."""

from __future__ import annotations

from urllib.parse import unquote
from xml.etree import ElementTree

import hypothesis.strategies as st
import pytest
from hypothesis import given

from storage.s3 import xml
from storage.s3.errors import S3Error

LAUGHS = (
    '<!DOCTYPE a [<!ENTITY x0 "ha">'
    + "".join(f'<!ENTITY x{n} "&x{n - 1};&x{n - 1};">' for n in range(1, 30))
    + "]><a>&x29;</a>"
).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"<a>",
        b"<a></b>",
        b"<a/><a/>",
        b"<b/>",
        b"text",
        LAUGHS,
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><a/>',
        b'<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]><a/>',
        b"<!DOCTYPE a><a/>",
        b"<?php echo 1 ?><a/>",
        b"<a>&unknown;</a>",
        b"<a>\xff</a>",
        b"<a>&#xD800;</a>",
        b"<a>&#x110000;</a>",
        b"<a>" * 17 + b"</a>" * 17,
        b"<a>" + b"<b/>" * 200_001 + b"</a>",
        b"<a>\x01\xf4\x8f\xbc\x81</a>",
        b'<?xml version="1.0" encoding="klingon"?><a/>',
    ],
)
def test_refused(body: bytes) -> None:
    with pytest.raises(S3Error) as error:
        xml.parse(body, "a")
    assert error.value.code == "MalformedXML"


def test_nothing_at_all_is_told_from_what_is_no_document() -> None:
    with pytest.raises(S3Error) as error:
        xml.parse(b"", "a")
    assert (error.value.code, error.value.status) == ("MissingRequestBodyError", 400)


def test_elements_are_of_the_namespace_of_s3_or_of_none() -> None:
    for attribute in (
        "", f' xmlns="{xml.NAMESPACE}"', ' xmlns="https://s3.amazonaws.com/doc/2006-03-01"',
        ' xmlns="http://doc.s3.amazonaws.com/2006-03-01"', ' xmlns:unused="urn:other"',
    ):  # fmt: skip
        root = xml.parse(f"<a{attribute}><b>t</b></a>".encode(), "a")
        assert xml.fields(root, frozenset("b")) == {"b": "t"}
    prefixed = f'<p:a xmlns:p="{xml.NAMESPACE}"><p:b/></p:a>'.encode()
    assert xml.parse(prefixed, "a").children[0].name == "b"


@pytest.mark.parametrize(
    ("body", "element"),
    [
        (b'<a xmlns="urn:other"/>', "a"),
        (b'<a><p:b xmlns:p="urn:other"/></a>', "b"),
        (b'<a b="c"/>', "a"),
        (b"<a>text<b/></a>", "a"),
        (b"<a><b/>text</a>", "a"),
        (b"<b/>", "b"),
        (b"<" + b"b" * 5000 + b"/>", "b" * 100),
    ],
)
def test_the_element_to_blame_is_named(body: bytes, element: str) -> None:
    with pytest.raises(S3Error) as error:
        xml.parse(body, "a")
    assert (error.value.code, error.value.fields) == ("MalformedXML", {"Element": element})


def test_what_is_said_of_a_document_is_no_content() -> None:
    told = (
        b' xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:schemaLocation="x" xml:lang="en"'
    )
    assert xml.parse(b"<a%b> \n <b/> \t </a>" % told, "a").children[0].name == "b"


def test_a_section_of_character_data_is_text() -> None:
    assert xml.parse(b"<a><b><![CDATA[x<&y]]></b></a>", "a").children[0].text == "x<&y"


@given(st.text())
def test_every_text_written_as_it_is_is_read_as_it_was(text: str) -> None:
    text = "".join(c for c in text if not "\U0010ff00" <= c <= "\U0010ff7f")
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("]]>", "]]&gt;")
    escaped = escaped.replace("\r", "&#13;")
    root = xml.parse(f"<a><b>{escaped}</b></a>".encode(), "a", control_characters=True)
    assert root.children[0].text == text


@given(st.text())
def test_what_is_written_is_sound(text: str) -> None:
    root = ElementTree.fromstring(xml.document("a", xml.element("b", text)))
    read = root[0].text or ""
    assert len(read) == len(text)
    if not xml.encoding([text], url=False)[0]:
        assert read == text
    else:
        assert "\N{REPLACEMENT CHARACTER}" in read


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=5), st.booleans())
def test_a_page_of_names_loses_nothing(names: list[str], url: bool) -> None:
    encoded, encode = xml.encoding(names, url=url)
    assert encoded or not url
    content = "".join(f"<b>{encode(name)}</b>" for name in names)
    root = ElementTree.fromstring(xml.document("a", content))
    read = [element.text or "" for element in root]
    assert [unquote(text) for text in read] == names if encoded else read == names


@pytest.mark.parametrize(
    "body",
    [
        b"<a><![CDATA[&#1;]]></a>",  # no reference in there: it must not become one
        b"<a>\x01&#x10FF01;</a>",
        b'<?xml version="1.0" encoding="ISO-8859-1"?><a>\xe9&#1;</a>',
    ],
)
def test_what_would_be_read_as_another_key_is_refused(body: bytes) -> None:
    with pytest.raises(S3Error) as error:
        xml.parse(body, "a", control_characters=True)
    assert error.value.code == "MalformedXML"


@pytest.mark.parametrize("text", ["&#1;", "\x01", "&#xFFFE;", "\uffff", "&#x1F;"])
def test_what_could_not_be_read_back_is_refused_by_name(text: str) -> None:
    with pytest.raises(S3Error) as error:
        xml.parse(f"<a><b>{text}</b></a>".encode(), "a")
    assert (error.value.code, error.value.fields) == ("MalformedXML", {"Element": "b"})


def test_a_document_is_in_utf_8_and_may_say_so() -> None:
    body = b'<?xml version="1.0" encoding="utf-8"?><a>\xc3\xa9</a>'
    assert xml.parse(body, "a").text == "\u00e9"


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "windows-1252", "unicode_escape", "UTF-16"])
def test_a_document_that_says_it_is_in_something_else_is_refused(encoding: str) -> None:
    with pytest.raises(S3Error) as error:
        xml.parse(f'<?xml version="1.0" encoding="{encoding}"?><a>e</a>'.encode(), "a")
    assert error.value.code == "MalformedXML"
