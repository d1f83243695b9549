"""The line that a newcomer copies, from the panel and from the README."""

from __future__ import annotations

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

README = Path(__file__).parents[2] / "README.md"


def test_readme_and_panel_show_the_same_line() -> None:
    assert upload_line(Config(), ["langfuse"]) in README.read_text().splitlines()


def test_the_line_uploads_a_file(
    store: Store, bucket: str, boto_client: Any, tmp_path: Path
) -> None:
    curl = shutil.which("curl")
    if not curl or not re.search(r"--aws-sigv4", tools.run(curl, "--help", "all")):
        pytest.skip("curl 7.75 or newer is missing")
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
