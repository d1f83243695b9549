"""ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation."""

from __future__ import annotations

import re

from storage import errors
from storage.engine import interface as i
from storage.iam import acl as iam_acl
from storage.iam import ownership as iam_ownership
from storage.iam.resources import BLOCK, OWNERSHIP, first_documents
from storage.names import is_bucket_name
from storage.s3 import xml
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error
from storage.s3.headers import integer, iso_date
from storage.s3.operations import acl, ownership, tagging
from storage.s3.operations.access import authorize, renew_caller
from storage.s3.operations.body import has_body, read_document
from storage.s3.operations.list_objects import make_token, owner_element, parse_token
from storage.s3.operations.put_object import now_ms

#: The region whose name S3 leaves empty.
HOME_REGION = "us-east-1"
_BUCKETS_MAX = 10_000

_REGION = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
#: Elements of CreateBucketConfiguration that S3 Express has.
_DIRECTORY_BUCKETS = ("Location", "Bucket")


def check_bucket_name(name: str) -> None:
    """S3's "General purpose bucket naming rules". Raises InvalidBucketName."""
    if not is_bucket_name(name):
        raise S3Error("InvalidBucketName", BucketName=name)


async def list_buckets(call: Call) -> Response:
    """The caller's buckets, in pages if ``max-buckets`` asks for them."""
    query = call.query
    owner = call.auth.principal.id
    prefix = query.get("prefix", "")
    token = query.get("continuation-token", "")
    after = parse_token(token) if token else ""
    region = query.get("bucket-region", "")
    if region and _REGION.match(region) is None:
        raise S3Error(
            "InvalidArgument",
            f"Argument value {region} is not a valid AWS Region",
            ArgumentName="bucket-region",
        )
    limit = integer(query.get("max-buckets", "") or str(_BUCKETS_MAX), "max-buckets", 1,
                    _BUCKETS_MAX)  # fmt: skip
    mine = sorted(
        (b for b in await call.app.engine.buckets() if b.owner == owner), key=lambda b: b.name
    )
    mine = [b for b in mine if b.name > after and b.name.startswith(prefix)]
    if region:
        mine = [b for b in mine if region_of(call, b) == region]
    rows = "".join(
        f"<Bucket><Name>{b.name}</Name><CreationDate>{iso_date(b.created)}</CreationDate>"
        f"<BucketRegion>{region_of(call, b)}</BucketRegion>"
        f"<BucketArn>arn:aws:s3:::{b.name}</BucketArn></Bucket>"
        for b in mine[:limit]
    )
    text = f"{owner_element(call, owner)}<Buckets>{rows}</Buckets>"
    if prefix:
        text += xml.element("Prefix", prefix)
    if len(mine) > limit:
        text += xml.element("ContinuationToken", make_token(mine[limit - 1].name))
    return Response(200, [xml.CONTENT_TYPE], xml.document("ListAllMyBucketsResult", text))


def region_of(call: Call, bucket: i.Bucket) -> str:
    """The region's name as clients are told."""
    return bucket.region or call.app.config.region or HOME_REGION


async def create_bucket(call: Call) -> Response:
    """Make a bucket. Its owner may repeat that and gets 200, as in us-east-1."""
    check_bucket_name(call.bucket)
    region, tags = await _requested(call)
    await renew_caller(call)
    authorize(call, "s3:CreateBucket", None)
    owner = call.auth.principal.id
    defaults = first_documents(call.app.config.bucket_defaults)
    config = _first_config(call, owner, defaults)
    if tags is not None:
        authorize(call, "s3:PutBucketTagging", i.Bucket(0, call.bucket, owner, 0))
        config[tagging.DOCUMENT] = tags
    change = i.CreateBucket(call.bucket, owner, now_ms(), region, {**defaults, **config})
    try:
        await call.app.engine.commit(change)
    except errors.BucketExists as error:
        existing = await call.app.bucket(call.bucket)
        if error.owner != owner or _differs(existing, config):
            raise S3Error("BucketAlreadyExists", BucketName=call.bucket) from None
        if existing.region != region or tags is not None:
            raise S3Error("BucketAlreadyOwnedByYou", BucketName=call.bucket) from None
    name = call.bucket.encode()
    return Response(
        200, [(b"location", b"/" + name), (b"x-amz-bucket-arn", b"arn:aws:s3:::" + name)]
    )


