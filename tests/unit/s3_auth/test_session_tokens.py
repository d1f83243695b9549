"""Session tokens in every form of request: verified, signed with it, and never ignored."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from storage.s3.auth import authenticate
from storage.s3.auth.post_policy import authenticate_form
from storage.s3.errors import S3Error

from .conftest import (
    ACCESS_KEY,
    FORMER_TOKEN,
    SECRET,
    SESSION_KEY,
    SESSION_SECRET,
    TOKEN,
    Request,
    keyring,
)

URL = "http://127.0.0.1:9090/b/k"
FORMS = ("header", "presigned", "header-2", "presigned-2")


def signed(form: str, access_key: str, secret: str, token: str | None) -> Request:
    """A GET as botocore signs it."""
    request = AWSRequest("GET", URL, headers={"host": "127.0.0.1:9090"})
    credentials = Credentials(access_key, secret, token)
    signer: Any = {
        "header": lambda: S3SigV4Auth(credentials, "s3", "us-east-1"),
        "presigned": lambda: S3SigV4QueryAuth(credentials, "s3", "us-east-1", 60),
        "header-2": lambda: HmacV1Auth(credentials),
        "presigned-2": lambda: HmacV1QueryAuth(credentials, 60),
    }[form]()
    signer.add_auth(request)
    prepared = request.prepare()
    return Request.make("GET", prepared.url, dict(prepared.headers))


def refusal(request: Request) -> str:
    with pytest.raises(S3Error) as caught:
        authenticate(request, keyring, "")
    return caught.value.code


@pytest.mark.parametrize("form", FORMS)
def test_sdk_requests_with_a_token(form: str) -> None:
    result = authenticate(signed(form, SESSION_KEY, SESSION_SECRET, TOKEN), keyring, "")
    assert (result.access_key, result.principal.name) == (SESSION_KEY, "alice")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("access_key", "secret", "token", "code"),
    [
        (SESSION_KEY, SESSION_SECRET, None, "InvalidAccessKeyId"),
        (SESSION_KEY, SESSION_SECRET, "forged", "InvalidToken"),
        (SESSION_KEY, SESSION_SECRET, "täuschung", "InvalidToken"),
        (SESSION_KEY, SESSION_SECRET, FORMER_TOKEN, "ExpiredToken"),
        (SESSION_KEY, SECRET, TOKEN, "SignatureDoesNotMatch"),
        (ACCESS_KEY, SECRET, TOKEN, "InvalidToken"),
    ],
)
def test_what_is_refused(
    form: str, access_key: str, secret: str, token: str | None, code: str
) -> None:
    if token and not token.isascii() and form.startswith("header"):
        request = signed(form, access_key, secret, "t")
        request = request.with_header(b"x-amz-security-token", token.encode())
    else:
        request = signed(form, access_key, secret, token)
    assert refusal(request) == code


def test_a_token_beside_the_signature_is_refused() -> None:
    """A header that nobody signed could have been put there by anybody."""
    request = signed("header", SESSION_KEY, SESSION_SECRET, None)
    unsigned = request.with_header(b"x-amz-security-token", TOKEN.encode())
    assert refusal(unsigned) == "AccessDenied"
    request = signed("presigned", SESSION_KEY, SESSION_SECRET, None)
    unsigned = request.with_header(b"x-amz-security-token", TOKEN.encode())
    assert refusal(unsigned) == "AccessDenied"
    request = signed("header-2", SESSION_KEY, SESSION_SECRET, None)
    unsigned = request.with_header(b"x-amz-security-token", TOKEN.encode())
    assert refusal(unsigned) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_forms(version: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9090",
        region_name="us-east-1",
        aws_access_key_id=SESSION_KEY,
        aws_secret_access_key=SESSION_SECRET,
        aws_session_token=TOKEN,
        config=Config(signature_version=version),
    )
    post = client.generate_presigned_post("b", "k")
    fields = {name.lower(): value.encode() for name, value in post["fields"].items()}
    result, _ = authenticate_form(fields, "b", keyring, "")
    assert (result.access_key, result.principal.name) == (SESSION_KEY, "alice")
    for token, code in (("forged", "InvalidToken"), (FORMER_TOKEN, "ExpiredToken")):
        altered = fields | {"x-amz-security-token": token.encode()}
        with pytest.raises(S3Error) as caught:
            authenticate_form(altered, "b", keyring, "")
        assert caught.value.code == code
    del fields["x-amz-security-token"]
    with pytest.raises(S3Error) as caught:
        authenticate_form(fields, "b", keyring, "")
    assert caught.value.code == "InvalidAccessKeyId"
