"""A busy operator: much at once, much of it goes wrong; each case says what happened."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.console.conftest import Open, leave_for, sign_in, until, until_said, visit
from tests.console.surroundings import add_user
from tests.console.test_uploads import drag
from tests.serving import SECRET_KEY, ServedStore


@pytest.fixture
def bucket(s3: Any) -> str:
    """An empty bucket."""
    name = f"operator-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def versioned(s3: Any, bucket: str) -> str:
    """An empty bucket that keeps versions."""
    enabled = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    return bucket


def keys(s3: Any, bucket: str) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]


def press(page: Any, selector: str) -> None:
    """Press a button by keyboard."""
    page.focus(selector)
    page.keyboard.press("Enter")


def choose(page: Any, *files: tuple[str, bytes]) -> None:
    page.wait_for_selector("input[data-upload=files]", state="attached")
    page.set_input_files(
        "input[data-upload=files]",
        [{"name": name, "mimeType": "text/plain", "buffer": content} for name, content in files],
    )


# -- the focus ------------------------------------------------------------------------------------


@pytest.mark.parametrize("opener", [".bar button:has-text('Copy to')", ".bar button.danger"])
def test_the_focus_returns_to_what_opened_a_dialog(
    page: Any, s3: Any, bucket: str, opener: str
) -> None:
    s3.put_object(Bucket=bucket, Key="a.txt")
    visit(page, "browse", bucket)
    page.check("input[aria-label='Choose a.txt']")
    press(page, opener)
    page.wait_for_selector("dialog")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_selector(f"{opener}:focus")


def test_turning_pages_keeps_the_focus(page: Any, s3: Any, bucket: str) -> None:
    for number in range(410):
        s3.put_object(Bucket=bucket, Key=f"k{number:03}")
    visit(page, "browse", bucket)
    press(page, "button:text-is('Next')")
    page.wait_for_selector("text=Page 2")
    page.wait_for_selector("button:text-is('Next'):focus")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Page 3")
    page.wait_for_selector(".foot button:focus")


def test_where_the_row_is_gone_its_neighbour_has_the_focus(page: Any, s3: Any, bucket: str) -> None:
    for name in ("one", "two", "three"):
        s3.put_object(Bucket=bucket, Key=name)
    visit(page, "browse", bucket)
    press(page, "tr:has-text('three') button")
    page.wait_for_selector("[role=menuitem]:focus")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog button:focus:has-text('Cancel')")
    press(page, "dialog button.danger")
    page.wait_for_selector("tr:has-text('three')", state="detached")
    page.wait_for_selector("tr:has-text('two') button:focus")


def test_tab_leaves_the_editor_of_policies(page: Any, bucket: str) -> None:
    visit(page, "settings", bucket)
    page.focus("textarea[aria-label='Policy']")
    page.keyboard.press("Tab")
    page.wait_for_selector("summary:focus")
    assert page.input_value("textarea[aria-label='Policy']") == ""


def test_a_secret_that_is_shown_is_not_lost_by_escape(page: Any) -> None:
    visit(page, "people", "keys")
    page.click("button:has-text('New access key')")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog .secret")
    for _ in range(3):
        page.keyboard.press("Escape")
        page.wait_for_timeout(100)
    assert page.locator("dialog .secret").count() == 2
    # What is said while a dialog is open is said in it: all else is behind its backdrop.
    page.click("dialog .secret button >> nth=0")
    page.wait_for_selector("dialog > .toasts", state="attached")
    until_said(page, "Copied.")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_selector("body > .toasts", state="attached")


def test_the_navigation_of_a_phone_takes_the_focus_and_gives_it_back(open_page: Open) -> None:
    page = sign_in(open_page(viewport={"width": 360, "height": 700}))
    press(page, "button[aria-label='Open the menu']")
    page.wait_for_selector(".nav a:focus")
    assert page.get_attribute("button[aria-label='Open the menu']", "aria-expanded") == "true"
    page.keyboard.press("Escape")
    page.wait_for_selector("button[aria-label='Open the menu']:focus")
    page.click("button[aria-label='Open the menu']")
    page.wait_for_selector(".side.open")
    page.mouse.click(350, 400)
    page.wait_for_selector(".side:not(.open)", state="attached")


# -- back, forward, reload ------------------------------------------------------------------------


def test_a_page_of_a_list_is_come_back_to(page: Any, s3: Any, bucket: str) -> None:
    for number in range(230):
        s3.put_object(Bucket=bucket, Key=f"k{number:03}", Body=b"x", ContentType="text/plain")
    visit(page, "browse", bucket)
    page.click("button:text-is('Next')")
    page.click("a:has-text('k229')")
    page.wait_for_selector(".preview pre")
    assert page.title() == "k229 · Buckets · Oversight"
    page.go_back()
    page.wait_for_selector("a:has-text('k229')")
    page.reload()
    page.wait_for_selector("a:has-text('k229')")
    page.fill("input[type=search]", "k01")
    page.wait_for_selector("text=10 entries")
    page.reload()
    page.wait_for_selector("text=10 entries")
    assert page.input_value("input[type=search]") == "k01"


def test_an_address_that_nobody_could_have_made_is_no_page(page: Any) -> None:
    page.evaluate("() => { location.hash = '#/browse/%E0%A4%A' }")
    page.wait_for_selector("text=There is no such page.")
    visit(page, "buckets")
    page.wait_for_selector("h1:text-is('Buckets')")


def test_a_filter_without_a_match_says_so(page: Any, s3: Any) -> None:
    for _ in range(7):
        s3.create_bucket(Bucket=f"filtered-{uuid.uuid4().hex[:12]}")
    page.reload()
    page.fill("input[aria-label='Filter buckets']", "no such bucket")
    page.wait_for_selector("text=No bucket has that in its name")


# -- what is deleted ------------------------------------------------------------------------------


def test_what_was_deleted_is_found_and_brought_back(page: Any, s3: Any, versioned: str) -> None:
    for key in ("kept.txt", "deep/in/gone.txt", "one.txt", "two\n.txt"):
        s3.put_object(Bucket=versioned, Key=key, Body=key.encode(), ContentType="text/plain")
    for key in ("deep/in/gone.txt", "one.txt", "two\n.txt"):
        s3.delete_object(Bucket=versioned, Key=key)
    visit(page, "browse", versioned)
    page.click("a:has-text('Show what is deleted')")
    page.wait_for_selector("a:has-text('one.txt')")
    assert page.locator("a:has-text('kept.txt')").count() == 0

    page.check("input[aria-label='Choose all on this page']")
    page.click(".bar button:has-text('Bring back')")
    page.wait_for_selector(".works li[data-state=done]:has-text('2 brought back')")
    page.wait_for_selector("a:has-text('one.txt')", state="detached")
    assert keys(s3, versioned) == ["kept.txt", "one.txt", "two\n.txt"]

    page.click("a:has-text('deep/')")
    page.click("a:has-text('in/')")
    page.click("a:has-text('gone.txt')")
    page.wait_for_selector(".note:has-text('This object is deleted.')")
    page.click("button[aria-label='Bring back']")
    page.wait_for_selector(".preview pre:text-is('deep/in/gone.txt')")
    assert s3.get_object(Bucket=versioned, Key="deep/in/gone.txt")["ContentLength"] == 16


def test_pages_of_what_is_deleted_are_turned(page: Any, s3: Any, versioned: str) -> None:
    for number in range(250):
        s3.put_object(Bucket=versioned, Key=f"k{number:03}")
        s3.delete_object(Bucket=versioned, Key=f"k{number:03}")
    visit(page, "browse", versioned, "", "deleted")
    found: set[str] = set()
    while True:
        page.wait_for_selector("tbody tr")
        found |= set(page.locator("tbody a").all_inner_texts())
        further = page.locator("button:text-is('Next')")
        if not further.count():
            break
        before = page.inner_text(".foot")
        further.click()
        page.wait_for_function(
            "before => document.querySelector('.foot').innerText !== before", arg=before
        )
    assert found == {f"k{number:03}" for number in range(250)}


def test_a_bucket_without_versions_offers_nothing_deleted(page: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a")
    with page.expect_response(lambda answer: "versioning" in answer.url):
        visit(page, "browse", bucket)
    page.wait_for_selector("tbody tr")
    assert page.locator("text=Show what is deleted").count() == 0


# -- uploads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("replace", [True, False])
def test_before_an_object_is_replaced_it_is_asked(
    page: Any, s3: Any, bucket: str, replace: bool
) -> None:
    for name in ("a.txt", "b.txt"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"before")
    visit(page, "browse", bucket)
    choose(page, ("a.txt", b"after"), ("b.txt", b"after"), ("new.txt", b"after"))
    # Three are looked up at once: the dialog names whichever is known first.
    page.wait_for_selector("dialog:has-text('.txt exists already')")
    page.wait_for_selector("dialog button:focus:has-text('Keep what is there')")
    page.click(f"dialog button:text-is('{'Replace' if replace else 'Keep what is there'}')")
    said = "done, replaced" if replace else "not uploaded: it exists already"
    page.wait_for_selector(f".works li:has-text('b.txt'):has-text('{said}')")
    page.wait_for_selector("a:has-text('new.txt')")
    assert page.locator("dialog").count() == 0  # asked once
    for name in ("a.txt", "b.txt"):
        body = s3.get_object(Bucket=bucket, Key=name)["Body"].read()
        assert body == (b"after" if replace else b"before")


def test_empty_folders_are_told_of(page: Any, s3: Any, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "photos" / "empty").mkdir(parents=True)
    (tmp_path / "photos" / "a.txt").write_text("a")
    visit(page, "browse", bucket)
    page.wait_for_selector("section.drop")
    for kind in ("dragEnter", "dragOver", "drop"):
        drag(page, kind, [tmp_path / "photos"])
    until_said(page, "1 folder is empty and was left out")
    page.wait_for_selector(".works li[data-state=done]")
    assert keys(s3, bucket) == ["photos/a.txt"]


def test_a_file_that_falls_beside_the_list_replaces_no_page(page: Any) -> None:
    left = page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(['x'], 'x.html', {type: 'text/html'}));
            return document.querySelector('.side').dispatchEvent(
                new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer}));
        }"""
    )
    assert left is False  # what the browser would do was prevented


