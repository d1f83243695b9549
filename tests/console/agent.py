"""A trace of an agent, sent by Langfuse's own SDK through a stand-in for Langfuse's API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.clients import tools
from tests.clients.langfuse_stand_in import PUBLIC_KEY, SECRET_KEY, LangfuseStandIn
from tests.console.scene import png
from tests.serving import clean_environment

#: Pixels of the picture that the agent is shown.
PICTURE_SIZE = (320, 180)


def send_trace(s3: Any, folder: Path) -> str:
    """Let the agent work and its trace be stored; the trace's id. ``s3`` is a boto3 client."""
    picture = folder / "picture.png"
    picture.write_bytes(png(*PICTURE_SIZE))
    with LangfuseStandIn(s3, "langfuse") as langfuse:
        environment = clean_environment(
            LANGFUSE_BASE_URL=langfuse.url,
            LANGFUSE_PUBLIC_KEY=PUBLIC_KEY,
            LANGFUSE_SECRET_KEY=SECRET_KEY,
        )
        told = tools.run(
            sys.executable, "-m", "tests.console.langfuse_agent", picture, env=environment
        )
        assert langfuse.refused == []
    return str(told).strip()
