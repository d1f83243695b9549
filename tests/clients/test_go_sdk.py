"""The AWS SDK for Go v2. The scenarios are in ``go/main.go``; each gets a bucket of its own."""

from __future__ import annotations

import re

import pytest

from tests.clients import tools
from tests.conftest import Store
from tests.serving import clean_environment

SCENARIOS = sorted(
    re.findall(r'^\t"([a-z0-9-]+)": ', (tools.GO_FOLDER / "main.go").read_text(), re.MULTILINE)
)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_go_sdk(scenario: str, store: Store, bucket: str) -> None:
    environment = clean_environment(
        S3_ENDPOINT=store.endpoint,
        S3_ACCESS_KEY=store.access_key,
        S3_SECRET_KEY=store.secret_key,
        S3_BUCKET=bucket,
    )
    tools.run(tools.go_client(), scenario, env=environment)


def test_every_scenario_is_found() -> None:
    assert tools.run(tools.go_client(), "--list").split() == SCENARIOS
