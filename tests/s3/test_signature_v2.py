"""AWS Signature Version 2, in headers and in URLs."""

from __future__ import annotations

import base64
import hmac
import os
import time
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Store
from tests.s3.raw import Answer, RawClient

MIB = 1024 * 1024
KEY = "dir/a b+c&d=e%41é?.txt"


@pytest.fixture(scope="module")
def client(make_boto_client: Any) -> Any:
    return make_boto_client(signature_version="s3")


class Signer:
    """Signs requests as they are given."""

    def __init__(self, raw: RawClient, store: Store) -> None:
        self._raw = raw
        self._store = store

    def proof(self, text: str) -> str:
        digest = hmac.digest(self._store.secret_key.encode(), text.encode(), "sha1")
        return base64.b64encode(digest).decode()

    def send(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        resource: str = "",
        date: str | None = None,
        body: bytes | None = None,
        **headers: str,
    ) -> Answer:
        """``resource``: what is signed, by default the path."""
        date = formatdate(usegmt=True) if date is None else date
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        amz = "".join(f"{n}:{v}\n" for n, v in sorted(lines.items()) if n.startswith("x-amz-"))
        standard = [lines.get("content-md5", ""), lines.get("content-type", "")]
        signed_date = "" if "x-amz-date" in lines else date
        text = "\n".join([method, *standard, signed_date, amz + (resource or path)])
        lines["authorization"] = f"AWS {self._store.access_key}:{self.proof(text)}"
        if date:
            lines["date"] = date
        return self._raw.request(method, path, query, body=body, headers=lines, sign=False)

    def presign(self, method: str, path: str, expires: int | str, resource: str = "") -> str:
        signature = self.proof(f"{method}\n\n\n{expires}\n{resource or path}")
        return (
            f"AWSAccessKeyId={quote(self._store.access_key)}&Expires={expires}"
            f"&Signature={quote(signature, safe='')}"
        )


@pytest.fixture
def signer(raw: RawClient, store: Store) -> Signer:
    return Signer(raw, store)


def get(raw: RawClient, url: str, method: str = "GET", **options: Any) -> Answer:
    path, _, query = url.split(raw.host, 1)[1].partition("?")
    return raw.request(method, path, query, sign=False, **options)


# -- in headers -----------------------------------------------------------------------------------


def test_objects(client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key=KEY, Body=b"x" * MIB, Metadata={"a": "b"})
    head = client.head_object(Bucket=bucket, Key=KEY)
    assert (head["ContentLength"], head["Metadata"]) == (MIB, {"a": "b"})
    client.put_object_tagging(
        Bucket=bucket, Key=KEY, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]}
    )
    assert client.get_object_tagging(Bucket=bucket, Key=KEY)["TagSet"][0]["Value"] == "v"
    found = client.get_object(Bucket=bucket, Key=KEY, ResponseContentDisposition="attachment; x")
    assert found["ContentDisposition"] == "attachment; x"
    assert found["Body"].read(3) == b"xxx"
    client.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": KEY})
    listed = client.list_objects_v2(Bucket=bucket, Prefix="dir/", Delimiter="/")
    assert [each["Key"] for each in listed["Contents"]] == [KEY]
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": KEY}, {"Key": "copy"}]})
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)


