"""`mc ready`: what it says of each kind of answer, and what it costs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from stack.mc import run
from stack.mc.base import McError
from tests.conftest import Store
from tests.serving import clean_environment, free_port
from tests.unit.mc.conftest import Mc


class _Answers(BaseHTTPRequestHandler):
    statuses: list[int]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.statuses.pop(0))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Answers]]:
    """A server at the alias `fake` that answers with the statuses one puts into it."""
    handler = type("Answers", (_Answers,), {"statuses": [], "asked": []})
    running = HTTPServer(("127.0.0.1", 0), handler)
    monkeypatch.setenv("MC_HOST_fake", f"http://127.0.0.1:{running.server_port}")
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield handler
    running.shutdown()
    running.server_close()


def test_running_store(mc: Mc) -> None:
    assert "is ready" in mc("ready", "here")
    assert mc("--json", "ready", "here") == '{"healthy": true, "maintenanceMode": false}\n'
    assert mc("ready", "here", "--quiet") == ""


def test_waits_for_one_that_starts(
    server: type[_Answers], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stack.mc.ready._PAUSE", 0.01)
    server.statuses += [503, 503, 200]
    assert run(["ready", "fake"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.endswith("not ready") for line in said] == [True, True, False]


def test_asks_what_mc_asks(server: type[_Answers]) -> None:
    server.statuses += [200] * 3
    run(["ready", "fake"])
    run(["ready", "--cluster-read", "fake"])
    run(["ready", "fake", "--maintenance"])
    cluster = "/minio/health/cluster"
    assert server.asked == [cluster, f"{cluster}/read", f"{cluster}?maintenance=true"]


def test_nobody_there_is_an_error_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_HOST_gone", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(McError, match=r"No store answers .*refused"):
        run(["ready", "gone"])


def test_something_else_there_is_an_error(server: type[_Answers]) -> None:
    server.statuses.append(404)
    with pytest.raises(McError, match="answers 404"):
        run(["ready", "fake"])


@pytest.mark.parametrize(
    ("url", "why"), [("http://127.0.0.1:many", "HOST:PORT"), ("https://127.0.0.1:1", "refused")]
)
def test_bad_addresses(home: Path, monkeypatch: pytest.MonkeyPatch, url: str, why: str) -> None:
    monkeypatch.setenv("MC_HOST_bad", url)
    with pytest.raises(McError, match=why):
        run(["ready", "bad"])


def test_local_is_where_the_variables_say(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINIO_ADDRESS", "9")
    monkeypatch.setenv("OVERSIGHT_ADDRESS", f":{store.host.rpartition(':')[2]}")
    assert run(["ready", "local"]) == 0
    assert store.endpoint in capsys.readouterr().out


def test_loads_next_to_nothing(store: Store) -> None:
    """No framework, no HTTP library: a health check runs every few seconds for ever."""
    code = (
        "import sys; sys.path.append('.'); from stack.mc import run; run(['ready', 'here']); "
        "print(','.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code],
        cwd=Path(__file__).parents[3],
        env=clean_environment(MC_HOST_here=store.endpoint),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.splitlines()[-1].split(","))
    heavy = {"typer", "click", "rich", "pydantic", "http", "socket", "ssl", "json", "re", "enum",
             "typing", "argparse", "pathlib", "dataclasses", "urllib", "storage"}  # fmt: skip
    assert not loaded & heavy
    ours = {name for name in loaded if name.startswith("stack")}
    assert ours == {"stack", "stack.image", "stack.mc", "stack.mc.aliases", "stack.mc.base",
                    "stack.mc.ready"}  # fmt: skip
