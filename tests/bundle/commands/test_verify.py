"""`oversight verify` against a stand-in for Langfuse's API (not Langfuse) on a real store.

The SDK is the real one, the store is the real one, DataHub is a stand-in too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bundle.commands.conftest import ROOT, SECRET
from tests.clients.langfuse_stand_in import PROJECT, PUBLIC_KEY, SECRET_KEY, LangfuseStandIn
from tests.serving import ServedStore, clean_environment, free_port

pytest.importorskip("langfuse.media", reason="the Langfuse SDK is not installed")
boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("opentelemetry.proto", reason="opentelemetry-proto is not installed")

STEPS = [
    "Langfuse answers",
    "Its API keys are right",
    "A trace with an image is sent",
    "The event is in the bucket",
    "The image is in the bucket",
    "The image comes back by its signed URL",
    "Langfuse shows the trace",
]
Verify = Callable[..., "subprocess.CompletedProcess[str]"]


def client(endpoint: str) -> Any:
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=ROOT,
        aws_secret_access_key=SECRET,
        config=Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, proxies={},
            retries={"total_max_attempts": 1},
        ),
    )  # fmt: skip


@pytest.fixture
def langfuse(own_store: ServedStore) -> Iterator[LangfuseStandIn]:
    with LangfuseStandIn(client(own_store.endpoint), "langfuse") as stand_in:
        yield stand_in


@pytest.fixture
def verify(own_store: ServedStore, langfuse: LangfuseStandIn, tmp_path: Path) -> Verify:
    """Run `oversight verify` in a process of its own: the SDK keeps global state."""

    def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = clean_environment(
            OVERSIGHT_ROOT_USER=ROOT,
            OVERSIGHT_ROOT_PASSWORD=SECRET,
            OVERSIGHT_EXTERNAL_ENDPOINT=own_store.endpoint,
            OVERSIGHT_INTERNAL_ENDPOINT=own_store.endpoint,
            LANGFUSE_BASE_URL=langfuse.url,
            LANGFUSE_PUBLIC_KEY=PUBLIC_KEY,
            LANGFUSE_SECRET_KEY=SECRET_KEY,
            LANGFUSE_TIMEOUT="60",
            DATAHUB_TELEMETRY_ENABLED="false",
            COLUMNS="200",
            PYTHONPATH=str(Path(__file__).parents[3]),
        )
        return subprocess.run(
            [sys.executable, "-m", "stack.cli", "verify", *arguments],
            env=environment | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    return make


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {step["name"]: step["verdict"] for step in json.loads(done.stdout)["steps"]}


def failed(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one step that failed; all before it passed, all after it are left out."""
    assert done.returncode == 1, done.stdout + done.stderr
    steps = json.loads(done.stdout)["steps"]
    (place,) = [at for at, step in enumerate(steps) if step["verdict"] == "failed"]
    assert {step["verdict"] for step in steps[:place]} <= {"passed"}
    assert {step["verdict"] for step in steps[place + 1 :]} <= {"left out"}
    return dict(steps[place])


