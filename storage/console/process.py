"""Entry of the console's process: ``python -m storage.console.process FD``.

``FD`` is its hatch (``storage.serving.handover``), over which come what it must know and then
every request. It ends with the process on the other side, or when nobody visits it for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys

import msgspec

from storage.console.front import Front
from storage.serving.doorway import Birth
from storage.serving.handover import answer_all

#: Seconds without a session or request after which the process ends, and between two looks.
IDLE, LOOK = 900.0, 15.0


def main(arguments: list[str]) -> int:
    """Answer until there is nobody left to ask; the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # httpcore tries to import it with every request, and where it is not installed Python looks
    # through all folders each time: a quarter of what a request costs. This answers at once.
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]
    hatch = socket.socket(fileno=int(arguments[0]))
    length = int.from_bytes(_exactly(hatch, 4), "big")
    birth = msgspec.json.decode(_exactly(hatch, length), type=Birth)
    asyncio.run(_live(hatch, Front(birth)))
    return 0


async def _live(hatch: socket.socket, front: Front) -> None:
    answering = asyncio.create_task(answer_all(hatch, front))
    watching = asyncio.create_task(_until_idle(front))
    await asyncio.wait((answering, watching), return_when=asyncio.FIRST_COMPLETED)
    for task in (answering, watching):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await front.close()


async def _until_idle(front: Front) -> None:
    # Looking also ends what is over, in the store as well.
    while not front.is_idle(IDLE):  # noqa: ASYNC110 - time passes without any event
        await asyncio.sleep(LOOK)


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise SystemExit(0)
        data += piece
    return data


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
