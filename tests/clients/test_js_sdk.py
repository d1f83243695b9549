"""The AWS SDK for JavaScript v3, doing on the wire what Langfuse's server does.

The scenarios are in ``js/langfuse.mjs``; each gets a bucket of its own.
"""

from __future__ import annotations

import re

import pytest

from tests.clients import tools
from tests.conftest import Store
from tests.serving import clean_environment

SCENARIOS = re.findall(
    r'^  async "([a-z0-9-]+)"\(\)', (tools.JS_FOLDER / "langfuse.mjs").read_text(), re.MULTILINE
)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_langfuse_server(scenario: str, store: Store, bucket: str) -> None:
    environment = clean_environment(
        S3_ENDPOINT=store.endpoint,
        S3_ACCESS_KEY=store.access_key,
        S3_SECRET_KEY=store.secret_key,
        S3_BUCKET=bucket,
    )
    tools.run(tools.node(), tools.JS_FOLDER / "langfuse.mjs", scenario, env=environment)


def test_every_scenario_is_found() -> None:
    assert tools.run(tools.node(), tools.JS_FOLDER / "langfuse.mjs", "--list").split() == SCENARIOS
