"""Langfuse's calls as its AWS SDK for JavaScript sends them, header by header.

Recorded from version 3 of that SDK with Langfuse's configuration: path style, checksums only where
required, the length signed. An answer that is no success raises S3Error, none Unreachable.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
import zlib
from collections.abc import Mapping
from xml.sax.saxutils import escape

from stack.s3.client import S3
from stack.s3.errors import error_of
from stack.s3.transport import Answer

#: Bodies from this size on wait for ``100 Continue``. Unit: bytes.
EXPECT_FROM = 2 << 20
_AGENT = "aws-sdk-js/3.1168.0"


def put_event(s3: S3, bucket: str, key: str, body: bytes) -> Answer:
    """PutObject of an event or an export."""
    return _call(s3, "PUT", bucket, key, [("x-id", "PutObject")], "application/json", body)


def get_object(s3: S3, bucket: str, key: str) -> Answer:
    """GetObject, as the worker reads an event."""
    return _call(s3, "GET", bucket, key, [("x-id", "GetObject")])


def list_objects(s3: S3, bucket: str, prefix: str) -> Answer:
    """ListObjectsV2 with 200 keys a page, no delimiter."""
    query = [("list-type", "2"), ("max-keys", "200"), ("prefix", prefix)]
    return _call(s3, "GET", bucket, "", query)


def delete_objects(s3: S3, bucket: str, keys: list[str]) -> Answer:
    """DeleteObjects, quiet, with a CRC32 of the document."""
    rows = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    document = (
        '<?xml version="1.0" encoding="UTF-8"?><Delete xmlns="http://s3.amazonaws.com/doc/'
        f'2006-03-01/">{rows}<Quiet>true</Quiet></Delete>'
    ).encode()
    checksum = base64.b64encode(zlib.crc32(document).to_bytes(4, "big")).decode()
    more = {"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-crc32": checksum}
    return _call(s3, "POST", bucket, "", [("delete", "")], "application/xml", document, more)


def start_upload(s3: S3, bucket: str, key: str) -> Answer:
    """CreateMultipartUpload of an export."""
    return _call(s3, "POST", bucket, key, [("uploads", "")], "text/csv")


def upload_part(s3: S3, bucket: str, key: str, upload: str, number: int, body: bytes) -> Answer:
    """UploadPart; from 2 MiB on it waits for ``100 Continue``."""
    query = [("partNumber", str(number)), ("uploadId", upload), ("x-id", "UploadPart")]
    return _call(s3, "PUT", bucket, key, query, "application/octet-stream", body)


def complete_upload(s3: S3, bucket: str, key: str, upload: str, etags: list[str]) -> Answer:
    """CompleteMultipartUpload."""
    parts = "".join(
        f"<Part><ETag>{escape(etag)}</ETag><PartNumber>{number}</PartNumber></Part>"
        for number, etag in enumerate(etags, 1)
    )
    document = (
        '<?xml version="1.0" encoding="UTF-8"?><CompleteMultipartUpload xmlns='
        f'"http://s3.amazonaws.com/doc/2006-03-01/">{parts}</CompleteMultipartUpload>'
    ).encode()
    return _call(s3, "POST", bucket, key, [("uploadId", upload)], "application/xml", document)


def upload_headers(content_type: str, body: bytes) -> dict[str, str]:
    """The headers that a presigned media upload binds."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return {
        "content-type": content_type,
        "content-length": str(len(body)),
        "x-amz-checksum-sha256": digest,
    }


def presign_upload(s3: S3, bucket: str, key: str, headers: Mapping[str, str]) -> tuple[str, str]:
    """(path with query, canonical request) of a URL for one media upload, good for an hour."""
    query = [("x-id", "PutObject"), ("x-amz-sdk-checksum-algorithm", "SHA256")]
    return s3.presigned("PUT", bucket, key, query, headers)


def presign_download(s3: S3, bucket: str, key: str) -> tuple[str, str]:
    """(path with query, canonical request) of a download as an attachment."""
    disposition = f'attachment; filename="{key}"'
    query = [("response-content-disposition", disposition), ("x-id", "GetObject")]
    return s3.presigned("GET", bucket, key, query)


def fetch(
    s3: S3, method: str, target: str, canonical: str, headers: Mapping[str, str], body: bytes = b""
) -> Answer:
    """Use a presigned URL as a browser or an SDK does. Raises S3Error and Unreachable."""
    answer = s3.transport.send(method, target, headers, body)
    if answer.status >= 300:
        raise error_of(answer, method, canonical)
    return answer


def preflight(s3: S3, target: str, origin: str) -> Answer:
    """What a browser asks before it uploads. The answer is returned whatever it is."""
    headers = {
        "origin": origin,
        "access-control-request-method": "PUT",
        "access-control-request-headers": "content-type,x-amz-checksum-sha256",
    }
    return s3.transport.send("OPTIONS", target, headers)


def _call(
    s3: S3,
    method: str,
    bucket: str,
    key: str,
    query: list[tuple[str, str]],
    content_type: str = "",
    body: bytes = b"",
    more: Mapping[str, str] | None = None,
) -> Answer:
    headers = {
        "amz-sdk-invocation-id": str(uuid.uuid4()),
        "amz-sdk-request": "attempt=1; max=3",
        "x-amz-user-agent": _AGENT,
        "user-agent": _AGENT,
        **(more or {}),
    }
    if content_type:
        headers["content-type"] = content_type
    if body:
        headers["content-length"] = str(len(body))
    if len(body) >= EXPECT_FROM:
        headers["expect"] = "100-continue"
    return s3.request(method, bucket, key, query=query, headers=headers, body=body)
