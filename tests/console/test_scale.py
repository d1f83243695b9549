"""The console in front of a store with a thousand buckets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.console.conftest import sign_in, until, until_there, visit
from tests.console.many import ELEMENTS
from tests.console.many_buckets import asked_of, bucket_name, store_of
from tests.serving import ServedStore

BUCKETS = 1000  # and langfuse, which each new store has
#: Buckets of one page of the list.
PAGE = 48


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStore]:
    with store_of(tmp_path_factory.mktemp("buckets"), BUCKETS) as store:
        until_there(f"{store.console}/console/")
        yield store


@pytest.fixture
def list_page(open_page: Any) -> Any:
    page = sign_in(open_page())
    page.wait_for_selector(".bucket .spark")
    return page


def shown(page: Any) -> list[str]:
    return [each.strip() for each in page.locator(".bucket .top").all_inner_texts()]


def test_a_page_of_them_costs_two_questions(open_page: Any) -> None:
    page = open_page()
    asked = asked_of(page)
    sign_in(page)
    page.wait_for_selector(".bucket .spark")
    assert page.locator(".bucket").count() == PAGE
    assert page.locator(".bucket .spark").count() == PAGE
    assert page.evaluate(ELEMENTS) < 1500
    page.wait_for_selector(".page-head .lead:has-text('1,001 buckets')")
    buckets = [each for each in asked if "/buckets" in each or "/trends" in each]
    assert len(buckets) == 2, buckets
    assert buckets[1].count("bucket=") == PAGE


def test_the_list_does_not_wait_for_its_trends(open_page: Any) -> None:
    page = open_page()
    held: list[Any] = []
    page.route("**/control/api/v1/trends*", lambda route: held.append(route))
    sign_in(page)
    page.wait_for_selector(".bucket")
    assert page.locator(".bucket .spark").count() == 0
    before = page.locator(".bucket").nth(PAGE - 1).bounding_box()
    until(page, lambda: held)
    held[0].continue_()
    page.wait_for_selector(".bucket .spark")
    # Its place was kept: what somebody is about to click stays where it is.
    assert page.locator(".bucket").nth(PAGE - 1).bounding_box() == before


def test_pages_and_a_filter_lead_to_every_bucket(list_page: Any) -> None:
    page = list_page
    page.wait_for_selector("text=Page 1 of 21 · 1,001 buckets")
    page.click("button:text-is('Next')")
    page.click("button:text-is('Next')")
    page.wait_for_selector("text=Page 3 of 21")
    assert shown(page) == [bucket_name(number) for number in range(2 * PAGE, 3 * PAGE)]
    page.click("button:text-is('Previous')")
    page.wait_for_selector("text=Page 2 of 21")
    page.fill("input[type=search]", "-0099")
    page.wait_for_selector(f".bucket:has-text('{bucket_name(999)}') .spark")
    assert shown(page) == [bucket_name(number) for number in range(990, 1000)]
    assert page.locator("button:text-is('Next')").count() == 0


def test_going_back_leads_to_the_same_page_of_the_list(list_page: Any) -> None:
    page = list_page
    page.fill("input[type=search]", "0")
    page.click("button:text-is('Next')")
    page.wait_for_selector("text=Page 2 of")
    there = shown(page)
    page.click(f".bucket:has-text('{there[0]}')")
    page.wait_for_selector("text=Nothing here yet")
    page.go_back()
    page.wait_for_selector("text=Page 2 of")
    assert shown(page) == there
    assert page.input_value("input[type=search]") == "0"
    page.reload()
    page.wait_for_selector("text=Page 2 of")
    assert shown(page) == there


def test_a_trend_is_asked_for_once(list_page: Any) -> None:
    page = list_page
    asked = asked_of(page)
    page.click("button:text-is('Next')")
    page.wait_for_selector(f".bucket:has-text('{bucket_name(PAGE)}') .spark")
    page.click("button:text-is('Previous')")
    page.wait_for_selector(f".bucket:has-text('{bucket_name(0)}') .spark")
    page.click("button:text-is('Next')")
    page.wait_for_selector(f".bucket:has-text('{bucket_name(PAGE)}') .spark")
    assert len([each for each in asked if "/trends" in each]) == 1


def test_every_button_of_a_page_keeps_the_focus(list_page: Any) -> None:
    page = list_page
    for number in (2, 3):
        page.focus("button:text-is('Next')")
        page.keyboard.press("Enter")
        page.wait_for_selector(f"text=Page {number} of 21")
        assert page.evaluate("() => document.activeElement.tagName") == "BUTTON"
    visit(page, "help")
    page.wait_for_selector("main pre")
