"""Requests that real client libraries sign: boto3 and minio-py, sent nowhere."""

from __future__ import annotations

import io
import time
from typing import Any
from urllib.parse import quote

import boto3
import minio
import pytest
import urllib3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.s3.auth import authenticate
from storage.s3.errors import S3Error

from .conftest import ACCESS_KEY, SECRET, Request, keyring

KEYS = [
    "events/otel/p/2026/11/22/05/52/0b6a3d1e.json",
    "a b+c&d=e?f#g%41",
    "../.././x//y",
    "caf\u00e9/\u65e5\u672c\u8a9e/\U0001f600",
    "tilde~star*quote'paren()!,:;@$[]{}|\\^`\"<>",
    "trailing/ ",
    "%2F/%252F",
]
any_key = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=60
)


class Captured:
    """boto3's S3 client whose requests end here."""

    def __init__(self, endpoint: str = "http://127.0.0.1:9090", region: str = "us-east-1") -> None:
        self.body = b""
        self.request: Request | None = None
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )
        self.client.meta.events.register("before-send.s3", self._capture)

    def _capture(self, request: Any, **_: Any) -> AWSResponse:
        headers = {k: v.decode() if isinstance(v, bytes) else v for k, v in request.headers.items()}
        self.request = Request.make(request.method, request.url, headers)
        body = request.body
        self.body = body.read() if hasattr(body, "read") else body or b""
        return AWSResponse(
            request.url, 200, {}, urllib3.HTTPResponse(io.BytesIO(), preload_content=False)
        )

    def call(self, operation: str, **arguments: Any) -> Request:
        self.request = None
        getattr(self.client, operation)(**arguments)
        assert self.request is not None
        return self.request


@pytest.fixture(scope="module")
def boto() -> Captured:
    return Captured()


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("operation", ["get_object", "head_object", "delete_object"])
def test_boto3_signs_any_key(boto: Captured, operation: str, key: str) -> None:
    request = boto.call(operation, Bucket="langfuse", Key=key)
    assert authenticate(request, keyring, "us-east-1").principal.name == "alice"


@settings(max_examples=60, deadline=None)
@given(key=any_key, prefix=any_key, token=any_key)
def test_boto3_signs_any_text(key: str, prefix: str, token: str) -> None:
    boto = _shared()
    request = boto.call("get_object", Bucket="b", Key=key, ResponseContentDisposition="attachment")
    assert authenticate(request, keyring, "").access_key == ACCESS_KEY
    request = boto.call("list_objects_v2", Bucket="b", Prefix=prefix, ContinuationToken=token)
    assert authenticate(request, keyring, "").access_key == ACCESS_KEY


_boto: list[Captured] = []


def _shared() -> Captured:
    if not _boto:
        _boto.append(Captured())
    return _boto[0]


@settings(max_examples=60, deadline=None)
@given(key=any_key, name=any_key)
def test_boto3_presigns_any_text(key: str, name: str) -> None:
    url = _shared().client.generate_presigned_url(
        "get_object",
        Params={
            "Bucket": "langfuse",
            "Key": key,
            "ResponseContentDisposition": f'attachment; filename="{name}"',
        },
        ExpiresIn=3600,
    )
    result = authenticate(Request.make("GET", url, {"accept": "*/*"}), keyring, "us-east-1")
    assert (result.mechanism, result.sha256) == ("query", "")


def test_boto3_put_binds_the_payload(boto: Captured) -> None:
    request = boto.call(
        "put_object",
        Bucket="langfuse",
        Key="k",
        Body=b"hello",
        Metadata={"note": "two  spaces   kept once"},
        ContentType="text/plain; charset=utf-8",
    )
    result = authenticate(request, keyring, "")
    assert result.sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_boto3_unsigned_trailer_decodes() -> None:
    """Over https boto3 frames the body and sends the checksum behind it."""
    boto = Captured("https://127.0.0.1:9090")
    data = b"0123456789" * 200_000
    request = boto.call(
        "put_object", Bucket="b", Key="k", Body=io.BytesIO(data), ChecksumAlgorithm="CRC32"
    )
    result = authenticate(request, keyring, "")
    assert result.payload == b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    decoder = result.decoder(request.headers)
    assert b"".join(decoder.feed(boto.body)) == data
    decoder.finish()
    assert list(decoder.trailers) == ["x-amz-checksum-crc32"]


