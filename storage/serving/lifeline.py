"""The child's side of the channel: it hands over news, and ends the child with its supervisor."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from storage.serving.channel import Channel, Message, Start

#: Exit code of a child whose supervisor has gone.
EXIT_ORPHANED = 70


class Lifeline:
    """Messages that come before ``listen`` are kept; the callback runs on a thread of its own."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._waiting: list[Message] = []
        self._callback: Callable[[Message], object] | None = None

    def start(self) -> Start:
        """Wait for the supervisor's first message, then watch for the next in the background."""
        first = self._channel.receive()
        if not isinstance(first, Start):
            os._exit(EXIT_ORPHANED)
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()
        return first

    def listen(self, callback: Callable[[Message], object]) -> None:
        """Call ``callback`` with every message from now on, and with those that waited."""
        with self._lock:
            self._callback = callback
            for message in self._waiting:
                callback(message)
            self._waiting.clear()

    def send(self, message: Message) -> None:
        self._channel.send(message)

    def _watch(self) -> None:
        while (message := self._channel.receive()) is not None:
            with self._lock:
                if self._callback is None:
                    self._waiting.append(message)
                else:
                    self._callback(message)
        # Without a supervisor nobody heals or drains; what is acknowledged is on the drives.
        os._exit(EXIT_ORPHANED)
