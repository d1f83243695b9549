"""`oversight doctor --inside`: from the network of each container, through a real Docker engine.

The store's image stands in for Langfuse's two, which do nothing here but hold their network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bundle import docker
from tests.serving import clean_environment, free_port

ROOT_USER, ROOT_PASSWORD = "inside-root", "inside-root-secret"
_IDLE = {
    "entrypoint": ["sh", "-c", "trap exit TERM; while :; do sleep 0.2; done"],
    "healthcheck": {"disable": True},
}


def _langfuse(internal: str, external: str, **more: str) -> dict[str, str]:
    """What Langfuse's containers are told."""
    found = {"NEXTAUTH_URL": "http://localhost:3000", "LANGFUSE_S3_BATCH_EXPORT_ENABLED": "true"}
    for use in ("EVENT_UPLOAD", "MEDIA_UPLOAD", "BATCH_EXPORT"):
        head = f"LANGFUSE_S3_{use}_"
        found |= {
            f"{head}BUCKET": "langfuse", f"{head}ENDPOINT": internal,
            f"{head}ACCESS_KEY_ID": ROOT_USER, f"{head}SECRET_ACCESS_KEY": ROOT_PASSWORD,
            f"{head}FORCE_PATH_STYLE": "true",
        }  # fmt: skip
    return found | {"LANGFUSE_S3_MEDIA_UPLOAD_ENDPOINT": external} | more


@pytest.fixture
def project(image: str, compose: list[str], tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start a project of a store and the two services, given their variables."""
    name = docker.unique("inside")

    def make(web: dict[str, str], worker: dict[str, str], port: int) -> Path:
        store = {
            "image": image,
            "command": ["server", "/data", "--console-address", ":9001"],
            "environment": {
                "OVERSIGHT_ROOT_USER": ROOT_USER, "OVERSIGHT_ROOT_PASSWORD": ROOT_PASSWORD,
            },
            "ports": [f"127.0.0.1:{port}:9000"],
            "healthcheck": {
                "test": ["CMD", "mc", "ready", "local"], "interval": "1s", "retries": 60,
            },
        }  # fmt: skip
        services = {
            "minio": store,
            "langfuse-web": {"image": image, "environment": web, **_IDLE},
            "langfuse-worker": {"image": image, "environment": worker, **_IDLE},
        }
        document = {"name": name, "services": services}
        (tmp_path / "docker-compose.yml").write_text(json.dumps(document))
        _compose(compose, tmp_path, "up", "--detach", "--wait")
        return tmp_path

    yield make
    _compose(compose, tmp_path, "down", "--volumes", "--timeout", "3")


def _compose(compose: list[str], folder: Path, *words: str) -> None:
    done = subprocess.run(
        [*compose, *words], cwd=folder, env=docker.environment(), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def _troubles(found: Any) -> list[Any]:
    """All but the one that a busy machine makes."""
    return [trouble for trouble in found["troubles"] if trouble["code"] != "slow"]


def _doctor(folder: Path, *arguments: str) -> tuple[int, Any]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "stack.cli", "doctor", "--inside", "--json",
         "--timeout", "60", *arguments],
        cwd=folder, env=clean_environment(PATH=path, PYTHONPATH=str(docker.ROOT)),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_from_inside_every_container(project: Callable[..., Path]) -> None:
    port = free_port()
    internal, external = "http://minio:9000", f"http://localhost:{port}"
    media = {"LANGFUSE_S3_MEDIA_UPLOAD_INTERNAL_ENDPOINT": internal}
    folder = project(_langfuse(internal, external, **media), _langfuse(internal, internal), port)
    code, found = _doctor(folder)
    assert code == 0, found
    assert _troubles(found) == []
    verdicts = {(r["door"], r["check"]): r["verdict"] for r in found["results"]}
    assert verdicts["web internal", "access"] == "passed"
    assert verdicts["worker internal", "delete"] == "passed"
    assert verdicts["web external", "reachable"] == "not applicable", "localhost is the browser's"


def test_in_the_stores_own_container(project: Callable[..., Path], compose: list[str]) -> None:
    """`docker compose exec minio oversight doctor`: localhost there is not the browser's."""
    port = free_port()
    idle = _langfuse("http://minio:9000", f"http://localhost:{port}")
    folder = project(idle, idle, port)
    done = subprocess.run(
        [*compose, "exec", "-T", "minio", "oversight", "doctor", "--json",
         "--timeout", "60"],
        cwd=folder, env=docker.environment(), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (done.returncode, _troubles(found)) == (0, []), found["troubles"]
    verdicts = {(r["door"], r["check"]): r["verdict"] for r in found["results"]}
    assert verdicts["internal", "upload"] == "passed"
    assert verdicts["external", "reachable"] == "not applicable"
    assert verdicts["", "space"] == "passed"


def test_each_container_has_its_own_trouble(project: Callable[..., Path]) -> None:
    """Web signs media for a name that only containers know, worker looks for another store."""
    port = free_port()
    web = _langfuse("http://minio:9000", "http://minio:9000")
    worker = _langfuse("http://no-such-store:9000", "http://minio:9000")
    folder = project(web, worker, port)
    code, found = _doctor(folder)
    assert code == 1
    assert {trouble["code"] for trouble in _troubles(found)} == {
        "endpoint-unreachable", "presigned-host-unreachable",
    }  # fmt: skip
    failed = {(r["door"].split()[0], r["trouble"]) for r in found["results"] if r["trouble"]}
    assert failed == {("web", "presigned-host-unreachable"), ("worker", "endpoint-unreachable")}
