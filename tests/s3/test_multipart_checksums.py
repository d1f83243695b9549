"""Checksums of objects made of parts: every algorithm, of both types, wherever they are told."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from typing import Any

import pytest
import xxhash
from botocore.exceptions import ClientError

from tests.s3.raw import error_code

crt = pytest.importorskip("awscrt.checksums")

BODIES = [os.urandom(5 << 20), os.urandom(5 << 20), b"the end"]
WHOLE = b"".join(BODIES)
DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "CRC32": lambda data: crt.crc32(data).to_bytes(4, "big"),
    "CRC32C": lambda data: crt.crc32c(data).to_bytes(4, "big"),
    "CRC64NVME": lambda data: crt.crc64nvme(data).to_bytes(8, "big"),
    "SHA1": lambda data: hashlib.sha1(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
    "SHA512": lambda data: hashlib.sha512(data).digest(),
    "MD5": lambda data: hashlib.md5(data).digest(),
    "XXHASH64": xxhash.xxh64_digest,
    "XXHASH3": xxhash.xxh3_64_digest,
    "XXHASH128": xxhash.xxh3_128_digest,
}
#: Those that boto3 computes by itself; the others are computed here.
COMPUTED = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
PAIRS = [
    ("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), ("CRC32C", "COMPOSITE"),
    ("CRC32C", "FULL_OBJECT"), ("CRC64NVME", "FULL_OBJECT"), ("SHA1", "COMPOSITE"),
    ("SHA256", "COMPOSITE"), ("SHA512", "COMPOSITE"), ("MD5", "COMPOSITE"),
    ("XXHASH64", "COMPOSITE"), ("XXHASH3", "COMPOSITE"), ("XXHASH128", "COMPOSITE"),
]  # fmt: skip


def encoded(algorithm: str, data: bytes) -> str:
    return base64.b64encode(DIGESTS[algorithm](data)).decode()


def expected(algorithm: str, kind: str) -> str:
    """The checksum of the whole."""
    if kind == "FULL_OBJECT":
        return encoded(algorithm, WHOLE)
    digests = b"".join(map(DIGESTS[algorithm], BODIES))
    return f"{encoded(algorithm, digests)}-{len(BODIES)}"


def begin(client: Any, bucket: str, algorithm: str, kind: str) -> tuple[str, list[dict[str, Any]]]:
    """An upload whose parts stand ready: (its id, the parts as a completion names them)."""
    upload = client.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind
    )["UploadId"]
    parts = []
    for number, body in enumerate(BODIES, 1):
        name = f"Checksum{algorithm}"
        given = {"ChecksumAlgorithm": algorithm}
        if algorithm not in COMPUTED:
            given = {name: encoded(algorithm, body)}
        answer = client.upload_part(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=body, **given
        )
        assert answer[name] == encoded(algorithm, body)
        parts.append({"PartNumber": number, "ETag": answer["ETag"], name: answer[name]})
    return upload, parts


@pytest.mark.parametrize(("algorithm", "kind"), PAIRS)
def test_it_is_told_everywhere(boto_client: Any, bucket: str, algorithm: str, kind: str) -> None:
    name, value = f"Checksum{algorithm}", expected(algorithm, kind)
    upload, parts = begin(boto_client, bucket, algorithm, kind)
    some = {"Bucket": bucket, "Key": "k"}
    listed = boto_client.list_parts(UploadId=upload, **some)
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == (algorithm, kind)
    assert [part[name] for part in listed["Parts"]] == [part[name] for part in parts]
    done = boto_client.complete_multipart_upload(
        UploadId=upload, MultipartUpload={"Parts": parts}, ChecksumType=kind,
        MpuObjectSize=len(WHOLE), **{name: value}, **some,
    )  # fmt: skip
    assert (done[name], done["ChecksumType"]) == (value, kind)
    got = boto_client.head_object(ChecksumMode="ENABLED", **some)
    assert (got[name], got["ChecksumType"]) == (value, kind)
    assert name not in boto_client.head_object(**some)
    for number, part in enumerate(parts, 1):
        got = boto_client.head_object(ChecksumMode="ENABLED", PartNumber=number, **some)
        assert (got[name], got["ChecksumType"], got["PartsCount"]) == (part[name], kind, 3)
    (entry,) = boto_client.list_objects_v2(Bucket=bucket)["Contents"]
    assert (entry["ChecksumAlgorithm"], entry["ChecksumType"]) == ([algorithm], kind)
    found = boto_client.get_object_attributes(ObjectAttributes=["Checksum", "ObjectParts"], **some)
    assert found["Checksum"] == {name: value, "ChecksumType": kind}
    assert found["ObjectParts"]["TotalPartsCount"] == 3
    assert [part[name] for part in found["ObjectParts"]["Parts"]] == [p[name] for p in parts]


@pytest.mark.parametrize(("algorithm", "kind"), PAIRS)
def test_what_is_promised_must_be_so(
    boto_client: Any, bucket: str, algorithm: str, kind: str
) -> None:
    upload, parts = begin(boto_client, bucket, algorithm, kind)
    name = f"Checksum{algorithm}"
    wrong = encoded(algorithm, b"something else")
    other = "COMPOSITE" if kind == "FULL_OBJECT" else "FULL_OBJECT"
    for promise, code in (
        ({name: wrong}, "BadDigest"),
        ({"ChecksumType": other}, "InvalidRequest"),
        ({"MpuObjectSize": len(WHOLE) + 1}, "InvalidRequest"),
        ({"MultipartUpload": {"Parts": [parts[0] | {name: wrong}, *parts[1:]]}}, "InvalidPart"),
    ):
        arguments: dict[str, Any] = {"MultipartUpload": {"Parts": parts}} | promise
        with pytest.raises(ClientError) as error:
            boto_client.complete_multipart_upload(
                Bucket=bucket, Key="k", UploadId=upload, **arguments
            )
        assert error_code(error) == code
    boto_client.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts}
    )


def test_a_part_of_another_algorithm_is_refused(boto_client: Any, bucket: str) -> None:
    upload = boto_client.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256"
    )["UploadId"]
    with pytest.raises(ClientError) as error:
        boto_client.upload_part(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x",
            ChecksumAlgorithm="CRC32",
        )  # fmt: skip
    assert error_code(error) == "InvalidRequest"


def test_pages_of_parts(boto_client: Any, bucket: str) -> None:
    upload, parts = begin(boto_client, bucket, "CRC32", "COMPOSITE")
    boto_client.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    numbers, marker = [], 0
    while True:
        page = boto_client.get_object_attributes(
            Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"], MaxParts=2,
            PartNumberMarker=marker,
        )["ObjectParts"]  # fmt: skip
        numbers.append([part["PartNumber"] for part in page["Parts"]])
        assert (page["PartNumberMarker"], page["MaxParts"]) == (marker, 2)
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    assert numbers == [[1, 2], [3]]
    page = boto_client.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"], PartNumberMarker=9
    )["ObjectParts"]
    assert (page["NextPartNumberMarker"], page.get("Parts", [])) == (0, [])
