"""A bounded part of the fuzzing, the same in every run. ``make fuzz`` plays other inputs."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from storage.s3 import auth, routes, xml
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error
from storage.s3.operations import delete_object
from tests.fuzz import subject
from tests.fuzz.campaign import EPOCH, Campaign, Finding, campaign

# The hang that a test makes is thrown away with some noise, whenever that happens.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

_SEED = 20261122
_INPUTS = 3 * EPOCH
_REPLAYED = 150
#: Operations that the inputs must get through, beside being refused by them.
_REACHED = {
    "AbortMultipartUpload", "CompleteMultipartUpload", "CopyObject", "CreateMultipartUpload",
    "DeleteObjects", "GetObjectAcl", "GetObjectAttributes", "GetObjectTagging",
    "ListObjectVersions", "ListObjectsV2", "PostObject", "PutBucketAcl", "PutBucketCors",
    "PutBucketLifecycleConfiguration", "PutBucketPolicy", "PutBucketVersioning", "PutObject",
    "PutObjectAcl", "PutObjectTagging", "PutPublicAccessBlock", "UploadPart", "UploadPartCopy",
}  # fmt: skip
#: Bytes that a round of the same inputs may add: caches of bounded size are still filling up with
#: what is new in each round, signatures and ids. One kept object per request is more.
_GROWTH_MAX = 512 * _REPLAYED


def play(use: Callable[[Campaign], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with campaign(_SEED) as running:
            return await use(running)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def test_no_input_breaks_the_store() -> None:
    async def use(running: Campaign) -> None:
        await running.play(0, _INPUTS)
        done = {operation for operation, status in running.tally.operations if status < 300}
        assert not _REACHED - done, "never granted"
        assert running.tally.statuses[200] > _INPUTS / 10, "most inputs are refused too early"

    play(use)


def test_the_same_inputs_again_keep_no_memory() -> None:
    assert play(kept) < _GROWTH_MAX


async def kept(running: Campaign) -> int:
    """Bytes that are held after a third round of the same inputs and were not after the second."""
    held = []
    for _ in range(3):
        await running.play(0, _REPLAYED)
        if not tracemalloc.is_tracing():
            tracemalloc.start()
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return held[2] - held[1]


# -- whether it would notice ----------------------------------------------------------------------


def found_with(monkeypatch: pytest.MonkeyPatch, operation: str, handler: Any) -> str:
    """What is found when an operation is carried out by something else."""
    (row,) = [row for row in routes.ROUTES if row.operation == operation]
    monkeypatch.setattr(row, "handler", handler)
    return found()


def found() -> str:
    with pytest.raises(Finding) as raised:
        play(lambda running: running.play(0, EPOCH))
    return str(raised.value)


def test_an_unexpected_exception_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(call: Call) -> Response:
        raise KeyError(call.bucket)

    assert "an error was logged" in found_with(monkeypatch, "ListObjectVersions", broken)


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def waiting(_call: Call) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(subject, "PATIENCE", 3.0)  # what comes before may take its time
    assert "Hang" in found_with(monkeypatch, "ListObjectVersions", waiting)


def test_what_is_stored_in_spite_of_a_refusal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refusing(call: Call) -> Response:
        await delete_object.delete_object(call)
        raise S3Error("AccessDenied")

    assert "a change was committed" in found_with(monkeypatch, "DeleteObject", refusing)


def test_memory_that_is_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def keeping(call: Call, *arguments: Any) -> Any:
        calls.append(call)
        return authenticate(call, *arguments)

    authenticate = auth.authenticate
    monkeypatch.setattr(auth, "authenticate", keeping)
    assert play(kept) > _GROWTH_MAX


def test_a_document_that_is_none_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml, "escape", str)
    assert "no XML" in found()
