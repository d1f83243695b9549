"""AWS Signature Version 2: the documentation's examples, botocore's signer, every refusal."""

from __future__ import annotations

import base64
import hmac
import io
import time
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import boto3
import pytest
import urllib3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.s3 import routes
from storage.s3.auth import VERSION_2, authenticate, sigv2
from storage.s3.auth.signing import parse_http_date
from storage.s3.errors import S3Error

from .conftest import ACCESS_KEY, SECRET, Request, keyring

# -- the examples of "Signing and authenticating REST requests" ---------------------------------

DAY = "Tue, 27 Mar 2007"


def example(
    method: str, target: str, date: str, signature: str, bucket: str = "johnsmith", **headers: str
) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = {"date": date, "authorization": f"AWS {ACCESS_KEY}:{signature}", **named}
    request = Request.make(method, f"http://s3.amazonaws.com{target}", lines)
    return request.replace(host_bucket=bucket)


EXAMPLES = {
    "get": example(
        "GET", "/photos/puppy.jpg", f"{DAY} 19:36:42 +0000", "bWq2s1WEIj+Ydj0vQ697zp+IXMU="
    ),
    "put": example(
        "PUT",
        "/photos/puppy.jpg",
        f"{DAY} 21:15:45 +0000",
        "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
        content_type="image/jpeg",
    ),
    "list": example(
        "GET",
        "/?prefix=photos&max-keys=50&marker=puppy",
        f"{DAY} 19:42:41 +0000",
        "htDYFYduRNen8P9ZfE/s9SuKy0U=",
    ),
    "acl": example("GET", "/?acl", f"{DAY} 19:44:46 +0000", "c2WLPFtWHVgbEmeEG93a4cG37dM="),
    "upload": example(
        "PUT",
        "/db-backup.dat.gz",
        f"{DAY} 21:06:08 +0000",
        "ilyl83RwaSoYIEdixDQcA4OnAnc=",
        "static.johnsmith.net",
        x_amz_acl="public-read",
        content_type="application/x-download",
        content_md5="4gJE4saaMU4BqNR0kLY+lw==",
        x_amz_meta_reviewedby="joe@johnsmith.net,jane@johnsmith.net",
        x_amz_meta_filechecksum="0x02661779",
        x_amz_meta_checksumalgorithm="crc32",
        content_disposition="attachment; filename=database.dat",
    ),
    "list buckets": example(
        "GET", "/", "Wed, 28 Mar 2007 01:29:59 +0000", "qGdzdERIC03wnaRNKh6OqZehG9s=", ""
    ),
    "unicode": example(
        "GET",
        "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re",
        "Wed, 28 Mar 2007 01:49:49 +0000",
        "DNEZGsoieTZ92F3bUfSPQcbGmlM=",
        "",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_published_examples(name: str) -> None:
    request = EXAMPLES[name]
    now = parse_http_date(request.headers[b"date"])
    result = authenticate(request, keyring, "us-east-1", now)
    assert (result.principal.name, result.mechanism) == ("alice", "header")
    assert (result.algorithm, result.sha256, result.streaming) == (VERSION_2, "", False)
    with pytest.raises(S3Error) as refused:
        authenticate(request.replace(method="DELETE"), keyring, "", now)
    assert refused.value.code == "SignatureDoesNotMatch"


def test_published_presigned_example() -> None:
    query = "Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620"
    url = f"http://johnsmith.s3.amazonaws.com/photos/puppy.jpg?AWSAccessKeyId={ACCESS_KEY}&{query}"
    request = Request.make("GET", url, {}).replace(host_bucket="johnsmith")
    result = authenticate(request, keyring, "", 1175139620)
    assert (result.access_key, result.mechanism) == (ACCESS_KEY, "query")
    with pytest.raises(S3Error) as late:
        authenticate(request, keyring, "", 1175139621)
    assert (late.value.code, late.value.message) == ("AccessDenied", "Request has expired")
    assert late.value.fields["Expires"] == "2007-03-29T03:40:20Z"


# -- botocore --------------------------------------------------------------------------------------


class Captured:
    """boto3's S3 client, signing with version 2, whose requests end here."""

    def __init__(self, style: str) -> None:
        self.request: Request | None = None
        self.client = boto3.client(
            "s3",
            endpoint_url="http://127.0.0.1:9090",
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
            config=Config(signature_version="s3", s3={"addressing_style": style}),
        )
        self.client.meta.events.register("before-send.s3", self._capture)

    def _capture(self, request: Any, **_: Any) -> AWSResponse:
        headers = {k: v.decode() if isinstance(v, bytes) else v for k, v in request.headers.items()}
        self.request = Request.make(request.method, request.url, headers)
        return AWSResponse(
            request.url, 200, {}, urllib3.HTTPResponse(io.BytesIO(), preload_content=False)
        )

    def call(self, operation: str, **arguments: Any) -> Request:
        getattr(self.client, operation)(**arguments)
        assert self.request is not None
        return self.request


BOTO = Captured("path")
any_text = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(key=any_text, version=any_text, disposition=any_text)
def test_botocore_signs_any_text(key: str, version: str, disposition: str) -> None:
    request = BOTO.call(
        "get_object", Bucket="b", Key=key, VersionId=version, ResponseContentDisposition=disposition
    )
    assert request.headers[b"authorization"].startswith(b"AWS ")
    assert authenticate(request, keyring, "").access_key == ACCESS_KEY


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("put_object", {"Body": b"x", "Metadata": {"a": "b  c"}, "ContentType": "text/plain"}),
        ("list_parts", {"UploadId": "u/+ "}),
        ("upload_part", {"UploadId": "u", "PartNumber": 7, "Body": b"x"}),
        ("get_object_tagging", {}),
        ("get_object_attributes", {"ObjectAttributes": ["ETag"]}),
        ("get_object_retention", {}),
    ],
)
def test_botocore_signs_each_kind(operation: str, arguments: dict[str, Any]) -> None:
    request = BOTO.call(operation, Bucket="b", Key="k", **arguments)
    assert authenticate(request, keyring, "").access_key == ACCESS_KEY


