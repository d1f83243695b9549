"""The wildcards and variables of IAM policies.

``*`` stands for any run of characters (``/`` and ``:`` too), ``?`` for exactly one. ``${key}``
is a policy variable, ``${key, 'default'}`` one with a default, and ``${*}``, ``${?}``, ``${$}``
are the characters themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

Match = Callable[[str], bool]
Lookup = Callable[[str], str | None]

_LITERALS = {"*": "*", "?": "?", "$": "$"}
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"\s*([A-Za-z0-9-]+:[^,'{}]+?)\s*(?:,\s*'([^']*)'\s*)?")


def escape(text: str) -> str:
    """``text`` as a pattern that matches nothing but itself."""
    return re.sub(r"[*?$]", r"${\g<0>}", text)


def variables(pattern: str) -> list[str]:
    """The lower-case keys of the variables in ``pattern``. Raises ValueError on a malformed one."""
    found = []
    for inner in _REFERENCE.findall(pattern):
        if inner not in _LITERALS:
            match = _VARIABLE.fullmatch(inner)
            if match is None:
                raise ValueError(f"${{{inner}}} is not a policy variable")
            found.append(match[1].lower())
    return found


def expand(pattern: str, lookup: Lookup) -> str | None:
    """Put values for variables; they match literally. None if one has neither value nor default."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        inner = match[1]
        if inner in _LITERALS:
            return match[0]
        variable = _VARIABLE.fullmatch(inner)
        if variable is None:
            missing = True
            return ""
        found = lookup(variable[1].lower())
        if found is None:
            found = variable[2]
        if found is None:
            missing = True
            return ""
        return escape(found)

    expanded = _REFERENCE.sub(value, pattern)
    return None if missing else expanded


def literal(pattern: str) -> str:
    """A pattern without variables as plain text, its wildcards being ordinary characters."""
    return _REFERENCE.sub(lambda match: _LITERALS.get(match[1], match[0]), pattern)


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Match:
    """A function that says whether a text matches ``pattern`` (its variables expanded before)."""
    tokens = _tokens(pattern)
    wild = [i for i, token in enumerate(tokens) if token is None or token == ""]
    if not wild:
        text = "".join(token for token in tokens if token)
        return text.__eq__
    if wild == [len(tokens) - 1] and tokens[-1] is None:
        prefix = "".join(token for token in tokens if token)
        return (lambda text: text.startswith(prefix)) if prefix else (lambda text: True)
    matcher = re.compile(_regex(tokens), re.DOTALL).fullmatch
    return lambda text: matcher(text) is not None


def _tokens(pattern: str) -> list[str | None]:
    """Characters of ``pattern``; None stands for ``*``, "" for ``?``."""
    tokens: list[str | None] = []
    position = 0
    while position < len(pattern):
        reference = _REFERENCE.match(pattern, position)
        if reference is not None and reference[1] in _LITERALS:
            tokens.append(_LITERALS[reference[1]])
            position = reference.end()
            continue
        char = pattern[position]
        tokens.append(None if char == "*" else "" if char == "?" else char)
        position += 1
    return tokens


def _regex(tokens: list[str | None]) -> str:
    """A regular expression that never backtracks over more than one ``*``.

    Every piece between two stars may settle at its first place (an atomic group), so that no
    pattern makes matching slower than the product of the lengths.
    """
    pieces: list[str] = [""]
    for token in tokens:
        if token is None:
            pieces.append("")
        else:
            pieces[-1] += "." if token == "" else re.escape(token)
    if len(pieces) == 1:
        return pieces[0]
    head, *middle, tail = pieces
    return head + "".join(f"(?>.*?{piece})" for piece in middle if piece) + ".*" + tail
