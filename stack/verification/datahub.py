"""An artifact's entry in DataHub, made as `oversight datahub register` makes it."""

from __future__ import annotations

from collections.abc import Mapping

from stack.s3.client import S3


def register(s3: S3, url: str, environ: Mapping[str, str]) -> str:
    """Describe the object ``url`` to the configured DataHub; its URN. Raises CommandError."""
    from stack.integrations.datahub import sdk

    sdk.require()
    import boto3
    from botocore.config import Config

    from stack.integrations.datahub.description import Describer, Wishes
    from stack.integrations.datahub.names import Naming
    from stack.integrations.datahub.objects import Address, Objects
    from stack.integrations.datahub.registration import register as registering
    from stack.integrations.datahub.sinks import RestSink

    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        aws_access_key_id=s3.credentials.access_key,
        aws_secret_access_key=s3.credentials.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    objects = Objects(client, s3.endpoint)
    naming = Naming(environ.get("DATAHUB_ENV") or "PROD", "")
    sink = RestSink.from_environment(environ=environ)
    try:
        describer = Describer(objects, naming, Wishes())
        (found,) = registering(objects, describer, sink, [Address.parse(url)])
    finally:
        sink.close()
    return found.urn
