"""``Expect: 100-continue``: the body is asked for once the headers were found to allow it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.s3.raw import UNSIGNED, RawClient

SIZE = 3 * 1024 * 1024


class Wire:
    """One connection, byte by byte."""

    def __init__(self, raw: RawClient) -> None:
        host, _, port = raw.address.partition(":")
        self._raw = raw
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._stream = self._socket.makefile("rb")

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def announce(self, path: str, size: int = SIZE, **changed: str) -> None:
        """The head of an upload, signed; then wait."""
        lines = {"content-length": str(size), "expect": "100-continue"}
        lines |= self._raw.sign("PUT", path, "", lines, b"", UNSIGNED)
        lines |= changed
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._socket.sendall(f"PUT {path} HTTP/1.1\r\n{head}\r\n".encode())

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of the next answer, an interim one included."""
        status = int(self._stream.readline().split()[1])
        headers = {}
        while line := self._stream.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, self._stream.read(int(headers.get("content-length", 0)))

    def ends(self) -> bool:
        """Whether the other side sends nothing more."""
        return not self._stream.read(1)


@pytest.fixture
def wire(raw: RawClient) -> Iterator[Wire]:
    wire = Wire(raw)
    yield wire
    wire.close()


def test_the_body_is_asked_for(wire: Wire, raw: RawClient, bucket: str) -> None:
    wire.announce(f"/{bucket}/k")
    assert wire.answer() == (100, {}, b"")
    wire.send(b"x" * SIZE)
    status, headers, _ = wire.answer()
    assert (status, "etag" in headers) == (200, True)
    assert raw.request("HEAD", f"/{bucket}/k").headers["content-length"] == str(SIZE)


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"x-amz-content-sha256": "ab" * 32}, 403, b"SignatureDoesNotMatch"),
        ({"authorization": ""}, 403, b"AccessDenied"),
        ({"content-length": str(5 * 1024**3 + 1)}, 400, b"EntityTooLarge"),
        ({"content-md5": "x"}, 400, b"InvalidDigest"),
    ],
)
def test_a_refusal_comes_instead(
    wire: Wire, bucket: str, changed: dict[str, str], status: int, code: bytes
) -> None:
    """Not a byte of the body was sent, and none is waited for."""
    wire.announce(f"/{bucket}/k", **changed)
    answered, headers, body = wire.answer()
    assert (answered, code in body, headers["connection"]) == (status, True, "close")
    assert wire.ends()


def test_so_does_what_the_bucket_says(wire: Wire, bucket: str) -> None:
    wire.announce(f"/{bucket}-absent/k")
    status, _, body = wire.answer()
    assert (status, b"NoSuchBucket" in body) == (404, True)


def test_and_a_condition_that_does_not_hold(wire: Wire, raw: RawClient, bucket: str) -> None:
    raw.request("PUT", f"/{bucket}/k", body=b"x")
    wire.announce(f"/{bucket}/k", **{"if-none-match": "*"})
    status, _, body = wire.answer()
    assert (status, b"PreconditionFailed" in body) == (412, True)


def test_an_expectation_that_nobody_knows_is_ignored(raw: RawClient, bucket: str) -> None:
    answer = raw.request("PUT", f"/{bucket}/k", body=b"x", headers={"expect": "200-ok"})
    assert answer.status == 200
