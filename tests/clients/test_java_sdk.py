"""The AWS SDK for Java 2. The scenarios are in ``java/Client.java``."""

from __future__ import annotations

import re

import pytest

from tests.clients import tools
from tests.conftest import Store
from tests.serving import clean_environment

SCENARIOS = re.findall(
    r'SCENARIOS\.put\("([a-z-]+)"', (tools.JAVA_FOLDER / "Client.java").read_text()
)


@pytest.fixture(scope="module")
def outcome(store: Store) -> dict[str, str]:
    """What became of each scenario; a Java machine takes too long to start for each alone."""
    environment = clean_environment(
        S3_ENDPOINT=store.endpoint, S3_ACCESS_KEY=store.access_key, S3_SECRET_KEY=store.secret_key
    )
    lines = tools.run(*tools.java_client(), env=environment, timeout=180).splitlines()
    return {line.split()[1].rstrip(":"): line for line in lines if line}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_java_sdk(scenario: str, outcome: dict[str, str]) -> None:
    assert outcome[scenario] == f"passed {scenario}"


def test_every_scenario_is_found() -> None:
    assert tools.run(*tools.java_client(), "--list").split() == SCENARIOS
