"""`minio server`: what its words mean, which are ignored aloud, which are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stack.minio import parse
from stack.store import CommandError
from tests.serving import clean_environment


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ('server /data --console-address ":9001"', {"drives": "/data", "console_address": ":9001"}),
        (
            'server --address ":9000" --console-address ":9001" /data',
            {"drives": "/data", "address": ":9000", "console_address": ":9001"},
        ),
        ("server --address=:9000 /data", {"drives": "/data", "address": ":9000"}),
        ("server -address :9000 /data", {"drives": "/data", "address": ":9000"}),
        ("server --json /data", {"drives": "/data", "log_format": "json"}),
        ("server -- /data", {"drives": "/data"}),
        ("server /a /b", {"drives": "/a /b"}),
        ("server '/my data'", {"drives": "'/my data'"}),
        ("server /data{1...4}", {"drives": "'/data{1...4}'"}),
        ("server", {}),
    ],
)
def test_settings(line: str, settings: dict[str, str]) -> None:
    import shlex

    request = parse(shlex.split(line)[1:], {})
    assert request.settings == settings
    assert request.warnings == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--quiet"], "--quiet"),
        (["--anonymous"], "--anonymous"),
        (["--shutdown-timeout", "30s"], "--shutdown-timeout"),
        (["--memlimit=1GiB"], "--memlimit"),
        (["-C", "/root/.minio"], "-C"),
        (["--new-switch"], "--new-switch"),
        (["--new-number", "7"], "--new-number 7"),
        (["--new-path=/x"], "--new-path"),
    ],
)
def test_harmless_flags_are_named(words: list[str], named: str) -> None:
    request = parse([*words, "/data"], {})
    assert request.settings == {"drives": "/data"}
    (warning,) = request.warnings
    assert named in warning
    assert "ignored" in warning


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["--certs-dir", "/certs"], "TLS proxy"),
        (["-S", "/certs"], "TLS proxy"),
        (["-S=/certs"], "TLS proxy"),
        (["--sftp=address=:8022"], "use S3"),
        (["--ftp", "address=:8021"], "use S3"),
        (["--interface", "eth0"], "--address"),
        (["--config", "minio.yaml"], "arguments"),
        (["--enable-object-locking"], "protection"),
        (["--kms-key=x"], "protection"),
        (["--address"], "needs a value"),
    ],
)
def test_what_does_not_exist_is_refused(words: list[str], cure: str) -> None:
    with pytest.raises(CommandError, match=cure):
        parse([*words] if words == ["--address"] else [*words, "/data"], {})


@pytest.mark.parametrize(
    "drive", ["host{1...4}", "http://host{1...4}/data", "https://node:9000/data", "minio{a...d}/x"]
)
def test_other_hosts_need_the_cluster_engine(drive: str) -> None:
    with pytest.raises(CommandError, match="cluster engine"):
        parse([drive], {})
    with pytest.raises(CommandError, match="cluster engine"):
        parse([], {"MINIO_VOLUMES": f"/data {drive}"})


def test_variable_names_the_drives() -> None:
    """To MinIO it is stronger than the arguments; we say so."""
    assert parse([], {"MINIO_VOLUMES": "/a"}).settings == {"drives": "/a"}
    request = parse(["/b"], {"MINIO_VOLUMES": "/a"})
    assert request.settings == {"drives": "/a"}
    assert "MINIO_VOLUMES" in request.warnings[0]
    assert parse(["/a"], {"MINIO_VOLUMES": "/a"}).warnings == []


def minio(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack.minio", *words],
        env=clean_environment(**environment), capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip


def test_certificates_where_minio_looks_for_them(tmp_path: Path) -> None:
    """MinIO would serve HTTPS: plain HTTP on the same port must not come as a surprise."""
    (tmp_path / ".minio/certs").mkdir(parents=True)
    (tmp_path / ".minio/certs/public.crt").write_text("")
    done = minio("server", str(tmp_path / "data"), HOME=str(tmp_path))
    assert done.returncode == 1
    assert "public.crt asks for TLS" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 1, "Usage: minio server"),
        (("--help",), 0, "Usage: minio server"),
        (("server", "--help"), 0, "Usage: minio server"),
        (("--version",), 0, "Oversight"),
        (("gateway", "s3"), 1, "minio server DIR"),
        (("--json", "server", "--address", "nonsense", "/data"), 1, "--address"),
    ],
)
def test_command_line(words: tuple[str, ...], code: int, said: str) -> None:
    done = minio(*words)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
