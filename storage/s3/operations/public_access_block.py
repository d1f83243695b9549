"""Get, Put and Delete of PublicAccessBlock."""

from __future__ import annotations

from storage.iam import block
from storage.iam.decide import Block
from storage.iam.resources import BLOCK
from storage.s3 import xml
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error
from storage.s3.operations.body import read_document
from storage.s3.operations.documents import set_document

_ROOT = "PublicAccessBlockConfiguration"
#: Elements in S3's order, and the switches that they are.
_SWITCHES = {
    "BlockPublicAcls": "block_public_acls",
    "IgnorePublicAcls": "ignore_public_acls",
    "BlockPublicPolicy": "block_public_policy",
    "RestrictPublicBuckets": "restrict_public_buckets",
}


async def get_public_access_block(call: Call) -> Response:
    """All four switches. Raises NoSuchPublicAccessBlockConfiguration."""
    document = call.target.config.get(BLOCK)
    if document is None:
        raise S3Error("NoSuchPublicAccessBlockConfiguration", BucketName=call.bucket)
    closure = block.of(document)
    text = "".join(
        f"<{element}>{'true' if getattr(closure, switch) else 'false'}</{element}>"
        for element, switch in _SWITCHES.items()
    )
    return Response(200, [xml.CONTENT_TYPE], xml.document(_ROOT, text))


async def put_public_access_block(call: Call) -> Response:
    """Replace the four switches; those that are not given are off. Raises MalformedXML."""
    root = xml.parse(await read_document(call), _ROOT)
    found = xml.parts(root, _SWITCHES)
    closure = Block(**{_SWITCHES[name]: xml.truth(node) for name, node in found.items()})
    await set_document(call, BLOCK, block.encode(closure))
    return Response(200, [])


async def delete_public_access_block(call: Call) -> Response:
    """Nothing is blocked any more."""
    await set_document(call, BLOCK, None)
    return Response(204, [])