@pytest.mark.parametrize("region", ["auto", "eu-central-1", "us-east-1"])
def test_any_region_while_none_is_configured(region: str) -> None:
    request = Captured(region=region).call("get_object", Bucket="b", Key="k")
    assert authenticate(request, keyring, "").access_key == ACCESS_KEY


def test_wrong_region_names_the_right_one() -> None:
    request = Captured(region="eu-central-1").call("get_object", Bucket="b", Key="k")
    with pytest.raises(S3Error) as caught:
        authenticate(request, keyring, "us-east-1")
    assert caught.value.code == "AuthorizationHeaderMalformed"
    assert caught.value.fields["Region"] == "us-east-1"
    assert "'eu-central-1' is wrong; expecting 'us-east-1'" in caught.value.message


class Pool(urllib3.PoolManager):
    """minio-py's HTTP client; keeps the last request and answers an empty 200."""

    captured: Request

    def urlopen(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        self.captured = Request.make(method, url, dict(kwargs["headers"]))
        return urllib3.HTTPResponse(body=b"", status=200, headers={"etag": '"x"'})


@pytest.fixture
def pool() -> tuple[Pool, minio.Minio]:
    pool = Pool()
    client = minio.Minio(
        "127.0.0.1:9090", ACCESS_KEY, SECRET, secure=False, region="us-east-1", http_client=pool
    )
    return pool, client


@pytest.mark.parametrize("key", [k for k in KEYS if ".." not in k])
def test_minio_py_signs(pool: tuple[Pool, minio.Minio], key: str) -> None:
    capture, client = pool
    client.put_object("langfuse", key, io.BytesIO(b"hello"), 5, metadata={"note": "n"})
    assert authenticate(capture.captured, keyring, "us-east-1").access_key == ACCESS_KEY
    client.get_object("langfuse", key).close()
    assert authenticate(capture.captured, keyring, "").access_key == ACCESS_KEY
    url = client.presigned_get_object("langfuse", key)
    assert authenticate(Request.make("GET", url, {}), keyring, "").mechanism == "query"


def langfuse_media_put() -> Request:
    """The presigned PUT that Langfuse's SDK sends (x-ms-blob-type is not signed)."""
    from botocore.auth import S3SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signed = {
        "content-type": "image/png",
        "content-length": "5",
        "x-amz-checksum-sha256": "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
        "host": "localhost:9090",
    }
    request = AWSRequest("PUT", "http://localhost:9090/langfuse/media/p/x.png", headers=signed)
    S3SigV4QueryAuth(Credentials(ACCESS_KEY, SECRET), "s3", "auto", 3600).add_auth(request)
    return Request.make("PUT", request.url, {**signed, "x-ms-blob-type": "BlockBlob"})


def test_langfuse_media_upload_verifies() -> None:
    request = langfuse_media_put()
    assert b"content-length%3Bcontent-type%3Bhost%3Bx-amz-checksum-sha256" in request.raw_query
    assert authenticate(request, keyring, "").mechanism == "query"
    with pytest.raises(S3Error) as caught:
        authenticate(request.with_header(b"content-length", b"6"), keyring, "")
    assert caught.value.code == "SignatureDoesNotMatch"


def test_signed_with_empty_region() -> None:
    """MinIO's administration client signs without a region."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("GET", "http://127.0.0.1:9090/", headers={"host": "127.0.0.1:9090"})
    request.context["client_config"] = None
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET), "s3", "").add_auth(request)
    made = Request.make("GET", request.url, dict(request.headers.items()))
    assert authenticate(made, keyring, "", time.time()).access_key == ACCESS_KEY


def test_path_signed_as_sent_verifies() -> None:
    """Clients that send %2F inside a key, or escape what needs no escape, sign it like that."""
    from .signer import sign

    path = "/b/" + quote("a/b", safe="") + "%7Ec"
    assert authenticate(sign("GET", path, path_to_sign=path), keyring, "").access_key == ACCESS_KEY
