"""The variables of Langfuse's services: from the settings, a compose file or a container's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stack.store import CommandError

#: Services of Langfuse that use the store, as people call them.
SERVICES = ("web", "worker")
_TIMEOUT = 120.0


def short_name(service: str) -> str:
    """ "langfuse-web" and "web" are the same."""
    return service.removeprefix("langfuse-")


def derived(service: str) -> dict[str, str]:
    """What the settings make of a service's variables."""
    from stack.services import environment_of
    from stack.settings import environment

    return environment_of(f"langfuse-{service}", environment())


def own() -> dict[str, str] | None:
    """This process's variables, if they are those of a service of Langfuse."""
    return dict(os.environ) if os.environ.get("LANGFUSE_S3_EVENT_UPLOAD_BUCKET") else None


class Compose:
    """The compose project in ``folder``, asked through `docker compose`."""

    def __init__(self, folder: Path) -> None:
        """Raises CommandError where there is no Docker or no project."""
        if shutil.which("docker") is None:
            raise CommandError("There is no `docker` here: run this where the stack is started.")
        self._folder = folder
        self._compose = self._compose_words()
        text = self._ask(*self._compose, "config", "--format", "json")
        self._services: Mapping[str, Any] = json.loads(text)["services"]

    def _compose_words(self) -> tuple[str, ...]:
        """Compose as a part of Docker, or as a program of its own."""
        try:
            self._ask("docker", "compose", "version")
        except CommandError:
            if shutil.which("docker-compose") is None:
                raise CommandError(
                    "There is no Docker Compose here: install its plug-in for `docker`."
                ) from None
            return ("docker-compose",)
        return ("docker", "compose")

    def environment(self, service: str) -> dict[str, str]:
        """A service's variables. Raises CommandError if there is no such service."""
        found = self._services[self.name_of(service)].get("environment") or {}
        return {name: str(value) for name, value in found.items() if value is not None}

    def name_of(self, service: str) -> str:
        """The full name of a service. Raises CommandError if there is no such service."""
        for name in (service, f"langfuse-{service}"):
            if name in self._services:
                return name
        raise CommandError(
            f"{self._folder} has no service {service}: it has {', '.join(self._services)}."
        )

    def store_image(self, image: str) -> str:
        """The store's image: ``image`` if the project uses it, else what its `minio` runs."""
        images = {str(service.get("image", "")) for service in self._services.values()}
        if image in images:
            return image
        return str(self._services.get("minio", {}).get("image") or image)

    def run_inside(self, service: str, image: str, arguments: list[str]) -> str:
        """Run a command of ``image`` in a service's network, with its variables.

        Raises CommandError if the service does not run or the command cannot be started.
        """
        words = (*self._compose, "ps", "--quiet", self.name_of(service))
        container = self._ask(*words).strip()
        if not container:
            raise CommandError(f"{self.name_of(service)} is not running: start the stack first.")
        variables = self.environment(service)
        # Names only: values would stand in the process list. Docker takes them from us.
        names = [word for name in variables for word in ("--env", name)]
        # The image names the control API beside itself, which is not in this network.
        names += ["--env", "OVERSIGHT_CONSOLE_URL="]
        return self._ask(
            "docker",
            "run", "--rm", "--pull=never", "--network", f"container:{container}", *names,
            "--entrypoint", "oversight", image, *arguments,
            more=variables, codes=(0, 1),
        )  # fmt: skip

    def _ask(
        self, *words: str, more: Mapping[str, str] | None = None, codes: tuple[int, ...] = (0,)
    ) -> str:
        try:
            done = subprocess.run(
                words,
                cwd=self._folder,
                env={**os.environ, **(more or {})},
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CommandError(f"`{words[0]}` gave no answer in {_TIMEOUT:g} s.") from None
        if done.returncode not in codes:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise CommandError(f"`{' '.join(words[:3])}` failed in {self._folder}: {said}")
        return done.stdout


def project_folder() -> Path:
    """Where Langfuse's compose file lies: here, or in `langfuse/`. Raises CommandError."""
    for folder in (Path.cwd(), Path.cwd() / "langfuse"):
        if (folder / "docker-compose.yml").is_file():
            return folder
    raise CommandError("There is no docker-compose.yml here or in langfuse/: name its --folder.")
