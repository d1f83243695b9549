"""The index of Langfuse's objects in a running store: it follows, survives kills, can be off."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config

from tests.server.conftest import Start, children, until
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore

TRACE = "0af7651916cd43dd8448eb211c80319c"
KEY = "events/otel/p1/2026/08/17/09/41/{}.json"


class Api:
    """The control API, as the root user."""

    def __init__(self, store: ServedStore) -> None:
        self._client = httpx.Client(base_url=store.console, trust_env=False, timeout=90)
        body = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        answer = until(lambda: self._login(body))
        self.authorization = {"authorization": f"Bearer {answer['token']}"}
        self._client.headers.update(self.authorization)

    def _login(self, body: dict[str, str]) -> Any:
        answer = self._client.post("/api/v1/login", json=body)
        return answer.json() if answer.status_code == 200 else None

    def get(self, path: str, **query: Any) -> Any:
        answer = self._client.get(f"/api/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def keys(self) -> list[str]:
        return [event["key"] for event in self.get("langfuse/events", trace=TRACE)["events"]]


def s3_of(store: ServedStore) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


def body(number: int) -> bytes:
    start = (1_787_000_000 + number) * 10**9
    span = {"traceId": TRACE, "startTimeUnixNano": str(start), "name": "root"}
    return json.dumps([{"scopeSpans": [{"spans": [span]}]}]).encode()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_follows_a_running_store(start: Start, workers: str) -> None:
    store = start(OVERSIGHT_WORKERS=workers)
    api, s3 = Api(store), s3_of(store)
    for number in range(3):
        s3.put_object(Bucket="langfuse", Key=KEY.format(number), Body=body(number))
    wanted = [KEY.format(number) for number in range(3)]
    until(lambda: api.keys() == wanted)
    s3.delete_object(Bucket="langfuse", Key=wanted.pop(1))
    until(lambda: api.keys() == wanted)
    until(lambda: api.get("langfuse")["state"] == "following")
    assert api.get("langfuse/projects")["projects"][0]["project"] == "p1"


def test_killed_it_goes_on(start: Start) -> None:
    store = start(OVERSIGHT_WORKERS="2")
    assert store.process is not None
    api, s3 = Api(store), s3_of(store)
    wanted = []
    for number in range(40):
        wanted.append(KEY.format(f"{number:02}"))
        s3.put_object(Bucket="langfuse", Key=wanted[-1], Body=body(number))
        if number % 10 == 5:
            (services,) = until(lambda: children(store.process.pid).get("services"))
            os.kill(services, signal.SIGKILL)
    until(lambda: api.keys() == wanted)


def test_off_nothing_of_it_is_left(start: Start) -> None:
    store = start(OVERSIGHT_WORKERS="2")
    s3_of(store).put_object(Bucket="langfuse", Key=KEY.format(1), Body=body(1))
    api = Api(store)
    until(api.keys)
    file = Path(store.drive, ".oversight", "langfuse.db")
    assert file.exists()
    store.stop()
    store.environment["OVERSIGHT_LANGFUSE_INDEX"] = "off"
    store.start()
    api = Api(store)
    until(lambda: not file.exists())
    assert api.get("langfuse")["state"] == "off"
    store.stop()
    store.environment["OVERSIGHT_LANGFUSE_INDEX"] = "on"
    store.environment["MINIO_PROMETHEUS_AUTH_TYPE"] = "public"
    store.start()
    api = Api(store)
    until(lambda: api.keys() == [KEY.format(1)])
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    page = opener.open(f"{store.endpoint}/minio/v2/metrics/cluster", timeout=60).read().decode()
    (line,) = [
        row for row in page.splitlines() if row.startswith("oversight_langfuse_index_objects{")
    ]
    assert float(line.rpartition(" ")[2]) == 1
