"""Objects with any name, through every action; what a page says of one; links, and the keyboard."""

from __future__ import annotations

import io
import uuid
import zipfile
from typing import Any
from urllib.parse import unquote

import pytest

from tests.console.conftest import Open, sign_in, until, until_said, visit
from tests.console.scene import HOSTILE
from tests.serving import SECRET_KEY

zxingcpp = pytest.importorskip("zxingcpp")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
image = pytest.importorskip("PIL.Image")

#: Names of all kinds below one folder; the last one has as many bytes as S3 allows.
NAMES = (
    *HOSTILE,
    "hostile/\u200f\u2067rtl\u2069.csv",
    "hostile/#?&=%2F+.json",
    "hostile/control\x01.txt",
    "hostile/" + "x" * (1024 - len("hostile/.txt")) + ".txt",
)
TIDIED_UP = [name for name in NAMES if ".." in name.split("/")]


@pytest.fixture
def bucket(s3: Any) -> str:
    """An empty bucket."""
    name = f"objects-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def hostile(page: Any, s3: Any, bucket: str) -> str:
    """A bucket of hostile names, each object with its own name as content."""
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    for name in NAMES:
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode(), ContentType="text/html")
    return bucket


def stored(s3: Any, bucket: str) -> set[str]:
    listed = s3.list_objects_v2(Bucket=bucket, EncodingType="url").get("Contents", ())
    return {unquote(each["Key"]) for each in listed}


def choose_all(page: Any, bucket: str, prefix: str = "") -> None:
    visit(page, "browse", bucket, prefix)
    page.check("input[aria-label='Choose all on this page']")


# -- hostile names --------------------------------------------------------------------------------


def test_hostile_names_are_copied_moved_and_deleted(page: Any, s3: Any, hostile: str) -> None:
    target = f"{hostile}-to"
    s3.create_bucket(Bucket=target)
    choose_all(page, hostile, "hostile/")
    page.click(".bar button:has-text('Copy to')")
    page.select_option("dialog select", target)
    page.click("dialog button[type=submit]")
    page.wait_for_selector(f".works li[data-state=done]:has-text('{len(NAMES)} copied')")
    assert stored(s3, target) == set(NAMES)
    for name in NAMES:
        assert s3.get_object(Bucket=target, Key=name)["Body"].read() == name.encode()

    choose_all(page, target, "hostile/")
    page.click(".bar button:has-text('Move to')")
    page.fill("dialog input", "moved-/")  # as long as the folder: 1,024 bytes stay 1,024
    page.click("dialog button[type=submit]")
    page.wait_for_selector(f".works li[data-state=done]:has-text('{len(NAMES)} moved')")
    assert stored(s3, target) == {name.replace("hostile/", "moved-/", 1) for name in NAMES}

    choose_all(page, target)
    page.click(".bar button:has-text('Delete')")
    page.click("dialog button[type=submit]")
    page.wait_for_selector(f".works li[data-state=done]:has-text('{len(NAMES)} deleted')")
    assert stored(s3, target) == set()
    assert stored(s3, hostile) == set(NAMES)


def test_a_name_that_becomes_too_long_is_said(page: Any, s3: Any, hostile: str) -> None:
    choose_all(page, hostile)
    page.click(".bar button:has-text('Copy to')")
    page.fill("dialog input", "further/down/")
    page.click("dialog button[type=submit]")
    page.wait_for_selector(".works li[data-state=failed]")
    long = [name for name in NAMES if len(f"further/down/{name}".encode()) > 1024]
    assert f"{len(long)} failed" in page.inner_text(".works li")
    assert "too long" in page.inner_text(".works li")
    copied = {name for name in stored(s3, hostile) if name.startswith("further/")}
    assert len(copied) == len(NAMES) - len(long)


