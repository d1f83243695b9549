"""Both stacks with the real images, where a registry can be reached: ``make test-stack-full``.

Not collected by default: it fetches some GB and wants 16 GiB of memory. Without the variable that
`make` sets it would say nothing about the real services, so it refuses to run.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from tests.bundle import docker, stacks
from tests.bundle import test_stack_langfuse as stand_ins
from tests.bundle.test_stack_datahub import ask

pytestmark = pytest.mark.timeout(3600)

PULL_AND_START = 1800


@pytest.fixture(scope="module")
def langfuse(
    image: str, compose: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[stacks.Stack]:
    assert stacks.REAL, "run this as `make test-stack-full`"
    root = stacks.copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    environ = {
        **stacks.images(image),
        **stacks.free_ports(),
        "OVERSIGHT_NETWORK": docker.unique("network"),
    }
    stack = stacks.Stack(compose, root, "langfuse", docker.unique("langfuse"), environ)
    stand_ins.write_env(stack)
    try:
        stack.up(timeout=PULL_AND_START)
        yield stack
    finally:
        stack.down("--volumes")


def wait_for(found: Callable[[], Any], stack: stacks.Stack, seconds: float = 120) -> Any:
    """What ``found`` returns once that is something."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, stack.logs()
        time.sleep(1)
    return value


def test_a_trace_with_an_image_goes_all_the_way(langfuse: stacks.Stack, tmp_path: Path) -> None:
    image = stand_ins.send_trace(langfuse, tmp_path)
    keys = stand_ins.keys(langfuse)

    def traces() -> Any:
        found = stand_ins.call(langfuse, "/api/public/traces", keys)
        return found["data"] if isinstance(found, dict) else None

    assert wait_for(traces, langfuse)[0]["name"] == "describe-picture"
    assert stand_ins.media(langfuse, image) == image
    written = dotenv_values(langfuse.root / ".env")
    client = stand_ins.s3(langfuse, "minio", str(written["OVERSIGHT_ROOT_PASSWORD"]))
    names = [row["Key"] for row in client.list_objects_v2(Bucket="langfuse")["Contents"]]
    media_id = base64.urlsafe_b64encode(hashlib.sha256(image).digest()).decode()[:22]
    assert any(name.startswith("events/otel/") for name in names)
    assert any(name.startswith("media/") and media_id in name for name in names)


def test_datahub_reads_the_store(langfuse: stacks.Stack) -> None:
    environ = {**langfuse.environ, "METADATA_SERVICE_AUTH_ENABLED": "false"}
    datahub = stacks.Stack(
        langfuse.compose, langfuse.root, "datahub", docker.unique("datahub"), environ
    )
    written = dotenv_values(langfuse.root / ".env")
    client = stand_ins.s3(langfuse, "minio", str(written["OVERSIGHT_ROOT_PASSWORD"]))
    client.put_object(Bucket="artifacts", Key="tables/a.csv", Body=b"name,size\nb,1\n")
    try:
        datahub.up(timeout=PULL_AND_START)
        datahub.execute("actions", "datahub", "ingest", "-c", "/recipes/artifacts.yml")
        urn = "urn:li:dataset:(urn:li:dataPlatform:s3,artifacts/tables/a.csv,PROD)"
        found = ask(datahub, f"/aspects/{urn.replace(':', '%3A')}?aspect=schemaMetadata&version=0")
        assert "size" in str(found)
    finally:
        datahub.down("--volumes")
