"""DeleteObjects."""

from __future__ import annotations

from typing import Any

import pytest

from tests.s3.raw import RawClient, md5_base64


def document(*keys: str, quiet: bool = False) -> bytes:
    rows = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
    return f"<Delete>{'<Quiet>true</Quiet>' if quiet else ''}{rows}</Delete>".encode()


def post(raw: RawClient, bucket: str, body: bytes, **headers: str) -> Any:
    headers = {"content-md5": md5_base64(body)} | headers
    return raw.request("POST", f"/{bucket}", "delete", body=body, headers=headers)


def test_a_full_page_and_absent_keys(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="there")
    keys = [{"Key": f"k{n}"} for n in range(999)] + [{"Key": "there"}]
    answer = boto_client.delete_objects(Bucket=bucket, Delete={"Objects": keys})
    assert {entry["Key"] for entry in answer["Deleted"]} == {entry["Key"] for entry in keys}
    assert "Errors" not in answer
    assert "Contents" not in boto_client.list_objects_v2(Bucket=bucket)


def test_quiet_says_nothing(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k")
    answer = boto_client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "k"}, {"Key": "absent"}], "Quiet": True}
    )
    assert "Deleted" not in answer
    assert "Errors" not in answer


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_every_checksum(make_boto_client: Any, bucket: str, algorithm: str) -> None:
    if algorithm == "CRC32C":
        pytest.importorskip("awscrt")
    client = make_boto_client()
    answer = client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "k"}]}, ChecksumAlgorithm=algorithm
    )
    assert [entry["Key"] for entry in answer["Deleted"]] == ["k"]


def test_conditions_hold_per_key(boto_client: Any, bucket: str) -> None:
    etag = boto_client.put_object(Bucket=bucket, Key="good")["ETag"]
    boto_client.put_object(Bucket=bucket, Key="bad")
    answer = boto_client.delete_objects(
        Bucket=bucket,
        Delete={"Objects": [{"Key": "good", "ETag": etag}, {"Key": "bad", "ETag": '"x"'}]},
    )
    assert [entry["Key"] for entry in answer["Deleted"]] == ["good"]
    assert [(e["Key"], e["Code"]) for e in answer["Errors"]] == [("bad", "PreconditionFailed")]


def test_a_version_that_cannot_exist(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k")
    answer = boto_client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "k", "VersionId": "abc"}]}
    )
    assert answer["Errors"][0]["Code"] == "NoSuchVersion"
    boto_client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "k", "VersionId": "null"}]}
    )
    assert "Contents" not in boto_client.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize(
    "body",
    [
        b"<Delete/>",
        b"<Delete><Object/></Delete>",
        b"<Delete><Object><Key></Key></Object></Delete>",
        b"<Delete><Thing/></Delete>",
        b"<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        b"<Delete><Object><Key>k</Key></Object>",
        b"<Wrong><Object><Key>k</Key></Object></Wrong>",
        b"\xff\xfe\x00",
        b'<!DOCTYPE x [<!ENTITY k "k">]><Delete><Object><Key>&k;</Key></Object></Delete>',
        document(*(f"k{n}" for n in range(1001))),
    ],
)
def test_malformed_documents_delete_nothing(
    raw: RawClient, boto_client: Any, bucket: str, body: bytes
) -> None:
    boto_client.put_object(Bucket=bucket, Key="k")
    answer = post(raw, bucket, body)
    assert (answer.status, answer.code) == (400, "MalformedXML")
    boto_client.head_object(Bucket=bucket, Key="k")


def test_no_document_is_told_from_a_malformed_one(raw: RawClient, bucket: str) -> None:
    answer = post(raw, bucket, b"")
    assert (answer.status, answer.code) == (400, "MissingRequestBodyError")


def test_a_wrong_digest_deletes_nothing(raw: RawClient, boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k")
    answer = post(raw, bucket, document("k"), **{"content-md5": md5_base64(b"")})
    assert (answer.status, answer.code) == (400, "BadDigest")
    boto_client.head_object(Bucket=bucket, Key="k")


def test_an_unprotected_body_is_refused(raw: RawClient, bucket: str) -> None:
    answer = raw.request(
        "POST", f"/{bucket}", "delete", body=document("k"), payload="UNSIGNED-PAYLOAD"
    )
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_a_long_key_fails_alone(raw: RawClient, bucket: str) -> None:
    answer = post(raw, bucket, document("k" * 1025, "short"))
    assert answer.status == 200
    assert answer.texts("Code") == ["KeyTooLongError"]


def test_keys_are_escaped_in_the_answer(raw: RawClient, bucket: str) -> None:
    answer = post(raw, bucket, document("a&amp;&lt;b&gt;&#13;"))
    assert answer.texts("Key") == ["a&<b>\r"]


CONTROL = "ctrl\x01\x08\x1f\ufffe"


@pytest.mark.parametrize(
    "written", [CONTROL, "ctrl&#1;&#x8;&#x1F;&#xFFFE;", "ctrl&#00001;\x08&#31;&#65534;"]
)
def test_keys_that_xml_cannot_carry_can_be_deleted(
    raw: RawClient, boto_client: Any, bucket: str, written: str
) -> None:
    boto_client.put_object(Bucket=bucket, Key=CONTROL)
    assert post(raw, bucket, document(written, quiet=True)).status == 200
    assert "Contents" not in boto_client.list_objects_v2(Bucket=bucket)


def test_private_use_characters_are_what_they_are(boto_client: Any, bucket: str) -> None:
    """They serve as a disguise inside the reader: they must not turn into something else."""
    key = "\U0010ff01"
    boto_client.put_object(Bucket=bucket, Key=key)
    boto_client.put_object(Bucket=bucket, Key="\x01")
    boto_client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
    assert [e["Key"] for e in boto_client.list_objects_v2(Bucket=bucket)["Contents"]] == ["\x01"]


def test_a_stranger_deletes_nothing(raw: RawClient, boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k")
    body = document("k")
    answer = raw.request(
        "POST", f"/{bucket}", "delete", body=body, headers={"content-md5": md5_base64(body)},
        sign=False,
    )  # fmt: skip
    assert answer.texts("Code") == ["AccessDenied"]
    boto_client.head_object(Bucket=bucket, Key="k")


def test_a_condition_without_an_etag_deletes_nothing(raw: RawClient, bucket: str) -> None:
    raw.request("PUT", f"/{bucket}/k", body=b"x")
    body = b"<Delete><Object><Key>k</Key><ETag></ETag></Object></Delete>"
    answer = post(raw, bucket, body)
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    answer = raw.request("DELETE", f"/{bucket}/k", headers={"if-match": ""})
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert raw.request("HEAD", f"/{bucket}/k").status == 200


def test_a_stranger_is_denied_before_the_document_is_read(raw: RawClient, bucket: str) -> None:
    headers = {"content-md5": md5_base64(b"not XML")}
    answer = raw.request(
        "POST", f"/{bucket}", "delete", body=b"not XML", headers=headers, sign=False
    )
    assert (answer.status, answer.code) == (403, "AccessDenied")
