"""The worked examples of the Amazon S3 API reference ("Authenticating Requests")."""

from __future__ import annotations

import pytest

from storage.s3.auth import ChunkDecoder, authenticate
from storage.s3.auth.signing import parse_time
from storage.s3.errors import S3Error

from .conftest import ACCESS_KEY, Request, keyring

NOW = parse_time(b"20130524T000000Z")
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
HOST = "examplebucket.s3.amazonaws.com"


def authorization(signed: str, signature: str) -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,"
        f"SignedHeaders={signed},Signature={signature}"
    )


def example(
    method: str, target: str, signed: str, signature: str, payload: str, **headers: str
) -> Request:
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    return Request.make(
        method,
        f"https://{HOST}{target}",
        {
            "x-amz-content-sha256": payload,
            "authorization": authorization(signed, signature),
            **named,
        },
    )


GET_OBJECT = example(
    "GET",
    "/test.txt",
    "host;range;x-amz-content-sha256;x-amz-date",
    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    EMPTY,
    range="bytes=0-9",
    x_amz_date="20130524T000000Z",
)
PUT_OBJECT = example(
    "PUT",
    "/test%24file.text",
    "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
    date="Fri, 24 May 2013 00:00:00 GMT",
    x_amz_date="20130524T000000Z",
    x_amz_storage_class="REDUCED_REDUNDANCY",
)
GET_LIFECYCLE = example(
    "GET",
    "/?lifecycle",
    "host;x-amz-content-sha256;x-amz-date",
    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    EMPTY,
    x_amz_date="20130524T000000Z",
)
LIST_OBJECTS = example(
    "GET",
    "/?max-keys=2&prefix=J",
    "host;x-amz-content-sha256;x-amz-date",
    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    EMPTY,
    x_amz_date="20130524T000000Z",
)
PRESIGNED = Request.make(
    "GET",
    f"https://{HOST}/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={ACCESS_KEY}"
    "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"
    "&X-Amz-SignedHeaders=host&X-Amz-Signature="
    "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    {},
)
_CHUNKED_HEADERS = {
    "host": "s3.amazonaws.com",
    "x_amz_date": "20130524T000000Z",
    "x_amz_storage_class": "REDUCED_REDUNDANCY",
    "content_encoding": "aws-chunked",
    "x_amz_decoded_content_length": "66560",
}
CHUNKED = example(
    "PUT",
    "/examplebucket/chunkObject.txt",
    "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
    "x-amz-decoded-content-length;x-amz-storage-class",
    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    content_length="66824",
    **_CHUNKED_HEADERS,
)
CHUNKED_TRAILER = example(
    "PUT",
    "/examplebucket/chunkObject.txt",
    "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
    "x-amz-storage-class;x-amz-trailer",
    "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    x_amz_trailer="x-amz-checksum-crc32c",
    **_CHUNKED_HEADERS,
)


def chunk(data: bytes, signature: str) -> bytes:
    return b"%x;chunk-signature=%b\r\n%b\r\n" % (len(data), signature.encode(), data)


CHUNKED_BODY = (
    chunk(b"a" * 65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648")
    + chunk(b"a" * 1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497")
    + chunk(b"", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")
)
CHUNKED_TRAILER_BODY = (
    chunk(b"a" * 65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2")
    + chunk(b"a" * 1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7")
    + b"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
    + b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
    + b"x-amz-trailer-signature:"
    + b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
)


@pytest.mark.parametrize(
    "request_",
    [GET_OBJECT, PUT_OBJECT, GET_LIFECYCLE, LIST_OBJECTS, PRESIGNED, CHUNKED, CHUNKED_TRAILER],
)
@pytest.mark.parametrize("region", ["", "us-east-1"])
def test_example_verifies(request_: Request, region: str) -> None:
    result = authenticate(request_, keyring, region, NOW)
    assert result.principal.name == "alice"
    assert result.access_key == ACCESS_KEY


def test_payload_hash_is_handed_on() -> None:
    assert authenticate(GET_OBJECT, keyring, "", NOW).sha256 == EMPTY
    assert authenticate(PRESIGNED, keyring, "", NOW).sha256 == ""


@pytest.mark.parametrize(
    ("request_", "body", "trailers"),
    [
        (CHUNKED, CHUNKED_BODY, {}),
        (CHUNKED_TRAILER, CHUNKED_TRAILER_BODY, {"x-amz-checksum-crc32c": "sOO8/Q=="}),
    ],
)
def test_chunked_example_decodes(request_: Request, body: bytes, trailers: object) -> None:
    result = authenticate(request_, keyring, "", NOW)
    assert result.streaming
    decoder = result.decoder(request_.headers)
    assert b"".join(decoder.feed(body)) == b"a" * 66560
    decoder.finish()
    assert decoder.trailers == trailers


@pytest.mark.parametrize(
    ("request_", "body"), [(CHUNKED, CHUNKED_BODY), (CHUNKED_TRAILER, CHUNKED_TRAILER_BODY)]
)
def test_changed_bytes_are_refused(request_: Request, body: bytes) -> None:
    for position in (100, 65700, len(body) - 10, len(body) - 100, 30):
        changed = bytearray(body)
        changed[position] ^= 1
        decoder = authenticate(request_, keyring, "", NOW).decoder(request_.headers)
        with pytest.raises(S3Error):
            _decode(decoder, bytes(changed))


def _decode(decoder: ChunkDecoder, body: bytes) -> None:
    decoder.feed(body)
    decoder.finish()
