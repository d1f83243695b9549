"""PostObject and the switch for version 2 inside the application: who is asked, what is read."""

from __future__ import annotations

import asyncio
import base64
import json
import tracemalloc
from typing import Any

import pytest

from storage.config import Config
from storage.engine import interface as i
from storage.engine.memory import MemoryEngine
from storage.s3.app import S3App
from storage.s3.auth import sigv2

from .asgi import FixedDirectory

BOUNDARY = b"bo"
FORM_DATA = {"content-type": "multipart/form-data; boundary=bo"}


def part(name: str, content: bytes) -> bytes:
    head = f'--bo\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


class Store:
    """An application that authenticates for itself, over an engine in memory."""

    def __init__(self, **config: Any) -> None:
        self.directory = FixedDirectory()
        self.app = S3App(MemoryEngine(), self.directory, Config(**config))
        self.read = 0

    async def request(
        self, method: str, path: str, pieces: list[bytes], headers: dict[str, str]
    ) -> tuple[int, bytes]:
        lines = {"content-length": str(sum(map(len, pieces))), "host": "h"} | headers
        scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(n.encode(), v.encode()) for n, v in lines.items()],
            "client": ("127.0.0.1", 1),
            "scheme": "http",
        }
        waiting, sent = list(pieces), []

        async def receive() -> dict[str, Any]:
            self.read += 1
            body = waiting.pop(0) if waiting else b""
            return {"type": "http.request", "body": body, "more_body": bool(waiting)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return sent[0]["status"], b"".join(bytes(m.get("body", b"")) for m in sent[1:])

    def post(self, fields: dict[str, bytes], file: list[bytes]) -> tuple[int, bytes]:
        """Send a form whose file comes in pieces."""
        head = b"".join(part(name, value) for name, value in fields.items())
        pieces = [head + part("file", b"")[:-2], *file, b"\r\n--bo--\r\n"]
        return asyncio.run(self._post(pieces))

    async def _post(self, pieces: list[bytes]) -> tuple[int, bytes]:
        if await self.app.engine.bucket("pictures") is None:
            owner = self.directory.identity.root.id
            await self.app.engine.commit(i.CreateBucket("pictures", owner, 1))
        return await self.request("POST", "/pictures", pieces, FORM_DATA)

    def signed(self, *conditions: Any) -> dict[str, bytes]:
        """Fields signed with version 2 by the root user, for the key "k"."""
        document = {
            "expiration": "2999-01-01T00:00:00Z",
            "conditions": [{"bucket": "pictures"}, {"key": "k"}, *conditions],
        }
        policy = base64.b64encode(json.dumps(document).encode())
        return {
            "key": b"k",
            "AWSAccessKeyId": b"root",
            "policy": policy,
            "signature": sigv2.sign("secret-of-root", policy),
        }


@pytest.mark.parametrize(
    ("enabled", "code"), [(True, b"SignatureDoesNotMatch"), (False, b"InvalidRequest")]
)
def test_the_switch_for_version_2(enabled: bool, code: bytes) -> None:
    store = Store(signature_v2=enabled)
    date = {"x-amz-date": "20000101T000000Z"}
    header = {"authorization": "AWS root:AAAA"}
    answer = asyncio.run(store.request("GET", "/pictures", [], header | date))
    assert (b"RequestTimeTooSkewed" if enabled else code) in answer[1]
    assert code in store.post(store.signed() | {"signature": b"AAAA"}, [b"x"])[1]
    assert store.post(store.signed(), [b"x"])[0] == (204 if enabled else 400)


def test_a_large_file_passes_through() -> None:
    """Neither the application nor the parser holds more than a few of its pieces."""
    store = Store()
    piece = bytes(256 * 1024)
    stored = []

    async def create_file(_size: int = 0) -> Any:
        return Sink()

    class Sink:
        size = 0

        async def write(self, data: Any) -> None:
            self.size += len(data)

        async def finish(self) -> i.FileRef:
            stored.append(self.size)
            raise StopHereError

        async def abort(self) -> None:
            stored.append(-1)

    store.app.engine.create_file = create_file  # type: ignore[method-assign]
    tracemalloc.start()
    status, _ = store.post(store.signed(), [piece] * 200)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (status, stored) == (500, [200 * len(piece), -1])
    assert peak < 24 * len(piece)


class StopHereError(Exception):
    """Ends a test where the engine would come in."""


@pytest.mark.parametrize(
    ("fields", "condition", "status"),
    [
        ({}, ["content-length-range", 0, 10], 400),
        ({"policy": b"x"}, ["content-length-range", 0, 10**6], 403),
        ({"acl": b"public-read"}, ["content-length-range", 0, 10**6], 403),
        ({"key": b"other"}, ["content-length-range", 0, 10**6], 403),
        ({"x-amz-object-lock-mode": b"COMPLIANCE"}, {"x-amz-object-lock-mode": "COMPLIANCE"}, 501),
        ({"x-amz-storage-class": b"COLD"}, {"x-amz-storage-class": "COLD"}, 400),
    ],
)
def test_a_refusal_reads_nothing_of_the_file(
    fields: dict[str, bytes], condition: Any, status: int
) -> None:
    store = Store()
    assert store.post(store.signed(condition) | fields, [bytes(1024)] * 500)[0] == status
    assert store.read == 1


def test_a_stranger_is_refused_before_the_file_is_read() -> None:
    store = Store()
    assert store.post({"key": b"k"}, [bytes(1024)] * 500)[0] == 403
    assert store.read == 1
