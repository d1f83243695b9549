"""PutObject: bytes, metadata, checksums, framing, conditions, refusals."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import zlib
from typing import Any

import pytest
import xxhash
from botocore.exceptions import ClientError

from storage.s3.checksums import ALGORITHMS, compute
from tests.s3.raw import UNSIGNED, RawClient, error_code, error_status, md5_base64

LARGE = 3 * 1024 * 1024 + 17


def assert_absent(raw: RawClient, bucket: str, key: str = "k") -> None:
    assert raw.request("GET", f"/{bucket}/{key}").status == 404


# -- bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 4096, 128 * 1024, 128 * 1024 + 1, 1 << 20, LARGE])
def test_what_was_put_is_got(boto_client: Any, bucket: str, size: int) -> None:
    data = os.urandom(size)
    answer = boto_client.put_object(Bucket=bucket, Key="k", Body=data)
    assert answer["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    got = boto_client.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == data
    assert got["ContentLength"] == size


KEYS = {
    "/".join([".."] * 6) + "/etc/passwd": "dots",
    "a/./b/../c//d": "segments",
    "//": "slashes",
    "back\\slash": "backslash",
    "\x01control\x1f\x7f": "control",
    "line\nbreak\rtab\t": "white",
    " leading and trailing ": "spaces",
    "plus+and%2Fpercent%": "escapes",
    "quote\"'<&>;=?#": "xml",
    "ä/日本語/\U0001f600": "unicode",
    "x" * 1024: "longest",
    "ä" * 512: "longest-utf8",
    "a" * 300 + "/" + "b" * 700: "long-segments",
}


@pytest.mark.parametrize("key", list(KEYS), ids=list(KEYS.values()))
def test_keys_are_bytes_and_stay_them(boto_client: Any, bucket: str, key: str) -> None:
    boto_client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert boto_client.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert [e["Key"] for e in boto_client.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    boto_client.delete_object(Bucket=bucket, Key=key)
    assert "Contents" not in boto_client.list_objects_v2(Bucket=bucket)


def test_dots_in_a_raw_path_are_not_resolved(raw: RawClient, bucket: str) -> None:
    assert raw.request("PUT", f"/{bucket}/a/../b/./c", body=b"1").status == 200
    assert raw.request("GET", f"/{bucket}", "list-type=2").texts("Key") == ["a/../b/./c"]


def test_an_over_long_key_is_refused(raw: RawClient, bucket: str) -> None:
    for key in ("x" * 1025, "%C3%A4" * 513):
        answer = raw.request("PUT", f"/{bucket}/{key}", body=b"1")
        assert (answer.status, answer.code) == (400, "KeyTooLongError")


@pytest.mark.parametrize("key", ["%FF", "a%C3", "%ED%A0%80", "%zz", "%4"])
def test_a_key_that_is_no_utf8_is_refused(raw: RawClient, bucket: str, key: str) -> None:
    answer = raw.request("PUT", f"/{bucket}/{key}", body=b"1")
    assert (answer.status, answer.code) == (400, "InvalidURI")


def test_no_bucket_no_object(raw: RawClient) -> None:
    answer = raw.request("PUT", "/test-that-never-was/k", body=b"1")
    assert (answer.status, answer.code) == (404, "NoSuchBucket")


# -- what it carries ------------------------------------------------------------------------------


def test_headers_and_metadata_come_back(boto_client: Any, bucket: str) -> None:
    carried = {
        "CacheControl": "no-cache",
        "ContentDisposition": 'attachment; filename="x"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
        "ContentType": "text/x-test; charset=utf-8",
        "Metadata": {"one": "1", "empty": "", "spaced": "a  b"},
    }
    boto_client.put_object(
        Bucket=bucket, Key="k", Body=b"x", Expires="Wed, 21 Oct 2065 07:28:00 GMT", **carried
    )
    got = boto_client.head_object(Bucket=bucket, Key="k")
    assert {name: got[name] for name in carried} == carried
    assert got["ExpiresString"] == "Wed, 21 Oct 2065 07:28:00 GMT"


def test_the_default_content_type(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert boto_client.head_object(Bucket=bucket, Key="k")["ContentType"] == "binary/octet-stream"


@pytest.mark.parametrize(
    ("value", "answered"),
    [
        ("gr\xfc\xdfe", "=?UTF-8?B?Z3LDvMOfZQ==?="),
        ("grüße".encode().decode("latin-1"), "=?UTF-8?B?Z3LDvMOfZQ==?="),
        ("=?UTF-8?B?w7xi?=", "=?UTF-8?B?w7xi?="),
        ("=?iso-8859-1?q?=FC?= b", "=?iso-8859-1?q?=FC?= b"),
    ],
)
def test_metadata_beyond_ascii(raw: RawClient, bucket: str, value: str, answered: str) -> None:
    sent = raw.request(
        "PUT", f"/{bucket}/k", body=b"x", headers={"x-amz-meta-word": value}, payload=UNSIGNED
    )
    assert sent.status == 200
    copied = raw.request("PUT", f"/{bucket}/copy", headers={"x-amz-copy-source": f"/{bucket}/k"})
    assert copied.status == 200
    for method, key in (("GET", "k"), ("HEAD", "k"), ("GET", "copy")):
        assert raw.request(method, f"/{bucket}/{key}").headers["x-amz-meta-word"] == answered


def test_too_much_metadata_is_refused(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Metadata={"a": "x" * 2047})
    with pytest.raises(ClientError) as error:
        boto_client.put_object(Bucket=bucket, Key="k", Metadata={"a": "x" * 2048})
    assert (error_status(error), error_code(error)) == (400, "MetadataTooLarge")


def test_tags_are_counted(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Tagging="a=1&b=%C3%A4")
    assert boto_client.head_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPHeaders"][
        "x-amz-tagging-count"
    ] == "2"  # fmt: skip


@pytest.mark.parametrize(
    ("tagging", "code"),
    [
        ("a=1&a=2", "InvalidArgument"),
        ("a=1,b=2", "InvalidArgument"),
        ("=1", "InvalidTag"),
        ("a" * 129 + "=1", "InvalidTag"),
        ("a=" + "1" * 257, "InvalidTag"),
        ("aws:a=1", "InvalidTag"),
        ("a=%24", "InvalidTag"),
        ("a=%FF", "InvalidArgument"),
        ("&".join(f"k{n}=1" for n in range(11)), "InvalidTag"),
    ],
)
def test_bad_tags_are_refused(raw: RawClient, bucket: str, tagging: str, code: str) -> None:
    answer = raw.request("PUT", f"/{bucket}/k", body=b"x", headers={"x-amz-tagging": tagging})
    assert (answer.status, answer.code) == (400, code)
    assert_absent(raw, bucket)


def test_storage_classes(boto_client: Any, raw: RawClient, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="rr", StorageClass="REDUCED_REDUNDANCY")
    assert boto_client.head_object(Bucket=bucket, Key="rr")["StorageClass"] == "REDUCED_REDUNDANCY"
    boto_client.put_object(Bucket=bucket, Key="std", StorageClass="STANDARD")
    assert "StorageClass" not in boto_client.head_object(Bucket=bucket, Key="std")
    answer = raw.request("PUT", f"/{bucket}/k", body=b"x", headers={"x-amz-storage-class": "COLD"})
    assert (answer.status, answer.code) == (400, "InvalidStorageClass")


# -- integrity ------------------------------------------------------------------------------------

CHECKSUMS = {
    "CRC32": lambda data: base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode(),
    "SHA1": lambda data: base64.b64encode(hashlib.sha1(data).digest()).decode(),
    "SHA256": lambda data: base64.b64encode(hashlib.sha256(data).digest()).decode(),
    "SHA512": lambda data: base64.b64encode(hashlib.sha512(data).digest()).decode(),
    "MD5": lambda data: base64.b64encode(hashlib.md5(data).digest()).decode(),
    "XXHASH64": lambda data: base64.b64encode(xxhash.xxh64_digest(data)).decode(),
    "XXHASH3": lambda data: base64.b64encode(xxhash.xxh3_64_digest(data)).decode(),
    "XXHASH128": lambda data: base64.b64encode(xxhash.xxh3_128_digest(data)).decode(),
}
#: "123456789" in the algorithms that need another library.
CHECK = {"CRC32C": "4waSgw==", "CRC64NVME": "rosUhgp5mIg="}


@pytest.mark.parametrize("size", [5, LARGE])
@pytest.mark.parametrize("algorithm", list(CHECKSUMS))
def test_checksums_in_headers(boto_client: Any, bucket: str, algorithm: str, size: int) -> None:
    data = os.urandom(size)
    value = CHECKSUMS[algorithm](data)
    name = f"Checksum{algorithm}"
    answer = boto_client.put_object(Bucket=bucket, Key="k", Body=data, **{name: value})
    assert answer[name] == value
    assert answer["ChecksumType"] == "FULL_OBJECT"
    got = boto_client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got[name] == value
    assert name not in boto_client.head_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize("algorithm", list(CHECK))
def test_checksums_of_the_check_string(boto_client: Any, bucket: str, algorithm: str) -> None:
    name = f"Checksum{algorithm}"
    arguments = {"Bucket": bucket, "Key": "k", "Body": b"123456789", name: CHECK[algorithm]}
    assert boto_client.put_object(**arguments)[name] == CHECK[algorithm]


@pytest.mark.parametrize("size", [9, LARGE])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_wrong_checksum_leaves_nothing(
    raw: RawClient, bucket: str, algorithm: str, size: int
) -> None:
    wrong = compute(algorithm, b"another")
    answer = raw.request(
        "PUT", f"/{bucket}/k", body=b"x" * size, headers={f"x-amz-checksum-{algorithm}": wrong}
    )
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert_absent(raw, bucket)


@pytest.mark.parametrize(("algorithm", "value"), [("sha256", "short"), ("crc32", "!!!!")])
def test_a_checksum_that_can_be_none(
    raw: RawClient, bucket: str, algorithm: str, value: str
) -> None:
    headers = {f"x-amz-checksum-{algorithm}": value}
    answer = raw.request("PUT", f"/{bucket}/k", body=b"x", headers=headers)
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert_absent(raw, bucket)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "A" * 27 + "="},
        {"x-amz-sdk-checksum-algorithm": "CRC32"},
        {"x-amz-sdk-checksum-algorithm": "MD4", "x-amz-checksum-crc32": "AAAAAA=="},
        {"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": "AAAAAA=="},
        {"x-amz-trailer": "x-amz-checksum-md4"},
    ],
)
def test_checksum_headers_that_make_no_sense(
    raw: RawClient, bucket: str, headers: dict[str, str]
) -> None:
    answer = raw.request("PUT", f"/{bucket}/k", body=b"", headers=headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert_absent(raw, bucket)


@pytest.mark.parametrize("size", [5, LARGE])
def test_content_md5(raw: RawClient, bucket: str, size: int) -> None:
    data = b"x" * size
    good = raw.request("PUT", f"/{bucket}/g", body=data, headers={"content-md5": md5_base64(data)})
    assert good.status == 200
    wrong = raw.request("PUT", f"/{bucket}/k", body=data, headers={"content-md5": md5_base64(b"")})
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    assert_absent(raw, bucket)


@pytest.mark.parametrize("value", ["", "rubbish", "AAAA", "not base64!"])
def test_content_md5_that_is_none(raw: RawClient, bucket: str, value: str) -> None:
    answer = raw.request("PUT", f"/{bucket}/k", body=b"x", headers={"content-md5": value})
    assert (answer.status, answer.code) == (400, "InvalidDigest")
    assert_absent(raw, bucket)


@pytest.mark.parametrize("size", [5, LARGE])
def test_a_body_that_was_not_signed_leaves_nothing(raw: RawClient, bucket: str, size: int) -> None:
    digest = hashlib.sha256(b"something else").hexdigest()
    answer = raw.request("PUT", f"/{bucket}/k", body=b"x" * size, payload=digest)
    assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch")
    assert_absent(raw, bucket)


# -- framing --------------------------------------------------------------------------------------


def chunked(data: bytes, trailer: str = "") -> bytes:
    """aws-chunked without signatures."""
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(data), data, trailer.encode())


@pytest.mark.parametrize("size", [5, LARGE])
def test_trailing_checksum(raw: RawClient, bucket: str, size: int) -> None:
    data = os.urandom(size)
    value = CHECKSUMS["CRC32"](data)
    answer = _put_trailer(raw, bucket, data, value, len(data))
    assert answer.status == 200
    assert answer.headers["x-amz-checksum-crc32"] == value
    got = raw.request("GET", f"/{bucket}/k", headers={"x-amz-checksum-mode": "ENABLED"})
    assert got.body == data
    assert got.headers["x-amz-checksum-crc32"] == value
    assert "content-encoding" not in got.headers


@pytest.mark.parametrize("size", [5, LARGE])
def test_a_wrong_trailing_checksum_leaves_nothing(raw: RawClient, bucket: str, size: int) -> None:
    answer = _put_trailer(raw, bucket, b"x" * size, "AAAAAA==", size)
    assert (answer.status, answer.code) == (400, "BadDigest")
    assert_absent(raw, bucket)


@pytest.mark.parametrize("said", [4, 6])
def test_a_wrong_decoded_length_leaves_nothing(raw: RawClient, bucket: str, said: int) -> None:
    answer = _put_trailer(raw, bucket, b"12345", CHECKSUMS["CRC32"](b"12345"), said)
    assert (answer.status, answer.code) == (400, "IncompleteBody")
    assert_absent(raw, bucket)


def _put_trailer(raw: RawClient, bucket: str, data: bytes, value: str, length: int) -> Any:
    return raw.request(
        "PUT",
        f"/{bucket}/k",
        body=chunked(data, f"x-amz-checksum-crc32:{value}\r\n"),
        headers={
            "content-encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(length),
            "x-amz-trailer": "x-amz-checksum-crc32",
            "x-amz-sdk-checksum-algorithm": "CRC32",
        },
        payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    )


def test_other_encodings_stay_beside_aws_chunked(raw: RawClient, bucket: str) -> None:
    answer = raw.request(
        "PUT",
        f"/{bucket}/k",
        body=chunked(b"12345", "x-amz-checksum-crc32:y/U6HA==\r\n"),
        headers={
            "content-encoding": "gzip,aws-chunked",
            "x-amz-decoded-content-length": "5",
            "x-amz-trailer": "x-amz-checksum-crc32",
        },
        payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    )
    assert answer.status == 200
    assert raw.request("HEAD", f"/{bucket}/k").headers["content-encoding"] == "gzip"


def test_no_length(raw: RawClient, bucket: str) -> None:
    answer = raw.request("PUT", f"/{bucket}/k")
    assert (answer.status, answer.code) == (411, "MissingContentLength")
    assert_absent(raw, bucket)


def test_a_plain_chunked_body(raw: RawClient, bucket: str) -> None:
    answer = raw.request(
        "PUT",
        f"/{bucket}/k",
        body=b"5\r\nhello\r\n0\r\n\r\n",
        headers={"transfer-encoding": "chunked"},
        payload=UNSIGNED,
    )
    assert (answer.status, answer.body) == (200, b"")
    assert raw.request("GET", f"/{bucket}/k").body == b"hello"


@pytest.mark.parametrize("size", [0, 1, LARGE, LARGE * 3])
def test_plain_chunked_bodies_of_any_size(raw: RawClient, bucket: str, size: int) -> None:
    data = random.Random(size).randbytes(size)
    pieces = [data[at : at + 70_000] for at in range(0, size, 70_000)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    headers = {"transfer-encoding": "chunked", "content-md5": md5_base64(data)}
    digest = hashlib.sha256(data).hexdigest()
    answer = raw.request("PUT", f"/{bucket}/k", body=framed, headers=headers, payload=digest)
    assert answer.status == 200
    found = raw.request("GET", f"/{bucket}/k")
    assert (found.body == data, found.headers["content-length"]) == (True, str(size))
    assert found.headers["etag"] == answer.headers["etag"]
    wrong = raw.request(
        "PUT",
        f"/{bucket}/k",
        body=framed,
        headers=headers,
        payload=hashlib.sha256(b"no").hexdigest(),
    )
    assert (wrong.status, wrong.code) == (400, "XAmzContentSHA256Mismatch")


@pytest.mark.parametrize("size", [100, LARGE])
def test_a_client_that_goes_away_leaves_nothing(raw: RawClient, bucket: str, size: int) -> None:
    path = f"/{bucket}/k"
    signed = raw.sign("PUT", path, "", {}, b"", UNSIGNED)
    lines = [f"PUT {path} HTTP/1.1", f"content-length: {size}"]
    lines += [f"{name}: {value}" for name, value in signed.items()]
    raw.send_bytes("\r\n".join((*lines, "", "")).encode() + b"x" * (size - 1), shutdown=True)
    assert_absent(raw, bucket)
    assert raw.request("GET", f"/{bucket}", "list-type=2").text("KeyCount") == "0"


def test_more_than_an_object_can_hold(raw: RawClient, bucket: str) -> None:
    answer = raw.request(
        "PUT",
        f"/{bucket}/k",
        headers={"content-length": str(5 * 1024**3 + 1), "expect": "100-continue"},
        payload=UNSIGNED,
    )
    assert (answer.status, answer.code) == (400, "EntityTooLarge")


def test_upload_id_without_part_number_is_no_put(raw: RawClient, bucket: str) -> None:
    for query in ("uploadId=x", "partNumber=1"):
        answer = raw.request("PUT", f"/{bucket}/k", query, body=b"x")
        assert 400 <= answer.status < 500
    assert_absent(raw, bucket)


# -- conditions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, LARGE])
def test_if_none_match(boto_client: Any, bucket: str, size: int) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"1" * size, IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        boto_client.put_object(Bucket=bucket, Key="k", Body=b"2" * size, IfNoneMatch="*")
    assert (error_status(error), error_code(error)) == (412, "PreconditionFailed")
    assert boto_client.get_object(Bucket=bucket, Key="k")["Body"].read(1) == b"1"


def test_if_match(boto_client: Any, bucket: str) -> None:
    etag = boto_client.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
    with pytest.raises(ClientError) as error:
        boto_client.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=etag)
    assert error_status(error) == 412
    with pytest.raises(ClientError) as error:
        boto_client.put_object(Bucket=bucket, Key="absent", Body=b"3", IfMatch=etag)
    assert (error_status(error), error_code(error)) == (404, "NoSuchKey")


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-server-side-encryption": "AES256"},
        {"x-amz-server-side-encryption": "aws:kms"},
        {"x-amz-server-side-encryption-customer-algorithm": "AES256"},
        {"x-amz-object-lock-mode": "COMPLIANCE"},
        {"x-amz-object-lock-retain-until-date": "2099-01-01T00:00:00Z"},
        {"x-amz-object-lock-legal-hold": "ON"},
        {"x-amz-website-redirect-location": "/other"},
        {"x-amz-write-offset-bytes": "5"},
    ],
)
def test_what_would_be_missing_is_refused(
    raw: RawClient, bucket: str, headers: dict[str, str]
) -> None:
    answer = raw.request("PUT", f"/{bucket}/k", body=b"x", headers=headers)
    assert (answer.status, answer.code) == (501, "NotImplemented")
    assert_absent(raw, bucket)


def test_an_acl_that_does_not_exist(raw: RawClient, bucket: str) -> None:
    answer = raw.request("PUT", f"/{bucket}/k", body=b"x", headers={"x-amz-acl": "public"})
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_what_is_harmless_is_ignored(raw: RawClient, bucket: str) -> None:
    headers = {"x-ms-blob-type": "BlockBlob", "x-amz-acl": "private", "x-amz-request-payer": "r"}
    assert raw.request("PUT", f"/{bucket}/k", body=b"x", headers=headers).status == 200


@pytest.mark.parametrize(
    "hidden", ["x-amz-server-side-encryption=AES256", "x-amz-object-lock-mode=GOVERNANCE"]
)
def test_protection_hidden_in_a_presigned_query_is_refused(
    raw: RawClient, bucket: str, hidden: str
) -> None:
    """Some signers move x-amz-* headers into the query: they mean the same there."""
    path = f"/{bucket}/k"
    answer = raw.request("PUT", path, raw.presign("PUT", path, hidden), body=b"x", sign=False)
    assert (answer.status, answer.code) == (501, "NotImplemented")
    assert_absent(raw, bucket)


def test_metadata_in_a_presigned_query_is_kept(raw: RawClient, bucket: str) -> None:
    path = f"/{bucket}/k"
    query = raw.presign("PUT", path, "x-amz-meta-word=a%20b")
    assert raw.request("PUT", path, query, body=b"x", sign=False).status == 200
    assert raw.request("HEAD", path).headers["x-amz-meta-word"] == "a b"


def test_a_stranger_is_denied(raw: RawClient, bucket: str) -> None:
    answer = raw.request("PUT", f"/{bucket}/k", body=b"x", sign=False)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert_absent(raw, bucket)


def test_metadata_keeps_its_last_byte(raw: RawClient, bucket: str) -> None:
    """0xA0 is a space in Latin-1, and the end of many a character in UTF-8."""
    value = "voil\u00e0".encode().decode("latin-1")
    path = f"/{bucket}/k"
    assert raw.request("PUT", path, body=b"x", headers={"x-amz-meta-a": value}).status == 200
    assert raw.request("HEAD", path).headers["x-amz-meta-a"] == "=?UTF-8?B?dm9pbMOg?="


@pytest.mark.parametrize("name", ["if-match", "if-none-match"])
@pytest.mark.parametrize("value", ["", ",", " , "])
def test_a_condition_that_names_nothing_is_refused(
    raw: RawClient, bucket: str, name: str, value: str
) -> None:
    answer = raw.request("PUT", f"/{bucket}/k", body=b"x", headers={name: value})
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert_absent(raw, bucket)
