"""GetObject: ranges, parts, conditions, overrides, overwriting while reading."""

from __future__ import annotations

import datetime
import os
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.raw import RawClient, error_code, error_status

SMALL = bytes(range(256)) * 4
LARGE = os.urandom(2 * 1024 * 1024 + 333)


@pytest.fixture(params=["small", "large"])
def data(request: pytest.FixtureRequest, boto_client: Any, bucket: str) -> bytes:
    content = SMALL if request.param == "small" else LARGE
    boto_client.put_object(Bucket=bucket, Key="k", Body=content)
    return content


# -- ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "slice_"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=5-9", slice(5, 10)),
        ("bytes=1000-", slice(1000, None)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=3-99999999999", slice(3, None)),
        ("bytes=-99999999999", slice(0, None)),
    ],
)
def test_a_range(raw: RawClient, bucket: str, data: bytes, wanted: str, slice_: slice) -> None:
    answer = raw.request("GET", f"/{bucket}/k", headers={"range": wanted})
    start, stop, _ = slice_.indices(len(data))
    assert answer.status == 206
    assert answer.body == data[slice_]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(data)}"
    assert answer.headers["content-length"] == str(stop - start)


def test_a_range_across_blocks(raw: RawClient, boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=LARGE)
    edge = 1024 * 1024
    wanted = {"range": f"bytes={edge - 3}-{2 * edge + 3}"}
    answer = raw.request("GET", f"/{bucket}/k", headers=wanted)
    assert answer.body == LARGE[edge - 3 : 2 * edge + 4]


@pytest.mark.parametrize(
    "wanted",
    ["bytes=5-2", "bytes=a-b", "bytes=", "bytes=1-2,4-5", "items=0-5", "bytes=--5", "junk"],
)
def test_ranges_that_are_ignored(raw: RawClient, bucket: str, data: bytes, wanted: str) -> None:
    answer = raw.request("GET", f"/{bucket}/k", headers={"range": wanted})
    assert answer.status == 200
    assert answer.body == data


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=99999999-99999999999", "bytes=-0"])
def test_ranges_outside(raw: RawClient, bucket: str, data: bytes, wanted: str) -> None:
    answer = raw.request("GET", f"/{bucket}/k", headers={"range": wanted})
    assert (answer.status, answer.code) == (416, "InvalidRange")
    assert answer.text("ActualObjectSize") == str(len(data))
    assert answer.headers["content-range"] == f"bytes */{len(data)}"


