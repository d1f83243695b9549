"""Tokens: who gets one, how long it is good, and what ends it early."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from storage.control import endings
from storage.control.sessions import Brake, Tokens
from storage.engine.interface import PutSystem
from storage.engine.memory import MemoryEngine
from storage.iam.canned import scoped_policy
from storage.iam.principal import Credential, Principal
from storage.iam.sessions import SECONDS, SECONDS_MAX, Sessions
from storage.iam.users import SESSION_END, SESSION_FLOOR, encode_end, encode_floor

from .conftest import ROOT, ROOT_SECRET, STORE_KEY, SignIn, problem


def login(client: TestClient, access_key: str, secret_key: str) -> Any:
    return client.post("/api/v1/login", json={"access_key": access_key, "secret_key": secret_key})


def test_root_signs_in(root: TestClient) -> None:
    me = root.get("/api/v1/me").json()
    assert (me["user"], me["root"], me["narrowed"]) == (ROOT, True, False)


@pytest.mark.parametrize(
    ("access_key", "secret"), [(ROOT, "wrong-secret"), ("nobody", ROOT_SECRET), ("nobody", "")]
)
def test_wrong_credentials_are_told_apart_by_nobody(
    anyone: TestClient, access_key: str, secret: str
) -> None:
    sentence = problem(login(anyone, access_key, secret), 401, "InvalidCredentials")
    assert sentence == "The access key or its secret is wrong."


@pytest.mark.parametrize("header", [{}, {"authorization": "Basic abc"}])
def test_without_token_nothing_is_shown(anyone: TestClient, header: dict[str, str]) -> None:
    answer = anyone.get("/api/v1/buckets", headers=header)
    problem(answer, 401, "Unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("token", ["x", "ov1..", "ov1.a.b.c", "ov1.!!!.???", "é" * 40])
def test_what_is_no_token_is_refused(anyone: TestClient, token: str) -> None:
    answer = anyone.get(
        "/api/v1/buckets", headers={"authorization": f"Bearer {token}".encode("latin-1")}
    )
    problem(answer, 401, "TokenInvalid")


def test_every_altered_character_spoils_a_token(anyone: TestClient) -> None:
    token = login(anyone, ROOT, ROOT_SECRET).json()["token"]
    for place in range(0, len(token) - 1, 7):
        altered = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        answer = anyone.get("/api/v1/me", headers={"authorization": f"Bearer {altered}"})
        assert answer.status_code == 401, place


def test_a_token_ends() -> None:
    now = [1000.0]
    tokens = Tokens(STORE_KEY, clock=lambda: now[0])
    credential = Credential("key", "secret-1", Principal(name="user", id="1" * 64))
    session = Sessions(STORE_KEY, clock=lambda: now[0]).begin("key", "secret-1")
    token = tokens.issue(session, "secret-1")
    assert session.expires == 1000 + SECONDS
    now[0] = session.expires - 1
    assert tokens.check(token, lambda _: credential) == (session, credential)
    now[0] = session.expires
    assert tokens.check(token, lambda _: credential) is None


def test_a_changed_secret_ends_a_token() -> None:
    tokens = Tokens(STORE_KEY)
    principal = Principal(name="user", id="1" * 64)
    token = tokens.issue(Sessions(STORE_KEY).begin("key", "secret-1"), "secret-1")
    assert tokens.check(token, lambda _: Credential("key", "secret-1", principal))
    assert not tokens.check(token, lambda _: Credential("key", "secret-2", principal))
    assert not tokens.check(token, lambda _: None)
    assert not Tokens(bytes(32)).check(token, lambda _: Credential("key", "secret-1", principal))


def test_signing_in_brings_credentials_and_rights(root: TestClient, anyone: TestClient) -> None:
    made = root.post("/api/v1/users", json={"name": "ada", "policies": ["ownbuckets"]}).json()
    answer = login(anyone, made["access_key"], made["secret_key"]).json()
    s3, me = answer["s3"], answer["me"]
    assert s3["access_key"].startswith("ASIA")
    assert made["access_key"] not in (s3["access_key"], s3["session_token"])
    assert s3["expires"] == answer["expires"]
    assert made["secret_key"] not in str(answer)
    assert me["id"] == root.get("/api/v1/users/ada").json()["id"]
    assert (me["user"], me["access_key"], me["root"]) == ("ada", made["access_key"], False)
    assert me["actions"] == ["s3:CreateBucket", "s3:ListAllMyBuckets"]
    assert "admin:ServerInfo" in root.get("/api/v1/me").json()["actions"]


def test_a_session_token_opens_nothing_here(anyone: TestClient) -> None:
    token = login(anyone, ROOT, ROOT_SECRET).json()["s3"]["session_token"]
    answer = anyone.get("/api/v1/me", headers={"authorization": f"Bearer {token}"})
    problem(answer, 401, "TokenInvalid")


def test_signing_out_ends_the_session_and_no_other(anyone: TestClient, sign_in: SignIn) -> None:
    first, second = sign_in(ROOT, ROOT_SECRET), sign_in(ROOT, ROOT_SECRET)
    renewed = first.post("/api/v1/login/renew", json={}).json()["token"]
    assert first.delete("/api/v1/login").status_code == 204
    problem(first.get("/api/v1/me"), 401, "TokenInvalid")
    problem(first.delete("/api/v1/login"), 401, "TokenInvalid")
    answer = anyone.get("/api/v1/me", headers={"authorization": f"Bearer {renewed}"})
    problem(answer, 401, "TokenInvalid")
    assert second.get("/api/v1/me").status_code == 200


async def _ends(engine: MemoryEngine) -> list[str]:
    return [record.name for record in await engine.system(SESSION_END)]


def test_ends_of_sessions_that_nobody_needs_go_away(
    engine: MemoryEngine, sign_in: SignIn, anyone: TestClient
) -> None:
    portal = anyone.portal
    assert portal is not None
    early = msgspec.msgpack.encode(1)  # as the first releases wrote it
    for name, value in (
        ("ASIAOLD", encode_end(1, ROOT)), ("ASIAEARLY", early), ("ASIADAMAGED", b"\xc1"),
    ):  # fmt: skip
        portal.call(engine.commit, PutSystem(SESSION_END, name, value))
    sign_in(ROOT, ROOT_SECRET).delete("/api/v1/login")
    left = portal.call(_ends, engine)
    assert not {"ASIAOLD", "ASIAEARLY"} & set(left)
    assert "ASIADAMAGED" in left
    assert len(left) == 2


def test_ends_of_one_key_do_not_pile_up(
    engine: MemoryEngine, sign_in: SignIn, anyone: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever signs in and out all day loses, of their own, what is older than that."""
    monkeypatch.setattr(endings, "ENDS_OF_KEY_MAX", 8)
    monkeypatch.setattr(endings, "KEPT", 4)
    root = sign_in(ROOT, ROOT_SECRET)
    made = root.post("/api/v1/users", json={"name": "ada"}).json()
    key, secret = made["access_key"], made["secret_key"]
    plane = anyone.app.state.plane  # type: ignore[attr-defined]
    now = int(time.time()) - 600
    clock = [now]
    plane.sessions._clock = lambda: clock[0]
    old, portal = sign_in(key, secret), anyone.portal
    assert portal is not None
    portal.call(
        engine.commit, PutSystem(SESSION_FLOOR, "gone", encode_floor(now - 2 * SECONDS_MAX))
    )
    clients = []
    for number in range(60):
        clock[0] = now + number + 1
        clients.append(client := sign_in(key, secret))
        assert client.delete("/api/v1/login").status_code == 204
        assert len(portal.call(_ends, engine)) <= 9
    young = sign_in(key, secret)
    floors = portal.call(engine.system, SESSION_FLOOR)
    assert [record.name for record in floors] == [key], "and old floors go"
    for client in clients:
        problem(client.get("/api/v1/me"), 401, "TokenInvalid")
    problem(old.get("/api/v1/me"), 401, "TokenInvalid")
    assert young.get("/api/v1/me").status_code == 200
    assert root.get("/api/v1/me").status_code == 200, "others do not feel it"


