"""The store's settings: what each one means, which variables set it, and what is not accepted.

Read once, where the store starts; ``Settings.config()`` is what its processes get. Every field
has a help text and a unit, from which ``docs/configuration.md`` (``python -m storage.settings``)
and ``.env.example`` (``python -m stack.settings example``) are made; tests keep them equal.

``OVERSIGHT_*`` wins over ``MINIO_*``, an option of the command line over both. Everything that
is wrong is said at once, a sentence each, in ``SettingsError``.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import socket
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from storage import otel
from storage.config import Config
from storage.environment import (
    DEFAULT_PASSWORD,
    DEFAULT_USER,
    ROOT_PASSWORD,
    ROOT_USER,
    Name,
    Reading,
    read,
)
from storage.names import is_bucket_name

S3_PORT, CONSOLE_PORT = 9090, 9091
#: Buckets and prefixes that every store has: what Langfuse writes to.
LANGFUSE_BUCKETS = ("langfuse",)
LANGFUSE_PREFIXES = ("langfuse/events/", "langfuse/media/", "langfuse/exports/")
#: In-flight S3 requests of one worker where no limit is set.
REQUESTS_PER_WORKER = 1024

Address = tuple[str, int]

_LOOPBACK = ("127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - asked for, or guarded by own credentials
_ELLIPSIS = re.compile(r"\{(\d+|[0-9a-f]+)\.\.\.(\d+|[0-9a-f]+)\}")
_ELLIPSIS_MAX = 1024
_SIZE_UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_TIME_UNITS = {"": 1, "S": 1, "M": 60, "H": 3600, "D": 86400, "W": 7 * 86400}


class SettingsError(Exception):
    """The settings cannot be used. ``problems``: one sentence each, with its cure."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


# -- forms of values ------------------------------------------------------------------------------
# Text from the environment and plain Python values are both accepted: the store is also embedded.


def expand(pattern: str) -> list[str]:
    """Expand MinIO's ellipsis: "/data{1...4}" is four paths, "{01...16}" keeps its zeros.

    Several in one pattern multiply, the last one turning fastest. Raises ValueError.
    """
    match = _ELLIPSIS.search(pattern)
    if match is None:
        if "..." in pattern and "{" in pattern:
            raise ValueError(f'"{pattern}" holds no range of the form {{1...4}}')
        return [pattern]
    first, last = match.groups()
    base = 10 if first.isdigit() and last.isdigit() else 16
    start, stop = int(first, base), int(last, base)
    if start > stop or stop - start >= _ELLIPSIS_MAX:
        raise ValueError(f'the range in "{pattern}" must ascend and be at most {_ELLIPSIS_MAX}')
    width = len(first) if first.startswith("0") else 0
    kind = "d" if base == 10 else "x"
    head, rest = pattern[: match.start()], expand(pattern[match.end() :])
    return [
        f"{head}{number:0{width}{kind}}{tail}" for number in range(start, stop + 1) for tail in rest
    ]