def test_any_range_of_nothing_is_outside(raw: RawClient, boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k")
    assert raw.request("GET", f"/{bucket}/k", headers={"range": "bytes=0-"}).status == 416
    assert raw.request("GET", f"/{bucket}/k").body == b""


def test_if_range(raw: RawClient, bucket: str, data: bytes) -> None:
    etag = raw.request("HEAD", f"/{bucket}/k").headers["etag"]
    same = raw.request("GET", f"/{bucket}/k", headers={"range": "bytes=0-1", "if-range": etag})
    assert (same.status, same.body) == (206, data[:2])
    other = raw.request("GET", f"/{bucket}/k", headers={"range": "bytes=0-1", "if-range": '"x"'})
    assert (other.status, other.body) == (200, data)


# -- conditions -----------------------------------------------------------------------------------

PAST = "Mon, 01 Jan 2001 00:00:00 GMT"
FUTURE = "Fri, 01 Jan 2100 00:00:00 GMT"
ETAG = '"@"'
SINCE = "the last change"


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"if-match": ETAG}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": f'"x", {ETAG}'}, 200),
        ({"if-match": '"x"'}, 412),
        ({"if-none-match": ETAG}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-modified-since": PAST}, 200),
        ({"if-modified-since": FUTURE}, 200),  # RFC 9110: no condition
        ({"if-modified-since": SINCE}, 304),
        ({"if-unmodified-since": FUTURE}, 200),
        ({"if-unmodified-since": PAST}, 412),
        ({"if-match": ETAG, "if-unmodified-since": PAST}, 200),
        ({"if-none-match": '"x"', "if-modified-since": SINCE}, 200),
        ({"if-none-match": ETAG, "if-modified-since": PAST}, 304),
        ({"if-match": '"x"', "if-none-match": ETAG}, 412),
        ({"if-modified-since": "not a date"}, 200),
        ({"if-unmodified-since": "not a date"}, 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions(
    raw: RawClient, boto_client: Any, bucket: str, method: str,
    conditions: dict[str, str], status: int,
) -> None:  # fmt: skip
    etag = boto_client.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    modified = raw.request("HEAD", f"/{bucket}/k").headers["last-modified"]
    headers = {
        name: value.replace(ETAG, etag).replace(SINCE, modified)
        for name, value in conditions.items()
    }
    answer = raw.request(method, f"/{bucket}/k", headers=headers)
    assert answer.status == status
    if status == 304:
        assert answer.body == b""
        assert answer.headers["etag"] == etag
    elif status == 412 and method == "GET":
        assert answer.code == "PreconditionFailed"


def test_not_modified_tells_how_long_a_copy_may_be_kept(
    raw: RawClient, boto_client: Any, bucket: str
) -> None:
    described = {"CacheControl": "max-age=60", "ContentLanguage": "en", "Metadata": {"a": "b"}}
    expires = "Fri, 01 Jan 2100 00:00:00 GMT"
    etag = boto_client.put_object(Bucket=bucket, Key="k", Expires=expires, **described)["ETag"]
    answer = raw.request("GET", f"/{bucket}/k", headers={"if-none-match": etag})
    assert answer.status == 304
    assert answer.headers["cache-control"] == "max-age=60"
    assert answer.headers["expires"] == expires
    assert not {"content-type", "content-language", "x-amz-meta-a"} & answer.headers.keys()
    override = "response-cache-control=no-store&response-content-type=a/b"
    answer = raw.request("GET", f"/{bucket}/k", override, headers={"if-none-match": etag})
    assert (answer.status, answer.headers["cache-control"]) == (304, "no-store")
    assert "content-type" not in answer.headers


# -- parts ----------------------------------------------------------------------------------------


def test_parts_of_a_multipart_object(boto_client: Any, bucket: str) -> None:
    bodies = [os.urandom(5 << 20), b"the end"]
    upload = boto_client.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    parts = [
        {
            "PartNumber": number * 10,
            "ETag": boto_client.upload_part(
                Bucket=bucket, Key="m", UploadId=upload, PartNumber=number * 10, Body=body
            )["ETag"],
        }
        for number, body in enumerate(bodies, 1)
    ]
    boto_client.complete_multipart_upload(
        Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    for number, body in enumerate(bodies, 1):
        got = boto_client.get_object(Bucket=bucket, Key="m", PartNumber=number)
        assert got["Body"].read() == body
        assert got["PartsCount"] == 2
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    with pytest.raises(ClientError) as error:
        boto_client.get_object(Bucket=bucket, Key="m", PartNumber=3)
    assert (error_status(error), error_code(error)) == (416, "InvalidPartNumber")


def test_part_number_of_a_plain_object(raw: RawClient, bucket: str, data: bytes) -> None:
    answer = raw.request("GET", f"/{bucket}/k", "partNumber=1")
    assert (answer.status, answer.body) == (206, data)
    for query, status in (("partNumber=2", 416), ("partNumber=0", 400), ("partNumber=x", 400)):
        assert raw.request("GET", f"/{bucket}/k", query).status == status
    both = raw.request("GET", f"/{bucket}/k", "partNumber=1", headers={"range": "bytes=0-1"})
    assert (both.status, both.code) == (400, "InvalidRequest")


# -- answers --------------------------------------------------------------------------------------


def test_overrides(boto_client: Any, bucket: str) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="text/plain")
    got = boto_client.get_object(
        Bucket=bucket,
        Key="k",
        ResponseContentType="image/png",
        ResponseContentDisposition='attachment; filename="ü.png"',
        ResponseCacheControl="no-store",
        ResponseExpires=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
    )
    assert got["ContentType"] == "image/png"
    assert got["CacheControl"] == "no-store"
    assert got["ContentDisposition"].encode("latin-1") in (
        'attachment; filename="ü.png"'.encode("latin-1"),
        'attachment; filename="ü.png"'.encode(),
    )


def test_an_override_cannot_forge_headers(raw: RawClient, bucket: str, data: bytes) -> None:
    query = "response-content-type=text%2Fplain%0D%0Ax-forged:%201"
    answer = raw.request("GET", f"/{bucket}/k", query)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_absent(raw: RawClient, bucket: str) -> None:
    answer = raw.request("GET", f"/{bucket}/no%20such")
    assert (answer.status, answer.code) == (404, "NoSuchKey")
    assert answer.text("Key") == "no such"
    assert answer.text("RequestId") == answer.headers["x-amz-request-id"]


def test_versions_that_cannot_exist(raw: RawClient, bucket: str, data: bytes) -> None:
    assert raw.request("GET", f"/{bucket}/k", "versionId=null").body == data
    for method in ("GET", "DELETE"):
        for version in ("abc", "", "0" * 16, "%00"):
            answer = raw.request(method, f"/{bucket}/k", f"versionId={version}")
            assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert raw.request("GET", f"/{bucket}/k").body == data


def test_a_stranger_is_denied(raw: RawClient, bucket: str, data: bytes) -> None:
    answer = raw.request("GET", f"/{bucket}/k", sign=False)
    assert (answer.status, answer.code) == (403, "AccessDenied")


@pytest.mark.parametrize("size", [100_000, 8 << 20])
@pytest.mark.parametrize("change", ["overwrite", "delete"])
def test_a_reader_gets_the_version_that_it_began(
    boto_client: Any, bucket: str, size: int, change: str
) -> None:
    boto_client.put_object(Bucket=bucket, Key="k", Body=b"1" * size)
    body = boto_client.get_object(Bucket=bucket, Key="k")["Body"]
    read = body.read(1000)
    if change == "overwrite":
        boto_client.put_object(Bucket=bucket, Key="k", Body=b"2" * size)
    else:
        boto_client.delete_object(Bucket=bucket, Key="k")
    assert read + body.read() == b"1" * size


def test_two_requests_on_one_connection_after_an_error(raw: RawClient, bucket: str) -> None:
    import http.client

    connection = http.client.HTTPConnection(raw.host, timeout=60)
    for path in (f"/{bucket}/absent", f"/{bucket}"):
        connection.request("GET", path, headers=raw.sign("GET", path, "", {}, b""))
        response = connection.getresponse()
        response.read()
        assert response.status == (404 if path.endswith("absent") else 200)
    connection.close()


def test_a_part_without_bytes_has_no_range(raw: RawClient, bucket: str) -> None:
    path = f"/{bucket}/empty"
    upload = raw.request("POST", path, "uploads").text("UploadId")
    etag = raw.request("PUT", path, f"partNumber=1&uploadId={upload}", body=b"").headers["etag"]
    body = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    assert raw.request("POST", path, f"uploadId={upload}", body=body).status == 200
    answer = raw.request("GET", path, "partNumber=1")
    assert (answer.status, answer.body) == (200, b"")
    assert "content-range" not in answer.headers