def test_renewing_keeps_the_keys_and_ends_at_the_bound(app: Any, anyone: TestClient) -> None:
    first = login(anyone, ROOT, ROOT_SECRET).json()

    def renew(token: str, **body: int) -> Any:
        header = {"authorization": f"Bearer {token}"}
        return anyone.post("/api/v1/login/renew", json=body, headers=header)

    renewed = renew(first["token"], duration=SECONDS_MAX).json()
    for name in ("access_key", "secret_key"):
        assert renewed["s3"][name] == first["s3"][name]
    assert renewed["s3"]["session_token"] != first["s3"]["session_token"]
    assert renewed["renewable_until"] == first["renewable_until"] == renewed["expires"]
    problem(renew(first["token"], duration=SECONDS_MAX + 1), 400, "InvalidArgument")
    problem(renew(first["token"], duration=1), 400, "InvalidArgument")
    app.state.plane.tokens._clock = lambda: time.time() + SECONDS + 1
    problem(renew(first["token"]), 401, "TokenInvalid")


def test_rights_in_a_bucket(
    root: TestClient, bucket: str, make_user: Callable[..., TestClient]
) -> None:
    address = f"/api/v1/buckets/{bucket}/rights"
    assert "s3:PutBucketPolicy" in root.get(address).json()["bucket"]
    document = scoped_policy(bucket, "media/", "readwrite")
    root.put("/api/v1/policies/media", json=json.loads(document))
    ada = make_user("ada", "media")
    problem(ada.get(address), 403, "AccessDenied")
    found = ada.get(address, params={"prefix": "media/"}).json()
    assert "s3:ListBucket" in found["bucket"]
    assert "s3:PutBucketPolicy" not in found["bucket"]
    assert {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"} <= set(found["objects"])
    assert ada.get(address, params={"key": "media/x"}).json()["objects"] == found["objects"]
    problem(ada.get(address, params={"key": "events/x"}), 403, "AccessDenied")
    problem(ada.get("/api/v1/buckets/none/rights"), 403, "AccessDenied")


def test_a_disabled_user_is_out_at_once(
    root: TestClient, anyone: TestClient, sign_in: SignIn
) -> None:
    made = root.post("/api/v1/users", json={"name": "ada"}).json()
    ada = sign_in(made["access_key"], made["secret_key"])
    assert ada.get("/api/v1/me").status_code == 200
    root.patch("/api/v1/users/ada", json={"status": "disabled"})
    problem(ada.get("/api/v1/me"), 401, "TokenInvalid")
    problem(login(anyone, made["access_key"], made["secret_key"]), 403, "KeyDisabled")
    root.patch("/api/v1/users/ada", json={"status": "enabled"})
    assert ada.get("/api/v1/me").status_code == 200


def test_a_disabled_or_removed_key_is_out_at_once(root: TestClient, sign_in: SignIn) -> None:
    made = root.post("/api/v1/users", json={"name": "ada"}).json()
    ada = sign_in(made["access_key"], made["secret_key"])
    key = f"/api/v1/keys/{made['access_key']}"
    root.patch(key, json={"status": "disabled"})
    problem(ada.get("/api/v1/me"), 401, "TokenInvalid")
    root.patch(key, json={"status": "enabled"})
    assert ada.get("/api/v1/me").status_code == 200
    assert root.delete(key).status_code == 204
    problem(ada.get("/api/v1/me"), 401, "TokenInvalid")


def test_guessing_is_braked(anyone: TestClient) -> None:
    for _ in range(5):
        problem(login(anyone, ROOT, "wrong-secret"), 401, "InvalidCredentials")
    answer = login(anyone, ROOT, ROOT_SECRET)
    problem(answer, 429, "TooManyAttempts")
    assert 0 < int(answer.headers["retry-after"]) <= 61


def test_signing_in_takes_the_brake_off(anyone: TestClient) -> None:
    for _ in range(4):
        login(anyone, ROOT, "wrong-secret")
    assert login(anyone, ROOT, ROOT_SECRET).status_code == 200
    login(anyone, ROOT, "wrong-secret")
    assert login(anyone, ROOT, ROOT_SECRET).status_code == 200


def test_the_brake_counts_pairs_addresses_and_keys_and_forgets() -> None:
    now = [0.0]
    brake = Brake(clock=lambda: now[0])
    for _ in range(5):
        brake.failed("10.0.0.1", "root")
    assert brake.wait("10.0.0.1", "root") == 61
    assert brake.wait("10.0.0.2", "root") == 0, "others must not lock the owner out"
    for number in range(15):
        brake.failed("10.0.0.1", f"key{number}")
    assert brake.wait("10.0.0.1", "fresh") > 0
    now[0] = 60.0
    assert brake.wait("10.0.0.1", "root") == 0


def test_guesses_from_many_places_are_braked_but_do_not_lock_the_owner_out() -> None:
    now = [0.0]
    brake = Brake(clock=lambda: now[0])
    brake.succeeded("192.0.2.1", "root")
    for number in range(100):
        brake.failed(f"10.0.{number}.1", "root")
    assert brake.wait("10.0.200.1", "root") > 0
    assert brake.wait("192.0.2.1", "root") == 0, "who proved themselves from there goes on"
    for _ in range(5):
        brake.failed("192.0.2.1", "root")
    assert brake.wait("192.0.2.1", "root") > 0, "at the pair's own pace"
    now[0] = Brake._PROVEN_SECONDS
    for number in range(100):
        brake.failed(f"10.0.{number}.1", "root")
    assert brake.wait("192.0.2.1", "root") > 0


def test_an_ipv6_network_is_one_place() -> None:
    brake = Brake()
    for number in range(5):
        brake.failed(f"2001:db8:1:2::{number:x}", "root")
    assert brake.wait("2001:db8:1:2:ffff:ffff:ffff:ffff", "root") > 0
    assert brake.wait("2001:db8:1:3::", "root") == 0
    for number in range(5):
        brake.failed(f"::ffff:192.0.2.{number}", "root")
    assert brake.wait("192.0.2.9", "root") == 0
    assert brake.wait("::ffff:192.0.2.1", "root") == brake.wait("192.0.2.1", "root") == 0


def test_a_key_begins_so_many_sessions_a_minute() -> None:
    now = [0.0]
    brake = Brake(clock=lambda: now[0])
    for number in range(Brake.BEGUN_MAX):
        assert brake.wait("10.0.0.1", "script") == 0
        brake.succeeded(f"10.0.0.{number % 7}", "script")
    assert brake.wait("10.0.0.1", "script") > 0
    assert brake.wait("10.0.0.1", "another") == 0
    now[0] = 60.0
    assert brake.wait("10.0.0.1", "script") == 0


def test_the_brake_is_bounded() -> None:
    brake = Brake()
    for number in range(10_000):
        brake.failed(f"address {number}", f"key {number}")
        brake.succeeded(f"address {number}", f"key {number}")
    assert len(brake._failures) <= Brake._ENTRIES_MAX
    assert len(brake._begun) == len(brake._proven) == Brake._PROVEN_MAX


def test_no_secret_comes_back_from_bad_input(anyone: TestClient) -> None:
    answer = anyone.post("/api/v1/login", json={"access_key": 1, "secret_key": ["rumpelstilzchen"]})
    problem(answer, 400, "InvalidArgument")
    assert "rumpelstilzchen" not in answer.text
