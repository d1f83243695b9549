"""How a bucket's configuration documents are changed.

Who may change one, and to what, is decided by the bucket's other documents. They may change
between that decision and the commit; so the commit names those that the decision rested on, and is
decided once more where one of them is another by then. What is withdrawn or blocked by an answered
request is thus never undone by one that was decided before.
"""

from __future__ import annotations

from collections.abc import Callable

from storage import errors
from storage.engine import interface as i
from storage.iam.resources import ACL, BLOCK, OWNERSHIP, POLICY
from storage.s3.call import Call
from storage.s3.operations import access

#: Documents that decide who may do what, and what may be put.
_DECIDING = (POLICY, BLOCK, ACL, OWNERSHIP)


async def set_document(
    call: Call, document: str, value: bytes | Callable[[i.Bucket], bytes | None] | None
) -> None:
    """Set a document of the call's bucket, None to remove it.

    ``value`` may be a function that finds it by the bucket as it is, and raises what speaks against
    it; it may be called more than once. Raises NoSuchBucket, AccessDenied.
    """
    while True:
        bucket = await access.renew(call)
        new = value(bucket) if callable(value) else value
        change = i.SetBucketConfig(
            bucket.name,
            document,
            new,
            bucket.id,
            {name: bucket.config.get(name) for name in _DECIDING},
        )
        try:
            await call.app.engine.commit(change)
        except errors.Conflict:
            continue  # one of them has changed: decide by what it is now
        return
