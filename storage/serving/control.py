"""The control process: the console port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.serving.channel import Start
from storage.serving.console import Console
from storage.serving.member import Member

if TYPE_CHECKING:
    from storage.serving.lifeline import Lifeline


def run(start: Start, lifeline: Lifeline) -> int:
    """Serve the console port until told to stop."""
    return Control(start, lifeline).run()


class Control(Member):
    """The control plane's one process."""

    async def open(self) -> None:
        self._console = Console(self.config, self.sockets(self.start.console))
        await self._console.open()

    async def begin(self) -> None:
        engine = await self.engine()
        await self._console.begin(engine, await self.store_key(), self.start.shared)

    async def close(self, seconds: float) -> None:
        await self._console.close(seconds)
