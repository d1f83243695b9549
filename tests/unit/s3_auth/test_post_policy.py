"""Policies of forms: the documentation's example, SDKs' signatures, every condition and refusal."""

from __future__ import annotations

import base64
import datetime
import json
import time
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from minio import Minio
from minio.datatypes import PostPolicy as MinioPolicy

from storage.s3.auth import VERSION_2, VERSION_4, sigv2
from storage.s3.auth.post_policy import ANYTHING, authenticate_form, parse
from storage.s3.auth.signing import parse_time, signing_key
from storage.s3.errors import S3Error

from .conftest import ACCESS_KEY, SECRET, keyring

BUCKET = "pictures"
QUERY = "AuthorizationQueryParametersError"
SOON = "2999-01-01T00:00:00.000Z"

# -- the example of "Browser-Based Upload using HTTP POST (Using AWS Signature Version 4)" ---------

EXAMPLE = (
    '{ "expiration": "2015-12-30T12:00:00.000Z",\r\n  "conditions": [\r\n'
    '    {"bucket": "sigv4examplebucket"},\r\n    ["starts-with", "$key", "user/user1/"],\r\n'
    '    {"acl": "public-read"},\r\n    {"success_action_redirect": '
    '"http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},\r\n'
    '    ["starts-with", "$Content-Type", "image/"],\r\n'
    '    {"x-amz-meta-uuid": "14365123651274"},\r\n'
    '    {"x-amz-server-side-encryption": "AES256"},\r\n'
    '    ["starts-with", "$x-amz-meta-tag", ""],\r\n\r\n'
    '    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},\r\n'
    '    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},\r\n    {"x-amz-date": "20151229T000000Z" }\r\n'
    "  ]\r\n}"
)


def test_published_example() -> None:
    fields = {
        "key": b"user/user1/photo.jpg",
        "acl": b"public-read",
        "success_action_redirect": b"http://sigv4examplebucket.s3.amazonaws.com/"
        b"successful_upload.html",
        "content-type": b"image/jpeg",
        "x-amz-meta-uuid": b"14365123651274",
        "x-amz-server-side-encryption": b"AES256",
        "x-amz-credential": b"AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
        "x-amz-algorithm": b"AWS4-HMAC-SHA256",
        "x-amz-date": b"20151229T000000Z",
        "x-amz-meta-tag": b"",
        "policy": base64.b64encode(EXAMPLE.encode()),
        "x-amz-signature": b"8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
    }
    now = parse_time(b"20151229T120000Z")
    result, policy = authenticate_form(fields, "sigv4examplebucket", keyring, "us-east-1", now)
    assert (result.principal.name, result.mechanism) == ("alice", "post")
    assert (result.algorithm, result.sha256) == (VERSION_4, "")
    assert policy.size_min == 0
    with pytest.raises(S3Error) as late:
        authenticate_form(fields, "sigv4examplebucket", keyring, "", (now or 0) + 86401)
    assert late.value.message == "Invalid according to Policy: Policy expired."


# -- SDKs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "algorithm"), [("s3v4", VERSION_4), ("s3", VERSION_2), (None, VERSION_2)]
)
def test_boto3(version: str | None, algorithm: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9090",
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
        config=Config(signature_version=version),
    )
    post = client.generate_presigned_post(
        BUCKET,
        "in/${filename}",
        Fields={"acl": "private"},
        Conditions=[{"acl": "private"}, ["content-length-range", 1, 10]],
    )
    fields = {name.lower(): value.encode() for name, value in post["fields"].items()}
    fields["key"] = b"in/x"
    result, policy = authenticate_form(fields, BUCKET, keyring, "")
    assert (result.access_key, result.algorithm) == (ACCESS_KEY, algorithm)
    assert (policy.size_min, policy.size_max) == (1, 10)
    with pytest.raises(S3Error) as error:
        authenticate_form(fields | {"acl": b"public-read"}, BUCKET, keyring, "")
    assert error.value.code == "AccessDenied"


def test_minio_py() -> None:
    policy = MinioPolicy(BUCKET, datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1))
    policy.add_starts_with_condition("key", "in/")
    policy.add_content_length_range_condition(1, 10)
    client = Minio("127.0.0.1:9090", ACCESS_KEY, SECRET, region="us-east-1", secure=False)
    fields = {n.lower(): v.encode() for n, v in client.presigned_post_policy(policy).items()}
    result, _ = authenticate_form(fields | {"key": b"in/x"}, BUCKET, keyring, "")
    assert result.access_key == ACCESS_KEY


# -- forms made here ------------------------------------------------------------------------------


