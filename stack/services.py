"""Which container gets which variable: the environment of each service of the stacks.

Compose can't be told a rule, only values; so the rule is here and the compose files carry it
written out (``python -m stack.services NAME`` prints a service's lines; a test compares them).
The same table lets a command see what a container sees: ``environment_of``.

Values are templates of ``stack.expressions``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from stack.expressions import Variable, compose, expand
from stack.settings import LANGFUSE_USES, VARIABLES
from storage.settings import names

STORE, BOOTSTRAP = "minio", "bootstrap"
WEB, WORKER = "langfuse-web", "langfuse-worker"
GMS, ACTIONS, RELAY = "datahub-gms", "datahub-actions", "datahub-relay"

#: Of the store's own settings, those that its image and its compose file settle.
_SETTLED = ("OVERSIGHT_DRIVES", "OVERSIGHT_ADDRESS", "OVERSIGHT_CONSOLE_ADDRESS")
_STORE = {
    name.variables[0]: Variable(name.variables[0], aliases=name.variables[1:])
    for name in names()
    if name.variables[0] not in _SETTLED
}
#: Every variable that a compose file may name: the store's and the stacks'.
TABLE = _STORE | dict(VARIABLES)


def _langfuse_root(use: str) -> str:
    """Bucket and prefix of one of Langfuse's uses, as one text."""
    return f"${{LANGFUSE_S3_{use}_BUCKET}}/${{LANGFUSE_S3_{use}_PREFIX}}"


def _own(*variables: str) -> dict[str, str]:
    """Variables that a container gets under their own names."""
    return {variable: f"${{{variable}}}" for variable in variables}


