"""Links that are shared last as long as they say."""

from __future__ import annotations

from typing import Any

from tests.console.conftest import visit


def test_a_session_is_renewed_before_its_link_is_signed(page: Any) -> None:
    """Links end with the session: the first choice must not be out of reach a moment after the
    sign-in."""
    asked: list[str] = []
    page.on(
        "request", lambda each: asked.append(f"{each.method} {each.url.partition('/console/')[2]}")
    )
    visit(page, "object", "langfuse", "media/support-bot/waves.png")
    page.click("main button:has-text('Share')")
    page.wait_for_selector("dialog .qr")
    assert page.locator("dialog .note.warn").count() == 0
    shared = [each for each in asked if each in ("PUT session", "POST sign")]
    assert shared == ["PUT session", "POST sign"]
    with page.expect_response("**/console/sign"):
        page.select_option("dialog select", "240")
    page.wait_for_selector("dialog .note.warn:has-text('Your session ends before')")
