"""An application traced with Langfuse: one generation that saw the picture which it is given.

Configured by the SDK's own variables, LANGFUSE_BASE_URL and the two keys.
"""

import sys
from pathlib import Path

from langfuse import get_client
from langfuse.media import LangfuseMedia


def main(picture: Path) -> None:
    langfuse = get_client()
    image = LangfuseMedia(content_bytes=picture.read_bytes(), content_type="image/png")
    with langfuse.start_as_current_observation(
        name="describe-picture",
        as_type="generation",
        model="none",
        input={"question": "What is this?", "picture": image},
    ) as generation:
        generation.update(output="A test pattern.")
    langfuse.flush()
    langfuse.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
