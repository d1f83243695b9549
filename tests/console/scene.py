"""What a store in use holds: events and media of Langfuse, tables, documents, hostile names."""

from __future__ import annotations

import io
import json
import math
import struct
import uuid
import wave
import zlib
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


def span(trace: str, number: int) -> dict[str, Any]:
    """An OTLP export as Langfuse stores it."""
    attributes = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.input": json.dumps(
            {"messages": [{"role": "user", "content": "Which drive fills up first?"}]}
        ),
        "langfuse.observation.output": "The second one, in about nineteen days.",
        "gen_ai.request.model": "gpt-5-mini",
    }
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [_attribute("service.name", "support-bot")]},
                "scopeSpans": [
                    {
                        "scope": {"name": "langfuse-sdk", "version": "5.0.4"},
                        "spans": [
                            {
                                "traceId": trace,
                                "spanId": f"{number:016x}",
                                "name": "answer",
                                "startTimeUnixNano": str(1_790_000_000_000_000_000 + number),
                                "attributes": [_attribute(n, v) for n, v in attributes.items()],
                            }
                        ],
                    }
                ],
            }
        ]
    }


def _attribute(name: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value}}


def furnish(s3: Any) -> None:
    """Fill a store; ``s3`` is a boto3 client of the root user."""
    for bucket in ("langfuse", "datahub", "models", "backups"):
        if bucket not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=bucket)
    put = s3.put_object
    for number in range(24):
        trace, day = uuid.UUID(int=number * 7919 + 1).hex, 10 + number % 12
        put(
            Bucket="langfuse",
            Key=f"events/otel/support-bot/2026/11/{day:02}/09/{number:02}/{trace}.json",
            Body=json.dumps(span(trace, number)).encode(),
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
