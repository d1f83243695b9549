"""Credentials of a sign-in: everything that S3 is asked with, and what ends them."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from stack.client import Control
from tests.conftest import Store
from tests.s3.people import refusal
from tests.s3.raw import RawClient

boto3 = pytest.importorskip("boto3")

#: Requests on connections of their own, so that every worker has to answer some.
MANY = 12


@dataclass(frozen=True)
class User:
    """A user of the store, and what administers them."""

    control: Control
    name: str
    access_key: str
    secret_key: str
    console: str

    def sign_in(self) -> dict[str, Any]:
        body = {"access_key": self.access_key, "secret_key": self.secret_key}
        answer = httpx.post(f"{self.console}/api/v1/login", json=body, trust_env=False)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture
def user(store: Store, control: Control) -> User:
    assert store.served is not None
    name = f"user-{uuid.uuid4().hex[:8]}"
    made = control.call("POST", "users", body={"name": name, "policies": ["readwrite"]})
    keys = made["access_key"], made["secret_key"]
    return User(control, name, *keys, store.served.console)


@pytest.fixture
def client_of(store: Store) -> Callable[..., Any]:
    """A boto3 client with the credentials of a sign-in."""

    def make(signed_in: dict[str, Any], version: str = "s3v4", **changes: str) -> Any:
        from botocore.config import Config

        s3 = signed_in["s3"] | changes
        return boto3.session.Session().client(
            "s3",
            endpoint_url=store.endpoint,
            region_name="us-east-1",
            aws_access_key_id=s3["access_key"],
            aws_secret_access_key=s3["secret_key"],
            aws_session_token=s3["session_token"] or None,
            config=Config(
                signature_version=version,
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                proxies={},
            ),
        )

    return make


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_every_form_of_request(
    user: User, client_of: Callable[..., Any], bucket: str, version: str
) -> None:
    client = client_of(user.sign_in(), version)
    client.put_object(Bucket=bucket, Key="small", Body=b"content")
    assert client.get_object(Bucket=bucket, Key="small")["Body"].read() == b"content"
    body = b"x" * (6 << 20)
    upload = client.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = {"Bucket": bucket, "Key": "parts", "UploadId": upload}
    etag = client.upload_part(**part, PartNumber=1, Body=body, ChecksumAlgorithm="CRC32")["ETag"]
    parts = [{"PartNumber": 1, "ETag": etag}]
    client.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    url = client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "small"})
    assert httpx.get(url, trust_env=False).content == b"content"
    url = client.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "signed"})
    assert httpx.put(url, content=b"by url", trust_env=False).status_code == 200
    post = client.generate_presigned_post(bucket, "form")
    answer = httpx.post(
        post["url"], data=post["fields"], files={"file": b"by form"}, trust_env=False
    )
    assert answer.status_code == 204, answer.text
    found = {entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]}
    assert found == {"form", "parts", "signed", "small"}


def test_signed_chunks(
    store: Store, user: User, client_of: Callable[..., Any], bucket: str
) -> None:
    """What aws-sdk-java and MinIO's clients send: a body of signed chunks."""
    minio = pytest.importorskip("minio")
    s3 = user.sign_in()["s3"]
    client = minio.Minio(
        store.host,
        s3["access_key"],
        s3["secret_key"],
        session_token=s3["session_token"],
        region="us-east-1",
        secure=False,
    )
    body = b"y" * (200 << 10)
    client.put_object(bucket, "chunks", io.BytesIO(body), len(body))
    assert client.stat_object(bucket, "chunks").size == len(body)


def test_the_token_is_needed_and_its_own(
    user: User, client_of: Callable[..., Any], bucket: str
) -> None:
    first, second = user.sign_in(), user.sign_in()
    assert refusal(client_of(first, session_token="").list_buckets) == "InvalidAccessKeyId"
    token = second["s3"]["session_token"]
    assert refusal(client_of(first, session_token=token).list_buckets) == "InvalidToken"
    assert refusal(client_of(first, session_token="AQ").list_buckets) == "InvalidToken"
    assert refusal(client_of(first, secret_key="another").list_buckets) == "SignatureDoesNotMatch"


def _codes(store: Store, signed_in: dict[str, Any], path: str) -> set[str]:
    """What many connections are answered."""
    s3 = signed_in["s3"]
    client = RawClient(store.host, s3["access_key"], s3["secret_key"])
    token = {"x-amz-security-token": s3["session_token"]}
    answers = [client.request("GET", path, headers=token) for _ in range(MANY)]
    return {"" if answer.status == 200 else answer.code for answer in answers}


def test_signing_out_ends_them_in_every_worker(store: Store, user: User, bucket: str) -> None:
    first, second = user.sign_in(), user.sign_in()
    assert _codes(store, first, f"/{bucket}") == {""}
    header = {"authorization": f"Bearer {first['token']}"}
    renewed = httpx.post(
        f"{user.console}/api/v1/login/renew", json={}, headers=header, trust_env=False
    ).json()
    assert _codes(store, renewed, f"/{bucket}") == {""}
    answer = httpx.delete(f"{user.console}/api/v1/login", headers=header, trust_env=False)
    assert answer.status_code == 204
    assert _codes(store, first, f"/{bucket}") == {"InvalidToken"}
    assert _codes(store, renewed, f"/{bucket}") == {"InvalidToken"}
    assert _codes(store, second, f"/{bucket}") == {""}


def test_lost_rights_are_lost_at_once(store: Store, user: User, bucket: str) -> None:
    signed_in = user.sign_in()
    path = f"/{bucket}"
    assert _codes(store, signed_in, path) == {""}
    user.control.call("PATCH", "users", user.name, body={"policies": []})
    assert _codes(store, signed_in, path) == {"AccessDenied"}
    user.control.call("PATCH", "users", user.name, body={"policies": ["readwrite"]})
    assert _codes(store, signed_in, path) == {""}
    user.control.call("PATCH", "users", user.name, body={"status": "disabled"})
    assert _codes(store, signed_in, path) == {"InvalidAccessKeyId"}
    user.control.call("PATCH", "users", user.name, body={"status": "enabled"})
    assert _codes(store, signed_in, path) == {""}
    user.control.call("DELETE", "keys", user.access_key)
    assert _codes(store, signed_in, path) == {"InvalidToken"}


def test_a_narrowed_key_stays_narrow(
    user: User, client_of: Callable[..., Any], bucket: str
) -> None:
    statement = {
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/media/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    made = user.control.call("POST", "keys", body={"user": user.name, "policy": policy})
    narrow = User(user.control, user.name, made["access_key"], made["secret_key"], user.console)
    wide, scoped = client_of(user.sign_in()), client_of(narrow.sign_in())
    for key in ("media/a", "events/a"):
        wide.put_object(Bucket=bucket, Key=key, Body=json.dumps(key).encode())
    assert scoped.get_object(Bucket=bucket, Key="media/a")["ContentLength"] == 9
    assert refusal(scoped.get_object, Bucket=bucket, Key="events/a") == "AccessDenied"
    assert refusal(scoped.put_object, Bucket=bucket, Key="media/b") == "AccessDenied"