def form(
    conditions: list[Any] | None = None,
    document: Any = None,
    text: bytes | None = None,
    **fields: str,
) -> dict[str, bytes]:
    """A form signed with version 4, whose policy covers what signs it, the bucket and the key."""
    day = time.strftime("%Y%m%d", time.gmtime())
    signing = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{ACCESS_KEY}/{day}/us-east-1/s3/aws4_request",
        "x-amz-date": f"{day}T000000Z",
    }
    if conditions is None:
        conditions = [{"bucket": BUCKET}, ["starts-with", "$key", ""]]
    covered = [{name: value} for name, value in signing.items()]
    if document is None:
        document = {"expiration": SOON, "conditions": [*conditions, *covered]}
    if text is None:
        text = base64.b64encode(json.dumps(document).encode())
    key = signing_key(SECRET, day.encode(), b"us-east-1")
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return {
        name.lower(): value.encode("utf-8", "surrogatepass")
        for name, value in ({"key": "k"} | signing | named).items()
    } | {"policy": text, "x-amz-signature": key.sign(text)}


def form_2(**fields: bytes) -> dict[str, bytes]:
    document = {"expiration": SOON, "conditions": [{"bucket": BUCKET}, {"key": "k"}]}
    text = base64.b64encode(json.dumps(document).encode())
    return {
        "key": b"k",
        "awsaccesskeyid": ACCESS_KEY.encode(),
        "policy": text,
        "signature": sigv2.sign(SECRET, text),
    } | fields


def refusal(fields: dict[str, bytes], bucket: str = BUCKET, **options: Any) -> S3Error:
    options = {"region": ""} | options
    with pytest.raises(S3Error) as error:
        authenticate_form(fields, bucket, keyring, **options)
    return error.value


def accepted(fields: dict[str, bytes]) -> bool:
    """Whether the form keeps to its policy."""
    try:
        authenticate_form(fields, BUCKET, keyring, "")
    except S3Error as error:
        if error.code == "AccessDenied" and error.message.startswith("Invalid according to Policy"):
            return False
        raise
    return True


def test_a_form_without_policy_is_anonymous() -> None:
    result, policy = authenticate_form({"key": b"k", "x": b"y"}, BUCKET, keyring, "")
    assert (result.principal.anonymous, result.mechanism, policy) == (True, "", ANYTHING)


@pytest.mark.parametrize(
    "name", ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature", "policy"]
)
def test_what_signs_must_be_complete(name: str) -> None:
    fields = form()
    del fields[name.lower()]
    error = refusal(fields)
    assert (error.code, error.fields["ArgumentName"]) == ("InvalidArgument", name)
    assert f"a field named '{name}'" in error.message


@pytest.mark.parametrize("name", ["AWSAccessKeyId", "Signature", "policy"])
def test_what_signs_with_version_2_must_be_complete(name: str) -> None:
    fields = form_2()
    result, _ = authenticate_form(fields, BUCKET, keyring, "")
    assert (result.mechanism, result.algorithm) == ("post", VERSION_2)
    del fields[name.lower()]
    error = refusal(fields)
    assert (error.code, error.fields["ArgumentName"]) == ("InvalidArgument", name)


def test_a_policy_that_nobody_signed() -> None:
    assert refusal({"key": b"k", "policy": form()["policy"]}).code == "AccessDenied"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"x-amz-signature": b"0" * 64}, "SignatureDoesNotMatch"),
        ({"x-amz-signature": b"x"}, "SignatureDoesNotMatch"),
        ({"policy": b"x"}, "SignatureDoesNotMatch"),
        ({"x-amz-algorithm": b"AWS4-HMAC-SHA1"}, QUERY),
        ({"x-amz-credential": b"x"}, QUERY),
        ({"x-amz-credential": b"a/20200101/r/x/aws4_request"}, QUERY),
        ({"x-amz-credential": b"a/20200101/_/s3/aws4_request"}, QUERY),
        ({"x-amz-date": b"2024-05-06T07:08:09Z"}, QUERY),
        ({"x-amz-security-token": b"t"}, "InvalidToken"),
    ],
)  # fmt: skip
def test_what_signs_must_be_right(fields: dict[str, bytes], code: str) -> None:
    assert refusal(form() | fields).code == code


def test_the_answer_to_a_mismatch_shows_what_was_to_be_signed() -> None:
    fields = form() | {"x-amz-signature": b"0" * 64}
    error = refusal(fields)
    assert error.fields["StringToSign"].encode() == fields["policy"]
    error = refusal(form_2(signature=b"AAAA"))
    assert (error.code, error.fields["SignatureProvided"]) == ("SignatureDoesNotMatch", "AAAA")


