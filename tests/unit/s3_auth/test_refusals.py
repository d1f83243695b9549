"""Everything that is refused, with the code and words that S3 uses for it."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from storage.s3.auth import authenticate, signing
from storage.s3.errors import S3Error

from .conftest import ACCESS_KEY, SECRET, Request, keyring
from .signer import EMPTY, sign

MINUTE = 60


def refusal(request: Request, region: str = "", now: float | None = None) -> S3Error:
    with pytest.raises(S3Error) as caught:
        authenticate(request, keyring, region, now)
    error = caught.value
    assert SECRET not in str(error) + "".join(error.fields.values())
    return error


def presigned(expires: Any = 3600, url: str = "http://127.0.0.1:9090/b/k") -> Request:
    request = AWSRequest("GET", url, headers={"host": "127.0.0.1:9090"})
    S3SigV4QueryAuth(Credentials(ACCESS_KEY, SECRET), "s3", "us-east-1", expires).add_auth(request)
    return Request.make("GET", request.url, {})


def changed_query(request: Request, **changes: str | None) -> Request:
    """``request`` with parameters (named without X-Amz-) replaced or, with None, left out."""
    parameters = dict(parse_qsl(request.raw_query.decode()))
    for name, value in changes.items():
        if value is None:
            del parameters[f"X-Amz-{name}"]
        else:
            parameters[f"X-Amz-{name}"] = value
    return request.replace(raw_query=urlencode(parameters).encode())


def test_a_region_that_is_too_long_is_not_remembered() -> None:
    """Whoever knows an access key id could fill the memory with regions of 60 KiB."""
    scope = f"{ACCESS_KEY}/{time.strftime('%Y%m%d', time.gmtime())}/{'r' * 65}/s3/aws4_request"
    before = signing.signing_key.cache_info().currsize
    error = refusal(changed_query(presigned(), Credential=scope))
    assert error.code == "AuthorizationQueryParametersError"
    assert "too long" in error.message
    header = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}"
    error = refusal(Request.make("GET", "http://h/b/k", {"authorization": header, "host": "h"}))
    assert error.code == "AuthorizationHeaderMalformed"
    assert signing.signing_key.cache_info().currsize == before


# -- anonymous and other schemes ---------------------------------------------------------------


def test_no_credentials_is_anonymous() -> None:
    request = Request.make("GET", "http://h/b/k?prefix=X-Amz-&list-type=2", {})
    result = authenticate(request, keyring, "")
    assert result.principal.anonymous
    assert (result.access_key, result.mechanism, result.sha256) == ("", "", "")


def test_empty_authorization_is_anonymous() -> None:
    request = Request.make("GET", "http://h/b/k", {"authorization": ""})
    assert authenticate(request, keyring, "").principal.anonymous


def test_anonymous_body_can_be_promised_but_not_signed() -> None:
    request = Request.make("PUT", "http://h/b/k", {"x-amz-content-sha256": EMPTY.upper()})
    assert authenticate(request, keyring, "").sha256 == EMPTY
    signed = request.with_header(b"x-amz-content-sha256", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    assert refusal(signed).code == "InvalidArgument"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("AWS3-HTTPS AWSAccessKeyId=x", "InvalidRequest"),
        ("AWS4-ECDSA-P256-SHA256 Credential=x", "InvalidRequest"),
        ("Bearer abc", "InvalidArgument"),
        ("Basic bWluaW86bWluaW9zZWNyZXQ=", "InvalidArgument"),
        ("AWS HAHAHA", "InvalidArgument"),
        ("AWS4-HMAC-SHA256", "AuthorizationHeaderMalformed"),
    ],
)
def test_other_schemes_are_refused(authorization: str, code: str) -> None:
    error = refusal(Request.make("GET", "http://h/b/k", {"authorization": authorization}))
    assert error.code == code
    assert "bWluaW8" not in str(error.fields)


def test_two_mechanisms_at_once() -> None:
    request = sign("GET", "/b/k")
    error = refusal(request.replace(raw_query=presigned().raw_query))
    assert error.code == "InvalidArgument"
    assert error.message.startswith("Only one auth mechanism allowed")


# -- who ---------------------------------------------------------------------------------------


def test_unknown_and_disabled_keys() -> None:
    error = refusal(sign("GET", "/b/k", access_key="AKIAUNKNOWN"))
    assert (error.code, error.fields["AWSAccessKeyId"]) == ("InvalidAccessKeyId", "AKIAUNKNOWN")
    error = refusal(sign("GET", "/b/k", access_key="disabled"))
    assert (error.code, "disabled" in error.message) == ("InvalidAccessKeyId", True)


def test_access_key_with_slashes_reaches_the_keyring() -> None:
    error = refusal(sign("GET", "/b/k", access_key="team/a/key"))
    assert error.fields["AWSAccessKeyId"] == "team/a/key"


def test_session_tokens_are_not_ignored() -> None:
    request = sign("GET", "/b/k", headers={"x-amz-security-token": "FwoGZXIvYXdz"})
    assert refusal(request).code == "InvalidToken"
    assert refusal(changed_query(presigned(), **{"Security-Token": "x"})).code == "InvalidToken"


# -- the header --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"service": "sts"}, 'incorrect service "sts"'),
        ({"terminator": "aws3_request"}, 'incorrect terminal "aws3_request"'),
        ({"scope_date": "20200101"}, 'Invalid credential date "20200101"'),
        ({"scope_date": "2020010"}, 'incorrect date format "2020010"'),
        ({"scope_date": "2020-1-1"}, 'incorrect date format "2020-1-1"'),
        ({"access_key": ""}, "the Credential is mal-formed"),
    ],
)
def test_malformed_scope(change: dict[str, Any], words: str) -> None:
    error = refusal(sign("GET", "/b/k", **change))
    assert error.code == "AuthorizationHeaderMalformed"
    assert words in error.message


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA256 Credential",
        "AWS4-HMAC-SHA256 Credential=a/20200101/r/s3/aws4_request",
        "AWS4-HMAC-SHA256 Credential=a/20200101/r/s3/aws4_request,SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=a/b,SignedHeaders=host,Signature=0",
        "AWS4-HMAC-SHA256 Credential=a,Credential=b,SignedHeaders=host,Signature=0",
        "AWS4-HMAC-SHA256 ,,,Signature=",
    ],
)
def test_malformed_header(authorization: str) -> None:
    error = refusal(Request.make("GET", "http://h/b/k", {"authorization": authorization}))
    assert error.code == "AuthorizationHeaderMalformed"


def test_order_of_components_does_not_matter() -> None:
    request = sign("GET", "/b/k")
    scheme, _, rest = request.headers[b"authorization"].partition(b" ")
    turned = scheme + b" " + b",".join(reversed(rest.split(b", ")))
    turned_request = request.with_header(b"authorization", turned)
    assert authenticate(turned_request, keyring, "").access_key == ACCESS_KEY


def test_every_amz_header_and_host_must_be_signed() -> None:
    error = refusal(sign("PUT", "/b/k", unsigned={"x-amz-acl": "public-read", "x-amz-tagging": ""}))
    assert (error.code, error.fields["HeadersNotSigned"]) == (
        "AccessDenied",
        "x-amz-acl, x-amz-tagging",
    )
    error = refusal(sign("GET", "/b/k", headers={"host": ""}))
    assert (error.code, error.fields["HeadersNotSigned"]) == ("AccessDenied", "host")


def test_what_one_request_signed_says_nothing_of_the_next() -> None:
    """Header names of a request that verified are remembered: others must be looked at anew."""
    assert authenticate(sign("PUT", "/b/k"), keyring, "").access_key == ACCESS_KEY
    assert authenticate(sign("PUT", "/b/k"), keyring, "").access_key == ACCESS_KEY
    error = refusal(sign("PUT", "/b/k", unsigned={"x-amz-tagging": "a=b"}))
    assert (error.code, error.fields["HeadersNotSigned"]) == ("AccessDenied", "x-amz-tagging")
    # One of which nobody knows whether it was signed is never remembered.
    tampered = sign("PUT", "/b/k", unsigned={"x-amz-tagging": "a=b"})
    for _ in range(2):
        assert refusal(tampered).code == "AccessDenied"


@pytest.mark.parametrize(
    "name", ["user-agent", "accept", "x-ms-blob-type", "x-amz-cf-id", "x-forwarded-for"]
)
def test_other_headers_may_be_unsigned(name: str) -> None:
    request = sign("PUT", "/b/k", unsigned={name: "value"})
    assert authenticate(request, keyring, "").access_key == ACCESS_KEY


@pytest.mark.parametrize(
    "spaced", [b"  one \t two ", b"one  two", b"one\ttwo", b" one two", b"one two ", b"one two"]
)
def test_header_spaces_do_not_count(spaced: bytes) -> None:
    request = sign("PUT", "/b/k", headers={"x-amz-meta-a": "one two"})
    sent = request.with_header(b"x-amz-meta-a", spaced)
    assert authenticate(sent, keyring, "").access_key == ACCESS_KEY


# -- when --------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [-15.1, 15.1, 24 * 60, -(10**6)])
def test_skewed_clock(minutes: float) -> None:
    now = time.time()
    error = refusal(sign("GET", "/b/k", seconds=now + minutes * MINUTE), now=now)
    assert error.code == "RequestTimeTooSkewed"
    assert error.fields["MaxAllowedSkewMilliseconds"] == "900000"


@pytest.mark.parametrize("minutes", [-14.9, 14.9])
def test_tolerable_clock(minutes: float) -> None:
    now = time.time()
    request = sign("GET", "/b/k", seconds=now + minutes * MINUTE)
    assert authenticate(request, keyring, "", now).access_key == ACCESS_KEY


@pytest.mark.parametrize("date", ["", "20200101", "20201301T000000Z", "2020-01-01T00:00:00Z"])
def test_without_a_valid_date(date: str) -> None:
    error = refusal(sign("GET", "/b/k", headers={"x-amz-date": date}))
    assert error.code == "AccessDenied"
    assert "valid Date or x-amz-date" in error.message


def test_date_header_serves_where_amz_date_is_missing() -> None:
    seconds = 1369353600
    request = sign(
        "GET",
        "/b/k",
        seconds=seconds,
        headers={"x-amz-date": "", "date": "Fri, 24 May 2013 00:00:00 GMT"},
    )
    assert authenticate(request, keyring, "", seconds).access_key == ACCESS_KEY


# -- what --------------------------------------------------------------------------------------


def test_payload_hash_is_required_and_sound() -> None:
    for name, value in (("content-length", "5"), ("transfer-encoding", "chunked")):
        request = sign("PUT", "/b/k", headers={"x-amz-content-sha256": "", name: value})
        assert refusal(request).code == "InvalidRequest"
    for payload in ("abc", "e3b0", "STREAMING-WHATEVER", "g" * 64, "unsigned-payload"):
        assert refusal(sign("GET", "/b/k", payload=payload)).code == "InvalidArgument"
    payload = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
    assert refusal(sign("GET", "/b/k", payload=payload)).code == "NotImplemented"


def test_without_a_body_the_payload_hash_may_be_missing() -> None:
    """``curl --aws-sigv4`` sends none."""
    for length in ("", "0"):
        request = sign(
            "GET", "/b/k", headers={"x-amz-content-sha256": "", "content-length": length}
        )
        assert authenticate(request, keyring, "").sha256 == EMPTY


def test_mismatch_shows_what_was_computed() -> None:
    request = sign("GET", "/b/k").replace(raw_path=b"/b/other\x07")
    error = refusal(request)
    assert error.code == "SignatureDoesNotMatch"
    assert error.fields["CanonicalRequest"].startswith("GET\n/b/other%07\n\nhost:127.0.0.1:9090\n")
    assert error.fields["StringToSign"].startswith("AWS4-HMAC-SHA256\n")
    assert error.fields["AWSAccessKeyId"] == ACCESS_KEY
    assert re.fullmatch("[0-9a-f]{64}", error.fields["SignatureProvided"])
    shown = bytes.fromhex(error.fields["CanonicalRequestBytes"]).decode()
    assert shown == error.fields["CanonicalRequest"]


def test_changed_secret_is_noticed_at_once() -> None:
    """Derived keys are cached; a new secret of the same access key must not meet the old one."""
    request = sign("GET", "/b/k")
    credential = keyring(ACCESS_KEY)
    assert credential is not None
    assert authenticate(request, lambda _: credential, "").access_key == ACCESS_KEY
    other = type(credential)(
        access_key=ACCESS_KEY, secret="another-secret", principal=credential.principal
    )
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        authenticate(request, lambda _: other, "")


def tampered(request: Request) -> list[Request]:
    """``request`` with each of its components changed alone."""
    variants = [
        request.replace(method="DELETE"),
        request.replace(raw_path=request.raw_path + b"x"),
        request.replace(raw_path=request.raw_path.replace(b"/b/", b"/c/")),
        request.replace(raw_path=request.raw_path + b"/"),
        request.replace(raw_path=b"/" + request.raw_path),
        request.replace(raw_query=request.raw_query + b"&x=y"),
        request.replace(raw_query=request.raw_query.replace(b"tagging", b"acl")),
    ]
    for name, value in request.headers.items():
        if name not in (b"authorization",):
            variants.append(request.with_header(name, value + b"0"))
            variants.append(request.without_header(name))
    return variants


def test_no_component_can_be_changed() -> None:
    request = sign(
        "PUT",
        "/b/k",
        query="tagging=&versionId=null",
        headers={"x-amz-meta-a": "1", "content-type": "text/plain", "content-length": "5"},
        payload="UNSIGNED-PAYLOAD",
    )
    assert authenticate(request, keyring, "").access_key == ACCESS_KEY
    for variant in tampered(request):
        refusal(variant)
    authorization = request.headers[b"authorization"]
    for position in range(len(b"AWS4-HMAC-SHA256 Credential="), len(authorization)):
        changed = bytearray(authorization)
        changed[position] ^= 1
        if changed.lower() != authorization.lower():
            refusal(request.with_header(b"authorization", bytes(changed)))


def test_no_presigned_component_can_be_changed() -> None:
    request = presigned(url="http://127.0.0.1:9090/b/k?tagging=")
    assert authenticate(request, keyring, "").mechanism == "query"
    for variant in tampered(request):
        refusal(variant)
    for name, value in (
        ("Expires", "3601"),
        ("Date", "20200101T000000Z"),
        ("SignedHeaders", "host;accept"),
        ("Signature", "0" * 64),
        ("Content-Sha256", EMPTY),
    ):
        refusal(changed_query(request, **{name: value}))


# -- presigned ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Algorithm", "Credential", "Signature", "Date", "SignedHeaders", "Expires"]
)
def test_presigned_parameters_are_required(name: str) -> None:
    for value in (None, ""):
        error = refusal(changed_query(presigned(), **{name: value}))
        assert error.code == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("Algorithm", "AWS4-HMAC-SHA1", "X-Amz-Algorithm only supports"),
        ("Credential", "a/b/c", "the Credential is mal-formed"),
        ("Credential", "a/20200101/r/sts/aws4_request", 'incorrect service "sts"'),
        ("Date", "yesterday", "X-Amz-Date must be in the ISO8601"),
        ("Date", "20200101T000000Z", "Invalid credential date"),
        ("Expires", "soon", "X-Amz-Expires should be a number"),
        ("Expires", "-1", "X-Amz-Expires must be non-negative"),
        ("Expires", "604801", "X-Amz-Expires must be less than a week"),
        ("Expires", "9" * 4000, "X-Amz-Expires must be less than a week"),
    ],
)
def test_malformed_presigned(name: str, value: str, words: str) -> None:
    error = refusal(changed_query(presigned(), **{name: value}))
    assert error.code == "AuthorizationQueryParametersError"
    assert words in error.message
    never_right = "non-negative" in words or "a week" in words
    assert error.status == (403 if never_right else 400)


def test_presigned_parameter_given_twice() -> None:
    request = presigned()
    error = refusal(request.replace(raw_query=request.raw_query + b"&X-Amz-Expires=604800"))
    assert error.code == "AuthorizationQueryParametersError"


def test_presigned_life() -> None:
    request, now = presigned(60), time.time()
    assert authenticate(request, keyring, "", now + 30).mechanism == "query"
    error = refusal(request, now=now + 62)
    assert (error.code, error.message) == ("AccessDenied", "Request has expired")
    assert error.fields["X-Amz-Expires"] == "60"
    error = refusal(request, now=now - 16 * MINUTE)
    assert (error.code, error.message) == ("AccessDenied", "Request is not yet valid")
    error = refusal(presigned(0))
    assert (error.code, error.message) == ("AccessDenied", "Request has expired")
    assert authenticate(presigned(604800), keyring, "", now + 604000).mechanism == "query"


def test_presigned_wrong_region() -> None:
    error = refusal(presigned(), region="eu-west-1")
    assert error.code == "AuthorizationQueryParametersError"
    assert error.fields["Region"] == "eu-west-1"


def test_presigned_with_unsigned_headers() -> None:
    request = presigned()
    error = refusal(request.with_header(b"x-amz-acl", b"public-read"))
    assert (error.code, error.fields["HeadersNotSigned"]) == ("AccessDenied", "x-amz-acl")


def test_presigned_promise_about_the_body() -> None:
    request = presigned()
    promised = request.with_header(b"x-amz-content-sha256", EMPTY.encode())
    assert authenticate(promised, keyring, "").sha256 == EMPTY
    framed = request.with_header(b"x-amz-content-sha256", b"STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert authenticate(framed, keyring, "").streaming
    signed = request.with_header(b"x-amz-content-sha256", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    assert refusal(signed).code == "NotImplemented"
