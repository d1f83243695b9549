"""The AWS SDK for Ruby 3. The scenarios are in ``ruby/client.rb``."""

from __future__ import annotations

import re

import pytest

from tests.clients import tools
from tests.conftest import Store

SCENARIOS = re.findall(
    r'^  "([a-z-]+)" => lambda', (tools.RUBY_FOLDER / "client.rb").read_text(), re.MULTILINE
)


@pytest.fixture(scope="module")
def outcome(store: Store) -> dict[str, str]:
    return tools.outcomes(store, *tools.ruby_client())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_ruby_sdk(scenario: str, outcome: dict[str, str]) -> None:
    assert outcome[scenario] == f"passed {scenario}"


def test_every_scenario_is_found() -> None:
    assert tools.run(*tools.ruby_client(), "--list").split() == SCENARIOS
