"""Virtual-hosted addressing: the bucket in the host name.

Against another store, ``S3_TEST_DOMAIN`` names its domain; without it such a store is asked
nothing here. No name is looked up: the host is said in the request.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Store
from tests.s3.forms import FORM_DATA, Form, encode
from tests.s3.raw import Answer, RawClient
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore

DOMAIN = os.environ.get("S3_TEST_DOMAIN", "s3.example.com")


@pytest.fixture(scope="module")
def hosted(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that knows DOMAIN."""
    if store.served is None:
        if "S3_TEST_DOMAIN" not in os.environ:
            pytest.skip("S3_TEST_DOMAIN does not name the domain of the store under test")
        yield store
        return
    folder = tmp_path_factory.mktemp("hosted")
    served = ServedStore(
        folder / "drive",
        folder / "log",
        environment={"OVERSIGHT_DOMAIN": f"{DOMAIN}, other.example"},
    )
    served.start()
    yield Store(served.endpoint, ACCESS_KEY, SECRET_KEY, served)
    served.stop()


def client_at(hosted: Store, host: str) -> RawClient:
    """A client that says another host than the one it connects to."""
    return RawClient(host, hosted.access_key, hosted.secret_key, hosted.host)


@pytest.fixture
def at(hosted: Store) -> Any:
    """Make a client for a host name."""
    return lambda host: client_at(hosted, host)


@pytest.fixture
def raw(hosted: Store) -> RawClient:
    return RawClient(hosted.host, hosted.access_key, hosted.secret_key)


@pytest.fixture
def bucket(raw: RawClient) -> Iterator[str]:
    name = f"hosted-{os.urandom(6).hex()}"
    assert raw.request("PUT", f"/{name}").status == 200
    yield name
    for key in raw.request("GET", f"/{name}").texts("Key"):
        raw.request("DELETE", f"/{name}/{key}")
    raw.request("DELETE", f"/{name}")


def test_host_and_path_name_the_same(at: Any, raw: RawClient, bucket: str) -> None:
    here = at(f"{bucket}.{DOMAIN}")
    assert here.request("PUT", "/a/b%20c", body=b"content").status == 200
    assert raw.request("GET", f"/{bucket}/a/b%20c").body == b"content"
    assert here.request("GET", "/a/b%20c").body == b"content"
    assert here.request("HEAD", "/a/b%20c").headers["content-length"] == "7"
    assert here.request("GET", "/").texts("Key") == ["a/b c"]
    listed = here.request("GET", "/", "list-type=2&prefix=a%2F")
    assert (listed.text("Name"), listed.texts("Key")) == (bucket, ["a/b c"])
    assert here.request("GET", "/", "location").status == 200
    # A path that repeats the bucket is a key.
    assert here.request("GET", f"/{bucket}/a/b%20c").code == "NoSuchKey"
    assert here.request("DELETE", "/a/b%20c").status == 204


@pytest.mark.parametrize("port", ["", ":9090", ":80"])
def test_ports_and_case_do_not_count(at: Any, bucket: str, port: str) -> None:
    assert at(f"{bucket}.{DOMAIN}{port}").request("GET", "/").text("Name") == bucket
    assert at(f"{bucket}.{DOMAIN}".upper() + port).request("GET", "/").text("Name") == bucket


def test_each_domain_counts(at: Any, hosted: Store, bucket: str) -> None:
    if hosted.served is None:
        pytest.skip("only a store of our own is known to have two domains")
    assert at(f"{bucket}.other.example").request("GET", "/").text("Name") == bucket


def test_buckets_with_dots(at: Any, raw: RawClient, bucket: str) -> None:
    name = f"{bucket}.with.dots"
    here = at(f"{name}.{DOMAIN}")
    assert here.request("PUT", "/").status == 200
    assert here.request("PUT", "/k", body=b"x").status == 200
    assert raw.request("GET", f"/{name}/k").body == b"x"
    assert here.request("DELETE", "/k").status == 204
    assert here.request("DELETE", "/").status == 204


def test_buckets_are_made_and_removed(at: Any, raw: RawClient, bucket: str) -> None:
    here = at(f"{bucket}-new.{DOMAIN}")
    assert here.request("GET", "/").code == "NoSuchBucket"
    assert here.request("PUT", "/").headers["location"] == f"/{bucket}-new"
    assert raw.request("HEAD", f"/{bucket}-new").status == 200
    assert here.request("DELETE", "/").status == 204
    wrong = at(f"a_b.{DOMAIN}").request("PUT", "/")
    assert (wrong.status, wrong.code) == (400, "InvalidBucketName")


