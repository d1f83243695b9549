"""A small S3 client of the standard library: one connection, Signature Version 4, path style.

Requests go out one after the other; bodies are bytes, whose digest is signed.
"""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from stack.mc.aliases import signed
from stack.mc.base import Alias, McError, Options
from stack.s3.signing import EMPTY_SHA256, Credentials, encode_path, encode_query, sign

_TIMEOUT = 60.0
_REGION = "us-east-1"


class S3Error(McError):
    """The store refused. ``code`` and ``message`` are S3's."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(f"{message or code} ({code})" if code else f"the store answered {status}.")
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True)
class Entry:
    """One line of a listing: an object, or a prefix that stands for several (``size`` -1)."""

    key: str
    size: int = -1
    modified: str = ""
    storage_class: str = "STANDARD"


@dataclass
class Answer:
    """A response whose body may not have been read yet."""

    status: int
    response: http.client.HTTPResponse = field(repr=False)

    def header(self, name: str, default: str = "") -> str:
        return self.response.getheader(name) or default

    def body(self) -> bytes:
        return self.response.read()


def connect(
    alias: Alias, options: Options, *, timeout: float = _TIMEOUT
) -> http.client.HTTPConnection:
    """A connection to a store, not opened yet. Raises McError if its URL is none."""
    parts = urlsplit(alias.url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.path:
        raise McError(f"{alias.url} is not http://HOST:PORT or https://HOST:PORT.")
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, port, timeout=timeout)
    context = ssl.create_default_context()
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(parts.hostname, port, timeout=timeout, context=context)


class Client:
    """S3 at one alias."""

    def __init__(self, alias: Alias, options: Options) -> None:
        self.alias = signed(alias)
        self._connection = connect(alias, options)
        self._host = urlsplit(alias.url).netloc
        self._region = _REGION

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request. ``path`` is "/", "/bucket" or "/bucket/key", not quoted.

        Raises S3Error for an error of S3, McError where nobody answers.
        """
        for _ in range(2):
            answer = self._send(method, path, query or {}, body, headers or {})
            if answer.status < 300:
                return answer
            error, region = _understand(answer)
            if not region or region == self._region:
                raise error
            self._region = region  # the store wants another one signed for, and has named it
        raise error

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes,
        headers: Mapping[str, str],
    ) -> Answer:
        given = dict(headers)
        if self.alias.access_key:
            given = self._signed(method, path, query, given, body)
        url = encode_path(path) + (f"?{encode_query(query.items())}" if query else "")
        try:
            self._connection.request(method, url, body or None, given)
            response = self._connection.getresponse()
        except ssl.SSLError as error:
            raise McError(f"{self.alias.url} does not speak trusted TLS: {error.reason}.") from None
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise McError(f"No store answers at {self.alias.url}: {why}.") from None
        return Answer(response.status, response)

    def _signed(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: dict[str, str],
        body: bytes,
    ) -> dict[str, str]:
        """The headers to send: those given, and what Signature Version 4 adds."""
        given = {name.lower(): value for name, value in headers.items()}
        if self.alias.token:
            given["x-amz-security-token"] = self.alias.token
        digest = hashlib.sha256(body).hexdigest() if body else EMPTY_SHA256
        credentials = Credentials(self.alias.access_key, self.alias.secret_key)
        added = sign(
            method, self._host, path, query.items(), given, digest, credentials, self._region,
            time.time(),
        )  # fmt: skip
        return dict(added.headers)

    # -- what the commands need -----------------------------------------------------------------

    def buckets(self) -> list[Entry]:
        """All buckets that the keys may see. Raises McError."""
        document = _xml(self.call("GET", "/").body())
        return [
            Entry(text(each, "Name") + "/", modified=text(each, "CreationDate"))
            for each in _all(document, "Bucket")
        ]

    def list(self, bucket: str, prefix: str, *, recursive: bool) -> Iterator[Entry]:
        """Objects below a prefix, page by page, with the folders of this level unless recursive."""
        query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
        if not recursive:
            query["delimiter"] = "/"
        while True:
            document = _xml(self.call("GET", f"/{bucket}", query).body())
            yield from _entries(document)
            token = text(document, "NextContinuationToken")
            if not token:
                return
            query["continuation-token"] = token

    def size_of(self, bucket: str, key: str) -> int | None:
        """The size of an object, None if there is none. Raises McError."""
        try:
            answer = self.call("HEAD", f"/{bucket}/{key}")
        except S3Error as error:
            if error.status == 404:
                return None
            raise
        answer.body()
        return int(answer.header("Content-Length", "0"))


def _understand(answer: Answer) -> tuple[S3Error, str]:
    """The error in an answer, and the region that should have been signed for, if it names one."""
    content = answer.body()
    region = answer.header("x-amz-bucket-region", "")
    try:
        document = ET.fromstring(content)  # noqa: S314 - from the store that the user named
    except ET.ParseError:
        code = {404: "NotFound", 403: "AccessDenied"}.get(answer.status, "")
        return S3Error(code, "", answer.status), region
    error = S3Error(text(document, "Code"), text(document, "Message"), answer.status)
    return error, text(document, "Region") or region


def _xml(content: bytes) -> ET.Element:
    try:
        return ET.fromstring(content)  # noqa: S314 - from the store that the user named
    except ET.ParseError:
        raise McError("The answer is not S3's: is this a store's S3 port?") from None


def _entries(document: ET.Element) -> Iterator[Entry]:
    """Both kinds of a page, in the order of their names."""
    found = [
        Entry(
            _decoded(document, each, "Key"),
            int(text(each, "Size") or 0),
            text(each, "LastModified"),
            text(each, "StorageClass") or "STANDARD",
        )
        for each in _all(document, "Contents")
    ]
    found += [
        Entry(_decoded(document, each, "Prefix")) for each in _all(document, "CommonPrefixes")
    ]
    yield from sorted(found, key=lambda entry: entry.key.encode())


def _decoded(document: ET.Element, element: ET.Element, name: str) -> str:
    found = text(element, name)
    return unquote(found) if text(document, "EncodingType") == "url" else found


def _all(document: Any, name: str) -> list[ET.Element]:
    return [each for each in document.iter() if each.tag.rpartition("}")[2] == name]


def text(element: ET.Element, name: str) -> str:
    """The text of a direct child, whatever its namespace; empty if there is none."""
    for child in element:
        if child.tag.rpartition("}")[2] == name:
            return child.text or ""
    return ""
