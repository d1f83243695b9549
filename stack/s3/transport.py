"""HTTP as S3 needs it: raw paths, exact headers, bodies that stream, connections that are kept.

``http.client`` sends a path as it is given. Other clients tidy ``..`` away, which S3 keys hold.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import SplitResult, urlsplit

_BLOCK = 1 << 20


class Unreachable(Exception):
    """No answer came. ``reason`` is one word of the list below, ``detail`` says it to people.

    name: the host has no address; refused: nobody listens; timeout: no answer in time;
    tls: no trusted TLS; broken: the connection broke or what came was not HTTP. ``endpoint``: who
    did not answer, "" where that is not known.
    """

    endpoint = ""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Answer:
    """An answer whose body is read when it is asked for. Header names are lower-case."""

    def __init__(self, connection: http.client.HTTPConnection, timeout: float) -> None:
        self._response = connection.getresponse()
        self._connection, self._timeout = connection, timeout
        self.status = self._response.status
        self.headers: Mapping[str, str] = {
            name.lower(): _text(value) for name, value in self._response.getheaders()
        }
        self._body: bytes | None = None
        if self._response.length == 0:
            self._response.close()  # nothing follows: the connection is free again

    @property
    def body(self) -> bytes:
        """The whole body. Raises Unreachable if it breaks off."""
        if self._body is None:
            self._body = b"".join(self.blocks())
        return self._body

    def blocks(self, size: int = _BLOCK) -> Iterator[bytes]:
        """The body in pieces of at most ``size`` bytes. Raises Unreachable if it breaks off."""
        try:
            while block := self._response.read(size):
                yield block
            if self._response.length:  # what Content-Length promised and did not come
                raise http.client.IncompleteRead(b"", self._response.length)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise _why(error, self._timeout) from None

    @property
    def finished(self) -> bool:
        """Whether it was read to its end, so that its connection can be used again."""
        return self._response.isclosed()


class Transport:
    """Connections to one endpoint, one for each thread. Raises Unreachable."""

    def __init__(self, url: str, timeout: float) -> None:
        """``url``: http:// or https:// with host and perhaps a port; ``timeout``: seconds."""
        parts = urlsplit(url)
        if not _is_endpoint(parts) or not parts.hostname:
            raise ValueError(f"{url} is no URL of an S3 endpoint: it must be like http://host:9000")
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self.timeout = timeout
        self._secure, self._name = parts.scheme == "https", parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        default = parts.port in (None, 443 if self._secure else 80)
        name = f"[{self._name}]" if ":" in self._name else self._name
        #: The Host header, as every SDK sends it: without the scheme's own port.
        self.host = name if default else f"{name}:{self._port}"
        self._local = threading.local()

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] = b"",
    ) -> Answer:
        """Send a request whose ``target`` is encoded. Headers must hold the length of a body."""
        connection, kept = self._connection()
        try:
            return self._exchange(connection, method, target, headers, body)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            # A kept connection may have been closed while it idled: that is no trouble.
            if kept and isinstance(body, bytes) and isinstance(error, _CLOSED_IDLE):
                return self._again(method, target, headers, body)
            raise _why(error, self.timeout) from None

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()

    def _again(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        connection, _ = self._connection()
        try:
            return self._exchange(connection, method, target, headers, body)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _why(error, self.timeout) from None

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes],
    ) -> Answer:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("host", headers.get("host", self.host))
        for name, value in headers.items():
            if name != "host":
                connection.putheader(name, value.encode("utf-8", "surrogateescape"))
        whole = body if isinstance(body, bytes) and "expect" not in headers else None
        try:
            connection.endheaders(whole)
            if whole is None:
                self._send_body(connection, body, patient="expect" in headers)
        except (BrokenPipeError, ConnectionResetError):
            # Refused before the body was read: the answer says why, if it can still be had.
            with contextlib.suppress(OSError, http.client.HTTPException, Unreachable):
                answer = Answer(connection, self.timeout)
                answer.body  # noqa: B018 - read before the connection goes
                connection.close()
                return answer
            raise
        answer = self._local.answer = Answer(connection, self.timeout)
        return answer

    def _send_body(
        self,
        connection: http.client.HTTPConnection,
        body: bytes | Iterable[bytes],
        *,
        patient: bool,
    ) -> None:
        if patient and connection.sock is not None:
            # ``100 Continue`` or the final answer: both can be read from the socket now. A server
            # that knows neither gets the body after a second, as RFC 9110 (10.1.1) allows.
            select.select([connection.sock], [], [], 1.0)
        for block in (body,) if isinstance(body, bytes) else body:
            connection.send(block)

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """(this thread's connection, whether it is open already)"""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._make()
            self._local.connection = connection
        answer = getattr(self._local, "answer", None)
        if answer is not None and not answer.finished:
            connection.close()  # its last answer was not read to the end
        return connection, connection.sock is not None

    def _make(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self._name, self._port, timeout=self.timeout, context=context
            )
        return http.client.HTTPConnection(self._name, self._port, timeout=self.timeout)


def _text(value: str) -> str:
    """A header's value, which http.client takes for Latin-1, as UTF-8 that keeps every byte."""
    return value.encode("latin-1").decode("utf-8", "surrogateescape")


_CLOSED_IDLE = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)


def _is_endpoint(parts: SplitResult) -> bool:
    """Whether requests can go there. Signatures cover the path, so an endpoint has none."""
    try:
        parts.port  # noqa: B018 - a number that is none is found when it is asked for
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.path in ("", "/")


def _why(error: Exception, timeout: float) -> Unreachable:
    if isinstance(error, socket.gaierror):
        return Unreachable("name", "its name has no address here")
    if isinstance(error, TimeoutError):
        return Unreachable("timeout", f"it did not answer within {timeout:g} s")
    if isinstance(error, ssl.SSLError):
        detail = getattr(error, "verify_message", "") or error.reason or "no TLS is spoken there"
        return Unreachable("tls", f"its TLS is not trusted ({str(detail).lower()})")
    if isinstance(error, ConnectionRefusedError):
        return Unreachable("refused", "nobody listens there")
    if isinstance(error, http.client.BadStatusLine) and not isinstance(
        error, http.client.RemoteDisconnected
    ):
        return Unreachable("broken", "what answers there does not speak HTTP")
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ConnectionError):
        return Unreachable("refused", error.strerror[:1].lower() + error.strerror[1:])
    return Unreachable("broken", "the connection broke off")
