"""MinIO's client for JavaScript. The scenarios are in ``js/minio.mjs``; each gets a bucket."""

from __future__ import annotations

import re

import pytest

from tests.clients import tools
from tests.conftest import Store
from tests.serving import clean_environment

PROGRAM = tools.JS_FOLDER / "minio.mjs"
SCENARIOS = re.findall(r'^  async "?([a-z0-9-]+)"?\(\)', PROGRAM.read_text(), re.MULTILINE)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_minio_js(scenario: str, store: Store, bucket: str) -> None:
    environment = clean_environment(
        S3_ENDPOINT=store.endpoint,
        S3_ACCESS_KEY=store.access_key,
        S3_SECRET_KEY=store.secret_key,
        S3_BUCKET=bucket,
    )
    tools.run(tools.node(), PROGRAM, scenario, env=environment)


def test_every_scenario_is_found() -> None:
    assert tools.run(tools.node(), PROGRAM, "--list").split() == SCENARIOS
