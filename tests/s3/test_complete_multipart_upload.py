"""CompleteMultipartUpload."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient, error_code, error_status

MIB = 1024 * 1024
BODIES = [os.urandom(5 * MIB), os.urandom(5 * MIB + 1), b"tail"]


class Upload:
    """An upload whose parts stand ready."""

    def __init__(self, client: Any, bucket: str, bodies: list[bytes], **options: Any) -> None:
        self.client, self.bucket = client, bucket
        self.id = client.create_multipart_upload(Bucket=bucket, Key="k", **options)["UploadId"]
        algorithm = options.get("ChecksumAlgorithm")
        chosen = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        self.parts = []
        for number, body in enumerate(bodies, 1):
            part = client.upload_part(
                Bucket=bucket, Key="k", UploadId=self.id, PartNumber=number, Body=body, **chosen
            )
            row = {"PartNumber": number, "ETag": part["ETag"]}
            if algorithm:
                row[f"Checksum{algorithm}"] = part[f"Checksum{algorithm}"]
            self.parts.append(row)

    def complete(self, parts: list[dict[str, Any]] | None = None, **options: Any) -> Any:
        return self.client.complete_multipart_upload(
            Bucket=self.bucket,
            Key="k",
            UploadId=self.id,
            MultipartUpload={"Parts": self.parts if parts is None else parts},
            **options,
        )


@pytest.fixture
def upload(boto_client: Any, bucket: str) -> Upload:
    return Upload(boto_client, bucket, BODIES)


def md5_of_md5s(bodies: list[bytes]) -> str:
    digests = b"".join(hashlib.md5(body).digest() for body in bodies)
    return f'"{hashlib.md5(digests).hexdigest()}-{len(bodies)}"'


def test_the_parts_become_the_object(boto_client: Any, bucket: str) -> None:
    upload = Upload(boto_client, bucket, BODIES, Metadata={"m": "1"}, ContentType="text/x")
    answer = upload.complete()
    assert answer["ETag"] == md5_of_md5s(BODIES)
    assert answer["Location"].endswith(f"/{bucket}/k")
    got = boto_client.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(BODIES)
    assert (got["Metadata"], got["ContentType"]) == ({"m": "1"}, "text/x")
    assert got["ETag"] == answer["ETag"]
    assert "Uploads" not in boto_client.list_multipart_uploads(Bucket=bucket)


def test_parts_that_are_not_named_are_left_out(upload: Upload) -> None:
    upload.complete([upload.parts[0], upload.parts[2]])
    got = upload.client.get_object(Bucket=upload.bucket, Key="k")["Body"].read()
    assert got == BODIES[0] + BODIES[2]


def test_again_gives_the_first_answer(upload: Upload) -> None:
    first = upload.complete()
    second = upload.complete()
    assert first["ETag"] == second["ETag"]
    with pytest.raises(ClientError) as error:
        upload.complete(upload.parts[:1])
    assert error_code(error) == "NoSuchUpload"


def test_the_last_upload_of_a_part_counts(boto_client: Any, upload: Upload) -> None:
    old = upload.parts[2]
    new = boto_client.upload_part(
        Bucket=upload.bucket, Key="k", UploadId=upload.id, PartNumber=3, Body=b"new"
    )
    with pytest.raises(ClientError) as error:
        upload.complete([*upload.parts[:2], old])
    assert error_code(error) == "InvalidPart"
    upload.complete([*upload.parts[:2], {"PartNumber": 3, "ETag": new["ETag"]}])
    got = boto_client.get_object(Bucket=upload.bucket, Key="k")["Body"].read()
    assert got.endswith(b"new")


def test_parts_in_wrong_order(upload: Upload) -> None:
    with pytest.raises(ClientError) as error:
        upload.complete(upload.parts[::-1])
    assert (error_status(error), error_code(error)) == (400, "InvalidPartOrder")


def test_of_a_part_that_is_named_twice_the_later_etag_counts(
    boto_client: Any, upload: Upload
) -> None:
    wrong = {"PartNumber": 1, "ETag": upload.parts[1]["ETag"]}
    with pytest.raises(ClientError) as error:
        upload.complete([upload.parts[0], wrong])
    assert error_code(error) == "InvalidPart"
    upload.complete([wrong, *upload.parts])
    assert boto_client.head_object(Bucket=upload.bucket, Key="k")["ContentLength"] == sum(
        map(len, BODIES)
    )


def test_a_part_that_never_was(upload: Upload) -> None:
    with pytest.raises(ClientError) as error:
        upload.complete([*upload.parts, {"PartNumber": 9, "ETag": upload.parts[0]["ETag"]}])
    assert (error_status(error), error_code(error)) == (400, "InvalidPart")


def test_a_small_part_before_the_last(boto_client: Any, bucket: str) -> None:
    upload = Upload(boto_client, bucket, [b"small", b"last"])
    with pytest.raises(ClientError) as error:
        upload.complete()
    assert (error_status(error), error_code(error)) == (400, "EntityTooSmall")


def test_conditions(boto_client: Any, upload: Upload) -> None:
    boto_client.put_object(Bucket=upload.bucket, Key="k", Body=b"old")
    with pytest.raises(ClientError) as error:
        upload.complete(IfNoneMatch="*")
    assert error_status(error) == 412
    assert boto_client.get_object(Bucket=upload.bucket, Key="k")["Body"].read() == b"old"
    etag = boto_client.head_object(Bucket=upload.bucket, Key="k")["ETag"]
    upload.complete(IfMatch=etag)


# -- checksums ------------------------------------------------------------------------------------


def test_a_checksum_of_checksums(boto_client: Any, bucket: str) -> None:
    upload = Upload(boto_client, bucket, BODIES, ChecksumAlgorithm="SHA256")
    answer = upload.complete()
    digests = b"".join(hashlib.sha256(body).digest() for body in BODIES)
    expected = f"{base64.b64encode(hashlib.sha256(digests).digest()).decode()}-3"
    assert (answer["ChecksumSHA256"], answer["ChecksumType"]) == (expected, "COMPOSITE")
    got = boto_client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["ChecksumSHA256"] == expected


def test_a_checksum_of_the_whole(boto_client: Any, bucket: str) -> None:
    upload = Upload(
        boto_client, bucket, BODIES, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT"
    )
    value = zlib.crc32(b"".join(BODIES)).to_bytes(4, "big")
    expected = base64.b64encode(value).decode()
    with pytest.raises(ClientError) as error:
        upload.complete(ChecksumCRC32="AAAAAA==")
    assert error_code(error) == "BadDigest"
    answer = upload.complete(ChecksumCRC32=expected)
    assert (answer["ChecksumCRC32"], answer["ChecksumType"]) == (expected, "FULL_OBJECT")


def test_a_part_with_another_checksum(boto_client: Any, bucket: str) -> None:
    upload = Upload(boto_client, bucket, [b"x"], ChecksumAlgorithm="CRC32")
    with pytest.raises(ClientError) as error:
        upload.complete([upload.parts[0] | {"ChecksumCRC32": "AAAAAA=="}])
    assert error_code(error) == "InvalidPart"


def test_the_size_of_the_whole(boto_client: Any, bucket: str) -> None:
    upload = Upload(boto_client, bucket, [b"12345"])
    with pytest.raises(ClientError) as error:
        upload.complete(MpuObjectSize=4)
    assert error_code(error) == "InvalidRequest"
    upload.complete(MpuObjectSize=5)


# -- documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<CompleteMultipartUpload/>",
        b"<CompleteMultipartUpload><Part/></CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part>"
        b"</CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber><ETag>e</ETag></Part>"
        b"</CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>-1</PartNumber><ETag>e</ETag></Part>"
        b"</CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Other/></CompleteMultipartUpload>",
        b"<Wrong/>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><CompleteMultipartUpload/>',
        b"<CompleteMultipartUpload><Part>",
    ],
)
def test_malformed_documents(raw: RawClient, boto_client: Any, bucket: str, body: bytes) -> None:
    upload = Upload(boto_client, bucket, [b"x"])
    answer = raw.request("POST", f"/{bucket}/k", f"uploadId={upload.id}", body=body)
    assert (answer.status, answer.code) == (400, "MalformedXML")
    assert raw.request("GET", f"/{bucket}/k").status == 404
    upload.complete()


def test_no_such_upload(raw: RawClient, bucket: str) -> None:
    body = (
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>"
        b"</CompleteMultipartUpload>"
    )
    for upload_id in ("none", ""):
        for sent in (body, b"junk"):  # what upload it is comes first
            answer = raw.request("POST", f"/{bucket}/k", f"uploadId={upload_id}", body=sent)
            assert (answer.status, answer.code) == (404, "NoSuchUpload")
            assert answer.text("UploadId") == upload_id
