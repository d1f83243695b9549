"""Signed S3 requests, rendered in advance, so that the generator only has to send bytes.

The shape is that of the AWS SDK for JavaScript v3, which Langfuse uses: Signature Version 4 in
the ``Authorization`` header with a literal payload hash, every header signed except
``user-agent``, the operation's name in ``x-id``. Signature: AWS "Signature Version 4 signing
process". A signature is valid for 15 minutes, so requests are rendered right before each run.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
#: Every server gets the same bytes, its port notwithstanding; Langfuse's internal endpoint.
HOST = "minio:9000"
_AGENT = "aws-sdk-js/3.758.0"
_FULL_AGENT = f"{_AGENT} ua/2.1 os/linux#6.1.0 lang/js md/nodejs#24.4.0 api/s3#3.758.0 m/E"


@dataclass(frozen=True)
class Credentials:
    """What a server is started with and requests are signed with."""

    access_key: str = "minio"
    secret_key: str = "miniosecret"
    region: str = "us-east-1"


DEFAULT_CREDENTIALS = Credentials()


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


class Signer:
    """Renders request heads. No two heads are alike, even for one key: each has its own id."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        credentials = credentials or DEFAULT_CREDENTIALS
        self._credentials = credentials
        now = time.gmtime()
        self._date = time.strftime("%Y%m%dT%H%M%SZ", now)
        self._scope = f"{self._date[:8]}/{credentials.region}/s3/aws4_request"
        key = _mac(f"AWS4{credentials.secret_key}".encode(), self._date[:8])
        for part in (credentials.region, "s3", "aws4_request"):
            key = _mac(key, part)
        self._key = key
        self._id = uuid.uuid4().hex[:20]
        self._count = 0

    def head(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        payload_hash: str = EMPTY_SHA256,
        length: int | None = None,
        content_type: str = "",
        expect: bool = False,
    ) -> bytes:
        """One request head. ``path`` and ``query`` are encoded already, ``query`` sorted."""
        self._count += 1
        number = f"{self._count:012x}"
        raw = self._id + number
        invocation = f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
        signed = {
            "amz-sdk-invocation-id": invocation,
            "amz-sdk-request": "attempt=1; max=3",
            "host": HOST,
            "x-amz-content-sha256": payload_hash,
            "x-amz-date": self._date,
            "x-amz-user-agent": _AGENT,
        }
        if length is not None:
            signed["content-length"] = str(length)
        if content_type:
            signed["content-type"] = content_type
        names = sorted(signed)
        joined = ";".join(names)
        lines = "".join([f"{name}:{signed[name]}\n" for name in names])
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{joined}\n{payload_hash}"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = _mac(
            self._key, f"AWS4-HMAC-SHA256\n{self._date}\n{self._scope}\n{digest}"
        ).hex()
        headers = "".join([f"{name}: {signed[name]}\r\n" for name in names])
        target = f"{path}?{query}" if query else path
        return (
            f"{method} {target} HTTP/1.1\r\n{headers}user-agent: {_FULL_AGENT}\r\n"
            f"{'expect: 100-continue' + chr(13) + chr(10) if expect else ''}"
            "connection: keep-alive\r\n"
            f"authorization: AWS4-HMAC-SHA256 Credential={self._credentials.access_key}/"
            f"{self._scope}, SignedHeaders={joined}, Signature={signature}\r\n\r\n"
        ).encode()

    def put(self, bucket: str, key: str, body: Body, *, expect: bool = False) -> bytes:
        """PutObject with a signed payload hash."""
        return self.head(
            "PUT",
            f"/{bucket}/{quote(key)}",
            "x-id=PutObject",
            payload_hash=body.sha256,
            length=body.size,
            content_type="application/json",
            expect=expect,
        )

    def get(self, bucket: str, key: str) -> bytes:
        """GetObject."""
        return self.head("GET", f"/{bucket}/{quote(key)}", "x-id=GetObject")

    def list(self, bucket: str, *, after: str = "", delimiter: str = "") -> bytes:
        """ListObjectsV2, one page of 1,000."""
        query = {"list-type": "2", "max-keys": "1000", "x-id": "ListObjectsV2"}
        if after:
            query["start-after"] = after
        if delimiter:
            query["delimiter"] = delimiter
        text = "&".join(f"{name}={quote(query[name], safe='')}" for name in sorted(query))
        return self.head("GET", f"/{bucket}", text)


@dataclass(frozen=True)
class Body:
    """A payload: where it stands in the run's folder, its size in bytes and its hash."""

    data: bytes
    sha256: str

    @property
    def size(self) -> int:
        return len(self.data)

    @staticmethod
    def random(size: int, seed: int) -> Body:
        """Bytes that do not compress, the same for a seed on every machine."""
        data = random.Random(seed).randbytes(size)
        return Body(data, hashlib.sha256(data).hexdigest())


def write_bodies(path: Path, bodies: list[Body]) -> None:
    """One file of equally long payloads, for ``replay.lua``."""
    path.write_bytes(b"".join(body.data for body in bodies))


def write_requests(path: Path, requests: Iterable[tuple[bytes, int]]) -> int:
    """Records of ``replay.lua``: 5 digits of length, 3 digits of body number, the head.

    Body number 0 is none; bodies are counted from 1. Returns the number of records.
    """
    count = 0
    with path.open("wb", buffering=1 << 20) as file:
        for head, body in requests:
            file.write(b"%05d%03d" % (len(head), body))
            file.write(head)
            count += 1
    return count
