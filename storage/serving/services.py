"""The services process: what works through the store in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.services.upkeep import Upkeep
from storage.serving.channel import Start
from storage.serving.member import Member

if TYPE_CHECKING:
    from storage.serving.lifeline import Lifeline


def run(start: Start, lifeline: Lifeline) -> int:
    """Run the services until told to stop."""
    return Services(start, lifeline).run()


class Services(Member):
    """Compaction, collection of garbage, checkpoints, consumers of the feed."""

    async def open(self) -> None:
        """Nothing to answer."""
        self._upkeep: Upkeep | None = None

    async def begin(self) -> None:
        self._upkeep = Upkeep(await self.engine())
        self._upkeep.start()

    async def close(self, seconds: float) -> None:
        """Stop wherever the work is: whatever was begun is done again."""
        if self._upkeep is not None:
            await self._upkeep.close()
