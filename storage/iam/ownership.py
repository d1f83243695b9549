"""Object ownership: whose the objects of a bucket are, and whether ACLs count in it.

A bucket keeps its setting, one of ``STATES``, as the configuration document ``DOCUMENT``.

Source: "Controlling ownership of objects and disabling ACLs for your bucket" in the Amazon S3
user guide.
"""

from __future__ import annotations

from storage.iam.acl import ANONYMOUS_ID, GIVING

DOCUMENT = "ownership"
#: WRITER: whoever writes an object owns it. PREFERRED: except for what is written with the canned
#: ACL bucket-owner-full-control, which is the bucket owner's. ENFORCED: the bucket's owner owns
#: everything, and ACLs don't count.
WRITER, PREFERRED, ENFORCED = "ObjectWriter", "BucketOwnerPreferred", "BucketOwnerEnforced"
STATES = (WRITER, PREFERRED, ENFORCED)


def of(document: bytes | None) -> str:
    """The state that a bucket's document names; without one ACLs work."""
    return WRITER if document is None else document.decode()


def owner_of_new(state: str, writer: str, bucket_owner: str, canned: str = "") -> str:
    """Who owns an object that ``writer`` ("" for a stranger) writes with a canned ACL, or none."""
    if state == ENFORCED or (state == PREFERRED and canned == GIVING):
        return bucket_owner
    return writer or ANONYMOUS_ID
