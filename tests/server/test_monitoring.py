"""Monitoring of a running store: all workers' requests, and errors by the ids that clients saw."""

from __future__ import annotations

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.server.conftest import Start, until
from tests.server.test_langfuse_index import Api, s3_of
from tests.serving import ServedStore


def _refused(store: ServedStore) -> str:
    """The request id of a request that is refused."""
    client = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing-at-all",
        config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"max_attempts": 0}),
    )
    with pytest.raises(ClientError) as caught:
        client.get_object(Bucket="langfuse", Key="some/key")
    return str(caught.value.response["ResponseMetadata"]["RequestId"])


def _operations(api: Api) -> set[str]:
    return {row["operation"] for row in api.get("monitoring/requests")["operations"]}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_monitoring(start: Start, workers: str) -> None:
    store = start(OVERSIGHT_WORKERS=workers)
    api = Api(store)
    refused = {_refused(store) for _ in range(3)}
    s3_of(store).put_object(Bucket="langfuse", Key="k", Body=b"12345")
    found = {each["request_id"]: each for each in api.get("monitoring/errors")}
    assert refused <= set(found)
    first = found[refused.pop()]
    assert (first["status"], first["operation"], first["key"]) == (403, "GetObject", "some/key")
    live = api.get("monitoring/live")
    assert len(live["workers"]) == int(workers)
    assert live["resident"] > 50_000_000
    capacity = api.get("monitoring/capacity")
    assert capacity["objects"] >= 1
    assert capacity["total"] > capacity["free"] > 0
    until(lambda: api.get("trends", bucket="langfuse")[0]["points"])
    until(
        lambda: (
            "PutObject"
            in {row["operation"] for row in api.get("monitoring/requests")["operations"]}
        )
    )
