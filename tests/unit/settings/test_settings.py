"""Settings: precedence, forms of values, defaults, and what is refused or warned about."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from storage import settings as module
from storage.config import Config, decode, encode
from storage.settings import Settings, SettingsError, expand, parse_addresses

OWN = {"MINIO_ROOT_USER": "operator", "MINIO_ROOT_PASSWORD": "long enough"}


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a Config from variables and options."""

    def make(options: dict[str, Any] | None = None, /, **environ: str) -> Config:
        with monkeypatch.context() as patch:
            for name, text in environ.items():
                patch.setenv(name, text)
            return Settings(**(options or {})).config()

    return make


@pytest.fixture
def problems(config: Any) -> Any:
    """The sentences with which variables and options are refused."""

    def refused(options: dict[str, Any] | None = None, /, **environ: str) -> tuple[str, ...]:
        with pytest.raises(SettingsError) as caught:
            config(options, **environ)
        return caught.value.problems

    return refused


def test_defaults_are_those_of_config(config: Any) -> None:
    made = config()
    expected = Config(workers=made.workers, warnings=made.warnings)
    assert made == expected
    assert made.workers == module.cores() >= 1


def test_config_survives_its_way_to_a_process(config: Any) -> None:
    made = config(**OWN)
    assert decode(encode(made)) == made


# -- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9000", (("127.0.0.1", 9000),)),
        (":9000", (("0.0.0.0", 9000), ("::", 9000))),
        ("9000", (("0.0.0.0", 9000), ("::", 9000))),
        ("*:9000", (("0.0.0.0", 9000), ("::", 9000))),
        ("[::1]:9090", (("::1", 9090),)),
        ("localhost:0", (("127.0.0.1", 0), ("::1", 0))),
        ("127.0.0.1:1, [::1]:2", (("127.0.0.1", 1), ("::1", 2))),
    ],
)
def test_address_forms(text: str, expected: tuple[tuple[str, int], ...]) -> None:
    assert parse_addresses(text) == expected


@pytest.mark.parametrize("text", ["host", "host:", "host:http", "1.2.3.4:65536", "::1:9090", ":-1"])
def test_an_address_that_is_none_is_refused(text: str, problems: Any) -> None:
    (sentence,) = problems(OVERSIGHT_ADDRESS=text)
    assert sentence.startswith("OVERSIGHT_ADDRESS: ")


def test_default_password_stays_on_loopback(config: Any) -> None:
    made = config(MINIO_ROOT_USER="minio", MINIO_ROOT_PASSWORD="miniosecret")
    assert made.address == (("127.0.0.1", 9090), ("::1", 9090))
    assert made.console_address == (("127.0.0.1", 9091), ("::1", 9091))
    assert len(made.warnings) == 1


def test_own_password_opens_every_interface(config: Any) -> None:
    made = config(**OWN)
    assert made.address == (("0.0.0.0", 9090), ("::", 9090))
    assert made.console_address == (("0.0.0.0", 9091), ("::", 9091))
    assert made.warnings == ()


def test_explicit_address_wins_over_caution_with_a_warning(config: Any) -> None:
    made = config({"address": ":9000"})
    assert made.address == (("0.0.0.0", 9000), ("::", 9000))
    assert made.console_address == (("127.0.0.1", 9091), ("::1", 9091))
    assert any("beyond this machine" in warning for warning in made.warnings)


def test_explicit_loopback_address_needs_no_second_warning(config: Any) -> None:
    assert len(config({"address": "127.0.0.1:9000"}).warnings) == 1


def test_host_names_are_looked_up(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", 9000))]
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *_, **__: found)
    assert config(**OWN, MINIO_ADDRESS="store:9000").address == (("10.1.2.3", 9000),)


