"""The committer process: the engine's own loop, told to stop by the supervisor."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from storage.engine.embedded import server
from storage.serving.channel import EngineReady, Message, Ready, Start, Stop

if TYPE_CHECKING:
    from storage.serving.lifeline import Lifeline


def run(start: Start, lifeline: Lifeline) -> int:
    """Take over the drive and serve until told to stop. Raises DriveRefused."""

    def ready() -> None:
        gc.freeze()
        lifeline.send(EngineReady())
        lifeline.send(Ready())

    def stopper(stop: Callable[[], None]) -> None:
        def heard(message: Message) -> None:
            if isinstance(message, Stop):
                stop()

        lifeline.listen(heard)

    server.main(start.config, ready, stopper)
    return 0
