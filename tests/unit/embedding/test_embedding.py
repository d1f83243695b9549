"""Both planes in one FastAPI application, served by uvicorn and used by boto3."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import uvicorn
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError

import storage
from storage import errors
from storage.iam.errors import WrongRootSecret
from storage.rekey import rekey_stopped
from storage.settings import Settings

SECRET = "a secret of my own"
KEYS = ["a", "events/../x", "a//b", "line\nbreak", "_oversight/docs", "ünï 😀"]


def settings(drive: Path, **options: Any) -> Settings:
    return Settings(drives=drive, root_user="root", root_password=SECRET, **options)


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The application under uvicorn on a free port; its base URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive(), "the application did not start"
        (sock,) = (s for each in server.servers for s in each.sockets)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    app = storage.create_app(settings(tmp_path_factory.mktemp("embedded"), buckets=("mine/in/",)))

    @app.get("/hello")
    def hello() -> str:
        return "from the embedding program"

    with served(app) as url:
        yield url


@pytest.fixture(scope="module")
def s3(base: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=base,
        region_name="us-east-1",
        aws_access_key_id="root",
        aws_secret_access_key=SECRET,
        config=BotoConfig(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def control(base: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{base}/_oversight") as client:
        answer = client.post("/api/v1/login", json={"access_key": "root", "secret_key": SECRET})
        client.headers["authorization"] = f"Bearer {answer.raise_for_status().json()['token']}"
        yield client


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("size", [10, 300_000])
def test_s3_works_at_the_root(s3: Any, key: str, size: int) -> None:
    s3.put_object(Bucket="langfuse", Key=key, Body=b"x" * size)
    assert s3.get_object(Bucket="langfuse", Key=key)["Body"].read() == b"x" * size
    assert key in {each["Key"] for each in s3.list_objects_v2(Bucket="langfuse")["Contents"]}
    s3.delete_object(Bucket="langfuse", Key=key)


def test_configured_buckets_are_there(s3: Any) -> None:
    assert {each["Name"] for each in s3.list_buckets()["Buckets"]} == {"langfuse", "mine"}
    assert s3.head_object(Bucket="mine", Key="in/")["ContentLength"] == 0


def test_both_doors_lead_to_the_same_object(s3: Any, control: httpx.Client) -> None:
    s3.put_object(
        Bucket="mine", Key="in/k", Body=b"by s3", ContentType="text/x", Metadata={"a": "b"}
    )
    got = control.get("/api/v1/buckets/mine/objects/in/k")
    assert got.content == b"by s3"
    assert (got.headers["content-type"], got.headers["x-amz-meta-a"]) == ("text/x", "b")
    big = bytes(range(256)) * 2000
    control.put(
        "/api/v1/buckets/mine/objects/in/big", content=big, headers={"x-amz-meta-c": "d"}
    ).raise_for_status()
    there = s3.get_object(Bucket="mine", Key="in/big")
    assert there["Body"].read() == big
    assert there["Metadata"] == {"c": "d"}
    part = control.get(
        "/api/v1/buckets/mine/objects/in/big", headers={"range": "bytes=100000-400000"}
    )
    assert part.content == big[100000:400001]
    counters = control.get("/api/v1/buckets/mine").json()
    assert (counters["objects"], counters["bytes"]) == (3, len(big) + 5)


def test_a_user_made_here_signs_there(s3: Any, control: httpx.Client, base: str) -> None:
    made = control.post("/api/v1/users", json={"name": "ada", "policies": ["readonly"]}).json()
    adas = boto3.client(
        "s3",
        endpoint_url=base,
        region_name="us-east-1",
        aws_access_key_id=made["access_key"],
        aws_secret_access_key=made["secret_key"],
        config=BotoConfig(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
    s3.put_object(Bucket="mine", Key="in/ada", Body=b"x")
    assert adas.get_object(Bucket="mine", Key="in/ada")["Body"].read() == b"x"
    with pytest.raises(ClientError, match="AccessDenied"):
        adas.put_object(Bucket="mine", Key="in/ada", Body=b"y")
    control.patch("/api/v1/users/ada", json={"status": "disabled"}).raise_for_status()
    with pytest.raises(ClientError):
        adas.get_object(Bucket="mine", Key="in/ada")


def test_the_embedding_programs_routes_come_first(base: str) -> None:
    assert httpx.get(f"{base}/hello").json() == "from the embedding program"


def test_pages_and_health_below_the_prefix(base: str) -> None:
    assert 'href="/_oversight/docs"' in httpx.get(f"{base}/_oversight/").text
    assert httpx.get(f"{base}/_oversight/docs").status_code == 200
    assert httpx.get(f"{base}/_oversight/api/v1/health").json() == {"status": "ok"}
    assert httpx.get(f"{base}/minio/health/live").status_code == 200
    assert httpx.get(f"{base}/_oversightx").status_code in (400, 403, 404)


# -- the root password --------------------------------------------------------------------------


def test_a_new_root_password_keeps_every_secret(tmp_path: Path) -> None:
    with served(storage.create_app(settings(tmp_path))) as base:
        token = login(base, "root", SECRET)["token"]
        headers = {"authorization": f"Bearer {token}"}
        made = httpx.post(
            f"{base}/_oversight/api/v1/users", json={"name": "ada"}, headers=headers
        ).json()
        for new in ("an interim password", "the next password"):
            answer = httpx.post(
                f"{base}/_oversight/api/v1/rekey", json={"secret_key": new}, headers=headers
            )
            assert answer.status_code == 204
        login(base, "root", SECRET)  # until the next start
    with pytest.raises(WrongRootSecret):
        start(storage.create_app(settings(tmp_path)))
    asyncio.run(
        rekey_stopped(
            Settings(drives=tmp_path, root_user="root", root_password="the next password").config(),
            "the last password",
        )
    )
    changed = Settings(drives=tmp_path, root_user="boss", root_password="the last password")
    with served(storage.create_app(changed)) as base:
        login(base, "boss", "the last password")
        login(base, made["access_key"], made["secret_key"])


def test_a_stopped_store_is_rekeyed_with_the_right_password_only(tmp_path: Path) -> None:
    start(storage.create_app(settings(tmp_path)))
    wrong = Settings(drives=tmp_path, root_user="root", root_password="not the password").config()
    with pytest.raises(WrongRootSecret):
        asyncio.run(rekey_stopped(wrong, "the next password"))
    start(storage.create_app(settings(tmp_path)))


def test_rekeying_never_makes_a_store(tmp_path: Path) -> None:
    with pytest.raises(errors.DriveRefused, match="There is no store in"):
        asyncio.run(rekey_stopped(settings(tmp_path / "none").config(), "the next password"))
    assert not (tmp_path / "none").exists()


def login(base: str, access_key: str, secret_key: str) -> Any:
    answer = httpx.post(
        f"{base}/_oversight/api/v1/login",
        json={"access_key": access_key, "secret_key": secret_key},
    )
    return answer.raise_for_status().json()


def start(app: Any) -> None:
    """Start the application and stop it again; raises what the start raises."""

    async def run() -> None:
        async with app.router.lifespan_context(app):
            pass

    asyncio.run(run())


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, storage; "
        "print([m for m in ('fastapi', 'pydantic', 'uvicorn', 'apsw') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