def test_a_host_without_address_is_one_sentence(
    problems: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(module.socket, "getaddrinfo", fail)
    (sentence,) = problems(OVERSIGHT_ADDRESS="nowhere:9000")
    assert '"nowhere"' in sentence


def test_both_planes_on_one_port_are_one_sentence(config: Any, problems: Any) -> None:
    (sentence,) = problems({"address": ":9091", "console_address": ":9091"})
    assert "9091" in sentence
    made = config({"address": "127.0.0.1:0", "console_address": "127.0.0.1:0"})
    assert made.address == made.console_address


# -- drives ---------------------------------------------------------------------------------------


def test_ellipsis() -> None:
    assert expand("/d{1...3}") == ["/d1", "/d2", "/d3"]
    assert expand("/d{08...10}/x") == ["/d08/x", "/d09/x", "/d10/x"]
    assert expand("/{1...2}/{a...b}") == ["/1/a", "/1/b", "/2/a", "/2/b"]
    assert expand("/plain") == ["/plain"]


@pytest.mark.parametrize("text", ["/d{4...1}", "/d{1...}", "/d{1...9999999}"])
def test_broken_ellipsis_is_refused(text: str, problems: Any) -> None:
    (sentence,) = problems(OVERSIGHT_DRIVES=text)
    assert text in sentence


@pytest.mark.parametrize("text", ["/data{1...4}", "/a /b"])
def test_several_drives_are_refused_in_one_sentence(text: str, problems: Any) -> None:
    (sentence,) = problems(MINIO_VOLUMES=text)
    assert sentence.startswith("MINIO_VOLUMES: several drives (")


def test_remote_drives_are_refused(problems: Any) -> None:
    (sentence,) = problems(MINIO_VOLUMES="http://host{1...4}:9000/data")
    assert "other hosts" in sentence


def test_one_drive_in_its_forms(config: Any, tmp_path: Path) -> None:
    assert config(OVERSIGHT_DRIVES="/data{1...1}").drives == ("/data1",)
    assert config(OVERSIGHT_DRIVES="'/my data'").drives == ("/my data",)
    assert config({"drives": tmp_path / "a b"}).drives == (str(tmp_path / "a b"),)


# -- precedence -------------------------------------------------------------------------------


def test_own_names_win_over_minio_names_with_a_warning(config: Any) -> None:
    made = config(**OWN, MINIO_ACCESS_KEY="older", OVERSIGHT_ROOT_USER="newest")
    assert made.root_user == "newest"
    assert made.warnings == (
        "OVERSIGHT_ROOT_USER and MINIO_ROOT_USER differ; OVERSIGHT_ROOT_USER is used.",
        "OVERSIGHT_ROOT_USER and MINIO_ACCESS_KEY differ; OVERSIGHT_ROOT_USER is used.",
    )


def test_equal_values_warn_of_nothing(config: Any) -> None:
    made = config(**OWN, MINIO_ACCESS_KEY="operator", OVERSIGHT_ROOT_USER="operator")
    assert made.warnings == ()


def test_old_names_of_the_root_user_work(config: Any) -> None:
    made = config(MINIO_ACCESS_KEY="operator", MINIO_SECRET_KEY="long enough")
    assert (made.root_user, made.root_password) == ("operator", "long enough")


def test_options_win_over_the_environment(config: Any) -> None:
    assert config({"workers": "3"}, OVERSIGHT_WORKERS="2").workers == 3
    assert config({"workers": "3"}, OVERSIGHT_WORKERS="nonsense").workers == 3


def test_an_empty_variable_is_an_unset_one(config: Any) -> None:
    assert config(OVERSIGHT_ROOT_PASSWORD="", MINIO_KMS_SECRET_KEY="").root_user == "minio"


# -- secrets ------------------------------------------------------------------------------------


def test_secrets_come_from_files(config: Any, tmp_path: Path) -> None:
    (tmp_path / "user").write_text("operator\n")
    (tmp_path / "password").write_text("long enough\r\n")
    made = config(
        MINIO_ROOT_USER_FILE=str(tmp_path / "user"),
        OVERSIGHT_ROOT_PASSWORD_FILE=str(tmp_path / "password"),
    )
    assert (made.root_user, made.root_password) == ("operator", "long enough")


def test_bare_file_names_lie_in_the_secrets_folder(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.environment.SECRETS_FOLDER", tmp_path)
    (tmp_path / "store_password").write_text("long enough")
    assert config(MINIO_ROOT_PASSWORD_FILE="store_password").root_password == "long enough"


@pytest.mark.parametrize("content", [None, b"", b"two\nlines", b"\xff\xfe" * 8])
def test_a_secret_file_that_holds_none_is_refused(
    content: bytes | None, problems: Any, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    (sentence,) = problems(OVERSIGHT_ROOT_PASSWORD_FILE=str(path))
    assert sentence.startswith("OVERSIGHT_ROOT_PASSWORD_FILE names ")


def test_no_secret_is_ever_shown(problems: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERSIGHT_ROOT_PASSWORD", "rumpelstilzchen")
    monkeypatch.setenv("MINIO_ROOT_PASSWORD", "rapunzel-rapunzel")
    settings = Settings()
    shown = repr(settings) + repr(settings.config())
    shown += str(problems(OVERSIGHT_ROOT_PASSWORD="dornr\x07schen"))
    for secret in ("rumpelstilzchen", "rapunzel", "dornr"):
        assert secret not in shown


@pytest.mark.parametrize("password", ["short", "with\ttab in it", "x" * 257])
def test_unfit_passwords_are_refused(password: str, problems: Any) -> None:
    (sentence,) = problems(OVERSIGHT_ROOT_PASSWORD=password)
    assert sentence.startswith("OVERSIGHT_ROOT_PASSWORD: it must have")


@pytest.mark.parametrize("user", ["ab", "a=b", "has space", "ü" * 4, "x" * 129])
def test_unfit_users_are_refused(user: str, problems: Any) -> None:
    (sentence,) = problems(OVERSIGHT_ROOT_USER=user, OVERSIGHT_ROOT_PASSWORD="long enough")
    assert sentence.startswith("OVERSIGHT_ROOT_USER: it must have")


def test_a_user_without_a_password_never_gets_the_default_one(problems: Any) -> None:
    (sentence,) = problems(MINIO_ROOT_USER="operator")
    assert "without a password" in sentence


def test_the_old_password_is_passed_on_and_warned_about(config: Any) -> None:
    made = config(**OWN, OVERSIGHT_ROOT_PASSWORD_OLD="miniosecret")
    assert made.root_password_old == "miniosecret"
    assert any("OVERSIGHT_ROOT_PASSWORD_OLD" in warning for warning in made.warnings)


# -- values -----------------------------------------------------------------------------------


def test_buckets_join_those_that_every_store_has(config: Any) -> None:
    made = config(MINIO_DEFAULT_BUCKETS="one, two:none;langfuse datahub/raw/")
    assert made.buckets == ("langfuse", "one", "two", "datahub")
    assert made.prefixes == (*Config().prefixes, "datahub/raw/")


@pytest.mark.parametrize("name", ["Upper", "ab", "a..b", "-ab", "10.0.0.1", "a_b", "x" * 64])
def test_unfit_bucket_names_are_refused(name: str, problems: Any) -> None:
    (sentence,) = problems(OVERSIGHT_BUCKETS=name)
    assert f'"{name}"' in sentence


def test_public_buckets_are_refused(problems: Any) -> None:
    (sentence,) = problems(MINIO_DEFAULT_BUCKETS="media:download")
    assert "anonymous access" in sentence


def test_the_limit_of_requests_is_shared_by_the_workers(config: Any) -> None:
    assert config(MINIO_API_REQUESTS_MAX="100", OVERSIGHT_WORKERS="3").requests_max == 34
    assert config(MINIO_API_REQUESTS_MAX="auto", OVERSIGHT_WORKERS="3").requests_max == 1024


def test_quantities_have_units(config: Any) -> None:
    made = config(
        OVERSIGHT_INLINE_MAX="64KiB", OVERSIGHT_FREE_MIN="1GB", OVERSIGHT_FEED_RETENTION="2d"
    )
    assert (made.inline_max, made.free_min, made.feed_retention) == (65536, 10**9, 172800)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("OVERSIGHT_INLINE_MAX", "12 parsecs"),
        ("OVERSIGHT_INLINE_MAX", "1TiB"),
        ("OVERSIGHT_WORKERS", "many"),
        ("OVERSIGHT_WORKERS", "-1"),
        ("OVERSIGHT_LOG_FORMAT", "xml"),
        ("OVERSIGHT_REGION", "eu west"),
        ("MINIO_SERVER_URL", "s3.example.com"),
        ("MINIO_SERVER_URL", "https://s3.example.com/path"),
        ("MINIO_PROMETHEUS_AUTH_TYPE", "none"),
    ],
)
def test_values_out_of_range_are_refused_by_name(variable: str, text: str, problems: Any) -> None:
    (sentence,) = problems(**{variable: text})
    assert sentence.startswith(f"{variable}: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_all_problems_are_said_at_once(problems: Any) -> None:
    found = problems(
        {"drives": "/a /b"}, OVERSIGHT_WORKERS="many", MINIO_KMS_SECRET_KEY="k", MINIO_WORM="on"
    )
    assert len(found) == 4
    assert found[0].startswith("--drives: ")


# -- what other variables say -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MINIO_KMS_SECRET_KEY", "key:abc"),
        ("MINIO_KMS_AUTO_ENCRYPTION", "on"),
        ("OVERSIGHT_KMS_KEY", "key"),
        ("MINIO_CERTS_DIR", "/certs"),
        ("MINIO_STORAGE_CLASS_STANDARD", "EC:2"),
        ("MINIO_WORM", "on"),
        ("MINIO_IDENTITY_OPENID_CONFIG_URL", "https://id"),
        ("MINIO_POLICY_PLUGIN_URL", "https://opa"),
        ("MINIO_AUDIT_WEBHOOK_ENABLE_x", "on"),
        ("MINIO_API_ROOT_ACCESS", "off"),
        ("MINIO_CONFIG_ENV_FILE", "/etc/config.env"),
    ],
)
def test_a_protection_that_does_not_exist_is_refused(
    variable: str, text: str, problems: Any
) -> None:
    (sentence,) = problems(**{variable: text})
    assert sentence.startswith(variable)
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MINIO_STORAGE_CLASS_STANDARD", "EC:0"),
        ("MINIO_WORM", "off"),
        ("MINIO_IDENTITY_OPENID_ENABLE", "off"),
        ("MINIO_API_ROOT_ACCESS", "on"),
        ("MINIO_BROWSER", "on"),
        ("MINIO_BROWSER_REDIRECT_URL", "https://console"),
        ("MINIO_SCANNER_SPEED", "slow"),
        ("MINIO_COMPRESSION_ENABLE", "on"),
        ("MINIO_UPDATE", "off"),
        ("MINIO_SERVICE_HOST", "10.0.0.1"),
        ("MINIO_PORT_9000_TCP_ADDR", "10.0.0.1"),
        ("OVERSIGHT_PORT", "tcp://10.0.0.1:9090"),
        ("OVERSIGHT_CONSOLE_URL", "http://localhost:9091"),
        ("UNRELATED", "x"),
    ],
)
def test_what_asks_for_nothing_is_ignored_silently(variable: str, text: str, config: Any) -> None:
    assert config(**OWN, **{variable: text}).warnings == ()


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("OVERSIGHT_ROOT_PASSWROD", "did you mean OVERSIGHT_ROOT_PASSWORD?"),
        ("MINIO_ROOT_PASWORD", "did you mean MINIO_ROOT_PASSWORD?"),
        ("OVERSIGHT_XYZZY", "has no effect."),
        ("MINIO_NOTIFY_WEBHOOK_ENABLE_x", "notifications"),
    ],
)
def test_what_has_no_effect_is_said(variable: str, hint: str, config: Any) -> None:
    (warning,) = config(**OWN, **{variable: "on"}).warnings
    assert warning.startswith(variable)
    assert hint in warning


