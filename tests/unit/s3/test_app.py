"""The frame around operations: overload, failures, hooks, delegation, caches."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from storage import errors
from storage.engine import interface as i
from storage.engine.memory import MemoryEngine
from storage.s3.app import Hooks
from storage.s3.auth import ChunkDecoder
from storage.s3.operations import multipart
from storage.s3.operations.body import Body
from tests.unit.s3.asgi import Caller, blocks

LARGE = b"x" * 300_000


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def test_beyond_the_bound_requests_are_told_to_slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(MemoryEngine):
        async def buckets(self) -> list[i.Bucket]:
            await gate.wait()
            return []

    async def main() -> None:
        call = Caller(monkeypatch, Slow(), requests_max=2)
        waiting = [asyncio.create_task(call("GET", "/")) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await call("GET", "/")
        assert refused.status == 503
        assert b"<Code>SlowDown</Code>" in refused.body
        assert refused.headers["retry-after"] == "1"
        gate.set()
        assert [reply.status for reply in await asyncio.gather(*waiting)] == [200, 200]
        assert (await call("GET", "/")).status == 200
        assert call.app.in_flight == 0

    gate = asyncio.Event()
    run(main())


def test_a_bug_is_logged_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy(MemoryEngine):
        async def buckets(self) -> list[i.Bucket]:
            raise RuntimeError("secret detail")

    with caplog.at_level(logging.ERROR):
        reply = run(Caller(monkeypatch, Buggy())("GET", "/"))
    assert reply.status == 500
    assert b"<Code>InternalError</Code>" in reply.body
    assert b"secret" not in reply.body
    assert b"Traceback" not in reply.body
    assert reply.headers["x-amz-request-id"] in caplog.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.StorageFull(), 507, "XMinioStorageFull"),
        (errors.ReadOnly(), 503, "XMinioObjectReadOnly"),
        (errors.Unavailable(), 503, "ServiceUnavailable"),
        (errors.Conflict(), 409, "OperationAborted"),
        (errors.DataCorrupt(), 500, "InternalError"),
        (errors.PreconditionFailed("If-Match"), 412, "PreconditionFailed"),
    ],
)
@pytest.mark.parametrize("body", [b"small", LARGE])
def test_storage_truths_become_codes(
    monkeypatch: pytest.MonkeyPatch, error: errors.StoreError, status: int, code: str, body: bytes
) -> None:
    class Failing(MemoryEngine):
        async def commit(self, change: i.Change) -> Any:
            if isinstance(change, i.PutObject):
                raise error
            return await super().commit(change)

    async def main() -> None:
        engine = Failing()
        call = Caller(monkeypatch, engine)
        await call("PUT", "/bucket")
        reply = await call("PUT", "/bucket/k", body=body)
        assert (reply.status, code.encode() in reply.body) == (status, True)
        # A file whose fate is unknown must stay; any other is thrown away.
        kept = 1 if isinstance(error, errors.Unavailable) and body is LARGE else 0
        assert len(engine._staged) == kept

    run(main())


def test_damage_at_the_start_is_an_error_later_it_breaks_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Rotten(MemoryEngine):
        def read(self, version: i.Version, start: int, stop: int) -> Any:
            return blocks(*pieces)

    async def main() -> None:
        call = Caller(monkeypatch, Rotten())
        await call("PUT", "/bucket")
        await call("PUT", "/bucket/k", body=LARGE)
        pieces[:] = [errors.DataCorrupt()]
        reply = await call("GET", "/bucket/k")
        assert (reply.status, b"InternalError" in reply.body) == (500, True)
        pieces[:] = [b"x" * 1000, errors.DataCorrupt()]
        reply = await call("GET", "/bucket/k")
        assert (reply.status, reply.complete) == (200, False)
        assert call.app.in_flight == 0

    pieces: list[Any] = []
    run(main())


def test_the_hook_sees_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, int, int]] = []

    def on_response(call: Any, status: int, got: int, sent: int, seconds: float) -> None:
        assert 0 <= seconds < 60
        seen.append((call.route.operation if call.route else "", status, got, sent))

    async def main() -> None:
        call = Caller(monkeypatch, hooks=Hooks(on_response))
        await call("PUT", "/bucket")
        await call("PUT", "/bucket/k", body=b"12345")
        await call("GET", "/bucket/k")
        await call("GET", "/bucket/big")
        await call("PUT", "/bucket/big", body=LARGE)
        await call("GET", "/bucket/big")
        await call("GET", "/%FF")

    run(main())
    assert [row[:2] for row in seen] == [
        ("CreateBucket", 200), ("PutObject", 200), ("GetObject", 200), ("GetObject", 404),
        ("PutObject", 200), ("GetObject", 200), ("", 400),
    ]  # fmt: skip
    assert seen[1][2:] == (5, 0)
    assert seen[2][2:] == (0, 5)
    assert seen[4][2] == len(LARGE)
    assert seen[5][3] == len(LARGE)


def test_minios_paths_are_delegated_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []

    async def minio(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["raw_path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"live"})

    async def main() -> None:
        call = Caller(monkeypatch, hooks=Hooks(minio=minio))
        assert (await call("GET", "/minio/health/live")).body == b"live"
        assert (await call("GET", "/minio/v2/metrics/cluster")).body == b"live"
        assert (await call("PUT", "/minio")).status == 200
        assert (await call("PUT", "/minio/health", body=b"x")).status == 200
        assert (await call("PUT", "/minio/v2/other", body=b"x")).status == 200

    run(main())
    assert len(paths) == 2


def test_a_bucket_that_was_replaced_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        call = Caller(monkeypatch)
        await call("PUT", "/bucket")
        first = await call.app.bucket("bucket")
        assert await call.app.bucket("bucket") is first
        await call.engine.commit(i.DeleteBucket("bucket"))
        assert (await call("GET", "/bucket/k")).status == 404
        await call.engine.commit(i.CreateBucket("bucket", "someone", 0))
        assert (await call.app.bucket("bucket")).id != first.id

    run(main())


def test_a_slow_completion_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(MemoryEngine):
        async def commit(self, change: i.Change) -> Any:
            if isinstance(change, i.CompleteUpload):
                await asyncio.sleep(0.05)
                if fail:
                    raise errors.PreconditionFailed("If-Match")
            return await super().commit(change)

    async def main() -> bytes:
        call = Caller(monkeypatch, Slow())
        await call("PUT", "/bucket")
        created = await call("POST", "/bucket/k", "uploads")
        upload = created.body.split(b"<UploadId>")[1].split(b"<")[0].decode()
        part = await call("PUT", "/bucket/k", f"partNumber=1&uploadId={upload}", body=b"x")
        body = (
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
            f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
        )
        reply = await call("POST", "/bucket/k", f"uploadId={upload}", body=body.encode())
        assert reply.status == 200
        assert "content-length" not in reply.headers
        head, _, tail = reply.body.partition(b"\n")
        assert head.startswith(b"<?xml")
        assert tail.startswith(b" ")
        return tail.strip()

    monkeypatch.setattr(multipart, "KEEP_ALIVE", 0.01)
    fail = False
    assert run(main()).startswith(b"<CompleteMultipartUploadResult")
    fail = True
    assert run(main()).startswith(b"<Error><Code>PreconditionFailed")


def test_origins_can_be_narrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        call = Caller(monkeypatch, cors_allow_origin=("https://a.example", "https://*.b.example"))
        for origin, allowed in (
            ("https://a.example", True),
            ("https://x.b.example", True),
            ("https://b.example", False),
            ("https://a.example.evil", False),
        ):
            asked = {"origin": origin, "access-control-request-method": "PUT"}
            assert (await call("OPTIONS", "/b/k", headers=asked)).status == (
                200 if allowed else 403
            )
            reply = await call("GET", "/", headers={"origin": origin})
            shown = reply.headers.get("access-control-allow-origin")
            assert shown == (origin if allowed else None)

    run(main())


def test_lifespan(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
        sent = []

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await Caller(monkeypatch).app({"type": "lifespan"}, receive, send)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    run(main())


@pytest.mark.parametrize("body", [b"12345", LARGE])
@pytest.mark.parametrize("difference", [-1, 1])
def test_a_body_of_another_length_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, body: bytes, difference: int
) -> None:
    """Whatever the HTTP server lets through."""

    async def main() -> None:
        call = Caller(monkeypatch)
        await call("PUT", "/bucket")
        length = {"content-length": str(len(body) + difference)}
        reply = await call("PUT", "/bucket/k", body=body, headers=length)
        assert (reply.status, b"<Code>IncompleteBody</Code>" in reply.body) == (400, True)
        assert (await call("GET", "/bucket/k")).status == 404
        assert not call.engine._staged

    run(main())


def test_the_hook_sees_what_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    pieces: list[Any] = []

    class Rotten(MemoryEngine):
        def read(self, version: i.Version, start: int, stop: int) -> Any:
            return blocks(*pieces)

    def on_response(call: Any, status: int, got: int, sent: int, seconds: float) -> None:
        seen.append((status, sent))

    async def main() -> None:
        call = Caller(monkeypatch, Rotten(), Hooks(on_response))
        await call("PUT", "/bucket")
        await call("PUT", "/bucket/k", body=LARGE)
        seen.clear()
        pieces[:] = [b"x" * 1000, errors.DataCorrupt()]
        await call("GET", "/bucket/k")
        assert seen == [(200, 1000)]

    run(main())


def test_nothing_more_is_read_for_a_client_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    seen: list[tuple[int, int]] = []

    class Watched(MemoryEngine):
        async def read(self, version: i.Version, start: int, stop: int) -> Any:
            for number in range(100):
                read.append(number)
                yield b"x" * 1000

    def on_response(call: Any, status: int, got: int, sent: int, seconds: float) -> None:
        seen.append((status, sent))

    async def main() -> None:
        call = Caller(monkeypatch, Watched(), Hooks(on_response))
        await call("PUT", "/bucket")
        await call("PUT", "/bucket/k", body=LARGE)
        seen.clear()
        messages = []

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)
            if len(messages) > 3:
                raise ConnectionResetError

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        scope: dict[str, Any] = {
            "type": "http", "method": "GET", "raw_path": b"/bucket/k", "query_string": b"",
            "headers": [], "client": None, "scheme": "http",
        }  # fmt: skip
        await call.app(scope, receive, send)
        assert seen == [(200, 2000)]
        assert len(read) < 5
        assert call.app.in_flight == 0

    run(main())


def test_the_hook_sees_a_request_that_was_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Stuck(MemoryEngine):
        async def lookup(self, bucket_id: int, key: str) -> Any:
            raise asyncio.CancelledError

    async def main() -> None:
        call = Caller(monkeypatch, Stuck(), Hooks(lambda _, status, *rest: seen.append(status)))
        await call("PUT", "/bucket")
        with pytest.raises(asyncio.CancelledError):
            await call("GET", "/bucket/k")

    run(main())
    assert seen == [200, 499]


def test_small_chunks_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would cost hundreds of bytes of memory while it waits to be hashed."""
    counts: list[int] = []

    async def main() -> None:
        framed = b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"
        decoder = ChunkDecoder(10_000)
        call: Any = SimpleNamespace(
            auth=SimpleNamespace(streaming=True, decoder=lambda _: decoder),
            headers={b"x-amz-decoded-content-length": b"10000"},
            receive=receive(framed),
        )
        async for pieces in Body(call).pieces():
            counts.append(len(list(pieces)))

    def receive(data: bytes) -> Any:
        async def once() -> dict[str, Any]:
            return {"type": "http.request", "body": data, "more_body": False}

        return once

    run(main())
    assert counts == [1]
