"""Lifecycle rules in a whole store: what they take is gone from the drive, whatever happens."""

from __future__ import annotations

import os
import re
import signal
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Start, children, until
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore

pytest.importorskip("boto3")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")

BUCKET = "expiring"
#: A day of two seconds, and segments of the smallest size.
SHORT = {
    "OVERSIGHT_LIFECYCLE_DAY_SECONDS": "2",
    "OVERSIGHT_SEGMENT_SIZE": "16MiB",
    "OVERSIGHT_PROMETHEUS_AUTH_TYPE": "public",
}
SMALL, SMALL_COUNT = 64 * 1024, 900
LARGE, LARGE_COUNT = 1_500_000, 12


def client(store: ServedStore) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(s3={"addressing_style": "path"}, proxies={}, max_pool_connections=16),
    )


def fill(s3: Any) -> None:
    """Events that are to go and some that are to stay, small and large; an upload in progress."""
    s3.create_bucket(Bucket=BUCKET)
    jobs = [(f"events/{n:04}", SMALL) for n in range(SMALL_COUNT)]
    jobs += [(f"events/large-{n}", LARGE) for n in range(LARGE_COUNT)]
    jobs += [(f"media/{n}", SMALL) for n in range(20)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda job: s3.put_object(Bucket=BUCKET, Key=job[0],
                                                Body=os.urandom(job[1])), jobs))  # fmt: skip
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="events/upload")["UploadId"]
    s3.upload_part(Bucket=BUCKET, Key="events/upload", UploadId=upload, PartNumber=1,
                   Body=os.urandom(LARGE))  # fmt: skip


def expire(s3: Any) -> None:
    rule = {
        "ID": "events",
        "Status": "Enabled",
        "Filter": {"Prefix": "events/"},
        "Expiration": {"Days": 1},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})


def left(s3: Any) -> int:
    """How many events there still are, uploads among them."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="events/")
    uploads = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return sum(page["KeyCount"] for page in pages) + len(uploads)


def on_drive(folder: Path) -> int:
    """Bytes that segments and files of objects take; the reserve is always there."""
    total = 0
    for root, _, names in os.walk(folder):
        if not {"index", "reserve"}.isdisjoint(Path(root).parts):
            continue
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


_SAMPLE = re.compile(
    r'^oversight_lifecycle_(\w+)\{(?:kind="(\w+)",)?server="[^"]*"\} (\S+)$', re.MULTILINE
)


def metrics(store: ServedStore) -> dict[str, float]:
    """The lifecycle's own figures by name, with the kind behind it where there is one."""
    url = f"{store.endpoint}/minio/v2/metrics/cluster"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as answer:
        text = answer.read().decode()
    return {f"{name} {kind}".strip(): float(value) for name, kind, value in _SAMPLE.findall(text)}


def test_space_comes_back(start: Start) -> None:
    store = start(**SHORT)
    s3 = client(store)
    fill(s3)
    full = on_drive(store.drive)
    assert full > SMALL * SMALL_COUNT + LARGE * LARGE_COUNT
    expire(s3)
    until(lambda: left(s3) == 0, 90)
    kept = [f"media/{n}" for n in range(20)]
    # Garbage waits for readers, compaction for its turn: seconds, not minutes.
    until(lambda: on_drive(store.drive) < full * 0.45, 90)
    for key in kept:
        assert len(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()) == SMALL
    objects = SMALL_COUNT + LARGE_COUNT
    until(lambda: metrics(store)["expired_total object"] >= objects)
    until(lambda: metrics(store)["expired_total upload"] >= 1)
    told = until(lambda: (found := metrics(store))["backlog"] == 0 and found)
    assert told["expired_total object"] == objects
    assert told["expired_total upload"] == 1
    assert told["expired_total noncurrent_version"] == told["expired_total delete_marker"] == 0
    assert told["expired_bytes_total"] == SMALL * SMALL_COUNT + LARGE * LARGE_COUNT
    assert told["runs_total"] >= 1
    assert told["finished_seconds"] > told["duration_seconds"]
    assert told["backlog_bytes"] == 0


@pytest.mark.parametrize("victim", ["services", "committer", "all"])
def test_a_run_goes_on_where_it_was_killed(start: Start, victim: str) -> None:
    store = start(**SHORT)
    s3 = client(store)
    s3.create_bucket(Bucket=BUCKET)
    for name in range(10):
        s3.put_object(Bucket=BUCKET, Key=f"media/0{name}", Body=b"x")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: s3.put_object(Bucket=BUCKET, Key=f"events/{n:05}", Body=b"x"),
                      range(1500)))  # fmt: skip
    expire(s3)
    until(lambda: left(s3) < 1400)
    if victim == "all":
        store.kill()
        store = start(**SHORT)
        s3 = client(store)
    else:
        assert store.process is not None
        (pid,) = children(store.process.pid)[victim]
        os.kill(pid, signal.SIGKILL)
    until(lambda: left(s3) == 0)
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="media/0")["KeyCount"] == 10