@pytest.mark.parametrize("style", ["path", "auto"])
def test_botocore_signs_buckets(style: str) -> None:
    request = Captured(style).call("list_objects_v2", Bucket="pictures")
    assert request.raw_path == b"/pictures"
    assert authenticate(request, keyring, "").access_key == ACCESS_KEY
    other = request.replace(raw_path=b"/pictures/key")
    assert refusal(other).code == "SignatureDoesNotMatch"


@settings(max_examples=40, deadline=None)
@given(key=any_text)
def test_botocore_presigns(key: str) -> None:
    url = BOTO.client.generate_presigned_url(
        "put_object",
        Params={"Bucket": "b", "Key": key, "ContentType": "image/png", "Metadata": {"a": "b"}},
    )
    assert "Signature=" in url
    request = Request.make("PUT", url, {"content-type": "image/png"})
    assert authenticate(request, keyring, "").mechanism == "query"
    same = request.with_header(b"x-amz-meta-a", b"b")
    assert authenticate(same, keyring, "").mechanism == "query"
    for other in (
        request.with_header(b"content-type", b"text/html"),
        request.with_header(b"x-amz-meta-a", b"c"),
        request.with_header(b"x-amz-meta-b", b""),
        request.replace(raw_query=request.raw_query.replace(b"x-amz-meta-a=b", b"x-amz-meta-a=c")),
        request.replace(raw_query=request.raw_query + b"&x-amz-storage-class=STANDARD"),
    ):
        assert refusal(other).code == "SignatureDoesNotMatch"


# -- what a signature must bind --------------------------------------------------------------------


def signed(
    method: str = "GET", target: str = "/b/k", date: str | None = None, **headers: str
) -> Request:
    """Signed with nothing but the path."""
    date = formatdate(usegmt=True) if date is None else date
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    line = "" if "x-amz-date" in named else date
    amz = "".join(f"{n}:{v}\n" for n, v in sorted(named.items()) if n.startswith("x-amz-"))
    text = f"{method}\n\n\n{line}\n{amz}{target.partition('?')[0]}"
    named["authorization"] = f"AWS {ACCESS_KEY}:{proof(text)}"
    if date:
        named["date"] = date
    return Request.make(method, f"http://127.0.0.1:9090{target}", named)


