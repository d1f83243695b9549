"""The parser of multipart/form-data: every shape of piece, every shape that is refused."""

from __future__ import annotations

import io
import itertools
import random
import tracemalloc

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.filepost import encode_multipart_formdata

from storage.s3.errors import S3Error
from storage.s3.forms import FORM_BYTES_MAX, HEADERS_BYTES_MAX, FormParser, Part, boundary_of

BOUNDARY = b"----WebKitFormBoundaryW0DET1iaBMeAOBg3"


def part(name: bytes, content: bytes, more: bytes = b"") -> bytes:
    head = b'Content-Disposition: form-data; name="%b"%b' % (name, more)
    return b"--%b\r\n%b\r\n\r\n%b\r\n" % (BOUNDARY, head, content)


def close(boundary: bytes = BOUNDARY) -> bytes:
    return b"--%b--\r\n" % boundary


def parse(body: bytes, cuts: list[int] | None = None, boundary: bytes = BOUNDARY) -> list[tuple]:
    """(name, filename, start, content) of each part, the body fed in pieces."""
    parser = FormParser(boundary)
    found: list[list] = []
    edges = [0, *sorted(cuts or ()), len(body)]
    for start, stop in itertools.pairwise(edges):
        for event in parser.feed(body[start:stop]):
            if isinstance(event, Part):
                found.append([event.name, event.filename, event.start, b""])
            else:
                found[-1][3] += event
    parser.finish()
    return [tuple(each) for each in found]


def refused(body: bytes, **options: bytes) -> str:
    with pytest.raises(S3Error) as error:
        parse(body, **options)  # type: ignore[arg-type]
    return error.value.code


# -- what is understood ---------------------------------------------------------------------------


def test_a_browsers_form() -> None:
    body = (
        part(b"key", b"photos/${filename}")
        + part(b"x-amz-meta-empty", b"")
        + part(b"file", b"\x89PNG\r\n\x1a\n", b'; filename="a b.png"\r\nContent-Type: image/png')
        + part(b"submit", b"Upload")
        + close()
    )
    key, empty, file, submit = parse(body)
    assert key[:2] + key[3:] == ("key", None, b"photos/${filename}")
    assert empty[3] == b""
    assert file[:2] + file[3:] == ("file", b"a b.png", b"\x89PNG\r\n\x1a\n")
    assert body[file[2] :].startswith(b"\x89PNG")
    assert submit[3] == b"Upload"


contents = st.one_of(
    st.binary(max_size=200),
    # what is nearly a boundary
    st.lists(
        st.sampled_from(
            [
                b"\r",
                b"\n",
                b"\r\n",
                b"-",
                b"--",
                b"\r\n--",
                b"b",
                b"bo",
                b"\r\n--boX",
                b"x",
                b"bo--",
            ]
        ),
        max_size=12,
    ).map(b"".join),
)


@settings(max_examples=300)
@given(
    fields=st.lists(st.tuples(st.sampled_from(["key", "acl", "x-amz-meta-a", "file"]), contents)),
    cuts=st.lists(st.integers(0, 600), max_size=30),
)
def test_what_was_put_in_comes_out_however_it_is_cut(
    fields: list[tuple[str, bytes]], cuts: list[int]
) -> None:
    boundary = b"bo"
    # a content that holds a whole delimiter is none: clients choose another boundary
    fields = [
        (name, content)
        for name, content in fields
        if not any(mark in b"\r\n" + content + b"\r\n" for mark in (b"\r\n--bo\r\n", b"\r\n--bo--"))
    ]
    body = b"".join(
        b'--bo\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (name.encode(), content)
        for name, content in fields
    ) + close(boundary)
    found = parse(body, [cut for cut in cuts if cut < len(body)], boundary)
    assert [(each[0], each[3]) for each in found] == fields
    for each in found:
        assert body[each[2] :].startswith(each[3])


