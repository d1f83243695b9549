"""Fixtures of the tests that need Docker. Without an engine they are skipped with the reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundle import docker

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Containers and images that are built take longer than other tests: all beside this file."""
    for item in items:
        if item.path.parent == HERE and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def docker_available() -> None:
    """Skip, with the reason, where no Docker engine answers."""
    reason = docker.missing()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def image(docker_available: None) -> str:
    """The name of the store's image, built from this checkout once for all test processes."""
    return docker.ensure_image()


@pytest.fixture
def engine(docker_available: None) -> Iterator[docker.Engine]:
    """Starts containers that go away with the test."""
    engine = docker.Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def compose(docker_available: None) -> list[str]:
    """The words that start Docker Compose: ``subprocess.run([*compose, "-f", ...])``."""
    return docker.compose_command()


@pytest.fixture(scope="session")
def testcontainers_environment(docker_available: None) -> None:
    """Testcontainers without its helper image, which is fetched from a registry."""
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    os.environ.setdefault("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