def _first_config(call: Call, owner: str, defaults: dict[str, bytes]) -> dict[str, bytes]:
    """The configuration that the headers ask for, beside ``defaults``: ownership, ACL.

    Raises InvalidBucketAclWithObjectOwnership, InvalidBucketAclWithBlockPublicAccessError,
    AccessDenied (each needs a permission of its own), and what is wrong with them.
    """
    config: dict[str, bytes] = {}
    bucket = i.Bucket(0, call.bucket, owner, 0)
    state = ownership.of_new_bucket(call)
    if state:
        authorize(call, "s3:PutBucketOwnershipControls", bucket)
        config[iam_ownership.DOCUMENT] = state.encode()
    granted = acl.of_new_bucket(call, owner)
    document = iam_acl.encode(granted, owner)
    if document is not None:
        authorize(call, "s3:PutBucketAcl", bucket)
        if (state or defaults.get(OWNERSHIP, b"").decode()) == iam_ownership.ENFORCED:
            raise S3Error("InvalidBucketAclWithObjectOwnership", BucketName=call.bucket)
        if BLOCK in defaults and iam_acl.is_public(granted):
            raise S3Error("InvalidBucketAclWithBlockPublicAccessError", BucketName=call.bucket)
        config[iam_acl.DOCUMENT] = document
    return config


def _differs(existing: i.Bucket, config: dict[str, bytes]) -> bool:
    """Whether a bucket of the caller's has another ACL or ownership than is asked for again.

    Neither is changed, and nobody is told that it is as it was asked for.
    """
    state = config.get(iam_ownership.DOCUMENT)
    if state is not None and state != existing.config.get(iam_ownership.DOCUMENT):
        return True
    return config.get(iam_acl.DOCUMENT) != existing.config.get(iam_acl.DOCUMENT)


async def _requested(call: Call) -> tuple[str, bytes | None]:
    """(region, document of tags) of CreateBucketConfiguration.

    Raises MalformedXML, InvalidTag, InvalidLocationConstraint and their like.
    """
    body = await read_document(call) if has_body(call) else b""
    if not body:
        return "", None
    root = xml.parse(body, "CreateBucketConfiguration")
    found = xml.parts(root, ("LocationConstraint", "Tags", *_DIRECTORY_BUCKETS))
    for name in _DIRECTORY_BUCKETS:
        if name in found:
            raise S3Error(
                "NotImplemented", f"{name} of a new bucket is not implemented.", Element=name
            )
    region, tags = "", None
    if "LocationConstraint" in found:
        region = xml.leaf(found["LocationConstraint"]).strip()
    if "Tags" in found:
        tags = tagging.bucket_document(tagging.pairs(found["Tags"]))
    return _region(call, region), tags


def _region(call: Call, region: str) -> str:
    """``region`` as buckets keep it.

    Raises InvalidLocationConstraint, IllegalLocationConstraintException.
    """
    if region and _REGION.match(region) is None:
        raise S3Error("InvalidLocationConstraint", LocationConstraint=region)
    configured = call.app.config.region
    if region and configured and region != configured:
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {region} location constraint is incompatible for the region specific endpoint "
            "this request was sent to.",
        )
    return "" if region == HOME_REGION else region


async def head_bucket(call: Call) -> Response:
    """Whether the bucket is there, and its region."""
    region = region_of(call, call.target).encode()
    return Response(200, [(b"x-amz-bucket-region", region)])


async def delete_bucket(call: Call) -> Response:
    """Remove an empty bucket; its uploads in progress are aborted with it."""
    bucket = call.target
    await call.app.engine.commit(i.DeleteBucket(bucket.name, bucket.id))
    return Response(204, [])


async def get_bucket_location(call: Call) -> Response:
    """The bucket's region; empty for us-east-1."""
    region = region_of(call, call.target)
    shown = "" if region == HOME_REGION else xml.escape(region)
    return Response(200, [xml.CONTENT_TYPE], xml.document("LocationConstraint", shown))
