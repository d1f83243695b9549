"""The AWS SDK for Ruby 3. The scenarios are in ``ruby/client.rb``."""

from __future__ import annotations

import re

import pytest

from tests.clients import tools
from tests.conftest import Store
from tests.serving import clean_environment

SCENARIOS = re.findall(
    r'^  "([a-z-]+)" => lambda', (tools.RUBY_FOLDER / "client.rb").read_text(), re.MULTILINE
)


@pytest.fixture(scope="module")
def outcome(store: Store) -> dict[str, str]:
    """What became of each scenario; the SDK takes too long to load for each alone."""
    environment = clean_environment(
        S3_ENDPOINT=store.endpoint, S3_ACCESS_KEY=store.access_key, S3_SECRET_KEY=store.secret_key
    )
    lines = tools.run(*tools.ruby_client(), env=environment, timeout=180).splitlines()
    return {line.split()[1].rstrip(":"): line for line in lines if line}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_ruby_sdk(scenario: str, outcome: dict[str, str]) -> None:
    assert outcome[scenario] == f"passed {scenario}"


def test_every_scenario_is_found() -> None:
    assert tools.run(*tools.ruby_client(), "--list").split() == SCENARIOS
