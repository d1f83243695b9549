"""Sessions of the console: found by their id alone, and over in time."""

from __future__ import annotations

from storage.console.sessions import IDLE, SESSIONS_MAX, Session, Sessions


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def session(clock: Clock, seconds: float = 3600) -> Session:
    return Session(user="a", expires=clock.now + seconds, token="t", secret_key="s" * 40)


def test_a_session_is_found_by_its_id_alone() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    one, other = session(clock), session(clock)
    name, another = sessions.begin(one), sessions.begin(other)
    assert name != another
    assert len(name) >= 43
    assert sessions.find(name) is one
    assert sessions.find("") is sessions.find(name[:-1]) is None


def test_a_session_ends_with_its_time_and_without_use() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    short, long = sessions.begin(session(clock, 60)), sessions.begin(session(clock, 9 * IDLE))
    clock.now += 60
    assert sessions.find(short) is None
    clock.now += IDLE - 61
    assert sessions.find(long) is not None
    clock.now += IDLE + 1
    assert sessions.find(long) is None
    assert len(sessions) == 0


def test_memory_is_bounded_and_the_unused_go_first() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    first = sessions.begin(session(clock))
    second = sessions.begin(session(clock))
    sessions.find(first)
    for _ in range(SESSIONS_MAX - 1):
        sessions.begin(session(clock))
    assert sessions.find(second) is None
    assert sessions.find(first) is not None


def test_no_representation_shows_a_secret() -> None:
    assert "s" * 40 not in repr(session(Clock()))
