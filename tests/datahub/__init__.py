"""Tests that need DataHub's SDK and its command line; without them they are skipped, not lost."""

import os

import pytest

os.environ["DATAHUB_TELEMETRY_ENABLED"] = "false"
pytest.register_assert_rewrite("tests.datahub.gms_stand_in")


def need_datahub() -> None:
    """Skip the calling module with the reason, unless DataHub's SDK is there."""
    reason = "DataHub's SDK is not installed: run `make datahub`"
    pytest.importorskip("datahub.ingestion.source.s3.source", reason=reason)
