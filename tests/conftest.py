"""Fixtures that several kinds of tests share, and what a skipped test means.

``S3_TEST_ENDPOINT``, ``S3_TEST_ACCESS_KEY`` and ``S3_TEST_SECRET_KEY`` aim the tests of S3 and of
its clients at any store; without them each test process starts one of its own. With
``REQUIRE_ALL=1`` a skip is a failure.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest

from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore

REQUIRE_ALL = os.environ.get("REQUIRE_ALL", "") not in ("", "0")

# The usual run plays the same examples everywhere, however slow the machine is: a change is judged
# by what it changes. New ones are looked for with ``make fuzz``; what it finds is pinned.
hypothesis.settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "fuzz",
    deadline=None,
    derandomize=False,
    max_examples=500,
    stateful_step_count=100,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("default")  # where CI is set, Hypothesis would take one of its own


@dataclass(frozen=True)
class Store:
    """A store under test. ``served`` is None where somebody else runs it."""

    endpoint: str
    access_key: str
    secret_key: str
    served: ServedStore | None = None

    @property
    def host(self) -> str:
        """``address:port`` without the scheme, as minio-py and ``mc`` want it."""
        return self.endpoint.split("://", 1)[1]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A running store, shared by all tests of this process: make buckets of your own in it."""
    endpoint = os.environ.get("S3_TEST_ENDPOINT")
    if endpoint:
        access_key = os.environ.get("S3_TEST_ACCESS_KEY", ACCESS_KEY)
        secret_key = os.environ.get("S3_TEST_SECRET_KEY", SECRET_KEY)
        yield Store(endpoint.rstrip("/"), access_key, secret_key)
        return
    folder = tmp_path_factory.mktemp("store")
    served = ServedStore(folder / "drive", folder / "log")
    try:
        served.start()
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)
    yield Store(served.endpoint, ACCESS_KEY, SECRET_KEY, served)
    served.stop()


@pytest.fixture(scope="session")
def s3_endpoint(store: Store) -> str:
    """The S3 endpoint's URL, without a slash at its end."""
    return store.endpoint


@pytest.fixture(scope="session")
def s3_credentials(store: Store) -> tuple[str, str]:
    """(access key, secret key) of the root user."""
    return store.access_key, store.secret_key


@pytest.fixture(scope="session")
def make_boto_client(store: Store) -> Callable[..., Any]:
    """Make a boto3 client of the store; keyword arguments go to botocore's Config."""
    boto3 = pytest.importorskip("boto3")
    from botocore.config import Config

    def make(**config: Any) -> Any:
        options = {
            "signature_version": "s3v4",
            "s3": {"addressing_style": "path"},
            "retries": {"total_max_attempts": 1},
            "proxies": {},
        }
        return boto3.session.Session().client(
            "s3",
            endpoint_url=store.endpoint,
            region_name="us-east-1",
            aws_access_key_id=store.access_key,
            aws_secret_access_key=store.secret_key,
            config=Config(**(options | config)),
        )

    return make


@pytest.fixture(scope="session")
def boto_client(make_boto_client: Callable[..., Any]) -> Any:
    """A boto3 client with the SDK's defaults, path style, SigV4, no retries."""
    return make_boto_client()


@pytest.fixture
def bucket(boto_client: Any) -> Iterator[str]:
    """The name of a new bucket that goes away with all that is in it."""
    name = f"test-{uuid.uuid4().hex[:20]}"
    boto_client.create_bucket(Bucket=name)
    yield name
    empty_and_delete(boto_client, name)


def empty_and_delete(client: Any, bucket: str) -> None:
    """Delete a bucket with everything in it; a bucket that is gone already is fine."""
    try:
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            for upload in page.get("Uploads", ()):
                client.abort_multipart_upload(
                    Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                client.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])
        client.delete_bucket(Bucket=bucket)
    except client.exceptions.NoSuchBucket:
        pass


# -- skips ----------------------------------------------------------------------------------------


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that names the reason. Expected failures are left alone."""
    if REQUIRE_ALL and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although REQUIRE_ALL is set: {_reason(report)}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Any:
    report = yield
    _fail_if_skipped(report)
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was skipped and why, one line a reason."""
    counts: dict[tuple[str, str], int] = {}
    for report in terminalreporter.stats.get("skipped", ()):
        place = report.nodeid.split("::")[0]
        counts[place, _reason(report)] = counts.get((place, _reason(report)), 0) + 1
    if counts:
        terminalreporter.section("skipped here, run where the reason is cured")
        for (place, reason), count in sorted(counts.items()):
            terminalreporter.write_line(f"{place}: {count} skipped: {reason}")