def test_where_something_goes_is_shown_before_it_goes(page: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="in/a.txt", Body=b"a")
    visit(page, "browse", bucket, "in/")
    page.check("input[aria-label='Choose a.txt']")
    page.click(".bar button:has-text('Move to')")
    page.fill("dialog input", "archive")
    page.wait_for_selector("dialog :text('in/a.txt becomes archivea.txt')")
    page.fill("dialog input", "archive/")
    page.click("dialog button:text-is('Move')")
    page.wait_for_selector(".works li[data-state=done]:has-text('1 moved')")
    assert keys(s3, bucket) == ["archive/a.txt"]


# -- previews of what is not what it says ----------------------------------------------------------

_JSON = json.dumps({"some": list(range(50_000))}).encode()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("cut.json", _JSON[:100], "This is not JSON"),
        ("cut.json.gz", gzip.compress(_JSON)[:40_000], "The file is damaged"),
        ("latin.txt", "Käse".encode("latin-1"), "This is not text in UTF-8"),
        ("latin.csv", "a,b\nKäse,1\n".encode("latin-1"), "This is not text in UTF-8"),
    ],
)
def test_a_preview_says_what_is_wrong(
    page: Any, s3: Any, bucket: str, name: str, content: bytes, said: str
) -> None:
    s3.put_object(Bucket=bucket, Key=name, Body=content)
    visit(page, "object", bucket, name)
    page.wait_for_selector(f".preview .note:has-text('{said}')")


