"""A furnished store, a browser, and somebody signed in."""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import boto3
import pytest
from botocore.config import Config

from tests.clients import tools
from tests.console import slowness
from tests.console.scene import furnish
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore

playwright = pytest.importorskip("playwright.sync_api")

#: Milliseconds that a page gets for what it does; a machine under load is slow.
PATIENCE = 45_000
#: Seconds that a test gets: a browser beside its store needs more of both cores than others.
TIME_LIMIT = 240
#: What tests add to each page before its own scripts. Toasts vanish after some seconds, whether a
#: test has looked by then or not: what they say is kept. And what is shown when one leaves for
#: another place is marked, since it stays until what is there can be shown. The console hears of
#: that later: nothing of the place before can come after it is marked.
_ADDED = """
    globalThis.toasts = [];
    new MutationObserver((changes) => {
        for (const { addedNodes } of changes)
            for (const each of addedNodes)
                if (each.classList?.contains("toast")) toasts.push(each.textContent);
    }).observe(document, { childList: true, subtree: true });
    addEventListener("hashchange", () => {
        for (const each of document.querySelector("main")?.children ?? [])
            each.setAttribute("data-old", "");
    });
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pages need more time than other things, slow ones more still."""
    limit = slowness.TIME_LIMIT if slowness.LATENCY else TIME_LIMIT
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(limit))


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStore]:
    """A store of these tests' own, with something in it."""
    folder = tmp_path_factory.mktemp("console")
    with ServedStore(folder / "drive", folder / "log", ("--workers", "2")) as store:
        furnish(client_of(store))
        until_there(f"{store.console}/console/")
        yield store


def until_there(url: str) -> None:
    """Wait for a page: the control plane begins a moment after S3."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def client_of(store: ServedStore, access_key: str = ACCESS_KEY, secret: str = SECRET_KEY) -> Any:
    """A boto3 client of a store."""
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, proxies={}),
    )


@pytest.fixture(scope="session")
def s3(served: ServedStore) -> Any:
    """A boto3 client of the root user."""
    return client_of(served)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium. Not for longer than a module: while Playwright's synchronous interface is
    there, its event loop counts as running, and no other test could run one."""
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(
            executable_path=str(tools.chromium()), args=["--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


def context_of(browser: Any, **options: Any) -> Any:
    """A browser context of its own, with patience and with what tests add to pages."""
    context = browser.new_context(**{"viewport": {"width": 1360, "height": 860}, **options})
    context.set_default_timeout(PATIENCE)
    context.add_init_script(_ADDED)
    slowness.slow_down(context)
    return context


Open = Callable[..., Any]


@pytest.fixture
def open_page(served: ServedStore, browser: Any) -> Iterator[Open]:
    """Open the console in a browser of its own; what its scripts throw fails the test."""
    contexts: list[Any] = []
    thrown: list[str] = []

    def opened(**options: Any) -> Any:
        context = context_of(browser, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: thrown.append(str(error)))
        page.on("console", lambda said: _violation(said.text, thrown))
        page.goto(f"{served.console}/console/")
        return page

    yield opened
    for context in contexts:
        # What is under way by then is answered by nobody.
        for each in (*context.pages, context):
            each.unroute_all(behavior="ignoreErrors")
        context.close()
    assert thrown == []


def _violation(text: str, thrown: list[str]) -> None:
    if "frame-ancestors" in text:
        return  # said by the page that tries to frame us
    if "Content Security Policy" in text or "TrustedHTML" in text:
        thrown.append(text)


def sign_in(page: Any, access_key: str = ACCESS_KEY, secret: str = SECRET_KEY) -> Any:
    """Sign in as people do."""
    page.fill("input[name=username]", access_key)
    page.fill("input[name=password]", secret)
    page.click("button[type=submit]")
    page.wait_for_selector(".shell h1")
    return page


def address(*parts: str) -> str:
    """The part of a page's address that names a place in the console."""
    return "#/" + "/".join(quote(part, safe="") for part in parts)


def leave_for(page: Any, *parts: str) -> None:
    """Go to a place of the console by its address, and do not wait: what was shown before stays
    until what is there can be shown."""
    page.evaluate(
        """(target) => new Promise((resolve) => {
            addEventListener("hashchange", resolve, { once: true });
            const before = location.href;
            location.hash = target;
            if (location.href === before) dispatchEvent(new HashChangeEvent("hashchange"));
        }).then(() => {})""",
        address(*parts),
    )


def visit(page: Any, *parts: str) -> None:
    """Go to a place of the console by its address; it is shown then, and nothing of another one."""
    leave_for(page, *parts)
    page.wait_for_selector("main > :not([data-old])", state="attached")


def until_shown(page: Any, place: tuple[str, ...], selector: str) -> None:
    """Visit a place until something is there: the index follows a moment behind what was written.
    Each look is longer than the one before, so that a slow page comes to its end."""
    for seconds in (0.5, 1, 2, 4, 8, 16, 32):
        visit(page, *place)
        try:
            page.wait_for_selector(f"main >> {selector}", timeout=seconds * 1000)
        except playwright.TimeoutError:
            continue
        return
    raise AssertionError(f"{selector} does not appear")


def until(page: Any, condition: Callable[[], Any]) -> None:
    """Wait until what happens behind the page has happened."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        page.wait_for_timeout(100)


def until_said(page: Any, text: str) -> None:
    """Wait until a toast has said something, also if it has vanished since."""
    page.wait_for_function("text => toasts.some((each) => each.includes(text))", arg=text)


@pytest.fixture
def page(open_page: Open) -> Any:
    """The console, with the root user signed in."""
    return sign_in(open_page())


# -- without a browser ----------------------------------------------------------------------------

Ask = Callable[..., http.client.HTTPResponse]


@pytest.fixture
def ask(served: ServedStore) -> Ask:
    """Send one request to the console port."""

    def send(method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", served.console_port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = json.dumps(body) if isinstance(body, dict | list) else body
        connection.request(method, path, data, named)
        return connection.getresponse()

    return send


class Signed(NamedTuple):
    """Somebody who is signed in: the browser's cookie, and what the page was told."""

    cookie: str
    page: str

    @property
    def headers(self) -> dict[str, str]:
        """What the page's own requests have."""
        return {"cookie": self.cookie, "x_oversight_console": self.page}


def signed_in(ask: Ask, access_key: str = ACCESS_KEY, secret: str = SECRET_KEY) -> Signed:
    document = {"access_key": access_key, "secret_key": secret}
    answer = ask("POST", "/console/session", document, x_oversight_console="none")
    assert answer.status == 200
    cookie = answer.getheader("set-cookie", "").partition(";")[0]
    return Signed(cookie, json.loads(answer.read())["page"])


@pytest.fixture
def signed(ask: Ask) -> Signed:
    """The root user is signed in."""
    return signed_in(ask)
