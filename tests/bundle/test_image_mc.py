"""The image's `mc`: what a health check loads, and an init container as compose files have them."""

from __future__ import annotations

import pytest

from tests.bundle import docker
from tests.bundle.docker import Engine
from tests.bundle.test_image import KEYS, s3
from tests.serving import ACCESS_KEY, SECRET_KEY

#: What a module of the image's health check may not load: any of them costs more than all the rest.
HEAVY = {"typer", "rich", "pydantic", "http", "socket", "ssl", "json", "re", "enum", "typing",
         "argparse", "pathlib", "dataclasses", "urllib", "site", "storage"}  # fmt: skip


def test_ready_costs_little(image: str, engine: Engine) -> None:
    """What `mc` loads in the image, where the interpreter is started by its first line."""
    container = engine.run(image).wait_until_ready()
    script = (
        "exec $(sed -n '1s/^#!//p' $(command -v mc)) -X importtime $(command -v mc) ready local"
    )
    lines = container.execute("sh", "-c", script).splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "stack.mc.ready" in loaded
    assert not loaded & HEAVY


def test_ready_tells_a_store_that_is_gone(image: str) -> None:
    done = docker.run(
        "docker", "run", "--rm", "--label", docker.LABEL, image, "mc", "ready", "local"
    )
    assert done.returncode == 1
    assert "No store answers" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    "script",
    [
        # today's words
        "until mc ready store; do sleep 0.2; done; mc mb -p store/made && mc anonymous set "
        "private store/made && mc cp /etc/os-release store/made/in/ && mc ls -r store/made",
        # and those of old compose files
        f"until (/usr/bin/mc config host add store http://minio:9000 {ACCESS_KEY} {SECRET_KEY}) do "
        "sleep 0.2; done; /usr/bin/mc mb --ignore-existing store/made; /usr/bin/mc policy set none "
        "store/made; /usr/bin/mc cp --recursive /etc/os-release store/made/in/; "
        "/usr/bin/mc ls --recursive store/made; exit 0",
    ],
    ids=["new", "old"],
)
def test_init_container(image: str, engine: Engine, script: str) -> None:
    network = engine.network()
    store = engine.run(image, options=("--network", network, "--network-alias", "minio", *KEYS))
    alias = f"MC_HOST_store=http://{ACCESS_KEY}:{SECRET_KEY}@minio:9000"
    shown = docker.docker(
        "run", "--rm", "--label", docker.LABEL, "--network", network, "--env", alias,
        "--entrypoint", "/bin/sh", image, "-c", script,
    )  # fmt: skip
    assert "in/os-release" in shown
    body = s3(store).get_object(Bucket="made", Key="in/os-release")["Body"].read()
    assert b"ID=" in body


def test_alias_local_in_a_running_container(image: str, engine: Engine) -> None:
    """`docker exec` needs no set-up: the container knows its store and the root user."""
    container = engine.run(image, "server", "/data", "--address", ":9000", options=KEYS)
    container.wait_until_ready()
    assert "langfuse/" in container.execute("mc", "ls", "local")
    container.execute("mc", "mb", "local/made")
    names = {each["Name"] for each in s3(container).list_buckets()["Buckets"]}
    assert "made" in names


def test_read_only_root_needs_no_file(image: str) -> None:
    """Where nothing can be written, the sentence names the way without a file."""
    options = ("--read-only", "--env", "MC_HOST_x=http://a:b@127.0.0.1:1")
    done = docker.run("docker", "run", "--rm", "--label", docker.LABEL, *options, image,
                      "mc", "alias", "list", "x")  # fmt: skip
    assert done.returncode == 0
    assert "http://127.0.0.1:1" in done.stdout
