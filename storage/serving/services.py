"""The services process: what works through the store in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    async def begin(self) -> None:
        await self.engine()

    async def close(self, seconds: float) -> None:
        """Nothing runs yet."""