def test_domains(config: Any) -> None:
    assert config(**OWN).domains == ()
    made = config(**OWN, MINIO_DOMAIN="S3.Example.com, localhost. s3.example.com")
    assert made.domains == ("s3.example.com", "localhost")


@pytest.mark.parametrize(
    "text",
    [
        "http://s3.example.com",
        "s3.example.com:9000",
        "*.example.com",
        "10.0.0.1",
        "::1",
        "-a.b",
        "a..b",
    ],
)
def test_what_is_no_domain(text: str, problems: Any) -> None:
    (sentence,) = problems(OVERSIGHT_DOMAIN=text)
    assert sentence.startswith("OVERSIGHT_DOMAIN: ")
    assert "s3.example.com" in sentence


@pytest.mark.parametrize(
    ("given", "networks"),
    [
        ("", ()),
        ("10.1.2.3", ("10.1.2.3/32",)),
        ("172.16.0.0/12, 2001:DB8::1", ("172.16.0.0/12", "2001:db8::1/128")),
        ("10.1.2.3/8 10.0.0.0/8", ("10.0.0.0/8",)),
    ],
)
def test_proxies(given: str, networks: tuple[str, ...], config: Any) -> None:
    assert config(**OWN, OVERSIGHT_TRUSTED_PROXIES=given).trusted_proxies == networks