def test_byte_by_byte() -> None:
    body = part(b"key", b"k") + part(b"file", b"\r\n--" + BOUNDARY[:-1] + b"\r\r\n") + close()
    assert parse(body, list(range(len(body)))) == parse(body)
    assert parse(body)[1][3] == b"\r\n--" + BOUNDARY[:-1] + b"\r\r\n"


def test_a_longer_line_than_the_boundary_is_content() -> None:
    body = part(b"file", b"a\r\n--" + BOUNDARY + b"X\r\nb") + close()
    assert parse(body)[0][3] == b"a\r\n--" + BOUNDARY + b"X\r\nb"


def test_preamble_and_epilogue_mean_nothing() -> None:
    body = b"ignored\r\n" + part(b"key", b"k") + close() + b"ignored\r\n--" + BOUNDARY + b"\r\n"
    assert [each[3] for each in parse(body)] == [b"k"]
    assert parse(b"\r\n" + part(b"key", b"k") + close()[:-2])[0][3] == b"k"


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        (b'; filename=""', b""),
        (b'; filename="a%22b.txt"', b"a%22b.txt"),
        (b'; filename="say \\"hi\\".txt"', b'say "hi".txt'),
        (b'; filename="C:\\dir\\file.txt"', b"C:\\dir\\file.txt"),
        (b"; filename=plain.txt", b"plain.txt"),
        ('; filename="日本.txt"'.encode(), "日本.txt".encode()),
        (b"; filename*=UTF-8''%e2%82%ac%20rates.txt", "€ rates.txt".encode()),
        (b"; filename=\"old.txt\"; filename*=utf-8'en'new.txt", b"new.txt"),
        (b' ; filename="a;b=c.txt" ;', b"a;b=c.txt"),
        (b"", None),
    ],
)
def test_file_names(disposition: bytes, filename: bytes | None) -> None:
    assert parse(part(b"file", b"x", disposition) + close())[0][1] == filename


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.text("abcäß-", min_size=1, max_size=8),
        st.one_of(st.binary(max_size=60), st.tuples(st.text("aö .", min_size=1), st.binary())),
        max_size=5,
    )
)
def test_what_python_clients_encode(fields: dict[str, bytes | tuple[str, bytes]]) -> None:
    """urllib3 and requests, in two ways of telling names beyond ASCII."""
    encoded, content_type = encode_multipart_formdata(fields)
    prepared = requests.Request("POST", "http://h/", files={"zz": b"", **fields}).prepare()
    sent = prepared.body if isinstance(prepared.body, bytes) else b""
    wanted = {n: v[1] if isinstance(v, tuple) else v for n, v in fields.items()}
    for body, kind in ((encoded, content_type), (sent, prepared.headers["content-type"])):
        found = {each[0]: each[3] for each in parse(body, boundary=boundary_of(kind.encode()))}
        found.pop("zz", None)
        assert found == wanted


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"key=k&file=x",
        close()[:-4],
        part(b"key", b"k"),
        part(b"key", b"k") + b"--" + BOUNDARY,
        part(b"key", b"k") + b"--" + BOUNDARY + b"\n",
        b"--" + BOUNDARY + b"\r\n\r\nno head\r\n" + close(),
        b"--" + BOUNDARY + b"\nContent-Disposition: form-data; name=a\n\nk\n" + close(),
        part(b"", b"k") + close(),
        part(b"\xff", b"k") + close(),
        part(b'key"; name="acl', b"k") + close(),
        part(b'key" x', b"k") + close(),
        part(b"key", b"k", b"\r\nContent-Disposition: form-data; name=acl") + close(),
        part(b"key", b"k", b"\r\n folded: x") + close(),
        part(b"key", b"k", b"\r\nno colon") + close(),
        part(b"key", b"k", b"\r\nbad name: x") + close(),
        part(b"key", b"k", b"\r\nA: x\ny") + close(),
        part(b"key", b"k", b"\r\nContent-Transfer-Encoding: base64") + close(),
        part(b"file", b"k", b"; filename*=latin-1''%e4") + close(),
        part(b"file", b"k", b"; filename*=x") + close(),
        part(b"key", b"k").replace(b"form-data", b"attachment") + close(),
        part(b"key", b"k").replace(b"Content-Disposition", b"X-Other") + close(),
        part(b"key", b"k", b"\r\nx: " + b"a" * HEADERS_BYTES_MAX) + close(),
    ],
)
def test_what_is_no_form(body: bytes) -> None:
    assert refused(body) == "MalformedPOSTRequest"


