"""Every compose file is valid, and carries what ``stack.settings`` and ``stack.services`` say.

Needs Docker Compose, which reads files without an engine.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack import services
from stack.expressions import compose as expression
from stack.expressions import references
from stack.settings import VARIABLES, Stack
from tests.bundle import docker, stacks

FOLDERS = ("langfuse", "datahub")
FILES = sorted((docker.ROOT / "compose").glob("*.yml"))
OWN_ENVIRON = {
    "OVERSIGHT_EXTERNAL_ENDPOINT": "https://s3.example.com",
    "OVERSIGHT_INTERNAL_ENDPOINT": "http://store.internal:9000",
    "OVERSIGHT_LANGFUSE_ACCESS_KEY": "langfuse-key",
    "OVERSIGHT_LANGFUSE_SECRET_KEY": "langfuse-secret",
    "OVERSIGHT_DATAHUB_ACCESS_KEY": "datahub-key",
    "OVERSIGHT_DATAHUB_SECRET_KEY": "datahub-secret",
    "OVERSIGHT_ROOT_PASSWORD": "own-root-password",
    "OVERSIGHT_REGION": "eu-central-1",
    "OVERSIGHT_LANGFUSE_BUCKET": "traces",
    "LANGFUSE_S3_MEDIA_UPLOAD_BUCKET": "pictures",
    "POSTGRES_PASSWORD": "own-password",
    "OVERSIGHT_WORKERS": "3",
}


@pytest.fixture(scope="session")
def compose_files() -> list[str]:
    """The words that start Docker Compose; no engine is needed to read files."""
    return docker.compose_command()


@pytest.fixture(params=FOLDERS)
def stack(request: pytest.FixtureRequest, compose_files: list[str], tmp_path: Path) -> stacks.Stack:
    root = stacks.copy_of_checkout(tmp_path)
    return stacks.Stack(compose_files, root, str(request.param), "oversight-test-config")


def _profiles(stack: stacks.Stack) -> Iterator[str]:
    yield ""
    yield from stack.run("config", "--profiles").split()
    yield "*"


@pytest.mark.parametrize("example", [False, True], ids=["no-env", "env-example"])
def test_config_is_valid(stack: stacks.Stack, example: bool) -> None:
    if example:
        shutil.copy(docker.ROOT / ".env.example", stack.root / ".env")
    seen = list(_profiles(stack))
    assert {"langfuse": "observability", "datahub": "store"}[stack.folder] in seen
    for profile in seen:
        assert stack.run("--profile", profile, "config", "--quiet") == ""


def test_config_is_valid_with_what_oversight_env_writes(stack: stacks.Stack) -> None:
    from stack import envfile
    from stack.installation import Installation

    wishes = envfile.Wishes("0.0.0.0", "https://s3.example.com", "https://langfuse.example.com")
    made = envfile.plan({}, Installation(), wishes)
    envfile.write(stack.root / ".env", made, "")
    for profile in _profiles(stack):
        assert stack.run("--profile", profile, "config", "--quiet") == ""
    published = [
        port["host_ip"] for service in stack.config("*")["services"].values()
        for port in service.get("ports", ())
    ]  # fmt: skip
    assert "0.0.0.0" in published


@pytest.mark.parametrize("environ", [{}, OWN_ENVIRON], ids=["defaults", "own"])
def test_containers_get_what_the_settings_say(stack: stacks.Stack, environ: dict[str, str]) -> None:
    """Compose's own arithmetic over the files, held against ours."""
    lines = "".join(f"{name}={value}\n" for name, value in environ.items())
    (stack.root / ".env").write_text(lines)
    found = stack.config("*")["services"]
    described = [name for name in services.SERVICES if name in found]
    assert described
    for name in described:
        expected = services.environment_of(name, environ)
        given = found[name]["environment"]
        given = {key: given.get(key) for key in expected}
        assert given == expected, f"put what `python -m stack.services {name}` prints into compose/"


def test_no_container_gets_more_of_the_stores_variables_than_described(stack: stacks.Stack) -> None:
    for name, service in stack.config("*")["services"].items():
        if name in services.SERVICES:
            ours = {
                key for key in service["environment"] if key.startswith(("OVERSIGHT_", "LANGFUSE_"))
            }
            assert ours <= services.SERVICES[name].keys(), name


