"""``cd datahub && docker compose up``: on langfuse/'s store, and what each ``down`` touches.

The store and the relay are real; DataHub's services are stand-ins, of which the metadata service
does with the store what DataHub does (tests/bundle/images/stand_in.py). The compose files are the
shipped ones.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bundle import docker, stacks

pytestmark = pytest.mark.timeout(900)

VOLUMES = {"kafka_data", "mysql_data", "opensearch_data"}


@pytest.fixture(scope="module")
def both(
    image: str, compose: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[stacks.Stack, stacks.Stack]]:
    """(langfuse, datahub): of the first, the store alone runs; the second joined it."""
    root = stacks.copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    environ = {
        **stacks.images(image),
        **stacks.free_ports(),
        "OVERSIGHT_NETWORK": docker.unique("network"),
        "OVERSIGHT_DATAHUB_ACCESS_KEY": "datahub-key",
        "OVERSIGHT_DATAHUB_SECRET_KEY": "datahub-secret",
    }
    langfuse = stacks.Stack(compose, root, "langfuse", docker.unique("langfuse"), environ)
    datahub = stacks.Stack(compose, root, "datahub", docker.unique("datahub"), environ)
    try:
        start_store(langfuse)
        datahub.up()
        yield langfuse, datahub
    finally:
        datahub.down("--volumes")
        langfuse.down("--volumes")


def start_store(stack: stacks.Stack) -> None:
    stack.run("up", "--detach", "--no-build", "--wait", "minio")


def ask(stack: stacks.Stack, path: str) -> Any:
    """What the metadata service answers; the status where it is no success."""
    url = f"http://127.0.0.1:{stack.environ['DATAHUB_GMS_PORT']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code


def upload(stack: stacks.Stack, key: str, text: str) -> None:
    """As a browser does: ask for permission, then PUT to the URL that DataHub signed."""
    url = ask(stack, f"/presigned?method=PUT&key={key}")["url"]
    page = f"http://localhost:{stack.environ['DATAHUB_PORT']}"
    preflight = urllib.request.Request(url, method="OPTIONS")
    preflight.add_header("Origin", page)
    preflight.add_header("Access-Control-Request-Method", "PUT")
    preflight.add_header("Access-Control-Request-Headers", "content-type")
    with urllib.request.urlopen(preflight, timeout=60) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] in ("*", page)
    request = urllib.request.Request(url, data=text.encode(), method="PUT")
    request.add_header("Origin", page)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def store_container(stack: stacks.Stack) -> tuple[str, str]:
    """(id, moment of its start) of the store's container."""
    name = stack.run("ps", "--all", "--quiet", "minio").strip()
    return name, docker.docker("inspect", "--format", "{{.State.StartedAt}}", name)


def test_everything_is_up(both: tuple[stacks.Stack, stacks.Stack]) -> None:
    _, datahub = both
    states = datahub.states()
    assert states.pop("bootstrap") == states.pop("system-update") == "exited (0)"
    assert "minio" not in states
    assert all(state.startswith("running") for state in states.values()), states
    assert datahub.volumes() == VOLUMES


def test_one_endpoint_is_right_for_datahub_and_browsers(
    both: tuple[stacks.Stack, stacks.Stack],
) -> None:
    _, datahub = both
    upload(datahub, "documents/a.txt", "from a browser")
    assert ask(datahub, "/document?key=documents/a.txt") == {"text": "from a browser"}


def test_recipes_are_in_the_actions_container(both: tuple[stacks.Stack, stacks.Stack]) -> None:
    _, datahub = both
    name = datahub.run("ps", "--quiet", "actions").strip()
    listed = docker.docker("exec", name, "ls", "/recipes")
    assert {"exports.yml", "artifacts.yml"} <= set(listed.split())
    environ = docker.docker("exec", name, "env").splitlines()
    assert "OVERSIGHT_EXTERNAL_ENDPOINT=http://minio:9000" in environ
    assert "AWS_ACCESS_KEY_ID=datahub-key" in environ


def test_datahub_recovers_when_the_store_returns(both: tuple[stacks.Stack, stacks.Stack]) -> None:
    """``down`` in langfuse/ stops the store, keeps its volume, and leaves DataHub running."""
    langfuse, datahub = both
    upload(datahub, "documents/b.txt", "before")
    langfuse.down()
    assert "minio" not in langfuse.states()
    assert "store_data" in langfuse.volumes()
    assert ask(datahub, "/document?key=documents/b.txt") == 502
    assert datahub.states()["datahub-gms"] == "running (healthy)"
    start_store(langfuse)
    deadline = time.monotonic() + 180
    while ask(datahub, "/document?key=documents/b.txt") != {"text": "before"}:
        assert time.monotonic() < deadline, datahub.logs()
    upload(datahub, "documents/c.txt", "after")


def test_down_in_datahub_never_touches_the_store(both: tuple[stacks.Stack, stacks.Stack]) -> None:
    langfuse, datahub = both
    upload(datahub, "documents/d.txt", "still here")
    store = store_container(langfuse)
    datahub.down()
    assert datahub.states() == {}
    assert datahub.volumes() == VOLUMES
    datahub.down("--volumes")
    assert datahub.volumes() == set()
    assert store_container(langfuse) == store
    assert langfuse.states()["minio"] == "running (healthy)"
    assert "store_data" in langfuse.volumes()
    readme = (docker.ROOT / "datahub" / "README.md").read_text()
    bold = [each for each in readme.split("**")[1::2] if "down -v" in each]
    assert bold
    assert all(f"`{name}`" in bold[0] for name in VOLUMES | {"store_data"})

    datahub.up()
    assert ask(datahub, "/document?key=documents/d.txt") == {"text": "still here"}


def test_a_store_of_its_own_with_the_profile(both: tuple[stacks.Stack, stacks.Stack]) -> None:
    langfuse, datahub = both
    datahub.down("--volumes")
    langfuse.down("--volumes")
    datahub.up("store")
    assert datahub.states()["minio"] == "running (healthy)"
    assert datahub.volumes() == VOLUMES | {"store_data"}
    upload(datahub, "documents/e.txt", "on its own")
    assert ask(datahub, "/document?key=documents/e.txt") == {"text": "on its own"}

    said = datahub.run("--profile", "store", "down", "--volumes")
    assert datahub.volumes() == set(), said
