"""`oversight doctor`: makes the examination that was asked for and prints it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stack.doctor import environments
from stack.doctor.doors import Place, doors_of, is_private_name
from stack.doctor.examination import Examination, Result, all_checks, examine
from stack.doctor.report import show_examination
from stack.doctor.surroundings import Surroundings
from stack.doctor.troubles import Trouble
from stack.doctor.uses import Use, uses_of
from stack.output import FAILED
from stack.progress import steps
from stack.settings import environment, text_of
from stack.store import CommandError


def run(
    service: str, *, inside: bool, container: bool | None, folder: Path | None, timeout: float,
    as_json: bool,
) -> int:  # fmt: skip
    """Examine and print; the exit code. Raises CommandError."""
    if inside:
        found = _inside(service, folder, timeout)
    else:
        place = (
            Place.here(environments.own() is not None or _in_network())
            if container is None
            else Place(container)
        )
        found = _here(service, place, folder, timeout, as_json)
    show_examination(found, as_json)
    return 0 if found.healthy else FAILED


def _here(
    service: str, place: Place, folder: Path | None, timeout: float, as_json: bool
) -> Examination:
    uses: list[Use] = []
    missing: list[tuple[str, str]] = []
    for name, environ in _environments(service, folder).items():
        found, lacking = uses_of(name, environ)
        uses += found
        missing += [(name, variable) for variable in lacking]
    doors = doors_of(uses, place, timeout)
    around = Surroundings(doors, missing, environment(), _console(place, uses))
    checks = all_checks()
    total = sum(1 if check.scope == "stack" else len(doors) for check in checks)
    with steps("Examining", total, hidden=as_json) as tell:
        return examine(around, checks, tell)


def _environments(service: str, folder: Path | None) -> dict[str, dict[str, str]]:
    """The variables of each service that is looked at."""
    name = environments.short_name(service)
    if not name:
        return {each: environments.derived(each) for each in environments.SERVICES}
    own = environments.own()
    if own is not None and folder is None:
        return {name: own}
    compose = environments.Compose(folder or environments.project_folder())
    return {name: compose.environment(name)}


def _in_network() -> bool:
    """Whether this is the containers' network, where the store's short name has an address."""
    host = urlsplit(text_of("OVERSIGHT_INTERNAL_ENDPOINT", environment())).hostname or ""
    if not is_private_name(host):
        return False
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def _console(place: Place, uses: list[Use]) -> str:
    """Where the control API is if the store is ours: beside the door that browsers come through."""
    external = next((use for use in uses if use.browser), None)
    if place.container or external is None or external.host.endswith("amazonaws.com"):
        return ""  # a service's container has no credentials for it
    host = urlsplit(external.endpoint).hostname
    return f"http://{host}:{text_of('OVERSIGHT_CONSOLE_PORT', environment())}"


def _inside(service: str, folder: Path | None, timeout: float) -> Examination:
    """What the doctor finds in the network of each container, put together."""
    compose = environments.Compose(folder or environments.project_folder())
    image = compose.store_image(text_of("OVERSIGHT_IMAGE", environment()))
    names = [environments.short_name(service)] if service else list(environments.SERVICES)
    together = Examination()
    with steps("Examining", len(names), hidden=False) as tell:
        for name in names:
            tell(f"in the container of {name}")
            words = ["doctor", "--service", name, "--json", "--timeout", f"{timeout:g}"]
            text = compose.run_inside(name, image, words)
            together.results += _results(name, text)
    return together


def _results(service: str, text: str) -> list[Result]:
    try:
        found: dict[str, Any] = json.loads(text)
        troubles = {each["code"]: Trouble(**each) for each in found["troubles"]}
        return [
            Result(
                **{
                    **each,
                    "door": f"{service} {each['door']}".strip(),
                    "trouble": troubles.get(each["trouble"]),
                }
            )
            for each in found["results"]
        ]
    except (ValueError, KeyError, TypeError):
        raise CommandError(
            f"The doctor inside {service} said something else than expected: is the image of "
            "this release?"
        ) from None
