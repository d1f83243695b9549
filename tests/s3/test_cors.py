"""Cross-origin requests, as a browser makes them around a presigned upload."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.s3.raw import RawClient

ORIGIN = "https://langfuse.example"


def preflight(raw: RawClient, path: str, method: str, headers: str = "", **more: str) -> Any:
    asked = {"origin": ORIGIN, "access-control-request-method": method}
    if headers:
        asked["access-control-request-headers"] = headers
    return raw.request("OPTIONS", path, headers=asked | more, sign=False)


def test_a_preflight_needs_no_signature(raw: RawClient, bucket: str) -> None:
    wanted = "content-type,x-amz-checksum-sha256"
    answer = preflight(raw, f"/{bucket}/k", "PUT", wanted)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] in ("*", ORIGIN)
    assert "PUT" in answer.headers["access-control-allow-methods"]
    told = answer.headers["access-control-allow-headers"]
    assert told.replace(" ", "") == wanted
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("method", ["PATCH", "", "TRACE"])
def test_a_method_that_is_not_allowed(raw: RawClient, bucket: str, method: str) -> None:
    answer = preflight(raw, f"/{bucket}/k", method)
    assert (answer.status, answer.code) == (400, "BadRequest")


def test_options_without_an_origin(raw: RawClient, bucket: str) -> None:
    answer = raw.request("OPTIONS", f"/{bucket}/k", sign=False)
    assert (answer.status, answer.code) == (400, "BadRequest")


def test_a_browsers_upload(raw: RawClient, boto_client: Any, bucket: str) -> None:
    """What Langfuse's web page does with a media file."""
    data = b"\x89PNG..."
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    url = boto_client.generate_presigned_url(
        "put_object",
        Params={
            "Bucket": bucket,
            "Key": "media/x.png",
            "ContentType": "image/png",
            "ContentLength": len(data),
            "ChecksumSHA256": digest,
        },
    )
    path, _, query = url.split(raw.host, 1)[1].partition("?")
    headers = {
        "origin": ORIGIN,
        "content-type": "image/png",
        "x-amz-checksum-sha256": digest,
        "x-ms-blob-type": "BlockBlob",
    }
    answer = raw.request("PUT", path, query, body=data, headers=headers, sign=False)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] in ("*", ORIGIN)
    assert "ETag" in answer.headers["access-control-expose-headers"]
    tampered = raw.request("PUT", path, query, body=b"x" * len(data), headers=headers, sign=False)
    assert (tampered.status, tampered.code) == (400, "BadDigest")
    assert boto_client.get_object(Bucket=bucket, Key="media/x.png")["Body"].read() == data


def test_errors_can_be_read_by_scripts_too(raw: RawClient, bucket: str) -> None:
    answer = raw.request("GET", f"/{bucket}/absent", headers={"origin": ORIGIN}, sign=False)
    assert answer.status == 403
    assert "access-control-allow-origin" in answer.headers


def test_nothing_is_added_without_an_origin(raw: RawClient, bucket: str) -> None:
    answer = raw.request("GET", f"/{bucket}")
    assert not [name for name in answer.headers if name.startswith("access-control")]
