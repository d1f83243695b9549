"""A browser in front of a store, for what is measured by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import sync_playwright

from tests.clients import tools
from tests.console.conftest import context_of, until_there
from tests.serving import ServedStore


@contextmanager
def console_page(store: ServedStore) -> Iterator[Any]:
    """The console's first page, before anybody signs in."""
    until_there(f"{store.console}/console/")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(tools.chromium()), args=["--no-sandbox", "--disable-gpu"]
        )
        page = context_of(browser).new_page()
        page.goto(f"{store.console}/console/")
        yield page
        browser.close()