def test_hostile_names_are_zipped_to_tame_ones(page: Any, s3: Any, bucket: str) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    clashing = ("a", "a/b", "A", "x:1", "x?1", "/abs", "../up", "C:\\x", "nul")
    for name in (*NAMES, *clashing):
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    visit(page, "browse", bucket)
    page.wait_for_selector("tbody tr")
    with page.expect_download() as waiting:
        page.click("a:has-text('Download as zip')")
    archive = zipfile.ZipFile(io.BytesIO(waiting.value.path().read_bytes()))
    names = archive.namelist()
    assert {archive.read(name).decode() for name in names} == {*NAMES, *clashing}
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        parts = name.split("/")
        assert not {"", ".", ".."}.intersection(parts)
        assert max(len(part.encode()) for part in parts) <= 255
        assert not set(name) & set('\\:*?"<>|\n\u202e\u200f')


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_every_name_is_previewed_and_shared(page: Any, s3: Any, hostile: str, name: str) -> None:
    visit(page, "object", hostile, name)
    page.wait_for_selector(".preview :is(pre, .sheet, .empty, .tree)")
    assert page.locator(".preview :is(img, script)").count() == 0
    page.click("button:has-text('Share')")
    if name in TIDIED_UP:
        until_said(page, "no link leads to the object")
        return
    url = page.inner_text("dialog pre")
    answer = page.context.request.fetch(url, headers={"cookie": ""})
    assert answer.body() == name.encode()


def test_a_hostile_name_is_renamed(page: Any, s3: Any, hostile: str) -> None:
    visit(page, "browse", hostile, "hostile/")
    page.click("tr:has(bdi:text-is('line⏎break.txt')) button[aria-haspopup=menu]")
    page.click("[role=menuitem]:has-text('Rename')")
    page.fill("dialog input", '"><b>tame')
    page.click("dialog button[type=submit]")
    page.wait_for_selector(".works li[data-state=done]")
    assert 'hostile/"><b>tame' in stored(s3, hostile)
    assert "hostile/line\nbreak.txt" not in stored(s3, hostile)


# -- large documents ------------------------------------------------------------------------------


def test_a_json_of_a_hundred_megabytes_is_shown_in_part(page: Any, s3: Any, bucket: str) -> None:
    body = b"[" + b",".join([b'{"number": 1234567, "text": "some text or other"}'] * 2_100_000)
    assert len(body) > 100_000_000
    s3.put_object(Bucket=bucket, Key="huge.json", Body=body, ContentType="application/json")
    lengths: list[int] = []

    def count(got: Any) -> None:
        if got.request.method != "HEAD":
            lengths.append(int(got.headers.get("content-length", 0)))

    page.on("response", count)
    visit(page, "object", bucket, "huge.json")
    page.wait_for_selector(".preview .note:has-text('The first 1.00 MiB of')")
    length = page.evaluate("() => document.querySelector('.preview pre').textContent.length")
    assert length == 1024 * 1024
    assert max(lengths) == 1024 * 1024


# -- versions and tags ----------------------------------------------------------------------------


