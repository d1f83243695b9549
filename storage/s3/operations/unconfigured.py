"""Configurations that no bucket here can have: Get tells so as S3 does, Delete has nothing to do.

Clients that look at everything a bucket may have (Terraform, rclone, consoles) go on after these
answers. Putting such a configuration is refused: it would not be carried out.
"""

from __future__ import annotations

from storage.s3 import xml
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error
from storage.s3.operations import versioning


def _empty(root: str, content: str = "") -> Response:
    return Response(200, [xml.CONTENT_TYPE], xml.document(root, content))


async def get_bucket_accelerate_configuration(_call: Call) -> Response:
    """Never set."""
    return _empty("AccelerateConfiguration")


async def get_bucket_logging(_call: Call) -> Response:
    """Switched off."""
    return _empty("BucketLoggingStatus")


async def get_bucket_notification_configuration(_call: Call) -> Response:
    """Nobody is told anything."""
    return _empty("NotificationConfiguration")


async def get_bucket_request_payment(_call: Call) -> Response:
    """The owner pays, as S3's default is."""
    return _empty("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>")


async def get_bucket_encryption(call: Call) -> Response:
    """Raises ServerSideEncryptionConfigurationNotFoundError."""
    raise S3Error("ServerSideEncryptionConfigurationNotFoundError", BucketName=call.bucket)


async def get_bucket_replication(call: Call) -> Response:
    """Raises ReplicationConfigurationNotFoundError."""
    raise S3Error("ReplicationConfigurationNotFoundError", BucketName=call.bucket)


async def get_bucket_website(call: Call) -> Response:
    """Raises NoSuchWebsiteConfiguration."""
    raise S3Error("NoSuchWebsiteConfiguration", BucketName=call.bucket)


async def get_object_lock_configuration(call: Call) -> Response:
    """Raises ObjectLockConfigurationNotFoundError."""
    raise S3Error("ObjectLockConfigurationNotFoundError", BucketName=call.bucket)


async def get_object_lock(call: Call) -> Response:
    """GetObjectRetention, GetObjectLegalHold. Raises InvalidRequest, and NoSuchKey before."""
    await versioning.find(call, call.target, call.key, versioning.asked_version(call))
    raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")


async def get_object_torrent(call: Call) -> Response:
    """Raises NoSuchKey: no object has a torrent."""
    raise S3Error("NoSuchKey", Key=call.key)


async def delete(_call: Call) -> Response:
    """Gone is what never was."""
    return Response(204, [])
