"""The monitoring page under a real load: figures, charts for every reader, errors by their ids."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.console.conftest import client_of, until, visit
from tests.serving import ServedStore

#: Requests that are refused: less than half of what the page shows, the last of all.
REFUSED_MAX = 10


@pytest.fixture(scope="module")
def load(served: ServedStore) -> Iterator[list[str]]:
    """Clients at work; the request ids of those that were refused, fewer than the page shows."""
    over, refused = threading.Event(), []
    s3, stranger = client_of(served), client_of(served, "minio", "not-the-secret")

    def work() -> None:
        number = 0
        while not over.wait(0.05):
            number += 1
            s3.put_object(Bucket="backups", Key=f"load/{number % 20}", Body=bytes(3000))
            s3.get_object(Bucket="backups", Key=f"load/{number % 20}")["Body"].read()
            if number % 10 == 0 and len(refused) < REFUSED_MAX:
                try:
                    stranger.get_object(Bucket="backups", Key="load/secret thing")
                except ClientError as error:
                    refused.append(error.response["ResponseMetadata"]["RequestId"])

    thread = threading.Thread(target=work)
    thread.start()
    yield refused
    over.set()
    thread.join()


@pytest.fixture
def watched(page: Any, load: list[str]) -> Any:
    """The page, with charts that have something in them."""
    visit(page, "monitoring")
    page.wait_for_selector(".plot[aria-label^='Requests per second. From'] path", timeout=60_000)
    return page


#: What the page asks each time.
LOOK = ("status", "drives", "langfuse", *(
    f"monitoring/{each}" for each in ("live", "requests", "capacity", "errors")
))  # fmt: skip
#: What was drawn before it was marked.
DRAWN_BEFORE = ".grid.stats > [data-before]"


def mark(page: Any) -> None:
    """Mark what is drawn, so that an update is noticed."""
    page.eval_on_selector(".grid.stats > *", "tile => tile.setAttribute('data-before', '')")


def test_what_happens_is_counted(watched: Any, load: list[str]) -> None:
    page = watched
    tiles = page.inner_text(".grid.stats")
    for said in ("Requests per second", "In flight", "median", "Errors per second", "Throughput"):
        assert said in tiles
    for operation in ("PutObject", "GetObject"):
        page.wait_for_selector(f"td button:text-is('{operation}')")
    for title in ("Workers", "Drives", "Capacity", "Index of Langfuse's objects", "Last errors"):
        assert page.locator(f'h2:text-is("{title}")').count() == 1
    until(page, lambda: load)
    row = f"tr:has(code:text-is('{load[0]}'))"
    page.wait_for_selector(f"{row}:has-text('403'):has-text('backups/load/secret thing') button")


def test_one_operation_is_looked_at(watched: Any) -> None:
    page = watched
    page.click("td button:text-is('PutObject')")
    page.wait_for_selector("td button[aria-pressed=true]:text-is('PutObject')")
    assert page.input_value("select[aria-label='Operation']") == "PutObject"
    # The page asks every five seconds, also meanwhile.
    with page.expect_request(
        lambda asked: "monitoring/requests" in asked.url and "span=86400" in asked.url
    ) as waiting:
        page.select_option("select[aria-label='Period']", "86400")
    assert "operation=PutObject" in waiting.value.url


def test_what_is_pressed_while_the_page_is_drawn_anew_is_clicked(watched: Any) -> None:
    page = watched
    mark(page)
    page.wait_for_selector(DRAWN_BEFORE, state="detached")  # the next update is seconds away
    mark(page)
    page.hover("td button:text-is('GetObject')")
    page.mouse.down()
    with ExitStack() as answers:
        for asked in LOOK:
            answers.enter_context(page.expect_response(f"**/api/v1/{asked}*"))
    page.evaluate("() => new Promise(requestAnimationFrame)")  # it is drawn by now, if ever
    page.mouse.up()
    page.wait_for_selector("td button[aria-pressed=true]:text-is('GetObject')")
    page.wait_for_selector(DRAWN_BEFORE, state="detached")


def test_charts_are_read_by_keyboard_and_as_tables(watched: Any) -> None:
    page = watched
    plot = ".plot[aria-label^='Latency']"
    page.wait_for_selector(f"{plot} path[d*='L']", timeout=90_000)  # two points
    page.focus(plot)
    page.keyboard.press("End")
    figure = page.locator(f"figure:has({plot})")
    last = figure.locator(".readout").inner_text()
    for said in ("median", "95 %", "99 %"):
        assert said in last
    page.keyboard.press("Home")
    assert figure.locator(".readout").inner_text() != last
    assert figure.locator(".readout").get_attribute("aria-live") == "polite"
    # An update takes nobody's place away.
    mark(page)
    page.wait_for_selector(DRAWN_BEFORE, state="detached")
    assert page.evaluate(f'() => document.activeElement.matches("{plot}")')
    assert figure.locator("line.guide").count() == 1
    page.keyboard.press("Escape")
    assert figure.locator("line.guide").count() == 0
    figure.locator("summary").click()
    figure.locator("tbody tr").first.wait_for()
    heads = figure.locator("thead th").all_inner_texts()
    assert heads == ["Time", "median", "95 %", "99 %"]


def test_it_pauses(watched: Any) -> None:
    page = watched
    page.click("button:has-text('Pause')")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6500)
    assert [url for url in asked if "monitoring" in url] == []
    with page.expect_request(lambda request: "monitoring" in request.url):
        page.click("button:has-text('Go on')")


def test_the_day_on_which_the_drive_is_full_is_told(page: Any) -> None:
    hours = [
        {"time": datetime(2026, 11, 1 + n // 24, n % 24, tzinfo=UTC).isoformat(),
         "total": 10**12, "free": 9 * 10**11 - n * 10**9}
        for n in range(200)
    ]  # fmt: skip
    told = {"growth": 24e9, "full": "2026-12-11T12:00:00Z", "history": hours}
    page.route(
        "**/monitoring/capacity*",
        lambda route: route.fulfill(json=route.fetch().json() | told),
    )
    visit(page, "monitoring")
    page.wait_for_selector("text=the drive is full on 11 December 2026")
    page.wait_for_selector("text=+22.4 GiB a day")
    page.wait_for_selector(".plot[aria-label^='Space used'] path")


def test_buckets_tell_how_they_grew(page: Any) -> None:
    points = [
        {"day": f"2026-11-{day:02}", "objects": day, "bytes": day * 1024**2} for day in range(1, 22)
    ]
    page.route(
        "**/control/api/v1/trends*",
        lambda route: route.fulfill(json=[{"bucket": "models", "points": points}]),
    )
    visit(page, "help")
    visit(page, "buckets")
    page.wait_for_selector(".bucket:has-text('models') >> text=+20.0 MiB in 20 days")
    assert page.locator(".bucket svg.spark[role=img][aria-label]").count() == 1


def test_what_nobody_asked_took_no_time_at_all(page: Any) -> None:
    """A time without requests is a gap in the line, a value by itself a dot; bytes begin at KiB."""
    found = page.evaluate(
        """async () => {
            const base = document.querySelector("script[src$='main.js']").src;
            const { lines } = await import(base.replace("main.js", "charts.js"));
            const drawn = async (values, unit) => {
                const chart = lines("Latency", (value) => String(value ?? "none"), { unit });
                const times = values.map((_, at) => 60_000 * at);
                document.body.append(chart.update({ times, series: [{ label: "x", values }] }));
                // It is drawn when it has got a width.
                const here = () => chart.querySelector(".lineplot");
                while (!here()) await new Promise(requestAnimationFrame);
                const drawn = here().getAttribute("d").match(/[ML]/g).join("");
                return [drawn, chart.querySelectorAll("circle").length,
                    chart.querySelector("output").innerText.split(" ").at(-1),
                    chart.querySelector("text").textContent];
            };
            return [await drawn([1, 2, null, 3, null, 4, 5], 1000), await drawn([7], 1000),
                await drawn([0, null], 1024)];
        }"""
    )
    assert found == [["MLMML", 1, "5", "0"], ["M", 1, "7", "0"], ["M", 1, "none", "0"]]