def _expressions(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for each in node.values():
            yield from _expressions(each)
    elif isinstance(node, list):
        for each in node:
            yield from _expressions(each)
    elif isinstance(node, str) and "${" in node:
        yield node


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_variable_is_a_setting_with_its_default(file: Path) -> None:
    """An expression with another default than the settings' would be a second truth."""
    known = services.TABLE
    for text in _expressions(yaml.safe_load(file.read_text())):
        named = re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", text)
        assert named, text
        outermost = re.match(r"\$\{([A-Z0-9_]+)", text)
        for name in named:
            assert name in known or any(name in each.aliases for each in known.values()), name
        if outermost and text.count("${") == text.count(f"${{{outermost[1]}"):
            wanted = expression(f"${{{outermost[1]}}}", known)
            overridden = references(text) and text.startswith(f"${{{outermost[1]}:-")
            assert text.startswith(wanted) or overridden, text


def test_every_setting_is_used_somewhere() -> None:
    text = "".join(file.read_text() for file in FILES)
    assert [name for name in VARIABLES if f"${{{name}:-" not in text] == []


def test_published_ports_are_on_loopback_by_default(stack: stacks.Stack) -> None:
    for name, service in stack.config("*")["services"].items():
        for port in service.get("ports", ()):
            assert port["host_ip"] == "127.0.0.1", f"{name} publishes {port}"


def test_the_two_stacks_share_no_published_port(compose_files: list[str]) -> None:
    taken: dict[str, str] = {}
    for folder in FOLDERS:
        stack = stacks.Stack(compose_files, docker.ROOT, folder, "oversight-test-config")
        for name, service in stack.config("*")["services"].items():
            for port in service.get("ports", ()):
                owner = taken.setdefault(port["published"], name)
                assert owner == name, f"{owner} and {name} both want {port['published']}"
    usual = {"9000", "8081", "3306", "5432", "6379", "8123", "9092", "9200"}
    assert not usual & taken.keys(), "ports that other programs of a developer have"


def test_without_env_langfuse_has_no_known_password_or_key(compose_files: list[str]) -> None:
    stack = stacks.Stack(compose_files, docker.ROOT, "langfuse", "oversight-test-config")
    web = stack.config()["services"]["langfuse-web"]["environment"]
    assert {
        name: value for name, value in web.items() if name.startswith("LANGFUSE_INIT_") and value
    } == {}


def test_telemetry_is_off(stack: stacks.Stack) -> None:
    for service in stack.config("*")["services"].values():
        for name, value in (service.get("environment") or {}).items():
            if name in ("TELEMETRY_ENABLED", "DATAHUB_TELEMETRY_ENABLED"):
                assert value == "false"
    names = {"langfuse": ("langfuse-web", "langfuse-worker"), "datahub": ("datahub-gms", "actions")}
    for name in names[stack.folder]:
        environment = stack.config()["services"][name]["environment"]
        assert any(key.endswith("TELEMETRY_ENABLED") for key in environment), name


def test_images_are_pinned(stack: stacks.Stack) -> None:
    for name, service in stack.config("*")["services"].items():
        _, _, tag = service["image"].rpartition(":")
        assert re.search(r"\d", tag), f"{name}: {service['image']}"
        assert tag != "latest"


def test_only_langfuse_owns_the_store(compose_files: list[str]) -> None:
    for folder, has_store in (("langfuse", True), ("datahub", False)):
        stack = stacks.Stack(compose_files, docker.ROOT, folder, "oversight-test-config")
        assert ("minio" in stack.config()["services"]) is has_store
        assert "minio" in stack.config("*")["services"]


def test_the_stores_image_is_built_and_never_pulled(stack: stacks.Stack) -> None:
    for name, service in stack.config("*")["services"].items():
        if service["image"] == Stack.of({}).image:
            assert service["pull_policy"] == ("build" if name == "minio" else "never")


def test_folders_of_the_stacks_hold_no_python() -> None:
    for folder in FOLDERS:
        assert not list((docker.ROOT / folder).rglob("*.py"))
