"""One input: what a client sends over a connection, and in which pieces it arrives."""

from __future__ import annotations

from typing import NamedTuple

from tests.fuzz import histories, requests, values
from tests.fuzz.chance import Chance
from tests.fuzz.world import World


class Connection(NamedTuple):
    """``pieces`` arrive one after the other. ``slow_reader``: the client takes answers late.

    ``ends``: the client ends its side behind the last piece. ``waits``: seconds of silence then.
    ``goes_on``: another request must be answered if the connection is left open.
    """

    pieces: list[bytes]
    slow_reader: bool = False
    ends: bool = False
    waits: int = 0
    goes_on: bool = False


def connection(chance: Chance, world: World) -> Connection:
    """A connection with one request, or several one behind the other, a history, or garbage."""
    count = chance.one((1,) * 14 + (2, 2, 3, 9))
    if chance.happens(0.3):
        data = histories.history(chance, world)
    else:
        data = b"".join(requests.request(chance, world) for _ in range(count))
    if chance.happens(0.1):
        data = _spoilt(chance, data)
    return Connection(
        _cut(chance, data),
        slow_reader=chance.happens(0.05),
        ends=chance.happens(0.1),
        waits=chance.one((0,) * 30 + (25, 100)),
        goes_on=chance.happens(0.3),
    )


def _spoilt(chance: Chance, data: bytes) -> bytes:
    """Bytes changed, added, lost or repeated, near the head more often than in bodies."""
    for _ in range(chance.one((1, 1, 1, 2, 5, 20))):
        end = min(len(data), chance.one((30, 300, 2000, len(data) + 1))) + 1
        place = chance.below(end)
        kind = chance.below(7)
        if kind == 0:
            data = data[:place] + chance.bytes(1) + data[place + 1 :]
        elif kind == 1:
            data = data[:place] + chance.one(values.ODD) + data[place:]
        elif kind == 2:
            data = data[:place] + data[place + chance.between(1, 20) :]
        elif kind == 3:
            data = data[:place] + data[place : place + chance.between(1, 200)] + data[place:]
        elif kind == 4:
            data = data[:place]
        elif kind == 5:
            mark = chance.one((b"\r\n", b": ", b" ", b"HTTP/1.1", b"/", b"\r\n\r\n", b"?", b"="))
            data = data.replace(
                mark, chance.one((b"\n", b"\r", b"", b"\x00", b"HTTP/2.0", mark * 2)), 1
            )
        else:
            data = data[:place] + chance.one(_WHOLE) + data[place:]
    return data


_WHOLE = (
    b"x: " + b"y" * 70_000 + b"\r\n", b"a: b\r\n" * 3000, b"\r\n" * 50,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/0.9\r\n\r\n", b"GET /\r\n",
    b" folded\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"content-length : 5\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n", b"GET /fuzz-plain/key HTTP/1.1\r\nHost: x\r\n\r\n",
)  # fmt: skip


def _cut(chance: Chance, data: bytes) -> list[bytes]:
    if chance.happens(0.8) or len(data) < 2:
        return [data]
    count = min(chance.one((1, 1, 1, 2, 2, 5, 5, 30)), len(data) - 1)
    head = max(1, min(len(data) - 1, chance.one((200, 2000, len(data)))))
    places = sorted({chance.between(1, head) for _ in range(count)})
    return [
        data[start:stop] for start, stop in zip((0, *places), (*places, len(data)), strict=True)
    ]
