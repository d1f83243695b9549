"""HTTP/1.1 on the console port: uvicorn's protocol, with an end to waiting.

uvicorn waits without end for the rest of a request's head, for a body's next byte, and for a
client to take what was sent. Here one sweep a second (``webserver.Server``) breaks such
connections off. The limits are those of the S3 port (``storage.s3.http``).
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Seconds: for a whole request head, from its first byte or the connection's beginning, and for
#: the rest of a body whose answer was given; for each ``PROGRESS`` bytes of a body that is waited
#: for; without a byte taken of a response.
HEAD_TIMEOUT, STALL_TIMEOUT = 20.0, 60.0
PROGRESS = 1024
#: Requests of one connection that wait while an earlier one is answered.
PIPELINE_MAX = 64


class PatientProtocol(HttpToolsProtocol):
    """One connection. ``sweep`` is called once a second."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        now = self.loop.time()
        #: Since when a head, or the rest of a body nobody wants, is being waited for.
        self._due_since: float | None = now
        self._in_head, self._in_body = True, False
        self._moved, self._received, self._unsent = now, 0, 0

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received >= PROGRESS:
            self._moved, self._received = self.loop.time(), 0
        super().data_received(data)
        if len(self.pipeline) > PIPELINE_MAX:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._moved, self._received = self.loop.time(), 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def sweep(self) -> None:
        """Break off what has kept the store waiting for too long."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._moved = unsent, now
        if not self._is_due():
            self._due_since = None
        elif self._due_since is None:
            self._due_since = now
        slow = self._due_since is not None and now - self._due_since > HEAD_TIMEOUT
        stalled = (unsent or self._is_body_awaited()) and now - self._moved > STALL_TIMEOUT
        if slow or stalled:
            self.transport.abort()

    def _is_due(self) -> bool:
        """Whether a head, or a body that was answered already, has not come to its end."""
        return self._in_head or (self._in_body and self.cycle.response_complete)

    def _is_body_awaited(self) -> bool:
        cycle = self.cycle
        if not self._in_body or self.flow.read_paused:
            return False
        return not cycle.body and not cycle.waiting_for_100_continue
