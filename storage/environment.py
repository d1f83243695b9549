"""What the environment says: which variable speaks for which setting, and what is wrong with it.

A leaf without pydantic: ``storage.settings`` gives it the names that each setting listens to and
gets raw text back, with warnings and problems as sentences. Values of secrets never enter one.

MinIO's variables fall into four groups: those that name one of our settings, those that ask for
a protection that this release does not have (refused, because a silent "no" would be believed),
those whose absence an operator notices (warned), and tuning of another engine (ignored).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

#: Read by the command line's client part, never by the store.
CLIENT_VARIABLES = (
    "OVERSIGHT_CONSOLE_URL",
    "OVERSIGHT_ACCESS_KEY",
    "OVERSIGHT_ACCESS_KEY_FILE",
    "OVERSIGHT_SECRET_KEY",
    "OVERSIGHT_SECRET_KEY_FILE",
    "OVERSIGHT_ROOT_PASSWORD_NEW",
    "OVERSIGHT_NEW_SECRET_KEY",
)

#: The variables of the root user, strongest first: the store's, and the client's last resort.
ROOT_USER = ("OVERSIGHT_ROOT_USER", "MINIO_ROOT_USER", "MINIO_ACCESS_KEY")
ROOT_PASSWORD = ("OVERSIGHT_ROOT_PASSWORD", "MINIO_ROOT_PASSWORD", "MINIO_SECRET_KEY")

DEFAULT_USER = "minio"
DEFAULT_PASSWORD = "miniosecret"  # noqa: S105 - the published default, warned about while in use

#: Where container platforms mount secrets; MinIO looks up bare file names there, and so do we.
SECRETS_FOLDER = Path("/run/secrets")
_SECRET_BYTES_MAX = 4096

# Kubernetes describes every service of a namespace to every container in such variables.
_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT(_.*)?)|PORT(_\d+_(TCP|UDP)(_.*)?)?)$")

_OFF = frozenset({"off", "false", "0", "no", "disabled"})
_ON = frozenset({"on", "true", "1", "yes", "enabled"})


@dataclass(frozen=True)
class Rule:
    """What is said of the variables that match. ``harmless``: values that ask for nothing."""

    patterns: tuple[str, ...]
    sentence: str
    harmless: frozenset[str] = frozenset()


REFUSED = (
    Rule(
        ("MINIO_KMS_*", "OVERSIGHT_KMS_*", "MINIO_SSE_*", "OVERSIGHT_SSE_*"),
        "asks for encryption keys, which this release cannot hold yet: unset it and encrypt the "
        "drive or the objects instead",
    ),
    Rule(
        ("MINIO_CERTS_DIR", "OVERSIGHT_CERTS_DIR", "OVERSIGHT_TLS_*"),
        "asks for TLS, which this release does not serve yet: unset it and put a TLS proxy in "
        "front",
    ),
    Rule(
        ("MINIO_STORAGE_CLASS_STANDARD", "MINIO_STORAGE_CLASS_RRS", "OVERSIGHT_STORAGE_CLASS_*"),
        "asks for parity across drives, which this release does not have yet: unset it or set it "
        "to EC:0",
        frozenset({"ec:0"}),
    ),
    Rule(
        ("MINIO_WORM", "OVERSIGHT_OBJECT_LOCK*"),
        "asks for objects that nobody can delete, which this release does not have yet: unset it",
        _OFF,
    ),
    Rule(
        ("MINIO_IDENTITY_*", "OVERSIGHT_IDENTITY_*"),
        "asks for sign-in through an identity provider, which this release does not have yet: "
        "unset it and use `oversight user add`",
        _OFF,
    ),
    Rule(
        ("MINIO_POLICY_PLUGIN_*", "MINIO_POLICY_OPA_*"),
        "asks for authorization by another service, which this release does not have yet: unset "
        "it and use `oversight policy put`",
        _OFF,
    ),
    Rule(
        ("MINIO_AUDIT_*", "OVERSIGHT_AUDIT_*"),
        "asks for an audit trail, which this release does not have yet: unset it; "
        "OVERSIGHT_ACCESS_LOG records every request",
        _OFF,
    ),
    Rule(
        ("MINIO_API_ROOT_ACCESS", "OVERSIGHT_ROOT_ACCESS"),
        "asks to lock the root user out, which this release cannot do yet: unset it",
        _ON,
    ),
    Rule(
        ("MINIO_CONFIG_ENV_FILE",),
        "names a file of variables, which the store does not read: unset it and hand the "
        "variables over, for example with Docker's --env-file",
    ),
)

WARNED = (
    Rule(("MINIO_NOTIFY_*",), "event notifications are not sent yet", _OFF),
    Rule(("MINIO_LOGGER_WEBHOOK_*",), "logs are written to standard error only", _OFF),
    Rule(("MINIO_ETCD_*",), "users and buckets are kept on the drive"),
    Rule(("MINIO_ILM_*",), "lifecycle rules are not run yet"),
    Rule(("MINIO_API_PORT_NUMBER",), "set OVERSIGHT_ADDRESS instead"),
    Rule(("MINIO_CONSOLE_PORT_NUMBER",), "set OVERSIGHT_CONSOLE_ADDRESS instead"),
    Rule(("MINIO_DATA_DIR",), "set OVERSIGHT_DRIVES instead"),
    Rule(("MINIO_BROWSER",), "the console port always carries the control API", _ON),
)

#: Tuning of MinIO's own engine, of its console and of images around it, and what others read.
IGNORED = (
    "MINIO_API_*", "MINIO_BATCH_*", "MINIO_BROWSER_*", "MINIO_CACHE_*", "MINIO_CALLHOME*",
    "MINIO_CI_CD", "MINIO_COMPRESSION_*", "MINIO_CONSOLE_*", "MINIO_DEBUG*", "MINIO_DISK_*",
    "MINIO_DISTRIBUTED_*", "MINIO_DRIVE_*", "MINIO_ENABLE_*", "MINIO_ENDPOINTS",
    "MINIO_ERASURE_*", "MINIO_FORCE_NEW_KEYS", "MINIO_FS_OSYNC", "MINIO_GID", "MINIO_GROUPNAME",
    "MINIO_HEAL_*", "MINIO_HTTP_*", "MINIO_HTTPS_*", "MINIO_LICENSE*", "MINIO_LOG*",
    "MINIO_MC_*", "MINIO_NODE*", "MINIO_OPERATOR_*", "MINIO_OPTS", "MINIO_PPROF_*",
    "MINIO_PROMETHEUS_*", "MINIO_PROXY_*", "MINIO_ROOT_DISK_*", "MINIO_ROOTDISK_*",
    "MINIO_SCANNER_*", "MINIO_SCHEME", "MINIO_SITE_NAME", "MINIO_SITE_COMMENT", "MINIO_SKIP_*",
    "MINIO_STARTUP_*", "MINIO_STORAGE_CLASS_*", "MINIO_SUBNET_*", "MINIO_UID", "MINIO_UPDATE*",
    "MINIO_URL*", "MINIO_USAGE_*", "MINIO_USERNAME", "MINIO_VERSION",
    # of the stacks around the store, which share its .env
    "OVERSIGHT_BASE", "OVERSIGHT_IMAGE", "OVERSIGHT_VERSION", "OVERSIGHT_PUBLISH",
    "OVERSIGHT_NETWORK", "OVERSIGHT_S3_PORT", "OVERSIGHT_CONSOLE_PORT", "OVERSIGHT_OTLP_ENDPOINT",
    "OVERSIGHT_INTERNAL_ENDPOINT", "OVERSIGHT_LANGFUSE_*", "OVERSIGHT_DATAHUB_*",
    "OVERSIGHT_ARTIFACTS_BUCKET",
    # of this project's own tests and measurements
    "OVERSIGHT_BENCH_*", "OVERSIGHT_FAULT_*", "OVERSIGHT_PROPERTY_*",
)  # fmt: skip


@dataclass
class Reading:
    """Raw text by setting, the variable that each came from, and what must be said."""

    values: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Name:
    """The variables of one setting, strongest first. Secrets also listen to ``<NAME>_FILE``."""

    setting: str
    variables: tuple[str, ...]
    secret: bool = False

    def accepted(self) -> tuple[str, ...]:
        """Every variable that sets it, in order of strength."""
        if not self.secret:
            return self.variables
        return tuple(form for name in self.variables for form in (name, f"{name}_FILE"))


def read(names: Iterable[Name], environ: Mapping[str, str]) -> Reading:
    """Read the settings' variables and judge all others. An empty variable is an unset one."""
    names = tuple(names)
    given = {
        name: text
        for name, text in environ.items()
        if name.startswith(("OVERSIGHT_", "MINIO_")) and text.strip()
    }
    reading = Reading()
    for name in names:
        _read_one(name, given, reading)
    known = {variable for name in names for variable in name.accepted()}
    _judge_others({name: text for name, text in given.items() if name not in known}, known, reading)
    return reading


