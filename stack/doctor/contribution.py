"""The doctor as the store's control API runs it (entry point ``oversight.doctor``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stack.doctor.doors import Place, doors_of
from stack.doctor.examination import all_checks
from stack.doctor.examination import examine as run
from stack.doctor.surroundings import Surroundings
from stack.doctor.uses import Use, uses_of
from stack.services import environment_of
from stack.settings import environment
from stack.store import CommandError

_SERVICES = ("web", "worker")


def checks() -> list[dict[str, str]]:
    """All checks, in the order in which they are made."""
    return [{"name": each.name, "title": each.title, "scope": each.scope} for each in all_checks()]


def examine(environ: Mapping[str, str], timeout: float) -> dict[str, Any]:
    """Make all checks with Langfuse's variables as the settings derive them from ``environ``.

    Where the store was started beside a ``.env``, that says what ``environ`` does not. Raises
    ValueError for an endpoint that no request can be sent to.
    """
    known = {**environment(), **environ}
    uses: list[Use] = []
    missing: list[tuple[str, str]] = []
    for service in _SERVICES:
        found, lacking = uses_of(service, environment_of(f"langfuse-{service}", known))
        uses += found
        missing += [(service, variable) for variable in lacking]
    try:
        doors = doors_of(uses, Place.here(True), timeout)
    except CommandError as error:
        raise ValueError(str(error)) from None
    return run(Surroundings(doors, missing, known)).as_json()
