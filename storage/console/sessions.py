"""Who is signed in: a random id in a cookie, everything else in this process's memory."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

#: Sessions kept at once; the one unused for longest makes room.
SESSIONS_MAX = 4096
#: Seconds without a request after which a session ends.
IDLE = 1800.0


@dataclass
class Session:
    """A signed-in user's temporary credentials. None of them ever leaves this process.

    ``token`` is for the control API; the others sign S3 requests. ``expires``: seconds since the
    epoch.
    """

    user: str
    expires: float
    token: str = field(repr=False)
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    used: float = 0.0


class Sessions:
    """Sessions by id."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(self, session: Session) -> str:
        """Keep a session; its new id, which nobody can guess."""
        while len(self._sessions) >= SESSIONS_MAX:
            self._sessions.popitem(last=False)
        name = secrets.token_urlsafe(32)
        session.used = self._clock()
        self._sessions[name] = session
        return name

    def find(self, name: str) -> Session | None:
        """The session of an id; None if there is none or its time is over."""
        session = self._sessions.get(name)
        if session is None:
            return None
        now = self._clock()
        if now >= session.expires or now - session.used > IDLE:
            del self._sessions[name]
            return None
        session.used = now
        self._sessions.move_to_end(name)
        return session

    def end(self, name: str) -> Session | None:
        """Forget a session; what it was."""
        return self._sessions.pop(name, None)

    def __len__(self) -> int:
        for name in list(self._sessions):
            session, now = self._sessions[name], self._clock()
            if now >= session.expires or now - session.used > IDLE:
                del self._sessions[name]
        return len(self._sessions)
