"""Users, keys and policies: what one may not do is not offered and not done, and rights that are
taken away are gone in a page that is open."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from stack.client import Control
from tests.console.conftest import Open, leave_for, sign_in, until_said, visit
from tests.console.surroundings import Person, add_user
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore


@pytest.fixture
def control(served: ServedStore) -> Control:
    """The control API as root."""
    return Control(served.console, ACCESS_KEY, SECRET_KEY)


def policy(control: Control, *actions: str) -> str:
    """Put a policy that allows certain actions; its name."""
    name = f"only-{uuid.uuid4().hex[:8]}"
    statement = {"Effect": "Allow", "Action": list(actions)}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    control.call("PUT", "policies", name, body=document)
    return name


@pytest.fixture
def allowed(served: ServedStore, control: Control) -> Callable[..., Person]:
    """Add a user who may do certain things: ``allowed("admin:ListUsers", ...)``."""
    return lambda *actions: add_user(served, policy(control, *actions))


def asked(page: Any, method: str, path: str, document: Any = None) -> int:
    """The status that the server answers the page with, whatever it offers."""
    status: int = page.evaluate(
        """([method, path, body]) => fetch(`control/api/v1/${path}`, {method, body, headers: {
            'content-type': 'application/json', 'x-oversight-console':
            localStorage.getItem(`oversight-page:${location.pathname}`)}}).then(r => r.status)""",
        [method, path, None if document is None else json.dumps(document)],
    )
    return status


def menu(page: Any, row: str) -> list[str]:
    """What the menu of a row offers; nothing where there is none."""
    page.wait_for_selector(f"tr:has-text('{row}')")
    opener = page.locator(f"tr:has-text('{row}') button[aria-haspopup=menu]")
    if not opener.count():
        return []
    opener.click()
    found: list[str] = page.locator("[role=menuitem]").all_inner_texts()
    page.keyboard.press("Escape")
    return found


# -- what is offered ------------------------------------------------------------------------------


def test_a_user_without_rights_is_offered_their_own_keys_and_no_more(
    served: ServedStore, open_page: Open
) -> None:
    ann, bob = add_user(served), add_user(served)
    page = sign_in(open_page(), ann.key, ann.secret)
    assert page.locator(".nav a").all_inner_texts() == ["Buckets", "Users and keys", "Help"] or (
        page.locator(".nav a:has-text('Langfuse')").count() == 1
    )
    visit(page, "people")
    page.wait_for_selector(f"tr:has-text('{ann.key}')")
    assert page.locator(".tabs a").all_inner_texts() == ["Access keys"]
    assert page.locator(f"tr:has-text('{bob.key}')").count() == 0
    assert menu(page, ann.key) == ["Rotate …", "Disable", "Remove"]
    for method, path, document in (
        ("GET", "users", None), ("POST", "users", {"name": "eve"}), ("GET", "policies", None),
        ("PATCH", f"users/{ann.name}", {"policies": ["consoleAdmin"]}),
        ("PATCH", f"users/{bob.name}", {"status": "disabled"}), ("GET", f"users/{bob.name}", None),
        ("DELETE", f"users/{bob.name}", None), ("PUT", "policies/mine", {"Statement": []}),
        ("POST", "keys", {"user": bob.name}), ("POST", "keys", {"user": ACCESS_KEY}),
        ("PATCH", f"keys/{bob.key}", {"status": "disabled"}), ("DELETE", f"keys/{bob.key}", None),
        ("GET", f"keys?user={bob.name}", None), ("DELETE", "keys/none", None),
        ("DELETE", "policies/readonly", None),
    ):  # fmt: skip
        assert asked(page, method, path, document) == 403, (method, path)


@pytest.mark.parametrize(
    ("actions", "offered"),
    [
        ((), []),
        (("admin:AttachUserOrGroupPolicy",), ["Attach policies …"]),
        (("admin:DisableUser",), ["Disable"]),
        (("admin:EnableUser",), []),
        (("admin:DeleteUser",), ["Remove"]),
        (("admin:CreateServiceAccount",), ["New access key"]),
    ],
)
def test_of_others_is_offered_what_is_allowed(
    served: ServedStore, open_page: Open, allowed: Callable[..., Person], actions: tuple[str, ...],
    offered: list[str],
) -> None:  # fmt: skip
    bob, ann = add_user(served, "readonly"), allowed("admin:ListUsers", *actions)
    page = sign_in(open_page(), ann.key, ann.secret)
    visit(page, "people", "users")
    assert menu(page, bob.name) == offered
    assert page.locator("button:has-text('Add a user')").count() == 0
    may = {
        "Attach policies …": ("PATCH", {"policies": ["readonly"]}),
        "Disable": ("PATCH", {"status": "disabled"}),
        "Remove": ("DELETE", None),
    }
    for name, (method, document) in may.items():
        expected = ({200, 204} if name in offered else {403})  # fmt: skip
        assert asked(page, method, f"users/{bob.name}", document) in expected, name


def test_who_may_add_users_but_not_give_rights_is_not_asked_for_policies(
    open_page: Open, allowed: Callable[..., Person], control: Control
) -> None:
    ann = allowed("admin:ListUsers", "admin:CreateUser", "admin:ListUserPolicies")
    page = sign_in(open_page(), ann.key, ann.secret)
    visit(page, "people", "users")
    page.click("button:has-text('Add a user')")
    name = f"made-{uuid.uuid4().hex[:8]}"
    page.fill("dialog input >> nth=0", name)
    assert page.locator("dialog fieldset").count() == 0
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog :text('Keep this secret now')")
    assert control.get("users", name)["policies"] == []
    mighty = {"name": f"{name}-2", "policies": ["consoleAdmin"]}
    assert asked(page, "POST", "users", mighty) == 403


def test_attaching_a_policy_loses_none_that_is_not_shown(
    served: ServedStore, open_page: Open, allowed: Callable[..., Person], control: Control
) -> None:
    """Who may not list policies sees those that the user has."""
    other = policy(control, "admin:ServerInfo")
    bob = add_user(served, "readonly", other)
    ann = allowed("admin:ListUsers", "admin:AttachUserOrGroupPolicy")
    page = sign_in(open_page(), ann.key, ann.secret)
    visit(page, "people", "users")
    page.click(f"tr:has-text('{bob.name}') button[aria-haspopup=menu]")
    page.click("[role=menuitem]:has-text('Attach')")
    page.uncheck(f"dialog label:has-text('{other}') input")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog", state="detached")
    assert control.get("users", bob.name)["policies"] == ["readonly"]


def test_a_narrowed_key_makes_no_keys(
    served: ServedStore, open_page: Open, control: Control
) -> None:
    bob = add_user(served, "readwrite")
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::*"}
    narrow = {"Version": "2012-10-17", "Statement": [statement]}
    made = control.call("POST", "keys", body={"user": bob.name, "policy": narrow})
    page = sign_in(open_page(), made["access_key"], made["secret_key"])
    visit(page, "people", "keys")
    assert menu(page, bob.key) == []
    assert page.locator("button:has-text('New access key')").count() == 0
    assert asked(page, "POST", "keys", {}) == 403
    assert asked(page, "DELETE", f"keys/{bob.key}") == 403


def test_what_a_policy_denies_with_ones_own_keys_is_not_offered(
    served: ServedStore, open_page: Open, control: Control
) -> None:
    name = f"deny-{uuid.uuid4().hex[:8]}"
    statement = {"Effect": "Deny", "Action": "admin:CreateServiceAccount"}
    control.call("PUT", "policies", name, body={"Version": "2012-10-17", "Statement": [statement]})
    bob = add_user(served, name)
    page = sign_in(open_page(), bob.key, bob.secret)
    visit(page, "people", "keys")
    assert menu(page, bob.key) == ["Disable", "Remove"]
    assert page.locator("button:has-text('New access key')").count() == 0
    assert asked(page, "POST", "keys", {}) == 403


# -- keys and policies ----------------------------------------------------------------------------


def test_a_key_is_rotated_and_its_secret_shown_once(
    served: ServedStore, open_page: Open, page: Any
) -> None:
    bob = add_user(served, "readonly")
    visit(page, "people", "keys")
    page.click(f"tr:has-text('{bob.key}') button[aria-haspopup=menu]")
    page.click("[role=menuitem]:has-text('Rotate')")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog :text('Keep this secret now')")
    key, secret = page.locator("dialog .secret code").all_inner_texts()
    page.keyboard.press("Escape")
    assert page.locator("dialog .secret").count() == 2, "it is closed on purpose only"
    with page.expect_download() as saved:
        page.click("dialog button:has-text('Download as JSON')")
    document = json.loads(saved.value.path().read_text())
    assert (document["accessKey"], document["secretKey"]) == (key, secret)
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_selector(f"tr:has-text('{key}')")
    assert secret not in page.content()
    page.reload()
    page.wait_for_selector(f"tr:has-text('{key}')")
    assert secret not in page.content()

    # Both work until the old one is disabled; then the new one alone does.
    visit(page, "people", "keys")
    page.click(f"tr:has-text('{bob.key}') button[aria-haspopup=menu]")
    page.click("[role=menuitem]:has-text('Disable')")
    page.wait_for_selector(f"tr:has-text('{bob.key}') .badge:text-is('disabled')")
    old = open_page()
    old.fill("input[name=username]", bob.key)
    old.fill("input[name=password]", bob.secret)
    old.click("button[type=submit]")
    old.wait_for_selector("text=The access key or its user is disabled.")
    sign_in(open_page(), key, secret)


def test_a_policy_is_written_attached_and_counts_at_once(
    served: ServedStore, open_page: Open, page: Any
) -> None:
    name, bob = f"p-{uuid.uuid4().hex[:8]}", add_user(served)
    visit(page, "people", "policies")
    page.click("button:has-text('New policy')")
    page.fill("dialog input", name)
    page.fill("dialog textarea", '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",')
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog .error:has-text('Line 1')")
    document = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:ListAllMyBuckets", "s3:ListBucket"],
         "Resource": ["arn:aws:s3:::*"]}]}  # fmt: skip
    page.fill("dialog textarea", json.dumps(document))
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_selector(f"tr:has-text('{name}')")

    theirs = sign_in(open_page(), bob.key, bob.secret)
    assert theirs.locator("a.bucket").count() == 0
    visit(page, "people", "users")
    page.click(f"tr:has-text('{bob.name}') button[aria-haspopup=menu]")
    page.click("[role=menuitem]:has-text('Attach policies')")
    page.check(f"dialog label:has-text('{name}') input")
    page.click("dialog button[type=submit]")
    page.wait_for_selector(f"tr:has-text('{bob.name}') .badge:text-is('{name}')")
    visit(theirs, "help")
    theirs.wait_for_selector("h1:text-is('Help')")
    visit(theirs, "buckets")
    theirs.wait_for_selector("a:has-text('datahub')")


@pytest.mark.parametrize("part", ["display", "policy"])
def test_names_of_people_and_policies_act_nowhere(page: Any, control: Control, part: str) -> None:
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    hostile = f"<img src=x onerror=alert(1)>{uuid.uuid4().hex[:6]}"
    if part == "policy":
        control.call("PUT", "policies", hostile, body={"Version": "2012-10-17", "Statement": [
            {"Sid": "</textarea><script>alert(1)</script>", "Effect": "Deny", "Action": "s3:*",
             "Resource": "*"}]})  # fmt: skip
        visit(page, "people", "policies")
        page.click(f"tr:has-text('{hostile[-6:]}') button")
        page.wait_for_selector("dialog textarea")
        assert "<script>" in page.input_value("dialog textarea")
    else:
        name = f"user-{uuid.uuid4().hex[:8]}"
        control.call("POST", "users", body={"name": name, "display_name": hostile})
        visit(page, "people", "users")
    page.wait_for_selector(f"td:has-text('{hostile[-6:]}')")
    assert page.locator("main img, main script").count() == 0


# -- rights that are taken away -------------------------------------------------------------------


def test_rights_that_are_taken_away_are_gone_in_an_open_page(
    served: ServedStore, open_page: Open, control: Control
) -> None:
    bob = add_user(served, "readwrite", policy(control, "admin:ServerInfo"))
    page = sign_in(open_page(), bob.key, bob.secret)
    page.wait_for_selector("button:has-text('Create a bucket')")
    assert page.locator(".nav a:has-text('Monitoring')").count() == 1
    control.call("PATCH", "users", bob.name, body={"policies": ["readonly"]})
    page.click("button:has-text('Create a bucket')")
    page.fill("dialog input:not([type=checkbox])", f"never-{uuid.uuid4().hex[:8]}")
    page.click("dialog button[type=submit]")
    until_said(page, "Your rights were changed meanwhile.")
    page.wait_for_selector("button:has-text('Create a bucket')", state="detached")
    page.wait_for_selector("dialog", state="detached")
    assert page.locator(".nav a:has-text('Monitoring')").count() == 0


def test_going_to_another_page_shows_new_rights(
    served: ServedStore, open_page: Open, control: Control
) -> None:
    bob = add_user(served, "readonly")
    page = sign_in(open_page(), bob.key, bob.secret)
    assert page.locator(".nav a:has-text('Monitoring')").count() == 0
    more = ["readonly", policy(control, "admin:ServerInfo")]
    control.call("PATCH", "users", bob.name, body={"policies": more})
    visit(page, "help")
    page.wait_for_selector(".nav a:has-text('Monitoring')")
    until_said(page, "Your rights were changed meanwhile.")


@pytest.mark.parametrize("way", ["user disabled", "key disabled", "key removed", "user removed"])
def test_who_is_shut_out_is_told_why_in_an_open_page(
    served: ServedStore, open_page: Open, control: Control, way: str
) -> None:
    bob = add_user(served, "readwrite")
    page = sign_in(open_page(), bob.key, bob.secret)
    visit(page, "browse", "datahub", "documents/")
    page.wait_for_selector("a:has-text('handbook.md')")
    kind, change = way.split()
    path = ("users", bob.name) if kind == "user" else ("keys", bob.key)
    if change == "disabled":
        control.call("PATCH", *path, body={"status": "disabled"})
    else:
        control.call("DELETE", *path)
    # The listing is S3's to refuse: no call to the API tells the page first.
    page.fill("input[type=search]", "hand")
    page.wait_for_selector("dialog :text('The store has ended your session')")
    assert page.locator("dialog input[name=password]").count() == 1
    if change == "disabled":
        control.call("PATCH", *path, body={"status": "enabled"})
        page.fill("dialog input[name=password]", bob.secret)
        page.click("dialog button[type=submit]")
        page.wait_for_selector("dialog", state="detached")
        page.wait_for_selector("a:has-text('handbook.md')")


# -- two tabs -------------------------------------------------------------------------------------


def test_a_session_that_began_in_another_tab_is_taken_over(
    served: ServedStore, open_page: Open
) -> None:
    bob = add_user(served, "readwrite")
    page = sign_in(open_page(), bob.key, bob.secret)
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(".shell h1")
    # The session ends while both are open; one of them signs in again.
    Control(served.console, ACCESS_KEY, SECRET_KEY).call(
        "PATCH", "users", bob.name, body={"status": "disabled"}
    )
    leave_for(page, "help")
    page.wait_for_selector("dialog input[name=password]")
    Control(served.console, ACCESS_KEY, SECRET_KEY).call(
        "PATCH", "users", bob.name, body={"status": "enabled"}
    )
    page.fill("dialog input[name=password]", bob.secret)
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog", state="detached")
    # The other goes on with that session, since it is the same user's.
    visit(other, "browse", "datahub", "documents/")
    other.wait_for_selector("a:has-text('handbook.md')")
    assert other.locator("dialog").count() == 0


def test_a_table_of_very_many_columns_is_shown_in_part(page: Any, s3: Any) -> None:
    wide = ",".join(f"c{number}" for number in range(60_000)).encode()
    s3.put_object(Bucket="datahub", Key="wide.csv", Body=wide + b"\n" + wide)
    visit(page, "object", "datahub", "wide.csv")
    page.wait_for_selector("text=The first 100 of")
    assert page.locator(".preview th").count() <= 102
