"""What the doctor looks at as a whole: the services' settings, the doors and the control API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stack.doctor.doors import Door
from stack.doctor.troubles import Found, Inapplicable, trouble
from stack.store import CommandError


@dataclass
class Surroundings:
    """``missing``: (service, variable) of what Langfuse needs and does not have.

    ``environ``: variables that name the control API and who asks it. ``console``: where it
    is if they do not name it; "" where none is to be asked.
    """

    doors: list[Door]
    missing: list[tuple[str, str]] = field(default_factory=list)
    environ: Mapping[str, str] = field(default_factory=dict)
    console: str = ""
    _answers: dict[str, Any] = field(default_factory=dict)

    def ask(self, name: str) -> Any:
        """What the control API says of ``name``. Raises Inapplicable where there is none."""
        if name not in self._answers:
            self._answers[name] = self._ask(name)
        return self._answers[name]

    def _ask(self, name: str) -> Any:
        from stack import client

        named = self.environ.get(client.URL, "")
        if not named and not self.console:
            raise Inapplicable("only the control API of an Oversight store tells")
        environ = {**self.environ, client.URL: named or self.console}
        try:
            return client.Control.from_environment(environ).get(name)
        except client.Unreachable as error:
            if named:
                raise Found(trouble("control-unreachable", detail=error)) from None
            raise Inapplicable(
                f"only the control API of an Oversight store tells, and nobody answers at "
                f"{self.console}"
            ) from None
        except CommandError as error:
            raise Inapplicable(f"the control API does not tell: {error}") from None
