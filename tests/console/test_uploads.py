"""Uploads, and what may happen to them on their way."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stack.client import Control
from tests.console.conftest import PATIENCE, Open, sign_in, until, visit
from tests.console.surroundings import add_user
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore

_PART = 8 * 1024 * 1024
#: Three parts, each with bytes of its own.
LARGE = b"".join(bytes([number]) * _PART for number in (1, 2)) + b"end"


@pytest.fixture
def bucket(s3: Any) -> str:
    """An empty bucket."""
    name = f"uploads-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


def stored(s3: Any, bucket: str) -> list[str]:
    listed = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [each["Key"] for page in listed for each in page.get("Contents", ())]


def choose(page: Any, name: str, content: bytes) -> None:
    page.set_input_files(
        "input[data-upload=files]", {"name": name, "mimeType": "", "buffer": content}
    )


def drag(page: Any, kind: str, paths: list[Path]) -> None:
    """Move files from outside the browser over the list of objects, or let them fall there."""
    box = page.locator("section.drop").bounding_box()
    page.context.new_cdp_session(page).send(
        "Input.dispatchDragEvent",
        {
            "type": kind,
            "x": box["x"] + 60,
            "y": box["y"] + 30,
            "data": {"items": [], "files": list(map(str, paths)), "dragOperationsMask": 1},
        },
    )


class Held:
    """Requests that match are held up on their way to S3, until they are let go."""

    def __init__(self, page: Any, matches: Callable[[Any], bool]) -> None:
        self._page, self._matches = page, matches
        self._routes: list[Any] = []
        self._open = False
        page.route("**/*", self._take)

    def _take(self, route: Any) -> None:
        if not self._open and self._matches(route.request):
            self._routes.append(route)
        else:
            route.fallback()

    def wait(self, count: int = 1) -> None:
        until(self._page, lambda: len(self._routes) >= count)

    def let_go(self) -> None:
        self._open = True
        for route in self._routes:
            route.continue_()


def part(number: int) -> Callable[[Any], bool]:
    return lambda request: request.method == "PUT" and f"partNumber={number}&" in request.url


# -- many files -----------------------------------------------------------------------------------


def test_folders_and_files_are_dropped_together(
    page: Any, s3: Any, bucket: str, tmp_path: Path
) -> None:
    """Real directory entries, more of them than browsers list at once (100)."""
    photos = tmp_path / "photos"
    for number in range(130):
        folder = photos / "2026" / ("even" if number % 2 == 0 else "odd é")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03}.txt").write_text(str(number))
    (photos / "empty folder").mkdir()
    loose = tmp_path / "loose <b>.txt"
    loose.write_text("loose")
    visit(page, "browse", bucket, "in/")
    page.wait_for_selector("section.drop")
    drag(page, "dragEnter", [photos, loose])
    page.wait_for_selector("section.drop.over")
    drag(page, "dragOver", [photos, loose])
    drag(page, "drop", [photos, loose])
    page.wait_for_selector(".works h2:text-is('131 of 131 done')", timeout=3 * PATIENCE)
    page.wait_for_selector("section.drop:not(.over)")
    expected = {
        f"in/photos/2026/{'even' if number % 2 == 0 else 'odd é'}/{number:03}.txt"
        for number in range(130)
    }
    assert set(stored(s3, bucket)) == expected | {"in/loose <b>.txt"}
    body = s3.get_object(Bucket=bucket, Key="in/photos/2026/odd é/007.txt")["Body"]
    assert body.read() == b"7"
    page.wait_for_selector("a:has-text('photos/')")


# -- progress and cancelling ----------------------------------------------------------------------


def test_a_cancelled_upload_leaves_nothing(page: Any, s3: Any, bucket: str) -> None:
    visit(page, "browse", bucket)
    page.wait_for_selector("input[data-upload=files]", state="attached")
    held = Held(page, part(2))
    choose(page, "large.bin", LARGE)
    held.wait()
    page.wait_for_function(
        "() => Number(document.querySelector('.works .meter').ariaValueNow"
        " ?? document.querySelector('.works .meter').getAttribute('aria-valuenow')) >= 40"
    )
    page.click("button[aria-label='Cancel large.bin']")
    page.wait_for_selector(".works li[data-state=cancelled]:has-text('cancelled')")
    assert stored(s3, bucket) == []
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert page.evaluate("() => Object.keys(localStorage).filter(k => k.includes('upload'))") == []


def test_an_upload_that_vanishes_under_way_is_told_and_begins_anew(
    page: Any, s3: Any, bucket: str
) -> None:
    visit(page, "browse", bucket)
    page.wait_for_selector("input[data-upload=files]", state="attached")
    held = Held(page, lambda request: "part-number-marker" in request.url)
    choose(page, "large.bin", LARGE)
    held.wait()  # all parts are there, and are about to be put together
    (upload,) = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    s3.abort_multipart_upload(Bucket=bucket, Key="large.bin", UploadId=upload["UploadId"])
    held.let_go()
    page.wait_for_selector(".works li[data-state=failed]:has-text('were removed meanwhile')")
    page.click("button[aria-label='Try large.bin again']")
    page.wait_for_selector(".works li[data-state=done]")
    assert stored(s3, bucket) == ["large.bin"]


def test_what_waits_is_cancelled_too(page: Any, s3: Any, bucket: str) -> None:
    visit(page, "browse", bucket)
    page.wait_for_selector("input[data-upload=files]", state="attached")
    held = Held(page, lambda request: request.method == "PUT")
    page.set_input_files(
        "input[data-upload=files]",
        [{"name": f"{n}.txt", "mimeType": "", "buffer": b"x"} for n in range(6)],
    )
    held.wait(3)  # so many at once
    page.click("button[aria-label='Cancel 5.txt']")
    held.let_go()
    page.wait_for_selector(".works h2:text-is('5 of 6 done')")
    assert stored(s3, bucket) == [f"{n}.txt" for n in range(5)]


# -- what happens meanwhile -----------------------------------------------------------------------


def test_a_session_that_ends_in_mid_upload_is_begun_again(page: Any, s3: Any, bucket: str) -> None:
    """The links of the parts end with the session; what was sent stays sent."""
    visit(page, "browse", bucket)
    page.wait_for_selector("input[data-upload=files]", state="attached")
    held = Held(page, part(3))
    choose(page, "large.bin", LARGE)
    held.wait()
    _end_session(page)
    held.let_go()
    page.wait_for_selector("dialog :text('Your session is over')")
    page.fill("dialog input[name=password]", SECRET_KEY)
    page.click("dialog button[type=submit]")
    page.wait_for_selector(".works li:is([data-state=done], [data-state=failed])")
    assert page.get_attribute(".works li", "data-state") == "done", page.inner_text(".works")
    assert s3.get_object(Bucket=bucket, Key="large.bin")["Body"].read() == LARGE


def _end_session(page: Any) -> None:
    """End the session as another tab would, and the links with it."""
    status = page.evaluate(
        """async () => {
            const { mark } = await import(
                document.querySelector('script[type=module]').src.replace('main.js', 'api.js'));
            return (await fetch('session', {method: 'DELETE', headers: mark()})).status;
        }"""
    )
    assert status in (200, 204)


def test_signing_out_in_another_tab_asks_before_it_breaks_an_upload_off(
    page: Any, s3: Any, bucket: str
) -> None:
    visit(page, "browse", bucket)
    page.wait_for_selector("input[data-upload=files]", state="attached")
    asked: list[str] = []

    def stay(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.click("input[type=search]")  # browsers ask only people who did something
    held = Held(page, part(2))
    choose(page, "large.bin", LARGE)
    held.wait()
    other = page.context.new_page()
    other.goto(page.url.partition("#")[0])
    other.click("button[aria-label='Sign out']")
    other.wait_for_selector("input[name=username]")
    until(page, lambda: asked)
    held.let_go()
    page.wait_for_selector("dialog :text('Your session is over')")
    assert asked == ["beforeunload"]
    page.fill("dialog input[name=password]", SECRET_KEY)
    page.click("dialog button[type=submit]")
    page.wait_for_selector(".works li[data-state=done]")
    assert s3.get_object(Bucket=bucket, Key="large.bin")["Body"].read() == LARGE


@pytest.mark.parametrize("content", [b"small", LARGE], ids=["one request", "in parts"])
def test_rights_that_are_taken_away_in_mid_upload_end_it(
    served: ServedStore, open_page: Open, s3: Any, bucket: str, content: bytes
) -> None:
    bob = add_user(served, "readwrite")
    control = Control(served.console, ACCESS_KEY, SECRET_KEY)
    page = sign_in(open_page(), bob.key, bob.secret)
    visit(page, "browse", bucket)
    page.wait_for_selector("input[data-upload=files]", state="attached")
    held = Held(page, lambda request: request.method == "PUT" and "session" not in request.url)
    choose(page, "file.bin", content)
    held.wait()
    control.call("PATCH", "users", bob.name, body={"policies": ["readonly"]})
    held.let_go()
    page.wait_for_selector(".works li[data-state=failed]:has-text('Access Denied')")
    assert stored(s3, bucket) == []
    # Given back, the upload is tried again where it was.
    control.call("PATCH", "users", bob.name, body={"policies": ["readwrite"]})
    page.click("button[aria-label='Try file.bin again']")
    page.wait_for_selector(".works li[data-state=done]")
    assert s3.get_object(Bucket=bucket, Key="file.bin")["Body"].read() == content


def test_a_network_that_comes_back_is_waited_for(page: Any, s3: Any, bucket: str) -> None:
    visit(page, "browse", bucket)
    page.wait_for_selector("input[data-upload=files]", state="attached")
    lost: list[str] = []

    def lose(route: Any) -> None:
        if len(lost) < 2 and part(2)(route.request):
            lost.append(route.request.url)
            route.abort("connectionreset")
        else:
            route.fallback()

    page.route("**/*", lose)
    choose(page, "large.bin", LARGE)
    page.wait_for_selector(".works li[data-state=done]")
    assert len(lost) == 2
    assert s3.get_object(Bucket=bucket, Key="large.bin")["Body"].read() == LARGE


def test_a_bucket_that_is_gone_is_said(page: Any, s3: Any, bucket: str) -> None:
    visit(page, "browse", bucket)
    page.wait_for_selector("input[data-upload=files]", state="attached")
    s3.delete_bucket(Bucket=bucket)
    choose(page, "late.txt", b"late")
    page.wait_for_selector(".works li[data-state=failed]:has-text('bucket does not exist')")
