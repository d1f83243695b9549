"""Get, Put and Delete of BucketCors. What the rules do is in ``storage.s3.cors``."""

from __future__ import annotations

import re

from storage.s3 import cors, xml
from storage.s3.call import Call, Response
from storage.s3.cors import Rule
from storage.s3.errors import S3Error
from storage.s3.operations.body import read_document
from storage.s3.operations.documents import set_document

#: S3: "The CORS configuration ... is limited to 64 KB in size" and to 100 rules.
_DOCUMENT_BYTES_MAX = 64 * 1024
_RULES_MAX = 100
_ID_MAX = 255
_SINGLE = ("ID", "MaxAgeSeconds")
_REPEATED = ("AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_SECONDS = re.compile(r"[0-9]{1,10}\Z")


async def get_bucket_cors(call: Call) -> Response:
    """The rules as they were put. Raises NoSuchCORSConfiguration."""
    document = call.target.config.get(cors.DOCUMENT)
    if document is None:
        raise S3Error("NoSuchCORSConfiguration", BucketName=call.bucket)
    text = "".join(map(_render, cors.decode(document)))
    return Response(200, [xml.CONTENT_TYPE], xml.document("CORSConfiguration", text))


async def put_bucket_cors(call: Call) -> Response:
    """Replace the rules."""
    body = await read_document(call)
    if len(body) > _DOCUMENT_BYTES_MAX:
        raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=str(_DOCUMENT_BYTES_MAX))
    rules = tuple(map(_parse, xml.items(xml.parse(body, "CORSConfiguration"), "CORSRule")))
    if not rules:
        raise xml.malformed("CORSRule")
    if len(rules) > _RULES_MAX:
        raise _invalid(
            "CORSRule", f"The number of CORS rules should not exceed allowed limit of {_RULES_MAX}."
        )
    await _set(call, cors.encode(rules))
    return Response(200, [])


async def delete_bucket_cors(call: Call) -> Response:
    """From now on the server's own rule counts."""
    await _set(call, None)
    return Response(204, [])


async def _set(call: Call, value: bytes | None) -> None:
    if call.target.config.get(cors.DOCUMENT) != value:
        await set_document(call, cors.DOCUMENT, value)


# -- reading --------------------------------------------------------------------------------------


def _parse(node: xml.Node) -> Rule:
    """One ``<CORSRule>``. Raises MalformedXML, InvalidRequest, both naming the element."""
    single: dict[str, str] = {}
    lists: dict[str, list[str]] = {name: [] for name in _REPEATED}
    for child in xml.children(node):
        text = xml.leaf(child)
        if child.name in lists:
            lists[child.name].append(text)
        elif child.name in _SINGLE and child.name not in single:
            single[child.name] = text
        else:
            raise xml.malformed(child.name)
    for name in ("AllowedMethod", "AllowedOrigin"):
        if not lists[name]:
            raise xml.malformed(name)
    _check(lists)
    if len(single.get("ID", "")) > _ID_MAX:
        raise _invalid("ID", f"ID length should not exceed allowed limit of {_ID_MAX}")
    return Rule(
        origins=tuple(lists["AllowedOrigin"]),
        methods=tuple(lists["AllowedMethod"]),
        headers=tuple(lists["AllowedHeader"]),
        exposed=tuple(lists["ExposeHeader"]),
        max_age=_max_age(single.get("MaxAgeSeconds")),
        id=single.get("ID", ""),
    )


def _check(lists: dict[str, list[str]]) -> None:
    """Raises InvalidRequest for what no browser could be told."""
    for method in lists["AllowedMethod"]:
        if method not in cors.METHODS:
            raise _invalid(
                "AllowedMethod",
                f"Found unsupported HTTP method in CORS config. Unsupported method is {method}",
            )
    for name in ("AllowedOrigin", "AllowedHeader"):
        for pattern in lists[name]:
            if pattern.count("*") > 1:
                raise _invalid(name, f'{name} "{pattern}" can not have more than one wildcard.')
    for name in ("AllowedHeader", "ExposeHeader"):
        for header in lists[name]:
            # What is exposed becomes part of a header: a line feed must never get there.
            if _HEADER_NAME.match(header) is None:
                raise _invalid(name, f'{name} "{header}" is not the name of a header.')
    for header in lists["ExposeHeader"]:
        if "*" in header:
            raise _invalid(
                "ExposeHeader",
                f'ExposeHeader "{header}" contains wildcard. We currently do not support wildcard '
                "for ExposeHeader.",
            )


def _max_age(text: str | None) -> int:
    if text is None:
        return -1
    if _SECONDS.match(text.strip()) is None or int(text) >= 2**31:
        raise xml.malformed("MaxAgeSeconds")
    return int(text)


def _invalid(element: str, message: str) -> S3Error:
    return S3Error("InvalidRequest", message, Element=element)


# -- writing --------------------------------------------------------------------------------------


def _render(rule: Rule) -> str:
    text = xml.element("ID", rule.id) if rule.id else ""
    for name, values in (
        ("AllowedMethod", rule.methods),
        ("AllowedOrigin", rule.origins),
        ("AllowedHeader", rule.headers),
        ("ExposeHeader", rule.exposed),
    ):
        text += "".join(xml.element(name, value) for value in values)
    if rule.max_age >= 0:
        text += f"<MaxAgeSeconds>{rule.max_age}</MaxAgeSeconds>"
    return f"<CORSRule>{text}</CORSRule>"
