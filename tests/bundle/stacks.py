"""The compose files of ``langfuse/`` and ``datahub/``, with images that can be had here.

Nothing of a compose file is replaced but names of images, ports and the network, by the variables
that users have for it. ``OVERSIGHT_REAL_IMAGES=1`` leaves the images as they are.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bundle import docker
from tests.serving import free_port

HERE = Path(__file__).parent / "images"
REAL = os.environ.get("OVERSIGHT_REAL_IMAGES", "") not in ("", "0")
DATABASES = "oversight-test/databases:bookworm"
#: Service that a stand-in stands in for: the variable that names its image.
ROLES = {
    "langfuse-web": "LANGFUSE_WEB_IMAGE",
    "langfuse-worker": "LANGFUSE_WORKER_IMAGE",
    "clickhouse": "CLICKHOUSE_IMAGE",
    "datahub-gms": "DATAHUB_GMS_IMAGE",
    "frontend": "DATAHUB_FRONTEND_IMAGE",
    "actions": "DATAHUB_ACTIONS_IMAGE",
    "system-update": "DATAHUB_UPGRADE_IMAGE",
    "kafka": "DATAHUB_KAFKA_IMAGE",
    "mysql": "DATAHUB_MYSQL_IMAGE",
    "opensearch": "DATAHUB_OPENSEARCH_IMAGE",
}
_PORTS = ("OVERSIGHT_S3_PORT", "OVERSIGHT_CONSOLE_PORT", "LANGFUSE_PORT", "DATAHUB_PORT",
          "DATAHUB_GMS_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")  # fmt: skip


def images(store: str) -> dict[str, str]:
    """Variables that name the images of a test, built here unless the real ones are wanted."""
    named = {"OVERSIGHT_IMAGE": store, "OVERSIGHT_BASE": docker.base()}
    if REAL:
        return named
    build("databases", DATABASES)
    for role, variable in ROLES.items():
        named[variable] = f"oversight-test/stand-in-for-{role}:test"
        build("stand-in", named[variable], STORE=store, ROLE=role)
    return named | {"POSTGRES_IMAGE": DATABASES, "REDIS_IMAGE": DATABASES}


def build(target: str, tag: str, **arguments: str) -> None:
    """Build a target of the Dockerfile beside this file. Layers that exist are used again."""
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    done = docker.run(
        "docker", "build", f"--build-arg=BASE={docker.base()}", *options, "--target", target,
        # The machine's own network, because packages are fetched.
        "--network", "host", "--tag", tag, HERE, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def copy_of_checkout(folder: Path) -> Path:
    """What ``docker compose`` reads of a checkout, so that a test can have a .env of its own."""
    for name in ("langfuse", "datahub", "compose"):
        shutil.copytree(docker.ROOT / name, folder / name, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("wheels"))  # fmt: skip
    return folder


def free_ports() -> dict[str, str]:
    """A free port of this machine for everything that the stacks publish."""
    return {variable: str(free_port()) for variable in _PORTS}


@dataclass
class Stack:
    """One Compose project of ``folder`` (``langfuse`` or ``datahub``) in a copy of the checkout.

    ``environ``: variables of ``docker compose``, which win over the copy's ``.env``.
    """

    compose: list[str]
    root: Path
    folder: str
    project: str
    environ: Mapping[str, str] = field(default_factory=dict)

    def run(self, *words: str, check: bool = True, timeout: float = 300) -> str:
        """What ``docker compose WORDS`` printed; AssertionError with it if the command fails."""
        done = docker.run(*self._command(), *words, timeout=timeout, env=self._environment())
        assert not check or done.returncode == 0, f"{words}:\n{done.stdout}\n{self.logs()}"
        return done.stdout

    def up(self, *words: str, timeout: float = 600) -> float:
        """Start everything and wait until it is healthy; seconds that it took."""
        began = time.monotonic()
        self.run(*self._profiles(words), "up", "--detach", "--no-build", "--quiet-pull", "--wait",
                 "--wait-timeout", str(int(timeout)), timeout=timeout + 60)  # fmt: skip
        return time.monotonic() - began

    def down(self, *words: str) -> str:
        return self.run("--profile", "*", "down", "--timeout", "15", *words)

    def states(self) -> dict[str, str]:
        """Every container's state, by service: "running (healthy)", "exited (0)" ..."""
        lines = self.run("--profile", "*", "ps", "--all", "--format", "json").splitlines()
        rows = [json.loads(line) for line in lines if line.startswith("{")]
        return {
            row["Service"]: f"{row['State']} ({row['Health'] or row['ExitCode']})" for row in rows
        }

    def execute(self, service: str, *command: str) -> str:
        return self.run("exec", "-T", service, *command)

    def volumes(self) -> set[str]:
        """Names of the project's volumes, as the compose files call them."""
        label = f"label=com.docker.compose.project={self.project}"
        shown = '{{.Label "com.docker.compose.volume"}}'
        listed = docker.docker("volume", "ls", "--filter", label, "--format", shown)
        return set(listed.split())

    def logs(self) -> str:
        return docker.run(*self._command(), "logs", "--tail", "30", env=self._environment()).stdout

    def _command(self) -> list[str]:
        file = self.root / self.folder / "docker-compose.yml"
        return [*self.compose, "--project-name", self.project, "--file", str(file)]

    def _environment(self) -> dict[str, str]:
        return docker.environment(**self.environ)

    def config(self, *words: str) -> dict[str, Any]:
        """The whole configuration as Compose understands it."""
        shown = self.run(*self._profiles(words), "config", "--format", "json")
        found: dict[str, Any] = json.loads(shown)
        return found

    @staticmethod
    def _profiles(names: tuple[str, ...]) -> Iterator[str]:
        for name in names:
            yield from ("--profile", name)
