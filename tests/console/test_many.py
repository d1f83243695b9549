"""The console in front of a store with a hundred thousand objects."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.console.conftest import PATIENCE, client_of, sign_in, until_there, visit
from tests.console.many import BODY, BUCKET, ELEMENTS, PILE, flat_key, store_of
from tests.console.surroundings import console_of, resident
from tests.serving import ServedStore

FLAT, NESTED = 97_000, 3000
#: Objects that are copied before the work is cancelled.
COPIED = 20
#: Milliseconds that a page may be busy with itself. It takes a twentieth of that; a machine under
#: load is slow, and a page that drew all that there is would be busy for much longer.
FROZEN = 4000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStore]:
    with store_of(tmp_path_factory.mktemp("many"), FLAT, NESTED) as store:
        until_there(f"{store.console}/console/")
        yield store


@pytest.fixture(scope="module")
def s3(served: ServedStore) -> Any:
    return client_of(served)


def pages(s3: Any, bucket: str) -> Iterator[dict[str, Any]]:
    return iter(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket))


@pytest.fixture
def bucket_page(open_page: Any) -> Any:
    page = open_page()
    page.add_init_script(
        """globalThis.longest = 0;
        new PerformanceObserver((list) => {
            for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
        }).observe({ type: 'longtask', buffered: true });"""
    )
    page.reload()
    sign_in(page)
    visit(page, "browse", BUCKET)
    page.wait_for_selector(f"a:has-text('{flat_key(199)}')")
    return page


def test_a_hundred_thousand_are_paged_without_freezing(bucket_page: Any) -> None:
    page = bucket_page
    assert page.locator("tbody tr").count() == 200
    first = page.evaluate(ELEMENTS)
    for number in range(2, 12):
        page.click("button:text-is('Next')")
        page.wait_for_selector(f".foot :text('Page {number}')")
    page.wait_for_selector(f"a:has-text('{flat_key(2199)}')")
    assert page.locator("tbody tr").count() == 200
    assert page.evaluate(ELEMENTS) <= first + 5
    page.click("button:text-is('Previous')")
    page.wait_for_selector(f"a:has-text('{flat_key(1999)}')")
    page.click("button:text-is('First')")
    page.wait_for_selector(f"a:has-text('{flat_key(0)}')")
    assert page.evaluate("() => longest") < FROZEN


def test_one_of_a_hundred_thousand_is_found_by_its_prefix(bucket_page: Any) -> None:
    page = bucket_page
    began = time.monotonic()
    page.fill("input[type=search]", "k0096")
    page.wait_for_selector(f"a:has-text('{flat_key(96_000)}')")
    assert time.monotonic() - began < PATIENCE / 2000
    page.click("button:text-is('Next')")  # pages of what was filtered
    page.wait_for_selector(f"a:has-text('{flat_key(96_399)}')")
    page.fill("input[type=search]", "k0096999")
    page.wait_for_selector("text=1 entry")
    page.fill("input[type=search]", "nothing like it")
    page.wait_for_selector("text=Nothing begins with that")
    assert page.evaluate("() => longest") < FROZEN


def test_thousands_are_one_zip(bucket_page: Any, served: ServedStore) -> None:
    page = bucket_page
    visit(page, "browse", PILE, "nested/")
    page.wait_for_selector("a:has-text('9/')")
    with page.expect_download() as waiting:
        page.click("a:has-text('Download as zip')")
    archive = zipfile.ZipFile(io.BytesIO(waiting.value.path().read_bytes()))
    names = archive.namelist()
    assert len(names) == NESTED
    assert len(set(names)) == NESTED
    assert archive.read("3/000003.json") == BODY
    assert resident(console_of(served)) < 75 * 1024


def test_thousands_are_copied_until_it_is_cancelled(bucket_page: Any, s3: Any) -> None:
    page = bucket_page
    s3.create_bucket(Bucket="copies")
    visit(page, "browse", PILE)
    page.check("input[aria-label='Choose nested/']")
    sent: list[str] = []

    def some(route: Any) -> None:
        """Let so many be copied; the next ones are under way until the work is cancelled."""
        sent.append(route.request.url)
        if len(sent) <= COPIED:
            route.continue_()

    page.route(lambda url: ".bucket=copies&" in url and ".key=nested" in url, some)
    page.click(".bar button:has-text('Copy to')")
    page.select_option("dialog select", "copies")
    page.click("dialog button[type=submit]")
    page.wait_for_selector(f".works li .small:text-is('{COPIED} so far')")
    page.click("button[aria-label='Cancel Copying']")
    page.wait_for_selector(f".works li[data-state=cancelled] :text-is('cancelled after {COPIED}')")
    assert sum(len(each.get("Contents", ())) for each in pages(s3, "copies")) == COPIED
    assert len(sent) <= COPIED + 6  # so many are under way at once


def test_thousands_are_deleted_with_progress(bucket_page: Any, s3: Any) -> None:
    page = bucket_page
    visit(page, "browse", PILE)
    page.check("input[aria-label='Choose nested/']")
    page.click(".bar button:has-text('Delete')")
    page.click("dialog button[type=submit]")
    page.wait_for_selector(f".works li[data-state=done]:has-text('{NESTED:,} deleted')")
    assert s3.list_objects_v2(Bucket=PILE)["KeyCount"] == 0
    page.wait_for_selector("input[aria-label='Choose nested/']", state="detached")
