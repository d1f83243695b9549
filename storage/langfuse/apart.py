"""Understanding a large body in a process of its own: ``python -m storage.langfuse.apart``.

Decoding megabytes holds Python's lock for tens of milliseconds. Where requests are served from the
same process (``--workers 1``), they would wait for it; a process that is started for it and ends
with it makes nobody wait. It gets the place as a line of JSON and the body on its standard input,
and answers with ``[mentions, flaw]``.
"""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

from storage.langfuse.bodies import DAMAGED, Mention, search, understood
from storage.langfuse.keys import Place

#: Seconds that it may take. Decoding is bounded: this is for machines in trouble.
_PATIENCE = 60.0
_NICE = 10
_answers = msgspec.json.Decoder(tuple[list[Mention], int])


def understood_apart(place: Place, body: bytes | bytearray) -> tuple[list[Mention], int]:
    """``bodies.understood``, by another process. Call it from a thread: it waits. A body that the
    other process does not get through is damaged."""
    command = (sys.executable, "-P", "-m", "storage.langfuse.apart")
    try:
        done = subprocess.run(
            command,
            input=b"".join((msgspec.json.encode(place), b"\n", body)),
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
        )
        return _answers.decode(done.stdout)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return search(place, b""), DAMAGED


def main() -> int:
    """Read, understand, answer."""
    os.nice(_NICE)
    head, _, body = sys.stdin.buffer.read().partition(b"\n")
    place = Place(*msgspec.json.decode(head, type=tuple[str, str, str, str]))
    sys.stdout.buffer.write(msgspec.json.encode(understood(place, body)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
