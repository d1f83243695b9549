"""Chunked bodies: any split of the stream gives the same result, any damage an S3Error."""

from __future__ import annotations

import contextlib
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.s3.auth import ChunkDecoder, authenticate
from storage.s3.auth.chunked import LINE_MAX, TRAILERS_MAX
from storage.s3.errors import S3Error

from .conftest import Request, keyring
from .signer import chunked

DATA = random.Random(7).randbytes(200_000)
CRC = {"x-amz-checksum-crc32c": "sOO8/Q=="}
TWO = {"x-amz-checksum-crc32c": "sOO8/Q==", "x-amz-checksum-a": "eA=="}


def decoder_of(request: Request) -> ChunkDecoder:
    return authenticate(request, keyring, "").decoder(request.headers)


def decode(decoder: ChunkDecoder, *parts: bytes) -> bytes:
    data = b"".join(bytes(piece) for part in parts for piece in decoder.feed(part))
    decoder.finish()
    return data


def split(body: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=80, deadline=None)
@given(
    size=st.integers(0, 3000),
    chunk=st.integers(1, 1200),
    cuts=st.lists(st.integers(0, 10_000), max_size=40),
    trailers=st.sampled_from([None, {}, CRC, TWO]),
    style=st.sampled_from(["aws", "minio"]),
    sort=st.booleans(),
)
def test_any_split_gives_the_same(
    size: int,
    chunk: int,
    cuts: list[int],
    trailers: dict[str, str] | None,
    style: str,
    sort: bool,
) -> None:
    request, body = chunked(DATA[:size], chunk, trailers=trailers, style=style, sort=sort)
    decoder = decoder_of(request)
    assert decode(decoder, *split(body, cuts)) == DATA[:size]
    assert decoder.length == size
    assert decoder.trailers == (trailers or {})


def test_byte_by_byte() -> None:
    request, body = chunked(DATA[:700], 256, trailers=CRC)
    decoder = decoder_of(request)
    assert decode(decoder, *(body[i : i + 1] for i in range(len(body)))) == DATA[:700]
    assert decoder.trailers == CRC


def test_pieces_are_views_of_what_was_fed() -> None:
    request, body = chunked(DATA, 65536)
    pieces = decoder_of(request).feed(body)
    assert [len(piece) for piece in pieces] == [65536, 65536, 65536, 200_000 - 3 * 65536]
    assert all(piece.obj is body for piece in pieces)


@settings(max_examples=150, deadline=None)
@given(
    position=st.integers(0, 10_000),
    flip=st.integers(1, 255),
    trailers=st.sampled_from([None, CRC]),
)
def test_any_changed_byte_is_noticed(
    position: int, flip: int, trailers: dict[str, str] | None
) -> None:
    request, body = chunked(DATA[:300], 128, trailers=trailers)
    changed = bytearray(body)
    changed[position % len(body)] ^= flip
    try:
        result = decode(decoder_of(request), bytes(changed))
    except S3Error:
        return
    # Only what carries no meaning may differ: the case of a size or of a trailer's name.
    assert result == DATA[:300]
    assert bytes(changed).lower() == body.lower() or trailers is not None


@settings(max_examples=100, deadline=None)
@given(end=st.integers(0, 10_000), trailers=st.sampled_from([None, {}, CRC]))
def test_truncation_is_noticed(end: int, trailers: dict[str, str] | None) -> None:
    request, body = chunked(DATA[:300], 128, trailers=trailers)
    with pytest.raises(S3Error):
        decode(decoder_of(request), body[: end % len(body)])


TOKENS = [b"0\r\n", b"\r\n", b"5\r\n", b"hello", b"\n", b";", b"x:y\r\n", b"\0", b"-1\r\n"]
TOKENS += [b"0x5\r\n", b" 5\r\n", b"5;a=b\r\n", b"ffffffffff\r\n"]
TOKENS += [b"0;chunk-signature=" + b"0" * 64 + b"\r\n", b"x-amz-checksum-crc32c:sOO8/Q==\r\n"]


@settings(max_examples=300, deadline=None)
@given(
    garbage=st.one_of(
        st.binary(max_size=400), st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join)
    ),
    cut=st.integers(0, 400),
    signed=st.booleans(),
    announced=st.sampled_from([None, frozenset[str](), frozenset({"x"}), frozenset(CRC)]),
    expected=st.integers(0, 12),
)
def test_garbage_is_an_s3_error(
    garbage: bytes, cut: int, signed: bool, announced: frozenset[str] | None, expected: int
) -> None:
    signer = decoder_of(chunked(b"", 1)[0])._signer if signed else None
    decoder = ChunkDecoder(expected, signer=signer, trailers=announced)
    with contextlib.suppress(S3Error):
        assert len(decode(decoder, *split(garbage, [cut]))) == expected