@pytest.mark.parametrize(
    "host", [DOMAIN, f"{DOMAIN}:9090", "elsewhere.example", "10.0.0.1", "[::1]"]
)
def test_other_hosts_are_path_style(at: Any, bucket: str, host: str) -> None:
    here = at(host)
    assert here.request("PUT", f"/{bucket}/k", body=b"x").status == 200
    assert here.request("GET", f"/{bucket}/k").body == b"x"
    assert bucket in here.request("GET", "/").texts("Name")


def test_presigned_urls(at: Any, bucket: str) -> None:
    here = at(f"{bucket}.{DOMAIN}")
    here.request("PUT", "/k", body=b"content")
    query = here.presign("GET", "/k")
    assert here.request("GET", "/k", query, sign=False).body == b"content"
    # The host is signed: elsewhere the same URL is worth nothing.
    other = at(DOMAIN).request("GET", f"/{bucket}/k", query, sign=False)
    assert (other.status, other.code) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_boto3(hosted: Store, bucket: str, version: str) -> None:
    """Its own addressing, headers and URLs; only the connection is led elsewhere."""
    client = boto(hosted, version)
    client.put_object(Bucket=bucket, Key="a b", Body=b"content")
    assert client.get_object(Bucket=bucket, Key="a b")["Body"].read() == b"content"
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    name = f"{bucket}-{version}"
    client.create_bucket(Bucket=name)
    client.delete_bucket(Bucket=name)
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b"})
    assert url.startswith(f"http://{bucket}.{DOMAIN}/a%20b?")
    path, _, query = url.removeprefix(f"http://{bucket}.{DOMAIN}").partition("?")
    answer = client_at(hosted, f"{bucket}.{DOMAIN}").request("GET", path, query, sign=False)
    assert (answer.status, answer.body) == (200, b"content")
    client.delete_object(Bucket=bucket, Key="a b")


def boto(hosted: Store, version: str) -> Any:
    """A boto3 client for virtual hosts that connects through the store as a proxy would."""
    boto3 = pytest.importorskip("boto3")
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=f"http://{DOMAIN}",
        region_name="us-east-1",
        aws_access_key_id=hosted.access_key,
        aws_secret_access_key=hosted.secret_key,
        config=Config(
            signature_version=version,
            s3={"addressing_style": "virtual"},
            retries={"total_max_attempts": 1},
        ),
    )

    def redirect(request: Any, **_: Any) -> None:
        host = request.url.split("/", 3)[2]
        assert host.endswith(DOMAIN)
        request.headers["Host"] = host
        request.url = request.url.replace(host, hosted.host, 1)

    client.meta.events.register("before-send.s3", redirect)
    return client


def test_forms(at: Any, hosted: Store, bucket: str) -> None:
    here = at(f"{bucket}.{DOMAIN}")
    form = Form(here, boto(hosted, "s3v4"), bucket)
    body = encode(form.sign("a/b", {"success_action_status": "201"}), b"content")
    headers = {"content-type": FORM_DATA}
    answer: Answer = here.request("POST", "/", body=body, headers=headers, sign=False)
    assert answer.status == 201
    assert answer.text("Location") == f"http://{bucket}.{DOMAIN}/a%2Fb"
    assert here.request("GET", "/a/b").body == b"content"


def test_multipart_tells_its_location(at: Any, bucket: str) -> None:
    here = at(f"{bucket}.{DOMAIN}")
    upload = here.request("POST", "/k", "uploads").text("UploadId")
    etag = here.request("PUT", "/k", f"partNumber=1&uploadId={upload}", body=b"x").headers["etag"]
    parts = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    done = here.request("POST", "/k", f"uploadId={upload}", body=body)
    assert done.text("Location") == f"http://{bucket}.{DOMAIN}/k"


def test_preflights(at: Any, bucket: str) -> None:
    asked = {"origin": "https://app.example", "access-control-request-method": "PUT"}
    answer = at(f"{bucket}.{DOMAIN}").request("OPTIONS", "/k", headers=asked, sign=False)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example")


def test_health_is_not_asked_of_a_bucket(at: Any, bucket: str) -> None:
    here = at(f"{bucket}.{DOMAIN}")
    key = "/minio/health/live"
    assert here.request("PUT", key, body=b"an object").status == 200
    assert here.request("GET", key).body == b"an object"
