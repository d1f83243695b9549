"""`minio server`, as MinIO's image and the compose files written for it call it.

Arguments and flags become settings of the store. A flag that only tunes MinIO is named in a
warning and ignored; one that asks for a protection or a service which does not exist here is
refused, since a silent "no" would be believed. Spec: `minio server --help` of MinIO's last source.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stack import container
from stack.store import CommandError

_USAGE = """\
Usage: minio server [FLAGS] DIR

Starts Oversight the way MinIO is started. DIR is one folder of this machine; MINIO_VOLUMES and
OVERSIGHT_DRIVES name it too.

  --address HOST:PORT           where S3 is served
  --console-address HOST:PORT   where the control API, health and metrics are served
  --json                        log lines as JSON

MinIO's other flags are named and ignored if they are harmless, and refused otherwise.
`oversight --help` lists what manages a running store."""

#: Flags that have a meaning here, by the setting that they stand for.
_SETTINGS = {"--address": "address", "--console-address": "console_address"}

#: MinIO's flags that change nothing here; True: a value follows.
_IGNORED = {
    "--quiet": False, "--anonymous": False, "--no-compat": False, "--log-compress": False,
    "--listeners": True, "--shutdown-timeout": True, "--idle-timeout": True,
    "--read-header-timeout": True, "--conn-user-timeout": True, "--dns-cache-ttl": True,
    "--max-idle-conns-per-host": True, "--crossdomain-xml": True, "--memlimit": True,
    "--send-buf-size": True, "--recv-buf-size": True, "--log-dir": True, "--log-size": True,
    "--log-prefix": True, "--config-dir": True, "-C": True,
}  # fmt: skip

_TLS = "TLS is not served yet: leave {flag} out and put a TLS proxy in front."
#: MinIO's flags that ask for what is not there, with the cure.
_REFUSED = {
    "--certs-dir": _TLS,
    "-S": _TLS,
    "--sftp": "SFTP is not served: leave {flag} out and use S3.",
    "--ftp": "FTP is not served: leave {flag} out and use S3.",
    "--interface": "Binding to an interface is not supported: leave {flag} out and name the "
    "interface's IP address in --address.",
    "--config": "Configuration files of MinIO are not read: leave {flag} out and give the folder "
    "and the addresses as arguments.",
}
#: Words in an unknown flag that promise a protection.
_PROTECTION = re.compile(
    r"tls|ssl|cert|encr|kms|kes|secur|auth|ident|ldap|oidc|lock|worm|retention|audit|parity|"
    r"erasure|replica|acl|policy|password|secret|firewall|allow|deny"
)
_CLUSTER = (
    '"{drive}" names drives of other hosts: a store of several machines needs the cluster engine '
    "(PostgreSQL and an object engine), which `minio server` does not start. Name one folder of "
    "this machine."
)
#: Where MinIO looks for certificates without being asked, below the user's home.
_CERTIFICATES = (".minio/certs/public.crt", ".minio/certs/private.key")
#: Variables that name the drives, strongest first. To MinIO they are stronger than arguments.
_DRIVES = ("MINIO_VOLUMES", "MINIO_ENDPOINTS")


@dataclass
class Request:
    """What a command line asks for: settings, and sentences that the operator should read."""

    settings: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Request:
    """Understand the words after `minio server`. Raises CommandError with the cure."""
    request = Request()
    words, drives = list(arguments), []
    while words:
        word = words.pop(0)
        if word == "--":
            drives += words
            break
        if not word.startswith("-") or word == "-":
            drives.append(word)
        else:
            flag, given, value = word.partition("=")
            _flag(flag, value if given else None, words, request)
    _drives(drives, environ, request)
    return request


def _flag(flag: str, value: str | None, words: list[str], request: Request) -> None:
    """Understand one flag; its value is ``value`` or, where one belongs to it, the next word."""
    bare = flag.lstrip("-")
    name = f"-{bare}" if len(bare) == 1 else f"--{bare}"  # Go takes `-address` as well
    if name in _REFUSED:
        raise CommandError(_REFUSED[name].format(flag=flag))
    if name in _SETTINGS:
        request.settings[_SETTINGS[name]] = _value(flag, value, words)
    elif name == "--json":
        if value not in ("false", "0"):
            request.settings["log_format"] = "json"
    elif name in _IGNORED:
        if _IGNORED[name] and value is None:
            _value(flag, None, words)
        request.warnings.append(f"{flag} has no effect here and was ignored.")
    else:
        _unknown(flag, value, words, request)


def _value(flag: str, value: str | None, words: list[str]) -> str:
    if value is None:
        if not words:
            raise CommandError(f"{flag} needs a value: see `minio server --help`.")
        value = words.pop(0)
    return value


def _unknown(flag: str, value: str | None, words: list[str], request: Request) -> None:
    """A flag that MinIO's last source does not have. A word without "/" after it is its value."""
    if _PROTECTION.search(flag.lower()):
        raise CommandError(
            f"{flag} is not known here, and seems to ask for a protection: leave it out if you "
            "can do without."
        )
    if value is None and words and not words[0].startswith("-") and "/" not in words[0]:
        flag = f"{flag} {words.pop(0)}"
    request.warnings.append(f"{flag} is not known here and was ignored.")


def _drives(drives: list[str], environ: Mapping[str, str], request: Request) -> None:
    variable = next((name for name in _DRIVES if environ.get(name, "").strip()), "")
    if variable:
        named = environ[variable].split()
        if drives and drives != named:
            request.warnings.append(
                f"{variable} names the drives; those of the command line are not used, as in MinIO."
            )
        drives = named
    for drive in drives:
        if "://" in drive or ("{" in drive and not drive.startswith(("/", "."))):
            raise CommandError(_CLUSTER.format(drive=drive))
    if drives:
        request.settings["drives"] = shlex.join(drives)


def _refuse_certificates(home: Path) -> None:
    """MinIO serves TLS as soon as these files exist: plain HTTP would be a silent change."""
    for each in _CERTIFICATES:
        try:
            found = (home / each).is_file()
        except OSError:
            found = False
        if found:
            raise CommandError(
                f"{home / each} asks for TLS, which is not served yet: take it away and put a TLS "
                "proxy in front."
            )


def serve(arguments: Sequence[str]) -> None:
    """Serve the store that the command line describes. Raises CommandError."""
    request = parse(arguments, os.environ)
    _refuse_certificates(Path(os.environ.get("HOME") or "/"))

    import msgspec

    from storage import server
    from storage.settings import Settings, SettingsError

    try:
        config = Settings(**request.settings).config()
    except SettingsError as error:
        raise CommandError("\n".join(error.problems)) from None
    container.take_over(config.drives)
    server.become(msgspec.structs.replace(config, warnings=(*config.warnings, *request.warnings)))


def main() -> None:
    """Entry point of the command `minio`."""
    words = sys.argv[1:]
    # MinIO's global flags may stand before the command.
    before = words[: words.index("server")] if "server" in words else words
    if not words or {"-h", "--help", "help"}.intersection(words):
        print(_USAGE)
        raise SystemExit(0 if words else 1)
    if {"-v", "--version"}.intersection(before):
        import storage

        print(f"minio version: this is Oversight {storage.__version__}")
        return
    try:
        if "server" not in words:
            raise CommandError(
                f"`minio {words[0]}` does not exist here: `minio server DIR` starts the store, "
                "`oversight --help` lists what manages it."
            )
        serve([*before, *words[len(before) + 1 :]])
    except CommandError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
