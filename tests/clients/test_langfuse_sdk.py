"""Langfuse's Python SDK sends a trace with an image, through a stand-in for Langfuse's API."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import tools
from tests.clients.langfuse_stand_in import PUBLIC_KEY, SECRET_KEY, LangfuseStandIn
from tests.serving import clean_environment

pytest.importorskip("langfuse.media", reason="the Langfuse SDK is not installed")
trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    reason="opentelemetry-proto is not installed",
)

APPLICATION = Path(__file__).with_name("langfuse_application.py")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def langfuse(boto_client: Any, bucket: str) -> Iterator[LangfuseStandIn]:
    with LangfuseStandIn(boto_client, bucket) as stand_in:
        yield stand_in


def test_sdk_is_of_the_supported_age() -> None:
    assert int(importlib.metadata.version("langfuse").split(".")[0]) >= 5


def test_trace_with_image_arrives(
    langfuse: LangfuseStandIn, boto_client: Any, bucket: str, tmp_path: Path
) -> None:
    image = PNG + os.urandom(40_000)
    media_id = base64.urlsafe_b64encode(hashlib.sha256(image).digest()).decode()[:22]
    _run_application(langfuse, image, tmp_path)

    stored = boto_client.get_object(
        Bucket=bucket, Key=langfuse.media_key(media_id, "image/png"), ChecksumMode="ENABLED"
    )
    assert stored["Body"].read() == image
    assert stored["ContentType"] == "image/png"
    assert base64.b64decode(stored["ChecksumSHA256"]) == hashlib.sha256(image).digest()
    assert langfuse.patches[media_id]["uploadHttpStatus"] == 200
    assert langfuse.refused == []

    spans = list(_spans(langfuse.exports))
    assert [span.name for span in spans] == ["describe-picture"]
    attributes = {each.key: each.value.string_value for each in spans[0].attributes}
    assert f"id={media_id}" in attributes["langfuse.observation.input"]
    assert spans[0].trace_id.hex() == langfuse.media[media_id]["traceId"]

    (key,) = langfuse.event_keys
    event = json.loads(boto_client.get_object(Bucket=bucket, Key=key)["Body"].read())
    (stored_span,) = event[0]["scopeSpans"][0]["spans"]
    assert bytes(stored_span["traceId"]["data"]) == spans[0].trace_id
    assert stored_span["name"] == "describe-picture"


def test_signed_upload_url_is_langfuses(langfuse: LangfuseStandIn, tmp_path: Path) -> None:
    digest = base64.b64encode(hashlib.sha256(PNG).digest()).decode()
    wanted = {"contentType": "image/png", "contentLength": len(PNG), "sha256Hash": digest}
    url = langfuse.announce_media(wanted)["uploadUrl"]
    signed = "content-length%3Bcontent-type%3Bhost%3Bx-amz-checksum-sha256"
    assert f"X-Amz-SignedHeaders={signed}&" in url


def _run_application(langfuse: LangfuseStandIn, image: bytes, folder: Path) -> None:
    picture = folder / "picture.png"
    picture.write_bytes(image)
    environment = clean_environment(
        LANGFUSE_BASE_URL=langfuse.url,
        LANGFUSE_PUBLIC_KEY=PUBLIC_KEY,
        LANGFUSE_SECRET_KEY=SECRET_KEY,
        LANGFUSE_TIMEOUT="60",
    )
    tools.run(sys.executable, APPLICATION, picture, env=environment, cwd=folder)


def _spans(exports: list[bytes]) -> Iterator[Any]:
    for body in exports:
        request = trace_service.ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                yield from scope.spans
