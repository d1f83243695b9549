"""Tokens: who gets one, how long it is good, and what ends it early."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from storage.control.sessions import TOKEN_SECONDS, Brake, Tokens
from storage.iam.principal import Credential, Principal

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


def test_a_token_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    tokens = Tokens(STORE_KEY, clock=lambda: now[0])
    credential = Credential("key", "secret-1", Principal(name="user", id="1" * 64))
    token, expires = tokens.issue("key", "secret-1")
    assert expires == 1000 + TOKEN_SECONDS
    now[0] = expires - 1
    assert tokens.check(token, lambda _: credential) is not None
    now[0] = expires
    assert tokens.check(token, lambda _: credential) is None


def test_a_changed_secret_ends_a_token() -> None:
    tokens = Tokens(STORE_KEY)
    principal = Principal(name="user", id="1" * 64)
    token, _ = tokens.issue("key", "secret-1")
    assert tokens.check(token, lambda _: Credential("key", "secret-1", principal))
    assert not tokens.check(token, lambda _: Credential("key", "secret-2", principal))
    assert not tokens.check(token, lambda _: None)
    assert not Tokens(bytes(32)).check(token, lambda _: Credential("key", "secret-1", principal))


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


def test_the_brake_is_bounded() -> None:
    brake = Brake()
    for number in range(10_000):
        brake.failed(f"address {number}", f"key {number}")
    assert len(brake._failures) <= Brake._ENTRIES_MAX


def test_no_secret_comes_back_from_bad_input(anyone: TestClient) -> None:
    answer = anyone.post("/api/v1/login", json={"access_key": 1, "secret_key": ["rumpelstilzchen"]})
    problem(answer, 400, "InvalidArgument")
    assert "rumpelstilzchen" not in answer.text
