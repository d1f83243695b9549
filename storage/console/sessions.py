"""Who is signed in: a random id in a cookie, everything else in this process's memory."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

#: Sessions kept at once, of one user and of all. Who is above the first loses their own one that
#: was unused for longest; at the second, whoever has most does.
SESSIONS_OF_USER_MAX = 32
SESSIONS_MAX = 4096
#: Seconds without a request after which a session ends.
IDLE = 1800.0
#: Requests to the store under way at once for one user. Browsers have six for a page.
REQUESTS_OF_USER_MAX = 24


@dataclass(eq=False)
class Session:
    """A signed-in user's temporary credentials. None of them ever leaves this process.

    ``token`` is for the control API; the others sign S3 requests. ``expires``: seconds since the
    epoch. ``owner`` is the user's canonical id, ``caller`` where it is used from, as it is told
    (``Origin``). ``page`` is told to the page that signed in, which sends it back: a cookie alone
    opens nothing, since whatever runs at another port of the same host can set one. ``name`` is
    the cookie's id, ``room`` what all requests of the user share.
    """

    user: str
    expires: float
    token: str = field(repr=False)
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    owner: str = ""
    caller: str = ""
    page: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    name: str = field(default="", repr=False)
    used: float = 0.0
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0), repr=False)

    def used_from(self, caller: str) -> Session:
        """The same session, as one request from that address uses it."""
        return replace(self, caller=caller)

    def is_shown_by(self, page: str) -> bool:
        """Whether ``page`` is what the page of this session was told."""
        return hmac.compare_digest(page.encode(), self.page.encode())


class _User:
    """What one user has: sessions, the one unused for longest first, and room for requests."""

    def __init__(self) -> None:
        self.sessions: OrderedDict[str, Session] = OrderedDict()
        self.room = asyncio.Semaphore(REQUESTS_OF_USER_MAX)


class Sessions:
    """Sessions by id. ``on_end`` is called with each that ended otherwise than by ``end``."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        on_end: Callable[[Session], object] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._on_end = on_end
        self._sessions: dict[str, Session] = {}
        self._users: dict[str, _User] = {}

    def begin(self, session: Session) -> str:
        """Keep a session; its new id, which nobody can guess."""
        user = self._users.setdefault(session.owner, _User())
        if len(user.sessions) >= SESSIONS_OF_USER_MAX:
            self._drop(next(iter(user.sessions.values())))
        elif len(self._sessions) >= SESSIONS_MAX:
            self.sweep()
            if len(self._sessions) >= SESSIONS_MAX:
                most = max(self._users.values(), key=lambda each: len(each.sessions))
                self._drop(next(iter(most.sessions.values())))
        session.name = secrets.token_urlsafe(32)
        session.used = self._clock()
        session.room = user.room
        self._sessions[session.name] = user.sessions[session.name] = session
        self._users[session.owner] = user
        return session.name

    def find(self, names: Iterable[str], page: str = "") -> Session | None:
        """The session of one of the ids; None if there is none or its time is over.

        Where there are several, the one that ``page`` belongs to.
        """
        found = [each for name in names if (each := self._get(name)) is not None]
        session = next((each for each in found if each.is_shown_by(page)), None)
        return session or (found[0] if found else None)

    def touch(self, session: Session) -> None:
        """Note that somebody used it."""
        session.used = self._clock()
        self._users[session.owner].sessions.move_to_end(session.name)

    def kept(self, session: Session) -> Session | None:
        """The session that one request uses; None if it has ended meanwhile."""
        return self._sessions.get(session.name)

    def end(self, session: Session) -> None:
        """Forget a session; the store has to be told elsewhere."""
        if self._sessions.pop(session.name, None) is None:
            return
        user = self._users[session.owner]
        del user.sessions[session.name]
        if not user.sessions:
            del self._users[session.owner]

    def sweep(self) -> None:
        """End what is over."""
        for name in list(self._sessions):
            self._get(name)

    def __len__(self) -> int:
        self.sweep()
        return len(self._sessions)

    def _get(self, name: str) -> Session | None:
        session = self._sessions.get(name)
        if session is None:
            return None
        now = self._clock()
        if now >= session.expires or now - session.used > IDLE:
            self._drop(session)
            return None
        return session

    def _drop(self, session: Session) -> None:
        self.end(session)
        self._on_end(session)
