"""Defaults that name other variables, in the language that Compose understands.

A template is text with ``${NAME}`` or ``${NAME:-text}`` in it. ``expand`` gives its value for an
environment, ``compose`` the expression that makes ``docker compose`` find the same value: there
``${NAME}`` becomes ``${NAME:-default of NAME}``, as deep as defaults name each other. So the
derivation is written once, and a test holds the compose files against it.

An empty variable counts as unset, as with Compose's ``:-``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_REFERENCE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^${}]*))?\}")


@dataclass(frozen=True)
class Variable:
    """A variable, what stands in when it is unset, and older names for it, strongest first."""

    name: str
    default: str = ""
    aliases: tuple[str, ...] = ()


Table = Mapping[str, Variable]


def expand(template: str, environ: Mapping[str, str], table: Table) -> str:
    """The value of ``template``. Raises KeyError for a variable that ``table`` lacks."""

    def value(name: str, default: str | None) -> str:
        variable = table[name]
        for each in (variable.name, *variable.aliases):
            if environ.get(each):
                return environ[each]
        return expand(variable.default, environ, table) if default is None else default

    return _replaced(template, value)


def compose(template: str, table: Table) -> str:
    """``template`` with every default written out, for a compose file."""

    def expression(name: str, default: str | None) -> str:
        variable = table[name]
        inner = compose(variable.default, table) if default is None else default
        for alias in reversed(variable.aliases):
            inner = f"${{{alias}:-{inner}}}"
        return f"${{{name}:-{inner}}}"

    return _replaced(template, expression)


def references(template: str) -> list[str]:
    """The variables that ``template`` names."""
    return [match[1] for match in _REFERENCE.finditer(template)]


def _replaced(template: str, replacement: Callable[[str, str | None], str]) -> str:
    return _REFERENCE.sub(lambda match: replacement(match[1], match[2]), template)
