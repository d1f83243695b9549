"""A store inside the test's own process, and the fixtures that bring it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stack.testing import LocalStore
from storage.errors import StoreError

ROOT = Path(__file__).parents[3]
pytest_plugins = ["pytester"]


def test_stores_and_returns() -> None:
    with LocalStore() as store:
        s3 = store.client()
        s3.put_object(Bucket="langfuse", Key="events/x.json", Body=b"{}")
        assert s3.get_object(Bucket="langfuse", Key="events/x.json")["Body"].read() == b"{}"
        large = os.urandom(3 * 1024 * 1024)
        s3.put_object(Bucket="langfuse", Key="media/large", Body=large)
        assert s3.get_object(Bucket="langfuse", Key="media/large")["Body"].read() == large


def test_langfuses_bucket_and_others_are_there() -> None:
    with LocalStore(buckets=["mine", "langfuse/events/"]) as store:
        s3 = store.client()
        assert {each["Name"] for each in s3.list_buckets()["Buckets"]} == {"mine", "langfuse"}
        (marker,) = s3.list_objects_v2(Bucket="langfuse")["Contents"]
        assert marker["Key"] == "events/"


def test_keys_of_ones_own() -> None:
    with LocalStore(access_key="somebody", secret_key="something") as store:
        assert store.client().list_buckets()["Buckets"]
        store.secret_key = "something else"
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            store.client().list_buckets()


def test_health_is_served_for_code_that_waits() -> None:
    with LocalStore() as store:
        url = f"{store.endpoint}/minio/health/ready"
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert answer.status == 200


def test_nothing_is_left(tmp_path: Path) -> None:
    before = threading.active_count()
    store = LocalStore(folder=str(tmp_path)).start()
    endpoint = store.endpoint
    store.client().put_object(Bucket="langfuse", Key="x", Body=b"x")
    assert list(tmp_path.iterdir())
    store.stop()
    store.stop()
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(endpoint, timeout=60)


def test_several_at_once_know_nothing_of_each_other() -> None:
    with LocalStore() as one, LocalStore() as other:
        one.client().put_object(Bucket="langfuse", Key="x", Body=b"x")
        assert one.port != other.port
        assert "Contents" not in other.client().list_objects_v2(Bucket="langfuse", Prefix="x")


def test_lives_beside_a_running_loop() -> None:
    async def main() -> None:
        with LocalStore() as store:
            await asyncio.to_thread(store.client().list_buckets)

    asyncio.run(main())


def test_what_keeps_it_from_starting_is_raised(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        LocalStore(folder=str(tmp_path / "nowhere")).start()
    with pytest.raises((StoreError, ValueError, OSError)):
        LocalStore(host="no such host.invalid").start()
    assert list(tmp_path.iterdir()) == []


def test_loads_next_to_nothing() -> None:
    """A store that tests start again and again is there at once: nothing heavy is imported."""
    code = """
        import json, sys
        from stack.testing import LocalStore
        with LocalStore():
            print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    heavy = {"fastapi", "starlette", "pydantic", "boto3", "botocore", "typer", "rich", "httpx",
             "opentelemetry", "prometheus_client", "lxml", "pyarrow", "duckdb"}  # fmt: skip
    assert not heavy & set(json.loads(done.stdout))


def test_environment_names_what_langfuse_reads() -> None:
    """Every variable of Langfuse's S3 clients that the stack sets, and no other of theirs."""
    from stack.services import SERVICES, WEB

    with LocalStore() as store:
        variables = store.environment("mine")
    ours = {name for name in variables if name.startswith("LANGFUSE_")}
    assert ours == {name for name in SERVICES[WEB] if name.startswith("LANGFUSE_S3_")}
    assert variables["LANGFUSE_S3_MEDIA_UPLOAD_BUCKET"] == "mine"
    assert variables["AWS_ENDPOINT_URL"] == store.endpoint


def test_fixtures(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(
        """
        import boto3, os

        seen = []

        def test_client(oversight_client, oversight_bucket):
            seen.append(oversight_bucket)
            oversight_client.put_object(Bucket=oversight_bucket, Key="x", Body=b"x")
            oversight_client.create_multipart_upload(Bucket=oversight_bucket, Key="y")

        def test_bucket_is_new(oversight_client, oversight_bucket):
            assert oversight_bucket not in seen
            names = [each["Name"] for each in oversight_client.list_buckets()["Buckets"]]
            assert names == ["langfuse", oversight_bucket]

        def test_environment(oversight_environment, oversight_bucket):
            boto3.session.Session().client("s3").put_object(Bucket=oversight_bucket, Key="x")
            assert os.environ["LANGFUSE_S3_EVENT_UPLOAD_BUCKET"] == oversight_bucket

        def test_environment_is_gone():
            assert "AWS_ENDPOINT_URL" not in os.environ
        """
    )
    plugin = [] if _is_installed() else ["-p", "stack.testing.plugin"]
    done = pytester.runpytest_subprocess(*plugin, "-p", "no:cacheprovider")
    done.assert_outcomes(passed=4)


def test_plugin_is_announced() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"]["oversight"] == "stack.testing.plugin"


def _is_installed() -> bool:
    """Whether pytest finds the plugin by itself: the package is installed here."""
    from importlib.metadata import entry_points

    return any(each.name == "oversight" for each in entry_points(group="pytest11"))


def test_unknown_name_is_an_attribute_error() -> None:
    import stack.testing

    unknown: Any = stack.testing
    with pytest.raises(AttributeError, match="Nothing"):
        _ = unknown.Nothing
