"""The settings of the stacks in ``langfuse/`` and ``datahub/``: one root ``.env`` for all of them.

Two endpoints are enough, ``OVERSIGHT_INTERNAL_ENDPOINT`` and ``OVERSIGHT_EXTERNAL_ENDPOINT``:
everything else that Langfuse and DataHub want to know about the store derives from them unless
it is set by hand. The derivations are the defaults below (``stack.expressions``); which container
gets which of them is in ``stack.services``.

Every field has a help text and a unit, from which ``.env.example`` and the tables of
``docs/configuration.md`` are made (``python -m stack.settings example|tables``). The store's own
settings are in ``storage.settings`` and come after these in both.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stack.expressions import Variable, expand
from storage.names import is_bucket_name
from storage.settings import SettingsError
from storage.settings import example_blocks as store_blocks

#: What upstream's files ship, so that stacks start without a ``.env``. Published: never for others.
KNOWN_ENCRYPTION_KEY = "0" * 64

#: The uses that Langfuse makes of a bucket, by the middle of their variables' names: what it holds.
LANGFUSE_USES = {"EVENT_UPLOAD": "events", "MEDIA_UPLOAD": "media", "BATCH_EXPORT": "exports"}

_SECTIONS = {
    "store": "The store: addresses, ports, image",
    "keys": "The store: credentials and buckets of its users",
    "langfuse": "Langfuse",
    "databases": "Langfuse's databases",
    "init": "Langfuse: a project that is ready at the first start",
    "s3": "Langfuse and the store: derived, set one only to overrule it",
    "datahub": "DataHub",
    "observability": "Metrics, dashboards and traces (profile `observability`)",
}


# -- forms of values ------------------------------------------------------------------------------


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError("it must be http:// or https:// with a host")
    try:
        parts.port  # noqa: B018 - a number that is none is found when it is asked for
    except ValueError:
        raise ValueError("its port must be a number from 0 to 65535") from None
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("it must have nothing after the host and port")
    return text.rstrip("/")


def _address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("it must be an IP address of this machine, as in 0.0.0.0") from None
    return text


def _bucket(text: str) -> str:
    if not is_bucket_name(text):
        raise ValueError("it must be a bucket name: 3 to 63 of a-z, 0-9, `.` and `-`")
    return text


def _prefix(text: str) -> str:
    if text and (not text.endswith("/") or text.startswith("/")):
        raise ValueError("it must end with `/` and not begin with one")
    return text


def _hexadecimal(text: str) -> str:
    if len(text) != 64 or any(digit not in "0123456789abcdefABCDEF" for digit in text):
        raise ValueError("it must be 64 hexadecimal digits")
    return text


Url = Annotated[str, AfterValidator(_url)]
Address = Annotated[str, AfterValidator(_address)]
Bucket = Annotated[str, AfterValidator(_bucket)]
Prefix = Annotated[str, AfterValidator(_prefix)]
Key256 = Annotated[str, AfterValidator(_hexadecimal)]
Port = Annotated[int, Field(ge=1, le=65535)]
Switch = Literal["true", "false"]


# -- the settings ---------------------------------------------------------------------------------


def _setting(
    variable: str, default: str = "", *, section: str, help: str, unit: str = "text",
    aliases: tuple[str, ...] = (), secret: bool = False,
) -> Any:  # fmt: skip
    """A field of one variable. ``default``: a template of ``stack.expressions``."""
    extra: Any = {
        "variable": variable,
        "aliases": aliases,
        "section": section,
        "unit": unit,
        "secret": secret,
    }
    return Field(default, description=help, json_schema_extra=extra, repr=not secret)


_OF_USE = {
    "BUCKET": ("${OVERSIGHT_LANGFUSE_BUCKET}", "Bucket of %s.", "name"),
    "PREFIX": ("%s/", "Prefix of %s in the bucket.", "prefix"),
    "REGION": ("${OVERSIGHT_REGION:-auto}", "Region that is signed for %s.", "text"),
    "ACCESS_KEY_ID": ("${OVERSIGHT_LANGFUSE_ACCESS_KEY}", "Access key for %s.", "text"),
    "SECRET_ACCESS_KEY": ("${OVERSIGHT_LANGFUSE_SECRET_KEY}", "Secret key for %s.", "text"),
    "FORCE_PATH_STYLE": (
        "true",
        "Whether the bucket's name stands in the path for %s. The store serves no other style.",
        "true or false",
    ),
}


def _of_use(use: str, tail: str) -> Any:
    """A variable that each of Langfuse's uses of a bucket has. ``use``: a key of LANGFUSE_USES."""
    default, text, unit = _OF_USE[tail]
    holds = LANGFUSE_USES[use]
    return _setting(
        f"LANGFUSE_S3_{use}_{tail}", default.replace("%s", holds), section="s3",
        help=text % holds, unit=unit, secret=tail == "SECRET_ACCESS_KEY",
    )  # fmt: skip