def presigned(target: str = "/b/k", expires: str | None = None) -> Request:
    expires = str(int(time.time()) + 60) if expires is None else expires
    text = f"GET\n\n\n{expires}\n{target}"
    query = f"AWSAccessKeyId={ACCESS_KEY}&Expires={expires}&Signature={quote(proof(text), safe='')}"
    return Request.make("GET", f"http://h{target}?{query}", {})


def proof(text: str) -> str:
    return base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()


def refusal(request: Request, **options: Any) -> S3Error:
    with pytest.raises(S3Error) as refused:
        authenticate(request, keyring, "", **options)
    return refused.value


SUB_RESOURCES = sorted(
    {
        condition.partition("=")[0]
        for route in routes.ROUTES
        for condition in route.query
        # chosen by value, bound to the same right; or a detail that no client signs
        if condition.partition("=")[0] not in ("list-type", "x-id", "id", "max-annotation-results")
    }
)


@pytest.mark.parametrize("name", [*SUB_RESOURCES, "versionId", "response-content-type"])
def test_nobody_can_turn_a_presigned_url_into_another_operation(name: str) -> None:
    request = presigned()
    assert authenticate(request, keyring, "").mechanism == "query"
    turned = request.replace(raw_query=request.raw_query + f"&{name}=1".encode())
    assert refusal(turned).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("first", ["response-content-type=text/plain", "acl="])
def test_nobody_can_hide_a_parameter_of_a_presigned_url_in_another(first: str) -> None:
    """Which version may be read, for instance."""
    expires = str(int(time.time()) + 60)
    text = f"GET\n\n\n{expires}\n/b/k?{first.rstrip('=')}&versionId=old"
    signature = quote(proof(text), safe="")
    given = f"AWSAccessKeyId={ACCESS_KEY}&Expires={expires}&Signature={signature}"
    request = Request.make("GET", f"http://h/b/k?{first}&versionId=old&{given}", {})
    assert authenticate(request, keyring, "").mechanism == "query"
    hidden = f"{first}%26versionId%3Dold&{given}".encode()
    assert refusal(request.replace(raw_query=hidden)).code != ""
    harmless = "response-content-disposition=attachment; filename=a&b&versionIds.txt"
    text = f"GET\n\n\n{expires}\n/b/k?{harmless}"
    signature = quote(proof(text), safe="")
    given = f"AWSAccessKeyId={ACCESS_KEY}&Expires={expires}&Signature={signature}"
    name, _, value = harmless.partition("=")
    request = Request.make("GET", f"http://h/b/k?{name}={quote(value)}&{given}", {})
    assert authenticate(request, keyring, "").mechanism == "query"


def test_what_is_no_sub_resource_is_not_signed() -> None:
    assert authenticate(signed(target="/b/?prefix=a&list-type=2"), keyring, "").access_key


def test_the_path_may_be_signed_as_sent_or_in_canonical_form() -> None:
    request = signed(target="/b/a%20b")
    assert authenticate(request, keyring, "").access_key
    assert authenticate(request.replace(raw_path=b"/b/a b"), keyring, "").access_key
    assert refusal(request.replace(raw_path=b"/b/a+b")).code == "SignatureDoesNotMatch"


def test_the_answer_to_a_mismatch_shows_the_string_to_sign() -> None:
    error = refusal(signed().replace(raw_path=b"/b/other"))
    assert error.fields["StringToSign"].startswith("GET\n\n\n")
    assert error.fields["StringToSign"].endswith("\n/b/other")
    assert error.fields["AWSAccessKeyId"] == ACCESS_KEY
    assert bytes.fromhex(error.fields["StringToSignBytes"]).decode() == error.fields["StringToSign"]


