"""`OversightContainer` does what testcontainers' `MinioContainer` does, on the store's image."""

from __future__ import annotations

import inspect
import io
import time
import urllib.request

import pytest

pytest.importorskip("testcontainers", reason="testcontainers is not installed")

from stack.testing import OversightContainer


def test_takes_the_arguments_of_minio_container() -> None:
    minio = pytest.importorskip("testcontainers.community.minio", reason="no minio-py")

    def described(kind: type) -> dict[str, object]:
        parameters = inspect.signature(kind.__init__).parameters
        return {name: each.default for name, each in parameters.items() if name != "image"}

    assert described(OversightContainer) == described(minio.MinioContainer)
    public = {name for name in vars(minio.MinioContainer) if not name.startswith("_")}
    assert public <= {name for name in dir(OversightContainer) if not name.startswith("_")}


def test_changing_the_import_suffices(image: str, testcontainers_environment: None) -> None:
    """Testcontainers' own example for MinIO, and what it promises of the answers."""
    with OversightContainer(image, access_key="somebody", secret_key="something") as minio:
        client = minio.get_client()
        client.make_bucket("test")
        content = b"Hello World"
        client.put_object("test", "testfile.txt", io.BytesIO(content), length=len(content))
        assert client.get_object("test", "testfile.txt").data == content
        config = minio.get_config()
        assert config["access_key"] == "somebody"
        assert config["secret_key"] == "something"
        assert minio.get_url() == f"http://{config['endpoint']}"


def test_is_ready_for_langfuse(image: str, testcontainers_environment: None) -> None:
    with OversightContainer(image) as store:
        variables = store.get_environment()
        s3 = store.get_boto3_client()
        bucket = variables["LANGFUSE_S3_MEDIA_UPLOAD_BUCKET"]
        s3.put_object(Bucket=bucket, Key="media/x.txt", Body=b"x", ContentType="text/plain")
        url = s3.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": "media/x.txt"}
        )
        assert url.startswith(variables["LANGFUSE_S3_MEDIA_UPLOAD_ENDPOINT"])
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert answer.read() == b"x"
        inside = store.get_environment(alias="minio")
        assert inside["LANGFUSE_S3_EVENT_UPLOAD_ENDPOINT"] == "http://minio:9000"
        assert inside["LANGFUSE_S3_MEDIA_UPLOAD_ENDPOINT"] == store.get_url()


def test_other_port(image: str, testcontainers_environment: None) -> None:
    with OversightContainer(image, port=9123) as store:
        assert [each.name for each in store.get_client().list_buckets()] == ["langfuse"]


def test_image_can_send_telemetry(image: str, testcontainers_environment: None) -> None:
    """The stack's setting for it is worth what the image holds."""
    container = OversightContainer(image)
    container.with_env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    container.with_env("OTEL_BSP_SCHEDULE_DELAY", "100")
    with container as store:
        store.get_client().list_buckets()
        deadline = time.monotonic() + 120
        while b"does not take telemetry" not in b"".join(store.get_logs()):
            assert time.monotonic() < deadline, store.get_logs()
            time.sleep(0.2)
        assert b"not installed" not in b"".join(store.get_logs())
