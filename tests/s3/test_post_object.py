"""PostObject: files from browsers' forms."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from email.header import decode_header, make_header
from typing import Any
from urllib.parse import quote

import pytest

from tests.s3.forms import BOUNDARY, FORM_DATA, Form, encode
from tests.s3.raw import RawClient, md5_base64

MIB = 1024 * 1024
VERSIONS = {"version 4": "s3v4", "version 2": "s3"}


@pytest.fixture
def form(raw: RawClient, boto_client: Any, bucket: str) -> Form:
    return Form(raw, boto_client, bucket)


def etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
@pytest.mark.parametrize("size", [0, 7, 130 * 1024, 3 * MIB + 1])
def test_upload(
    raw: RawClient, make_boto_client: Any, bucket: str, version: str, size: int
) -> None:
    form = Form(raw, make_boto_client(signature_version=version), bucket)
    data = os.urandom(size)
    answer = form.upload("a/b c", data)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["etag"] == etag(data)
    assert answer.headers["location"] == f"http://{raw.host}/{bucket}/a%2Fb%20c"
    assert form.stored("a/b c") == data


def test_what_the_fields_say(form: Form) -> None:
    fields = {
        "Content-Type": "image/jpeg",
        "Cache-Control": "max-age=60",
        "Content-Disposition": "attachment",
        "Content-Encoding": "identity",
        "Expires": "Wed, 21 Oct 2037 07:28:00 GMT",
        "x-amz-meta-color": "grün",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
        "tagging": "<Tagging><TagSet><Tag><Key>a b</Key><Value>1+2=&#51;</Value></Tag></TagSet>"
        "</Tagging>",
    }
    headers = {"cache-control": "max-age=0", "content-disposition": "inline"}
    signed = form.sign("k", fields)
    assert form.post(signed, headers=headers).status == 204
    head = form.client.head_object(Bucket=form.bucket, Key="k")
    sent = head["ResponseMetadata"]["HTTPHeaders"]
    for name in ("Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding"):
        assert sent[name.lower()] == fields[name]
    assert sent["expires"] == fields["Expires"]
    assert sent["x-amz-storage-class"] == "REDUCED_REDUNDANCY"
    assert str(make_header(decode_header(sent["x-amz-meta-color"]))) == "grün"
    tags = form.client.get_object_tagging(Bucket=form.bucket, Key="k")["TagSet"]
    assert tags == [{"Key": "a b", "Value": "1+2=3"}]


@pytest.mark.parametrize(
    ("wanted", "status"), [("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204)]
)
def test_the_status_that_was_asked_for(form: Form, wanted: str, status: int) -> None:
    answer = form.upload("dir/k&", success_action_status=wanted)
    assert answer.status == status
    if status != 201:
        assert answer.body == b""
        return
    assert answer.headers["content-type"] == "application/xml"
    assert answer.xml().tag == "PostResponse"
    assert answer.text("Bucket") == form.bucket
    assert answer.text("Key") == "dir/k&"
    assert answer.text("ETag") == etag(b"content")
    assert answer.text("Location") == answer.headers["location"]
    assert answer.headers["location"].endswith(f"/{form.bucket}/dir%2Fk%26")


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("success_action_redirect", "https://a.example/done", "https://a.example/done?RESULT"),
        ("success_action_redirect", "http://a.example/?x=1", "http://a.example/?x=1&RESULT"),
        ("success_action_redirect", "http://a.example/d#top", "http://a.example/d?RESULT#top"),
        ("success_action_redirect", "http://a.example/ü?q=%2F", "http://a.example/%C3%BC?q=%2F&RESULT"),
        ("redirect", "http://a.example/old", "http://a.example/old?RESULT"),
        ("success_action_redirect", "not a url", ""),
        ("success_action_redirect", "ftp://a.example/", ""),
        ("success_action_redirect", "javascript:alert(1)", ""),
        ("success_action_redirect", "http:///nowhere", ""),
    ],
)  # fmt: skip
def test_redirects(form: Form, name: str, url: str, expected: str) -> None:
    answer = form.upload("a/ü", success_action_status="201", **{name: url})
    if not expected:
        assert answer.status == 201
        return
    tag = quote(etag(b"content"), safe="")
    result = f"bucket={form.bucket}&key={quote('a/ü', safe='')}&etag={tag}"
    assert answer.status == 303
    assert answer.headers["location"] == expected.replace("RESULT", result)


def test_a_redirect_forges_no_header(form: Form) -> None:
    url = "http://a.example/\r\nx-forged: 1"
    answer = form.upload("k", success_action_redirect=url)
    assert "x-forged" not in answer.headers
    assert answer.status == 303


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("/home/me/photo.jpg", "photo.jpg"),
        ("C:\\\\me\\\\photo.jpg", "photo.jpg"),
        ("日本 & ü.jpg", "日本 & ü.jpg"),
        ("", ""),
    ],
)
def test_the_file_lends_its_name(form: Form, filename: str, name: str) -> None:
    fields = {"x-amz-meta-name": "<${filename}>"}
    signed = form.sign("in/${filename}", fields, [["starts-with", "$x-amz-meta-name", "<"]])
    assert form.post(signed, filename=filename).status == 204
    assert form.keys() == [f"in/{name}"]
    head = form.client.head_object(Bucket=form.bucket, Key=f"in/{name}")
    assert str(make_header(decode_header(head["Metadata"]["name"]))) == f"<{name}>"


def test_names_of_fields_have_no_case_and_what_follows_the_file_no_meaning(form: Form) -> None:
    signed = form.sign("k", {"Content-Type": "text/css", "x-ignore-me": "1"})
    shouted = {name.upper(): value for name, value in signed.items()}
    answer = form.post(shouted, after={"key": "other", "Content-Type": "text/html", "x": "y"})
    assert answer.status == 204
    assert form.keys() == ["k"]
    assert form.client.head_object(Bucket=form.bucket, Key="k")["ContentType"] == "text/css"


def test_the_file_may_be_a_text_field(form: Form) -> None:
    fields = form.sign("k", {})
    assert form.post({**fields, "file": "plain"}, None).status == 204
    assert form.stored("k") == b"plain"


# -- promises about the content -------------------------------------------------------------------


def test_checksums(form: Form) -> None:
    digest = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    answer = form.upload("k", x_amz_checksum_sha256=digest)
    assert (answer.status, answer.headers["x-amz-checksum-sha256"]) == (204, digest)
    head = form.client.head_object(Bucket=form.bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == digest
    computed = form.upload("k", x_amz_checksum_algorithm="sha256")
    assert computed.headers["x-amz-checksum-sha256"] == digest
    other = base64.b64encode(bytes(32)).decode()
    wrong = form.upload("no", x_amz_checksum_sha256=other)
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    wrong = form.upload("no", b"x" * MIB, x_amz_checksum_sha256=other)
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    for value in ("sailorjerry", ""):
        refused = form.upload("no", x_amz_checksum_sha256=digest, x_amz_checksum_crc32=value)
        assert refused.status == (400 if value else 204)
    mixed = form.upload("no2", x_amz_checksum_sha256=digest, x_amz_checksum_algorithm="SHA1")
    assert (mixed.status, mixed.code) == (400, "InvalidRequest")
    assert form.keys() == ["k", "no"]


def test_a_checksum_needs_no_condition(form: Form) -> None:
    """It promises what is sent, and lets nobody do more."""
    digest = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    answer = form.post(form.sign("k", {}) | {"x-amz-checksum-sha256": digest})
    assert (answer.status, answer.headers["x-amz-checksum-sha256"]) == (204, digest)
    answer = form.post(form.sign("no", {}) | {"x-amz-checksum-sha256": "sailorjerry"})
    assert answer.status == 400
    assert form.keys() == ["k"]


def test_content_md5(form: Form) -> None:
    assert form.upload("k", Content_MD5=md5_base64(b"content")).status == 204
    wrong = form.upload("no", Content_MD5=md5_base64(b"other"))
    assert (wrong.status, wrong.code) == (400, "BadDigest")


def test_conditions_of_a_write(form: Form) -> None:
    assert form.upload("k", b"1", headers={"if-none-match": "*"}).status == 204
    again = form.upload("k", b"2", headers={"if-none-match": "*"})
    assert (again.status, again.code) == (412, "PreconditionFailed")
    large = form.upload("k", b"2" * MIB, If_None_Match="*")
    assert (large.status, large.code) == (412, "PreconditionFailed")
    assert form.upload("k", b"3", If_Match=etag(b"1")).status == 204
    assert form.stored("k") == b"3"


def test_versions(form: Form) -> None:
    form.client.put_bucket_versioning(
        Bucket=form.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    first, second = (form.upload("k", data).headers["x-amz-version-id"] for data in (b"1", b"2"))
    assert first != second
    old = form.client.get_object(Bucket=form.bucket, Key="k", VersionId=first)["Body"].read()
    assert (old, form.stored("k")) == (b"1", b"2")


# -- what a policy allows -------------------------------------------------------------------------


def test_sizes(form: Form) -> None:
    limit: list[Any] = [["content-length-range", 5, 10]]
    assert form.upload("5", b"x" * 5, limit).status == 204
    assert form.upload("10", b"x" * 10, limit).status == 204
    small = form.upload("no", b"x" * 4, limit)
    assert (small.status, small.code) == (400, "EntityTooSmall")
    assert (small.text("ProposedSize"), small.text("MinSizeAllowed")) == ("4", "5")
    for size in (11, MIB):
        large = form.upload("no", b"x" * size, limit)
        assert (large.status, large.code) == (400, "EntityTooLarge")
        assert (large.text("ProposedSize"), large.text("MaxSizeAllowed")) == (str(size), "10")
    padded = encode(form.sign("no", {}, limit), b"x" * 4, after={"a": "b" * 100})
    assert form.send(padded).code == "EntityTooSmall"
    assert sorted(form.keys()) == ["10", "5"]


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(form: Form) -> None:
    body = encode(form.sign("k", {}, [["content-length-range", 0, 10]]), b"")
    head = body[: body.rindex(b"\r\n--")]
    request = (
        f"POST /{form.bucket} HTTP/1.1\r\nHost: {form.raw.host}\r\nContent-Type: {FORM_DATA}\r\n"
        f"Content-Length: {len(body) + 10 * MIB}\r\n\r\n"
    )
    answer = form.raw.send_bytes(request.encode() + head)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert f"<ProposedSize>{10 * MIB}</ProposedSize>".encode() in answer


@pytest.mark.parametrize(
    ("fields", "conditions"),
    [
        ({"acl": "private"}, []),
        ({"Content-Type": "text/html"}, [["starts-with", "$Content-Type", "image/"]]),
        ({"success_action_status": "201"}, []),
        ({"x-amz-meta-a": "b"}, [{"x-amz-meta-a": "c"}]),
    ],
)
def test_fields_that_the_policy_does_not_allow(
    form: Form, fields: dict[str, str], conditions: list[Any]
) -> None:
    answer = form.post(form.sign("k", fields, conditions))
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert str(answer.text("Message")).startswith("Invalid according to Policy: ")
    assert form.keys() == []


def test_a_policy_is_for_one_bucket(form: Form, boto_client: Any) -> None:
    signed = form.sign("k", {})
    other = f"{form.bucket}-other"
    boto_client.create_bucket(Bucket=other)
    try:
        elsewhere = Form(form.raw, boto_client, other)
        assert elsewhere.post(signed).status == 403
        assert elsewhere.keys() == []
    finally:
        boto_client.delete_bucket(Bucket=other)


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_signatures_that_do_not_count(
    raw: RawClient, make_boto_client: Any, bucket: str, version: str
) -> None:
    form = Form(raw, make_boto_client(signature_version=version), bucket)
    signed = form.sign("k", {})
    name = "x-amz-signature" if version == "s3v4" else "signature"
    answer = form.post(signed | {name: signed[name][::-1]})
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
    changed = base64.b64encode(base64.b64decode(signed["policy"]).replace(b"20", b"29", 1)).decode()
    assert form.post(signed | {"policy": changed}).code == "SignatureDoesNotMatch"
    incomplete = form.post({n: v for n, v in signed.items() if n != name})
    assert (incomplete.status, incomplete.code) == (400, "InvalidArgument")
    no_policy = form.post({n: v for n, v in signed.items() if n != "policy"})
    assert (no_policy.status, no_policy.text("ArgumentName")) == (400, "policy")
    unsigned = form.post({"key": "k", "policy": signed["policy"]})
    assert (unsigned.status, unsigned.code) == (403, "AccessDenied")
    assert form.keys() == []


def test_nobody_may_upload_to_a_private_bucket(form: Form) -> None:
    answer = form.post({"key": "k"})
    assert (answer.status, answer.code) == (403, "AccessDenied")
    large = form.post({"key": "k"}, b"x" * MIB)
    assert (large.status, large.code) == (403, "AccessDenied")


def test_strangers_where_the_bucket_lets_them(form: Form) -> None:
    form.client.put_bucket_acl(Bucket=form.bucket, ACL="public-read-write")
    fields = {"key": "k", "acl": "public-read", "anything": "goes", "success_action_status": "201"}
    answer = form.post(fields)
    assert (answer.status, answer.text("Key")) == (201, "k")
    assert form.raw.request("GET", f"/{form.bucket}/k", sign=False).body == b"content"
    # Who signs wrongly is no stranger.
    wrong = form.post(form.sign("k", {}) | {"key": "elsewhere"})
    assert (wrong.status, wrong.code) == (403, "AccessDenied")


def test_strangers_where_a_policy_lets_them(form: Form) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{form.bucket}/in/*",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    form.client.put_bucket_policy(Bucket=form.bucket, Policy=document)
    assert form.post({"key": "in/${filename}"}).status == 204
    refused = form.post({"key": "out/x"})
    assert (refused.status, refused.code) == (403, "AccessDenied")
    assert form.keys() == ["in/photo.jpg"]


def test_acls(form: Form) -> None:
    assert form.upload("k", acl="public-read").status == 204
    assert form.raw.request("GET", f"/{form.bucket}/k", sign=False).body == b"content"
    assert form.upload("private", acl="private").status == 204
    assert form.raw.request("GET", f"/{form.bucket}/private", sign=False).status == 403
    unknown = form.upload("no", acl="everybody")
    assert (unknown.status, unknown.code) == (400, "InvalidArgument")


def test_a_signed_request_needs_no_policy(form: Form) -> None:
    headers = {"content-type": FORM_DATA}
    body = encode({"key": "k", "anything": "goes"}, b"content")
    answer = form.raw.request("POST", f"/{form.bucket}", body=body, headers=headers)
    assert (answer.status, form.stored("k")) == (204, b"content")
    twice = encode(form.sign("k", {}), b"content")
    answer = form.raw.request("POST", f"/{form.bucket}", body=twice, headers=headers)
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    other = form.raw.request(
        "POST", f"/{form.bucket}", body=body, headers=headers, payload="ab" * 32
    )
    assert (other.status, other.code) == (400, "XAmzContentSHA256Mismatch")


# -- forms that are none --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        ("application/x-www-form-urlencoded", 412, "PreconditionFailed"),
        ("multipart/mixed; boundary=x", 412, "PreconditionFailed"),
        ("", 412, "PreconditionFailed"),
        ("multipart/form-data", 400, "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=other", 400, "MalformedPOSTRequest"),
    ],
)
def test_content_types(form: Form, content_type: str, status: int, code: str) -> None:
    answer = form.post(form.sign("k", {}), headers={"content-type": content_type})
    assert (answer.status, answer.code) == (status, code)


def test_bodies_that_are_no_forms(form: Form) -> None:
    whole = encode(form.sign("k", {}), b"x" * MIB)
    for body in (b"", b"key=k", whole[:-6], whole[: len(whole) // 2], whole[:200]):
        answer = form.send(body)
        assert (answer.status, answer.code) == (400, "MalformedPOSTRequest")
    assert form.keys() == []


def test_a_body_that_breaks_off(form: Form) -> None:
    body = encode(form.sign("k", {}), b"x" * MIB)
    request = (
        f"POST /{form.bucket} HTTP/1.1\r\nHost: {form.raw.host}\r\nContent-Type: {FORM_DATA}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    form.raw.send_bytes(request.encode() + body[:-1000], shutdown=True)
    assert form.keys() == []


def test_what_every_form_must_have(form: Form) -> None:
    signed = form.sign("k", {})
    for body in (encode({n: v for n, v in signed.items() if n != "key"}, b"x"),
                 encode({}, b"x", after=signed)):  # fmt: skip
        answer = form.send(body)
        assert (answer.status, answer.text("ArgumentName")) == (400, "key")
        assert "check the order of the fields" in str(answer.text("Message"))
    answer = form.post(signed, None)
    assert (answer.status, answer.text("ArgumentName")) == (400, "file")
    assert answer.text("Message") == "POST requires exactly one file upload per request."
    two = form.post(signed, after={"file": "second"})
    assert (two.status, two.code) == (400, "IncorrectNumberOfFilesInPostRequest")
    assert form.keys() == []


def test_a_field_is_given_once(form: Form) -> None:
    body = encode(form.sign("k", {}), b"x")
    again = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="KEY"\r\n\r\nother\r\n'
    answer = form.send(again.encode() + body)
    assert (answer.status, answer.text("ArgumentName")) == (400, "key")


@pytest.mark.parametrize(
    ("key", "code"),
    [("", "InvalidArgument"), ("x" * 1025, "KeyTooLongError"), ("é" * 513, "KeyTooLongError")],
)
def test_keys_that_are_none(form: Form, key: str, code: str) -> None:
    signed = form.sign("k${filename}", {}) | {"key": key}
    policy_allows_it = form.sign("${filename}", {}) | {"key": key}
    assert form.post(signed).code == "AccessDenied"
    answer = form.post(policy_allows_it)
    assert (answer.status, answer.code) == (400, code)


def test_too_many_fields(form: Form) -> None:
    answer = form.post(form.sign("k", {"x-ignore-a": "x" * 21_000}))
    assert (answer.status, answer.code) == (400, "MaxPostPreDataLengthExceededError")


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("x-amz-meta-lines", "one\r\ntwo", 400),
        ("x-amz-meta-a b", "x", 400),
        ("x-amz-meta-ü", "x", 400),
        ("x-amz-meta-large", "x" * 2048, 400),
        ("x-amz-storage-class", "COLD", 400),
        ("tagging", "a=1", 400),
        ("x-amz-security-token", "t", 400),
        ("x-amz-object-lock-mode", "COMPLIANCE", 501),
    ],
)
def test_fields_that_cannot_be_honoured(form: Form, name: str, value: str, status: int) -> None:
    assert form.post(form.sign("k", {name: value})).status == status
    assert form.keys() == []


def test_only_buckets_take_forms(form: Form, raw: RawClient) -> None:
    body, headers = encode(form.sign("k", {}), b"x"), {"content-type": FORM_DATA}
    answer = raw.request("POST", f"/{form.bucket}/k", body=body, headers=headers, sign=False)
    assert (answer.status, answer.code) == (405, "MethodNotAllowed")
    answer = raw.request("POST", f"/{form.bucket}-no", body=body, headers=headers, sign=False)
    assert (answer.status, answer.code) == (404, "NoSuchBucket")
    slash = raw.request("POST", f"/{form.bucket}/", body=body, headers=headers, sign=False)
    assert slash.status == 204


def test_the_answer_can_be_read_by_a_page(form: Form) -> None:
    answer = form.upload("k", headers={"origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example")
    assert "etag" in answer.headers["access-control-expose-headers"].lower()