# -- time, keys, forms ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("date", "code"),
    [
        ("", "AccessDenied"),
        ("Bad Date", "AccessDenied"),
        ("Tue, 07 Jul 1950 21:53:04 GMT", "AccessDenied"),
        ("Tue, 07 Jul 2010 21:53:04 GMT", "RequestTimeTooSkewed"),
        ("Tue, 07 Jul 2099 21:53:04 GMT", "RequestTimeTooSkewed"),
        ("Tue, 07 Jul 9999 21:53:04 GMT", "RequestTimeTooSkewed"),
    ],
)
def test_dates(date: str, code: str) -> None:
    assert refusal(signed(date=date)).code == code
    assert refusal(signed(date=formatdate(usegmt=True), x_amz_date=date)).code == code


def test_x_amz_date_stands_for_date() -> None:
    request = signed(date="Bad Date", x_amz_date=formatdate(usegmt=True))
    assert authenticate(request, keyring, "").access_key
    other = request.with_header(b"x-amz-date", formatdate(time.time() + 60, usegmt=True).encode())
    assert refusal(other).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("expires", ["", "x", "-1", "1.5", "9" * 19])
def test_an_expiry_that_is_none(expires: str) -> None:
    error = refusal(presigned(expires=expires))
    assert (error.code, error.message.startswith("Invalid date")) == ("AccessDenied", True)


@pytest.mark.parametrize("name", [b"AWSAccessKeyId", b"Expires"])
def test_a_presigned_query_must_be_whole(name: bytes) -> None:
    request = presigned()
    rest = b"&".join(i for i in request.raw_query.split(b"&") if not i.startswith(name + b"="))
    error = refusal(request.replace(raw_query=rest))
    assert (error.code, error.message.startswith("Query-string")) == ("AccessDenied", True)


def test_of_repeated_parameters_the_first_counts() -> None:
    request = presigned()
    longer = request.raw_query + b"&Expires=99999999999"
    assert authenticate(request.replace(raw_query=longer), keyring, "").access_key
    longer = b"Expires=99999999999&" + request.raw_query
    assert refusal(request.replace(raw_query=longer)).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("value", ["AWS", "AWS ", "AWS x", "AWS :x", "AWS x:"])
def test_headers_that_are_none(value: str) -> None:
    error = refusal(Request.make("GET", "http://h/b/k", {"authorization": value}))
    assert (error.code, error.fields["ArgumentName"]) == ("InvalidArgument", "Authorization")


def test_keys_that_do_not_count() -> None:
    request = signed()
    for name in (b"disabled", b"unknown"):
        value = request.headers[b"authorization"].replace(ACCESS_KEY.encode(), name)
        assert refusal(request.with_header(b"authorization", value)).code == "InvalidAccessKeyId"
    assert refusal(request.with_header(b"x-amz-security-token", b"t")).code == "InvalidToken"


def test_a_promise_about_the_body_is_kept() -> None:
    digest = "ab" * 32
    assert authenticate(signed(x_amz_content_sha256=digest), keyring, "").sha256 == digest
    chunks = signed(x_amz_content_sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    assert refusal(chunks).code == "InvalidArgument"
    assert refusal(signed(x_amz_content_sha256="nonsense")).code == "InvalidArgument"


def test_it_can_be_switched_off() -> None:
    for request in (signed(), presigned()):
        error = refusal(request, version_2=False)
        assert error.code == "InvalidRequest"
        assert "Please use AWS4-HMAC-SHA256" in error.message


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=40))
def test_nothing_but_a_refusal_comes_of_noise(query: bytes, value: bytes) -> None:
    for request in (
        Request("GET", b"/b/k", query + b"&Signature=" + value, {}),
        Request("GET", b"/b/k", query, {b"authorization": b"AWS " + value, b"date": value}),
    ):
        with pytest.raises(S3Error):
            authenticate(request, keyring, "")


def test_signing_is_hmac_sha1() -> None:
    assert sigv2.sign("key", b"message") == b"IIjfdNXyFGtIFGyvSWU3fp0L46Q="