def test_buckets(client: Any, bucket: str) -> None:
    name = f"{bucket}-v2"
    client.create_bucket(Bucket=name)
    assert name in {each["Name"] for each in client.list_buckets()["Buckets"]}
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    assert client.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    assert client.get_bucket_location(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert client.list_object_versions(Bucket=name)["Name"] == name
    client.delete_bucket(Bucket=name)


def test_multipart(client: Any, bucket: str) -> None:
    upload = client.create_multipart_upload(Bucket=bucket, Key=KEY)["UploadId"]
    named = {"Bucket": bucket, "Key": KEY, "UploadId": upload}
    parts = [
        {"PartNumber": n, "ETag": client.upload_part(**named, PartNumber=n, Body=data)["ETag"]}
        for n, data in ((1, os.urandom(5 * MIB)), (2, b"end"))
    ]
    assert len(client.list_parts(**named)["Parts"]) == 2
    client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    assert client.head_object(Bucket=bucket, Key=KEY)["ContentLength"] == 5 * MIB + 3


def test_what_is_signed_cannot_be_changed(signer: Signer, raw: RawClient, bucket: str) -> None:
    assert signer.send("PUT", f"/{bucket}/k", body=b"x", x_amz_meta_a="b").status == 200
    for answer in (
        signer.send("GET", f"/{bucket}/k", resource=f"/{bucket}/other"),
        signer.send("GET", f"/{bucket}/k", "tagging"),
        signer.send("GET", f"/{bucket}/k", "versionId=null", resource=f"/{bucket}/k?versionId=x"),
    ):
        assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
        assert str(answer.text("StringToSign")).startswith("GET\n\n\n")
    signed = signer.send("GET", f"/{bucket}/k", "tagging", resource=f"/{bucket}/k?tagging")
    assert signed.status == 200


@pytest.mark.parametrize(
    ("date", "code"),
    [
        ("", "AccessDenied"),
        ("Bad Date", "AccessDenied"),
        ("Tue, 07 Jul 1950 21:53:04 GMT", "AccessDenied"),
        ("Tue, 07 Jul 2010 21:53:04 GMT", "RequestTimeTooSkewed"),
        ("Tue, 07 Jul 2099 21:53:04 GMT", "RequestTimeTooSkewed"),
    ],
)
def test_dates(signer: Signer, bucket: str, date: str, code: str) -> None:
    answer = signer.send("GET", f"/{bucket}", date=date)
    assert (answer.status, answer.code) == (403, code)
    answer = signer.send("GET", f"/{bucket}", x_amz_date=date)
    assert (answer.status, answer.code) == (403, code)
    now = formatdate(usegmt=True)
    assert signer.send("GET", f"/{bucket}", date="", x_amz_date=now).status == 200


def test_authorizations_that_are_none(raw: RawClient, bucket: str) -> None:
    for value, status, code in (
        ("AWS HAHAHA", 400, "InvalidArgument"),
        ("AWS nobody:FWeDfwojDSdS2Ztmpfeubhd9isU=", 403, "InvalidAccessKeyId"),
        ("AWS3 x", 400, "InvalidRequest"),
    ):
        headers = {"authorization": value, "date": formatdate(usegmt=True)}
        answer = raw.request("GET", f"/{bucket}", headers=headers, sign=False)
        assert (answer.status, answer.code) == (status, code)


# -- in URLs --------------------------------------------------------------------------------------


def test_presigned_get_and_put(raw: RawClient, client: Any, bucket: str) -> None:
    named = {"Bucket": bucket, "Key": KEY}
    put = client.generate_presigned_url("put_object", Params=named, ExpiresIn=600)
    assert "Signature=" in put
    assert "X-Amz" not in put
    assert get(raw, put, "PUT", body=b"content").status == 200
    url = client.generate_presigned_url(
        "get_object", Params=named | {"ResponseContentType": "text/x; a=b"}, ExpiresIn=600
    )
    answer = get(raw, url)
    assert (answer.status, answer.body) == (200, b"content")
    assert answer.headers["content-type"] == "text/x; a=b"
    assert get(raw, url, "DELETE").status == 403
    assert get(raw, url + "&tagging").status == 403


def test_what_the_url_says_is_stored(raw: RawClient, client: Any, bucket: str) -> None:
    params = {"Bucket": bucket, "Key": "k", "ContentType": "image/png", "Metadata": {"a": "b"}}
    url = client.generate_presigned_url("put_object", Params=params)
    answer = get(raw, url, "PUT", body=b"x", headers={"content-type": "text/html"})
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
    assert get(raw, url, "PUT", body=b"x", headers={"content-type": "image/png"}).status == 200
    head = client.head_object(Bucket=bucket, Key="k")
    assert (head["ContentType"], head["Metadata"]) == ("image/png", {"a": "b"})


def test_urls_end(signer: Signer, raw: RawClient, boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"content")
    path, now = f"/{bucket}/k", int(time.time())
    assert (
        raw.request("GET", path, signer.presign("GET", path, now + 600), sign=False).status == 200
    )
    late = raw.request("GET", path, signer.presign("GET", path, now - 60), sign=False)
    assert (late.status, late.code) == (403, "AccessDenied")
    assert late.text("Message") == "Request has expired"
    for query in ("Signature=x", f"Signature=x&Expires={now}", "Signature=x&AWSAccessKeyId=y"):
        answer = raw.request("GET", path, query, sign=False)
        assert (answer.status, answer.code) == (403, "AccessDenied")
    never = raw.request("GET", path, signer.presign("GET", path, "never"), sign=False)
    assert (never.status, never.code) == (403, "AccessDenied")


def test_one_way_at_a_time(signer: Signer, raw: RawClient, bucket: str) -> None:
    path = f"/{bucket}/k"
    answer = raw.request("GET", path, signer.presign("GET", path, int(time.time()) + 600))
    assert (answer.status, answer.code) == (400, "InvalidArgument")
