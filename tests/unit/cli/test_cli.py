"""The command: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

import stack.cli
import storage
from storage import server
from storage.config import Config
from storage.iam.errors import WrongRootSecret
from storage.settings import Settings
from tests.commands import Run

pytestmark = pytest.mark.usefixtures("bare_environment")


# -- serve ------------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Configurations that reached the server, which does not start."""
    configs: list[Config] = []

    def become(config: Config) -> NoReturn:
        configs.append(config)
        raise SystemExit(0)

    monkeypatch.setattr(server, "become", become)
    return configs


def test_serve_hands_options_on(run: Run, served: list[Config], tmp_path: Path) -> None:
    done = run(
        "serve", "--drives", str(tmp_path), "--address", "127.0.0.1:9000",
        "--console-address", ":9001", "--workers", "3",
    )  # fmt: skip
    assert done.code == 0, done.err
    (config,) = served
    assert config.drives == (str(tmp_path),)
    assert config.address == (("127.0.0.1", 9000),)
    assert config.console_address == (("0.0.0.0", 9001), ("::", 9001))
    assert config.workers == 3


def test_serve_says_all_problems_and_starts_nothing(
    run: Run, served: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIO_KMS_SECRET_KEY", "k")
    done = run("serve", "--drives", "/data{1...4}", "--workers", "many")
    assert (done.code, done.out, served) == (2, "", [])
    lines = done.err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("--drives: several drives (4 here) are not supported yet")


@pytest.mark.parametrize("option", ["--certs-dir", "-S"])
def test_serve_refuses_tls(run: Run, served: list[Config], option: str) -> None:
    done = run("serve", option, "/certs")
    assert (done.code, served) == (2, [])
    assert len(done.err.splitlines()) == 1


# -- managing a store -------------------------------------------------------------------------


@pytest.mark.usefixtures("store")
def test_buckets(run: Run) -> None:
    assert run("bucket", "create", "cli-one").code == 0
    table = run("bucket", "list").out.splitlines()
    assert table[0].split() == ["BUCKET", "OWNER", "OBJECTS", "SIZE", "CREATED"]
    assert "cli-one" in table[1]
    assert run("bucket", "list", "--json").value[0]["name"] == "cli-one"
    assert run("bucket", "info", "cli-one", "--json").value["objects"] == 0
    again = run("bucket", "create", "cli-one")
    assert (again.code, again.err) == (1, "A bucket of this name exists already.\n")
    assert run("bucket", "remove", "cli-one").code == 0
    assert run("bucket", "info", "cli-one").err == "The bucket does not exist.\n"


@pytest.mark.usefixtures("store")
def test_users_and_keys(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("user", "add", "ada", "--json")
    assert "may do nothing yet" in made.err
    assert len(made.value["secret_key"]) == 40
    assert run("user", "policy", "ada", "readonly", "writeonly").code == 0
    assert run("user", "policy", "ada", "--json").value["policies"] == ["readonly", "writeonly"]
    assert run("user", "policy", "ada", "readonly", "--none").code == 2
    assert run("user", "policy", "ada", "--none", "--json").value["policies"] == []
    assert run("user", "disable", "ada").code == 0
    assert run("user", "list", "--json").value[0]["status"] == "disabled"
    assert run("user", "enable", "ada").code == 0
    assert "ada" in run("user", "list").out

    monkeypatch.setenv("OVERSIGHT_NEW_SECRET_KEY", "chosen secret")
    key = run("key", "create", "--user", "ada", "--access-key", "adas/key", "--json").value
    assert key["secret_key"] == "chosen secret"
    monkeypatch.delenv("OVERSIGHT_NEW_SECRET_KEY")
    listed = run("key", "list", "--user", "ada", "--json").value
    assert {each["user"] for each in listed} == {"ada"}
    assert "chosen secret" not in run("key", "list").out
    for verb in ("disable", "enable", "remove"):
        assert run("key", verb, "adas/key").code == 0
    assert run("key", "remove", "adas/key").err == "The access key does not exist.\n"

    monkeypatch.setenv("OVERSIGHT_ACCESS_KEY", made.value["access_key"])
    monkeypatch.setenv("OVERSIGHT_SECRET_KEY", made.value["secret_key"])
    denied = run("user", "list")
    assert (denied.code, denied.out) == (1, "")
    assert "not allowed" in denied.err
    monkeypatch.delenv("OVERSIGHT_ACCESS_KEY")
    monkeypatch.delenv("OVERSIGHT_SECRET_KEY")
    assert run("user", "remove", "ada").code == 0


@pytest.mark.usefixtures("store")
def test_policies(run: Run, tmp_path: Path) -> None:
    assert run("policy", "put", "media", "--bucket", "first", "--prefix", "media/").code == 0
    document = run("policy", "show", "media").value
    assert document["Statement"][0]["Resource"] == ["arn:aws:s3:::first/media/*"]
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(document))
    assert run("policy", "put", "copy", str(file)).code == 0
    assert run("policy", "show", "copy").value == document
    listed = {each["name"] for each in run("policy", "list", "--json").value}
    assert listed >= {"media", "copy", "readwrite"}
    assert run("key", "create", "--policy-file", str(file)).code == 0
    assert run("policy", "remove", "media").code == 0
    assert run("policy", "remove", "copy").code == 0


@pytest.mark.usefixtures("store")
def test_explanations(run: Run) -> None:
    run("bucket", "create", "cli-two")
    run("user", "add", "grace", "--policy", "readonly", "--email", "grace@example.com")
    assert run("user", "show", "grace", "--json").value["email"] == "grace@example.com"
    assert run("user", "change", "grace", "--email", "", "--json").value["email"] == ""
    assert run("user", "change", "grace").code == 2
    told = run("policy", "explain", "GetObject", "cli-two/some/key", "--user", "grace")
    assert told.code == 0
    assert told.out.splitlines()[:2] == [
        "grace, s3:GetObject on cli-two/some/key: allowed",
        "because allowed by statement 1 of policy readonly.",
    ]
    assert "identity policy" in told.out
    told = run("policy", "explain", "PutObject", "s3://cli-two/k", "--anonymous", "--json")
    assert (told.value["allowed"], told.value["who"]) == (False, "anonymous")
    asked = run(
        "policy", "explain", "ListBucket", "cli-two", "--user", "grace", "--context", "s3:prefix=a",
        "--context", "aws:SourceIp=10.0.0.1", "--json",
    )  # fmt: skip
    assert not asked.value["allowed"]
    for wrong in (
        ("GetObject", "cli-two/k"), ("GetObject", "cli-two/k", "--anonymous", "--user", "grace"),
        ("GetObject", "cli-two/k", "--anonymous", "--context", "prefix"),
    ):  # fmt: skip
        assert run("policy", "explain", *wrong).code == 2
    assert run("policy", "explain", "Frob", "cli-two", "--anonymous").err == (
        "S3 has no action s3:Frob.\n"
    )
    run("user", "remove", "grace")
    run("bucket", "remove", "cli-two")


@pytest.mark.parametrize(
    "arguments",
    [
        ("policy", "put", "p"),
        ("policy", "put", "p", "/no/such/file"),
        ("policy", "put", "p", "/dev/null"),
        ("policy", "put", "p", "--bucket", "b", "--access", "all"),
        ("user", "add"),
        ("lifecycle", "preview", "--days", "36501"),
        ("nonsense",),
        ("serve", "--nonsense"),
    ],
)
@pytest.mark.usefixtures("store")
def test_wrong_use_ends_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("bucket", "info", "a/b"),
        ("bucket", "remove", ""),
        ("user", "show", "a/b"),
        ("policy", "put", "a/b", "--bucket", "b"),
        ("lifecycle", "preview", ""),
    ],
)
@pytest.mark.usefixtures("store")
def test_a_name_that_is_none_is_called_so(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (1, "")
    assert "is no name: it must not be empty or hold a slash" in done.err


def _told_into(output: int, *, buffered: bool) -> tuple[int, str]:
    """Exit code and standard error of a command that prints JSON into a file descriptor."""
    environ = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    done = subprocess.run(
        [sys.executable, "-m", "stack.cli", "bucket", "list", "--json"],
        stdout=output, stderr=subprocess.PIPE, text=True, check=False, env=environ,
    )  # fmt: skip
    os.close(output)
    return done.returncode, done.stderr


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.usefixtures("store")
def test_a_reader_who_has_gone_is_told_nothing(buffered: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert _told_into(writer, buffered=buffered) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.usefixtures("store")
def test_output_that_cannot_be_written_is_one_sentence(buffered: bool) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    code, said = _told_into(full, buffered=buffered)
    assert (code, said) == (1, "The output can't be written: No space left on device.\n")


@pytest.mark.usefixtures("store")
def test_a_closed_output_is_no_trouble() -> None:
    command = f'"{sys.executable}" -m stack.cli bucket list --json >&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("store")
def test_status_and_drives(run: Run) -> None:
    shown = run("status")
    assert "capacity" in shown.out
    assert shown.err == "A warning for the operator.\n"
    as_json = run("status", "--json")
    assert as_json.value["version"] == storage.__version__
    assert as_json.err == ""
    assert "./data" in run("drives").out


def test_credentials_come_from_the_environment(
    run: Run, store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINIO_ROOT_PASSWORD", "not the password")
    done = run("status")
    assert (done.code, done.out) == (1, "")
    assert "OVERSIGHT_SECRET_KEY" in done.err
    (tmp_path / "secret").write_text("miniosecret\n")
    monkeypatch.setenv("OVERSIGHT_SECRET_KEY_FILE", str(tmp_path / "secret"))
    assert run("status").code == 0
    monkeypatch.setenv("OVERSIGHT_SECRET_KEY_FILE", str(tmp_path / "none"))
    done = run("status")
    assert (done.code, len(done.err.splitlines())) == (1, 1)


def test_nobody_there_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OVERSIGHT_CONSOLE_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        done = run("bucket", "list")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "oversight serve" in done.err


@pytest.mark.parametrize(
    "url",
    ["localhost:9091", "ftp://x", "http://", "http://a:b", "http://a:99999", "http://[::1"],
)
def test_an_address_that_is_none(run: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OVERSIGHT_CONSOLE_URL", url)
    done = run("status")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert url in done.err


# -- rekey ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("store")
def test_rekey_explains_what_comes_next(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("rekey")
    assert (done.code, "OVERSIGHT_ROOT_PASSWORD_NEW" in done.err) == (2, True)
    monkeypatch.setenv("OVERSIGHT_ROOT_PASSWORD_NEW", "short")
    assert "8 to" in run("rekey").err
    monkeypatch.setenv("OVERSIGHT_ROOT_PASSWORD_NEW", "long enough")
    done = run("rekey")
    assert done.code == 0
    assert "goes on with the old one" in done.out
    assert "long enough" not in done.out + done.err


def test_rekey_on_the_drive(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVERSIGHT_ROOT_PASSWORD_NEW", "the next password")
    done = run("rekey", "--drives", str(tmp_path / "none"))
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert not (tmp_path / "none").exists()


def test_a_named_store_that_is_away_is_not_mistaken_for_the_drive_here(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asyncio.run(_store_on(tmp_path))
    monkeypatch.setenv("OVERSIGHT_DRIVES", str(tmp_path))
    monkeypatch.setenv("OVERSIGHT_ROOT_PASSWORD_NEW", "the next password")
    monkeypatch.setenv("OVERSIGHT_CONSOLE_URL", "http://127.0.0.1:9")
    assert run("rekey").code == 1
    asyncio.run(_store_on(tmp_path))  # still opens with the old password
    assert run("rekey", "--offline").code == 0
    with pytest.raises(WrongRootSecret):
        asyncio.run(_store_on(tmp_path))


async def _store_on(drive: Path) -> None:
    """Start a store on the drive with the default password, and stop it."""
    app = storage.create_app(Settings(drives=drive))
    async with app.router.lifespan_context(app):
        pass


# -- shape ------------------------------------------------------------------------------------


def test_version(run: Run) -> None:
    assert run("version").out == f"oversight {storage.__version__}\n"
    assert run("--version").out == f"oversight {storage.__version__}\n"


@pytest.mark.parametrize("words", [("-h",), ("--help",), ("bucket", "-h"), ("serve", "-h")])
def test_help(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).out.startswith("Usage: oversight")


def test_the_version_is_the_distributions() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert project["project"]["version"] == storage.__version__


def test_help_loads_nothing_slow() -> None:
    code = (
        "import sys\nimport stack.cli\nsys.argv = ['oversight', '--help']\n"
        "try: stack.cli.main()\nexcept SystemExit: pass\n"
        "slow = ('rich', 'pydantic', 'fastapi', 'uvicorn', 'http.client', 'ssl', 'msgspec')\n"
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_command_takes_a_secret_as_an_argument() -> None:
    import typer.main

    def options(command: Any) -> list[str]:
        own = [name for each in command.params for name in each.opts]
        return own + [name for each in getattr(command, "commands", {}).values()
                      for name in options(each)]  # fmt: skip

    assert not [
        name for name in options(typer.main.get_command(stack.cli.app))
        if "secret" in name or "password" in name
    ]  # fmt: skip
