"""Temporary credentials: what a token says, who can make one, and what ends it."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.iam.errors import TokenExpired, TokenInvalid
from storage.iam.sessions import SECONDS, SECONDS_MAX, SECONDS_MIN, Session, Sessions, latest
from storage.iam.users import (
    SESSION_END,
    SESSION_FLOOR,
    AccessKey,
    Identity,
    User,
    encode,
    encode_end,
    encode_floor,
    new_key,
)

STORE_KEY = bytes(range(32))
ALICE = User(name="alice", id="a" * 64, policies=("readwrite",), created=1)
SECRET = "secretsecret"


def key(secret: str = SECRET, policy: str = "", **changes: Any) -> AccessKey:
    made = new_key(STORE_KEY, "AKALICE", secret, ALICE.id, created=1, policy=policy)
    return msgspec.structs.replace(made, **changes)


def identity(*records: User | AccessKey, ended: tuple[str, ...] = ()) -> Identity:
    ends = [(SESSION_END, name, encode_end(1, "")) for name in ended]
    return Identity(
        [*map(encode, records), *ends],
        root_user="minio",
        root_secret="miniosecret",
        store_key=STORE_KEY,
    )


def begun(parent: str = "AKALICE", secret: str = SECRET) -> tuple[Session, str]:
    sessions = Sessions(STORE_KEY)
    session = sessions.begin(parent, secret)
    return session, sessions.token(session)


# -- tokens -------------------------------------------------------------------------------------


def test_a_token_says_what_was_sealed() -> None:
    now = [1000.0]
    sessions = Sessions(STORE_KEY, lambda: now[0])
    session = sessions.begin("AKALICE", SECRET)
    token = sessions.token(session)
    assert sessions.open(token) == session
    assert (session.parent, session.began, session.expires) == ("AKALICE", 1000, 1000 + SECONDS)
    assert sessions.token(session) != token, "each is sealed with a nonce of its own"
    assert sessions.begin("AKALICE", SECRET).access_key != session.access_key
    now[0] = session.expires - 0.1
    assert sessions.open(token) == session
    now[0] = session.expires
    with pytest.raises(TokenExpired):
        sessions.open(token)


def test_a_token_reveals_nothing() -> None:
    session, token = begun()
    opened = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for text in (session.access_key, session.parent, SECRET):
        assert text.encode() not in opened
    assert len(token) < 512


def test_every_altered_character_spoils_a_token() -> None:
    sessions = Sessions(STORE_KEY)
    _, token = begun()
    for place in range(len(token) - 1):  # bits of the last one may be padding
        altered = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(TokenInvalid):
            sessions.open(altered)


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenInvalid):
        Sessions(STORE_KEY).open(text)


def test_tokens_of_another_store_are_refused() -> None:
    _, token = begun()
    with pytest.raises(TokenInvalid):
        Sessions(bytes(32)).open(token)
    with pytest.raises(TokenInvalid):
        Sessions(STORE_KEY).open("A" * 100_000)


def test_secrets_differ_by_session_and_store() -> None:
    sessions = Sessions(STORE_KEY)
    assert sessions.secret("ASIA1") == sessions.secret("ASIA1")
    other = Sessions(bytes(32)).secret("ASIA1")
    assert len({sessions.secret("ASIA1"), sessions.secret("ASIA2"), other}) == 3
    assert len(sessions.secret("ASIA1")) == 40


def test_renewing_ends_at_the_bound() -> None:
    now = [1000.0]
    sessions = Sessions(STORE_KEY, lambda: now[0])
    first = sessions.begin("AKALICE", SECRET)
    now[0] += 1800
    renewed = sessions.renew(first)
    assert renewed == msgspec.structs.replace(first, expires=1000 + 1800 + SECONDS)
    assert sessions.renew(renewed, SECONDS_MIN) == renewed, "never shorter than it was"
    now[0] = latest(first.began) - 10
    assert sessions.renew(first).expires == latest(first.began)
    assert sessions.begin("k", "s", 10**9).expires == int(now[0]) + SECONDS_MAX
    assert sessions.begin("k", "s", 0).expires == int(now[0]) + SECONDS_MIN


# -- what they stand for ------------------------------------------------------------------------


def test_a_session_may_what_its_key_may() -> None:
    session, token = begun()
    who = identity(ALICE, key())
    found = who.keyring(session.access_key, token)
    assert found is not None
    parent = who.keyring("AKALICE")
    assert parent is not None
    assert found.principal is parent.principal
    assert (found.access_key, found.enabled) == (session.access_key, True)
    assert found.secret == Sessions(STORE_KEY).secret(session.access_key)
    assert who.keyring(session.access_key, token) is found
    assert who.keyring(session.access_key) is None, "without its token there is no such key"
    policy = '{"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}'
    narrowed = identity(ALICE, key(policy=policy)).keyring(session.access_key, token)
    assert narrowed is not None
    assert narrowed.principal.boundary is not None


def test_root_may_have_sessions() -> None:
    session, token = begun("minio", "miniosecret")
    found = identity().keyring(session.access_key, token)
    assert found is not None
    assert found.principal.root


def test_a_token_belongs_to_its_access_key() -> None:
    session, token = begun()
    who = identity(ALICE, key())
    for name in ("AKALICE", "minio", begun()[0].access_key, ""):
        with pytest.raises(TokenInvalid):
            who.keyring(name, token)
    assert who.keyring(session.access_key, token) is not None


def test_what_ends_a_session() -> None:
    session, token = begun()
    for who in (
        identity(ALICE),
        identity(key()),
        identity(ALICE, key(secret="anothersecret")),
        identity(ALICE, key(), ended=(session.access_key,)),
    ):
        with pytest.raises(TokenInvalid):
            who.keyring(session.access_key, token)
    disabled = msgspec.structs.replace(ALICE, status="disabled")
    for who in (identity(disabled, key()), identity(ALICE, key(status="disabled"))):
        found = who.keyring(session.access_key, token)
        assert found is not None
        assert not found.enabled


def test_a_remembered_session_ends_with_its_time() -> None:
    session, token = begun()
    who = identity(ALICE, key())
    who._sessions._clock = lambda: float(session.expires - 1)
    assert who.keyring(session.access_key, token) is not None
    who._sessions._clock = lambda: float(session.expires)
    with pytest.raises(TokenExpired):
        who.keyring(session.access_key, token)


def test_what_is_remembered_is_bounded() -> None:
    sessions, who = Sessions(STORE_KEY), identity(ALICE, key())
    for _ in range(1100):
        session = sessions.begin("AKALICE", SECRET)
        assert who.keyring(session.access_key, sessions.token(session)) is not None
        assert len(who._opened) <= 1024


def test_a_damaged_end_still_ends() -> None:
    session, token = begun()
    records = [encode(ALICE), encode(key()), (SESSION_END, session.access_key, b"\xc1")]
    who = Identity(records, root_user="minio", root_secret="miniosecret", store_key=STORE_KEY)
    with pytest.raises(TokenInvalid):
        who.keyring(session.access_key, token)


def test_a_floor_ends_all_that_began_up_to_it() -> None:
    now = [1000.0]
    sessions = Sessions(STORE_KEY, lambda: now[0])

    def who(value: bytes, name: str = "AKALICE") -> Identity:
        records = [encode(ALICE), encode(key()), (SESSION_FLOOR, name, value)]
        found = Identity(records, root_user="minio", root_secret="x" * 8, store_key=STORE_KEY)
        found._sessions._clock = lambda: now[0]
        return found

    older = sessions.begin("AKALICE", SECRET)
    now[0] += 1
    younger = sessions.begin("AKALICE", SECRET)
    found = who(encode_floor(1000))
    with pytest.raises(TokenInvalid):
        found.keyring(older.access_key, sessions.token(older))
    assert found.keyring(younger.access_key, sessions.token(younger)) is not None
    other = who(encode_floor(2000), "AKOTHER")
    assert other.keyring(older.access_key, sessions.token(older)) is not None
    damaged = who(b"\xc1")
    assert damaged.problems
    with pytest.raises(TokenInvalid):
        damaged.keyring(younger.access_key, sessions.token(younger))