class Stack(BaseSettings):
    """Everything that can be set about the stacks. Frozen. Made by ``Stack.load`` or ``Stack.of``.

    Raises SettingsError with every problem found.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # The store: addresses, ports, image.
    external_endpoint: Url = _setting(
        "OVERSIGHT_EXTERNAL_ENDPOINT", "http://localhost:${OVERSIGHT_S3_PORT}",
        section="store", unit="URL", aliases=("MINIO_SERVER_URL",),
        help="The store's S3 as browsers, SDKs and other machines reach it. Langfuse and DataHub "
        "sign URLs for this address; behind a proxy it is the proxy's, as in "
        "https://s3.example.com.",
    )  # fmt: skip
    internal_endpoint: Url = _setting(
        "OVERSIGHT_INTERNAL_ENDPOINT", "http://minio:9000", section="store", unit="URL",
        help="The store's S3 as the containers of the stacks reach it.",
    )  # fmt: skip
    publish: Address = _setting(
        "OVERSIGHT_PUBLISH", "127.0.0.1", section="store", unit="IP address",
        help="Address of this machine at which ports are published. Docker's rules go past the "
        "host's firewall: open it (0.0.0.0) only with secrets of your own, which "
        "`oversight env --publish 0.0.0.0` makes.",
    )  # fmt: skip
    s3_port: Port = _setting(
        "OVERSIGHT_S3_PORT", "9090", section="store", unit="port",
        help="Port of this machine for S3.",
    )  # fmt: skip
    console_port: Port = _setting(
        "OVERSIGHT_CONSOLE_PORT", "9091", section="store", unit="port",
        help="Port of this machine for the control API, health and metrics.",
    )  # fmt: skip
    version: str = _setting(
        "OVERSIGHT_VERSION", "0.1.0", section="store", unit="version",
        help="Version of the store's image.",
    )  # fmt: skip
    image: str = _setting(
        "OVERSIGHT_IMAGE", "oversight-store/oversight:${OVERSIGHT_VERSION}", section="store",
        unit="image", help="The store's image. It is built from this checkout.",
    )  # fmt: skip
    base_image: str = _setting(
        "OVERSIGHT_BASE", "python:3.11-slim-bookworm", section="store", unit="image",
        help="What the store's image is built on.",
    )  # fmt: skip
    pip_index: str = _setting(
        "PIP_INDEX_URL", "", section="store", unit="URL",
        help="Index that the image's packages come from, if not pip's own (docs/container.md).",
    )  # fmt: skip
    pip_extra_index: str = _setting(
        "PIP_EXTRA_INDEX_URL", "", section="store", unit="URL",
        help="Another index of packages for building the image.",
    )  # fmt: skip
    pip_trusted_host: str = _setting(
        "PIP_TRUSTED_HOST", "", section="store", unit="name",
        help="Host whose certificate building the image does not check. Better: compose/pip/*.crt.",
    )  # fmt: skip
    network: str = _setting(
        "OVERSIGHT_NETWORK", "oversight", section="store", unit="name",
        help="Docker network on which the stacks meet the store.",
    )  # fmt: skip

    # The store: credentials and buckets of its users.
    root_user: str = _setting(
        "OVERSIGHT_ROOT_USER", "minio", section="keys", aliases=("MINIO_ROOT_USER",),
        help="Access key of the store's root user, 3 to 128 characters.",
    )  # fmt: skip
    root_password: str = _setting(
        "OVERSIGHT_ROOT_PASSWORD", "miniosecret", section="keys",
        aliases=("MINIO_ROOT_PASSWORD",), secret=True,
        help="Secret key of the store's root user, 8 to 256 characters. Change it with "
        "`oversight rekey`.",
    )  # fmt: skip
    langfuse_access_key: str = _setting(
        "OVERSIGHT_LANGFUSE_ACCESS_KEY", "${OVERSIGHT_ROOT_USER}", section="keys",
        help="Access key of Langfuse. If it is not the root user's, the `bootstrap` service makes "
        "it, with rights on Langfuse's bucket alone.",
    )  # fmt: skip
    langfuse_secret_key: str = _setting(
        "OVERSIGHT_LANGFUSE_SECRET_KEY", "${OVERSIGHT_ROOT_PASSWORD}", section="keys",
        secret=True, help="Secret key of Langfuse.",
    )  # fmt: skip
    datahub_access_key: str = _setting(
        "OVERSIGHT_DATAHUB_ACCESS_KEY", "${OVERSIGHT_ROOT_USER}", section="keys",
        help="Access key of DataHub and its recipes. If it is not the root user's, the "
        "`bootstrap` service makes it: it may write DataHub's bucket, and read Langfuse's "
        "exports and the bucket of artifacts.",
    )  # fmt: skip
    datahub_secret_key: str = _setting(
        "OVERSIGHT_DATAHUB_SECRET_KEY", "${OVERSIGHT_ROOT_PASSWORD}", section="keys",
        secret=True, help="Secret key of DataHub.",
    )  # fmt: skip
    langfuse_bucket: Bucket = _setting(
        "OVERSIGHT_LANGFUSE_BUCKET", "langfuse", section="keys", unit="name",
        help="Bucket of Langfuse: events/, media/ and exports/.",
    )  # fmt: skip
    datahub_bucket: Bucket = _setting(
        "OVERSIGHT_DATAHUB_BUCKET", "datahub", section="keys", unit="name",
        help="Bucket of the documents that DataHub's users upload.",
    )  # fmt: skip
    artifacts_bucket: Bucket = _setting(
        "OVERSIGHT_ARTIFACTS_BUCKET", "artifacts", section="keys", unit="name",
        help="Bucket of your own files that DataHub describes.",
    )  # fmt: skip
    region: str = _setting(
        "OVERSIGHT_REGION", section="keys", aliases=("MINIO_SITE_REGION",),
        help="Region that clients must sign for. Unset, any region is accepted.",
    )  # fmt: skip

    # Langfuse.
    langfuse_port: Port = _setting(
        "LANGFUSE_PORT", "3000", section="langfuse", unit="port",
        help="Port of this machine for Langfuse.",
    )  # fmt: skip
    nextauth_url: Url = _setting(
        "NEXTAUTH_URL", "http://localhost:${LANGFUSE_PORT}", section="langfuse", unit="URL",
        help="Langfuse's address as browsers see it; behind a proxy, the proxy's.",
    )  # fmt: skip
    nextauth_secret: str = _setting(
        "NEXTAUTH_SECRET", "mysecret", section="langfuse", secret=True,
        help="Signs Langfuse's sessions. Changing it signs everybody out.",
    )  # fmt: skip
    salt: str = _setting(
        "SALT", "mysalt", section="langfuse", secret=True,
        help="Salt of the hashes of Langfuse's API keys. Changing it makes all of them invalid.",
    )  # fmt: skip
    encryption_key: Key256 = _setting(
        "ENCRYPTION_KEY", KNOWN_ENCRYPTION_KEY, section="langfuse", secret=True,
        unit="64 hexadecimal digits",
        help="Encrypts what Langfuse keeps of other services' credentials. Changing it makes "
        "them unreadable.",
    )  # fmt: skip
    telemetry: Switch = _setting(
        "TELEMETRY_ENABLED", "false", section="langfuse", unit="true or false",
        help="Whether Langfuse sends statistics of its use to its makers. Langfuse's own default "
        "is true; here nothing leaves your machine unasked.",
    )  # fmt: skip
    experimental: Switch = _setting(
        "LANGFUSE_ENABLE_EXPERIMENTAL_FEATURES", "false", section="langfuse",
        unit="true or false", help="Whether Langfuse shows features that are not finished.",
    )  # fmt: skip
    langfuse_version: str = _setting(
        "LANGFUSE_VERSION", "4.16.0", section="langfuse", unit="version",
        help="Version of Langfuse's two images.",
    )  # fmt: skip
    langfuse_image: str = _setting(
        "LANGFUSE_WEB_IMAGE", "langfuse/langfuse:${LANGFUSE_VERSION}", section="langfuse",
        unit="image", help="Image of langfuse-web.",
    )  # fmt: skip
    langfuse_worker_image: str = _setting(
        "LANGFUSE_WORKER_IMAGE", "langfuse/langfuse-worker:${LANGFUSE_VERSION}",
        section="langfuse", unit="image", help="Image of langfuse-worker.",
    )  # fmt: skip

    # Langfuse's databases.
    postgres_user: str = _setting(
        "POSTGRES_USER", "postgres", section="databases", help="User of PostgreSQL.",
    )  # fmt: skip
    postgres_password: str = _setting(
        "POSTGRES_PASSWORD", "postgres", section="databases", secret=True,
        help="Password of PostgreSQL, set once when its volume is made. Letters and digits: it "
        "becomes part of a URL.",
    )  # fmt: skip
    postgres_db: str = _setting(
        "POSTGRES_DB", "postgres", section="databases", unit="name",
        help="Database of Langfuse.",
    )  # fmt: skip
    database_url: str = _setting(
        "DATABASE_URL",
        "postgresql://${POSTGRES_USER}:${POSTGRES_PASSWORD}@postgres:5432/${POSTGRES_DB}",
        section="databases", unit="URL", secret=True, help="Where Langfuse finds PostgreSQL.",
    )  # fmt: skip
    clickhouse_user: str = _setting(
        "CLICKHOUSE_USER", "clickhouse", section="databases", help="User of ClickHouse.",
    )  # fmt: skip
    clickhouse_password: str = _setting(
        "CLICKHOUSE_PASSWORD", "clickhouse", section="databases", secret=True,
        help="Password of ClickHouse.",
    )  # fmt: skip
    clickhouse_url: str = _setting(
        "CLICKHOUSE_URL", "http://clickhouse:8123", section="databases", unit="URL",
        help="Where Langfuse finds ClickHouse.",
    )  # fmt: skip
    clickhouse_migration_url: str = _setting(
        "CLICKHOUSE_MIGRATION_URL", "clickhouse://clickhouse:9000", section="databases",
        unit="URL", help="Where Langfuse's migrations find ClickHouse.",
    )  # fmt: skip
    redis_auth: str = _setting(
        "REDIS_AUTH", "myredissecret", section="databases", secret=True,
        help="Password of Redis.",
    )  # fmt: skip
    postgres_image: str = _setting(
        "POSTGRES_IMAGE", "postgres:17.6", section="databases", unit="image",
        help="Image of PostgreSQL.",
    )  # fmt: skip
    clickhouse_image: str = _setting(
        "CLICKHOUSE_IMAGE", "clickhouse/clickhouse-server:25.12", section="databases",
        unit="image", help="Image of ClickHouse.",
    )  # fmt: skip
    redis_image: str = _setting(
        "REDIS_IMAGE", "redis:7.4", section="databases", unit="image", help="Image of Redis.",
    )  # fmt: skip

    # Langfuse: a project that is ready at the first start.
    init_org_id: str = _setting(
        "LANGFUSE_INIT_ORG_ID", section="init", unit="id",
        help="Organization to make. Without it, none of these variables has an effect.",
    )  # fmt: skip
    init_org_name: str = _setting(
        "LANGFUSE_INIT_ORG_NAME", section="init", help="Its name.",
    )  # fmt: skip
    init_project_id: str = _setting(
        "LANGFUSE_INIT_PROJECT_ID", section="init", unit="id", help="Project to make in it.",
    )  # fmt: skip
    init_project_name: str = _setting(
        "LANGFUSE_INIT_PROJECT_NAME", section="init", help="Its name.",
    )  # fmt: skip
    init_public_key: str = _setting(
        "LANGFUSE_INIT_PROJECT_PUBLIC_KEY", section="init",
        help="Public API key of the project, pk-lf-...",
    )  # fmt: skip
    init_secret_key: str = _setting(
        "LANGFUSE_INIT_PROJECT_SECRET_KEY", section="init", secret=True,
        help="Secret API key of the project, sk-lf-...",
    )  # fmt: skip
    init_user_email: str = _setting(
        "LANGFUSE_INIT_USER_EMAIL", section="init", unit="address",
        help="User to make, who owns the organization.",
    )  # fmt: skip
    init_user_name: str = _setting(
        "LANGFUSE_INIT_USER_NAME", section="init", help="The user's name.",
    )  # fmt: skip
    init_user_password: str = _setting(
        "LANGFUSE_INIT_USER_PASSWORD", section="init", secret=True,
        help="The user's password, 8 characters or more.",
    )  # fmt: skip

    # Langfuse and the store.
    event_endpoint: Url = _setting(
        "LANGFUSE_S3_EVENT_UPLOAD_ENDPOINT", "${OVERSIGHT_INTERNAL_ENDPOINT}", section="s3",
        unit="URL", help="Where web and worker write and read events.",
    )  # fmt: skip
    media_endpoint: Url = _setting(
        "LANGFUSE_S3_MEDIA_UPLOAD_ENDPOINT", "${OVERSIGHT_EXTERNAL_ENDPOINT}", section="s3",
        unit="URL",
        help="For which web signs the URLs of media: SDKs and browsers call it. The worker never "
        "gets this one.",
    )  # fmt: skip
    media_internal_endpoint: Url = _setting(
        "LANGFUSE_S3_MEDIA_UPLOAD_INTERNAL_ENDPOINT", "${OVERSIGHT_INTERNAL_ENDPOINT}",
        section="s3", unit="URL",
        help="Where web itself reads and writes media, in releases of Langfuse that know the "
        "variable; the worker's media endpoint in all of them.",
    )  # fmt: skip
    export_endpoint: Url = _setting(
        "LANGFUSE_S3_BATCH_EXPORT_ENDPOINT", "${OVERSIGHT_INTERNAL_ENDPOINT}", section="s3",
        unit="URL", help="Where exports are written.",
    )  # fmt: skip
    export_external_endpoint: Url = _setting(
        "LANGFUSE_S3_BATCH_EXPORT_EXTERNAL_ENDPOINT", "${OVERSIGHT_EXTERNAL_ENDPOINT}",
        section="s3", unit="URL", help="For which the links to exports are signed.",
    )  # fmt: skip
    export_enabled: Switch = _setting(
        "LANGFUSE_S3_BATCH_EXPORT_ENABLED", "true", section="s3", unit="true or false",
        help="Whether exports are written to the store.",
    )  # fmt: skip
    event_bucket: Bucket = _of_use("EVENT_UPLOAD", "BUCKET")
    event_prefix: Prefix = _of_use("EVENT_UPLOAD", "PREFIX")
    event_region: str = _of_use("EVENT_UPLOAD", "REGION")
    event_access_key: str = _of_use("EVENT_UPLOAD", "ACCESS_KEY_ID")
    event_secret_key: str = _of_use("EVENT_UPLOAD", "SECRET_ACCESS_KEY")
    event_path_style: Switch = _of_use("EVENT_UPLOAD", "FORCE_PATH_STYLE")
    media_bucket: Bucket = _of_use("MEDIA_UPLOAD", "BUCKET")
    media_prefix: Prefix = _of_use("MEDIA_UPLOAD", "PREFIX")
    media_region: str = _of_use("MEDIA_UPLOAD", "REGION")
    media_access_key: str = _of_use("MEDIA_UPLOAD", "ACCESS_KEY_ID")
    media_secret_key: str = _of_use("MEDIA_UPLOAD", "SECRET_ACCESS_KEY")
    media_path_style: Switch = _of_use("MEDIA_UPLOAD", "FORCE_PATH_STYLE")
    export_bucket: Bucket = _of_use("BATCH_EXPORT", "BUCKET")
    export_prefix: Prefix = _of_use("BATCH_EXPORT", "PREFIX")
    export_region: str = _of_use("BATCH_EXPORT", "REGION")
    export_access_key: str = _of_use("BATCH_EXPORT", "ACCESS_KEY_ID")
    export_secret_key: str = _of_use("BATCH_EXPORT", "SECRET_ACCESS_KEY")
    export_path_style: Switch = _of_use("BATCH_EXPORT", "FORCE_PATH_STYLE")

    # DataHub.
    datahub_port: Port = _setting(
        "DATAHUB_PORT", "9002", section="datahub", unit="port",
        help="Port of this machine for DataHub.",
    )  # fmt: skip
    datahub_url: Url = _setting(
        "DATAHUB_URL", "http://localhost:${DATAHUB_PORT}", section="datahub", unit="URL",
        help="DataHub's address as browsers see it; behind a proxy, the proxy's.",
    )  # fmt: skip
    datahub_gms_port: Port = _setting(
        "DATAHUB_GMS_PORT", "8080", section="datahub", unit="port",
        help="Port of this machine, always on loopback, for DataHub's metadata service: the "
        "command `datahub` and recipes speak to it.",
    )  # fmt: skip
    datahub_admin_password: str = _setting(
        "DATAHUB_ADMIN_PASSWORD", "datahub", section="datahub", secret=True,
        help="Password of DataHub's first user, `datahub`.",
    )  # fmt: skip
    datahub_auth: Switch = _setting(
        "METADATA_SERVICE_AUTH_ENABLED", "false", section="datahub", unit="true or false",
        help="Whether the metadata service asks for a token. As in DataHub's quickstart it does "
        "not unless you say so; `oversight env` says so.",
    )  # fmt: skip
    datahub_secret: str = _setting(
        "DATAHUB_SECRET", KNOWN_ENCRYPTION_KEY, section="datahub", secret=True,
        help="Signs DataHub's sessions. Changing it signs everybody out.",
    )  # fmt: skip
    datahub_system_secret: str = _setting(
        "DATAHUB_SYSTEM_CLIENT_SECRET", "JohnSnowKnowsNothing", section="datahub", secret=True,
        help="With which DataHub's services know each other.",
    )  # fmt: skip
    datahub_token_key: str = _setting(
        "DATAHUB_TOKEN_SERVICE_SIGNING_KEY", KNOWN_ENCRYPTION_KEY, section="datahub",
        secret=True, help="Signs DataHub's access tokens. Changing it makes all of them invalid.",
    )  # fmt: skip
    datahub_token_salt: str = _setting(
        "DATAHUB_TOKEN_SERVICE_SALT", "ohDVbJBvHHVJh9S/UA4BYF9COuNnqqVhr9MLKEGXk1O=",
        section="datahub", secret=True,
        help="Salt of the hashes of DataHub's access tokens. Changing it makes all of them "
        "invalid.",
    )  # fmt: skip
    mysql_password: str = _setting(
        "DATAHUB_MYSQL_PASSWORD", "datahub", section="datahub", secret=True,
        help="Password of MySQL, set once when its volume is made.",
    )  # fmt: skip
    datahub_telemetry: Switch = _setting(
        "DATAHUB_TELEMETRY_ENABLED", "false", section="datahub", unit="true or false",
        help="Whether DataHub sends statistics of its use to its makers. DataHub's own default "
        "is true; here nothing leaves your machine unasked.",
    )  # fmt: skip
    datahub_version: str = _setting(
        "DATAHUB_VERSION", "v1.7.0", section="datahub", unit="version",
        help="Version of DataHub's images.",
    )  # fmt: skip
    datahub_gms_image: str = _setting(
        "DATAHUB_GMS_IMAGE", "acryldata/datahub-gms:${DATAHUB_VERSION}", section="datahub",
        unit="image", help="Image of the metadata service.",
    )  # fmt: skip
    datahub_frontend_image: str = _setting(
        "DATAHUB_FRONTEND_IMAGE", "acryldata/datahub-frontend-react:${DATAHUB_VERSION}",
        section="datahub", unit="image", help="Image of the user interface.",
    )  # fmt: skip
    datahub_actions_image: str = _setting(
        "DATAHUB_ACTIONS_IMAGE", "acryldata/datahub-actions:${DATAHUB_VERSION}-slim",
        section="datahub", unit="image", help="Image that runs actions and recipes.",
    )  # fmt: skip
    datahub_upgrade_image: str = _setting(
        "DATAHUB_UPGRADE_IMAGE", "acryldata/datahub-upgrade:${DATAHUB_VERSION}",
        section="datahub", unit="image", help="Image that prepares the databases.",
    )  # fmt: skip
    kafka_image: str = _setting(
        "DATAHUB_KAFKA_IMAGE", "confluentinc/cp-kafka:8.2.2", section="datahub", unit="image",
        help="Image of Kafka.",
    )  # fmt: skip
    mysql_image: str = _setting(
        "DATAHUB_MYSQL_IMAGE", "mysql:8.2", section="datahub", unit="image",
        help="Image of MySQL.",
    )  # fmt: skip
    opensearch_image: str = _setting(
        "DATAHUB_OPENSEARCH_IMAGE", "opensearchproject/opensearch:2.19.3", section="datahub",
        unit="image", help="Image of OpenSearch.",
    )  # fmt: skip

    # Metrics, dashboards and traces.
    prometheus_port: Port = _setting(
        "PROMETHEUS_PORT", "9095", section="observability", unit="port",
        help="Port of this machine, always on loopback, for Prometheus, whose usual 9090 is the "
        "store's.",
    )  # fmt: skip
    grafana_port: Port = _setting(
        "GRAFANA_PORT", "3001", section="observability", unit="port",
        help="Port of this machine for Grafana, whose usual 3000 is Langfuse's.",
    )  # fmt: skip
    grafana_password: str = _setting(
        "GRAFANA_ADMIN_PASSWORD", "admin", section="observability", secret=True,
        help="Password of Grafana's user `admin`, set once when its volume is made.",
    )  # fmt: skip
    otlp_endpoint: str = _setting(
        "OVERSIGHT_OTLP_ENDPOINT", section="observability", unit="URL",
        help="Where the store sends traces and metrics by OTLP; `http://otel-collector:4318` is "
        "the collector of the profile. Unset, it sends nothing.",
    )  # fmt: skip
    prometheus_image: str = _setting(
        "PROMETHEUS_IMAGE", "prom/prometheus:v3.5.0", section="observability", unit="image",
        help="Image of Prometheus.",
    )  # fmt: skip
    grafana_image: str = _setting(
        "GRAFANA_IMAGE", "grafana/grafana:12.1.1", section="observability", unit="image",
        help="Image of Grafana.",
    )  # fmt: skip
    collector_image: str = _setting(
        "OTEL_COLLECTOR_IMAGE", "otel/opentelemetry-collector-contrib:0.132.0",
        section="observability", unit="image", help="Image of the OpenTelemetry collector.",
    )  # fmt: skip

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource, **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        # ``of`` has resolved everything: defaults that name other variables are not pydantic's.
        return (init_settings,)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Stack:
        """The settings that ``environ`` gives, and nothing else. Raises SettingsError."""
        values: dict[str, Any] = {
            field: text_of(extra["variable"], environ) for field, _, extra in _described()
        }
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingsError(_sentences(error)) from None

    @classmethod
    def load(cls, file: Path | None = None) -> Stack:
        """The settings that containers would get: the environment, then ``file``, then defaults.

        ``file`` is the nearest ``.env`` by default (``env_file``). Raises SettingsError.
        """
        return cls.of(environment(file))


# -- where they come from -------------------------------------------------------------------------


def env_file(folder: Path | None = None) -> Path | None:
    """The ``.env`` that Compose reads for the stacks: in ``folder`` or one above, if there is one.

    One above because ``langfuse/`` and ``datahub/`` read the one at the root.
    """
    folder = (folder or Path.cwd()).resolve()
    return next(
        (each for each in (folder / ".env", folder.parent / ".env") if each.is_file()), None
    )


def environment(file: Path | None = None) -> dict[str, str]:
    """Variables of ``file`` (default: ``env_file()``) under those of the process, as in Compose."""
    from dotenv import dotenv_values

    found = file or env_file()
    given = dotenv_values(found) if found else {}
    return {**{name: text or "" for name, text in given.items()}, **os.environ}


def text_of(variable: str, environ: Mapping[str, str]) -> str:
    """What ``environ`` makes of ``variable``, by hand or derived."""
    return expand(f"${{{variable}}}", environ, VARIABLES)


def _sentences(error: ValidationError) -> Iterable[str]:
    variables = {field: extra["variable"] for field, _, extra in _described()}
    for problem in error.errors(include_input=False, include_url=False):
        message = problem["msg"].removeprefix("Value error, ")
        field = str(problem["loc"][0])
        yield f"{variables.get(field, field)}: {message[:1].lower()}{message[1:]}."


def _described() -> Iterable[tuple[str, FieldInfo, dict[str, Any]]]:
    for field, info in Stack.model_fields.items():
        if isinstance(info.json_schema_extra, dict):
            yield field, info, info.json_schema_extra


#: Every variable of the stacks with its default.
VARIABLES: Mapping[str, Variable] = {
    extra["variable"]: Variable(extra["variable"], info.default, extra["aliases"])
    for _, info, extra in _described()
}


# -- documentation --------------------------------------------------------------------------------


def table(section: str) -> str:
    """The settings of one section as a Markdown table of ``docs/configuration.md``."""
    rows = ["| Variable | Unit | Default | Meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{extra['variable']}` | {extra['unit']} | {_shown(info)} | {info.description} |"
        for _, info, extra in _described()
        if extra["section"] == section
    ]
    return "\n".join(rows)


def tables() -> str:
    """All sections for ``docs/configuration.md``."""
    return "\n\n".join(f"### {title}\n\n{table(name)}" for name, title in _SECTIONS.items())


def example() -> str:
    """The whole ``.env.example``: all commented out, so that a copy changes nothing."""
    blocks = [
        "# Settings of the stacks and of the store. Copy to .env and take the # away where you\n"
        "# want another value, or let `oversight env` write a .env with secrets of your own.\n"
        "# docs/configuration.md says more."
    ]
    for name, title in _SECTIONS.items():
        blocks.append(f"# -- {title} --")
        blocks += [
            f"# {info.description}\n# Unit: {extra['unit']}. Default: {_shown(info)}.\n"
            f"#{extra['variable']}={'' if '$' in info.default else info.default}"
            for _, info, extra in _described()
            if extra["section"] == name
        ]
    blocks.append("# -- The store itself --")
    blocks += store_blocks(without=VARIABLES)
    return "\n\n".join(blocks) + "\n"


def _shown(info: FieldInfo) -> str:
    return str(info.default) or "none"


if __name__ == "__main__":
    print({"tables": tables, "example": example}[sys.argv[1]](), end="")
