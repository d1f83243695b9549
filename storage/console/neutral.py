"""Stored bytes under our own origin: never a script, a style sheet, a module or a page.

The page's policy takes scripts from its own origin, where what people stored is served as well. So
its type is told only where nothing can be run by it; with ``nosniff`` a browser takes no other
type for a script or a style sheet. Behind it stand the policy of such answers, and the refusal of
requests that say they are for one (``Sec-Fetch-Dest``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Where the page finds the type that was stored.
TYPE = b"x-oversight-content-type"
_OPAQUE = b"application/octet-stream"
# Elements show these; images run nothing as such, and the policy lets no document of them run.
_HARMLESS = re.compile(
    rb"(image/[\w.+-]+|audio/[\w.+-]+|video/[\w.+-]+|text/plain|application/(zip|octet-stream"
    rb"|xml))(\s*;.*)?",
    re.IGNORECASE | re.DOTALL,
).fullmatch


def headers(given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """``given`` with a type that nothing is run by."""
    found = []
    for name, value in given:
        if name.lower() == b"content-type":
            found.append((TYPE, value))
            value = value if _HARMLESS(value.strip()) else _OPAQUE
        found.append((name, value))
    return found
