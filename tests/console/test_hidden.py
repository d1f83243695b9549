"""A page that nobody saw for a while: a tab behind others, a laptop that slept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.console.conftest import sign_in, until, visit
from tests.console.many_buckets import asked_of
from tests.serving import SECRET_KEY

#: Requests of one look at the monitoring page.
LOOK = 7
_HIDE = """
    globalThis.away = false;
    Object.defineProperty(document, "hidden", { get: () => away });
"""
_TURN = """(to) => { away = to; document.dispatchEvent(new Event("visibilitychange")); }"""


@pytest.fixture
def monitoring(open_page: Any) -> Any:
    page = open_page()
    page.add_init_script(_HIDE)
    page.clock.install()
    page.reload()
    sign_in(page)
    visit(page, "monitoring")
    # From here on time goes by as a test says, and not while it waits.
    with drawn_anew(page):
        page.clock.pause_at(page.evaluate("Date.now() / 1000") + 60)
    return page


@contextmanager
def drawn_anew(page: Any) -> Iterator[None]:
    """What is done within leads to a look, whose answers have all come and are drawn then."""
    page.eval_on_selector(".stats > *", "tile => tile.setAttribute('data-before', '')")
    yield
    page.wait_for_selector(".stats > [data-before]", state="detached")


def looks(asked: list[str]) -> int:
    return len([each for each in asked if each.startswith("control/")])


def test_a_hidden_page_asks_nothing_and_goes_on_when_it_is_seen(monitoring: Any) -> None:
    page = monitoring
    page.evaluate(_TURN, True)
    asked = asked_of(page)
    page.clock.run_for("20:00")
    assert looks(asked) == 0
    with drawn_anew(page):
        page.evaluate(_TURN, False)  # at once, not with the next tick
    assert looks(asked) == LOOK
    with page.expect_response("**/monitoring/live"):
        page.clock.run_for("00:05")


def test_a_session_that_ended_meanwhile_is_asked_for_once(monitoring: Any) -> None:
    page = monitoring
    page.evaluate(_TURN, True)
    page.context.clear_cookies()
    asked = asked_of(page)
    page.clock.run_for("40:00")
    page.evaluate(_TURN, False)
    page.wait_for_selector("dialog[open] input[name=password]")
    page.clock.run_for("30:00")  # somebody fetches the secret first
    assert page.locator("dialog").count() == 1
    assert looks(asked) == LOOK
    page.fill("dialog input[name=password]", SECRET_KEY)
    with drawn_anew(page):
        page.keyboard.press("Enter")
    page.wait_for_selector("dialog", state="detached")
    assert looks(asked) == 2 * LOOK
    assert page.locator(".toast").count() == 0
    with page.expect_response("**/monitoring/live"):
        page.clock.run_for("00:05")
    assert page.locator("dialog").count() == 0


def test_a_refusal_that_comes_late_does_not_ask_again(monitoring: Any) -> None:
    """What was under way when the session ended may be answered when it has begun anew."""
    page = monitoring
    held: list[Any] = []
    page.route(
        "**/monitoring/errors*", lambda route: route.continue_() if held else held.append(route)
    )
    page.context.clear_cookies()
    page.clock.run_for("00:05")
    page.wait_for_selector("dialog[open] input[name=password]")
    until(page, lambda: held)
    page.fill("dialog input[name=password]", SECRET_KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog", state="detached")
    with page.expect_response(lambda each: "/errors" in each.url and each.status == 200):
        held[0].fulfill(status=401, json={"code": "SessionOver", "detail": ""})
    assert page.locator("dialog").count() == 0
