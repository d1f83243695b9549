"""`oversight env`: own secrets, nothing overwritten, nobody locked out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from stack import envfile, installation
from stack.envfile import SECRETS, Plan, Wishes, plan
from stack.installation import Installation
from stack.settings import VARIABLES, Stack, text_of
from storage.settings import SettingsError
from tests.serving import clean_environment

NOTHING = Installation()
USED = Installation(
    {"store": "x_store_data", "postgres": "x_postgres_data", "mysql": "x_mysql_data",
     "grafana": "x_grafana_data"}
)  # fmt: skip
BAKED = {"OVERSIGHT_ROOT_PASSWORD", "SALT", "ENCRYPTION_KEY", "POSTGRES_PASSWORD",
         "DATAHUB_MYSQL_PASSWORD", "GRAFANA_ADMIN_PASSWORD"}  # fmt: skip


def test_a_new_installation_has_no_published_secret() -> None:
    made = plan({}, NOTHING, Wishes())
    after = Stack.of(made.added)
    for secret in SECRETS:
        assert made.added[secret.variable] != text_of(secret.variable, {})
    assert len({made.added[secret.variable] for secret in SECRETS}) == len(SECRETS)
    assert after.datahub_auth == "true"
    assert after.event_access_key == after.langfuse_access_key != after.root_user


def test_every_secret_setting_is_made_up_or_derived() -> None:
    """A secret that was added to the settings must be thought of here."""
    made = plan({}, NOTHING, Wishes()).added
    for field, info in Stack.model_fields.items():
        extra = info.json_schema_extra
        assert isinstance(extra, dict)
        if extra["secret"]:
            derived = "${" in info.default
            assert extra["variable"] in made or derived, field


def test_values_need_no_quotes_anywhere() -> None:
    """Not in a .env, a shell, a URL or a configuration file of Redis."""
    made = plan({}, NOTHING, Wishes()).added
    assert all(re.fullmatch(r"[A-Za-z0-9@.-]+", value) for value in made.values())
    assert made.keys() <= VARIABLES.keys()


def test_what_the_file_says_stays() -> None:
    present = {"POSTGRES_PASSWORD": "mine", "MINIO_ROOT_PASSWORD": "mine-as-well"}
    made = plan(present, NOTHING, Wishes())
    assert not {"POSTGRES_PASSWORD", "OVERSIGHT_ROOT_PASSWORD"} & made.added.keys()
    assert {"POSTGRES_PASSWORD", "OVERSIGHT_ROOT_PASSWORD"} <= set(made.present)
    assert Stack.of({**present, **made.added}).root_password == "mine-as-well"


def test_what_is_baked_into_volumes_is_kept() -> None:
    made = plan({}, USED, Wishes())
    assert {secret.variable for secret in made.kept} == BAKED
    assert all(made.added[name] == text_of(name, {}) for name in BAKED)
    assert made.added["REDIS_AUTH"] != text_of("REDIS_AUTH", {})
    said = "\n".join(envfile.sentences(Path(".env"), made, USED))
    for secret in made.kept:
        assert f"Kept: {secret.variable}, because the volume x_" in said
        assert secret.rotation in said


def test_the_value_that_a_container_was_made_with_wins() -> None:
    found = Installation(USED.volumes, {"POSTGRES_PASSWORD": "from the container"})
    assert plan({}, found, Wishes()).added["POSTGRES_PASSWORD"] == "from the container"


def test_an_existing_installation_gets_no_first_user() -> None:
    assert not any(name.startswith("LANGFUSE_INIT_") for name in plan({}, USED, Wishes()).added)
    assert "LANGFUSE_INIT_USER_PASSWORD" in plan({}, NOTHING, Wishes()).added
    assert "LANGFUSE_INIT_USER_PASSWORD" not in plan({}, NOTHING, Wishes(init=False)).added


def test_a_started_choice_of_first_user_is_not_completed() -> None:
    made = plan({"LANGFUSE_INIT_ORG_ID": "mine"}, NOTHING, Wishes())
    assert not any(name.startswith("LANGFUSE_INIT_") for name in made.added)


def test_known_secrets_never_face_a_network() -> None:
    made = plan({}, USED, Wishes(publish="0.0.0.0"))
    assert {problem.split()[0] for problem in made.problems} == {
        "OVERSIGHT_ROOT_PASSWORD", "GRAFANA_ADMIN_PASSWORD",
    }  # fmt: skip
    assert "oversight rekey" in made.problems[0]


def test_publishing_advises_addresses_that_others_can_reach() -> None:
    made = plan({}, NOTHING, Wishes(publish="0.0.0.0"))
    assert made.problems == []
    assert len(made.advice) == 2
    everything = Wishes("0.0.0.0", "https://s3.example.com", "https://langfuse.example.com")
    assert plan({}, NOTHING, everything).advice == []


def test_a_wish_that_the_file_contradicts_is_refused() -> None:
    made = plan({"OVERSIGHT_PUBLISH": "127.0.0.1"}, NOTHING, Wishes(publish="0.0.0.0"))
    assert "OVERSIGHT_PUBLISH is 127.0.0.1 in the file" in made.problems[0]


def test_a_wish_must_be_a_setting() -> None:
    with pytest.raises(SettingsError, match="OVERSIGHT_EXTERNAL_ENDPOINT"):
        plan({}, NOTHING, Wishes(external_endpoint="s3.example.com"))


# -- the file -------------------------------------------------------------------------------------


def test_only_its_owner_reads_a_new_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    envfile.write(file, Plan(added={"SALT": "s"}), "")
    assert file.stat().st_mode & 0o777 == 0o600
    assert dotenv_values(file) == {"SALT": "s"}
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_appeared_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("MINE=1\n")
    with pytest.raises(FileExistsError):
        envfile.write(file, Plan(added={"SALT": "s"}), "")
    assert file.read_text() == "MINE=1\n"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("before", ["# mine\nA='b c'\n", "A=1", "A=1\n\n\n"])
def test_every_line_of_an_existing_file_stays(tmp_path: Path, before: str) -> None:
    file = tmp_path / ".env"
    file.write_text(before)
    file.chmod(0o644)
    envfile.write(file, Plan(added={"SALT": "s"}), before)
    assert file.read_text().startswith(before.rstrip("\n") + "\n")
    assert dotenv_values(file)["SALT"] == "s"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / ".env"
    real.write_text("A=1\n")
    link.symlink_to(real)
    envfile.write(link, Plan(added={"SALT": "s"}), "A=1\n")
    assert link.is_symlink()
    assert dotenv_values(real) == {"A": "1", "SALT": "s"}


# -- what is on the machine -----------------------------------------------------------------------


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the docker command, to be written by the test."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return program


def write_docker(program: Path, *lines: str) -> None:
    program.write_text("\n".join(["#!/bin/sh", *lines]))
    program.chmod(0o755)


def test_volumes_and_values_come_from_docker(docker: Path) -> None:
    inspected = (
        '[{"Config": {"Labels": {"com.docker.compose.service": "postgres"}, '
        '"Env": ["POSTGRES_PASSWORD=baked", "PATH=/bin"]}}]'
    )
    write_docker(
        docker,
        'case "$1 $2" in',
        '"volume ls") echo "mine_postgres_data postgres_data"; echo "mine_redis_data redis_data";;',
        '"ps --all") echo 1234;;',
        f"\"inspect 1234\") echo '{inspected}';;",
        "*) exit 1;;",
        "esac",
    )
    found = installation.find(projects=("mine",))
    assert found.volumes == {"postgres": "mine_postgres_data"}
    assert found.values == {"POSTGRES_PASSWORD": "baked"}
    assert "baked" not in repr(found)


def test_a_container_sees_no_volumes_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(installation, "_CONTAINER_MARK", tmp_path / "mark")
    assert installation.find() == Installation()
    (tmp_path / "mark").touch()
    with pytest.raises(installation.DockerSilent):
        installation.find()


def test_a_store_without_docker_counts(tmp_path: Path, docker: Path) -> None:
    write_docker(docker, "exit 0")
    (tmp_path / "data" / ".oversight").mkdir(parents=True)
    found = installation.find(tmp_path / "data")
    made = plan({}, found, Wishes())
    assert [secret.variable for secret in made.kept] == ["OVERSIGHT_ROOT_PASSWORD"]
    assert found.where("store") == f"the folder {tmp_path / 'data'}"


def oversight_env(
    *options: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environ = clean_environment(PYTHONPATH=str(Path(__file__).parents[3]))
    command = [sys.executable, "-m", "stack.cli", "env", *map(str, options)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environ, cwd=cwd, check=False
    )


def test_docker_that_does_not_answer_stops_it(docker: Path, tmp_path: Path) -> None:
    write_docker(docker, "echo no daemon >&2; exit 1")
    done = oversight_env("--file", tmp_path / ".env")
    assert done.returncode == 1
    assert "Docker does not answer (no daemon)" in done.stderr
    assert "--new" in done.stderr
    assert not (tmp_path / ".env").exists()
    assert oversight_env("--file", tmp_path / ".env", "--new").returncode == 0


def test_the_command_writes_says_and_repeats(docker: Path, tmp_path: Path) -> None:
    write_docker(docker, "exit 0")
    (tmp_path / "compose").mkdir()
    (tmp_path / "compose" / "langfuse.yml").touch()
    (tmp_path / "langfuse").mkdir()
    first = oversight_env(cwd=tmp_path / "langfuse")
    assert first.returncode == 0, first.stderr
    written = (tmp_path / ".env").read_text()
    secrets = [value for value in dotenv_values(tmp_path / ".env").values() if value]
    assert not any(value in first.stdout for value in secrets if len(value) > 20)
    assert "docker compose up -d" in first.stdout

    second = oversight_env(cwd=tmp_path)
    assert second.returncode == 0
    assert (tmp_path / ".env").read_text() == written
    assert "needed no new secret" in second.stdout


def test_a_problem_writes_nothing(docker: Path, tmp_path: Path) -> None:
    write_docker(docker, "exit 0")
    (tmp_path / ".env").write_text("OVERSIGHT_PUBLISH=127.0.0.1\n")
    done = oversight_env("--file", tmp_path / ".env", "--publish", "0.0.0.0")
    assert done.returncode == 1
    assert done.stderr.endswith("Nothing was written.\n")
    assert (tmp_path / ".env").read_text() == "OVERSIGHT_PUBLISH=127.0.0.1\n"
    wrong = oversight_env("--file", tmp_path / ".env", "--external-endpoint", "nowhere")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