def test_a_character_that_the_preview_cuts_is_not_wrong(page: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="long.txt", Body=b"a" + "é".encode() * 700_000)
    visit(page, "object", bucket, "long.txt")
    page.wait_for_selector(".preview .note:has-text('The first 1.00 MiB of')")
    assert page.locator(".preview .note").count() == 1


# -- addresses and documents that are not whole ---------------------------------------------------


@pytest.mark.parametrize("parts", [("browse",), ("settings",), ("object", "datahub", "")])
def test_an_address_that_names_nothing_is_no_page(page: Any, parts: tuple[str, ...]) -> None:
    visit(page, *parts)
    page.wait_for_selector("text=There is no such page.")


def test_a_rule_or_policy_with_nothing_in_it_is_told_what_it_lacks(page: Any, bucket: str) -> None:
    visit(page, "settings", bucket)
    cors = "section.card:has(> header h2:text-is('CORS'))"
    page.click(f"{cors} button:has-text('Add a rule')")
    page.click(f"{cors} > header button:text-is('Save')")
    until_said(page, "needs at least one origin and one method")
    policy = "section.card:has(> header h2:text-is('Policy'))"
    page.click(f"{policy} > header button:text-is('Save')")
    until_said(page, "There is nothing to save.")


# -- narrow screens -------------------------------------------------------------------------------


