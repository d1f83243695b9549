"""The control process: FastAPI on the console port."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from storage.serving.channel import Message, Ready, Start, Stop

if TYPE_CHECKING:
    from storage.serving.lifeline import Lifeline


def run(start: Start, lifeline: Lifeline) -> int:
    done = threading.Event()

    def heard(message: Message) -> None:
        if isinstance(message, Stop):
            done.set()

    lifeline.listen(heard)
    lifeline.send(Ready())
    done.wait()
    return 0
