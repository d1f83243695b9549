"""The README's pictures, taken of the running console: ``make screenshots``."""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.clients import tools
from tests.clients.langfuse_stand_in import PROJECT
from tests.console.agent import send_trace
from tests.console.conftest import client_of, sign_in, until_there, visit
from tests.console.scene import furnish
from tests.serving import ServedStore

FOLDER = Path(__file__).parents[2] / "docs" / "images"
#: Seconds of requests before the charts are looked at: they have a point every ten.
BUSY = 90


def main() -> int:
    """Take them; the exit code."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ServedStore(
        Path(folder) / "drive", Path(folder) / "log", ("--workers", "2")
    ) as store:  # fmt: skip
        s3 = client_of(store)
        furnish(s3)
        trace = send_trace(s3, Path(folder))
        until_there(f"{store.console}/console/")
        over = threading.Event()
        traffic = threading.Thread(target=_use, args=(s3, over))
        traffic.start()
        try:
            time.sleep(BUSY)
            _take(store, trace)
        finally:
            over.set()
            traffic.join()
    return 0


def _take(store: ServedStore, trace: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(tools.chromium()), args=["--no-sandbox"]
        )
        for name, scheme, place, there in (
            ("objects", "light", ("object", "langfuse", "media/support-bot/waves.png"), "img"),
            ("langfuse", "dark", ("langfuse", "trace", PROJECT, trace), ".scores li"),
            ("monitoring", "light", ("monitoring",), ".chart"),
        ):
            page = browser.new_page(
                viewport={"width": 1360, "height": 860}, color_scheme=scheme, device_scale_factor=1
            )
            page.goto(f"{store.console}/console/")
            sign_in(page)
            visit(page, *place)
            page.wait_for_selector(f"main {there}")
            if name == "langfuse":
                page.click(".observation:has-text('answer')")
                page.wait_for_selector(".media img")
            page.wait_for_timeout(1000)
            page.screenshot(path=FOLDER / f"console-{name}.png")
            page.close()
        browser.close()


def _use(s3: Any, over: threading.Event) -> None:
    """What clients do, more and less of it."""
    rng = random.Random(1)
    number = 0
    while not over.is_set():
        number += 1
        key = f"ranker/v3/shards/{number % 60:02}/{number}.bin"
        s3.put_object(Bucket="models", Key=key, Body=bytes(rng.randrange(200, 20_000)))
        if number % 3:
            s3.get_object(Bucket="langfuse", Key="media/support-bot/tone.wav")["Body"].read()
        if number % 40 == 0:
            s3.list_objects_v2(Bucket="langfuse", Prefix="events/")
        over.wait(rng.random() * 0.08)


if __name__ == "__main__":
    sys.exit(main())
