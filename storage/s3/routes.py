"""The one table of what S3 knows, and what of it this store does.

Each row: AWS's operation name, how a request for it looks, the IAM action that permits it, and
the handler; a row without one answers NotImplemented (501). A request is matched by method and
scope (service, bucket or object), then by the row with the most conditions that all hold.
Conditions are query parameters (``name``, or ``name=value``) and one header.

Sources: Amazon S3 API Reference; "Actions, resources, and condition keys for Amazon S3".
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from storage.iam.actions import ACTIONS
from storage.s3.call import Call, Response
from storage.s3.operations import (
    acl,
    bucket_policy,
    buckets,
    copy_object,
    cors,
    delete_object,
    get_object,
    lifecycle,
    list_objects,
    multipart,
    ownership,
    post_object,
    public_access_block,
    put_object,
    tagging,
    unconfigured,
    versioning,
)

Handler = Callable[[Call], Awaitable[Response]]
AtOnce = Callable[[Call], Response | None]

SERVICE, BUCKET, OBJECT = "service", "bucket", "object"
_COPY = b"x-amz-copy-source"


class Route:
    """One operation.

    ``needs_bucket``: the bucket must exist. ``per_key``: the handler authorizes each key itself.
    ``at_once`` does the same as ``handler`` where nothing has to be waited for, and returns None
    where something has; it is asked only on an engine that is ``immediate``.
    """

    __slots__ = ("action", "at_once", "handler", "header", "method", "needs_bucket", "operation",
                 "per_key", "query", "refuses_version", "scope", "version_action")  # fmt: skip

    def __init__(
        self,
        operation: str,
        method: str,
        scope: str,
        action: str,
        query: str = "",
        header: bytes = b"",
        handler: Handler | None = None,
        at_once: AtOnce | None = None,
    ) -> None:
        self.operation = operation
        self.method = method
        self.scope = scope
        self.action = action
        versioned = re.sub(r"Object(?=$|Acl|Tagging|Attributes)", "ObjectVersion", action)
        #: The action where the request names a version ("GetObjectVersion", "GetObjectVersionAcl");
        #: the plain one where S3 has no such action.
        self.version_action = versioned if versioned.lower() in ACTIONS else action
        #: Writes make versions, and name none; DeleteObjects names them by key.
        self.refuses_version = action == "s3:PutObject" or operation == "DeleteObjects"
        self.query = tuple(query.split())
        self.header = header
        self.handler = handler
        self.at_once = at_once
        self.needs_bucket = scope != SERVICE and operation != "CreateBucket"
        self.per_key = operation in ("DeleteObjects", "PostObject")


def _config(
    name: str,
    query: str,
    get: str,
    put: str,
    *,
    delete: str = "",
    scope: str = BUCKET,
    handlers: tuple[Handler | None, ...] = (None, None, None),
) -> list[Route]:
    """The Get and Put (and Delete) of a configuration document."""
    rows = [
        Route(f"Get{name}", "GET", scope, get, query, handler=handlers[0]),
        Route(f"Put{name}", "PUT", scope, put, query, handler=handlers[1]),
    ]
    if delete:
        rows.append(Route(f"Delete{name}", "DELETE", scope, delete, query, handler=handlers[2]))
    return rows


def _listed_config(name: str, query: str, action: str) -> list[Route]:
    """A configuration of which a bucket has several, by ``id``."""
    return [
        Route(f"GetBucket{name}", "GET", BUCKET, f"s3:Get{action}", f"{query} id"),
        Route(f"ListBucket{name}s", "GET", BUCKET, f"s3:Get{action}", query),
        Route(f"PutBucket{name}", "PUT", BUCKET, f"s3:Put{action}", query),
        Route(f"DeleteBucket{name}", "DELETE", BUCKET, f"s3:Put{action}", query),
    ]


ROUTES: tuple[Route, ...] = (
    # what this release does
    Route("ListBuckets", "GET", SERVICE, "s3:ListAllMyBuckets", handler=buckets.list_buckets),
    Route("CreateBucket", "PUT", BUCKET, "s3:CreateBucket", handler=buckets.create_bucket),
    Route("HeadBucket", "HEAD", BUCKET, "s3:ListBucket", handler=buckets.head_bucket),
    Route("DeleteBucket", "DELETE", BUCKET, "s3:DeleteBucket", handler=buckets.delete_bucket),
    Route("GetBucketLocation", "GET", BUCKET, "s3:GetBucketLocation", "location",
          handler=buckets.get_bucket_location),
    Route("ListObjects", "GET", BUCKET, "s3:ListBucket", handler=list_objects.list_objects),
    Route("ListObjectsV2", "GET", BUCKET, "s3:ListBucket", "list-type=2",
          handler=list_objects.list_objects_v2),
    Route("ListObjectVersions", "GET", BUCKET, "s3:ListBucketVersions", "versions",
          handler=versioning.list_object_versions),
    Route("GetBucketVersioning", "GET", BUCKET, "s3:GetBucketVersioning", "versioning",
          handler=versioning.get_bucket_versioning),
    Route("PutBucketVersioning", "PUT", BUCKET, "s3:PutBucketVersioning", "versioning",
          handler=versioning.put_bucket_versioning),
    *_config("BucketTagging", "tagging", "s3:GetBucketTagging", "s3:PutBucketTagging",
             delete="s3:PutBucketTagging", handlers=(
                 tagging.get_bucket_tagging, tagging.put_bucket_tagging,
                 tagging.delete_bucket_tagging)),
    Route("GetBucketLifecycleConfiguration", "GET", BUCKET, "s3:GetLifecycleConfiguration",
          "lifecycle", handler=lifecycle.get_bucket_lifecycle),
    Route("PutBucketLifecycleConfiguration", "PUT", BUCKET, "s3:PutLifecycleConfiguration",
          "lifecycle", handler=lifecycle.put_bucket_lifecycle),
    Route("DeleteBucketLifecycle", "DELETE", BUCKET, "s3:PutLifecycleConfiguration", "lifecycle",
          handler=lifecycle.delete_bucket_lifecycle),
    *_config("BucketPolicy", "policy", "s3:GetBucketPolicy", "s3:PutBucketPolicy",
             delete="s3:DeleteBucketPolicy", handlers=(
                 bucket_policy.get_bucket_policy, bucket_policy.put_bucket_policy,
                 bucket_policy.delete_bucket_policy)),
    Route("GetBucketPolicyStatus", "GET", BUCKET, "s3:GetBucketPolicyStatus", "policyStatus",
          handler=bucket_policy.get_bucket_policy_status),
    *_config("PublicAccessBlock", "publicAccessBlock", "s3:GetBucketPublicAccessBlock",
             "s3:PutBucketPublicAccessBlock", delete="s3:PutBucketPublicAccessBlock", handlers=(
                 public_access_block.get_public_access_block,
                 public_access_block.put_public_access_block,
                 public_access_block.delete_public_access_block)),
    *_config("ObjectTagging", "tagging", "s3:GetObjectTagging", "s3:PutObjectTagging",
             delete="s3:DeleteObjectTagging", scope=OBJECT, handlers=(
                 tagging.get_object_tagging, tagging.put_object_tagging,
                 tagging.delete_object_tagging)),
    Route("DeleteObjects", "POST", BUCKET, "s3:DeleteObject", "delete",
          handler=delete_object.delete_objects),
    Route("ListMultipartUploads", "GET", BUCKET, "s3:ListBucketMultipartUploads", "uploads",
          handler=multipart.list_multipart_uploads),
    Route("GetObject", "GET", OBJECT, "s3:GetObject", handler=get_object.get_object,
          at_once=get_object.get_object_at_once),
    Route("HeadObject", "HEAD", OBJECT, "s3:GetObject", handler=get_object.head_object,
          at_once=get_object.head_object_at_once),
    Route("GetObjectAttributes", "GET", OBJECT, "s3:GetObjectAttributes", "attributes",
          handler=get_object.get_object_attributes),
    Route("PutObject", "PUT", OBJECT, "s3:PutObject", handler=put_object.put_object),
    Route("PostObject", "POST", BUCKET, "s3:PutObject", handler=post_object.post_object),
    Route("CopyObject", "PUT", OBJECT, "s3:PutObject", header=_COPY,
          handler=copy_object.copy_object),
    Route("DeleteObject", "DELETE", OBJECT, "s3:DeleteObject",
          handler=delete_object.delete_object),
    Route("CreateMultipartUpload", "POST", OBJECT, "s3:PutObject", "uploads",
          handler=multipart.create_multipart_upload),
    Route("UploadPart", "PUT", OBJECT, "s3:PutObject", "partNumber uploadId",
          handler=multipart.upload_part),
    Route("UploadPartCopy", "PUT", OBJECT, "s3:PutObject", "partNumber uploadId", _COPY,
          handler=copy_object.upload_part_copy),
    Route("CompleteMultipartUpload", "POST", OBJECT, "s3:PutObject", "uploadId",
          handler=multipart.complete_multipart_upload),
    Route("AbortMultipartUpload", "DELETE", OBJECT, "s3:AbortMultipartUpload", "uploadId",
          handler=multipart.abort_multipart_upload),
    Route("ListParts", "GET", OBJECT, "s3:ListMultipartUploadParts", "uploadId",
          handler=multipart.list_parts),
    # the account
    Route("ListDirectoryBuckets", "GET", SERVICE, "s3express:ListAllMyDirectoryBuckets",
          "x-id=ListDirectoryBuckets"),
    # buckets
    Route("CreateSession", "GET", BUCKET, "s3express:CreateSession", "session"),
    Route("ListenNotification", "GET", BUCKET, "s3:ListenBucketNotification", "events"),
    *_config("BucketAbac", "abac", "s3:GetBucketAbac", "s3:PutBucketAbac"),
    *_config("BucketAccelerateConfiguration", "accelerate", "s3:GetAccelerateConfiguration",
             "s3:PutAccelerateConfiguration",
             handlers=(unconfigured.get_bucket_accelerate_configuration, None, None)),
    *_config("BucketAcl", "acl", "s3:GetBucketAcl", "s3:PutBucketAcl",
             handlers=(acl.get_bucket_acl, acl.put_bucket_acl, None)),
    *_config("BucketCors", "cors", "s3:GetBucketCORS", "s3:PutBucketCORS",
             delete="s3:PutBucketCORS", handlers=(
                 cors.get_bucket_cors, cors.put_bucket_cors, cors.delete_bucket_cors)),
    *_config("BucketEncryption", "encryption", "s3:GetEncryptionConfiguration",
             "s3:PutEncryptionConfiguration", delete="s3:PutEncryptionConfiguration",
             handlers=(unconfigured.get_bucket_encryption, None, unconfigured.delete)),
    *_config("BucketLogging", "logging", "s3:GetBucketLogging", "s3:PutBucketLogging",
             handlers=(unconfigured.get_bucket_logging, None, None)),
    *_config("BucketNotificationConfiguration", "notification", "s3:GetBucketNotification",
             "s3:PutBucketNotification",
             handlers=(unconfigured.get_bucket_notification_configuration, None, None)),
    *_config("BucketOwnershipControls", "ownershipControls", "s3:GetBucketOwnershipControls",
             "s3:PutBucketOwnershipControls", delete="s3:PutBucketOwnershipControls", handlers=(
                 ownership.get_bucket_ownership_controls,
                 ownership.put_bucket_ownership_controls,
                 ownership.delete_bucket_ownership_controls)),
    *_config("BucketReplication", "replication", "s3:GetReplicationConfiguration",
             "s3:PutReplicationConfiguration", delete="s3:PutReplicationConfiguration",
             handlers=(unconfigured.get_bucket_replication, None, unconfigured.delete)),
    *_config("BucketRequestPayment", "requestPayment", "s3:GetBucketRequestPayment",
             "s3:PutBucketRequestPayment",
             handlers=(unconfigured.get_bucket_request_payment, None, None)),
    *_config("BucketWebsite", "website", "s3:GetBucketWebsite", "s3:PutBucketWebsite",
             delete="s3:DeleteBucketWebsite",
             handlers=(unconfigured.get_bucket_website, None, unconfigured.delete)),
    *_config("ObjectLockConfiguration", "object-lock", "s3:GetBucketObjectLockConfiguration",
             "s3:PutBucketObjectLockConfiguration",
             handlers=(unconfigured.get_object_lock_configuration, None, None)),
    *_listed_config("AnalyticsConfiguration", "analytics", "AnalyticsConfiguration"),
    *_listed_config("IntelligentTieringConfiguration", "intelligent-tiering",
                    "IntelligentTieringConfiguration"),
    *_listed_config("InventoryConfiguration", "inventory", "InventoryConfiguration"),
    *_listed_config("MetricsConfiguration", "metrics", "MetricsConfiguration"),
    Route("CreateBucketMetadataConfiguration", "POST", BUCKET,
          "s3:CreateBucketMetadataTableConfiguration", "metadataConfiguration"),
    Route("GetBucketMetadataConfiguration", "GET", BUCKET,
          "s3:GetBucketMetadataTableConfiguration", "metadataConfiguration"),
    Route("DeleteBucketMetadataConfiguration", "DELETE", BUCKET,
          "s3:DeleteBucketMetadataTableConfiguration", "metadataConfiguration"),
    Route("CreateBucketMetadataTableConfiguration", "POST", BUCKET,
          "s3:CreateBucketMetadataTableConfiguration", "metadataTable"),
    Route("GetBucketMetadataTableConfiguration", "GET", BUCKET,
          "s3:GetBucketMetadataTableConfiguration", "metadataTable"),
    Route("DeleteBucketMetadataTableConfiguration", "DELETE", BUCKET,
          "s3:DeleteBucketMetadataTableConfiguration", "metadataTable"),
    Route("UpdateBucketMetadataInventoryTableConfiguration", "PUT", BUCKET,
          "s3:UpdateBucketMetadataInventoryTableConfiguration", "metadataInventoryTable"),
    Route("UpdateBucketMetadataJournalTableConfiguration", "PUT", BUCKET,
          "s3:UpdateBucketMetadataJournalTableConfiguration", "metadataJournalTable"),
    Route("UpdateBucketMetadataAnnotationTableConfiguration", "PUT", BUCKET,
          "s3:UpdateBucketMetadataAnnotationTableConfiguration", "metadataAnnotationTable"),
    # objects
    *_config("ObjectAcl", "acl", "s3:GetObjectAcl", "s3:PutObjectAcl", scope=OBJECT,
             handlers=(acl.get_object_acl, acl.put_object_acl, None)),
    *_config("ObjectLegalHold", "legal-hold", "s3:GetObjectLegalHold", "s3:PutObjectLegalHold",
             scope=OBJECT, handlers=(unconfigured.get_object_lock, None, None)),
    *_config("ObjectRetention", "retention", "s3:GetObjectRetention", "s3:PutObjectRetention",
             scope=OBJECT, handlers=(unconfigured.get_object_lock, None, None)),
    *_config("ObjectAnnotation", "annotation", "s3:GetObjectAnnotation",
             "s3:PutObjectAnnotation", delete="s3:DeleteObjectAnnotation", scope=OBJECT),
    Route("ListObjectAnnotations", "GET", OBJECT, "s3:ListObjectAnnotations",
          "annotation max-annotation-results"),
    Route("GetObjectTorrent", "GET", OBJECT, "s3:GetObject", "torrent",
          handler=unconfigured.get_object_torrent),
    Route("RenameObject", "PUT", OBJECT, "s3express:RenameObject", "renameObject"),
    Route("RestoreObject", "POST", OBJECT, "s3:RestoreObject", "restore"),
    Route("SelectObjectContent", "POST", OBJECT, "s3:GetObject", "select"),
    Route("UpdateObjectEncryption", "PUT", OBJECT, "s3:UpdateObjectEncryption", "encryption"),
    Route("WriteGetObjectResponse", "POST", BUCKET, "s3-object-lambda:WriteGetObjectResponse",
          header=b"x-amz-request-route"),
)  # fmt: skip


class _Choice:
    """The rows of one method and scope, ready to be matched."""

    def __init__(self, rows: list[Route]) -> None:
        rows.sort(key=lambda row: -(len(row.query) + bool(row.header)))
        plain = [row for row in rows if not row.query and not row.header]
        self.plain = plain[0] if plain else None
        self.special = [
            (row, tuple(c.partition("=") for c in row.query)) for row in rows if row not in plain
        ]
        self.names = frozenset(
            condition.partition("=")[0] for row in rows for condition in row.query
        )
        self.headers = frozenset(row.header for row in rows if row.header)


def _compile(rows: tuple[Route, ...]) -> dict[tuple[str, str], _Choice]:
    groups: dict[tuple[str, str], list[Route]] = {}
    for row in rows:
        groups.setdefault((row.method, row.scope), []).append(row)
    return {key: _Choice(group) for key, group in groups.items()}


_CHOICES = _compile(ROUTES)
#: Names of sub-resources by scope, whatever the method.
_SUB_RESOURCES = {
    scope: frozenset().union(*(c.names for (_, s), c in _CHOICES.items() if s == scope))
    for scope in (SERVICE, BUCKET, OBJECT)
}
#: What means a sub-resource to some methods and a detail to others: (method, name).
_DETAILS = frozenset((("GET", "partNumber"), ("HEAD", "partNumber")))
#: Parameters that choose by value: with another value the plain operation is meant.
_SELECTORS = frozenset(("list-type", "x-id", "id"))


def match(
    method: str, scope: str, query: Mapping[str, str], headers: Mapping[bytes, bytes]
) -> Route | None:
    """The row that a request asks for; None where S3 has no such operation.

    A request that names a sub-resource but fits no row of it is never taken for the plain
    operation: ``DELETE /bucket/key?uploadId`` must not delete an object.
    """
    choice = _CHOICES.get((method, scope))
    if choice is None:
        return None
    if (not query or _SUB_RESOURCES[scope].isdisjoint(query)) and choice.headers.isdisjoint(
        headers
    ):
        return choice.plain
    for row, conditions in choice.special:
        if row.header and row.header not in headers:
            continue
        for name, equals, value in conditions:
            if name not in query or (equals and query[name] != value):
                break
        else:
            return row
    named = _SUB_RESOURCES[scope] & query.keys() - _SELECTORS
    return choice.plain if all((method, name) in _DETAILS for name in named) else None