def test_versions_are_opened_and_deleted(page: Any, s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for text in (b"first", b"second", b"third"):
        s3.put_object(Bucket=bucket, Key="v.txt", Body=text)
    visit(page, "object", bucket, "v.txt")
    card = page.locator("section.card", has=page.locator("h2:text-is('Versions')"))
    card.locator("tbody tr").nth(2).locator("a").click()
    page.wait_for_selector(".preview pre:text-is('first')")
    page.wait_for_selector("header .badge:text-is('Version')")
    visit(page, "object", bucket, "v.txt")
    page.wait_for_selector(".preview pre:text-is('third')")
    card.locator("tbody tr").nth(1).locator(
        "button[aria-label='Delete this version for good']"
    ).click()
    page.click("dialog button[type=submit]")
    page.wait_for_function(
        "() => document.querySelectorAll(\"button[aria-label='Delete this version for good']\")"
        ".length === 2"
    )
    left = s3.list_object_versions(Bucket=bucket)["Versions"]
    bodies = [
        s3.get_object(Bucket=bucket, Key="v.txt", VersionId=each["VersionId"])["Body"].read()
        for each in left
    ]
    assert bodies == [b"third", b"first"]


def test_tags_are_kept_as_they_are_written(page: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="t.txt", Body=b"1", Tagging="old=1", ChecksumAlgorithm="SHA1")
    visit(page, "object", bucket, "t.txt")
    page.wait_for_selector("dt:has-text('Checksum SHA1')")
    card = page.locator("section.card", has=page.locator("h2:text-is('Tags')"))
    card.locator("input").nth(1).fill("<two> & more é"[:12])
    card.locator("button:has-text('Add a tag')").click()
    card.locator("input").nth(2).fill("team")
    card.locator("input").nth(3).fill("a b")
    card.locator("button:text-is('Save')").click()
    page.wait_for_function("() => toasts.length === 1")
    assert "Tags saved" not in page.evaluate("toasts[0]")  # S3 allows no < in tags: it says so
    card.locator("input").nth(1).fill("two é")
    card.locator("button:text-is('Save')").click()
    until_said(page, "Tags saved")
    tags = s3.get_object_tagging(Bucket=bucket, Key="t.txt")["TagSet"]
    assert tags == [{"Key": "old", "Value": "two é"}, {"Key": "team", "Value": "a b"}]


# -- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_reads_the_code_of_a_link(open_page: Open, scheme: str) -> None:
    page = sign_in(open_page(color_scheme=scheme, device_scale_factor=2))
    visit(page, "object", "datahub", "documents/handbook.md")
    page.click("button:has-text('Share')")
    url = page.inner_text("dialog pre")
    picture = image.open(io.BytesIO(page.locator("dialog svg.qr").screenshot()))
    (found,) = zxingcpp.read_barcodes(picture.convert("L"))
    assert found.text == url


def test_a_link_that_ends_with_the_session_says_so(page: Any) -> None:
    visit(page, "object", "datahub", "documents/handbook.md")
    page.click("button:has-text('Share')")
    page.select_option("dialog select", "15")
    page.wait_for_function(
        "() => document.querySelector('dialog pre').innerText.includes('Expires=900')"
    )
    assert page.locator("dialog .note.warn").count() == 0
    page.select_option("dialog select", "720")
    page.wait_for_selector("dialog .note.warn:has-text('Your session ends before')")
    seconds = int(page.inner_text("dialog pre").partition("X-Amz-Expires=")[2].partition("&")[0])
    assert 3000 < seconds <= 3600


def test_of_two_times_the_one_that_was_chosen_last_counts(page: Any) -> None:
    """Also where its link comes first."""
    visit(page, "object", "datahub", "documents/handbook.md")
    page.click("button:has-text('Share')")
    page.wait_for_selector("dialog pre")
    held: list[Any] = []
    page.route("**/console/sign", lambda route: held.append(route))
    for minutes in ("60", "15"):
        page.select_option("dialog select", minutes)
    until(page, lambda: len(held) == 2)
    # The first may be asked for after the second: for an hour the session is renewed before.
    for route in sorted(held, key=lambda route: route.request.post_data_json[0]["seconds"]):
        with page.expect_response("**/console/sign"):
            route.continue_()
        page.wait_for_selector("dialog pre:has-text('Expires=900')")


# -- by keyboard alone ----------------------------------------------------------------------------


def tab_to(page: Any, what: str) -> None:
    """Press Tab until the element that matches has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("what => document.activeElement.matches(what)", what):
            return
    raise AssertionError(f"{what} is not reached by Tab")


def test_an_object_is_opened_shared_and_deleted_by_keyboard(open_page: Open, s3: Any) -> None:
    bucket = f"00-{uuid.uuid4().hex[:12]}"  # on the first page of the list, however many there are
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="folder/note.txt", Body=b"by keyboard")
    page = open_page()
    page.wait_for_selector("input[name=username]:focus")
    page.keyboard.type("minio")
    page.keyboard.press("Tab")
    page.keyboard.type(SECRET_KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector(f".bucket[href*='{bucket}']")
    tab_to(page, f".bucket[href*='{bucket}']")
    page.keyboard.press("Enter")
    page.wait_for_selector("a[href$='folder%2F']")
    tab_to(page, "a[href$='folder%2F']")
    page.keyboard.press("Enter")
    page.wait_for_selector("a[href$='note.txt']")
    tab_to(page, "a[href$='note.txt']")
    page.keyboard.press("Enter")
    page.wait_for_selector(".preview pre:text-is('by keyboard')")

    tab_to(page, "main button:not(.danger)")  # Share
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog select:focus")
    page.keyboard.press("ArrowUp")
    page.wait_for_function(
        "() => document.querySelector('dialog pre').innerText.includes('Expires=900')"
    )
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert "Share" in page.evaluate("() => document.activeElement.innerText")

    tab_to(page, "main button.danger")
    page.keyboard.press("Enter")
    # A second Enter destroys nothing.
    page.wait_for_selector("dialog button:focus:has-text('Cancel')")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_selector(".works li[data-state=done]:has-text('1 deleted')")
    assert stored(s3, bucket) == set()


def test_a_menu_is_used_by_keyboard(page: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a.txt", Body=b"a")
    visit(page, "browse", bucket)
    page.focus("tbody button[aria-haspopup=menu]")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=menuitem]:focus:has-text('Download')")
    page.keyboard.press("ArrowUp")
    page.wait_for_selector("[role=menuitem]:focus:has-text('Delete')")
    page.keyboard.press("Escape")
    page.wait_for_selector("[role=menu]", state="detached")
    assert page.evaluate("() => document.activeElement.getAttribute('aria-haspopup')") == "menu"


# -- dialogs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_what_opens_over_a_page_is_accessible_and_fits(
    open_page: Open, s3: Any, bucket: str, scheme: str, width: int
) -> None:
    s3.put_object(Bucket=bucket, Key="a.txt", Body=b"a")
    page = sign_in(open_page(color_scheme=scheme, viewport={"width": width, "height": 760}))
    found: dict[str, Any] = {}

    def look(name: str) -> None:
        options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
        wrong = axe.Axe().run(page, options=options).response["violations"]
        found[name] = [f"{each['id']}: {each['nodes'][0]['html'][:150]}" for each in wrong]
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= width, name

    visit(page, "object", bucket, "a.txt")
    page.click("button:has-text('Share')")
    page.select_option("dialog select", "720")
    page.wait_for_selector("dialog .note.warn")
    look("share")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.click("main button.danger")
    page.wait_for_selector("dialog")
    look("delete")
    page.keyboard.press("Escape")
    visit(page, "browse", bucket)
    page.click("tbody button[aria-haspopup=menu]")
    page.wait_for_selector("[role=menu]")
    look("menu")
    page.keyboard.press("Escape")
    page.set_input_files(
        "input[data-upload=files]", {"name": "up.txt", "mimeType": "", "buffer": b"x"}
    )
    page.wait_for_selector(".works li[data-state=done]")
    page.wait_for_selector("a:has-text('up.txt')")  # the list is drawn anew before one chooses
    look("transfers")
    page.check("input[aria-label='Choose all on this page']")
    page.click(".bar button:has-text('Copy to')")
    page.wait_for_selector("dialog")
    look("copy")
    assert {name: why for name, why in found.items() if why} == {}


def test_every_english_text_stands_in_one_file() -> None:
    """Sentences outside texts.js: none in the pages' scripts."""
    import re
    from importlib import resources

    folder = resources.files("storage.console").joinpath("pages")
    sentence = re.compile(r"""(["'`])([A-Z][a-z]+(?: [a-z]+){2,}[^"'`]*)\1""")
    found = {
        f"{each.name}: {match[2]}"
        for each in folder.iterdir()
        if each.name.endswith(".js") and each.name != "texts.js"
        for line in each.read_text().splitlines()
        if not line.lstrip().startswith(("//", "*", "/*"))
        for match in sentence.finditer(line)
    }
    assert found == set()
