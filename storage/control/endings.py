"""Ends of sessions: kept while somebody could still use them, and never more than so many.

An end is needed until the session would have been over by itself. Somebody who signs in and out
all day could pile them up, and every process reads them all; so of each access key only the newest
are kept one by one, and a *floor* stands for the rest: all sessions of that key which began up to
then are over, also such as were not ended. Only the user who signs out so often can feel it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from storage.engine.interface import Engine, PutSystem
from storage.iam.errors import IdentityError
from storage.iam.sessions import SECONDS_MAX, Session, latest
from storage.iam.users import (
    SESSION_END,
    SESSION_FLOOR,
    decode_end,
    decode_floor,
    encode_end,
    encode_floor,
)

#: Ends that one access key may have; beyond it, a floor stands for all but so many.
ENDS_OF_KEY_MAX, KEPT = 256, 128
#: Ends that are removed with one sign-out because nobody needs them any more.
_REMOVED_AT_ONCE = 64

_End = tuple[int, str]
"""(when it is no longer needed, name of the record)"""


async def end(engine: Engine, session: Session) -> None:
    """End ``session`` before its time. Raises Unavailable and its like where that is not kept."""
    value = encode_end(latest(session.began), session.parent)
    await engine.commit(PutSystem(SESSION_END, session.access_key, value))
    past: list[str] = []
    own: list[_End] = []
    for record in await engine.system(SESSION_END):
        try:
            until, parent = decode_end(record.value)
        except IdentityError:
            continue  # it still ends its session
        if until < time.time():
            past.append(record.name)
        elif parent == session.parent:
            own.append((until, record.name))
    await _remove(engine, SESSION_END, past[:_REMOVED_AT_ONCE])
    if len(own) > ENDS_OF_KEY_MAX:
        await _raise_floor(engine, session.parent, sorted(own))


async def _raise_floor(engine: Engine, parent: str, ends: list[_End]) -> None:
    """Let one record stand for the oldest of a key's ``ends``."""
    until, _ = ends[-KEPT - 1]
    floor = until - SECONDS_MAX
    found = await engine.system_record(SESSION_FLOOR, parent)
    if found is not None:
        floor = max(floor, _floor_of(found.value))
    # First what ends the sessions, then what did so until now.
    await engine.commit(PutSystem(SESSION_FLOOR, parent, encode_floor(floor)))
    covered = [name for until, name in ends if until - SECONDS_MAX <= floor]
    await _remove(engine, SESSION_END, covered)
    past = [
        record.name
        for record in await engine.system(SESSION_FLOOR)
        if 0 < _floor_of(record.value) < time.time() - SECONDS_MAX
    ]
    await _remove(engine, SESSION_FLOOR, past[:_REMOVED_AT_ONCE])


async def _remove(engine: Engine, kind: str, names: Iterable[str]) -> None:
    await asyncio.gather(*(engine.commit(PutSystem(kind, name, None)) for name in names))


def _floor_of(value: bytes) -> int:
    try:
        return decode_floor(value)
    except IdentityError:
        return 0
