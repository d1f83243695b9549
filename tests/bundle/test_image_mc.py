"""The image's `mc`: what a health check costs, and an init container as compose files have them."""

from __future__ import annotations

import json

import pytest

from tests.bundle import docker
from tests.bundle.docker import Engine
from tests.bundle.test_image import KEYS, s3
from tests.serving import ACCESS_KEY, SECRET_KEY

#: Seconds of CPU that `mc ready` may cost.
CPU_MAX = 0.030
_MEASURE = """
import json, resource, subprocess
def spent():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
found = []
for _ in range(20):
    before = spent()
    subprocess.run(["mc", "ready", "local"], check=True, stdout=subprocess.DEVNULL)
    found.append(spent() - before)
print(json.dumps(sorted(found)))
"""


def test_ready_costs_little(image: str, engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """User and system time of the whole process, the interpreter's start included.

    The best of twenty counts: other programs on the machine make CPU time longer, never shorter.
    """
    container = engine.run(image).wait_until_ready()
    found = json.loads(container.execute("python3", "-c", _MEASURE))
    with capsys.disabled():
        print(
            f"\nmc ready: {found[0] * 1e3:.0f} ms of CPU at best, {found[10] * 1e3:.0f} ms median"
        )
    assert found[0] <= CPU_MAX


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