def test_every_step_passes(verify: Verify, langfuse: LangfuseStandIn) -> None:
    done = verify("--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert verdicts(done) == dict.fromkeys(STEPS, "passed")
    (media_id,) = langfuse.media
    steps = {step["name"]: step for step in json.loads(done.stdout)["steps"]}
    assert steps["The image is in the bucket"]["detail"] == f"media/{PROJECT}/{media_id}.png"
    assert langfuse.event_keys[0] in steps["The event is in the bucket"]["detail"]
    assert langfuse.refused == []


def test_table_for_people(verify: Verify) -> None:
    done = verify()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for name, line in zip(STEPS, lines[1:], strict=False):
        assert line.startswith("ok")
        assert name in line
    assert "It works: 7 steps in " in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_artifact_is_registered_in_datahub(verify: Verify) -> None:
    pytest.importorskip("datahub.emitter", reason="acryl-datahub is not installed")
    from tests.datahub.gms_stand_in import GmsStandIn

    with GmsStandIn() as gms:
        done = verify("--json", DATAHUB_GMS_URL=gms.url)
        assert done.returncode == 0, done.stdout + done.stderr
        last = json.loads(done.stdout)["steps"][-1]
        assert last["name"] == "DataHub knows the image"
        assert last["detail"] in gms.entities
        assert gms.refused == []


def test_datahub_that_is_not_there(verify: Verify) -> None:
    pytest.importorskip("datahub.emitter", reason="acryl-datahub is not installed")
    step = failed(verify("--json", DATAHUB_GMS_URL=f"http://127.0.0.1:{free_port()}"))
    assert step["name"] == "DataHub knows the image"


def test_langfuse_that_is_not_there(verify: Verify) -> None:
    step = failed(verify("--json", LANGFUSE_BASE_URL=f"http://127.0.0.1:{free_port()}"))
    assert step["name"] == "Langfuse answers"
    assert "LANGFUSE_BASE_URL" in step["detail"]


def test_wrong_api_keys(verify: Verify) -> None:
    step = failed(verify("--json", LANGFUSE_SECRET_KEY="sk-lf-wrong"))
    assert step["name"] == "Its API keys are right"
    assert "sk-lf-wrong" not in step["detail"]


def test_no_api_keys(verify: Verify) -> None:
    done = verify(LANGFUSE_SECRET_KEY="")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "LANGFUSE_SECRET_KEY" in done.stderr
    done = verify(LANGFUSE_SECRET_KEY="", LANGFUSE_INIT_PROJECT_SECRET_KEY=SECRET_KEY)
    assert done.returncode == 0, "the keys of the ready project serve, too"


def test_langfuse_that_stores_elsewhere(verify: Verify, langfuse: LangfuseStandIn) -> None:
    """Two stacks mixed up: the traces arrive, in another bucket than we look into."""
    langfuse.s3.create_bucket(Bucket="elsewhere")
    langfuse.bucket = "elsewhere"
    step = failed(verify("--json", "--wait", "1"))
    assert step["name"] == "The event is in the bucket"
    assert "within 1 s" in step["detail"]


def test_signed_urls_that_lead_nowhere(verify: Verify, langfuse: LangfuseStandIn) -> None:
    """The commonest trouble: media URLs signed for a host that nobody outside can reach."""
    inside = client(langfuse.s3.meta.endpoint_url)
    outside = client(f"http://127.0.0.1:{free_port()}")

    class Mixed:
        put_object, get_object = inside.put_object, inside.get_object
        generate_presigned_url = outside.generate_presigned_url

    langfuse.s3 = Mixed()
    step = failed(verify("--json", "--wait", "1"))
    assert step["name"] in ("A trace with an image is sent", "The image is in the bucket")


def test_downloads_that_lead_nowhere(verify: Verify, langfuse: LangfuseStandIn) -> None:
    inside = client(langfuse.s3.meta.endpoint_url)
    outside = client(f"http://127.0.0.1:{free_port()}")

    class Mixed:
        put_object, get_object = inside.put_object, inside.get_object

        def generate_presigned_url(self, operation: str, **arguments: Any) -> str:
            side = outside if operation == "get_object" else inside
            return str(side.generate_presigned_url(operation, **arguments))

    langfuse.s3 = Mixed()
    step = failed(verify("--json"))
    assert step["name"] == "The image comes back by its signed URL"
    assert "OVERSIGHT_EXTERNAL_ENDPOINT" in step["detail"]


def test_worker_that_reads_nothing(verify: Verify, langfuse: LangfuseStandIn) -> None:
    langfuse.observations = lambda trace_id: {"data": []}  # type: ignore[method-assign]
    step = failed(verify("--json", "--wait", "10"))
    assert step["name"] == "Langfuse shows the trace"
    assert "langfuse-worker" in step["detail"]