_LANGFUSE = _own(
    "NEXTAUTH_URL",
    "DATABASE_URL",
    "SALT",
    "ENCRYPTION_KEY",
    "TELEMETRY_ENABLED",
    "LANGFUSE_ENABLE_EXPERIMENTAL_FEATURES",
    "CLICKHOUSE_MIGRATION_URL",
    "CLICKHOUSE_URL",
    "CLICKHOUSE_USER",
    "CLICKHOUSE_PASSWORD",
    "REDIS_AUTH",
    *(
        f"LANGFUSE_S3_{use}_{tail}"
        for use in LANGFUSE_USES
        for tail in (
            *("BUCKET", "PREFIX", "REGION", "ENDPOINT"),
            *("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "FORCE_PATH_STYLE"),
        )
    ),
    "LANGFUSE_S3_MEDIA_UPLOAD_INTERNAL_ENDPOINT",
    "LANGFUSE_S3_BATCH_EXPORT_ENABLED",
    "LANGFUSE_S3_BATCH_EXPORT_EXTERNAL_ENDPOINT",
) | {
    "CLICKHOUSE_CLUSTER_ENABLED": "false",
    "REDIS_HOST": "redis",
    "REDIS_PORT": "6379",
    # The image would listen at its host name's address only, where no health check finds it.
    "HOSTNAME": "0.0.0.0",  # noqa: S104 - inside its container
}

#: What makes the store fit for both stacks: where it is, whose keys and which buckets to make.
_BOOTSTRAP = _own(
    "OVERSIGHT_INTERNAL_ENDPOINT",
    "OVERSIGHT_EXTERNAL_ENDPOINT",
    "OVERSIGHT_ROOT_USER",
    "OVERSIGHT_ROOT_PASSWORD",
    "OVERSIGHT_REGION",
    "OVERSIGHT_LANGFUSE_BUCKET",
    "OVERSIGHT_LANGFUSE_ACCESS_KEY",
    "OVERSIGHT_LANGFUSE_SECRET_KEY",
    "OVERSIGHT_DATAHUB_BUCKET",
    "OVERSIGHT_DATAHUB_ACCESS_KEY",
    "OVERSIGHT_DATAHUB_SECRET_KEY",
    "OVERSIGHT_ARTIFACTS_BUCKET",
    *(f"LANGFUSE_S3_{use}_{tail}" for use in LANGFUSE_USES for tail in ("BUCKET", "PREFIX")),
    "NEXTAUTH_URL",
    "DATAHUB_URL",
) | {"OVERSIGHT_CONSOLE_URL": "http://minio:9001"}

#: The S3 client inside DataHub's containers.
_DATAHUB_S3 = {
    "AWS_ACCESS_KEY_ID": "${OVERSIGHT_DATAHUB_ACCESS_KEY}",
    "AWS_SECRET_ACCESS_KEY": "${OVERSIGHT_DATAHUB_SECRET_KEY}",
    "AWS_REGION": "${OVERSIGHT_REGION:-us-east-1}",
}

#: Where the store's index and its console find what Langfuse keeps: as Langfuse has it.
_INDEXED = {
    "OVERSIGHT_LANGFUSE_EVENTS": _langfuse_root("EVENT_UPLOAD"),
    "OVERSIGHT_LANGFUSE_MEDIA": _langfuse_root("MEDIA_UPLOAD"),
    "OVERSIGHT_LANGFUSE_EXPORTS": _langfuse_root("BATCH_EXPORT"),
    "OVERSIGHT_LANGFUSE_URL": "${NEXTAUTH_URL}",
}

SERVICES: Mapping[str, Mapping[str, str]] = {
    STORE: _own(*_STORE) | _INDEXED | {"OTEL_EXPORTER_OTLP_ENDPOINT": "${OVERSIGHT_OTLP_ENDPOINT}"},
    WEB: _LANGFUSE
    | _own(
        "NEXTAUTH_SECRET",
        "LANGFUSE_INIT_ORG_ID",
        "LANGFUSE_INIT_ORG_NAME",
        "LANGFUSE_INIT_PROJECT_ID",
        "LANGFUSE_INIT_PROJECT_NAME",
        "LANGFUSE_INIT_PROJECT_PUBLIC_KEY",
        "LANGFUSE_INIT_PROJECT_SECRET_KEY",
        "LANGFUSE_INIT_USER_EMAIL",
        "LANGFUSE_INIT_USER_NAME",
        "LANGFUSE_INIT_USER_PASSWORD",
    ),
    # It signs nothing, and what web signs for may lead nowhere inside this container.
    WORKER: _LANGFUSE
    | {"LANGFUSE_S3_MEDIA_UPLOAD_ENDPOINT": "${LANGFUSE_S3_MEDIA_UPLOAD_INTERNAL_ENDPOINT}"},
    BOOTSTRAP: _BOOTSTRAP,
    # One endpoint for its own calls and for the URLs that it signs for browsers.
    GMS: _DATAHUB_S3
    | {
        "AWS_ENDPOINT_URL": "${OVERSIGHT_EXTERNAL_ENDPOINT}",
        "DATAHUB_BUCKET_NAME": "${OVERSIGHT_DATAHUB_BUCKET}",
        "DATAHUB_OBJECT_STORAGE_URI": "s3://${OVERSIGHT_DATAHUB_BUCKET}",
        "DATAHUB_TELEMETRY_ENABLED": "${DATAHUB_TELEMETRY_ENABLED}",
    },
    ACTIONS: _DATAHUB_S3
    | {
        "AWS_ENDPOINT_URL": "${OVERSIGHT_INTERNAL_ENDPOINT}",
        # Recipes name the endpoint that is right where they run: here, the internal one.
        "OVERSIGHT_EXTERNAL_ENDPOINT": "${OVERSIGHT_INTERNAL_ENDPOINT}",
        "DATAHUB_GMS_URL": "http://datahub-gms:8080",
    }
    | _own(
        "DATAHUB_TELEMETRY_ENABLED",
        "LANGFUSE_S3_BATCH_EXPORT_BUCKET",
        "OVERSIGHT_ARTIFACTS_BUCKET",
    ),
    RELAY: _own("OVERSIGHT_EXTERNAL_ENDPOINT", "OVERSIGHT_INTERNAL_ENDPOINT"),
}


def environment_of(service: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What the container of ``service`` gets, given the variables of ``docker compose``.

    Raises KeyError for a service that this table does not describe.
    """
    return {name: expand(template, environ, TABLE) for name, template in SERVICES[service].items()}


def expressions_of(service: str) -> dict[str, str]:
    """The environment of ``service`` as it stands in its compose file."""
    return {name: compose(template, TABLE) for name, template in SERVICES[service].items()}


if __name__ == "__main__":
    for name, value in expressions_of(sys.argv[1]).items():
        print(f'      {name}: "{value}"')
