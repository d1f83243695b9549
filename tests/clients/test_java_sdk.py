"""The AWS SDK for Java 2. The scenarios are in ``java/Client.java``."""

from __future__ import annotations

import re

import pytest

from tests.clients import tools
from tests.conftest import Store

SCENARIOS = re.findall(
    r'SCENARIOS\.put\("([a-z-]+)"', (tools.JAVA_FOLDER / "Client.java").read_text()
)


@pytest.fixture(scope="module")
def outcome(store: Store) -> dict[str, str]:
    return tools.outcomes(store, *tools.java_client())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_java_sdk(scenario: str, outcome: dict[str, str]) -> None:
    assert outcome[scenario] == f"passed {scenario}"


def test_every_scenario_is_found() -> None:
    assert tools.run(*tools.java_client(), "--list").split() == SCENARIOS
