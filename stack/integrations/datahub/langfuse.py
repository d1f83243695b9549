"""Which project of Langfuse wrote an object, read from the key that Langfuse chose."""

from __future__ import annotations

import re

# `events/otel/PROJECT/...`, `events/evals/PROJECT/...`, `events/PROJECT/{trace,...}/...`,
# `media/PROJECT/ID.EXT`, `exports/MS-lf-TABLE-export-PROJECT.EXT`; operators may configure a prefix
# before each, which ends in a slash.
_SHAPES = (
    re.compile(r"(?:.*/)?events/(?:otel|evals)/(?P<project>[^/]+)/."),
    re.compile(r"(?:.*/)?events/(?P<project>[^/]+)/(?:trace|observation|score|dataset_run_item)/."),
    re.compile(r"(?:.*/)?media/(?P<project>[^/]+)/[A-Za-z0-9_-]{22}\.[^/]+$"),
    re.compile(r"(?:.*/)?exports/\d+-lf-[^/]+?-export-(?P<project>[^/.]+)\.[^/]+$"),
)


def project_of(key: str) -> str:
    """The project's id, "" if Langfuse did not write this key."""
    for shape in _SHAPES:
        found = shape.match(key)
        if found:
            return found["project"]
    return ""
