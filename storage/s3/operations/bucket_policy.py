"""Get, Put and Delete of BucketPolicy, and GetBucketPolicyStatus.

Sources: Amazon S3 API Reference; "The meaning of 'public'" in the Amazon S3 user guide.
"""

from __future__ import annotations

from storage.engine import interface as i
from storage.iam import block
from storage.iam.bucket_policy import parse_bucket_policy
from storage.iam.errors import PolicyError
from storage.iam.resources import BLOCK, POLICY, is_public
from storage.s3 import xml
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error
from storage.s3.operations.body import read_document
from storage.s3.operations.documents import set_document

_JSON = (b"content-type", b"application/json")


async def get_bucket_policy(call: Call) -> Response:
    """The policy, byte for byte as it was put. Raises NoSuchBucketPolicy."""
    document = call.target.config.get(POLICY)
    if document is None:
        raise S3Error("NoSuchBucketPolicy", BucketName=call.bucket)
    return Response(200, [_JSON], document)


async def put_bucket_policy(call: Call) -> Response:
    """Replace the policy. Raises MalformedPolicy, AccessDenied (BlockPublicPolicy)."""
    document = await read_document(call)

    def checked(bucket: i.Bucket) -> bytes:
        _check(document, bucket)
        return document

    await set_document(call, POLICY, checked)
    return Response(204, [])


def _check(document: bytes, bucket: i.Bucket) -> None:
    """Raise MalformedPolicy, or AccessDenied where the bucket's block refuses the policy."""
    try:
        policy = parse_bucket_policy(document, bucket.name)
    except PolicyError as error:
        raise S3Error("MalformedPolicy", str(error)) from None
    if policy.public and block.of(bucket.config.get(BLOCK)).block_public_policy:
        raise S3Error(
            "AccessDenied",
            "The policy is public, and the bucket's public access block refuses public policies "
            "(BlockPublicPolicy).",
        )


async def delete_bucket_policy(call: Call) -> Response:
    """From now on the bucket has no policy; it is no error if it had none."""
    await set_document(call, POLICY, None)
    return Response(204, [])


async def get_bucket_policy_status(call: Call) -> Response:
    """Whether the bucket is public, by its policy or by its ACL."""
    shown = "true" if is_public(call.target) else "false"
    text = f"<IsPublic>{shown}</IsPublic>"
    return Response(200, [xml.CONTENT_TYPE], xml.document("PolicyStatus", text))
