"""Where randomness comes from: one generator per input, so that a number names the input."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """Decisions of one input. The same seed and number decide alike for ever."""

    def __init__(self, source: random.Random) -> None:
        self._random = source.random
        self.below = source.randrange
        self.bytes = source.randbytes

    @classmethod
    def of(cls, seed: int, number: int) -> Chance:
        """The decisions of input ``number`` in the campaign of ``seed``."""
        return cls(random.Random(f"{seed}/{number}"))

    def happens(self, probability: float) -> bool:
        return self._random() < probability

    def one(self, choices: Sequence[T]) -> T:
        return choices[int(self._random() * len(choices))]

    def some(self, choices: Sequence[T], most: int) -> list[T]:
        """Up to ``most`` of ``choices``, with repetitions."""
        return [self.one(choices) for _ in range(self.below(most + 1))]

    def between(self, low: int, high: int) -> int:
        """A number from ``low`` to ``high``, both included."""
        return self.below(low, high + 1)