def test_fields_have_one_bound_together() -> None:
    room = FORM_BYTES_MAX - len(part(b"a", b"")) - len(close()) - 100
    assert len(parse(part(b"a", b"x" * room) + close())[0][3]) == room
    too_much = part(b"a", b"x" * (room + 200)) + close()
    assert refused(too_much) == "MaxPostPreDataLengthExceededError"
    many = b"".join(part(b"f%d" % number, b"") for number in range(400)) + close()
    assert refused(many) == "MaxPostPreDataLengthExceededError"
    assert refused(b"x" * (FORM_BYTES_MAX + 100)) == "MaxPostPreDataLengthExceededError"
    behind = part(b"file", b"y" * FORM_BYTES_MAX) + close() + b"z" * FORM_BYTES_MAX
    assert refused(behind) == "MaxPostPreDataLengthExceededError"


def test_the_file_has_none_and_takes_no_memory() -> None:
    size, piece = 0, random.Random(1).randbytes(256 * 1024)
    parser = FormParser(BOUNDARY)
    parser.feed(part(b"key", b"k") + part(b"FILE", b"")[:-2])
    tracemalloc.start()
    for _ in range(64):
        size += sum(len(event) for event in parser.feed(piece) if not isinstance(event, Part))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size += sum(len(e) for e in parser.feed(b"\r\n" + close()) if not isinstance(e, Part))
    parser.finish()
    assert size == 64 * len(piece)
    assert peak < 2 * len(piece)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data;boundary="a b;c"; charset=utf-8', b"a b;c"),
        (b"multipart/form-data; charset=utf-8; BOUNDARY=" + BOUNDARY, BOUNDARY),
    ],
)
def test_boundaries(content_type: bytes, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        (b"", "PreconditionFailed"),
        (b"application/x-www-form-urlencoded", "PreconditionFailed"),
        (b"multipart/mixed; boundary=abc", "PreconditionFailed"),
        (b"multipart/form-data", "MalformedPOSTRequest"),
        (b"multipart/form-data; boundary=", "MalformedPOSTRequest"),
        (b'multipart/form-data; boundary="a "', "MalformedPOSTRequest"),
        (b"multipart/form-data; boundary=a; boundary=b", "MalformedPOSTRequest"),
        (b"multipart/form-data; boundary=" + b"a" * 71, "MalformedPOSTRequest"),
        (b"multipart/form-data, multipart/form-data; boundary=a", "MalformedPOSTRequest"),
    ],
)
def test_content_types_that_are_none(content_type: bytes, code: str) -> None:
    with pytest.raises(S3Error) as error:
        boundary_of(content_type)
    assert error.value.code == code


# -- noise ----------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(
                [b"--bo", b"\r\n", b"\r\n--bo\r\n", b"\r\n--bo--", b"\r\n\r\n", b'"', b";", b"\\",
                 b"Content-Disposition: form-data; name=", b"file", b"filename="]
            ),
        ),
        max_size=20,
    )
)  # fmt: skip
def test_noise_is_parsed_the_same_however_it_is_cut(pieces: list[bytes]) -> None:
    def outcome(chunks: list[bytes]) -> object:
        parser, content = FormParser(b"bo"), io.BytesIO()
        heads = []
        try:
            for chunk in chunks:
                for event in parser.feed(chunk):
                    if isinstance(event, Part):
                        heads.append((event.name, event.filename, event.start, content.tell()))
                    else:
                        content.write(event)
            parser.finish()
        except S3Error as error:
            return error.code
        return heads, content.getvalue()

    whole = b"".join(pieces)
    assert outcome(pieces) == outcome([whole])
    assert outcome([bytes([byte]) for byte in whole]) == outcome([whole])
