"""Requests that no SDK would send: exact paths, queries, headers and bodies, signed or not."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import http.client
import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes
from xml.etree import ElementTree

UNSIGNED = "UNSIGNED-PAYLOAD"
_REGION = "us-east-1"


@dataclass(frozen=True)
class Answer:
    """A response. Header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def xml(self) -> ElementTree.Element:
        """The body's root element. Raises where it is not well-formed."""
        return ElementTree.fromstring(self.body)

    @property
    def code(self) -> str:
        """The S3 error code."""
        root = self.xml()
        assert root.tag == "Error"
        return root.findtext("Code", "")

    def text(self, name: str) -> str | None:
        """Text of the first element of this local name."""
        for element in self.xml().iter():
            if element.tag.rpartition("}")[2] == name:
                return element.text or ""
        return None

    def texts(self, name: str) -> list[str]:
        """Texts of all elements of this local name."""
        return [e.text or "" for e in self.xml().iter() if e.tag.rpartition("}")[2] == name]


class RawClient:
    """Signs and sends requests as they are given. ``path`` and ``query`` are percent-encoded."""

    def __init__(self, host: str, access_key: str, secret_key: str, address: str = "") -> None:
        """``host`` is what requests say; ``address`` (host and port) is what they are sent to."""
        self.host = host
        self.address = address or host
        self.access_key = access_key
        self.secret_key = secret_key

    def request(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        payload: str | None = None,
        sign: bool = True,
    ) -> Answer:
        """Send one request. ``payload``: x-amz-content-sha256, by default the body's hash.

        Content-Length is sent with a body, unless ``headers`` has its own framing.
        """
        lines = {name.lower(): value for name, value in (headers or {}).items()}
        if sign:
            lines |= self.sign(method, path, query, lines, body or b"", payload)
        framed = "content-length" in lines or "transfer-encoding" in lines
        if body is not None and not framed:
            lines["content-length"] = str(len(body))
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            target = f"{path}?{query}" if query else path
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", self.host)
            for name, value in lines.items():
                if name != "host":
                    connection.putheader(name, value.encode("latin-1"))
            connection.endheaders(body or None)
            response = connection.getresponse()
            content = response.read()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, received, content)
        finally:
            connection.close()

    def send_bytes(self, data: bytes, *, shutdown: bool = False) -> bytes:
        """Send raw bytes and read until the server closes; its whole answer."""
        host, _, port = self.address.partition(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(data)
            if shutdown:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while piece := connection.recv(65536):
                received += piece
            return received

    def sign(
        self,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        body: bytes,
        payload: str | None = None,
    ) -> dict[str, str]:
        """The headers that sign a request (SigV4), all given headers included."""
        now = _now()
        payload = payload or hashlib.sha256(body).hexdigest()
        added = {"host": self.host, "x-amz-date": now, "x-amz-content-sha256": payload}
        signed = {n: v for n, v in headers.items() if n not in ("content-length", "expect")} | added
        scope, names, signature = self._signature(method, path, query, signed, payload, now)
        added["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        )
        return added

    def presign(self, method: str, path: str, query: str = "", expires: int = 60) -> str:
        """The query of a presigned request that signs nothing but the host."""
        now = _now()
        scope = f"{now[:8]}/{_REGION}/s3/aws4_request"
        parameters = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={self.access_key}%2F"
            f"{quote(scope, safe='')}&X-Amz-Date={now}&X-Amz-Expires={expires}"
            "&X-Amz-SignedHeaders=host"
        )
        query = f"{query}&{parameters}" if query else parameters
        _, _, signature = self._signature(method, path, query, {"host": self.host}, UNSIGNED, now)
        return f"{query}&X-Amz-Signature={signature}"

    def _signature(
        self, method: str, path: str, query: str, signed: dict[str, str], payload: str, now: str
    ) -> tuple[str, str, str]:
        """(credential scope, names of signed headers, signature)."""
        names = ";".join(sorted(signed))
        canonical = "\n".join(
            (
                method,
                quote(unquote_to_bytes(path), safe="/~"),
                _canonical_query(query),
                *(f"{name}:{_canonical_value(signed[name])}" for name in sorted(signed)),
                "",
                names,
                payload,
            )
        )
        scope = f"{now[:8]}/{_REGION}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
        key = f"AWS4{self.secret_key}".encode()
        for step in (now[:8], _REGION, "s3", "aws4_request", to_sign):
            key = hmac.digest(key, step.encode(), "sha256")
        return scope, names, key.hex()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")


def _canonical_value(value: str) -> str:
    """Without needless spaces; other white space of Latin-1 is part of UTF-8 characters."""
    return " ".join(re.split("[ \t]+", value.strip(" \t")))


def _canonical_query(query: str) -> str:
    pairs = []
    for item in query.split("&"):
        if item:
            name, _, value = item.partition("=")
            pairs.append(
                (quote(unquote_to_bytes(name), safe="~"), quote(unquote_to_bytes(value), safe="~"))
            )
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def md5_base64(data: bytes) -> str:
    """Content-MD5."""
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def error_code(error: Any) -> str:
    """The S3 code of a botocore ClientError."""
    return str(error.value.response["Error"]["Code"])


def error_status(error: Any) -> int:
    """The HTTP status of a botocore ClientError."""
    return int(error.value.response["ResponseMetadata"]["HTTPStatusCode"])
