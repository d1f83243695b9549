"""Runs the checks and says what was found, as plain values for tables, programs and the console."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from stack.doctor import diagnosis
from stack.doctor.checks import CHECKS, Check
from stack.doctor.doors import Door
from stack.doctor.surroundings import Surroundings
from stack.doctor.troubles import Found, Inapplicable, Trouble
from stack.s3.errors import S3Error
from stack.s3.transport import Unreachable

Verdict = Literal["passed", "warning", "failed", "left out", "not applicable"]

#: Other packages add checks under this entry point: an iterable of ``Check`` each.
ENTRY_POINT = "oversight.checks"
_STALE = 3600  # seconds after which what a killed run left behind is removed


@dataclass(frozen=True)
class Result:
    """How one check went at one door. ``door`` is "" for what concerns the whole stack."""

    check: str
    title: str
    door: str
    endpoint: str
    verdict: Verdict
    seconds: float
    reason: str = ""
    trouble: Trouble | None = None


@dataclass
class Examination:
    """All results of one run."""

    results: list[Result] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether nothing failed."""
        return all(result.verdict != "failed" for result in self.results)

    @property
    def troubles(self) -> list[Trouble]:
        """What was found, each once, in the order of the checks."""
        return list(dict.fromkeys(r.trouble for r in self.results if r.trouble is not None))

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "healthy": self.healthy,
            "troubles": [asdict(each) for each in self.troubles],
            "results": [
                {**asdict(r), "trouble": r.trouble.code if r.trouble else None}
                for r in self.results
            ],
        }


def all_checks() -> tuple[Check, ...]:
    """Our checks and those of other packages."""
    from importlib.metadata import entry_points

    known = {check.name: check for check in CHECKS}
    for point in entry_points(group=ENTRY_POINT):
        for check in point.load():
            known.setdefault(check.name, check)
    return tuple(known.values())


def examine(
    around: Surroundings,
    checks: Iterable[Check] | None = None,
    tell: Callable[[str], None] = lambda title: None,
) -> Examination:
    """Run all checks; ``tell`` hears the title of each one. Removes what it wrote."""
    found = Examination()
    todo = tuple(all_checks() if checks is None else checks)
    try:
        for door in around.doors:
            found.results += _through(door, [c for c in todo if c.scope == "door"], tell)
        found.results += _about(around, [c for c in todo if c.scope == "stack"], tell)
    finally:
        _clean_up(around.doors)
    order = {check.name: place for place, check in enumerate(todo)}
    found.results.sort(key=lambda result: order[result.check])
    return found


def _through(door: Door, checks: list[Check], tell: Callable[[str], None]) -> Iterator[Result]:
    verdicts: dict[str, Verdict] = {}
    for check in checks:
        tell(f"{check.title} ({door.endpoint})")
        result = _run(check, door, door, verdicts)
        verdicts[check.name] = result.verdict
        yield result


def _about(
    around: Surroundings, checks: list[Check], tell: Callable[[str], None]
) -> Iterator[Result]:
    for check in checks:
        tell(check.title)
        yield _run(check, around, None, {})


def _run(check: Check, subject: Any, door: Door | None, verdicts: dict[str, Verdict]) -> Result:
    missing = [name for name in check.needs if verdicts.get(name) not in ("passed", "warning")]
    if missing:
        inapplicable = any(verdicts.get(name) == "not applicable" for name in missing)
        verdict: Verdict = "not applicable" if inapplicable else "left out"
        return _result(check, door, verdict, 0.0, reason=f'needs "{missing[0]}"')
    began = time.monotonic()
    found, reason = _attempt(check, subject, door)
    seconds = time.monotonic() - began
    if reason:
        return _result(check, door, "not applicable", seconds, reason=reason)
    if found is None:
        return _result(check, door, "passed", seconds)
    verdict = "failed" if found.severity == "failure" else "warning"
    return _result(check, door, verdict, seconds, found=found)


def _attempt(check: Check, subject: Any, door: Door | None) -> tuple[Trouble | None, str]:
    """(the trouble, why the check says nothing here)"""
    try:
        check.run(subject)
    except Found as found:
        return found.trouble, ""
    except Inapplicable as error:
        return None, str(error)
    except S3Error as error:
        if door is None:
            raise
        return diagnosis.explain(door, check.action or check.title, error, check.size), ""
    except Unreachable as error:
        if door is None:
            raise
        return diagnosis.broken(door, check.action or check.title, error), ""
    return None, ""


def _result(
    check: Check,
    door: Door | None,
    verdict: Verdict,
    seconds: float,
    *,
    reason: str = "",
    found: Trouble | None = None,
) -> Result:
    name, endpoint = (door.name, door.endpoint) if door else ("", "")
    return Result(
        check.name, check.title, name, endpoint, verdict, round(seconds, 3), reason, found
    )


def _clean_up(doors: Iterable[Door]) -> None:
    """Remove what this run has written, and what killed ones left, by any door that works."""
    buckets: dict[str, set[str]] = {}
    for door in doors:
        buckets.setdefault(door.use.bucket, set()).update(door.written)
    for door in doors:
        keys = buckets.get(door.use.bucket)
        if keys is None:
            continue
        with contextlib.suppress(S3Error, Unreachable):
            keys.update(
                entry.key
                for entry in door.s3.objects(door.use.bucket, door.folder)
                if _is_stale(entry.modified, door.clock())
            )
            door.s3.delete(door.use.bucket, sorted(keys))
            del buckets[door.use.bucket]


def _is_stale(modified: str, now: float) -> bool:
    """Whether an object of the doctor is older than any run lasts."""
    try:
        return now - datetime.fromisoformat(modified).timestamp() > _STALE
    except ValueError:
        return False