def _read_one(name: Name, given: Mapping[str, str], reading: Reading) -> None:
    found: list[tuple[str, str]] = []
    for variable in name.accepted():
        text = given.get(variable)
        if text is not None and variable.endswith("_FILE"):
            text = _secret(variable, text.strip(), reading)
        if text is not None:
            found.append((variable, text if name.secret else text.strip()))
    if not found:
        return
    reading.origins[name.setting], reading.values[name.setting] = found[0]
    for variable, text in found[1:]:
        if text != found[0][1]:
            reading.warnings.append(f"{found[0][0]} and {variable} differ; {found[0][0]} is used.")


def _secret(variable: str, name: str, reading: Reading) -> str | None:
    path = Path(name)
    if not path.is_absolute() and not path.exists():
        path = SECRETS_FOLDER / path
    try:
        with path.open("rb") as file:
            text = file.read(_SECRET_BYTES_MAX + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        reading.problems.append(f"{variable} names {path}, which cannot be read: {why}.")
        return None
    text = text.rstrip("\r\n")
    if not text or len(text) > _SECRET_BYTES_MAX or "\n" in text:
        reading.problems.append(f"{variable} names {path}, which does not hold one line of text.")
        return None
    return text


def _judge_others(others: Mapping[str, str], known: Iterable[str], reading: Reading) -> None:
    refused: dict[Rule, list[str]] = {}
    for variable, text in sorted(others.items()):
        value = text.strip().lower()
        if _SERVICE_LINK.search(variable) or variable in CLIENT_VARIABLES:
            continue
        if rule := _rule(REFUSED, variable):
            if value not in rule.harmless:
                refused.setdefault(rule, []).append(variable)
        elif rule := _rule(WARNED, variable):
            if value not in rule.harmless:
                reading.warnings.append(f"{variable} has no effect: {rule.sentence}.")
        elif not _matches(variable, IGNORED):
            near = difflib.get_close_matches(variable, (*known, *CLIENT_VARIABLES), 1, 0.75)
            hint = f"; did you mean {near[0]}?" if near else "."
            reading.warnings.append(f"{variable} is not known and has no effect{hint}")
    for rule, variables in refused.items():
        reading.problems.append(f"{', '.join(variables)} {rule.sentence}.")


def _rule(rules: Iterable[Rule], variable: str) -> Rule | None:
    return next((rule for rule in rules if _matches(variable, rule.patterns)), None)


def _matches(variable: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(variable, pattern) for pattern in patterns)