def test_the_middle_of_a_deep_path_is_in_a_menu(open_page: Open, s3: Any, bucket: str) -> None:
    folder = "".join(f"level-{number}/" for number in range(30))
    s3.put_object(Bucket=bucket, Key=f"{folder}leaf.txt", Body=b"leaf")
    page = sign_in(open_page(viewport={"width": 360, "height": 700}))
    visit(page, "browse", bucket, folder)
    page.wait_for_selector("a:has-text('leaf.txt')")
    assert page.locator("a:has-text('leaf.txt')").bounding_box()["y"] < 600
    page.click("button[aria-label='26 folders in between']")
    page.click("[role=menuitem]:text-is('level-12')")
    page.wait_for_selector(".crumbs [aria-current]:has-text('level-12')")


def test_what_can_be_done_with_a_user_is_within_a_phones_screen(open_page: Open, page: Any) -> None:
    name = f"a-service-with-a-long-name-{uuid.uuid4().hex[:12]}"
    visit(page, "people", "users")
    page.click("button:has-text('Add a user') >> nth=0")
    page.fill("dialog input >> nth=0", name)
    page.click("dialog button[type=submit]")
    page.click("dialog button:has-text('I have kept it')")
    page.wait_for_selector("dialog", state="detached")
    phone = sign_in(open_page(viewport={"width": 360, "height": 700}))
    visit(phone, "people", "users")
    box = phone.locator(f"tr:has-text('{name}') button").bounding_box()
    assert box["x"] + box["width"] <= 350


def test_a_menu_is_as_wide_as_its_longest_entry(page: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a.txt")
    visit(page, "browse", bucket)
    page.click("tbody button[aria-haspopup=menu]")
    assert page.wait_for_selector("[role=menu]").bounding_box()["width"] < 300


def test_a_page_whose_parts_do_not_come_says_so_and_comes_with_the_network(page: Any) -> None:
    page.route("**/*", lambda route: route.abort())
    visit(page, "help")
    page.wait_for_selector("text=The console does not answer.")
    page.unroute("**/*")
    page.click("button:text-is('Try again')")
    page.wait_for_selector("h1:text-is('Help')")


def test_who_sees_no_bucket_is_told_what_to_do(served: ServedStore, open_page: Open) -> None:
    person = add_user(served)
    page = sign_in(open_page(), person.key, person.secret)
    page.wait_for_selector("text=No buckets that you may see")


def test_signing_in_again_asks_for_the_secret(page: Any, bucket: str) -> None:
    page.context.clear_cookies()
    leave_for(page, "browse", bucket)
    page.wait_for_selector("dialog input[name=password]:focus")


def test_a_late_answer_of_a_session_that_is_over_asks_no_second_time(page: Any) -> None:
    """Whoever signed in again meanwhile goes on with the session that they have now."""
    held: list[tuple[Any, Any]] = []

    def hold(route: Any) -> None:
        if held:
            route.fallback()
        else:
            held.append((route, route.fetch()))

    page.route("**/buckets/held", hold)
    page.context.clear_cookies()
    page.evaluate(
        """async () => {
            const { control } = await import(
                document.querySelector('script[type=module]').src.replace('main.js', 'api.js'));
            control('GET', ['buckets', 'held']).catch((error) => (globalThis.late = error.status));
        }"""
    )
    until(page, lambda: held)
    ((route, answer),) = held
    assert answer.status == 401
    leave_for(page, "browse", "datahub")
    page.fill("dialog input[name=password]", SECRET_KEY)
    page.click("dialog button[type=submit]")
    page.wait_for_selector("a:has-text('documents/')")
    route.fulfill(response=answer)
    page.wait_for_function("() => globalThis.late === 404")
    assert page.locator("dialog").count() == 0
