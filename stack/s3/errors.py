"""Errors that a store answers, as an exception with all that the answer tells."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from stack.s3.transport import Answer

_SNIPPET = 200


class S3Error(Exception):
    """An answer that is no success. ``code`` is "" where the answer was no error of S3.

    ``fields`` holds what else the error document says (Region, CanonicalRequest ...);
    ``canonical`` is the canonical request that was signed. ``endpoint``: whose answer it is, ""
    where it was made without a client.
    """

    endpoint = ""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        fields: Mapping[str, str],
        headers: Mapping[str, str],
        canonical: str = "",
    ) -> None:
        super().__init__(f"{code or status}: {message}" if message else code or str(status))
        self.status, self.code, self.message = status, code, message
        self.fields, self.headers, self.canonical = fields, headers, canonical


#: Codes of answers without a body: those to HEAD.
_BY_STATUS = {301: "PermanentRedirect", 403: "AccessDenied", 404: "NotFound", 503: "SlowDown"}


def error_of(answer: Answer, method: str, canonical: str = "") -> S3Error:
    """The error that ``answer`` is."""
    body = answer.body
    try:
        root = parse(body)
    except ET.ParseError:
        root = None
    if root is None or root.tag != "Error":
        code = _BY_STATUS.get(answer.status, "") if method == "HEAD" else ""
        text = re.sub(r"<[^>]*>|\s+", " ", body[:_SNIPPET].decode("utf-8", "replace"))
        return S3Error(answer.status, code, text.strip(), {}, answer.headers, canonical)
    fields = {child.tag: child.text or "" for child in root}
    code, message = fields.pop("Code", ""), fields.pop("Message", "")
    return S3Error(answer.status, code, message, fields, answer.headers, canonical)


def parse(document: bytes) -> ET.Element:
    """An S3 answer as a tree without namespaces. Raises ParseError.

    S3 sends no document type, so one is refused: what entities could do ends there.
    """
    if b"<!DOCTYPE" in document:
        raise ET.ParseError("a document type in an answer of S3")
    root = ET.fromstring(document)  # noqa: S314 - no document type, hence no entities
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root
