"""The one socket between the console and a reader of tables.

The reader sends frames: a letter, an offset and a length. ``R`` asks for bytes of the object, which
come back as they are, as many as were asked for; ``T`` (a table) and ``E`` (why there is none) are
followed by the answer, JSON in UTF-8, of that length, and are the last. A console that can't give
what is asked closes the socket.
"""

from __future__ import annotations

import io
import socket
import struct
from collections import OrderedDict

FRAME = struct.Struct("!cQQ")
READ, TABLE, ERROR = b"R", b"T", b"E"
#: Bytes that are asked for at least: pages of Parquet begin with headers of a few bytes.
_BLOCK = 64 * 1024
#: Blocks that are kept.
_BLOCKS_MAX = 32


class Ranges(io.RawIOBase):
    """An object of ``size`` bytes as a file, of which only what is read is fetched."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        self._sock, self._size, self._at = sock, size, 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def close(self) -> None:
        """Nothing: the library closes and opens the same file for each of its questions."""

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        count = left if size < 0 else min(size, left)
        if count >= _BLOCK:
            data = self._fetch(self._at, count)
        else:
            data = self._from_blocks(self._at, count)
        self._at += len(data)
        return data

    def answer(self, kind: bytes, document: bytes) -> None:
        """Send the answer: a ``TABLE`` or an ``ERROR``."""
        self._sock.sendall(FRAME.pack(kind, 0, len(document)) + document)

    def _from_blocks(self, at: int, count: int) -> bytes:
        data = b""
        while len(data) < count:
            number, skip = divmod(at + len(data), _BLOCK)
            data += self._block(number)[skip : skip + count - len(data)]
        return data

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            start = number * _BLOCK
            block = self._blocks[number] = self._fetch(start, min(_BLOCK, self._size - start))
            if len(self._blocks) > _BLOCKS_MAX:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return block

    def _fetch(self, at: int, count: int) -> bytes:
        self._sock.sendall(FRAME.pack(READ, at, count))
        data = bytearray(count)
        view, got = memoryview(data), 0
        while got < count:
            received = self._sock.recv_into(view[got:])
            if not received:
                raise SystemExit(0)  # nobody waits for a table any more
            got += received
        return bytes(data)
