"""Aliases: where they come from, what is kept, what is told."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest

from stack.mc import run
from stack.mc.aliases import find, signed
from stack.mc.base import McError, Options
from tests.clients.tools import mc as full_mc
from tests.clients.tools import run as run_command
from tests.conftest import Store
from tests.serving import clean_environment
from tests.unit.mc.conftest import Mc


def test_set_list_remove(mc: Mc, store: Store, home: Path) -> None:
    added = mc("alias", "set", "mine", store.endpoint + "/", store.access_key, store.secret_key)
    assert added == "Added `mine` successfully.\n"
    assert "langfuse/" in mc("ls", "mine")
    listed = mc("alias", "list", "mine")
    assert store.endpoint in listed
    assert store.secret_key not in listed
    names = [json.loads(line)["alias"] for line in mc("--json", "alias", "ls").splitlines()]
    assert names == ["here", "local", "mine"]
    mc("alias", "remove", "mine")
    with pytest.raises(McError, match='no alias "mine"'):
        mc("ls", "mine")
    with pytest.raises(McError, match='no alias "mine"'):
        mc("alias", "remove", "mine")


def test_file_is_the_owners_alone(mc: Mc, store: Store, home: Path) -> None:
    mc("alias", "set", "mine", store.endpoint, store.access_key, store.secret_key)
    file = home / ".mc/config.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_old_names_of_the_commands(mc: Mc, store: Store) -> None:
    keys = (store.access_key, store.secret_key)
    mc("config", "host", "add", "old", store.endpoint, *keys, "--api", "S3v4")
    assert "langfuse/" in mc("ls", "old")


def test_keys_from_standard_input(mc: Mc, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no list of processes shows them."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{store.access_key}\n{store.secret_key}\n"))
    mc("alias", "set", "piped", store.endpoint)
    assert "langfuse/" in mc("ls", "piped")


def test_wrong_keys_are_not_kept(mc: Mc, store: Store, home: Path) -> None:
    with pytest.raises(McError, match="SignatureDoesNotMatch"):
        mc("alias", "set", "wrong", store.endpoint, store.access_key, "not-the-secret")
    assert not (home / ".mc/config.json").exists()


@pytest.mark.parametrize("words", [("a",), ("9a", "http://x", "k", "secretsecret"),
                                   ("a", "ftp://x", "k", "secretsecret"),
                                   ("a", "http://x", "", "secretsecret"),
                                   ("a", "http://x", "k", "s", "--api", "S3v2")])  # fmt: skip
def test_nonsense_is_refused(mc: Mc, words: tuple[str, ...]) -> None:
    with pytest.raises(McError):
        mc("alias", "set", *words)


def test_other_folder(
    mc: Mc, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = (store.access_key, store.secret_key)
    mc("--config-dir", str(tmp_path / "one"), "alias", "set", "mine", store.endpoint, *keys)
    assert "langfuse/" in mc("ls", "mine", f"--config-dir={tmp_path}/one")
    monkeypatch.setenv("MC_CONFIG_DIR", str(tmp_path / "one"))
    assert "langfuse/" in mc("ls", "mine")


def test_folder_that_cant_be_written(mc: Mc, store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = f"--config-dir={tmp_path}/file/x"
    with pytest.raises(McError, match="MC_HOST_"):
        mc(folder, "alias", "set", "a", store.endpoint, store.access_key, store.secret_key)


def test_damaged_file_is_left_alone(mc: Mc, store: Store, home: Path) -> None:
    (home / ".mc").mkdir()
    (home / ".mc/config.json").write_text("{")
    with pytest.raises(McError, match=r"config\.json is no configuration"):
        mc("alias", "set", "a", store.endpoint, store.access_key, store.secret_key)
    assert (home / ".mc/config.json").read_text() == "{"


def test_variable_is_stronger_than_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".mc").mkdir()
    kept = {"version": "10", "aliases": {"a": {"url": "http://kept", "accessKey": "k"}}}
    (home / ".mc/config.json").write_text(json.dumps(kept))
    assert find("a", Options()).url == "http://kept"
    monkeypatch.setenv("MC_HOST_a", "https://key%2F:s:e%40@host:9000")
    alias = find("a", Options())
    assert (alias.url, alias.access_key, alias.secret_key) == ("https://host:9000", "key/", "s")


@pytest.mark.parametrize("text", ["host:9000", "ftp://k:s@h", "http://k:s@"])
def test_malformed_variable(home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MC_HOST_a", text)
    with pytest.raises(McError, match="MC_HOST_a must be"):
        find("a", Options())


def test_local_signs_as_the_root_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alias = signed(find("local", Options()))
    assert (alias.url, alias.access_key) == ("http://127.0.0.1:9090", "minio")
    monkeypatch.setenv("MINIO_ROOT_USER", "somebody")
    (home / "password").write_text("from-a-file\n")
    monkeypatch.setenv("MINIO_ROOT_PASSWORD_FILE", str(home / "password"))
    alias = signed(find("local", Options()))
    assert (alias.access_key, alias.secret_key) == ("somebody", "from-a-file")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (":9005", "http://127.0.0.1:9005"),
        ("0.0.0.0:9005,[::]:9005", "http://127.0.0.1:9005"),
        ("10.0.0.7:9005", "http://10.0.0.7:9005"),
        ("[fd00::1]:9005", "http://[fd00::1]:9005"),
        ("9005", "http://127.0.0.1:9005"),
    ],
)
def test_local_address(home: Path, monkeypatch: pytest.MonkeyPatch, address: str, url: str) -> None:
    monkeypatch.setenv("MINIO_ADDRESS", address)
    assert find("local", Options()).url == url


def test_file_of_the_full_client_is_understood(mc: Mc, store: Store, home: Path) -> None:
    """Both read and keep the same file."""
    environment = clean_environment(HOME=str(home))
    keys = (store.access_key, store.secret_key)
    run_command(full_mc(), "alias", "set", "theirs", store.endpoint, *keys, env=environment)
    assert "langfuse/" in mc("ls", "theirs")
    mc("alias", "set", "ours", store.endpoint, *keys)
    assert "langfuse/" in run_command(full_mc(), "ls", "ours", env=environment)
    assert "langfuse/" in run_command(full_mc(), "ls", "theirs", env=environment)


def test_nothing_there(home: Path) -> None:
    with pytest.raises(McError, match="mc alias set nowhere"):
        run(["ls", "nowhere"])
