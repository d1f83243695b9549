"""Checks that other packages contribute: what the store cannot know by itself.

Under the entry point ``oversight.doctor`` a package names an object with two functions::

    checks() -> Iterable[Mapping]       each with name, title and scope
    examine(environ, timeout) -> Mapping

``examine`` makes all checks and blocks; ``environ`` holds variables that say where this store is
and who asks (OVERSIGHT_INTERNAL_ENDPOINT, OVERSIGHT_CONSOLE_URL, OVERSIGHT_ROOT_USER ...),
``timeout`` is in seconds a request. What comes back has the fields of ``Examination``; ValueError,
with a sentence, says that they can't be made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from storage.config import Config
from storage.control.access import SignedIn
from storage.control.problems import Problem
from storage.langfuse.keys import parse_root

router = APIRouter(prefix="/api/v1", tags=["operation"])

ENTRY_POINT = "oversight.doctor"
#: What one has to be allowed to do (MinIO's name for looking into a deployment's health).
ACTION = "admin:OBDInfo"
#: Seconds that an answer to one of the checks may take, and all checks together.
TIMEOUT, ALL_TIMEOUT = 10.0, 120.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on
_running = asyncio.Lock()
#: Checks that nobody waits for any more: threads can't be ended.
_late: set[asyncio.Future[Any]] = set()


class Doctor(Protocol):
    """What an entry point names."""

    def checks(self) -> Iterable[Mapping[str, Any]]: ...
    def examine(self, environ: Mapping[str, str], timeout: float) -> Mapping[str, Any]: ...


class CheckView(BaseModel):
    """A check that can be made."""

    name: str
    title: str
    scope: str = Field(description="door: through each endpoint; stack: once.")


class TroubleView(BaseModel):
    """What was found, and what to do about it."""

    code: str = Field(description="For programs; it stays the same over releases.")
    severity: Literal["failure", "warning"]
    sentence: str
    cure: str


class ResultView(BaseModel):
    """How one check went at one door."""

    check: str
    title: str
    door: str = Field(description="Empty for what concerns the whole stack.")
    endpoint: str
    verdict: Literal["passed", "warning", "failed", "left out", "not applicable"]
    seconds: float
    reason: str = ""
    trouble: str | None = Field(None, description="Code of what was found.")


class Examination(BaseModel):
    """All results of one run."""

    healthy: bool = Field(description="Whether nothing failed.")
    troubles: list[TroubleView]
    results: list[ResultView]


async def doctors(caller: SignedIn) -> list[Doctor]:
    """What is contributed. Raises Problem where that is nothing."""
    caller.require(ACTION)
    found = await asyncio.to_thread(_load) if caller.plane.config.address else []
    if not found:
        raise Problem(
            404, "NoDoctor", "No checks are installed beside this store: they belong to the "
            "bundle's tools.",
        )  # fmt: skip
    return found


Doctors = Annotated[list[Doctor], Depends(doctors)]


@router.get("/doctor", summary="List the checks of the doctor")
async def list_checks(found: Doctors) -> list[CheckView]:
    """The checks of `oversight doctor` and of other packages, in their order."""
    return [CheckView(**each) for doctor in found for each in doctor.checks()]


@router.post("/doctor", summary="Run the checks of the doctor")
async def run_checks(caller: SignedIn, found: Doctors) -> Examination:
    """Make all checks from where the store runs, with the root user's keys. They write a few
    objects below `.oversight-doctor/` in Langfuse's bucket and remove them."""
    if _running.locked() or _late:
        raise Problem(409, "DoctorIsBusy", "The checks are being made already: wait for them.")
    async with _running:
        environ = surroundings(caller.plane.config)
        together = Examination(healthy=True, troubles=[], results=[])
        for doctor in found:
            try:
                made = await _within(asyncio.to_thread(doctor.examine, environ, TIMEOUT))
            except ValueError as error:
                raise Problem(409, "DoctorFailed", str(error)) from None
            one = Examination.model_validate(made)
            together.healthy &= one.healthy
            together.troubles += one.troubles
            together.results += one.results
        return together


async def _within(checks: Coroutine[Any, Any, Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the checks found. Raises Problem when they take too long."""
    task = asyncio.ensure_future(checks)
    done, _ = await asyncio.wait((task,), timeout=ALL_TIMEOUT)
    if not done:
        _late.add(task)
        task.add_done_callback(_late.discard)
        raise Problem(
            504, "DoctorTimedOut",
            f"The checks did not come to an end within {ALL_TIMEOUT:.0f} seconds.",
        )  # fmt: skip
    return task.result()


def surroundings(config: Config) -> dict[str, str]:
    """The variables that say where this store is, who asks, and what Langfuse keeps where."""
    variables = {
        "OVERSIGHT_INTERNAL_ENDPOINT": _url(config.address),
        "OVERSIGHT_CONSOLE_URL": _url(config.console_address),
        "OVERSIGHT_EXTERNAL_ENDPOINT": config.external_endpoint or _url(config.address),
        "OVERSIGHT_ROOT_USER": config.root_user,
        "OVERSIGHT_ROOT_PASSWORD": config.root_password,
        "OVERSIGHT_REGION": config.region,
        "NEXTAUTH_URL": config.langfuse_url,
    }
    for use, text in (
        ("EVENT_UPLOAD", config.langfuse_events),
        ("MEDIA_UPLOAD", config.langfuse_media),
        ("BATCH_EXPORT", config.langfuse_exports),
    ):
        root = parse_root(text)
        variables[f"LANGFUSE_S3_{use}_BUCKET"] = root.bucket
        variables[f"LANGFUSE_S3_{use}_PREFIX"] = root.prefix
    return {name: value for name, value in variables.items() if value}


def _url(addresses: Iterable[tuple[str, int]]) -> str:
    host, port = next(iter(addresses))
    host = _ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _load() -> list[Doctor]:
    from importlib.metadata import entry_points

    return [point.load() for point in entry_points(group=ENTRY_POINT)]
