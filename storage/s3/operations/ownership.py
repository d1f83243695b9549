"""Object ownership: Get, Put and Delete of BucketOwnershipControls, and the owner to be shown.

Source: Amazon S3 User Guide, "Controlling ownership of objects and disabling ACLs".
"""

from __future__ import annotations

from storage.engine import interface as i
from storage.iam import acl, ownership
from storage.s3 import xml
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error
from storage.s3.operations.body import read_document
from storage.s3.operations.documents import set_document

_FIELDS = frozenset(("ObjectOwnership",))


async def get_bucket_ownership_controls(call: Call) -> Response:
    """The bucket's setting. Raises OwnershipControlsNotFoundError."""
    document = call.target.config.get(ownership.DOCUMENT)
    if document is None:
        raise S3Error("OwnershipControlsNotFoundError", BucketName=call.bucket)
    rule = xml.element("ObjectOwnership", ownership.of(document))
    text = f"<Rule>{rule}</Rule>"
    return Response(200, [xml.CONTENT_TYPE], xml.document("OwnershipControls", text))


async def put_bucket_ownership_controls(call: Call) -> Response:
    """Replace the setting. ACLs that grant anything to others must go before they are disabled."""
    root = xml.parse(await read_document(call), "OwnershipControls")
    rule = xml.only(root, "Rule")
    state = xml.fields(rule, _FIELDS, ("ObjectOwnership",))["ObjectOwnership"]
    if state not in ownership.STATES:
        raise xml.malformed("ObjectOwnership")

    def checked(bucket: i.Bucket) -> bytes:
        if state == ownership.ENFORCED and acl.DOCUMENT in bucket.config:
            raise S3Error("InvalidBucketAclWithObjectOwnership", BucketName=call.bucket)
        return state.encode()

    await set_document(call, ownership.DOCUMENT, checked)
    return Response(200, [])


async def delete_bucket_ownership_controls(call: Call) -> Response:
    """Without a setting ACLs work, and whoever writes an object owns it."""
    await set_document(call, ownership.DOCUMENT, None)
    return Response(204, [])


def of_new_bucket(call: Call) -> str:
    """The setting that CreateBucket asks for, "" for none. Raises InvalidArgument."""
    value = call.headers.get(b"x-amz-object-ownership")
    if value is None:
        return ""
    state = value.decode("latin-1")
    if state not in ownership.STATES:
        raise S3Error(
            "InvalidArgument",
            f"Invalid x-amz-object-ownership header: {state}",
            ArgumentName="x-amz-object-ownership",
            ArgumentValue=state,
        )
    return state
