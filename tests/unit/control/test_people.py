"""Users, keys and policies through the control API, and what nobody may do with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from storage.control import people

from .conftest import ROOT, ROOT_SECRET, Rekeyed, SignIn, problem

READ_FIRST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::first/*"}
    ],
}


def test_a_user_from_birth_to_end(root: TestClient, sign_in: SignIn) -> None:
    made = root.post("/api/v1/users", json={"name": "ada", "policies": ["readonly"]})
    assert made.status_code == 201
    assert len(made.json()["secret_key"]) == 40
    shown = root.get("/api/v1/users/ada").json()
    assert (shown["status"], shown["policies"]) == ("enabled", ["readonly"])
    assert shown["keys"] == [made.json()["access_key"]]
    assert root.get("/api/v1/users").json() == [shown]
    changed = root.patch(
        "/api/v1/users/ada", json={"policies": ["readwrite", "readwrite"], "display_name": "Ada"}
    ).json()
    assert (changed["policies"], changed["display_name"]) == (["readwrite"], "Ada")
    assert root.delete("/api/v1/users/ada").status_code == 204
    problem(root.get("/api/v1/users/ada"), 404, "NoSuchUser")
    assert root.get("/api/v1/keys").json() == []


def test_a_user_may_have_an_address(root: TestClient) -> None:
    root.post("/api/v1/users", json={"name": "ada", "email": "ada@example.com"})
    shown = root.get("/api/v1/users/ada").json()
    assert (shown["email"], len(shown["id"])) == ("ada@example.com", 64)
    changed = root.patch("/api/v1/users/ada", json={"email": "lovelace@example.com"}).json()
    assert (changed["email"], changed["id"]) == ("lovelace@example.com", shown["id"])
    for wrong in ("ada", "a@", "@b", "a b@c", "a@b@c", "a@" + "b" * 253):
        problem(
            root.post("/api/v1/users", json={"name": "bob", "email": wrong}),
            400, "InvalidCredentials",
        )  # fmt: skip
        problem(root.patch("/api/v1/users/ada", json={"email": wrong}), 400, "InvalidCredentials")
    assert root.patch("/api/v1/users/ada", json={"email": ""}).json()["email"] == ""


def test_secrets_are_shown_once(root: TestClient) -> None:
    made = root.post("/api/v1/users", json={"name": "ada", "secret_key": "given secret"}).json()
    assert made["secret_key"] == "given secret"
    for path in ("/api/v1/users", "/api/v1/users/ada", "/api/v1/keys", "/api/v1/status"):
        assert "given secret" not in root.get(path).text


def test_names_and_keys_are_taken_once(root: TestClient) -> None:
    root.post("/api/v1/users", json={"name": "ada", "access_key": "adas-key"})
    problem(root.post("/api/v1/users", json={"name": "ada"}), 409, "AlreadyExists")
    problem(root.post("/api/v1/users", json={"name": ROOT}), 409, "AlreadyExists")
    for key in ("adas-key", ROOT):
        answer = root.post("/api/v1/users", json={"name": "bob", "access_key": key})
        problem(answer, 400, "InvalidCredentials")
    problem(root.get("/api/v1/users/bob"), 404, "NoSuchUser")


@pytest.mark.parametrize(
    "new",
    [
        {"name": ""}, {"name": "with space"}, {"name": "x" * 65},
        {"name": "ada", "access_key": "a,b"}, {"name": "ada", "secret_key": "short"},
    ],
)  # fmt: skip
def test_unfit_users_are_refused(root: TestClient, new: dict[str, str]) -> None:
    sentence = problem(root.post("/api/v1/users", json=new), 400, "InvalidCredentials")
    assert "short" not in sentence
    assert root.get("/api/v1/users").json() == []


def test_unknown_policies_are_refused(root: TestClient) -> None:
    new = {"name": "ada", "policies": ["nothing"]}
    problem(root.post("/api/v1/users", json=new), 400, "NoSuchPolicy")
    root.post("/api/v1/users", json={"name": "ada"})
    answer = root.patch("/api/v1/users/ada", json={"policies": ["nothing"]})
    problem(answer, 400, "NoSuchPolicy")


def test_who_owns_a_bucket_is_not_removed(
    root: TestClient, make_user: Callable[..., TestClient]
) -> None:
    ada = make_user("ada", "ownbuckets")
    ada.post("/api/v1/buckets", json={"name": "adas"})
    assert "adas" in problem(root.delete("/api/v1/users/ada"), 409, "UserOwnsBuckets")
    ada.delete("/api/v1/buckets/adas")
    assert root.delete("/api/v1/users/ada").status_code == 204


# -- keys -------------------------------------------------------------------------------------


def test_everyone_looks_after_their_own_keys(
    root: TestClient, make_user: Callable[..., TestClient], sign_in: SignIn
) -> None:
    ada, bob = make_user("ada", "readonly"), make_user("bob")
    made = ada.post("/api/v1/keys", json={}).json()
    assert made["user"] == "ada"
    assert sign_in(made["access_key"], made["secret_key"]).get("/api/v1/me").json()["user"] == "ada"
    assert {key["user"] for key in ada.get("/api/v1/keys").json()} == {"ada"}
    assert len(root.get("/api/v1/keys").json()) == 3
    assert len(root.get("/api/v1/keys", params={"user": "ada"}).json()) == 2
    target = f"/api/v1/keys/{made['access_key']}"
    problem(bob.get("/api/v1/keys", params={"user": "ada"}), 403, "AccessDenied")
    problem(bob.patch(target, json={"status": "disabled"}), 403, "AccessDenied")
    problem(bob.delete(target), 403, "AccessDenied")
    problem(bob.delete("/api/v1/keys/no-such-key"), 403, "AccessDenied")
    problem(bob.post("/api/v1/keys", json={"user": "ada"}), 403, "AccessDenied")
    assert ada.delete(target).status_code == 204
    problem(root.delete(target), 404, "NoSuchKeyId")


def test_a_denial_covers_ones_own_keys(
    root: TestClient, make_user: Callable[..., TestClient]
) -> None:
    actions = ["admin:CreateServiceAccount", "admin:RemoveServiceAccount"]
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Action": actions, "Resource": "*"}],
    }
    assert root.put("/api/v1/policies/keyless", json=document).status_code == 200
    ada, bob = make_user("ada", "keyless", "consoleAdmin"), make_user("bob", "keyless")
    for one in (ada, bob):
        problem(one.post("/api/v1/keys", json={}), 403, "AccessDenied")
        (key,) = {key["access_key"] for key in one.get("/api/v1/keys").json()
                  if key["user"] == one.get("/api/v1/me").json()["user"]}  # fmt: skip
        problem(one.delete(f"/api/v1/keys/{key}"), 403, "AccessDenied")
        assert one.patch(f"/api/v1/keys/{key}", json={"status": "enabled"}).status_code == 200


def test_a_narrowed_key_makes_no_wider_one(root: TestClient, bucket: str, sign_in: SignIn) -> None:
    made = root.post("/api/v1/keys", json={"policy": READ_FIRST}).json()
    narrow = sign_in(made["access_key"], made["secret_key"])
    assert narrow.get("/api/v1/me").json()["narrowed"] is True
    root.put(f"/api/v1/buckets/{bucket}/objects/k", content=b"x")
    assert narrow.get(f"/api/v1/buckets/{bucket}/objects/k").content == b"x"
    problem(narrow.delete(f"/api/v1/buckets/{bucket}/objects/k"), 403, "AccessDenied")
    problem(narrow.post("/api/v1/keys", json={}), 403, "AccessDenied")
    problem(narrow.delete(f"/api/v1/keys/{made['access_key']}"), 403, "AccessDenied")
    problem(narrow.post("/api/v1/users", json={"name": "eve"}), 403, "AccessDenied")
    problem(narrow.post("/api/v1/rekey", json={"secret_key": "new secret"}), 403, "AccessDenied")
    problem(narrow.get("/api/v1/status"), 403, "AccessDenied")


def test_an_administrator_is_not_root(make_user: Callable[..., TestClient]) -> None:
    admin = make_user("admin", "consoleAdmin")
    assert admin.post("/api/v1/users", json={"name": "ada"}).status_code == 201
    problem(admin.post("/api/v1/keys", json={"user": ROOT}), 403, "AccessDenied")
    problem(admin.post("/api/v1/rekey", json={"secret_key": "new secret"}), 403, "AccessDenied")
    assert admin.get("/api/v1/status").status_code == 200


def test_keys_may_hold_slashes(root: TestClient) -> None:
    assert root.post("/api/v1/keys", json={"access_key": "a/b/c"}).status_code == 201
    assert root.delete("/api/v1/keys/a/b/c").status_code == 204


# -- policies ---------------------------------------------------------------------------------


def test_a_policy_from_birth_to_end(root: TestClient) -> None:
    put = root.put("/api/v1/policies/mine", json=READ_FIRST)
    assert put.json() == {"name": "mine", "canned": False, "users": [], "document": READ_FIRST}
    root.post("/api/v1/users", json={"name": "ada", "policies": ["mine"]})
    assert root.get("/api/v1/policies/mine").json()["users"] == ["ada"]
    assert "ada" in problem(root.delete("/api/v1/policies/mine"), 409, "PolicyInUse")
    root.delete("/api/v1/users/ada")
    assert root.delete("/api/v1/policies/mine").status_code == 204
    problem(root.get("/api/v1/policies/mine"), 404, "NoSuchPolicy")
    assert {each["name"] for each in root.get("/api/v1/policies").json()} >= {"readwrite"}


def test_canned_policies_stay(root: TestClient) -> None:
    problem(root.put("/api/v1/policies/readonly", json=READ_FIRST), 409, "PolicyIsCanned")
    problem(root.delete("/api/v1/policies/readonly"), 409, "PolicyIsCanned")


@pytest.mark.parametrize(
    "document", [{}, {"Statement": []}, {"Statement": [{"Effect": "Perhaps"}]}]
)
def test_malformed_policies_are_refused(root: TestClient, document: dict[str, Any]) -> None:
    problem(root.put("/api/v1/policies/mine", json=document), 400, "PolicyError")
    answer = root.post("/api/v1/keys", json={"policy": document})
    problem(answer, 400, "PolicyError")


def test_without_admin_actions_nothing_is_administered(
    make_user: Callable[..., TestClient],
) -> None:
    bob = make_user("bob", "readwrite")
    for method, path, json in [
        ("GET", "/users", None), ("POST", "/users", {"name": "eve"}), ("GET", "/users/ada", None),
        ("PATCH", "/users/bob", {"policies": ["consoleAdmin"]}),
        ("PATCH", "/users/bob", {"status": "enabled"}), ("DELETE", "/users/bob", None),
        ("GET", "/policies", None), ("GET", "/policies/readwrite", None),
        ("PUT", "/policies/mine", READ_FIRST), ("DELETE", "/policies/mine", None),
        ("GET", "/status", None), ("GET", "/drives", None),
        ("POST", "/rekey", {"secret_key": "new secret"}),
    ]:  # fmt: skip
        problem(bob.request(method, f"/api/v1{path}", json=json), 403, "AccessDenied")
    assert bob.get("/api/v1/users/bob").json()["policies"] == ["readwrite"]


# -- operation --------------------------------------------------------------------------------


def test_status_tells_the_store(root: TestClient, bucket: str) -> None:
    root.put(f"/api/v1/buckets/{bucket}/objects/k", content=b"12345")
    status = root.get("/api/v1/status").json()
    assert (status["buckets"], status["objects"], status["bytes"]) == (1, 1, 5)
    assert status["warnings"] == ["The root password is the published default."]
    assert status["drives_online"] == 1
    assert ROOT_SECRET not in root.get("/api/v1/status").text


def test_drives(root: TestClient) -> None:
    assert root.get("/api/v1/drives").json()["drives"] == [{"path": "./data", "online": True}]


def test_rekey_checks_and_hands_on(root: TestClient, rekeyed: Rekeyed) -> None:
    problem(root.post("/api/v1/rekey", json={"secret_key": "short"}), 400, "InvalidCredentials")
    assert rekeyed.secret == ""
    assert root.post("/api/v1/rekey", json={"secret_key": "a new secret"}).status_code == 204
    assert rekeyed.secret == "a new secret"


def test_who_may_add_users_does_not_give_them_rights(
    root: TestClient, make_user: Callable[..., TestClient]
) -> None:
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["admin:CreateUser"]}],
    }
    assert root.put("/api/v1/policies/adder", json=document).status_code == 200
    ada = make_user("ada", "adder")
    mighty = {"name": "bob", "policies": ["consoleAdmin"]}
    problem(ada.post("/api/v1/users", json=mighty), 403, "AccessDenied")
    assert root.get("/api/v1/users/bob").status_code == 404
    assert ada.post("/api/v1/users", json={"name": "bob"}).status_code == 201


def test_a_user_does_not_pile_up_keys(
    root: TestClient, make_user: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "KEYS_OF_USER_MAX", 3)
    ada, bob = make_user("ada"), make_user("bob")
    for _ in range(2):
        assert ada.post("/api/v1/keys", json={}).status_code == 201
    problem(ada.post("/api/v1/keys", json={}), 409, "TooManyKeys")
    assert bob.post("/api/v1/keys", json={}).status_code == 201
    assert root.post("/api/v1/keys", json={"user": "ada"}).status_code == 201
    for key in ada.get("/api/v1/keys").json():
        if key["access_key"] != ada.get("/api/v1/me").json()["access_key"]:
            assert ada.delete(f"/api/v1/keys/{key['access_key']}").status_code == 204
    assert ada.post("/api/v1/keys", json={}).status_code == 201
