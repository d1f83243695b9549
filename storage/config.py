"""The store's configuration as its processes see it: plain, frozen, without pydantic.

``storage.settings`` reads environment and command line once, in the supervisor, and makes this;
child processes receive it as JSON and import neither pydantic nor the environment's rules.
"""

from __future__ import annotations

import msgspec


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds. Defaults are the product's defaults."""

    drives: tuple[str, ...] = ("./data",)
    root_user: str = "minio"
    root_password: str = "miniosecret"  # noqa: S105 - the published default
    root_password_old: str = ""
    region: str = ""
    """Empty: any region is accepted in signatures."""
    workers: int = 1
    address: tuple[tuple[str, int], ...] = (("127.0.0.1", 9090), ("::1", 9090))
    console_address: tuple[tuple[str, int], ...] = (("127.0.0.1", 9091), ("::1", 9091))
    buckets: tuple[str, ...] = ("langfuse",)
    prefixes: tuple[str, ...] = ("langfuse/events/", "langfuse/media/", "langfuse/exports/")
    requests_max: int = 1024
    """In-flight S3 requests of one worker; beyond it 503 SlowDown."""
    cors_allow_origin: tuple[str, ...] = ("*",)
    bucket_defaults: str = ""
    """"aws": new buckets begin as AWS's do (``storage.iam.resources.first_documents``)."""
    external_endpoint: str = ""
    domains: tuple[str, ...] = ()
    """Domains in front of which a host name may have a bucket; lower-case, without ports."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose forwarded headers are believed (``storage.proxies``)."""
    signature_v2: bool = True
    """Whether requests and forms signed with AWS Signature Version 2 are accepted."""
    inline_max: int = 128 * 1024
    segment_size: int = 64 * 1024 * 1024
    fsync: bool = True
    """Only tests and measurements switch it off; no setting does."""
    feed_retention: int = 7 * 86400
    scrub_interval: int = 7 * 86400
    """From the end of a search for rot to the next one; 0: none."""
    lifecycle_day: int = 86400
    """Length of a day of lifecycle rules, seconds; tests shorten it."""
    events_retention_days: int = 0
    """Days after which ``langfuse/events/`` expires; 0: never."""
    langfuse_index: bool = True
    """Whether an index of Langfuse's objects is kept (``storage.langfuse``)."""
    langfuse_events: str = "langfuse/events/"
    langfuse_media: str = "langfuse/media/"
    langfuse_exports: str = "langfuse/exports/"
    langfuse_url: str = ""
    """Where people see Langfuse; empty: not known."""
    free_min: int = 0
    """Watermark for PUTs; 0: the larger of two segments + 64 MiB and 1 % of the drive, <= 2 GiB."""
    access_log: str = ""
    """Empty: none; "-": standard output; else a file."""
    log_format: str = "text"
    prometheus_auth: str = "jwt"
    drain: int = 8
    otel: dict[str, str] = {}
    """OpenTelemetry's variables (``storage.otel``); empty: no telemetry is sent."""
    warnings: tuple[str, ...] = ()
    """What the operator should know (panel, log and status), a sentence each; no secrets."""

    def __repr__(self) -> str:
        """Without secrets: a configuration may end up in a log or a traceback."""
        shown = (
            f"{name}={getattr(self, name)!r}"
            for name in self.__struct_fields__
            if not name.startswith("root_password") and name != "otel"
        )
        return f"Config({', '.join(shown)})"


def encode(config: Config) -> bytes:
    return msgspec.json.encode(config)


def decode(data: bytes) -> Config:
    return msgspec.json.decode(data, type=Config)