@pytest.mark.parametrize("text", ["nginx", "10.0.0.0/33", "*", "10.0.0.*", "0.0.0.0/0", "::/0"])
def test_what_is_no_proxy(text: str, problems: Any) -> None:
    (sentence,) = problems(OVERSIGHT_TRUSTED_PROXIES=text)
    assert sentence.startswith("OVERSIGHT_TRUSTED_PROXIES: ")
    assert ("172.16.0.0/12" in sentence) != ("Name the proxies" in sentence)


def test_version_2_of_signatures(config: Any) -> None:
    assert config(**OWN).signature_v2 is True
    assert config(**OWN, OVERSIGHT_SIGNATURE_V2="off").signature_v2 is False


# -- documentation ----------------------------------------------------------------------------

ROOT = Path(__file__).parents[3]


def test_the_table_of_settings_is_the_documented_one() -> None:
    documented = (ROOT / "docs" / "configuration.md").read_text()
    assert module.table() in documented, "run: python -m storage.settings"


def test_the_example_changes_nothing() -> None:
    lines = "\n".join(module.example_blocks()).splitlines()
    assert all(line.startswith("#") for line in lines)
    assert sum("=" in line and line.startswith("#OVERSIGHT_") for line in lines) == len(
        module.names()
    )


def test_the_example_leaves_out_what_is_explained_elsewhere() -> None:
    (*_, last) = module.names()
    left = module.example_blocks(without=last.variables)
    assert len(left) == len(module.names()) - 1
    assert not any(f"#{last.variables[0]}=" in block for block in left)


def test_every_setting_has_help_unit_and_an_own_variable() -> None:
    described = {name.setting for name in module.names()}
    assert described == set(Settings.model_fields) - {"reading"}
    for field in described:
        info = Settings.model_fields[field]
        extra: Any = info.json_schema_extra
        assert (info.description or "").endswith(".")
        assert extra["unit"]
        assert extra["variables"][0].startswith("OVERSIGHT_")


def test_each_default_of_the_example_is_a_value(config: Any) -> None:
    """Whoever takes the # away must not find that the line can't be read."""
    example = (Path(__file__).parents[3] / ".env.example").read_text()
    lines = re.findall(r"^#?((?:OVERSIGHT|MINIO)_\w+)=(.*)$", example, re.MULTILINE)
    assert len(lines) > 30
    for name, value in lines:
        assert config(**{name: value.strip()}), name


def test_events_are_kept_for_ever_unless_days_are_set(config: Any, problems: Any) -> None:
    name = "OVERSIGHT_EVENTS_RETENTION_DAYS"
    assert config(**{name: "Never"}) == config(**{name: "0"}) == config()
    assert config(**{name: "30"}).events_retention_days == 30
    (problem,) = problems(**{name: "7d"})
    assert problem.startswith(name)