def test_keys_and_regions() -> None:
    for name in ("unknown", "disabled"):
        credential = form()["x-amz-credential"].replace(ACCESS_KEY.encode(), name.encode())
        assert refusal(form() | {"x-amz-credential": credential}).code == "InvalidAccessKeyId"
        assert refusal(form_2(awsaccesskeyid=name.encode())).code == "InvalidAccessKeyId"
    error = refusal(form(), region="eu-west-1")
    assert (error.code, error.fields["Region"]) == (
        "AuthorizationQueryParametersError",
        "eu-west-1",
    )


def test_version_2_can_be_switched_off() -> None:
    assert refusal(form_2(), version_2=False).code == "InvalidRequest"
    authenticate_form(form(), BUCKET, keyring, "", version_2=False)


# -- conditions -----------------------------------------------------------------------------------

KEY: list[Any] = [{"bucket": BUCKET}, ["starts-with", "$key", ""]]


@pytest.mark.parametrize(
    ("condition", "fields", "holds"),
    [
        ({"acl": "private"}, {"acl": "private"}, True),
        ({"acl": "private"}, {"acl": "public-read"}, False),
        ({"acl": "private"}, {"acl": "Private"}, False),
        ({"acl": "private"}, {}, False),
        ({"aCl": "private"}, {"acl": "private"}, True),
        (["eq", "$acl", "private"], {"acl": "private"}, True),
        (["EQ", "$ACL", "private"], {"acl": "private"}, True),
        (["eq", "acl", "private"], {"acl": "private"}, False),
        (["eq", "$key", "k"], {}, True),
        (["eq", "$key", "other"], {}, False),
        (["StArTs-WiTh", "$KeY", "k"], {}, True),
        (["starts-with", "$key", "x"], {}, False),
        (["starts-with", "$success_action_redirect", "http://a/"], {}, False),
        (["starts-with", "$acl", ""], {}, True),
        (["starts-with", "$Content-Type", "image/"], {"Content_Type": "image/png"}, True),
        (["starts-with", "$Content-Type", "image/"], {"Content_Type": "image/a, image/b"}, True),
        (["starts-with", "$Content-Type", "image/"], {"Content_Type": "image/a,text/x"}, False),
        (["eq", "$Content-Type", "a, b"], {"Content_Type": "a, b"}, True),
        (["starts-with", "$expires", "a"], {"expires": "a,b"}, True),
        ({"x-amz-meta-ä": "ü"}, {"x-amz-meta-ä": "ü"}, True),
        ({"bucket": BUCKET}, {"bucket": BUCKET}, True),
        ({"bucket": BUCKET}, {"bucket": "other"}, False),
        (["starts-with", "$bucket", "pic"], {}, True),
        ({"bucket": "other"}, {}, False),
    ],
)
def test_conditions(condition: Any, fields: dict[str, str], holds: bool) -> None:
    assert accepted(form([*KEY, condition], **fields)) is holds


def test_the_answer_names_the_condition() -> None:
    error = refusal(form([*KEY, ["starts-with", "$Content-Type", "image/"]]))
    assert error.message == (
        'Invalid according to Policy: Policy Condition failed: '
        '["starts-with", "$Content-Type", "image/"]'
    )  # fmt: skip
    error = refusal(form([*KEY, {"acl": "private"}]))
    assert error.message.endswith('["eq", "$acl", "private"]')


@pytest.mark.parametrize("name", ["acl", "content-type", "x-amz-meta-a", "success_action_status"])
def test_every_field_needs_a_condition(name: str) -> None:
    error = refusal(form() | {name: b"x"})
    assert error.message == f"Invalid according to Policy: Extra input fields: {name}"


def test_the_fields_that_sign_need_one_too() -> None:
    document = {"expiration": SOON, "conditions": KEY}
    assert "x-amz-credential" in refusal(form(document=document)).message


def test_so_does_the_bucket_whatever_the_form_has() -> None:
    error = refusal(form([["starts-with", "$key", ""]]))
    assert error.message.endswith("Extra input fields: bucket")


def test_fields_that_need_none() -> None:
    assert accepted(form() | {"x-ignore-this": b"x", "x-ignore-": b""})
    assert accepted(form_2() | {"x-ignore-this": b"x"})
    # What signs with the other version is a field like any other.
    assert not accepted(form() | {"awsaccesskeyid": b"x"})


