"""Bodies of unknown length, in the pieces that a network may make of them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from storage.s3.operations.body import Body

LIMIT = 100


def chunked(pieces: list[bytes], *, end_comes_alone: bool) -> Body:
    """A plain chunked body. Whoever asks for more than there is waits for ever, as on a socket."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if end_comes_alone:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    else:
        messages[-1]["more_body"] = False

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    call: Any = SimpleNamespace(
        headers={b"transfer-encoding": b"chunked"},
        auth=SimpleNamespace(streaming=False),
        receive=receive,
        bytes_in=0,
    )
    return Body(call, chunked=True)


async def read(body: Body) -> bytes:
    """As PutObject does: small ones whole, larger ones by their pieces."""
    await body.look_ahead(LIMIT)
    if 0 <= body.length <= LIMIT:
        return await body.read()
    return b"".join([bytes(piece) async for pieces in body.pieces() for piece in pieces])


@pytest.mark.parametrize("end_comes_alone", [True, False])
@pytest.mark.parametrize("sizes", [[1], [LIMIT], [LIMIT + 1], [60, 60], [300], [90, 300, 5]])
def test_every_cut_gives_the_whole(sizes: list[int], end_comes_alone: bool) -> None:
    pieces = [bytes([65 + at]) * size for at, size in enumerate(sizes)]
    body = chunked(pieces, end_comes_alone=end_comes_alone)
    content = asyncio.run(asyncio.wait_for(read(body), 60))
    assert content == b"".join(pieces)
    assert body.length == sum(sizes)
