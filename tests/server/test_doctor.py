"""The bundle's checks, contributed to a running store."""

from __future__ import annotations

import httpx
import pytest

from tests.server.conftest import Start
from tests.server.test_langfuse_index import Api


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_doctor_finds_the_store_well(start: Start, workers: str) -> None:
    store = start(OVERSIGHT_WORKERS=workers)
    api = Api(store)
    names = {check["name"] for check in api.get("doctor")}
    assert {"reachable", "access", "write", "download", "cors"} <= names
    answer = httpx.post(
        f"{store.console}/api/v1/doctor",
        headers=api.authorization,
        trust_env=False,
        timeout=100,
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    verdicts = {result["check"]: result["verdict"] for result in found["results"]}
    troubles = {result["check"]: result["trouble"] for result in found["results"]}
    assert verdicts["cors"] == verdicts["export"] == "passed"
    assert verdicts["write"] == "passed" or troubles["write"] == "slow"  # on a busy machine
    assert not [each for each in found["troubles"] if each["severity"] == "failure"], found
    keys = api.get("buckets/langfuse/objects", prefix="events/.oversight-doctor/")["objects"]
    assert keys == []