def refusal(decoder: ChunkDecoder, body: bytes) -> str:
    with pytest.raises(S3Error) as caught:
        decode(decoder, body)
    return caught.value.code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"5\r\nhello\r\n0\r\n\r\nmore", "IncompleteBody"),
        (b"5\r\nhello0\r\n\r\n", "IncompleteBody"),
        (b"5\nhello\r\n0\r\n\r\n", "IncompleteBody"),
        (b"5;x\r\nhello\r\n0\r\n\r\n", "IncompleteBody"),
        (b"-5\r\nhello\r\n0\r\n\r\n", "IncompleteBody"),
        (b"+5\r\nhello\r\n0\r\n\r\n", "IncompleteBody"),
        (b"0" * 17 + b"\r\n", "IncompleteBody"),
        (b"0" * (LINE_MAX + 1), "IncompleteBody"),
        (b"6\r\nhello!\r\n0\r\n\r\n", "IncompleteBody"),
        (b"ffffffffffffffff\r\n", "IncompleteBody"),
        (b"4\r\nhell\r\n0\r\n\r\n", "IncompleteBody"),
        (b"5\r\nhello\r\n", "IncompleteBody"),
        (b"", "IncompleteBody"),
    ],
)
def test_framing_is_strict(body: bytes, code: str) -> None:
    assert refusal(ChunkDecoder(5), body) == code


@pytest.mark.parametrize(
    ("trailers", "code"),
    [
        (b"x:1\r\n\r\n", ""),
        (b"X:1\r\n\r\n", ""),
        (b"x: 1 \r\n\r\n", ""),
        (b"x:1\n\r\n\r\n", ""),
        (b"\r\n", "MalformedTrailerError"),
        (b"y:1\r\n\r\n", "MalformedTrailerError"),
        (b"x:1\r\ny:1\r\n\r\n", "MalformedTrailerError"),
        (b"x:1\r\nx:1\r\n\r\n", "MalformedTrailerError"),
        (b"x\r\n\r\n", "MalformedTrailerError"),
        (b"x y:1\r\n\r\n", "MalformedTrailerError"),
        (b"x:1\r\nx-amz-trailer-signature:0\r\n\r\n", "MalformedTrailerError"),
        (b"x:1\r\n" + b"\r\n" * TRAILERS_MAX, "MalformedTrailerError"),
        (b"x:1\r\n", "IncompleteBody"),
        (b"x:1", "IncompleteBody"),
        (b"", "IncompleteBody"),
    ],
)
def test_trailers_are_those_announced(trailers: bytes, code: str) -> None:
    decoder = ChunkDecoder(5, trailers=frozenset({"x"}))
    body = b"5\r\nhello\r\n0\r\n" + trailers
    if code:
        assert refusal(decoder, body) == code
    else:
        assert decode(decoder, body) == b"hello"
        assert decoder.trailers == {"x": "1"}


def test_chunks_can_not_be_left_out_or_turned() -> None:
    request, body = chunked(b"a" * 100 + b"b" * 100, 100)
    size = len(b"64;chunk-signature=\r\n\r\n") + 64 + 100
    first, second, last = body[:size], body[size : 2 * size], body[2 * size :]
    assert decode(decoder_of(request), first, second, last) == b"a" * 100 + b"b" * 100
    assert refusal(decoder_of(request), second + first + last) == "SignatureDoesNotMatch"
    assert refusal(decoder_of(request), first + first + last) == "SignatureDoesNotMatch"
    assert refusal(decoder_of(request), first + last) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "MissingContentLength"),
        (b"", "InvalidArgument"),
        (b"-1", "InvalidArgument"),
        (b"1e3", "InvalidArgument"),
        (b"9" * 19, "InvalidArgument"),
        ("\u00b2".encode(), "InvalidArgument"),
    ],
)
def test_decoded_length_is_required(value: bytes | None, code: str) -> None:
    request, _ = chunked(b"x", 1)
    result = authenticate(request, keyring, "")
    name = b"x-amz-decoded-content-length"
    other = request.without_header(name) if value is None else request.with_header(name, value)
    with pytest.raises(S3Error) as caught:
        result.decoder(other.headers)
    assert caught.value.code == code
