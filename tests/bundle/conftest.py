"""Fixtures of the tests that need Docker. Without an engine they are skipped with the reason."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.bundle import docker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Containers, and the image that the first test builds, take longer than other tests."""
    for item in items:
        needs_docker = "docker_available" in getattr(item, "fixturenames", ())
        if needs_docker and not item.get_closest_marker("timeout"):
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
