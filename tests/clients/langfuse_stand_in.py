"""A small stand-in for Langfuse's API: what its SDK needs to send a trace with media, no more.

It presigns media uploads on a store and writes each trace export as an event object, with the
same S3 calls as Langfuse's server. It is not Langfuse: no database, no user interface, no checks.
"""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

from tests.http_server import HttpServer

PUBLIC_KEY = "pk-lf-stand-in"
SECRET_KEY = "sk-lf-stand-in"
PROJECT = "stand-in-project"
_EXTENSIONS = {"image/png": "png", "text/plain": "txt"}


@dataclass
class LangfuseStandIn(HttpServer):
    """Serve the API on a free port while the ``with`` block runs.

    ``s3`` is a boto3 client. What arrived is kept: ``media`` by id as the SDK announced it,
    ``patches`` by id as the SDK reported the upload's end, ``exports`` as the decoded body of each
    trace export, ``event_keys`` as the objects written for them.
    """

    s3: Any
    bucket: str
    media: dict[str, dict[str, Any]] = field(default_factory=dict)
    patches: dict[str, dict[str, Any]] = field(default_factory=dict)
    exports: list[bytes] = field(default_factory=list)
    event_keys: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _Handler

    @staticmethod
    def media_key(media_id: str, content_type: str) -> str:
        return f"media/{PROJECT}/{media_id}.{_EXTENSIONS[content_type]}"

    def announce_media(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """POST /api/public/media: presign a PUT whose length, type and hash can't be changed."""
        digest = base64.b64decode(wanted["sha256Hash"])
        media_id = base64.urlsafe_b64encode(digest).decode()[:22]
        already_here = media_id in self.media
        self.media[media_id] = wanted
        url = self.s3.generate_presigned_url(
            "put_object",
            Params={
                "Bucket": self.bucket,
                "Key": self.media_key(media_id, wanted["contentType"]),
                "ContentType": wanted["contentType"],
                "ContentLength": wanted["contentLength"],
                "ChecksumSHA256": wanted["sha256Hash"],
            },
            ExpiresIn=3600,
        )
        return {"mediaId": media_id, "uploadUrl": None if already_here else url}

    def media_url(self, media_id: str) -> dict[str, Any]:
        """GET /api/public/media/{id}: what is known of it, with a URL to download it."""
        wanted = self.media[media_id]
        key = self.media_key(media_id, wanted["contentType"])
        url = self.s3.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket,
                "Key": key,
                "ResponseContentDisposition": f'attachment; filename="{key}"',
            },
            ExpiresIn=3600,
        )
        now = datetime.now(UTC).isoformat()
        return {
            "mediaId": media_id,
            "contentType": wanted["contentType"],
            "contentLength": wanted["contentLength"],
            "uploadedAt": now,
            "url": url,
            "urlExpiry": now,
        }

    def take_export(self, body: bytes) -> None:
        """POST /api/public/otel/v1/traces: store the export first, as Langfuse does."""
        minute = datetime.now(UTC).strftime("%Y/%m/%d/%H/%M")
        key = f"events/otel/{PROJECT}/{minute}/{uuid.uuid4()}.json"
        document = json.dumps(resource_spans(body)).encode()
        self.s3.put_object(
            Bucket=self.bucket, Key=key, Body=document, ContentType="application/json"
        )
        self.exports.append(body)
        self.event_keys.append(key)

    def take_scores(self, scores: list[dict[str, Any]]) -> dict[str, Any]:
        """POST /api/public/scores: they become events like those of the ingestion API."""
        now = datetime.now(UTC).isoformat()
        self.take_batch(
            [
                {"id": str(uuid.uuid4()), "type": "score-create", "timestamp": now, "body": each}
                for each in ({"id": str(uuid.uuid4()), **score} for score in scores)
            ]
        )
        return {"message": "Accepted"}

    def take_batch(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        """POST /api/public/ingestion: one object an event, below what it is about."""
        for event in batch:
            kind = event["type"].partition("-")[0]
            kind = kind if kind in ("trace", "score") else "observation"
            key = f"events/{PROJECT}/{kind}/{event['body']['id']}/{event['id']}.json"
            body = json.dumps([event]).encode()
            self.s3.put_object(
                Bucket=self.bucket, Key=key, Body=body, ContentType="application/json"
            )
        return {"successes": [{"id": event["id"], "status": 201} for event in batch], "errors": []}

    def observations(self, trace_id: str) -> dict[str, Any]:
        """GET /api/public/v2/observations: what a worker would have read from the event objects."""
        found = []
        for key in self.event_keys:
            events = json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
            spans = (s for e in events for scope in e["scopeSpans"] for s in scope["spans"])
            for span in spans:
                if bytes(span["traceId"]["data"]).hex() == trace_id:
                    found.append({"id": bytes(span["spanId"]["data"]).hex(), "name": span["name"]})
        return {"data": found, "meta": {}}


def resource_spans(body: bytes) -> list[dict[str, Any]]:
    """An export as Langfuse's server stores it: JSON of the decoded protobuf, ids as Buffers."""
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans = MessageToDict(ExportTraceServiceRequest.FromString(body)).get("resourceSpans", [])
    for resource in spans:
        for scope in resource.get("scopeSpans", []):
            for span in scope.get("spans", []):
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        data = list(base64.b64decode(span[name]))
                        span[name] = {"type": "Buffer", "data": data}
    return list(spans)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        if not self._is_authorized():
            return self._answer(401, {"message": "wrong keys"})
        if self.path == "/api/public/media":
            return self._answer(201, self._api.announce_media(json.loads(body)))
        if self.path == "/api/public/scores":
            return self._answer(202, self._api.take_scores(json.loads(body)))
        if self.path == "/api/public/ingestion":
            return self._answer(207, self._api.take_batch(json.loads(body)["batch"]))
        if self.path == "/api/public/otel/v1/traces":
            self._api.take_export(body)
            return self._answer(200, None)
        return self._refuse()

    def do_PATCH(self) -> None:
        body = self._body()
        prefix, _, media_id = self.path.rpartition("/")
        if prefix != "/api/public/media":
            return self._refuse()
        self._api.patches[media_id] = json.loads(body)
        return self._answer(204, None)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/api/public/health":
            return self._answer(200, {"status": "OK", "version": "0.0.0-stand-in"})
        if not self._is_authorized():
            return self._answer(401, {"message": "wrong keys"})
        if path == "/api/public/v2/observations":
            return self._answer(200, self._api.observations(parse_qs(query)["traceId"][0]))
        prefix, _, media_id = path.rpartition("/")
        if prefix == "/api/public/media" and media_id in self._api.media:
            return self._answer(200, self._api.media_url(media_id))
        if path == "/api/public/projects":
            return self._answer(200, {"data": [{"id": PROJECT, "name": PROJECT, "metadata": {}}]})
        return self._refuse()

    @property
    def _api(self) -> LangfuseStandIn:
        return self.server.owner  # type: ignore[attr-defined, no-any-return]

    def _is_authorized(self) -> bool:
        expected = base64.b64encode(f"{PUBLIC_KEY}:{SECRET_KEY}".encode()).decode()
        return self.headers["Authorization"] == f"Basic {expected}"

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _refuse(self) -> None:
        self._api.refused.append(f"{self.command} {self.path}")
        self._answer(404, {"message": "the stand-in does not know this call"})

    def _answer(self, status: int, document: dict[str, Any] | None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        if body:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
