"""docs/clients.md names the versions that the tests run with."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = dict(
    re.findall(r"^\| ([^|]+?) \| ([\d][^|]*?) \|", (ROOT / "docs/clients.md").read_text(), re.M)
)


def test_python_packages() -> None:
    lock = (ROOT / "requirements-dev.lock").read_text()
    names = (
        "boto3", "aiobotocore", "s3fs", "obstore", "deltalake", "polars", "pyarrow", "duckdb",
        "awscli",
    )  # fmt: skip
    wanted = {name: name for name in names} | {
        "minio": "minio (Python)",
        "langfuse": "langfuse (Python)",
    }
    for name, row in wanted.items():
        (pinned,) = re.findall(rf"^{name}==(\S+)", lock, re.MULTILINE)
        assert ROWS[row] == pinned, f"{row} is {pinned}"


def test_node_packages() -> None:
    pinned = json.loads((ROOT / "tests/clients/js/package.json").read_text())["dependencies"]
    assert ROWS["minio (npm)"] == pinned["minio"]
    assert ROWS["@aws-sdk/client-s3"] == pinned["@aws-sdk/client-s3"]


def test_go_modules() -> None:
    module = (ROOT / "tests/clients/go/go.mod").read_text()
    (pinned,) = re.findall(r"service/s3 v(\S+)", module)
    assert ROWS["AWS SDK for Go v2, service/s3"] == pinned
    (mc,) = re.findall(r"^MC_VERSION := \S+-(\d{8})", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert ROWS["mc"].replace("-", "") == mc


def test_java_package() -> None:
    project = (ROOT / "tests/clients/java/pom.xml").read_text()
    (pinned,) = re.findall(r"<artifactId>s3</artifactId>\s*<version>(\S+)</version>", project)
    assert ROWS["AWS SDK for Java 2, s3"] == pinned
