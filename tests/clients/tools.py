"""Command line clients: find them, run them, or skip with the reason."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.serving import clean_environment

if TYPE_CHECKING:
    from tests.conftest import Store

JS_FOLDER = Path(__file__).parent / "js"
GO_FOLDER = Path(__file__).parent / "go"
JAVA_FOLDER = Path(__file__).parent / "java"
RUBY_FOLDER = Path(__file__).parent / "ruby"
#: Names that clients, and signatures, encode in their own ways.
ODD_KEYS = (
    "with space", "plus+sign", "per%cent", "per%2Fcent", "é/日本", "quo'te\"", "a&b=c", "q?u#e",
    "tilde~(paren)!*$,;:@", "[brackets]{braces}", "back\\slash",
)  # fmt: skip
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "oversight"


def run(
    *command: str | Path,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
    timeout: float = 110,
) -> str:
    """Run a command to its end and return what it printed; a failure shows all it said."""
    done = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        capture_output=True,
        env=env if env is not None else clean_environment(),
        cwd=cwd,
        timeout=timeout,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        raise AssertionError(
            f"{' '.join(map(str, command))}\nended with {done.returncode}\n{output}\n"
            f"{done.stderr.decode(errors='replace')}"
        )
    return output


@functools.cache
def mc() -> Path:
    """MinIO's client. Midnight Commander has the same name, so ask before believing."""
    candidates = [*sorted(_CACHE.glob("mc-*/mc")), shutil.which("mc"), shutil.which("mcli")]
    for candidate in candidates:
        if candidate and "minio" in _first_words(Path(candidate), "--help").lower():
            return Path(candidate)
    pytest.skip("MinIO's mc is missing: run `make mc` (needs Go)")


@functools.cache
def node() -> Path:
    """Node.js, from version 20 on, with the pinned packages of ``js/`` installed."""
    found = shutil.which("node")
    if not found:
        pytest.skip("Node.js is missing: install nodejs 20 or newer and npm")
    major = int(_first_words(Path(found), "--version").lstrip("v").split(".")[0])
    if major < 20:
        pytest.skip(f"Node.js is version {major}: the AWS SDK needs 20 or newer")
    if not (JS_FOLDER / "node_modules").is_dir():
        pytest.skip("the Node packages are missing: run `make js-clients` (needs npm)")
    return Path(found)


@functools.cache
def chromium() -> Path:
    """Chromium, or a browser made of it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    pytest.skip("Chromium is missing: install chromium")


@functools.cache
def go_client() -> Path:
    """The program of ``go/``, built with the AWS SDK for Go."""
    program = _CACHE / "go-client" / "client"
    if not program.exists():
        pytest.skip("the program with the AWS SDK for Go is missing: run `make go-client`")
    return program


@functools.cache
def java_client() -> tuple[str, ...]:
    """The command that runs the program of ``java/``, built with the AWS SDK for Java."""
    folder = _CACHE / "java-client"
    if not (folder / "Client.class").exists():
        pytest.skip("the program with the AWS SDK for Java is missing: run `make java-client`")
    return "java", "-cp", f"{folder}:{folder}/lib/*", "-XX:TieredStopAtLevel=1", "Client"


@functools.cache
def ruby_client() -> tuple[str | Path, ...]:
    """The command that runs the program of ``ruby/`` with the AWS SDK for Ruby."""
    program = (debian("ruby"), RUBY_FOLDER / "client.rb")
    sdk = subprocess.run(
        ["ruby", "-e", 'require "aws-sdk-s3"'], capture_output=True, timeout=60, check=False
    )
    if sdk.returncode:
        pytest.skip("the AWS SDK for Ruby is missing: apt install ruby-aws-sdk-s3")
    return program


def outcomes(store: Store, *command: str | Path) -> dict[str, str]:
    """What a client's program says of each of its scenarios; they take too long to start alone."""
    environment = clean_environment(
        S3_ENDPOINT=store.endpoint, S3_ACCESS_KEY=store.access_key, S3_SECRET_KEY=store.secret_key
    )
    lines = run(*command, env=environment, timeout=180).splitlines()
    return {line.split()[1].rstrip(":"): line for line in lines if line}


def arrow_options(store: Store) -> dict[str, str]:
    """Options of what stands on the Rust crate object_store, as docs/clients.md has them."""
    return {
        "aws_endpoint_url": store.endpoint,
        "aws_region": "us-east-1",
        "aws_access_key_id": store.access_key,
        "aws_secret_access_key": store.secret_key,
        "aws_allow_http": "true",
    }


@functools.cache
def aws() -> Path:
    """The AWS CLI of this Python environment, else one on PATH."""
    beside = Path(sys.executable).parent / "aws"
    found = str(beside) if beside.exists() else shutil.which("aws")
    if not found:
        pytest.skip("the AWS CLI is missing: pip install awscli")
    return Path(found)


def _first_words(program: Path, option: str) -> str:
    answer = subprocess.run([program, option], capture_output=True, timeout=30, check=False)
    return answer.stdout.decode(errors="replace")


def debian(name: str) -> Path:
    """A command line client that Debian has a package of the same name for."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is missing: apt install {name}")
    return Path(found)
