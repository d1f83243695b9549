"""Kill, cut, fail and damage the store with new random seeds until the time is over.

``python -m tests.fault.soak`` runs for ``SECONDS_OF_SOAK`` seconds (600) and prints a line a
round; ``SOAK_SEED`` repeats a run. A round that fails is told with its seed, and ends the soak
with status 1.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.fault import test_failing_calls, test_index_damage, test_kill, test_power_cut
from tests.fault.folders import folder
from tests.fault.history import Promises, check_store
from tests.fault.kernel import Dying, Failing
from tests.fault.test_processes import survive_kills
from tests.fault.workload import come_back, config_at

Outcome = Counter[str]
_CUTS = 30
_KILLS = 12


def killed(path: Path, seed: int) -> Outcome:
    """Lives of one seed, each killed at a random call; sometimes again while it comes back."""
    dice = random.Random(seed)
    outcome: Outcome = Counter()
    for number in range(_KILLS):
        kind, when = dice.choice(test_kill.WHEN)
        at = dice.randint(1, max(1, test_kill.counts()[kind]))
        config = config_at(path / str(number) / "drive")
        (path / str(number)).mkdir()
        promises = test_kill.die(path / str(number), Dying(kind, at, when), seed + number)
        for _ in range(dice.choice([0, 0, 1, 3])):
            again = Dying("any", dice.randint(1, 30), "before")
            test_kill.run(come_back, config, path / "opening", again)
            outcome["kills while coming back"] += 1
        asyncio.run(check_store(config, promises))
        outcome += Counter({"kills": 1, "changes": promises.acknowledged})
    return outcome


def power(path: Path, seed: int) -> Outcome:
    """Power cuts of every sort in a life of this seed."""
    workload = test_power_cut.Workload(path)
    workload.run(seed)
    dice = random.Random(seed)
    outcome: Outcome = Counter()
    for survivors, index, _ in test_power_cut.LOSSES.values():
        chosen = dice.sample(range(len(workload.calls)), _CUTS)
        target = path / "drive"
        done = test_power_cut.cut_power(workload, target, survivors, index, cuts=set(chosen))
        outcome["power cuts"] += done
    return outcome


def failing(path: Path, seed: int) -> Outcome:
    """Calls that fail with EIO or ENOSPC, once or for a while."""
    dice = random.Random(seed)
    outcome: Outcome = Counter()
    for number in range(_KILLS):
        kind, code, _ = dice.choice(test_failing_calls.CASES)
        at = dice.randint(1, test_kill.counts()[kind])
        calls = Failing(kind, at, code, dice.choice([1, 2, 5, 20]))
        promises = Promises()
        where = path / str(number)
        asyncio.run(test_failing_calls.live_on(where, calls, promises, seed + number))
        asyncio.run(check_store(config_at(where), promises))
        outcome += Counter({f"failed with {errno.errorcode[code]}": calls.failed})
        outcome["changes"] += promises.acknowledged
    return outcome


def damaged(path: Path, seed: int) -> Outcome:
    """An index that is damaged in every way."""
    crashed = test_index_damage.Crashed(path)
    for number, damage in enumerate(test_index_damage.DAMAGES):
        test_index_damage.damage_and_restore(crashed, path / str(number), damage, seed)
    return Counter({"indexes damaged": len(test_index_damage.DAMAGES)})


def processes(path: Path, seed: int) -> Outcome:
    """A served store whose processes are killed under writing clients."""
    rounds = 6
    changes, objects = survive_kills(path, seed, rounds)
    return Counter({"processes killed": rounds, "changes over HTTP": changes, "objects": objects})


ROUNDS: tuple[Callable[[Path, int], Outcome], ...] = (killed, power, failing, damaged, processes)


def main() -> int:
    logging.getLogger("oversight").setLevel(logging.CRITICAL + 1)  # damage is on purpose
    seconds = float(os.environ.get("SECONDS_OF_SOAK", "600"))
    first = int(os.environ.get("SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    began = time.monotonic()
    total: Outcome = Counter()
    number = 0
    while number == 0 or time.monotonic() - began < seconds:
        work, seed = ROUNDS[number % len(ROUNDS)], first + number // len(ROUNDS)
        started = time.monotonic()
        try:
            with folder() as path:
                outcome = work(path, seed)
        except BaseException:
            traceback.print_exc()
            print(f"FAILED: {work.__name__}, SOAK_SEED={seed}", flush=True)
            return 1
        total += outcome
        took = time.monotonic() - started
        print(f"{work.__name__:<10} seed {seed}  {took:5.1f} s  {_told(outcome)}", flush=True)
        number += 1
    minutes = (time.monotonic() - began) / 60
    print(f"{number} rounds in {minutes:.1f} minutes, nothing lost: {_told(total)}")
    return 0


def _told(outcome: Outcome) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(outcome.items()))


if __name__ == "__main__":
    sys.exit(main())