def test_sizes() -> None:
    _, policy = authenticate_form(
        form([*KEY, ["content-length-range", 5, "10"], ["Content-Length-Range", 0, 8]]),
        BUCKET,
        keyring,
        "",
    )
    assert (policy.size_min, policy.size_max) == (5, 8)
    policy.check_size(5)
    policy.check_size(8)
    for size, code, field in ((4, "EntityTooSmall", "Min"), (9, "EntityTooLarge", "Max")):
        with pytest.raises(S3Error) as error:
            policy.check_size(size)
        assert error.value.code == code
        assert error.value.fields["ProposedSize"] == str(size)
        assert f"{field}SizeAllowed" in error.value.fields
    assert policy.at_most(6).size_max == 6
    assert policy.at_most(60).size_max == 8


# -- documents ------------------------------------------------------------------------------------


def invalid(text: bytes) -> str:
    with pytest.raises(S3Error) as error:
        parse(text)
    assert error.value.code == "InvalidPolicyDocument"
    return error.value.message


def encoded(document: Any) -> bytes:
    return base64.b64encode(json.dumps(document).encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{policy}",
        b"e30",
        base64.b64encode(b"expiration"),
        base64.b64encode(b"\xff"),
        base64.b64encode(b"[" * 10000),
        base64.b64encode(b"1" * 10000),
        encoded([]),
        encoded("x"),
    ],
)
def test_what_is_no_document(text: bytes) -> None:
    assert invalid(text) == "Invalid Policy: Invalid JSON."


@pytest.mark.parametrize(
    "expiration",
    [
        "2999-01-01 00:00:00",
        "2999-01-01T00:00:00+00:00",
        "2999-01-01T00:00:00",
        "2999-02-30T00:00:00Z",
        "2999-01-01T24:61:00Z",
        "0000-01-01T00:00:00Z",
        "tomorrow",
        32503680000,
        None,
        {},
    ],
)
def test_expirations_that_are_none(expiration: Any) -> None:
    message = invalid(encoded({"expiration": expiration, "conditions": []}))
    assert message == f"Invalid Policy: Invalid 'expiration' value: '{expiration}'"


@pytest.mark.parametrize("expiration", ["2015-12-30T12:00:00Z", "2015-12-30T12:00:00.000Z"])
def test_expirations(expiration: str) -> None:
    assert parse(encoded({"expiration": expiration, "conditions": []})).expires == 1451476800


@pytest.mark.parametrize(
    "document",
    [
        {"expiration": SOON},
        {"conditions": []},
        {"EXPIRATION": SOON, "conditions": []},
        {"expiration": SOON, "CONDITIONS": []},
        {"expiration": SOON, "conditions": [], "version": 1},
        {"expiration": SOON, "conditions": {}},
        *(
            {"expiration": SOON, "conditions": [condition]}
            for condition in (
                {}, {"acl": "a", "key": "k"}, {"acl": 1}, {"acl": None}, {"acl": ["a"]},
                "bucket", 1, None, [], ["eq"], ["eq", "$key"], ["eq", "$key", 1],
                ["eq", "$key", "a", "b"], ["ends-with", "$key", "x"], [["eq"], "$key", "x"],
                ["content-length-range"], ["content-length-range", 0],
                ["content-length-range", 0, 1, 2], ["content-length-range", -1, 0],
                ["content-length-range", 0, "x"], ["content-length-range", 0, 1.5],
                ["content-length-range", False, True], ["content-length-range", 0, None],
                ["content-length-range", 0, "9" * 20],
            )
        ),
    ],
)  # fmt: skip
def test_documents_that_say_something_else(document: Any) -> None:
    assert invalid(encoded(document)).startswith("Invalid Policy: ")


def test_escapes_that_json_does_not_know() -> None:
    text = b'{"expiration": "%b", "conditions": [{"key": "\\$a\\v\\\\$b\\u0041"}]}' % SOON.encode()
    (condition,) = parse(base64.b64encode(text)).conditions
    assert condition.value == "$a\x0b\\$bA"


def test_a_policy_may_be_broken_into_lines() -> None:
    text = base64.encodebytes(json.dumps({"expiration": SOON, "conditions": KEY}).encode())
    assert len(parse(text.replace(b"\n", b"\r\n")).conditions) == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
condition_like = st.lists(
    st.one_of(
        st.sampled_from(["eq", "starts-with", "content-length-range", "$key", "$bucket", "0"]),
        json_values,
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(),
        json_values.map(lambda value: json.dumps(value).encode()),
        st.lists(st.one_of(condition_like, st.dictionaries(st.text(), st.text()))).map(
            lambda found: json.dumps({"expiration": SOON, "conditions": found}).encode()
        ),
    )
)
def test_any_document_is_understood_or_refused(document: bytes) -> None:
    # Nothing of it covers the fields that sign.
    error = refusal(form(text=base64.b64encode(document)))
    assert error.code in ("InvalidPolicyDocument", "AccessDenied")
