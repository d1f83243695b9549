"""What the supervisor and a child say to each other: typed messages over a socket pair.

The pair is the child's lifeline as well. The supervisor learns of a child's end by its exit, a
child of the supervisor's by end-of-file. Secrets (root credentials, the store key) travel here
and nowhere else: not in arguments, not in the environment, not on a drive.
"""

from __future__ import annotations

import socket
import struct

import msgspec

from storage.config import Config

_LENGTH = struct.Struct(">I")
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024


class Start(msgspec.Struct, tag="start"):
    """Supervisor -> child, first: who you are and what you inherited.

    ``listeners`` (S3) and ``console`` are descriptors of sockets that listen already. ``shared``
    is that of the memory that all processes of the store share (counters), -1 without. ``engine``
    says that the committer is ready; ``store_key`` is empty until first-start duties are done.
    """

    role: str
    index: int
    config: Config
    listeners: list[int] = []
    console: list[int] = []
    shared: int = -1
    engine: bool = False
    store_key: bytes = b""


class EngineReady(msgspec.Struct, tag="engine"):
    """Committer -> supervisor -> all others: the engine answers."""


class Prepared(msgspec.Struct, tag="prepared"):
    """Control -> supervisor -> all others: first-start duties are done, here is the store key.

    ``buckets`` is what the panel shows.
    """

    store_key: bytes
    buckets: list[str] = []


class Ready(msgspec.Struct, tag="ready"):
    """Child -> supervisor: doing my work."""


class Failed(msgspec.Struct, tag="failed"):
    """Child -> supervisor: can't work, in one sentence.

    ``final``: starting again would not help (wrong root secret, refused drive).
    """

    sentence: str
    final: bool = False


class Stop(msgspec.Struct, tag="stop"):
    """Supervisor -> child: finish what is in flight within ``seconds``, then end."""

    seconds: float


Message = Start | EngineReady | Prepared | Ready | Failed | Stop

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


class Channel:
    """One end of the pair. ``send`` may be called from any thread, ``receive`` from one."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._received = bytearray()

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """The supervisor's end, and the bare socket to be inherited by the child."""
        ours, theirs = socket.socketpair()
        return cls(ours), theirs

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send, or do nothing if the other side has gone: its end is noticed elsewhere."""
        data = _encoder.encode(message)
        try:
            self._socket.sendall(_LENGTH.pack(len(data)) + data)
        except OSError:
            return

    def receive(self) -> Message | None:
        """The next message; None once the other side has gone. Blocks."""
        while (message := self._next()) is None:
            try:
                data = self._socket.recv(65536)
            except OSError:
                return None
            if not data:
                return None
            self._received += data
        return message

    def receive_available(self) -> tuple[list[Message], bool]:
        """Messages that have arrived, and whether more may come. Does not block."""
        open_ = True
        try:
            while data := self._socket.recv(65536, socket.MSG_DONTWAIT):
                self._received += data
            open_ = False
        except BlockingIOError:
            pass
        except OSError:
            open_ = False
        messages: list[Message] = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages, open_

    def close(self) -> None:
        self._socket.close()

    def _next(self) -> Message | None:
        buffered = self._received
        if len(buffered) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(buffered)
        if length > _MESSAGE_BYTES_MAX:
            raise ValueError(f"a message of {length} bytes between processes of the store")
        end = _LENGTH.size + length
        if len(buffered) < end:
            return None
        message: Message = _decoder.decode(bytes(buffered[_LENGTH.size : end]))
        del buffered[:end]
        return message
