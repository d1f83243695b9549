"""What a stack has left on this machine: its volumes, and the secrets its containers were given.

Asked of Docker, never changed. Volumes go by the name that the compose files give them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Names of the Compose projects of ``langfuse/`` and ``datahub/``.
PROJECTS = ("oversight-langfuse", "oversight-datahub")

_VOLUMES = {
    "store_data": "store",
    "postgres_data": "postgres",
    "mysql_data": "mysql",
    "grafana_data": "grafana",
}
#: (service, the container's variable): the variable of ours that it came from.
_GIVEN = {
    ("minio", "OVERSIGHT_ROOT_PASSWORD"): "OVERSIGHT_ROOT_PASSWORD",
    ("postgres", "POSTGRES_PASSWORD"): "POSTGRES_PASSWORD",
    ("langfuse-web", "SALT"): "SALT",
    ("langfuse-web", "ENCRYPTION_KEY"): "ENCRYPTION_KEY",
    ("mysql", "MYSQL_ROOT_PASSWORD"): "DATAHUB_MYSQL_PASSWORD",
    ("grafana", "GF_SECURITY_ADMIN_PASSWORD"): "GRAFANA_ADMIN_PASSWORD",
}
_PROJECT, _SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_VOLUME_LINE = '{{.Name}} {{.Label "com.docker.compose.volume"}}'
_TIMEOUT = 30.0
_CONTAINER_MARK = Path("/.dockerenv")


class DockerSilent(Exception):
    """Docker is installed but does not answer, so nobody knows what exists."""


@dataclass(frozen=True)
class Installation:
    """``volumes``: what holds initialised data, by what it holds: its name. ``values``: secrets
    that containers, running or stopped, were made with, by our variables."""

    volumes: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def where(self, holds: str) -> str:
        """What to call it in a sentence."""
        name = self.volumes[holds]
        return f"the folder {name}" if os.sep in name else f"the volume {name}"


def find(data: Path | None = None, projects: Sequence[str] = PROJECTS) -> Installation:
    """What is here of ``projects``. ``data``: the folder of a store that runs without Docker.

    A machine without Docker has no volumes; a container without it has a machine around it.
    Raises DockerSilent.
    """
    volumes: dict[str, str] = {}
    values: dict[str, str] = {}
    if not shutil.which("docker"):
        if _CONTAINER_MARK.exists() or shutil.which("podman"):
            raise DockerSilent("there is no command `docker` here")
    else:
        for project in projects:
            volumes |= _volumes(project)
            values |= _values(project)
    if data is not None and (data / ".oversight").is_dir():
        volumes["store"] = str(data.resolve())
    return Installation(volumes, values)


def _volumes(project: str) -> dict[str, str]:
    lines = _docker(
        "volume", "ls", "--filter", f"label={_PROJECT}={project}",
        "--format", _VOLUME_LINE,
    )  # fmt: skip
    pairs = (line.split() for line in lines.splitlines())
    return {_VOLUMES[key]: name for name, key in pairs if key in _VOLUMES}


def _values(project: str) -> dict[str, str]:
    ids = _docker("ps", "--all", "--quiet", "--filter", f"label={_PROJECT}={project}").split()
    found: dict[str, str] = {}
    for container in json.loads(_docker("inspect", *ids)) if ids else ():
        service = container["Config"]["Labels"].get(_SERVICE, "")
        for each in container["Config"]["Env"] or ():
            name, _, value = each.partition("=")
            if value and (service, name) in _GIVEN:
                found[_GIVEN[service, name]] = value
    return found


def _docker(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DockerSilent(str(error)) from None
    if done.returncode:
        raise DockerSilent(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "")
    return done.stdout
