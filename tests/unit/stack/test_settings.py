"""The stacks' settings: what derives from what, and that documentation and .env.example agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stack import settings
from stack.settings import VARIABLES, Stack
from storage.environment import read
from storage.settings import Settings, SettingsError

ROOT = Path(__file__).parents[3]


def test_two_endpoints_are_enough() -> None:
    stack = Stack.of(
        {
            "OVERSIGHT_EXTERNAL_ENDPOINT": "https://s3.example.com",
            "OVERSIGHT_INTERNAL_ENDPOINT": "http://store:9000",
        }
    )
    assert stack.media_endpoint == stack.export_external_endpoint == "https://s3.example.com"
    internal = (stack.event_endpoint, stack.media_internal_endpoint, stack.export_endpoint)
    assert set(internal) == {"http://store:9000"}


def test_a_port_changes_the_external_endpoint() -> None:
    assert Stack.of({"OVERSIGHT_S3_PORT": "9999"}).media_endpoint == "http://localhost:9999"


def test_what_is_set_by_hand_is_not_derived() -> None:
    by_hand = {"LANGFUSE_S3_MEDIA_UPLOAD_BUCKET": "pictures", "OVERSIGHT_LANGFUSE_BUCKET": "own"}
    stack = Stack.of(by_hand)
    assert (stack.media_bucket, stack.event_bucket, stack.export_bucket) == (
        "pictures", "own", "own",
    )  # fmt: skip


def test_an_empty_variable_is_an_unset_one() -> None:
    assert Stack.of({"OVERSIGHT_EXTERNAL_ENDPOINT": ""}) == Stack.of({})


@pytest.mark.parametrize("field", ["event", "media", "export"])
def test_credentials_are_the_root_users_until_there_is_a_key(field: str) -> None:
    root = Stack.of({"MINIO_ROOT_USER": "admin", "MINIO_ROOT_PASSWORD": "a-root-secret"})
    own = Stack.of({"OVERSIGHT_LANGFUSE_ACCESS_KEY": "lf", "OVERSIGHT_LANGFUSE_SECRET_KEY": "s"})
    assert getattr(root, f"{field}_access_key") == "admin"
    assert getattr(root, f"{field}_secret_key") == "a-root-secret"
    assert getattr(own, f"{field}_access_key") == "lf"
    assert getattr(own, f"{field}_secret_key") == "s"


def test_the_newer_name_of_the_root_user_wins() -> None:
    both = {"MINIO_ROOT_USER": "old", "OVERSIGHT_ROOT_USER": "new"}
    assert Stack.of(both).root_user == "new"


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("OVERSIGHT_EXTERNAL_ENDPOINT", "s3.example.com", "http:// or https://"),
        ("OVERSIGHT_EXTERNAL_ENDPOINT", "https://example.com/s3", "nothing after"),
        ("OVERSIGHT_EXTERNAL_ENDPOINT", "https://example.com:port", "a number from 0 to 65535"),
        ("OVERSIGHT_PUBLISH", "everywhere", "IP address"),
        ("OVERSIGHT_S3_PORT", "70000", "65535"),
        ("OVERSIGHT_LANGFUSE_BUCKET", "Lang_fuse", "bucket name"),
        ("LANGFUSE_S3_EVENT_UPLOAD_PREFIX", "events", "end with"),
        ("ENCRYPTION_KEY", "short", "64 hexadecimal digits"),
        ("TELEMETRY_ENABLED", "maybe", "'true' or 'false'"),
    ],
)
def test_what_is_wrong_is_said_by_its_variable(variable: str, value: str, problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Stack.of({variable: value})
    assert any(
        sentence.startswith(f"{variable}: ") and problem in sentence
        for sentence in refused.value.problems
    )
    assert value not in str(refused.value)


def test_secrets_are_not_shown() -> None:
    stack = Stack.of({"OVERSIGHT_ROOT_PASSWORD": "do-not-show-me", "SALT": "nor-me-please"})
    assert "do-not-show-me" not in repr(stack)
    assert "nor-me-please" not in repr(stack)


def test_nothing_can_be_changed_later() -> None:
    stack: Any = Stack.of({})
    with pytest.raises(ValueError, match="frozen"):
        stack.publish = "0.0.0.0"


@pytest.mark.parametrize("folder", [".", "langfuse"])
def test_the_file_at_the_root_is_found_from_a_stacks_folder(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "langfuse").mkdir()
    (tmp_path / ".env").write_text("OVERSIGHT_S3_PORT=1234\nLANGFUSE_PORT=5678\n")
    monkeypatch.chdir(tmp_path / folder)
    monkeypatch.delenv("OVERSIGHT_S3_PORT", raising=False)
    monkeypatch.setenv("LANGFUSE_PORT", "4321")
    stack = Stack.load()
    assert (stack.s3_port, stack.langfuse_port) == (1234, 4321)


# -- agreement ------------------------------------------------------------------------------------


def test_the_tables_are_the_documented_ones() -> None:
    documented = (ROOT / "docs" / "configuration.md").read_text()
    assert settings.tables() in documented, "run: python -m stack.settings tables"


def test_the_example_is_the_shipped_one() -> None:
    shipped = (ROOT / ".env.example").read_text()
    assert shipped == settings.example(), "run: python -m stack.settings example > .env.example"


def test_the_example_names_every_variable_of_stack_and_store_once() -> None:
    lines = settings.example().splitlines()
    assert all(not line or line.startswith("#") for line in lines)
    shown = [line[1:].partition("=")[0] for line in lines if line[1:2].isupper() and "=" in line]
    store = {
        extra["variables"][0]
        for info in Settings.model_fields.values()
        if isinstance(extra := info.json_schema_extra, dict)
    }
    assert sorted(shown) == sorted(store | VARIABLES.keys())


def test_defaults_name_only_variables_that_exist() -> None:
    for variable in VARIABLES:
        settings.text_of(variable, {})
    assert Stack.of({})


def test_the_store_is_silent_about_the_stacks_variables() -> None:
    """They share a .env: what only a stack reads is no misspelt setting of the store."""
    given = dict.fromkeys(VARIABLES, "1")
    assert not any("is not known" in warning for warning in read((), given).warnings if not any(
        name in warning for name in ("ROOT_", "REGION", "EXTERNAL_ENDPOINT")
    ))  # fmt: skip
