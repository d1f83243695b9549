"""`oversight status` on a running store, on one that starts, and on none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bundle.commands.conftest import ROOT, SECRET
from tests.bundle.commands.meddler import Meddler
from tests.commands import Done, Run
from tests.serving import ServedStore, free_port

Status = Callable[..., Done]
STARTING = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>ServiceUnavailable</Code>'
    b"<Message>The store is starting. Please try again.</Message></Error>"
)


@pytest.fixture
def status(run: Run, own_store: ServedStore) -> Status:
    def make(*arguments: str, **variables: str) -> Done:
        usual = {
            "OVERSIGHT_ROOT_USER": ROOT,
            "OVERSIGHT_ROOT_PASSWORD": SECRET,
            "OVERSIGHT_EXTERNAL_ENDPOINT": own_store.endpoint,
            "OVERSIGHT_INTERNAL_ENDPOINT": "http://no-such-container:9000",
            "OVERSIGHT_CONSOLE_URL": own_store.console,
            "NEXTAUTH_URL": f"http://127.0.0.1:{free_port()}",
        }
        return run("status", *arguments, **(usual | variables))

    return make


def langfuse(method: str, path: str) -> tuple[int, bytes] | None:
    document = {"status": "OK", "version": "4.16.0"}
    return (200, json.dumps(document).encode()) if path == "/api/public/health" else None


def test_everything_at_a_glance(status: Status, own_store: ServedStore) -> None:
    with Meddler(own_store.endpoint, instead=langfuse) as stand_in:
        shown = status(NEXTAUTH_URL=stand_in.url)
        found = status("--json", NEXTAUTH_URL=stand_in.url).value
    assert shown.code == 0
    for words in (
        "ready", "known inside the containers only", "answers, version 4.16.0", "online",
        "free of", "workers", "BUCKET", "langfuse",
    ):  # fmt: skip
        assert words in shown.out
    assert found["health"] == "ready"
    assert found["endpoints"]["external"]["state"] == "ready"
    assert found["langfuse"]["version"] == "4.16.0"
    assert "langfuse" in {bucket["name"] for bucket in found["bucket_list"]}


def test_store_that_starts_says_so(status: Status, own_store: ServedStore) -> None:
    with Meddler(own_store.endpoint, instead=lambda *_: (503, STARTING)) as starting:
        addresses = {
            "OVERSIGHT_EXTERNAL_ENDPOINT": starting.url, "OVERSIGHT_CONSOLE_URL": starting.url,
        }  # fmt: skip
        shown = status(**addresses)
        found = status("--json", **addresses)
    assert shown.code == 1
    told = f"The store at {starting.url} is starting (after a crash it replays its log"
    assert shown.err.startswith(told)
    assert shown.err.endswith("try again in a moment.\n")
    assert "store     starting" in shown.out
    assert found.code == 1
    assert found.value["health"] == "starting"
    assert found.value["endpoints"]["external"]["state"] == "starting"


def test_nobody_there(status: Status) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    shown = status(OVERSIGHT_EXTERNAL_ENDPOINT=nowhere, OVERSIGHT_CONSOLE_URL=nowhere)
    assert (shown.code, len(shown.err.splitlines())) == (1, 1)
    assert f"{nowhere}: nobody listens there" in shown.out


def test_settings_come_from_the_env_file_too(run: Run, own_store: ServedStore) -> None:
    """What `oversight env` wrote must be enough for every command on the host."""
    Path(".env").write_text(
        f"OVERSIGHT_ROOT_USER={ROOT}\nOVERSIGHT_ROOT_PASSWORD={SECRET}\n"
        f"OVERSIGHT_CONSOLE_PORT={own_store.console_port}\n"
        f"OVERSIGHT_EXTERNAL_ENDPOINT={own_store.endpoint}\n"
    )
    assert run("status", "--json").value["health"] == "ready"
    assert run("bucket", "list").code == 0
    assert run("bucket", "list", OVERSIGHT_ROOT_PASSWORD="another one").code == 1


def test_wrong_credentials_are_one_sentence(status: Status) -> None:
    shown = status(OVERSIGHT_ROOT_PASSWORD="not the secret")
    assert (shown.code, shown.out, len(shown.err.splitlines())) == (1, "", 1)
    assert "not the secret" not in shown.err
