"""``cd langfuse && docker compose up``: in order, with own secrets, and what ``down`` leaves.

The store, PostgreSQL and Redis are real; web, worker and ClickHouse are stand-ins, which do with
them what Langfuse does (tests/bundle/images/stand_in.py). The compose files are the shipped ones.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from dotenv import dotenv_values

from tests.bundle import docker, stacks
from tests.clients import langfuse_application
from tests.clients.test_langfuse_sdk import PNG
from tests.serving import clean_environment

pytestmark = pytest.mark.timeout(900)

RUNNING = ("minio", "postgres", "clickhouse", "redis", "langfuse-web", "langfuse-worker")
VOLUMES = {"store_data", "postgres_data", "clickhouse_data", "clickhouse_logs", "redis_data"}


@pytest.fixture(scope="module")
def make(
    image: str, compose: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], stacks.Stack]]:
    """Make a stack that was never started, in a copy of the checkout; all end with the module."""
    images, made = stacks.images(image), []

    def new() -> stacks.Stack:
        project = docker.unique("langfuse")
        environ = {**images, **stacks.free_ports(), "OVERSIGHT_NETWORK": docker.unique("network")}
        root = stacks.copy_of_checkout(tmp_path_factory.mktemp("checkout"))
        made.append(stacks.Stack(compose, root, "langfuse", project, environ))
        return made[-1]

    yield new
    for stack in made:
        stack.down("--volumes")


def write_env(stack: stacks.Stack, *options: str) -> str:
    """``oversight env`` for the stack; what it said."""
    command = [sys.executable, "-m", "stack.cli", "env", "--file", str(stack.root / ".env")]
    done = docker.run(*command, "--project", stack.project, *options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def started(stack: stacks.Stack, service: str, moment: str = "StartedAt") -> str:
    """When a container was started, or has ended, in a form that sorts."""
    name = stack.run("ps", "--all", "--quiet", service).strip()
    return docker.docker("inspect", "--format", f"{{{{.State.{moment}}}}}", name)


def call(stack: stacks.Stack, path: str, keys: tuple[str, str]) -> Any:
    """What Langfuse's API answers to ``keys``; the status where it is no success."""
    request = urllib.request.Request(f"{address(stack)}{path}")
    request.add_header(
        "Authorization", f"Basic {base64.b64encode(':'.join(keys).encode()).decode()}"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code


def address(stack: stacks.Stack) -> str:
    return f"http://localhost:{stack.environ['LANGFUSE_PORT']}"


def s3(stack: stacks.Stack, access_key: str, secret_key: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"http://localhost:{stack.environ['OVERSIGHT_S3_PORT']}",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", retries={"max_attempts": 1}),
    )


# -- without a .env -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(make: Callable[[], stacks.Stack]) -> stacks.Stack:
    """A stack that was started without any ``.env``."""
    stack = make()
    seconds = stack.up()
    print(f"langfuse/ was healthy {seconds:.0f} s after docker compose up", file=sys.__stderr__)
    return stack


def test_everything_is_healthy(bare: stacks.Stack) -> None:
    assert bare.states() == dict.fromkeys(RUNNING, "running (healthy)") | {
        "bootstrap": "exited (0)"
    }
    assert bare.volumes() == VOLUMES


def test_it_started_in_order(bare: stacks.Stack) -> None:
    web = started(bare, "langfuse-web")
    assert started(bare, "minio") < started(bare, "bootstrap")
    assert started(bare, "bootstrap", "FinishedAt") < web
    for database in ("postgres", "clickhouse", "redis"):
        assert started(bare, database) < web
    assert web < started(bare, "langfuse-worker")


def test_only_known_ports_are_open_and_only_here(bare: stacks.Stack) -> None:
    published = {}
    for service in RUNNING:
        name = bare.run("ps", "--quiet", service).strip()
        for line in docker.docker("port", name).splitlines():
            published[service, line.split("/")[0]] = line.split(" -> ")[1]
    assert set(published) == {("minio", "9000"), ("minio", "9001"), ("langfuse-web", "3000")}
    assert all(each.startswith("127.0.0.1:") for each in published.values())


def test_no_login_is_known(bare: stacks.Stack) -> None:
    assert call(bare, "/api/public/projects", ("pk-lf-1234567890", "sk-lf-1234567890")) == 401


def test_env_locks_nobody_out_of_what_was_started_without_one(bare: stacks.Stack) -> None:
    said = write_env(bare)
    kept = {line.split()[1].rstrip(",") for line in said.splitlines() if line.startswith("Kept: ")}
    assert kept == {"OVERSIGHT_ROOT_PASSWORD", "SALT", "ENCRYPTION_KEY", "POSTGRES_PASSWORD"}
    written = dotenv_values(bare.root / ".env")
    assert (written["POSTGRES_PASSWORD"], written["SALT"]) == ("postgres", "mysalt")
    assert written["OVERSIGHT_ROOT_PASSWORD"] == "miniosecret"
    assert "LANGFUSE_INIT_ORG_ID" not in written, "an installation that exists has its users"

    bare.up()
    assert set(bare.states().values()) == {"running (healthy)", "exited (0)"}
    key, secret = written["OVERSIGHT_LANGFUSE_ACCESS_KEY"], written["OVERSIGHT_LANGFUSE_SECRET_KEY"]
    assert s3(bare, str(key), str(secret)).list_objects_v2(Bucket="langfuse", Prefix="events/")


# -- with secrets of one's own --------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(make: Callable[[], stacks.Stack]) -> stacks.Stack:
    """A stack that was first started with what ``oversight env`` wrote."""
    stack = make()
    write_env(stack)
    stack.up()
    return stack


def keys(stack: stacks.Stack) -> tuple[str, str]:
    """Langfuse's API keys of the project that was made at the first start."""
    written = dotenv_values(stack.root / ".env")
    names = ("LANGFUSE_INIT_PROJECT_PUBLIC_KEY", "LANGFUSE_INIT_PROJECT_SECRET_KEY")
    return str(written[names[0]]), str(written[names[1]])


def send_trace(stack: stacks.Stack, folder: Path) -> bytes:
    """A trace with an image, by Langfuse's SDK on this machine; the image."""
    image = PNG + os.urandom(40_000)
    (folder / "picture.png").write_bytes(image)
    public, secret = keys(stack)
    environ = clean_environment(
        LANGFUSE_BASE_URL=address(stack), LANGFUSE_PUBLIC_KEY=public, LANGFUSE_SECRET_KEY=secret,
        LANGFUSE_TIMEOUT="60",
    )  # fmt: skip
    application = langfuse_application.__file__
    done = docker.run(sys.executable, application, folder / "picture.png", env=environ)
    assert done.returncode == 0, done.stdout
    return image


def wait_for_trace(stack: stacks.Stack) -> dict[str, Any]:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        found = call(stack, "/api/public/traces", keys(stack))
        if isinstance(found, dict) and found["data"]:
            return dict(found["data"][0])
        time.sleep(0.2)
    raise AssertionError(f"no trace arrived:\n{stack.logs()}")


def media(stack: stacks.Stack, image: bytes) -> bytes:
    """The image, by the URL that web signs for browsers."""
    media_id = base64.urlsafe_b64encode(hashlib.sha256(image).digest()).decode()[:22]
    found = call(stack, f"/api/public/media/{media_id}", keys(stack))
    assert found["url"].startswith(f"http://localhost:{stack.environ['OVERSIGHT_S3_PORT']}/")
    with urllib.request.urlopen(found["url"], timeout=60) as answer:
        return bytes(answer.read())


def test_a_trace_with_an_image_goes_all_the_way(own: stacks.Stack, tmp_path: Path) -> None:
    image = send_trace(own, tmp_path)
    trace = wait_for_trace(own)
    assert trace["key"].startswith("events/otel/")
    assert trace["media"] >= 1, "the worker sees media by its own endpoint"
    assert media(own, image) == image


def test_doctor_and_verify_find_all_well(own: stacks.Stack) -> None:
    """By the commands of the README, with what stands in the stack's .env and nothing else."""
    # The SDK's own five seconds are few for a machine that builds images beside this.
    environ = clean_environment(**own.environ, COLUMNS="200", LANGFUSE_TIMEOUT="60")
    for words in (("doctor", "--timeout", "60"), ("verify", "--wait", "180")):
        done = docker.run(
            sys.executable, "-m", "stack.cli", *words, env=environ, cwd=own.root, timeout=600
        )
        assert done.returncode == 0, done.stdout
        assert "FAILED" not in done.stdout
    assert "ok" in next(line for line in done.stdout.splitlines() if "shows the trace" in line)


def test_langfuses_key_opens_langfuses_bucket_alone(own: stacks.Stack) -> None:
    written = dotenv_values(own.root / ".env")
    client = s3(
        own,
        str(written["OVERSIGHT_LANGFUSE_ACCESS_KEY"]),
        str(written["OVERSIGHT_LANGFUSE_SECRET_KEY"]),
    )
    client.put_object(Bucket="langfuse", Key="events/mine", Body=b"mine")
    with pytest.raises(ClientError, match="AccessDenied"):
        client.list_objects_v2(Bucket="datahub")
    with pytest.raises(ClientError, match="AccessDenied"):
        client.create_bucket(Bucket="another")


def test_published_default_secrets_open_nothing(own: stacks.Stack) -> None:
    with pytest.raises(ClientError, match=r"InvalidAccessKeyId|SignatureDoesNotMatch"):
        s3(own, "minio", "miniosecret").list_buckets()


def test_a_lost_env_is_written_again_from_what_runs(own: stacks.Stack, tmp_path: Path) -> None:
    """Its secrets are taken from the containers, so what they open stays open."""
    before = dotenv_values(own.root / ".env")
    public_and_secret = keys(own)
    image = send_trace(own, tmp_path)
    (own.root / ".env").unlink()
    write_env(own)
    after = dotenv_values(own.root / ".env")
    for baked in ("OVERSIGHT_ROOT_PASSWORD", "SALT", "ENCRYPTION_KEY", "POSTGRES_PASSWORD"):
        assert after[baked] == before[baked], baked
    assert after["REDIS_AUTH"] != before["REDIS_AUTH"]
    own.up()
    assert isinstance(call(own, "/api/public/projects", public_and_secret), dict)
    kept = {name: value for name, value in before.items() if name.startswith("LANGFUSE_INIT_")}
    with (own.root / ".env").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in kept.items())
    assert media(own, image) == image


def test_down_keeps_everything(own: stacks.Stack, tmp_path: Path) -> None:
    image = send_trace(own, tmp_path)
    own.down()
    assert own.states() == {}
    assert own.volumes() == VOLUMES
    own.up()
    assert media(own, image) == image


def test_down_with_v_deletes_what_the_readme_says_in_bold(own: stacks.Stack) -> None:
    own.down("--volumes")
    assert own.volumes() == set()
    readme = (docker.ROOT / "langfuse" / "README.md").read_text()
    bold = [each for each in readme.split("**")[1::2] if "down -v" in each]
    assert bold
    assert all(f"`{name}`" in bold[0] for name in VOLUMES | {"grafana_data", "prometheus_data"})
