"""What a store in use holds: events and media of Langfuse, tables, documents, hostile names."""

from __future__ import annotations

import io
import json
import math
import struct
import uuid
import wave
import zlib
from datetime import UTC, datetime
from typing import Any

#: Names that must neither break a page nor act in it.
HOSTILE = (
    "hostile/<img src=x onerror=alert(1)>.txt",
    'hostile/"><script>alert(document.domain)</script>.txt',
    "hostile/line\nbreak.txt",
    "hostile/\u202etxt.exe\u202c.txt",
    "hostile/{{7*7}} ${7*7} %00 %2e%2e.txt",
    "hostile/../../escape.txt",
    "hostile/a//b",
    "hostile/ leading and trailing ",
    "hostile/" + "é" * 500 + ".txt",
    "hostile/日本語 العربية 🎉.txt",
)


def png(width: int, height: int) -> bytes:
    """A picture: soft waves of colour."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            wave_ = math.sin(x / 37) + math.cos(y / 29) + math.sin((x + y) / 53)
            rows += bytes(
                (
                    int(40 + 30 * (1 + wave_ / 3)),
                    int(110 + 70 * (1 + math.sin(x / 61 - y / 43)) / 2),
                    int(120 + 80 * y / height),
                )
            )

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(rows), 6))
        + chunk(b"IEND", b"")
    )


def tone(seconds: float = 0.2) -> bytes:
    """A WAV file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(
            b"".join(
                struct.pack("<h", int(9000 * math.sin(i / 4))) for i in range(int(8000 * seconds))
            )
        )
    return out.getvalue()


#: The moment of the first event, in seconds since the epoch: 10 November 2026, 9:00 UTC.
BEGAN = 1_794_301_200
DAY = 86_400

_QUESTIONS = (
    ("Which drive fills up first?", "The second one, in about nineteen days."),
    ("What is in this picture?", "Waves in green and blue, seen from above."),
    ("Sum up yesterday's tickets.", "Forty-one were opened, thirty-eight closed; two wait for us."),
)


def trace_id(number: int) -> str:
    """The id of one of the traces."""
    return uuid.UUID(int=(number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).hex


def export(trace: str, number: int, moment: int) -> list[dict[str, Any]]:
    """An OTLP export as Langfuse keeps it: resources with their spans, ids as Node's buffers."""
    question, reply = _QUESTIONS[number % len(_QUESTIONS)]
    if number % len(_QUESTIONS) == 1:
        question += " @@@langfuseMedia:type=image/png|id=waves|source=bytes@@@"
    asked = json.dumps(
        [
            {"role": "system", "content": "You help operators of a store."},
            {"role": "user", "content": question},
        ]
    )
    observed = {
        "langfuse.observation.type": "generation",
        "gen_ai.request.model": "gpt-5-mini",
        "langfuse.observation.input": asked,
        "langfuse.observation.output": reply,
    }
    traced = {"langfuse.trace.input": asked, "langfuse.trace.output": reply}
    spans = [("answer", moment, traced), ("generation", moment + 1, observed)]
    return [
        {
            "resource": {"attributes": [_attribute("service.name", "support-bot")]},
            "scopeSpans": [
                {
                    "scope": {"name": "langfuse-sdk", "version": "5.0.4"},
                    "spans": [
                        {
                            "traceId": {"type": "Buffer", "data": list(bytes.fromhex(trace))},
                            "spanId": {"type": "Buffer", "data": [number, at] * 4},
                            "name": name,
                            "startTimeUnixNano": str(start * 1_000_000_000),
                            "endTimeUnixNano": str((start + 2) * 1_000_000_000),
                            "attributes": [_attribute(n, v) for n, v in attributes.items()],
                        }
                        for at, (name, start, attributes) in enumerate(spans)
                    ],
                }
            ],
        }
    ]


def score(trace: str, number: int, moment: int) -> list[dict[str, Any]]:
    """A score as Langfuse's own layout has it."""
    when = datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
    body = {"id": f"score-{number}", "traceId": trace, "name": "helpful", "value": 0.9}
    return [{"id": f"event-{number}", "type": "score-create", "timestamp": when, "body": body}]


def _attribute(name: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value}}


def furnish(s3: Any) -> None:
    """Fill a store; ``s3`` is a boto3 client of the root user."""
    for bucket in ("langfuse", "datahub", "models", "backups"):
        if bucket not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=bucket)
    put = s3.put_object
    for number in range(60):
        trace = trace_id(number)
        moment = BEGAN + number * 7 % 12 * DAY + number * 600
        path = datetime.fromtimestamp(moment, UTC).strftime("%Y/%m/%d/%H/%M")
        put(
            Bucket="langfuse",
            Key=f"events/otel/support-bot/{path}/{uuid.UUID(hex=trace)}.json",
            Body=json.dumps(export(trace, number, moment)).encode(),
            ContentType="application/json",
        )
        if number % 4 == 0:
            put(
                Bucket="langfuse",
                Key=f"events/support-bot/score/score-{number}/event-{number}.json",
                Body=json.dumps(score(trace, number, moment + 60)).encode(),
                ContentType="application/json",
            )
    put(
        Bucket="langfuse", Key="media/support-bot/waves.png", Body=png(960, 540),
        ContentType="image/png", Metadata={"trace": "0001", "field": "input"},
        ChecksumAlgorithm="SHA256", Tagging="team=support&kind=screenshot",
    )  # fmt: skip
    put(Bucket="langfuse", Key="media/support-bot/tone.wav", Body=tone(), ContentType="audio/wav")
    rows = ["id,model,tokens,latency_ms,cost_usd"]
    rows += [f"{i},gpt-5-mini,{300 + i * 37 % 900},{120 + i * 53 % 700},{i * 0.0013:.4f}"
             for i in range(400)]  # fmt: skip
    put(
        Bucket="langfuse", Key="exports/1790000000000-lf-traces-export-support-bot.csv",
        Body="\n".join(rows).encode(), ContentType="text/csv",
    )  # fmt: skip
    put(Bucket="datahub", Key="documents/handbook.md", Body=b"# Handbook\n\nAsk first.\n" * 40)
    put(Bucket="models", Key="ranker/v3/model.bin", Body=bytes(3_500_000))
    put(Bucket="models", Key="ranker/v3/config.json", Body=b'{"layers": 12, "tied": true}')
    put(Bucket="backups", Key="2026-11-21.tar", Body=bytes(1_200_000))
    for name in HOSTILE:
        put(Bucket="datahub", Key=name, Body=b"<script>alert(1)</script>", ContentType="text/html")
