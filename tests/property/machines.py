"""What the machines of random histories share: an engine under a loop of their own, and what
befalls the embedded one beside changes, from compaction to a lost index.

``OVERSIGHT_PROPERTY_EXAMPLES`` sets the number of histories per engine: 15 by default, many more
under the profile "fuzz" (``make fuzz``).
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable
from contextlib import ExitStack
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from storage.engine.embedded.compaction import Compactor
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.embedded.scrub import DONE, Pass, Progress
from storage.engine.interface import Engine, SetCursor
from storage.engine.memory import MemoryEngine
from storage.services.collection import Collector
from tests.engines import folder_in_memory, small_config

FUZZING = settings.get_current_profile_name() == "fuzz"
_PROFILE = settings.default
assert _PROFILE is not None
EXAMPLES = int(os.environ.get("OVERSIGHT_PROPERTY_EXAMPLES", "0"))
SETTINGS = settings(
    max_examples=EXAMPLES or (_PROFILE.max_examples if FUZZING else 15),
    stateful_step_count=_PROFILE.stateful_step_count if FUZZING else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
T = TypeVar("T")


class Machine(RuleBasedStateMachine):
    """Has an ``engine`` from its first rule on; what must hold then is checked at its end, too."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    def run(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def open(self) -> Engine:
        raise NotImplementedError

    def check_everything(self) -> None:
        """Compare all of the engine with the model. Raises AssertionError."""
        raise NotImplementedError

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.check_everything()
            self.run(self.engine.close())
        self.loop.close()


class InMemoryEngine(Machine):
    """The engine that keeps nothing."""

    def open(self) -> Engine:
        return MemoryEngine(inline_max=4096)


class OnDrive(Machine):
    """The embedded engine. Small segments: a history fills several."""

    engine: EmbeddedEngine

    def __init__(self) -> None:
        super().__init__()
        self.scratch = ExitStack()
        self.folder = self.scratch.enter_context(folder_in_memory())

    def open(self) -> EmbeddedEngine:
        config = small_config(self.folder, segment_size=48 * 1024, inline_max=4096, fsync=False)
        return self.run(EmbeddedEngine.local(config))

    def teardown(self) -> None:
        with self.scratch:
            super().teardown()

    @rule()
    def compact(self) -> None:
        """The follower at 0 makes the feed keep its footers: it is compared from its beginning."""
        self.run(self.engine.commit(SetCursor("follower", 0)))
        self.run(Compactor(self.engine).run())
        self.run(Collector(self.engine, grace=0.0).collect_garbage())

    @rule()
    def collect_leftovers(self) -> None:
        self.run(Collector(self.engine).collect_leftovers())

    @rule()
    def scrub(self) -> None:
        """Nothing that is sound is ever called damaged."""
        progress = Progress()
        progress.begin(1)
        for _ in Pass(self.engine, progress).steps():
            pass
        assert progress.part == DONE
        assert (progress.findings, progress.mismatches) == ([], 0)

    @rule()
    def restart(self) -> None:
        self.run(self.engine.close())
        self.engine = self.open()
        self.check_everything()

    @rule()
    def lose_the_index(self) -> None:
        self.run(self.engine.close())
        index = self.folder / ".oversight" / "index"
        shutil.rmtree(index)
        index.mkdir()
        self.engine = self.open()
        self.check_everything()

    @rule()
    def compact_and_lose_the_index(self) -> None:
        self.compact()
        self.lose_the_index()
