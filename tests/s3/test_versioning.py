"""PutBucketVersioning, GetBucketVersioning, and what versioning makes of every operation."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient


@pytest.fixture
def versioned(boto_client: Any, bucket: str) -> str:
    set_state(boto_client, bucket, "Enabled")
    return bucket


def set_state(client: Any, bucket: str, state: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": state})


def put(client: Any, bucket: str, body: bytes, key: str = "k", **more: Any) -> str:
    return str(client.put_object(Bucket=bucket, Key=key, Body=body, **more)["VersionId"])


def body_of(client: Any, bucket: str, key: str = "k", **more: str) -> bytes:
    found: bytes = client.get_object(Bucket=bucket, Key=key, **more)["Body"].read()
    return found


def refusal(call: Any, **arguments: Any) -> tuple[int, str, dict[str, str]]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    metadata = answer["ResponseMetadata"]
    return metadata["HTTPStatusCode"], answer["Error"]["Code"], metadata["HTTPHeaders"]


def test_state_is_kept(boto_client: Any, bucket: str) -> None:
    assert "Status" not in boto_client.get_bucket_versioning(Bucket=bucket)
    for state in ("Enabled", "Suspended", "Enabled"):
        set_state(boto_client, bucket, state)
        assert boto_client.get_bucket_versioning(Bucket=bucket)["Status"] == state


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MissingRequestBodyError"),
        (b"<Versioning/>", "MalformedXML"),
        (b"<VersioningConfiguration/>", "IllegalVersioningConfigurationException"),
        (
            b"<VersioningConfiguration><Status>Off</Status></VersioningConfiguration>",
            "MalformedXML",
        ),
        (
            b"<VersioningConfiguration><Status>Enabled</Status><X/></VersioningConfiguration>",
            "MalformedXML",
        ),
    ],
)
def test_documents_that_make_no_sense(
    raw: RawClient, boto_client: Any, bucket: str, body: bytes, code: str
) -> None:
    answer = raw.request("PUT", f"/{bucket}", "versioning", body=body)
    assert (answer.status, answer.code) == (400, code)
    assert "Status" not in boto_client.get_bucket_versioning(Bucket=bucket)


def test_mfa_delete_is_no_silent_promise(raw: RawClient, bucket: str) -> None:
    body = (
        b"<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>"
        b"</VersioningConfiguration>"
    )
    answer = raw.request("PUT", f"/{bucket}", "versioning", body=body)
    assert (answer.status, answer.code) == (501, "NotImplemented")


def test_answers_name_versions_only_where_there_are_any(boto_client: Any, bucket: str) -> None:
    assert "VersionId" not in boto_client.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert "VersionId" not in boto_client.get_object(Bucket=bucket, Key="k")
    assert "VersionId" not in boto_client.delete_object(Bucket=bucket, Key="k")
    set_state(boto_client, bucket, "Enabled")
    version = put(boto_client, bucket, b"x")
    assert boto_client.get_object(Bucket=bucket, Key="k")["VersionId"] == version
    assert boto_client.head_object(Bucket=bucket, Key="k")["VersionId"] == version
    attributes = boto_client.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ETag"]
    )
    assert attributes["VersionId"] == version


@pytest.mark.parametrize("size", [10, 300_000])
def test_each_version_is_read_by_its_id(boto_client: Any, versioned: str, size: int) -> None:
    bodies = [bytes([n]) * size for n in range(4)]
    versions = [put(boto_client, versioned, body) for body in bodies]
    assert len(set(versions)) == 4
    for body, version in zip(bodies, versions, strict=True):
        answer = boto_client.get_object(Bucket=versioned, Key="k", VersionId=version)
        assert answer["Body"].read() == body
        assert answer["VersionId"] == version
        head = boto_client.head_object(Bucket=versioned, Key="k", VersionId=version)
        assert head["ETag"].strip('"') == hashlib.md5(body, usedforsecurity=False).hexdigest()
        part = body_of(boto_client, versioned, VersionId=version, Range="bytes=2-5")
        assert part == body[2:6]
    assert body_of(boto_client, versioned) == bodies[-1]


def test_a_delete_marker(boto_client: Any, versioned: str) -> None:
    version = put(boto_client, versioned, b"x")
    marker = boto_client.delete_object(Bucket=versioned, Key="k")
    assert marker["DeleteMarker"] is True
    status, code, headers = refusal(boto_client.get_object, Bucket=versioned, Key="k")
    assert (status, code) == (404, "NoSuchKey")
    assert headers["x-amz-delete-marker"] == "true"
    assert headers["x-amz-version-id"] == marker["VersionId"]
    status, _, headers = refusal(boto_client.head_object, Bucket=versioned, Key="k")
    assert (status, headers["x-amz-delete-marker"]) == (404, "true")
    for call in (boto_client.get_object, boto_client.head_object):
        status, _, headers = refusal(call, Bucket=versioned, Key="k", VersionId=marker["VersionId"])
        assert (status, headers["x-amz-delete-marker"], headers["allow"]) == (405, "true", "DELETE")
    assert body_of(boto_client, versioned, VersionId=version) == b"x"
    assert "Contents" not in boto_client.list_objects_v2(Bucket=versioned)
    again = boto_client.delete_object(Bucket=versioned, Key="k", VersionId=marker["VersionId"])
    assert (again["DeleteMarker"], again["VersionId"]) == (True, marker["VersionId"])
    assert body_of(boto_client, versioned) == b"x"


def test_deleting_versions_for_good(boto_client: Any, versioned: str) -> None:
    first, second = (put(boto_client, versioned, body) for body in (b"1", b"2"))
    gone = boto_client.delete_object(Bucket=versioned, Key="k", VersionId=second)
    assert gone["VersionId"] == second
    assert "DeleteMarker" not in gone
    assert body_of(boto_client, versioned) == b"1"
    assert refusal(boto_client.get_object, Bucket=versioned, Key="k", VersionId=second)[:2] == (
        404,
        "NoSuchVersion",
    )
    boto_client.delete_object(Bucket=versioned, Key="k", VersionId=second)
    boto_client.delete_object(Bucket=versioned, Key="k", VersionId=first)
    assert refusal(boto_client.get_object, Bucket=versioned, Key="k")[:2] == (404, "NoSuchKey")
    assert "Versions" not in boto_client.list_object_versions(Bucket=versioned)


def test_suspended(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"null 1")
    set_state(boto_client, bucket, "Enabled")
    kept = put(boto_client, bucket, b"kept")
    set_state(boto_client, bucket, "Suspended")
    answer = boto_client.put_object(Bucket=bucket, Key="k", Body=b"null 2")
    assert "VersionId" not in answer  # S3 names it only where it is read or deleted
    assert body_of(boto_client, bucket, VersionId="null") == b"null 2"
    assert body_of(boto_client, bucket, VersionId=kept) == b"kept"
    marker = boto_client.delete_object(Bucket=bucket, Key="k")
    assert (marker["VersionId"], marker["DeleteMarker"]) == ("null", True)
    listed = boto_client.list_object_versions(Bucket=bucket)
    assert [v["VersionId"] for v in listed["Versions"]] == [kept]
    assert [m["VersionId"] for m in listed["DeleteMarkers"]] == ["null"]


def test_the_listing_tells_everything(boto_client: Any, versioned: str) -> None:
    first = put(boto_client, versioned, b"1", key="a", ChecksumAlgorithm="CRC32")
    second = put(boto_client, versioned, b"22", key="a")
    marker = boto_client.delete_object(Bucket=versioned, Key="a")["VersionId"]
    put(boto_client, versioned, b"3", key="b/c")
    answer = boto_client.list_object_versions(Bucket=versioned)
    assert [(v["Key"], v["VersionId"], v["IsLatest"], v["Size"]) for v in answer["Versions"]][
        :2
    ] == [("a", second, False, 2), ("a", first, False, 1)]
    assert answer["Versions"][1]["ChecksumAlgorithm"] == ["CRC32"]
    assert answer["Versions"][0]["Owner"]["ID"]
    (shown,) = answer["DeleteMarkers"]
    assert (shown["Key"], shown["VersionId"], shown["IsLatest"]) == ("a", marker, True)
    assert "Size" not in shown
    folded = boto_client.list_object_versions(Bucket=versioned, Delimiter="/", Prefix="b")
    assert [p["Prefix"] for p in folded["CommonPrefixes"]] == ["b/"]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_of_versions(boto_client: Any, versioned: str, size: int) -> None:
    made = []
    for key in ("a", "b", "c"):
        made += [(key, put(boto_client, versioned, b"%d" % n, key=key)) for n in range(3)]
    expected = [pair for key in "abc" for pair in reversed(made) if pair[0] == key]
    paginator = boto_client.get_paginator("list_object_versions")
    pages = paginator.paginate(Bucket=versioned, PaginationConfig={"PageSize": size})
    found = [(v["Key"], v["VersionId"]) for page in pages for v in page.get("Versions", [])]
    assert found == expected


def test_copies(boto_client: Any, versioned: str) -> None:
    first, second = (
        put(boto_client, versioned, body, Metadata={"n": str(n)})
        for n, body in enumerate((b"1", b"x" * 300_000))
    )
    source = {"Bucket": versioned, "Key": "k", "VersionId": first}
    copied = boto_client.copy_object(Bucket=versioned, Key="copy", CopySource=source)
    assert copied["CopySourceVersionId"] == first
    assert body_of(boto_client, versioned, "copy", VersionId=copied["VersionId"]) == b"1"
    back = boto_client.copy_object(Bucket=versioned, Key="k", CopySource=source)
    assert body_of(boto_client, versioned) == b"1"
    source["VersionId"] = second
    again = boto_client.copy_object(Bucket=versioned, Key="k", CopySource=source)
    boto_client.copy_object(
        Bucket=versioned,
        Key="k",
        CopySource={"Bucket": versioned, "Key": "k"},
        MetadataDirective="REPLACE",
        Metadata={"n": "new"},
    )
    for version in (again["VersionId"], back["VersionId"]):
        boto_client.delete_object(Bucket=versioned, Key="k", VersionId=version)
    newest = boto_client.get_object(Bucket=versioned, Key="k")
    assert (newest["Body"].read(), newest["Metadata"]) == (b"x" * 300_000, {"n": "new"})
    marker = boto_client.delete_object(Bucket=versioned, Key="k")["VersionId"]
    source["VersionId"] = marker
    assert refusal(boto_client.copy_object, Bucket=versioned, Key="z", CopySource=source)[:2] == (
        400,
        "InvalidRequest",
    )
    del source["VersionId"]
    assert refusal(boto_client.copy_object, Bucket=versioned, Key="z", CopySource=source)[:2] == (
        404,
        "NoSuchKey",
    )


def test_a_copy_of_the_null_version_names_it_where_it_was_named(
    boto_client: Any, bucket: str
) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"1")
    named = {"Bucket": bucket, "Key": "k", "VersionId": "null"}
    copied = boto_client.copy_object(Bucket=bucket, Key="l", CopySource=named)
    assert copied["CopySourceVersionId"] == "null"
    set_state(boto_client, bucket, "Enabled")
    copied = boto_client.copy_object(Bucket=bucket, Key="l", CopySource=f"{bucket}/k")
    assert "CopySourceVersionId" not in copied
    assert copied["VersionId"] not in ("", "null")
    copied = boto_client.copy_object(Bucket=bucket, Key="l", CopySource=named)
    assert copied["CopySourceVersionId"] == "null"
    assert copied["VersionId"] not in ("", "null")
    upload = {"Bucket": bucket, "Key": "m"}
    upload["UploadId"] = boto_client.create_multipart_upload(**upload)["UploadId"]
    part = boto_client.upload_part_copy(**upload, PartNumber=1, CopySource=named)
    assert part["CopySourceVersionId"] == "null"


def test_multipart(boto_client: Any, versioned: str) -> None:
    first = put(boto_client, versioned, b"first")
    upload = boto_client.create_multipart_upload(Bucket=versioned, Key="k")["UploadId"]
    parts = []
    for number, source in ((1, None), (2, first)):
        if source is None:
            etag = boto_client.upload_part(
                Bucket=versioned, Key="k", UploadId=upload, PartNumber=number,
                Body=b"p" * 5 * 1024 * 1024,
            )["ETag"]  # fmt: skip
        else:
            answer = boto_client.upload_part_copy(
                Bucket=versioned, Key="k", UploadId=upload, PartNumber=number,
                CopySource={"Bucket": versioned, "Key": "k", "VersionId": source},
            )  # fmt: skip
            assert answer["CopySourceVersionId"] == first
            etag = answer["CopyPartResult"]["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    arguments = {"Bucket": versioned, "Key": "k", "UploadId": upload}
    done = boto_client.complete_multipart_upload(**arguments, MultipartUpload={"Parts": parts})
    assert done["VersionId"] not in ("", first)
    again = boto_client.complete_multipart_upload(**arguments, MultipartUpload={"Parts": parts})
    assert again["VersionId"] == done["VersionId"]
    assert body_of(boto_client, versioned).endswith(b"pfirst")
    assert body_of(boto_client, versioned, VersionId=first) == b"first"


def test_deleting_many_versions_at_once(boto_client: Any, versioned: str) -> None:
    first, second = (put(boto_client, versioned, body) for body in (b"1", b"2"))
    answer = boto_client.delete_objects(
        Bucket=versioned,
        Delete={
            "Objects": [
                {"Key": "k", "VersionId": first},
                {"Key": "k"},
                {"Key": "never"},
                {"Key": "k", "VersionId": "nonsense"},
            ]
        },
    )
    deleted = {(d["Key"], d.get("VersionId", "")): d for d in answer["Deleted"]}
    assert "DeleteMarker" not in deleted["k", first]
    assert deleted["k", ""]["DeleteMarker"] is True
    assert deleted["never", ""]["DeleteMarkerVersionId"]
    (error,) = answer["Errors"]
    assert (error["Code"], error["VersionId"]) == ("NoSuchVersion", "nonsense")
    marker = deleted["k", ""]["DeleteMarkerVersionId"]
    answer = boto_client.delete_objects(
        Bucket=versioned, Delete={"Objects": [{"Key": "k", "VersionId": marker}]}
    )
    assert answer["Deleted"] == [
        {
            "Key": "k",
            "VersionId": marker,
            "DeleteMarker": True,
            "DeleteMarkerVersionId": marker,
        }
    ]
    assert body_of(boto_client, versioned) == b"2"
    assert second


def test_a_put_does_not_take_a_version(raw: RawClient, versioned: str) -> None:
    answer = raw.request("PUT", f"/{versioned}/k", "versionId=null", body=b"x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_a_bucket_with_versions_is_not_empty(boto_client: Any, versioned: str) -> None:
    put(boto_client, versioned, b"x")
    boto_client.delete_object(Bucket=versioned, Key="k")
    assert refusal(boto_client.delete_bucket, Bucket=versioned)[:2] == (409, "BucketNotEmpty")


def test_conditional_writes_see_the_visible_version(boto_client: Any, versioned: str) -> None:
    put(boto_client, versioned, b"x", IfNoneMatch="*")
    assert refusal(boto_client.put_object, Bucket=versioned, Key="k", Body=b"y", IfNoneMatch="*")[
        :2
    ] == (412, "PreconditionFailed")
    boto_client.delete_object(Bucket=versioned, Key="k")
    put(boto_client, versioned, b"y", IfNoneMatch="*")
