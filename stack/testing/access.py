"""How code under test reaches a store: variables for it, and a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Langfuse's three uses of a bucket, by the middle of their variables' names, with their prefixes.
_LANGFUSE_USES = {"EVENT_UPLOAD": "events/", "MEDIA_UPLOAD": "media/", "BATCH_EXPORT": "exports/"}
#: What makes the bucket ``langfuse`` as a running stack has it.
LANGFUSE_BUCKET = "langfuse"
_REGION = "us-east-1"


def environment(
    endpoint: str,
    access_key: str,
    secret_key: str,
    bucket: str = LANGFUSE_BUCKET,
    external_endpoint: str = "",
) -> dict[str, str]:
    """The variables of AWS's SDKs and of Langfuse's S3 clients.

    ``external_endpoint``: where URLs are signed for, if that differs from ``endpoint``.
    """
    external = external_endpoint or endpoint
    variables = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_REGION": _REGION,
        "AWS_DEFAULT_REGION": _REGION,
        "LANGFUSE_S3_BATCH_EXPORT_ENABLED": "true",
        "LANGFUSE_S3_BATCH_EXPORT_EXTERNAL_ENDPOINT": external,
        "LANGFUSE_S3_MEDIA_UPLOAD_INTERNAL_ENDPOINT": endpoint,
    }
    for use, prefix in _LANGFUSE_USES.items():
        signs = use == "MEDIA_UPLOAD"
        variables |= {
            f"LANGFUSE_S3_{use}_BUCKET": bucket,
            f"LANGFUSE_S3_{use}_PREFIX": prefix,
            f"LANGFUSE_S3_{use}_REGION": "auto",
            f"LANGFUSE_S3_{use}_ENDPOINT": external if signs else endpoint,
            f"LANGFUSE_S3_{use}_ACCESS_KEY_ID": access_key,
            f"LANGFUSE_S3_{use}_SECRET_ACCESS_KEY": secret_key,
            f"LANGFUSE_S3_{use}_FORCE_PATH_STYLE": "true",
        }
    return variables


def boto3_client(endpoint: str, access_key: str, secret_key: str, **config: Any) -> Any:
    """A client of boto3, path style and Signature Version 4. ``config`` goes to botocore's Config.

    Raises ImportError if boto3 is not installed.
    """
    from boto3.session import Session
    from botocore.config import Config

    options: Mapping[str, Any] = {
        "signature_version": "s3v4",
        "s3": {"addressing_style": "path"},
        "proxies": {},
    }
    return Session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=_REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(**(dict(options) | config)),
    )