def _drives(value: object) -> object:
    if isinstance(value, (str, Path)):
        try:
            value = shlex.split(value) if isinstance(value, str) else (str(value),)
        except ValueError as error:
            raise ValueError("a quotation mark is not closed") from error
    if not isinstance(value, (list, tuple)):
        return value
    paths = [path for pattern in value for path in expand(os.fspath(pattern))]
    if any("://" in path for path in paths):
        raise ValueError("drives on other hosts are not supported: name a folder of this machine")
    if len(paths) > 1:
        raise ValueError(
            f"several drives ({len(paths)} here) are not supported yet: name one folder"
        )
    return tuple(paths)


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Parse "HOST:PORT", ":PORT", "PORT" or "[::1]:PORT"; several are separated by commas.

    No host means every interface, "localhost" both loopback addresses. Other names are looked up
    when ``Settings.config`` is made. Raises ValueError.
    """
    return tuple(
        (host, port)
        for part in re.split(r"[\s,]+", text.strip())
        for hosts, port in (_parse_address(part),)
        for host in hosts
    )


def _parse_address(text: str) -> tuple[tuple[str, ...], int]:
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'"{text}" is not HOST:PORT with a port from 0 to 65535')
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f'"{text}" must have its IPv6 address in brackets, as in [::1]:9090')
    if not host or host == "*":
        return _EVERYWHERE, int(port)
    return (_LOOPBACK if host.lower() == "localhost" else (host,)), int(port)


def _addresses(value: object) -> object:
    return parse_addresses(str(value)) if isinstance(value, (str, int)) else value


def _names(value: object) -> object:
    if isinstance(value, str):
        return tuple(name for name in re.split(r"[\s,;]+", value) if name)
    return value


_is_domain = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$"
)


def _each(parse: Callable[[str], str]) -> BeforeValidator:
    """Names, each as ``parse`` has it, and once."""

    def parsed(value: object) -> object:
        names = _names(value)
        if not isinstance(names, (list, tuple)):
            return names
        return tuple(dict.fromkeys(parse(str(name)) for name in names))

    return BeforeValidator(parsed)


def _domain(text: str) -> str:
    name = text.lower().removesuffix(".")
    if _is_domain.match(name) is None or name.rpartition(".")[2].isdigit():
        raise ValueError(
            f'"{text}" is not a domain: a name such as s3.example.com, without scheme, port and "*"'
        )
    return name


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f'"{text}" is neither an address nor a network, as in 172.16.0.0/12'
        ) from None
    if not network.prefixlen:
        raise ValueError(
            f'"{text}" is everybody: anyone could claim to call from any address. Name the proxies'
        )
    return str(network)


def _buckets(value: object) -> object:
    names = _names(value)
    if not isinstance(names, (list, tuple)):
        return names
    return tuple(_bucket(str(name)) for name in names)


def _bucket(text: str) -> str:
    text, _, policy = text.partition(":")
    if policy not in ("", "none"):
        raise ValueError(
            f'"{text}:{policy}" asks for anonymous access, which is not supported yet: '
            "leave the policy out"
        )
    name, slash, prefix = text.partition("/")
    if not is_bucket_name(name):
        raise ValueError(
            f'"{name}" is not a bucket name: 3 to 63 of a-z, 0-9, "." and "-", '
            "with a letter or digit at both ends"
        )
    return f"{name}/{prefix.rstrip('/')}/" if slash and prefix else name


def _quantity(units: dict[str, int], example: str) -> Any:
    def parse(value: object) -> object:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", value.strip())
        if match is None or match[2].upper() not in units:
            raise ValueError(f'"{value}" is not a number with a unit, as in {example}')
        return int(match[1]) * units[match[2].upper()]

    return BeforeValidator(parse)


def _auto(value: object) -> object:
    return 0 if isinstance(value, str) and value.strip().lower() == "auto" else value


def _never(value: object) -> object:
    return 0 if isinstance(value, str) and value.strip().lower() == "never" else value


def _root(value: object) -> object:
    if not isinstance(value, str):
        return value
    bucket, _, prefix = value.strip().partition("/")
    if not is_bucket_name(bucket):
        raise ValueError(f'"{value}" is not bucket/prefix, as in langfuse/events/')
    return f"{bucket}/{prefix}"


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


Drives = Annotated[tuple[str, ...], BeforeValidator(_drives)]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_addresses)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Networks = Annotated[tuple[str, ...], _each(_network)]
Domains = Annotated[tuple[str, ...], _each(_domain)]
Buckets = Annotated[tuple[str, ...], BeforeValidator(_buckets)]
Count = Annotated[int, BeforeValidator(_auto)]
Days = Annotated[int, BeforeValidator(_never)]
Bytes = Annotated[int, _quantity(_SIZE_UNITS, "128KiB")]
Root = Annotated[str, BeforeValidator(_root)]
Seconds = Annotated[int, _quantity(_TIME_UNITS, "7d")]


# -- the settings ---------------------------------------------------------------------------------


def _setting(
    default: Any, *variables: str, help: str, unit: str, shown: str = "", secret: bool = False,
    **limits: Any,
) -> Any:  # fmt: skip
    """A field with its variables (strongest first), help text and unit. ``shown``: its default."""
    extra: Any = {
        "variables": variables,
        "unit": unit,
        "shown": shown or str(default),
        "secret": secret,
    }
    return Field(default, description=help, json_schema_extra=extra, repr=not secret, **limits)


class _Environment(PydanticBaseSettingsSource):
    """The environment as a source of settings, with its warnings and problems."""

    def __call__(self) -> dict[str, Any]:
        reading = read(names(), os.environ)
        return {**reading.values, "reading": reading}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError("values are read together")


class Settings(BaseSettings):
    """Everything that can be set. Frozen; made from options, then the environment, then defaults.

    Raises SettingsError with every problem found.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    drives: Drives = _setting(
        ("./data",), "OVERSIGHT_DRIVES", "MINIO_VOLUMES", unit="path", shown="./data",
        help="Folder that holds the store's data, one per drive. MinIO's ellipsis /data{1...4} "
        "is understood; more than one drive is refused until it is supported.",
    )  # fmt: skip
    root_user: str = _setting(
        DEFAULT_USER, *ROOT_USER, unit="text",
        help="Access key of the root user, 3 to 128 characters.", secret=True,
    )  # fmt: skip
    root_password: str = _setting(
        DEFAULT_PASSWORD, *ROOT_PASSWORD,
        unit="text", secret=True,
        help="Secret key of the root user, 8 to 256 characters. The keys of all other users are "
        "sealed under it: change it with `oversight rekey`, or give the old one once.",
    )  # fmt: skip
    root_password_old: str = _setting(
        "", "OVERSIGHT_ROOT_PASSWORD_OLD", unit="text", shown="none", secret=True,
        help="The root password before a change: the store opens with it and seals its key "
        "under the new one. Take it away afterwards.",
    )  # fmt: skip
    address: Addresses = _setting(
        (), "OVERSIGHT_ADDRESS", "MINIO_ADDRESS", unit="HOST:PORT",
        shown="localhost:9090 with the default password, :9090 with your own",
        help="Where S3 is served. No host means every interface; several are separated by commas.",
    )  # fmt: skip
    console_address: Addresses = _setting(
        (), "OVERSIGHT_CONSOLE_ADDRESS", "MINIO_CONSOLE_ADDRESS", unit="HOST:PORT",
        shown="localhost:9091 with the default password, :9091 with your own",
        help="Where the control API, health and metrics are served.",
    )  # fmt: skip
    workers: Count = _setting(
        0, "OVERSIGHT_WORKERS", unit="processes", shown="one per core", ge=0, le=256,
        help="Processes that serve S3. With 1, the whole data plane is one process.",
    )  # fmt: skip
    region: str = _setting(
        "", "OVERSIGHT_REGION", "MINIO_SITE_REGION", "MINIO_REGION", "MINIO_REGION_NAME",
        unit="text", shown="any", pattern=r"^[A-Za-z0-9-]{0,64}$",
        help="Region that clients must sign for. Unset, any region is accepted.",
    )  # fmt: skip
    buckets: Buckets = _setting(
        (), "OVERSIGHT_BUCKETS", "MINIO_DEFAULT_BUCKETS", unit="names", shown="none",
        help="Buckets to make at start beside `langfuse`, separated by commas. "
        "`name/prefix/` makes the prefix visible too.",
    )  # fmt: skip
    requests_max: Count = _setting(
        0, "OVERSIGHT_REQUESTS_MAX", "MINIO_API_REQUESTS_MAX", unit="requests",
        shown="1024 per worker", ge=0, le=10**6,
        help="S3 requests in flight in the whole store; beyond it 503 SlowDown.",
    )  # fmt: skip
    cors_allow_origin: Names = _setting(
        ("*",), "OVERSIGHT_CORS_ALLOW_ORIGIN", "MINIO_API_CORS_ALLOW_ORIGIN", unit="origins",
        shown="*", help="Origins whose pages may call S3 from a browser, separated by commas, or "
        "`none`. Buckets with CORS rules of their own follow those alone.",
    )  # fmt: skip
    bucket_defaults: Annotated[Literal["none", "aws"], BeforeValidator(_lower)] = _setting(
        "none", "OVERSIGHT_BUCKET_DEFAULTS", unit="none or aws",
        help="What new buckets begin with. `aws`: object ownership BucketOwnerEnforced (no ACLs) "
        "and a public access block, as on AWS since 2023.",
    )  # fmt: skip
    external_endpoint: str = _setting(
        "", "OVERSIGHT_EXTERNAL_ENDPOINT", "MINIO_SERVER_URL", unit="URL",
        shown="what the client called",
        help="Address of S3 as clients outside see it, as in https://s3.example.com.",
    )  # fmt: skip
    domains: Domains = _setting(
        (), "OVERSIGHT_DOMAIN", "MINIO_DOMAIN", unit="names", shown="none",
        help="Domains that may have a bucket in front of them, separated by commas: with "
        "`s3.example.com`, `bucket.s3.example.com/key` is `s3.example.com/bucket/key`.",
    )  # fmt: skip
    trusted_proxies: Networks = _setting(
        (), "OVERSIGHT_TRUSTED_PROXIES", unit="networks", shown="none",
        help="Proxies in front of the store, as addresses or networks, separated by commas, as in "
        "`172.16.0.0/12`. Their `X-Forwarded-For` and `X-Forwarded-Proto` say who calls, and how.",
    )  # fmt: skip
    signature_v2: bool = _setting(
        True, "OVERSIGHT_SIGNATURE_V2", unit="on or off", shown="on",
        help="Whether requests, URLs and forms signed with AWS Signature Version 2 are accepted.",
    )  # fmt: skip
    inline_max: Bytes = _setting(
        128 * 1024, "OVERSIGHT_INLINE_MAX", unit="bytes", shown="128KiB", ge=0, le=4 * 2**20,
        help="Largest object that is kept in the log; larger ones become files of their own.",
    )  # fmt: skip
    segment_size: Bytes = _setting(
        64 * 2**20, "OVERSIGHT_SEGMENT_SIZE", unit="bytes", shown="64MiB", ge=16 * 2**20, le=2**30,
        help="Size of a segment of the log, allocated in advance.",
    )  # fmt: skip
    free_min: Bytes = _setting(
        0, "OVERSIGHT_FREE_MIN", unit="bytes",
        shown="the larger of 192MiB and 1 % of the drive, at most 2GiB", ge=0, le=2**50,
        help="Free space below which writes are refused while reads and deletes go on.",
    )  # fmt: skip
    feed_retention: Seconds = _setting(
        7 * 86400, "OVERSIGHT_FEED_RETENTION", unit="seconds", shown="7d", ge=60,
        help="How long a consumer of the change feed may lag before it has to start anew.",
    )  # fmt: skip
    events_retention_days: Days = _setting(
        0, "OVERSIGHT_EVENTS_RETENTION_DAYS", unit="days", shown="never", ge=0, le=36500,
        help="Days after which what Langfuse keeps under `langfuse/events/` expires, by a "
        "lifecycle rule of that bucket. Traces stay in Langfuse; its own retention is another "
        "matter.",
    )  # fmt: skip
    lifecycle_day: Seconds = _setting(
        86400, "OVERSIGHT_LIFECYCLE_DAY_SECONDS", unit="seconds", shown="86400", ge=1, le=86400,
        help="Length of a day of lifecycle rules, to try them out. Never shorten it on a store "
        "with data that matters.",
    )  # fmt: skip
    langfuse_index: bool = _setting(
        True, "OVERSIGHT_LANGFUSE_INDEX", unit="on or off", shown="on",
        help="Whether the store keeps an index of the traces in Langfuse's objects, for the "
        "console. Off, nothing of them is read.",
    )  # fmt: skip
    langfuse_events: Root = _setting(
        "langfuse/events/", "OVERSIGHT_LANGFUSE_EVENTS", unit="bucket/prefix",
        help="Where Langfuse keeps events: its LANGFUSE_S3_EVENT_UPLOAD_BUCKET and _PREFIX.",
    )  # fmt: skip
    langfuse_media: Root = _setting(
        "langfuse/media/", "OVERSIGHT_LANGFUSE_MEDIA", unit="bucket/prefix",
        help="Where Langfuse keeps media: its LANGFUSE_S3_MEDIA_UPLOAD_BUCKET and _PREFIX.",
    )  # fmt: skip
    langfuse_exports: Root = _setting(
        "langfuse/exports/", "OVERSIGHT_LANGFUSE_EXPORTS", unit="bucket/prefix",
        help="Where Langfuse keeps exports: its LANGFUSE_S3_BATCH_EXPORT_BUCKET and _PREFIX.",
    )  # fmt: skip
    langfuse_url: str = _setting(
        "", "OVERSIGHT_LANGFUSE_URL", unit="URL", shown="none",
        help="Where people open Langfuse; the console then links traces to it.",
    )  # fmt: skip
    scrub_interval: Seconds = _setting(
        7 * 86400, "OVERSIGHT_SCRUB_INTERVAL", unit="seconds", shown="7d", ge=0,
        help="How long after a search for rot the next one begins; 0 switches it off. It reads "
        "everything, slowly.",
    )  # fmt: skip
    drain: Seconds = _setting(
        8, "OVERSIGHT_DRAIN", unit="seconds", shown="8s", ge=0, le=600,
        help="How long requests in flight may take to finish after SIGTERM.",
    )  # fmt: skip
    access_log: str = _setting(
        "", "OVERSIGHT_ACCESS_LOG", unit="path", shown="none",
        help="File that gets one line per S3 request; `-` is standard output.",
    )  # fmt: skip
    log_format: Annotated[Literal["text", "json"], BeforeValidator(_lower)] = _setting(
        "text", "OVERSIGHT_LOG_FORMAT", unit="text or json", help="Form of log lines.",
    )  # fmt: skip
    prometheus_auth: Annotated[Literal["jwt", "public"], BeforeValidator(_lower)] = _setting(
        "jwt", "OVERSIGHT_PROMETHEUS_AUTH_TYPE", "MINIO_PROMETHEUS_AUTH_TYPE",
        unit="jwt or public", help="Whether metrics need a bearer token.",
    )  # fmt: skip
    reading: Reading = Field(default_factory=Reading, exclude=True, repr=False)

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise SettingsError(_sentences(error, options)) from None

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        return init_settings, _Environment(settings_cls)

    @field_validator("reading")
    @classmethod
    def _no_problems(cls, reading: Reading) -> Reading:
        if reading.problems:
            raise ValueError("\n".join(reading.problems))
        return reading

    @field_validator("root_user")
    @classmethod
    def _user_form(cls, user: str) -> str:
        if not re.fullmatch(r"[!-+\--<>-~]{3,128}", user):
            raise ValueError('it must have 3 to 128 ASCII characters without spaces, "=" and ","')
        return user

    @field_validator("root_password", "root_password_old")
    @classmethod
    def _password_form(cls, password: str) -> str:
        if password and (not 8 <= len(password) <= 256 or not password.isprintable()):
            raise ValueError("it must have 8 to 256 printable characters")
        return password

    @field_validator("external_endpoint")
    @classmethod
    def _endpoint_form(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (
            parts.scheme not in ("http", "https") or not parts.hostname
            or parts.path.strip("/") or parts.query or parts.username
        ):  # fmt: skip
            raise ValueError("it must be http:// or https:// with a host and nothing after it")
        return url.rstrip("/")

    @field_validator("langfuse_url")
    @classmethod
    def _url_form(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (
            parts.scheme not in ("http", "https") or not parts.hostname
            or parts.query or parts.fragment or parts.username
        ):  # fmt: skip
            raise ValueError("it must be http:// or https:// with a host")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _password_comes_with_user(self) -> Settings:
        if self.root_user != DEFAULT_USER and "root_password" not in self.model_fields_set:
            raise ValueError(
                "A root user is set without a password: set OVERSIGHT_ROOT_PASSWORD (or "
                "MINIO_ROOT_PASSWORD) too."
            )
        return self

    @property
    def default_credentials(self) -> bool:
        """Whether the published default password is in use."""
        return self.root_password == DEFAULT_PASSWORD

    def config(self) -> Config:
        """What the store's processes get. Raises SettingsError where a host has no address."""
        workers = self.workers or cores()
        hosts = _LOOPBACK if self.default_credentials else _EVERYWHERE
        makes = tuple(name for name in self.buckets if "/" in name)
        address = _resolve(self.address) or tuple((host, S3_PORT) for host in hosts)
        console = _resolve(self.console_address) or tuple((host, CONSOLE_PORT) for host in hosts)
        both = {address for address in console if address[1]}.intersection(address)
        if both:
            raise SettingsError(
                [
                    f"S3 and the console port cannot share port {min(both)[1]}: give one of them "
                    "another with --address or --console-address."
                ]
            )
        named = (*LANGFUSE_BUCKETS, *(name.partition("/")[0] for name in self.buckets))
        return Config(
            drives=self.drives,
            root_user=self.root_user,
            root_password=self.root_password,
            root_password_old=self.root_password_old,
            region=self.region,
            workers=workers,
            address=address,
            console_address=console,
            buckets=tuple(dict.fromkeys(named)),
            prefixes=tuple(dict.fromkeys((*LANGFUSE_PREFIXES, *makes))),
            requests_max=-(-self.requests_max // workers) or REQUESTS_PER_WORKER,
            cors_allow_origin=self.cors_allow_origin,
            bucket_defaults="" if self.bucket_defaults == "none" else self.bucket_defaults,
            external_endpoint=self.external_endpoint,
            domains=self.domains,
            trusted_proxies=self.trusted_proxies,
            signature_v2=self.signature_v2,
            inline_max=self.inline_max,
            segment_size=self.segment_size,
            langfuse_index=self.langfuse_index,
            langfuse_events=self.langfuse_events,
            langfuse_media=self.langfuse_media,
            langfuse_exports=self.langfuse_exports,
            langfuse_url=self.langfuse_url,
            free_min=self.free_min,
            feed_retention=self.feed_retention,
            events_retention_days=self.events_retention_days,
            lifecycle_day=self.lifecycle_day,
            scrub_interval=self.scrub_interval,
            access_log=self.access_log,
            log_format=self.log_format,
            prometheus_auth=self.prometheus_auth,
            drain=self.drain,
            otel=otel.variables(os.environ),
            warnings=self._warnings((*address, *console)),
        )

    def _warnings(self, addresses: Iterable[Address]) -> tuple[str, ...]:
        found = list(self.reading.warnings)
        if otel.variables(os.environ) and not otel.is_installed():
            found.append(otel.MISSING)
        if self.default_credentials:
            found.append(
                "The root password is the published default: set OVERSIGHT_ROOT_PASSWORD before "
                "others can reach this store."
            )
            if not all(ipaddress.ip_address(host).is_loopback for host, _ in addresses):
                found.append(
                    "The store listens beyond this machine with the default password, because "
                    "an address was given."
                )
        if self.root_password_old:
            found.append("OVERSIGHT_ROOT_PASSWORD_OLD is set: take it away after this start.")
        return tuple(found)


def cores() -> int:
    """Cores that this process may use: its affinity, cut by the container's CPU quota."""
    available = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        available = min(available, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2, or its quota is "max"
    return max(1, available)


def _resolve(addresses: Iterable[Address]) -> tuple[Address, ...]:
    resolved: dict[Address, None] = {}
    for host, port in addresses:
        try:
            ipaddress.ip_address(host)
            resolved[host, port] = None
        except ValueError:
            for found in _look_up(host, port):
                resolved[found] = None
    return tuple(resolved)


def _look_up(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise SettingsError(
            [f'The host "{host}" has no address on this machine: give an IP address instead.']
        ) from None
    return [(str(address[0]), port) for *_, address in found]


# -- what is wrong, in sentences --------------------------------------------------------------


def _sentences(error: ValidationError, options: dict[str, Any]) -> list[str]:
    sentences: list[str] = []
    for problem in error.errors(include_input=False, include_url=False):
        field = str(problem["loc"][0]) if problem["loc"] else ""
        message = problem["msg"].removeprefix("Value error, ")
        if field in ("", "reading"):
            sentences += message.splitlines()
        elif field not in Settings.model_fields:
            sentences.append(f'There is no setting "{field}".')
        else:
            sentences.append(f"{_origin(field, options)}: {message[:1].lower()}{message[1:]}.")
    return sentences


def _origin(field: str, options: dict[str, Any]) -> str:
    if field in options:
        return "--" + field.replace("_", "-")
    return read(names(), os.environ).origins.get(field, field)


# -- what there is to set ---------------------------------------------------------------------


def names() -> tuple[Name, ...]:
    """Every setting with its variables."""
    return tuple(
        Name(field, extra["variables"], extra["secret"]) for field, _, extra in _described()
    )


def _described() -> Iterable[tuple[str, FieldInfo, dict[str, Any]]]:
    for field, info in Settings.model_fields.items():
        if isinstance(info.json_schema_extra, dict):
            yield field, info, info.json_schema_extra


def table() -> str:
    """The settings as the Markdown table of ``docs/configuration.md``."""
    rows = ["| Variable | Also | Unit | Default | Meaning |", "|---|---|---|---|---|"]
    for _, info, extra in _described():
        first, *others = Name("", extra["variables"], extra["secret"]).accepted()
        also = ", ".join(f"`{name}`" for name in others) or "-"
        rows.append(
            f"| `{first}` | {also} | {extra['unit']} | {extra['shown']} | {info.description} |"
        )
    return "\n".join(rows)


def example_blocks(without: Container[str] = ()) -> list[str]:
    """The settings as blocks of ``.env.example``: commented out, so that a copy changes nothing.

    ``without``: variables that the file explains elsewhere.
    """
    blocks = []
    for _, info, extra in _described():
        variable = extra["variables"][0]
        if variable in without:
            continue
        default = info.default if isinstance(info.default, str) else extra["shown"]
        value = default if " " not in default and default not in ("none", "any") else ""
        blocks.append(
            f"# {info.description}\n# Unit: {extra['unit']}. Default: {extra['shown']}.\n"
            f"#{variable}={value}"
        )
    return blocks


if __name__ == "__main__":
    print(table(), end="")
