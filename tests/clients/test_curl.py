"""The line that a newcomer copies, from the panel and from the README."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from storage.config import Config
from storage.serving.panel import upload_line
from tests.clients import tools
from tests.conftest import Store
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore

README = Path(__file__).parents[2] / "README.md"


def test_readme_and_panel_show_the_same_line() -> None:
    assert upload_line(Config(), ["langfuse"]) in README.read_text().splitlines()


def test_the_line_uploads_a_file(
    store: Store, bucket: str, boto_client: Any, tmp_path: Path
) -> None:
    _curl_that_signs()
    address = urlsplit(store.endpoint)
    config = msgspec.structs.replace(
        Config(), address=((address.hostname or "", address.port or 80),)
    )
    line = upload_line(config, [bucket])
    line = line.replace("minio:miniosecret", f"{store.access_key}:{store.secret_key}")
    tools.run("sh", "-c", f"{line} --fail --silent --show-error", cwd=tmp_path)
    (stored,) = boto_client.list_objects_v2(Bucket=bucket)["Contents"]
    got = boto_client.get_object(Bucket=bucket, Key=stored["Key"])["Body"].read()
    assert got == b"hello\n"


def test_it_asks_for_leave_to_send_a_large_body(
    store: Store, bucket: str, boto_client: Any, tmp_path: Path
) -> None:
    """Expect: 100-continue: a refusal comes without a byte having been sent."""
    curl = _curl_that_signs()
    data = os.urandom(3_000_000)
    (tmp_path / "large").write_bytes(data)

    def send(secret: str) -> tuple[str, str]:
        said = tools.run(
            curl, "--silent", "--verbose", "--stderr", "-", "--output", "/dev/null",
            "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{store.access_key}:{secret}",
            "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-T", tmp_path / "large",
            "--write-out", "\n%{http_code} %{size_upload}", f"{store.endpoint}/{bucket}/large",
        )  # fmt: skip
        return said, said.splitlines()[-1]

    said, result = send(store.secret_key)
    assert ("HTTP/1.1 100 Continue" in said, result) == (True, f"200 {len(data)}")
    assert boto_client.head_object(Bucket=bucket, Key="large")["ContentLength"] == len(data)
    said, result = send("not the secret key")
    assert ("HTTP/1.1 100 Continue" in said, result) == (False, "403 0")


def test_a_bucket_in_the_host_name(store: Store, tmp_path: Path) -> None:
    """``OVERSIGHT_DOMAIN=localhost`` needs no DNS."""
    if store.served is None:
        pytest.skip("only a store of our own is known to have the domain localhost")
    curl = _curl_that_signs()
    environment = {"OVERSIGHT_DOMAIN": "localhost"}
    with ServedStore(tmp_path / "drive", tmp_path / "log", environment=environment) as served:
        url = f"http://photos.localhost:{served.port}"
        signed = (
            "--silent", "--show-error", "--fail-with-body", "--aws-sigv4", "aws:amz:us-east-1:s3",
            "--user", f"{ACCESS_KEY}:{SECRET_KEY}", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD",
        )  # fmt: skip
        tools.run(curl, *signed, "-X", "PUT", f"{url}/")
        tools.run(curl, *signed, "-T", "-", f"{url}/a/b.txt", stdin=b"hello")
        assert tools.run(curl, *signed, f"{url}/a/b.txt") == "hello"
        assert "<Key>a/b.txt</Key>" in tools.run(curl, *signed, f"{url}/")
        assert tools.run(curl, *signed, f"{served.endpoint}/photos/a/b.txt") == "hello"


def _curl_that_signs() -> str:
    curl = shutil.which("curl")
    if not curl or not re.search(r"--aws-sigv4", tools.run(curl, "--help", "all")):
        pytest.skip("curl 7.75 or newer is missing")
    return curl
