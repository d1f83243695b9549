"""Sessions of the console: found by their id alone, over in time, and bounded for each user."""

from __future__ import annotations

from storage.console.sessions import (
    IDLE,
    SESSIONS_MAX,
    SESSIONS_OF_USER_MAX,
    Session,
    Sessions,
)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def session(clock: Clock, seconds: float = 3600, owner: str = "a") -> Session:
    return Session(
        user=owner, expires=clock.now + seconds, token="t", secret_key="s" * 40, owner=owner
    )


def find(sessions: Sessions, name: str) -> Session | None:
    return sessions.find([name])


def test_a_session_is_found_by_its_id_alone() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    one, other = session(clock), session(clock)
    name, another = sessions.begin(one), sessions.begin(other)
    assert name != another
    assert len(name) >= 43
    assert find(sessions, name) is one
    assert find(sessions, "") is find(sessions, name[:-1]) is sessions.find([]) is None


def test_of_several_the_one_that_the_page_belongs_to_is_found() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    one, other = session(clock), session(clock)
    names = [sessions.begin(one), "x", sessions.begin(other)]
    assert one.page != other.page
    assert len(one.page) >= 22
    assert sessions.find(names, other.page) is other
    assert sessions.find(names, one.page) is one
    assert sessions.find(names) is one
    assert not one.is_shown_by("")
    assert not one.is_shown_by(other.page)


def test_a_session_ends_with_its_time_and_without_use() -> None:
    clock = Clock()
    ended: list[Session] = []
    sessions = Sessions(clock, ended.append)
    first, second = session(clock, 60), session(clock, 9 * IDLE)
    short, long = sessions.begin(first), sessions.begin(second)
    clock.now += 60
    assert find(sessions, short) is None
    assert ended == [first], "the store must hear of it"
    clock.now += IDLE - 61
    assert find(sessions, long) is second
    sessions.touch(second)
    clock.now += IDLE - 1
    assert len(sessions) == 1
    clock.now += 2
    assert len(sessions) == 0
    assert ended == [first, second]


def test_an_end_is_told_once() -> None:
    clock = Clock()
    ended: list[Session] = []
    sessions = Sessions(clock, ended.append)
    one = session(clock)
    name = sessions.begin(one)
    sessions.end(one.used_from("10.0.0.1"))
    sessions.end(one)
    assert find(sessions, name) is None
    assert sessions.kept(one) is None
    assert ended == [], "whoever ends a session tells the store"


def test_one_user_crowds_out_nobody_but_themselves() -> None:
    clock = Clock()
    ended: list[Session] = []
    sessions = Sessions(clock, ended.append)
    others = [sessions.begin(session(clock, owner=f"user {n}")) for n in range(100)]
    first = sessions.begin(kept := session(clock))
    second = sessions.begin(lost := session(clock))
    sessions.touch(kept)
    for _ in range(SESSIONS_OF_USER_MAX - 1):
        sessions.begin(session(clock))
    assert ended == [lost], "what was unused for longest, and the store hears of it"
    assert find(sessions, second) is None
    assert find(sessions, first) is kept
    for _ in range(2 * SESSIONS_MAX):
        sessions.begin(session(clock))
    assert all(find(sessions, name) for name in others)
    assert len(sessions) == 100 + SESSIONS_OF_USER_MAX


def test_when_all_is_full_whoever_has_most_makes_room() -> None:
    clock = Clock()
    ended: list[Session] = []
    sessions = Sessions(clock, ended.append)
    single = sessions.begin(session(clock, owner="single"))
    for number in range(SESSIONS_MAX - 1):
        sessions.begin(session(clock, owner=f"user {number // SESSIONS_OF_USER_MAX}"))
    sessions.begin(session(clock, owner="one more"))
    assert len(sessions) == SESSIONS_MAX
    assert [each.owner for each in ended] == ["user 0"]
    assert find(sessions, single) is not None


def test_memory_of_users_goes_with_their_sessions() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    for number in range(100):
        sessions.end(sessions._sessions[sessions.begin(session(clock, owner=str(number)))])
    assert not sessions._users


def test_all_requests_of_a_user_share_their_room() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    one, two, other = session(clock), session(clock), session(clock, owner="b")
    for each in (one, two, other):
        sessions.begin(each)
    assert one.room is two.room is one.used_from("10.0.0.1").room
    assert other.room is not one.room


def test_no_representation_shows_a_secret() -> None:
    one = session(Clock())
    Sessions().begin(one)
    for secret in ("s" * 40, one.page, one.name):
        assert secret not in repr(one)
