"""Whatever arrives is answered by an S3Error or by a principal, never by another exception."""

from __future__ import annotations

import contextlib
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage.s3.auth import authenticate
from storage.s3.auth.canonical import SignedHeaders, canonical_path, canonical_query
from storage.s3.errors import S3Error

from .conftest import ACCESS_KEY, Request, keyring
from .signer import sign

SCOPE = f"{ACCESS_KEY}/20260101/us-east-1/s3/aws4_request".encode()
NAMES = [b"host", b"date", b"x-amz-date", b"x-amz-content-sha256", b"x-amz-security-token"]
NAMES += [b"x-amz-acl", b"content-type", b"range", b"x-amz-trailer"]
VALUES = [b"", b"20260101T000000Z", b"UNSIGNED-PAYLOAD", b"Thu, 01 Jan 2026 00:00:00 GMT", b"\xff"]
VALUES += [b"20260230T000000Z", b"99999999T999999Z", b"Thu, 99 Jan 2026", b"STREAMING-"]

values = st.one_of(st.sampled_from(VALUES), st.binary(max_size=40))
COMPONENTS = [b"Credential=" + SCOPE, b"SignedHeaders=host;x-amz-date", b"SignedHeaders=;;"]
COMPONENTS += [b"Signature=" + b"0" * 64, b"Signature=\xff", b"SignedHeaders=\xff", b",", b"="]
COMPONENTS += [b"Credential=\xff/20260101/\xff/s3/aws4_request"]
PARAMETERS = [b"X-Amz-Algorithm", b"X-Amz-Credential", b"X-Amz-Signature", b"X-Amz-Date"]
PARAMETERS += [b"X-Amz-SignedHeaders", b"X-Amz-Expires", b"X-Amz-Content-Sha256", b"Signature"]
PARAMETERS += [b"X-Amz-Security-Token", b"AWSAccessKeyId", b"prefix"]
TEXTS = [b"AWS4-HMAC-SHA256", SCOPE.replace(b"/", b"%2F"), b"host", b"60", b"20260101T000000Z"]
TEXTS += [b"0" * 64, b"%", b"%ff", b"+", b"-0"]

authorizations = st.one_of(
    st.none(),
    st.binary(max_size=120),
    st.binary(max_size=120).map(lambda rest: b"AWS4-HMAC-SHA256 " + rest),
    st.lists(st.sampled_from(COMPONENTS), max_size=5).map(
        lambda parts: b"AWS4-HMAC-SHA256 " + b", ".join(parts)
    ),
)
queries = st.one_of(
    st.binary(max_size=80),
    st.dictionaries(
        st.sampled_from(PARAMETERS), st.one_of(st.sampled_from(TEXTS), st.binary(max_size=20))
    ).map(lambda query: b"&".join(b"%b=%b" % item for item in query.items())),
)


@settings(max_examples=600, deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "\xff"]),
    path=st.binary(max_size=40).map(lambda path: b"/" + path),
    query=queries,
    headers=st.dictionaries(
        st.one_of(st.sampled_from(NAMES), st.binary(min_size=1, max_size=12)), values, max_size=8
    ),
    authorization=authorizations,
    region=st.sampled_from(["", "us-east-1"]),
)
def test_nothing_but_s3_errors(
    method: str,
    path: bytes,
    query: bytes,
    headers: dict[bytes, bytes],
    authorization: bytes | None,
    region: str,
) -> None:
    if authorization is not None:
        headers = {**headers, b"authorization": authorization}
    request = Request(method, path, query, headers)
    with contextlib.suppress(S3Error):
        assert authenticate(request, keyring, region, now=1767225600).principal.anonymous


@settings(max_examples=500, deadline=None)
@given(path=st.text("aZ09-._~/%2FfE1 +*\xe9", max_size=30).map(str.encode) | st.binary(max_size=30))
@example(path=b"/%41%2f%2F/../%zz%%7e%7E%2D%5F%60%25")
def test_canonical_path_is_decoded_and_encoded_once(path: bytes) -> None:
    expected = quote_from_bytes(unquote_to_bytes(path), safe="/~").encode() or b"/"
    assert canonical_path(path) == expected


@settings(max_examples=500, deadline=None)
@given(
    query=st.text("aZ09-._~/%2FfE1 +&=*\xe9", max_size=30).map(str.encode) | st.binary(max_size=30)
)
@example(query=b"b=2&a=1&a=0&&c&=&a b=+&d=e=f&%7e=%7E&%2d=%3D&%3d=%2F")
def test_canonical_query_is_decoded_encoded_and_sorted(query: bytes) -> None:
    def encode(text: bytes) -> bytes:
        decoded = unquote_to_bytes(text.replace(b"+", b" "))
        return quote_from_bytes(decoded, safe="~").encode()

    pairs = [item.partition(b"=") for item in query.split(b"&") if item]
    expected = sorted((encode(name), encode(value)) for name, _, value in pairs)
    assert canonical_query(query) == b"&".join(b"%b=%b" % pair for pair in expected)


def test_strangers_fill_no_cache() -> None:
    from storage.s3.auth import sigv4

    authenticate(sign("GET", "/b/k", query="x-id=GetObject"), keyring, "")
    before = len(sigv4._scopes), len(sigv4._query_scopes), len(sigv4._queries)
    for number in range(50):
        request = sign("GET", "/b/k", query=f"n={number}", headers={f"x-amz-meta-{number}": "1"})
        changed = request.with_header(f"x-amz-meta-{number}".encode(), b"2")
        with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
            authenticate(changed, keyring, "")
    assert (len(sigv4._scopes), len(sigv4._query_scopes), len(sigv4._queries)) == before


def test_caches_are_bounded() -> None:
    from storage.s3.auth import sigv4

    for number in range(sigv4._QUERIES_MAX + 10):
        authenticate(sign("GET", "/b/k", query=f"bounded={number}"), keyring, "")
    assert len(sigv4._queries) <= sigv4._QUERIES_MAX


_VALUE = st.text(alphabet="ab \t\v%:", max_size=6).map(str.encode)


@given(st.dictionaries(st.sampled_from([b"host", b"x-a", b"x%b", b"x-c"]), _VALUE))
def test_signed_headers_have_one_form(headers: dict[bytes, bytes]) -> None:
    """However they are spaced, empty or missing: outer spaces go, inner runs become one."""
    for names in ((b"host",), (b"host", b"x-a"), (b"host", b"x%b", b"x-c")):
        lines = [n + b":" + b" ".join(headers.get(n, b"").split()) + b"\n" for n in names]
        assert SignedHeaders(names).canonical(headers) == b"".join(lines)
